"""Where a published model comes from: a folder, or a name on the hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..models.hub import NotFetched, repository
from ..models.wheels import INSTALL, SENTENCE_TRANSFORMERS, Unpacked, unpacked
from ..reading import read_object, understood
from ..types import UserError
from . import align, backbones, bert, huggingface, openai, openclip, timm
from .published import ConversionPlan, Published, built
from .weights import read_tensors, weights_in

HUB, OPENCLIP = "hf:", "openclip:"
"""Openings of a source: a repository on the hub, and a folder that is to be read as OpenCLIP's."""

SHORT = {name.rpartition("/")[2]: name for name in SENTENCE_TRANSFORMERS}
"""Names without their owner, as sentence-transformers takes them, for models that an installed package may hold."""


TRANSFORMERS: dict[str, Callable[[Path, Mapping[str, Any]], ConversionPlan]] = {
    "align": align.plan,
    "bert": bert.plan,
    "clip": huggingface.clip,
    "distilbert": bert.distil_plan,
    "siglip": huggingface.siglip,
}
"""How to read what transformers' ``config.json`` calls a ``model_type``, into towers of our own."""

OWN_TEXTS = ("bert", "distilbert")
"""Those of them with variants that our towers cannot be; all other types are read by :mod:`.backbones`."""


def read(source: str) -> Published:
    """The space behind a source, of one modality or of two.

    ``hf:NAME``, ``openclip:FOLDER``, ``timm:NAME`` (see :func:`cospace.interop.timm.read`), a folder in any of these
    libraries' layouts, a file of OpenAI's, or a short name such as ``all-MiniLM-L6-v2``. Its vectors are computed in
    float32 on every machine, as its own library's are. Raises :class:`UserError` where it cannot be had or is of an
    architecture that is not read.
    """
    reader = timm.read if source.startswith(timm.OPENING) or _is_timm(Path(source)) else _read
    found = reader(source)
    found.space.precision = "float32"
    return replace(found, source=shown(source))


def _read(source: str) -> Published:
    packed = _packed(source)
    place = place_of(source) if packed is None else packed.place
    advice = "give the files as the library that trained the model wrote them"
    if place.is_file():
        tensors = read_tensors(place)
        with understood(place, advice):
            return built(openai.plan(place, tensors), tensors, str(place), place)
    if _is_backbone(place, source):
        return backbones.read(place)
    with understood(place, advice):
        plan = layout_of(place, source)(place)
    if packed is not None:
        plan = replace(plan, package=packed.package, license=packed.license)
    name, tensors = weights_in(place)
    with understood(place, advice):
        return built(plan, tensors, name, place)


def is_published(source: str) -> bool:
    """Whether this names a published model rather than a folder of ours."""
    folder = Path(source)
    named = (folder / openclip.CONFIG, folder / "config.json")
    if source.startswith((HUB, OPENCLIP, timm.OPENING)) or folder.is_file():
        return True
    return any(path.is_file() for path in named) or (source in SHORT and not folder.exists())


def shown(source: str) -> str:
    """A source as a run remembers it: as it was typed, but of folders and files on this machine the name alone."""
    opening, _, rest = source.rpartition(":") if ":" in source else ("", "", source)
    name, at, file = rest.partition("@")
    if at:
        rest = f"{name}@{Path(file).name}"
    elif not source.startswith((HUB, f"{timm.OPENING}{timm.HUB}")):
        rest = Path(rest).name or rest
    return f"{opening}:{rest}" if opening else rest


def _packed(source: str) -> Unpacked | None:
    """What an installed package holds of the model that a source names."""
    name = source.removeprefix(HUB)
    if source.startswith(HUB) or not Path(source).exists():
        packed = SENTENCE_TRANSFORMERS.get(SHORT.get(name, name))
        return None if packed is None else unpacked(packed)
    return None


def _is_timm(folder: Path) -> bool:
    path = folder / "config.json"
    return path.is_file() and not (folder / openclip.CONFIG).is_file() and timm.is_timm(read_object(path))


def layout_of(folder: Path, source: str) -> Callable[[Path], ConversionPlan]:
    """Whose layout a folder has."""
    if (folder / openclip.CONFIG).is_file():
        return openclip.plan
    if (folder / "config.json").is_file() and not source.startswith(OPENCLIP):
        return _transformers
    raise UserError(
        f"{folder} holds neither config.json (transformers) nor {openclip.CONFIG} (OpenCLIP), so its architecture is "
        "unknown; give the folder that one of these libraries wrote"
    )


def _transformers(folder: Path) -> ConversionPlan:
    settings = read_object(folder / "config.json")
    return TRANSFORMERS[settings["model_type"]](folder, settings)


def _is_backbone(folder: Path, source: str) -> bool:
    """Whether a folder is transformers', and none that cospace has towers of its own for."""
    path = folder / "config.json"
    if source.startswith(OPENCLIP) or (folder / openclip.CONFIG).is_file() or not path.is_file():
        return False
    settings = read_object(path)
    kind = settings.get("model_type")
    if not isinstance(kind, str):
        raise UserError(f"{path} names no model_type; give the folder that transformers, OpenCLIP or timm wrote")
    return kind not in TRANSFORMERS or (kind in OWN_TEXTS and not bert.fits(folder, settings))


def place_of(source: str) -> Path:
    """The folder, or the single file, of a source; fetched from the hub if it must be."""
    named = SHORT.get(source.removeprefix(HUB))
    if named is not None and (source.startswith(HUB) or not Path(source).exists()):
        source = f"{HUB}{named}"
    if source.startswith(HUB):
        return _fetched(source.removeprefix(HUB))
    place = Path(source.removeprefix(OPENCLIP)).expanduser()
    if not place.exists():
        raise UserError(f"{place} does not exist; give a folder, or {HUB}OWNER/NAME for a repository on the hub")
    return place


def _fetched(name: str) -> Path:
    try:
        return repository(name)
    except NotFetched as error:
        if name not in SENTENCE_TRANSFORMERS:
            raise
        raise NotFetched(name, error.reason, f"it also comes as a package: {INSTALL}") from error

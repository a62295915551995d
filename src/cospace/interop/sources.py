"""Where a published model comes from: a folder, or a name on the hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..reading import read_json, understood
from ..types import UserError
from . import align, bert, huggingface, openai, openclip
from .published import ConversionPlan, Published, built
from .weights import read_tensors, weights_in

HUB, OPENCLIP = "hf:", "openclip:"
"""Openings of a source: a repository on the hub, and a folder that is to be read as OpenCLIP's."""

WANTED = ["*.json", "*.safetensors", "*.txt", "*.gz"]
"""Files of a hub repository that may be needed; pickles are left there where safetensors exist."""


TRANSFORMERS: dict[str, Callable[[Path, Mapping[str, Any]], ConversionPlan]] = {
    "align": align.plan,
    "bert": bert.plan,
    "clip": huggingface.clip,
    "distilbert": bert.distil_plan,
    "siglip": huggingface.siglip,
}
"""How to read what transformers' ``config.json`` calls a ``model_type``."""


def read(source: str) -> Published:
    """The space behind ``hf:NAME``, ``openclip:FOLDER``, a folder in either library's layout, or a file of OpenAI's."""
    place = place_of(source)
    advice = "give the files as the library that trained the model wrote them"
    if place.is_file():
        tensors = read_tensors(place)
        with understood(place, advice):
            return built(openai.plan(place, tensors), tensors, str(place), place)
    with understood(place, advice):
        plan = layout_of(place, source)(place)
    name, tensors = weights_in(place)
    with understood(place, advice):
        return built(plan, tensors, name, place)


def is_published(source: str) -> bool:
    """Whether this names a published model rather than a folder of ours."""
    folder = Path(source)
    named = (folder / openclip.CONFIG, folder / "config.json")
    return source.startswith((HUB, OPENCLIP)) or folder.is_file() or any(path.is_file() for path in named)


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
    settings = read_json(folder / "config.json")
    kind = settings.get("model_type")
    if kind not in TRANSFORMERS:
        raise UserError(
            f"{folder / 'config.json'} describes {kind!r}; these are read: {', '.join(sorted(TRANSFORMERS))}"
        )
    return TRANSFORMERS[kind](folder, settings)


def place_of(source: str) -> Path:
    """The folder, or the single file, of a source; fetched from the hub if it must be."""
    if source.startswith(HUB):
        return _fetched(source.removeprefix(HUB))
    place = Path(source.removeprefix(OPENCLIP)).expanduser()
    if not place.exists():
        raise UserError(f"{place} does not exist; give a folder, or {HUB}OWNER/NAME for a repository on the hub")
    return place


def _fetched(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise UserError("models on the hub need one more library; pip install 'cospace[pretrained]'") from error
    try:
        return Path(snapshot_download(name, allow_patterns=WANTED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"{HUB}{name} cannot be fetched ({first}); check the name and the connection") from error

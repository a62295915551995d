"""Any image backbone of the library timm, by its name there, with or without its published weights."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...config import PartConfig
from ...types import Features, ImageSpec, UserError
from ._published import all_real


class Config(PartConfig):
    """Which of timm's models."""

    modality: ClassVar[str] = "image"
    any_size: ClassVar[bool] = False
    model: str = "resnet18"
    """Name of the model in timm."""
    pretrained: bool = False
    """Whether its published weights are fetched from where timm keeps them."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(model="test_vit")

    def build(self, spec: ImageSpec) -> Timm:
        return Timm(self, spec)


class Timm(nn.Module):
    """timm's pooled features, and its last grid or sequence as tokens.

    Images come scaled to -1 to 1, as a fresh run prepares them, and are normalised with the mean and deviation that the
    backbone was published with.
    """

    factor: Tensor
    shift: Tensor

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        library = _library()
        if not library.is_model(config.model):
            near = ", ".join(library.list_models(f"*{config.model.split('_')[0]}*")[:5])
            raise UserError(f"timm has no model {config.model!r}" + (f"; it has {near}" if near else ""))
        self.backbone = created(library, config, spec.size)
        self.width = int(self.backbone.num_features)
        mean, std = (torch.tensor(self.backbone.default_cfg[key]).view(-1, 1, 1) for key in ("mean", "std"))
        self.register_buffer("factor", 0.5 / std, persistent=False)
        self.register_buffer("shift", (0.5 - mean) / std, persistent=False)

    def forward(self, images_B3SS: Tensor) -> Features:
        made = self.backbone.forward_features(images_B3SS * self.factor + self.shift)
        pooled_BD = self.backbone.forward_head(made, pre_logits=True)
        tokens_BTD = made.flatten(2).transpose(1, 2) if made.ndim == 4 else made
        return Features(pooled_BD, tokens_BTD, all_real(tokens_BTD))


def created(library: Any, config: Config, size: int) -> Any:
    """The backbone; a transformer needs the size of its images, which other architectures do not ask for."""
    wanted = {"pretrained": config.pretrained, "num_classes": 0}
    try:
        return library.create_model(config.model, img_size=size, **wanted)
    except TypeError:
        return library.create_model(config.model, **wanted)


def _library() -> Any:
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that was built for another torch
        raise UserError(f"the encoder timm needs the library timm ({error}); pip install 'cospace[timm]'") from error

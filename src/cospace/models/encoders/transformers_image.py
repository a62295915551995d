"""Any image backbone of transformers (ViT, DINOv2, ResNet, ConvNeXt, Swin, SigLIP ...), by its ``config.json``."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ...types import Features, ImageSpec
from ._published import all_real
from ._transformers import BackboneConfig, as_tokens, built, settings_of, tried, without_pooler

Pooling = Literal["pooler", "cls", "mean"]


class Config(BackboneConfig):
    """An image backbone of transformers."""

    modality: ClassVar[str] = "image"
    pooling: Pooling = "cls"
    """What stands for an image: ``pooler`` (the model's own), the first token, ``cls``, or the ``mean`` of all."""

    @classmethod
    def tiny(cls) -> Config:
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        return cls(config={"model_type": "vit", "patch_size": 4, **sizes})

    def build(self, spec: ImageSpec) -> TransformersImage:
        return TransformersImage(self, spec)


class TransformersImage(nn.Module):
    """transformers' ``AutoModel`` of these settings; the last hidden state, a sequence or a grid, is the tokens."""

    precise: ClassVar[tuple[type[nn.Module], ...]] = (nn.BatchNorm2d,)

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        self.pooling = config.pooling
        self.backbone = built(settings_of({"image_size": spec.size, **config.config}), "pixel_values")
        if self.pooling != "pooler":
            without_pooler(self.backbone)
        example = torch.zeros(1, spec.channels, spec.size, spec.size)
        self.width, self.token_width = tried(self, example, f"an image of {spec.size} px")

    def forward(self, images_B3SS: Tensor) -> Features:
        made = self.backbone(pixel_values=images_B3SS.contiguous(memory_format=torch.channels_last))
        tokens_BTD = as_tokens(made.last_hidden_state)
        return Features(pooled(made, tokens_BTD, self.pooling), tokens_BTD, all_real(tokens_BTD))


def pooled(made: Any, tokens_BTD: Tensor, how: Pooling) -> Tensor:
    """One vector ``(B, D)`` for each image of a model's output."""
    if how == "pooler":
        vectors_BD: Tensor = made.pooler_output.flatten(1)
        return vectors_BD
    return tokens_BTD[:, 0] if how == "cls" else tokens_BTD.mean(1)

"""The simplest image encoder: flatten the pixels, one linear map."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ...config import PartConfig
from ...types import Features, ImageSpec


class Config(PartConfig):
    """The size of a linear map of pixels."""

    modality: ClassVar[str] = "image"
    width: int = Field(default=256, gt=0)
    """Width of the vector."""
    side: int = Field(default=32, gt=0)
    """Side in pixels that images are averaged down to first, so that large ones stay affordable."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(width=16, side=8)

    def build(self, spec: ImageSpec) -> Linear:
        return Linear(self, spec)


class Linear(nn.Module):
    """``W x + b`` on the flattened image; its only token is that vector."""

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        self.width = config.width
        self.side = min(config.side, spec.size)
        self.map = nn.Linear(spec.channels * self.side**2, config.width)

    def forward(self, images_B3SS: Tensor) -> Features:
        small = nn.functional.adaptive_avg_pool2d(images_B3SS, self.side)
        pooled_BD = self.map(small.flatten(1))
        return Features(pooled_BD, pooled_BD[:, None], pooled_BD.new_ones(len(pooled_BD), 1, dtype=torch.bool))

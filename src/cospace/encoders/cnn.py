"""A convolutional network with residual blocks (He et al. 2016), its last grid mixed by a few transformer blocks.

Convolutions learn fast from few pictures (Hassani et al. 2021; Xiao et al. 2021); the blocks on the small last grid
relate parts of the picture to each other, which a mean over cells cannot ("left of", "man and woman").
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ..config import PartConfig
from ..layers import AttentionPool, Block, Norm, sincos_positions
from ..types import Features, ImageSpec


class Config(PartConfig):
    """Channels of each stage (the grid halves between them), residual blocks in each, transformer blocks at the end."""

    modality: ClassVar[str] = "image"
    widths: tuple[int, ...] = (64, 128, 256)
    depth: int = Field(default=1, ge=1)
    mixers: int = Field(default=2, ge=0)
    heads: int = Field(default=4, gt=0)
    start: int = Field(default=32, gt=0)
    """Side of the grid that the stem produces; larger pictures are brought there by strides."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(widths=(8, 16), mixers=1, heads=2, start=8)

    def build(self, spec: ImageSpec) -> CNN:
        return CNN(self, spec)


class CNN(nn.Module):
    """Stem, residual stages, transformer blocks over the last grid, attention pooling."""

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        self.width = config.widths[-1]
        strides = max(0, round(math.log2(spec.size / config.start)))
        narrow = config.widths[0] // 2
        self.stem = stem(spec.channels, narrow, strides)
        stages: list[nn.Module] = []
        for before, after in zip((narrow, *config.widths), config.widths, strict=False):
            stages.append(convolution(before, after, pool=2))
            stages.extend(Residual(after) for _ in range(config.depth))
        self.stages = nn.Sequential(*stages)
        with torch.no_grad():
            side = self.stages(self.stem(torch.zeros(1, spec.channels, spec.size, spec.size))).shape[-1]
        self.register_buffer("positions_TD", sincos_positions(side, self.width), persistent=False)
        mixers = [Block(self.width, config.heads, ratio=2) for _ in range(config.mixers)]
        for block in mixers:
            block.start_at_identity()
        self.mixers = nn.ModuleList(mixers)
        self.norm = Norm(self.width)
        self.pool = AttentionPool(self.width, config.heads)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images_B3SS: Tensor) -> Features:
        grid = self.stages(self.stem(images_B3SS.contiguous(memory_format=torch.channels_last)))
        tokens_BTD = grid.flatten(2).transpose(1, 2) + self.positions_TD.to(grid.dtype)
        for block in self.mixers:
            tokens_BTD = block(tokens_BTD)
        tokens_BTD = self.norm(tokens_BTD)
        return Features(self.pool(tokens_BTD), tokens_BTD, tokens_BTD.new_ones(tokens_BTD.shape[:2], dtype=torch.bool))


class PixelNorm(nn.LayerNorm):
    """Layer norm over the channels of every cell of a grid (as in ConvNeXt, Liu et al. 2022).

    No statistic is shared between pictures, so what a picture maps to does not depend on its batch: training and
    evaluation see the same network, and micro-batches change nothing.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-5)

    def forward(self, grid: Tensor) -> Tensor:
        return super().forward(grid.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Residual(nn.Module):
    """``x + relu(norm(conv(x)))``; the branch works from the first step, which short runs need (see docs/log.md)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = convolution(width, width)

    def forward(self, grid: Tensor) -> Tensor:
        total: Tensor = grid + self.branch(grid)
        return total


def convolution(before: int, after: int, stride: int = 1, pool: int = 1) -> nn.Sequential:
    """A 3 x 3 convolution, the largest value of each ``pool x pool`` cells, norm, ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)]
    if pool > 1:
        layers.append(nn.MaxPool2d(pool))
    return nn.Sequential(*layers, PixelNorm(after), nn.ReLU())


def stem(channels: int, width: int, strides: int) -> nn.Sequential:
    """One convolution at full size, or one per halving for larger pictures."""
    if strides == 0:
        return convolution(channels, width)
    return nn.Sequential(*(convolution(channels if i == 0 else width, width, 2) for i in range(strides)))

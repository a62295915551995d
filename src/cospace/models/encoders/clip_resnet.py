"""CLIP's residual network (Radford et al. 2021, section 2.4): averages in place of strides, attention pooling."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ...config import PartConfig
from ...types import Features, ImageSpec, UserError
from ..layers import heads_of, merged
from ._published import all_real, attend
from .vit import patches

WIDENING = 4
"""How many times wider the end of a block is than its middle (He et al. 2016)."""


class Config(PartConfig):
    """The size of CLIP's ResNet; the defaults are those of RN50."""

    modality: ClassVar[str] = "image"
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    """Residual blocks of each stage."""
    width: int = Field(default=64, gt=1, multiple_of=2)
    """Channels that enter the first stage."""
    heads: int = Field(default=32, gt=0)
    """Heads of the attention pooling."""
    projection_dim: int = Field(default=1024, gt=0)
    """Dimensions of the space that the attention pooling leads into."""
    strides: tuple[Literal[1, 2], Literal[1, 2], Literal[1, 2], Literal[1, 2]] = (1, 2, 2, 2)
    """Average pooling at the start of each stage; with those of RN50 a cell of the last grid is 32 x 32 pixels."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(depths=(1, 2, 1, 1), width=4, heads=4, projection_dim=8, strides=(1, 1, 2, 1))

    def build(self, spec: ImageSpec) -> ClipResNet:
        return ClipResNet(self, spec)


class ClipResNet(nn.Module):
    """Three convolutions, four stages of residual blocks, attention pooling into the space.

    Its tokens are the cells of the last grid, ``32 * width`` channels each.
    """

    in_space = True

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        self.size, self.width = spec.size, config.projection_dim
        half, before = config.width // 2, config.width
        self.stem = nn.ModuleList(
            [
                convolution(spec.channels, half, side=3, stride=2),
                convolution(half, half, side=3),
                convolution(half, config.width, side=3),
            ]
        )
        stages: list[nn.Module] = []
        for number, (depth, stride) in enumerate(zip(config.depths, config.strides, strict=True)):
            middle = config.width * 2**number
            blocks = [Bottleneck(before, middle, stride)]
            before = WIDENING * middle
            blocks += [Bottleneck(before, middle) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.token_width = before
        side = patches(spec.size, 4 * math.prod(config.strides))
        self.pool = Pool(1 + side**2, before, config.heads, config.projection_dim)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images_B3SS: Tensor) -> Features:
        if images_B3SS.shape[-1] != self.size:
            raise UserError(
                f"this tower reads images of {self.size} px, {images_B3SS.shape[-1]} px were given; "
                "train it with data.image.progressive_resizing=0"
            )
        grid = images_B3SS.contiguous(memory_format=torch.channels_last)
        for layer in self.stem:
            grid = layer(grid).relu()
        grid = nn.functional.avg_pool2d(grid, 2)
        for stage in self.stages:
            grid = stage(grid)
        tokens_BTD = grid.flatten(2).transpose(1, 2)
        return Features(self.pool(tokens_BTD), tokens_BTD, all_real(tokens_BTD))


class Bottleneck(nn.Module):
    """A 1 x 1, a 3 x 3 and a 1 x 1 convolution added to their input, which a 1 x 1 convolution widens where it must."""

    def __init__(self, before: int, middle: int, stride: int = 1) -> None:
        super().__init__()
        after = WIDENING * middle
        self.stride = stride
        self.narrow = convolution(before, middle)
        self.mix = convolution(middle, middle, side=3)
        self.widen = convolution(middle, after, gain=0)  # a block starts as its input (Goyal et al. 2017)
        self.skip = nn.Identity() if stride == 1 and before == after else convolution(before, after)

    def forward(self, grid: Tensor) -> Tensor:
        made = self.mix(self.narrow(grid).relu()).relu()
        total: Tensor = self.widen(self._smaller(made)) + self.skip(self._smaller(grid))
        return total.relu()

    def _smaller(self, grid: Tensor) -> Tensor:
        return grid if self.stride == 1 else nn.functional.avg_pool2d(grid, self.stride)


class Pool(nn.Module):
    """Attention of the mean of all cells over itself and every cell; a linear map takes the result into the space."""

    def __init__(self, places: int, width: int, heads: int, projection_dim: int) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"{width} channels cannot be split among {heads} heads; choose heads that divide them")
        self.heads = heads
        self.positions_TD = nn.Parameter(width**-0.5 * torch.randn(places, width))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, projection_dim)
        for weight in (self.qkv.weight, self.out.weight):
            nn.init.normal_(weight, std=width**-0.5)

    def forward(self, cells_BTD: Tensor) -> Tensor:
        width = cells_BTD.shape[-1]
        tokens_BTD = torch.cat([cells_BTD.mean(1, keepdim=True), cells_BTD], dim=1) + self.positions_TD
        weight, bias = self.qkv.weight, self.qkv.bias
        query = nn.functional.linear(tokens_BTD[:, :1], weight[:width], bias[:width])
        both_BTD = nn.functional.linear(tokens_BTD, weight[width:], bias[width:])
        key, value = (heads_of(part, self.heads) for part in both_BTD.chunk(2, dim=-1))
        pooled_BE: Tensor = self.out(merged(attend(heads_of(query, self.heads), key, value)))[:, 0]
        return pooled_BE


def convolution(before: int, after: int, side: int = 1, stride: int = 1, gain: float = 1) -> nn.Sequential:
    """A ``side x side`` convolution and a batch norm, which starts with this ``gain``."""
    layer, norm = nn.Conv2d(before, after, side, stride, padding=side // 2, bias=False), nn.BatchNorm2d(after)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.constant_(norm.weight, gain)
    return nn.Sequential(layer, norm)

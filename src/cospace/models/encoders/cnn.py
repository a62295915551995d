"""A convolutional network with residual blocks (He et al. 2016), and a few transformer blocks on its last grid.

Convolutions learn fast from few images (Hassani et al. 2021; Xiao et al. 2021); the blocks on the small last grid
relate parts of the image to each other, which a mean over cells cannot ("left of", "man and woman").
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ...config import PartConfig
from ...types import Features, ImageSpec
from ..layers import AttentionPool, Block, Norm, Positions


class Config(PartConfig):
    """The size of a convolutional network with transformer blocks at its end."""

    modality: ClassVar[str] = "image"
    widths: tuple[int, ...] = (64, 128, 256)
    """Channels of each stage; every stage halves the grid."""
    depth: int = Field(default=1, ge=1)
    """Residual blocks in each stage."""
    transformer_blocks: int = Field(default=2, ge=0)
    """Transformer blocks on the last grid."""
    heads: int = Field(default=4, gt=0)
    """Attention heads of the transformer blocks and of the pooling; they divide the last width."""
    stem_grid: int = Field(default=32, gt=0)
    """Side of the stem's output grid; larger images are brought there by strides."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(widths=(8, 16), transformer_blocks=1, heads=2, stem_grid=8)

    def build(self, spec: ImageSpec) -> CNN:
        return CNN(self, spec)


class CNN(nn.Module):
    """Fixed filters, residual stages, transformer blocks over the last grid, attention pooling."""

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        self.width = config.widths[-1]
        strides = max(0, round(math.log2(spec.size / config.stem_grid)))
        self.stem = stem(spec.channels, config.widths[0] // 2, strides)
        stages: list[nn.Module] = []
        example = torch.zeros(1, spec.channels, spec.size, spec.size)
        before = self.stem(example).shape[1]
        for width in config.widths:
            stages.append(convolution(before, width, pool=2))
            stages.extend(Residual(width) for _ in range(config.depth))
            before = width
        self.stages = nn.Sequential(*stages)
        with torch.no_grad():
            self.positions = Positions(self.stages(self.stem(example)).shape[-1], self.width)
        blocks = [Block(self.width, config.heads, ratio=2) for _ in range(config.transformer_blocks)]
        for block in blocks:
            block.start_at_identity()
        self.transformer_blocks = nn.ModuleList(blocks)
        self.norm = Norm(self.width)
        self.pool = AttentionPool(self.width, config.heads)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images_B3SS: Tensor) -> Features:
        grid = self.stages(self.stem(images_B3SS.contiguous(memory_format=torch.channels_last)))
        tokens_BTD = self.positions(grid.flatten(2).transpose(1, 2))
        for block in self.transformer_blocks:
            tokens_BTD = block(tokens_BTD)
        tokens_BTD = self.norm(tokens_BTD)
        return Features(self.pool(tokens_BTD), tokens_BTD, tokens_BTD.new_ones(tokens_BTD.shape[:2], dtype=torch.bool))


class PixelNorm(nn.LayerNorm):
    """Layer norm over the channels of every cell of a grid (as in ConvNeXt, Liu et al. 2022).

    No statistic is shared between images, so an image's vector does not depend on its batch: training and evaluation
    see the same network, and micro-batches change nothing.
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
    """Fixed filters at full size or, for larger images, at half of it and followed by a convolution per halving."""
    filters = Filters(channels, width, stride=min(2, 1 + strides))
    halvings = [convolution(filters.width if i == 0 else width, width, 2) for i in range(strides - 1)]
    return nn.Sequential(filters, *halvings)


class Filters(nn.Module):
    """The first convolution, fixed: what varies most in 3 x 3 patches of images, each with both its signs.

    A trained first layer ends up close to the whitened principal components of its patches, and a network that starts
    there learns sooner (Jordan 2024). Those of natural images are close to a cosine transform over channels, rows
    and columns, so no data is looked at: neighbouring pixels are taken to correlate by ``NEAR``, the channels of one
    pixel by ``ALIKE``.
    """

    NEAR, ALIKE, NOISE = 0.93, 0.9, 0.05
    LEAST = 8
    """Filters that any network gets; with fewer, colours would be lost."""

    weight: Tensor

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        weight_K333 = self.components(channels)[: max(self.LEAST, width // 2)]
        self.width = 2 * len(weight_K333)
        self.register_buffer("weight", torch.cat([weight_K333, -weight_K333]))

    @classmethod
    def components(cls, channels: int) -> Tensor:
        """All ``9 * channels`` filters ``(K, channels, 3, 3)``, the largest variance first, scaled towards one."""
        distance_33 = (torch.arange(3)[:, None] - torch.arange(3)).abs()
        alike_CC = cls.ALIKE + (1 - cls.ALIKE) * torch.eye(channels)
        space_33, space_3 = _cosines(cls.NEAR**distance_33)
        colour_CC, colour_C = _cosines(alike_CC)
        variance_K = torch.einsum("c,i,j->cij", colour_C, space_3, space_3).flatten()
        filters_K = torch.einsum("ca,ix,jy->cijaxy", colour_CC, space_33, space_33).reshape(-1, channels, 3, 3)
        order = variance_K.argsort(descending=True, stable=True)
        scaled: Tensor = filters_K[order] / (variance_K[order] + cls.NOISE).sqrt()[:, None, None, None]
        return scaled

    def forward(self, images_B3SS: Tensor) -> Tensor:
        return nn.functional.conv2d(images_B3SS, self.weight, stride=self.stride, padding=1).relu()


def _cosines(covariance_NN: Tensor) -> tuple[Tensor, Tensor]:
    """The orthonormal cosine transform ``(N, N)``, and the variance of each of its values."""
    size = len(covariance_NN)
    transform_NN = torch.cos(math.pi / size * torch.outer(torch.arange(size), torch.arange(size) + 0.5))
    transform_NN = transform_NN / transform_NN.norm(dim=1, keepdim=True)
    return transform_NN, (transform_NN @ covariance_NN @ transform_NN.T).diagonal()

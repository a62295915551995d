"""EfficientNet (Tan and Le 2019) as ALIGN has it (Jia et al. 2021): global average pooling over the last grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ...config import PartConfig
from ...types import Features, ImageSpec, UserError
from ._published import all_real


class Config(PartConfig):
    """The size of an EfficientNet, in the terms of transformers; the defaults are those of B7, as in ALIGN.

    The tuples have an entry for each stage.
    """

    modality: ClassVar[str] = "image"
    width_coefficient: float = Field(default=2.0, gt=0)
    """Multiplies the channels."""
    depth_coefficient: float = Field(default=3.1, gt=0)
    """Multiplies the blocks of each stage."""
    depth_divisor: int = Field(default=8, gt=0)
    """Channels are rounded to multiples of this."""
    stem_channels: int = Field(default=32, gt=0)
    """Channels of the stem, before the coefficient."""
    out_channels: tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    """Channels of each stage, before the coefficient."""
    num_block_repeats: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    """Blocks of each stage, before the coefficient."""
    kernel_sizes: tuple[Literal[3, 5, 7], ...] = (3, 3, 5, 3, 5, 5, 3)
    """Side of the depthwise convolutions of each stage."""
    strides: tuple[Literal[1, 2], ...] = (1, 2, 2, 2, 1, 2, 1)
    """Stride of the first block of each stage."""
    expand_ratios: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    """How many times wider the middle of a block is than its input, for each stage."""
    squeeze_expansion_ratio: float = Field(default=0.25, gt=0)
    """Width of squeeze-and-excitation, as a share of a block's input channels."""
    depthwise_padding: tuple[int, ...] = ()
    """Blocks, numbered over all stages from 0, that pad all four sides before a stride, not the last two alone."""
    batch_norm_eps: float = Field(default=1e-3, gt=0)
    """Epsilon of the batch norms."""
    momentum: float = Field(default=0.1, gt=0, le=1)
    """Momentum of the batch norms as torch defines it: the share of a batch in the running statistics."""
    drop_connect_rate: float = Field(default=0.2, ge=0, lt=1)
    """Stochastic depth (Huang et al. 2016): the chance that the last block is left out of a step; less before it."""
    in_space: bool = False
    """Whether the mean over the last grid is itself the embedding, as in ALIGN; otherwise a projection follows."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(
            width_coefficient=1, depth_coefficient=1, stem_channels=8, drop_connect_rate=0,
            out_channels=(8, 16), num_block_repeats=(1, 2), kernel_sizes=(3, 5), strides=(1, 2), expand_ratios=(1, 2),
        )  # fmt: skip

    def build(self, spec: ImageSpec) -> EfficientNet:
        return EfficientNet(self, spec)

    def rounded(self, channels: int) -> int:
        """Scaled channels: the nearest multiple of ``depth_divisor`` that takes away a tenth at most."""
        wanted, divisor = channels * self.width_coefficient, self.depth_divisor
        nearest = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
        return nearest if nearest >= 0.9 * wanted else nearest + divisor

    def shapes(self) -> list[Shape]:
        """Every block, first to last. The first of a stage changes the channels and is not added to its input."""
        stages = (self.out_channels, self.num_block_repeats, self.kernel_sizes, self.strides, self.expand_ratios)
        lengths = [len(part) for part in stages]
        if len(set(lengths)) != 1 or 0 in lengths:
            raise UserError(
                "an EfficientNet's out_channels, num_block_repeats, kernel_sizes, strides and expand_ratios need one "
                f"entry for each stage; they have {', '.join(map(str, lengths))}"
            )
        made: list[Shape] = []
        before = self.rounded(self.stem_channels)
        total = sum(self._blocks(repeats) for repeats in self.num_block_repeats)
        for channels, repeats, kernel, stride, ratio in zip(*stages, strict=True):
            after = self.rounded(channels)
            for place in range(self._blocks(repeats)):
                number, first = len(made), place == 0
                made.append(
                    Shape(
                        before=before,
                        middle=ratio * before,
                        after=after,
                        squeeze_excite=max(1, int(before * self.squeeze_expansion_ratio)),
                        kernel=kernel,
                        stride=stride if first else 1,
                        square=number in self.depthwise_padding,
                        added=not first,
                        drop=self.drop_connect_rate * number / total,
                    )
                )
                before = after
        return made

    def _blocks(self, repeats: int) -> int:
        return math.ceil(self.depth_coefficient * repeats)


@dataclass(frozen=True, slots=True)
class Shape:
    """One block: its channels, its depthwise convolution, whether it is residual, its chance to be left out."""

    before: int
    middle: int
    after: int
    squeeze_excite: int
    kernel: int
    stride: int
    square: bool
    added: bool
    drop: float


class EfficientNet(nn.Module):
    """A convolution with stride 2, the blocks, the mean over all cells, which are the tokens."""

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        shapes = config.shapes()
        self.in_space, self.width = config.in_space, shapes[-1].after
        self.least = 2 * math.prod(config.strides)
        first = nn.Conv2d(spec.channels, config.rounded(config.stem_channels), 3, stride=2, bias=False)
        self.stem = nn.Sequential(*normed(first, config), nn.SiLU())
        self.blocks = nn.ModuleList(Block(shape, config) for shape in shapes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images_B3SS: Tensor) -> Features:
        if images_B3SS.shape[-1] < self.least:
            raise UserError(
                f"images of {images_B3SS.shape[-1]} px are too small for this tower, which needs {self.least} px; "
                "set data.image.size, and data.image.progressive_resizing=0 if three quarters of it are too small"
            )
        grid = images_B3SS.contiguous(memory_format=torch.channels_last)
        grid = self.stem(nn.functional.pad(grid, (0, 1, 0, 1)))
        for block in self.blocks:
            grid = block(grid)
        tokens_BTD = grid.flatten(2).transpose(1, 2)
        return Features(grid.mean((2, 3)), tokens_BTD, all_real(tokens_BTD))


class Block(nn.Module):
    """Widen, filter every channel by itself, scale the channels, narrow (Sandler et al. 2018; Hu et al. 2018)."""

    def __init__(self, shape: Shape, config: Config) -> None:
        super().__init__()
        self.added, self.drop = shape.added, shape.drop
        widen = nn.Conv2d(shape.before, shape.middle, 1, bias=False)
        self.widen = nn.Identity() if shape.middle == shape.before else nn.Sequential(*normed(widen, config), nn.SiLU())
        half = shape.kernel // 2
        self.padding = (half - 1, half) * 2 if shape.stride == 2 and not shape.square else None
        alone = nn.Conv2d(
            shape.middle, shape.middle, shape.kernel, shape.stride, padding=0 if self.padding else half,
            groups=shape.middle, bias=False,
        )  # fmt: skip
        self.filter = nn.Sequential(*normed(alone, config), nn.SiLU())
        self.se_reduce = nn.Conv2d(shape.middle, shape.squeeze_excite, 1)
        self.se_expand = nn.Conv2d(shape.squeeze_excite, shape.middle, 1)
        self.narrow = nn.Sequential(*normed(nn.Conv2d(shape.middle, shape.after, 1, bias=False), config))

    def forward(self, grid: Tensor) -> Tensor:
        made = self.widen(grid)
        made = self.filter(made if self.padding is None else nn.functional.pad(made, self.padding))
        channels_BC11 = self.se_expand(nn.functional.silu(self.se_reduce(made.mean((2, 3), keepdim=True)))).sigmoid()
        made = self.narrow(made * channels_BC11)
        return grid + self._sometimes(made) if self.added else made

    def _sometimes(self, made: Tensor) -> Tensor:
        """While training nothing for some images, and more for the others, so that the mean stays."""
        if not self.training or self.drop == 0:
            return made
        kept_B111 = torch.rand(len(made), 1, 1, 1, device=made.device) >= self.drop
        return made * kept_B111.to(made.dtype) / (1 - self.drop)


def normed(layer: nn.Conv2d, config: Config) -> tuple[nn.Module, nn.Module]:
    """A convolution and a batch norm."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer, nn.BatchNorm2d(layer.out_channels, eps=config.batch_norm_eps, momentum=config.momentum)

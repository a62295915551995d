"""EfficientNet (Tan and Le 2019) as ALIGN has it (Jia et al. 2021): the mean over its last grid is the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..config import PartConfig
from ..types import Features, ImageSpec, UserError
from ._published import all_real


class Config(PartConfig):
    """As published for B7, ALIGN's, unless said otherwise; the tuples have an entry for each stage.

    ``channels`` and ``repeats`` are B0's, which ``wider`` and ``deeper`` multiply; channels are multiples of
    ``divisor``. A block's middle is ``ratios`` times as wide as its input, and its gates are computed from ``squeeze``
    times as many numbers as the input has channels. Blocks whose number, counted over all stages from 0, is in
    ``square`` pad all four sides before a stride; the others pad the right and the bottom by more.

    ``momentum`` is the share of a batch in the running statistics, and ``drop`` the chance that the last block is left
    out of a step; it falls to zero towards the first (Huang et al. 2016). With ``in_space`` the mean over the last grid
    is itself the vector in the space, as ALIGN has it; otherwise a linear map leads there.
    """

    modality: ClassVar[str] = "image"
    wider: float = Field(default=2.0, gt=0)
    deeper: float = Field(default=3.1, gt=0)
    divisor: int = Field(default=8, gt=0)
    stem: int = Field(default=32, gt=0)
    channels: tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    repeats: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    kernels: tuple[Literal[3, 5, 7], ...] = (3, 3, 5, 3, 5, 5, 3)
    strides: tuple[Literal[1, 2], ...] = (1, 2, 2, 2, 1, 2, 1)
    ratios: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    squeeze: float = Field(default=0.25, gt=0)
    square: tuple[int, ...] = ()
    eps: float = Field(default=1e-3, gt=0)
    momentum: float = Field(default=0.1, gt=0, le=1)
    drop: float = Field(default=0.2, ge=0, lt=1)
    in_space: bool = False

    @classmethod
    def tiny(cls) -> Config:
        return cls(
            wider=1, deeper=1, stem=8, drop=0,
            channels=(8, 16), repeats=(1, 2), kernels=(3, 5), strides=(1, 2), ratios=(1, 2),
        )  # fmt: skip

    def build(self, spec: ImageSpec) -> EfficientNet:
        return EfficientNet(self, spec)

    def rounded(self, channels: int) -> int:
        """So many channels made wider: the nearest multiple of ``divisor`` that takes away a tenth at most."""
        wanted = channels * self.wider
        nearest = max(self.divisor, int(wanted + self.divisor / 2) // self.divisor * self.divisor)
        return nearest if nearest >= 0.9 * wanted else nearest + self.divisor

    def shapes(self) -> list[Shape]:
        """Every block, first to last. The first of a stage changes the channels and is not added to its input."""
        lengths = [len(part) for part in (self.channels, self.repeats, self.kernels, self.strides, self.ratios)]
        if len(set(lengths)) != 1 or 0 in lengths:
            raise UserError(
                "an EfficientNet's channels, repeats, kernels, strides and ratios need one entry for each stage; they "
                f"have {', '.join(map(str, lengths))}"
            )
        made: list[Shape] = []
        before = self.rounded(self.stem)
        times = [math.ceil(self.deeper * repeats) for repeats in self.repeats]
        stages = zip(self.channels, self.kernels, self.strides, self.ratios, times, strict=True)
        for channels, kernel, stride, ratio, count in stages:
            after = self.rounded(channels)
            for place in range(count):
                number, first = len(made), place == 0
                made.append(
                    Shape(
                        before=before,
                        middle=ratio * before,
                        after=after,
                        gate=max(1, int(before * self.squeeze)),
                        kernel=kernel,
                        stride=stride if first else 1,
                        square=number in self.square,
                        added=not first,
                        drop=self.drop * number / sum(times),
                    )
                )
                before = after
        return made


@dataclass(frozen=True, slots=True)
class Shape:
    """Channels ``before``, in the ``middle`` and ``after``, and those of the ``gate``; see :class:`Config`."""

    before: int
    middle: int
    after: int
    gate: int
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
        first = nn.Conv2d(spec.channels, config.rounded(config.stem), 3, stride=2, bias=False)
        self.stem = nn.Sequential(*normed(first, config), nn.SiLU())
        self.blocks = nn.ModuleList(Block(shape, config) for shape in shapes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images_B3SS: Tensor) -> Features:
        if images_B3SS.shape[-1] < self.least:
            raise UserError(
                f"pictures of {images_B3SS.shape[-1]} px are too small for this tower, which needs {self.least} px; "
                "set data.size, and data.coarse=0 if three quarters of it are too small"
            )
        grid = images_B3SS.contiguous(memory_format=torch.channels_last)
        grid = self.stem(nn.functional.pad(grid, (0, 1, 0, 1)))
        for block in self.blocks:
            grid = block(grid)
        tokens_BTD = grid.flatten(2).transpose(1, 2)
        return Features(grid.mean((2, 3)), tokens_BTD, all_real(tokens_BTD))


class Block(nn.Module):
    """Widen, filter every channel by itself, gate the channels, narrow (Sandler et al. 2018; Hu et al. 2018)."""

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
        self.gate_in = nn.Conv2d(shape.middle, shape.gate, 1)
        self.gate_out = nn.Conv2d(shape.gate, shape.middle, 1)
        self.narrow = nn.Sequential(*normed(nn.Conv2d(shape.middle, shape.after, 1, bias=False), config))

    def forward(self, grid: Tensor) -> Tensor:
        made = self.widen(grid)
        made = self.filter(made if self.padding is None else nn.functional.pad(made, self.padding))
        gate = self.gate_out(nn.functional.silu(self.gate_in(made.mean((2, 3), keepdim=True)))).sigmoid()
        made = self.narrow(made * gate)
        return grid + self._sometimes(made) if self.added else made

    def _sometimes(self, made: Tensor) -> Tensor:
        """While training nothing for some pictures, and more for the others, so that the mean stays."""
        if not self.training or self.drop == 0:
            return made
        kept_B111 = torch.rand(len(made), 1, 1, 1, device=made.device) >= self.drop
        return made * kept_B111.to(made.dtype) / (1 - self.drop)


def normed(layer: nn.Conv2d, config: Config) -> tuple[nn.Module, nn.Module]:
    """A convolution and a batch norm."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer, nn.BatchNorm2d(layer.out_channels, eps=config.eps, momentum=config.momentum)

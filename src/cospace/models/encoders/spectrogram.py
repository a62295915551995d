"""Sounds by their log-mel spectrograms: strided convolutions, then a few transformer blocks over time.

Convolutions learn fast from few sounds and bring 100 frames a second down to 25 (as in Gulati et al. 2020); the blocks
relate what is heard at different times. What stands in the padding has no effect: it is set to zero before every layer
that reads neighbours, which is what lies beyond the end of a sound that was not padded.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ...config import PartConfig
from ...modalities.audio.processor import AudioBatch, AudioSpec
from ...types import Features
from ..layers import AttentionPool, Block, Norm


class Config(PartConfig):
    """The size of a convolutional network with transformer blocks over time."""

    modality: ClassVar[str] = "audio"
    channels: tuple[int, ...] = (16, 32, 48)
    """Channels of each 3 x 3 convolution; mel bands halve at each of them, frames at the first two."""
    width: int = Field(default=128, gt=0)
    """Width of the tokens."""
    depth: int = Field(default=2, ge=0)
    """Number of transformer blocks."""
    heads: int = Field(default=2, gt=0)
    """Attention heads; they divide the width."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of the channels of a frame that a training step leaves out, before the blocks."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(channels=(4, 8, 8), width=16, depth=1, heads=2, dropout=0.0)

    def build(self, spec: AudioSpec) -> Spectrogram:
        return Spectrogram(self, spec)


class Spectrogram(nn.Module):
    """Masked convolutions, positions, transformer blocks, attention pooling over the real frames."""

    def __init__(self, config: Config, spec: AudioSpec) -> None:
        super().__init__()
        self.width = config.width
        stages, before, bands = [], 1, spec.mel_bins
        for number, after in enumerate(config.channels):
            stages.append(Stage(before, after, 2 if number < 2 else 1))
            before, bands = after, -(-bands // 2)
        self.stages = nn.ModuleList(stages)
        self.embed = nn.Linear(before * bands, config.width, bias=False)
        self.embed_norm = Norm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        blocks = [Block(config.width, config.heads, ratio=2) for _ in range(config.depth)]
        for block in blocks:
            block.start_at_identity()
        self.blocks = nn.ModuleList(blocks)
        self.norm = Norm(config.width)
        self.pool = AttentionPool(config.width, config.heads)

    def forward(self, sounds: AudioBatch) -> Features:
        grid_BCTF = sounds.mels_BTF[:, None].to(self.embed.weight.dtype)
        mask_BT = sounds.mask_BT
        for stage in self.stages:
            grid_BCTF, mask_BT = stage(grid_BCTF, mask_BT)
        tokens_BTD = self.embed_norm(self.embed(grid_BCTF.transpose(1, 2).flatten(2)))
        tokens_BTD = self.dropout(tokens_BTD) + positions(tokens_BTD)
        for block in self.blocks:
            tokens_BTD = block(tokens_BTD, mask_BT)
        tokens_BTD = self.norm(tokens_BTD)
        return Features(self.pool(tokens_BTD, mask_BT), tokens_BTD, mask_BT)


class Stage(nn.Module):
    """Convolution at every ``stride``-th frame and every other band, norm over channels, ReLU; padding stays out."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.convolution = nn.Conv2d(before, after, 3, stride=(stride, 2), padding=1, bias=False)
        self.norm = nn.LayerNorm(after)

    def forward(self, grid_BCTF: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        grid_BCTF = self.convolution(grid_BCTF.masked_fill(~mask_BT[:, None, :, None], 0.0))
        grid_BCTF = self.norm(grid_BCTF.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).relu()
        return grid_BCTF, mask_BT[:, :: self.stride]


def positions(tokens_BTD: Tensor) -> Tensor:
    """Sines and cosines of the time ``(T, D)`` (Vaswani et al. 2017), small beside what is heard; for any length."""
    length, width = tokens_BTD.shape[1:]
    half = width // 2
    frequency = 1.0 / 1000.0 ** (torch.arange(half, device=tokens_BTD.device) / max(1, half - 1))
    angle = torch.arange(length, device=tokens_BTD.device)[:, None] * frequency
    both = torch.cat([angle.sin(), angle.cos()], dim=1)
    return 0.3 * nn.functional.pad(both, (0, width - 2 * half)).to(tokens_BTD.dtype)

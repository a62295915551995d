"""The Vision Transformer (Dosovitskiy et al. 2021), small: patches, transformer blocks, attention pooling."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ...config import PartConfig
from ...types import Features, ImageSpec, UserError
from ..layers import AttentionPool, Block, Norm, Positions


class Config(PartConfig):
    """The size of a Vision Transformer, and how many patches it sees while training."""

    modality: ClassVar[str] = "image"
    patch_size: int = Field(default=8, gt=0)
    """Side of a patch in pixels; it divides the image size."""
    width: int = Field(default=192, gt=0)
    """Width of the tokens."""
    depth: int = Field(default=6, gt=0)
    """Number of transformer blocks."""
    heads: int = Field(default=3, gt=0)
    """Attention heads; they divide the width."""
    patch_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the patches that are left out while training (FLIP, Li et al. 2023); half of them halves the cost."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(patch_size=4, width=16, depth=2, heads=2)

    def build(self, spec: ImageSpec) -> ViT:
        return ViT(self, spec)


class ViT(nn.Module):
    """Patches as tokens; positions are fixed sine-cosine, so any square size divisible by the patch works."""

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        self.patch_size, self.width, self.keep = config.patch_size, config.width, 1 - config.patch_dropout
        self.embed = nn.Linear(spec.channels * config.patch_size**2, config.width)
        self.positions = Positions(patches(spec.size, config.patch_size), config.width)
        blocks = [Block(config.width, config.heads) for _ in range(config.depth)]
        for block in blocks:
            block.start_at_identity()
        self.blocks = nn.ModuleList(blocks)
        self.norm = Norm(config.width)
        self.pool = AttentionPool(config.width, config.heads)

    def forward(self, images_B3SS: Tensor) -> Features:
        tokens_BTD = self.positions(self.embed(patches_of(images_B3SS, self.patch_size)))
        if self.training and self.keep < 1:
            tokens_BTD = drop_tokens(tokens_BTD, self.keep)
        for block in self.blocks:
            tokens_BTD = block(tokens_BTD)
        tokens_BTD = self.norm(tokens_BTD)
        return Features(self.pool(tokens_BTD), tokens_BTD, tokens_BTD.new_ones(tokens_BTD.shape[:2], dtype=torch.bool))


def patches(side: int, patch_size: int) -> int:
    """Patches along a side, or why there are none."""
    if side % patch_size:
        raise UserError(f"images of {side} px cannot be cut into patches of {patch_size} px; choose one that divides")
    return side // patch_size


def patches_of(images_BCSS: Tensor, patch_size: int) -> Tensor:
    """The pixels of every patch, channel by channel and row by row: ``(B, T, C * patch_size**2)``.

    In one pass over memory that leaves a patch's numbers side by side; what ``pixel_unshuffle`` leaves would be
    copied again by the product that follows.
    """
    batch, channels, side, _ = images_BCSS.shape
    cells = patches(side, patch_size)
    cut = images_BCSS.reshape(batch, channels, cells, patch_size, cells, patch_size)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, cells * cells, channels * patch_size**2)


def drop_tokens(tokens_BTD: Tensor, keep: float) -> Tensor:
    """A random subset of each row's tokens, the same number in every row."""
    batch, length, width = tokens_BTD.shape
    kept = max(1, round(length * keep))
    chosen_BK = torch.rand(batch, length, device=tokens_BTD.device).argsort(1)[:, :kept]
    return tokens_BTD.gather(1, chosen_BK[..., None].expand(-1, -1, width))

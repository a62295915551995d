"""A small bidirectional text transformer (Vaswani et al. 2017), mean-pooled over real tokens only."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ...config import PartConfig
from ...modalities.text.tokenizer import TokenBatch
from ...types import Features, TextSpec
from ..layers import Block, Norm, masked_mean
from ..packing import through


class Config(PartConfig):
    """The size of a text transformer."""

    modality: ClassVar[str] = "text"
    width: int = Field(default=192, gt=0)
    """Width of the tokens."""
    depth: int = Field(default=4, gt=0)
    """Number of transformer blocks."""
    heads: int = Field(default=3, gt=0)
    """Attention heads; they divide the width."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(width=16, depth=2, heads=2)

    def build(self, spec: TextSpec) -> Transformer:
        return Transformer(self, spec)


class Transformer(nn.Module):
    """Token and position embeddings, transformer blocks, the mean of the real tokens."""

    def __init__(self, config: Config, spec: TextSpec) -> None:
        super().__init__()
        self.width = config.width
        self.embed = nn.Embedding(spec.vocabulary, config.width)
        self.positions = nn.Embedding(spec.length, config.width)
        nn.init.normal_(self.embed.weight, std=0.5)
        nn.init.normal_(self.positions.weight, std=0.1)
        blocks = [Block(config.width, config.heads) for _ in range(config.depth)]
        for block in blocks:
            block.start_at_identity()
        self.neighbours = nn.Parameter(0.5 * torch.randn(2, config.width))
        self.blocks = nn.ModuleList(blocks)
        self.norm = Norm(config.width)

    def forward(self, texts: TokenBatch) -> Features:
        place_T = torch.arange(texts.ids_BT.shape[1], device=texts.ids_BT.device)
        tokens_BTD = self.embed(texts.ids_BT) + self.positions(place_T)
        tokens_BTD = (tokens_BTD * texts.mask_BT[..., None]).to(self.neighbours.dtype)
        tokens_BTD = with_neighbours(tokens_BTD, self.neighbours)
        tokens_BTD = self.norm(through(self.blocks, tokens_BTD, texts.mask_BT))
        return Features(masked_mean(tokens_BTD, texts.mask_BT), tokens_BTD, texts.mask_BT)


def with_neighbours(tokens_BTD: Tensor, weights_2D: Tensor) -> Tensor:
    """Every token plus the one before and the one after it, each weighted channel by channel.

    "Large pink cross" is one thing to the first block already; attention alone needs many steps to find that out.
    """
    before = nn.functional.pad(tokens_BTD[:, :-1], (0, 0, 1, 0))
    after = nn.functional.pad(tokens_BTD[:, 1:], (0, 0, 0, 1))
    return tokens_BTD + before * weights_2D[0] + after * weights_2D[1]

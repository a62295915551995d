"""BERT (Devlin et al. 2019) and its kin MiniLM and DistilBERT as text towers: post-norm, bidirectional."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..layers import masked_mean
from ..tokens import TokenBatch
from ..types import Features, TextSpec
from ._published import TowerConfig, blocks, table


class Config(TowerConfig):
    """As published for BERT-base unless said otherwise.

    ``pool`` is what stands for a text: the mean of its real tokens, as sentence-transformers takes it, or the state of
    its first token. ``space`` adds a linear map with a bias to a space of that width, as ALIGN has it.
    """

    modality: ClassVar[str] = "text"
    eps: float = 1e-12
    pool: Literal["mean", "first"] = "mean"
    space: int | None = Field(default=None, gt=0)

    @classmethod
    def tiny(cls) -> Config:
        return cls(width=16, depth=2, heads=2, hidden=32)

    def build(self, spec: TextSpec) -> Bert:
        return Bert(self, spec)


class Bert(nn.Module):
    """Words and positions, a norm, post-norm blocks that see the real tokens, pooling.

    The embedding of the first kind of segment, which every token of a single text has, is part of the positions.
    """

    def __init__(self, config: Config, spec: TextSpec) -> None:
        super().__init__()
        self.pool, self.in_space = config.pool, config.space is not None
        self.width, self.token_width = config.space or config.width, config.width
        self.embed = table(spec.vocabulary, config.width)
        self.positions = table(spec.length, config.width)
        self.norm_in = nn.LayerNorm(config.width, eps=config.eps)
        self.blocks = blocks(config, norm_first=False)
        self.head = nn.Identity() if config.space is None else nn.Linear(config.width, config.space)

    def forward(self, texts: TokenBatch) -> Features:
        place_T = torch.arange(texts.ids_BT.shape[1], device=texts.ids_BT.device)
        tokens_BTD: Tensor = (self.embed(texts.ids_BT) + self.positions(place_T)).to(self.norm_in.weight.dtype)
        tokens_BTD = self.norm_in(tokens_BTD)
        visible = texts.mask_BT[:, None, None, :]
        for block in self.blocks:
            tokens_BTD = block(tokens_BTD, visible)
        pooled_BD = masked_mean(tokens_BTD, texts.mask_BT) if self.pool == "mean" else tokens_BTD[:, 0]
        return Features(self.head(pooled_BD), tokens_BTD, texts.mask_BT)

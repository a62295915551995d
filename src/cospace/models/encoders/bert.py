"""BERT (Devlin et al. 2019) and its kin MiniLM and DistilBERT as text towers: post-norm, bidirectional."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ...modalities.text.tokenizer import TokenBatch
from ...types import Features, TextSpec
from ..layers import masked_mean
from ..packing import through
from ._published import TowerConfig, blocks, table


class Config(TowerConfig):
    """The size of a BERT; the defaults are those of BERT-base."""

    modality: ClassVar[str] = "text"
    layer_norm_eps: float = Field(default=1e-12, gt=0)
    """Epsilon of the layer norms."""
    pooling: Literal["mean", "cls"] = "mean"
    """What stands for a text: the ``mean`` of its tokens (sentence-transformers), or the first token, ``cls``."""
    projection_dim: int | None = Field(default=None, gt=0)
    """Dimensions of the tower's own linear projection into the space, with a bias, as in ALIGN; none where open."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(width=16, depth=2, heads=2, mlp_dim=32)

    def build(self, spec: TextSpec) -> Bert:
        return Bert(self, spec)


class Bert(nn.Module):
    """Token and position embeddings, a norm, post-norm blocks that attend to the real tokens, pooling.

    The embedding of the first segment type, which every token of a single text has, is added to the positions.
    """

    def __init__(self, config: Config, spec: TextSpec) -> None:
        super().__init__()
        self.pooling, self.in_space = config.pooling, config.projection_dim is not None
        self.width, self.token_width = config.projection_dim or config.width, config.width
        self.embed = table(spec.vocabulary, config.width)
        self.positions = table(spec.length, config.width)
        self.norm_in = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.blocks = blocks(config, norm_first=False)
        self.head = nn.Identity() if config.projection_dim is None else nn.Linear(config.width, self.width)

    def forward(self, texts: TokenBatch) -> Features:
        place_T = torch.arange(texts.ids_BT.shape[1], device=texts.ids_BT.device)
        tokens_BTD: Tensor = (self.embed(texts.ids_BT) + self.positions(place_T)).to(self.norm_in.weight.dtype)
        tokens_BTD = self.norm_in(tokens_BTD)
        tokens_BTD = through(self.blocks, tokens_BTD, texts.mask_BT, texts.mask_BT[:, None, None, :])
        pooled_BD = masked_mean(tokens_BTD, texts.mask_BT) if self.pooling == "mean" else tokens_BTD[:, 0]
        return Features(self.head(pooled_BD), tokens_BTD, texts.mask_BT)

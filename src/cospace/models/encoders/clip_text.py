"""CLIP's text tower (Radford et al. 2021): a causal transformer, pooled at the end token."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ...modalities.text.tokenizer import TokenBatch
from ...types import Features, TextSpec
from ..packing import before, through
from ._published import TowerConfig, blocks, table


class Config(TowerConfig):
    """The size of CLIP's text tower; the defaults are those beside ViT-B/32."""

    modality: ClassVar[str] = "text"
    width: int = Field(default=512, gt=0)
    """Width of the tokens."""
    heads: int = Field(default=8, gt=0)
    """Attention heads; they divide the width."""
    mlp_dim: int = Field(default=2048, gt=0)
    """Width of the hidden layer of each block's MLP."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(width=16, depth=2, heads=2, mlp_dim=32)

    def build(self, spec: TextSpec) -> ClipText:
        return ClipText(self, spec)


class ClipText(nn.Module):
    """Tokens attend to those before them, so that padding after the end token has no effect."""

    def __init__(self, config: Config, spec: TextSpec) -> None:
        super().__init__()
        self.width = config.width
        self.embed = table(spec.vocabulary, config.width)
        self.positions = table(spec.length, config.width, std=0.01)
        self.blocks = blocks(config)
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)

    def forward(self, texts: TokenBatch) -> Features:
        length = texts.ids_BT.shape[1]
        place_T = torch.arange(length, device=texts.ids_BT.device)
        tokens_BTD: Tensor = (self.embed(texts.ids_BT) + self.positions(place_T)).to(self.norm.weight.dtype)
        visible_TT = before(length, texts.ids_BT.device)
        tokens_BTD = self.norm(through(self.blocks, tokens_BTD, texts.mask_BT, visible_TT, causal=True))
        last_B = texts.mask_BT.sum(1) - 1
        pooled_BD = tokens_BTD[torch.arange(last_B.shape[0], device=last_B.device), last_B]
        return Features(pooled_BD, tokens_BTD, texts.mask_BT)

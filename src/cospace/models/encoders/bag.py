"""The simplest text encoder: the mean of the token embeddings (bag of words). Fast, and blind to word order."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import nn

from ...config import PartConfig
from ...modalities.text.tokenizer import TokenBatch
from ...types import Features, TextSpec
from ..layers import masked_mean


class Config(PartConfig):
    """The size of a bag of words."""

    modality: ClassVar[str] = "text"
    width: int = Field(default=256, gt=0)
    """Width of the token embeddings."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(width=16)

    def build(self, spec: TextSpec) -> Bag:
        return Bag(self, spec)


class Bag(nn.Module):
    """Embedding and mean pooling."""

    def __init__(self, config: Config, spec: TextSpec) -> None:
        super().__init__()
        self.width = config.width
        self.embed = nn.Embedding(spec.vocabulary, config.width)
        nn.init.normal_(self.embed.weight, std=0.5)

    def forward(self, texts: TokenBatch) -> Features:
        tokens_BTD = self.embed(texts.ids_BT)
        return Features(masked_mean(tokens_BTD, texts.mask_BT), tokens_BTD, texts.mask_BT)

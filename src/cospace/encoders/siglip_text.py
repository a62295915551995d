"""SigLIP's text tower (Zhai et al. 2023): every text is filled to one length, and its last place is the result."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from ..tokens import TokenBatch
from ..types import Features, TextSpec
from ._published import Activation, TowerConfig, blocks, table


class Config(TowerConfig):
    """As published for B/16 unless said otherwise.

    ``filler`` is the id of the padding, ``space`` the width of the space; left open, the tower's own.
    """

    modality: ClassVar[str] = "text"
    activation: Activation = "gelu_tanh"
    eps: float = 1e-6
    filler: int = Field(default=1, ge=0)
    space: int | None = Field(default=None, gt=0)

    @classmethod
    def tiny(cls) -> Config:
        return cls(width=16, depth=2, heads=2, hidden=32)

    def build(self, spec: TextSpec) -> SiglipText:
        return SiglipText(self, spec)


class SiglipText(nn.Module):
    """Padding is seen like any word: the tower was trained so, and gives other vectors for texts of real length."""

    in_space = True

    def __init__(self, config: Config, spec: TextSpec) -> None:
        super().__init__()
        self.length, self.filler = spec.length, config.filler
        self.width, self.token_width = config.space or config.width, config.width
        self.embed = table(spec.vocabulary, config.width)
        self.positions = table(spec.length, config.width)
        self.blocks = blocks(config)
        self.norm = nn.LayerNorm(config.width, eps=config.eps)
        self.head = nn.Linear(config.width, self.width)

    def forward(self, texts: TokenBatch) -> Features:
        given = texts.ids_BT.shape[1]
        ids_BT = texts.ids_BT.masked_fill(~texts.mask_BT, self.filler)
        ids_BT = pad(ids_BT, (0, self.length - given), value=self.filler)
        tokens_BTD: Tensor = (self.embed(ids_BT) + self.positions.weight).to(self.norm.weight.dtype)
        for block in self.blocks:
            tokens_BTD = block(tokens_BTD)
        tokens_BTD = self.norm(tokens_BTD)
        return Features(self.head(tokens_BTD[:, -1]), tokens_BTD[:, :given], texts.mask_BT)

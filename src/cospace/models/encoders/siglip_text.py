"""SigLIP's text tower (Zhai et al. 2023): every text is padded to one length and pooled at its last token."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from ...modalities.text.tokenizer import TokenBatch
from ...types import Features, TextSpec
from ._published import Activation, TowerConfig, blocks, table


class Config(TowerConfig):
    """The size of SigLIP's text tower; the defaults are those of B/16."""

    modality: ClassVar[str] = "text"
    activation: Activation = "gelu_tanh"
    """Activation of the MLPs: ``gelu``, ``gelu_tanh`` (its tanh approximation), ``quick_gelu`` or ``relu``."""
    layer_norm_eps: float = Field(default=1e-6, gt=0)
    """Epsilon of the layer norms."""
    pad_token_id: int = Field(default=1, ge=0)
    """Token id of the padding, which the tower attends to."""
    projection_dim: int | None = Field(default=None, gt=0)
    """Dimensions of the space that the tower's own head leads into; its width where open."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(width=16, depth=2, heads=2, mlp_dim=32)

    def build(self, spec: TextSpec) -> SiglipText:
        return SiglipText(self, spec)


class SiglipText(nn.Module):
    """Padding is attended to like any token: the tower was trained so, and gives other vectors without it."""

    in_space = True

    def __init__(self, config: Config, spec: TextSpec) -> None:
        super().__init__()
        self.length, self.pad_token_id = spec.length, config.pad_token_id
        self.width, self.token_width = config.projection_dim or config.width, config.width
        self.embed = table(spec.vocabulary, config.width)
        self.positions = table(spec.length, config.width)
        self.blocks = blocks(config)
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.width, self.width)

    def forward(self, texts: TokenBatch) -> Features:
        given = texts.ids_BT.shape[1]
        ids_BT = texts.ids_BT.masked_fill(~texts.mask_BT, self.pad_token_id)
        ids_BT = pad(ids_BT, (0, self.length - given), value=self.pad_token_id)
        tokens_BTD: Tensor = (self.embed(ids_BT) + self.positions.weight).to(self.norm.weight.dtype)
        for block in self.blocks:
            tokens_BTD = block(tokens_BTD)
        tokens_BTD = self.norm(tokens_BTD)
        return Features(self.head(tokens_BTD[:, -1]), tokens_BTD[:, :given], texts.mask_BT)

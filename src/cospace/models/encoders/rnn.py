"""A recurrent text encoder (GRU or LSTM), run on packed sequences so that padding is never computed."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ...config import PartConfig
from ...modalities.text.tokenizer import TokenBatch
from ...types import Features, TextSpec
from ..layers import masked_mean


class Config(PartConfig):
    """The size of a bidirectional recurrent network."""

    modality: ClassVar[str] = "text"
    cell: Literal["gru", "lstm"] = "gru"
    """Kind of the recurrent cells."""
    width: int = Field(default=256, gt=0, multiple_of=2)
    """Width of the token embeddings, and of the states of both directions together."""
    depth: int = Field(default=1, ge=1)
    """Number of recurrent layers."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(width=16)

    def build(self, spec: TextSpec) -> RNN:
        return RNN(self, spec)


class RNN(nn.Module):
    """Embedding, a bidirectional recurrent network, the mean of its states."""

    def __init__(self, config: Config, spec: TextSpec) -> None:
        super().__init__()
        self.width = config.width
        self.embed = nn.Embedding(spec.vocabulary, config.width)
        nn.init.normal_(self.embed.weight, std=0.5)
        cell = {"gru": nn.GRU, "lstm": nn.LSTM}[config.cell]
        self.cells = cell(config.width, config.width // 2, config.depth, batch_first=True, bidirectional=True)

    def forward(self, texts: TokenBatch) -> Features:
        lengths = texts.mask_BT.sum(1).cpu()
        tokens_BTD = self.embed(texts.ids_BT).to(next(self.cells.parameters()).dtype)
        packed = pack_padded_sequence(tokens_BTD, lengths, batch_first=True, enforce_sorted=False)
        states, _ = self.cells(packed)
        tokens_BTD, _ = pad_packed_sequence(states, batch_first=True, total_length=texts.ids_BT.shape[1])
        return Features(masked_mean(tokens_BTD, texts.mask_BT), tokens_BTD, texts.mask_BT)

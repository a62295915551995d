"""Texts of a training set as a step sees them: sorted by length, so that they are padded to their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ...config import Config
from .. import Wanted, everything
from .._draws import drawing, draws
from .tokenizer import LENGTH, Tokenizer


class TextSettings(Config):
    """How texts become inputs; ``None`` is filled in from the data."""

    vocab_size: int | None = Field(default=None, ge=300)
    """Entries of the tokenizer's vocabulary; from the data: about one for each different word, 512 to 16,384."""
    max_length: int = Field(default=LENGTH, ge=4)
    """Longest text in tokens; longer ones are truncated."""
    token_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of a text's tokens that are left out at each step of training."""


class TextBatcher:
    """Token ids of every text; ``dropout`` is the share of tokens left out while training."""

    in_order = False

    def __init__(
        self, tokens: Sequence[Tensor], item_of_row: np.ndarray, tokenizer: Tokenizer, dropout: float, seed: int
    ) -> None:
        self.tokens, self.item_of_row, self.tokenizer = tokens, item_of_row, tokenizer
        self.dropout, self.seed = dropout, seed + 1
        self.identity_N: np.ndarray | None = None

    def micro_batches(
        self, step: int, items: np.ndarray, epochs: np.ndarray, size: int, wanted: Wanted = everything
    ) -> tuple[list[Any], np.ndarray]:
        """See :class:`cospace.modalities.Batcher`."""
        texts = [self.tokens[item] for item in items]
        if self.dropout:
            known = drawing(items, self.identity_N)
            texts = [self._thinned(text, epoch, item) for text, epoch, item in zip(texts, epochs, known, strict=True)]
        order = np.argsort([len(text) for text in texts], kind="stable")
        cuts = [order[i : i + size] for i in range(0, len(order), size)]
        made = wanted([len(cut) for cut in cuts])
        batches = [
            self.tokenizer.batch([texts[i] for i in cut]) if here else None
            for cut, here in zip(cuts, made, strict=True)
        ]
        return batches, order

    def _thinned(self, text: Tensor, epoch: int, item: int) -> Tensor:
        keep = draws(self.seed, np.array([epoch]), np.array([item]), len(text))[0] >= self.dropout
        keep[[0, -1]] = True
        return text[torch.from_numpy(keep)]

"""Which rows say the same: integer codes for equal contents, and groups joined through them."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterable, Sequence

import numpy as np


def normalise_caption(text: str) -> str:
    """What two captions must share to be the same caption: neither case, nor spacing, nor how accents are coded."""
    folded = unicodedata.normalize("NFD", text).casefold()  # in this order, as Unicode defines caseless matching
    return " ".join(unicodedata.normalize("NFC", folded).split())


def encode(values: Iterable[Hashable]) -> np.ndarray:
    """One ``int64`` per value, equal for equal values, numbered from 0 in order of appearance."""
    codes: dict[Hashable, int] = {}
    return np.array([codes.setdefault(value, len(codes)) for value in values], dtype=np.int64)


def join(columns: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """Group ids ``(rows,)``: rows that share a code in any column belong together, and so do their partners.

    Union-find over rows (Tarjan 1975): every row is joined with the first row that had its code.
    """
    parent = list(range(rows))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]  # path halving keeps the trees flat
            row = parent[row]
        return row

    for column in columns:
        first: dict[int, int] = {}
        for row, code in enumerate(column.tolist()):
            a, b = root(row), root(first.setdefault(code, row))
            parent[max(a, b)] = min(a, b)
    return encode(root(row) for row in range(rows))

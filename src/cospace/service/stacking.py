"""Results that show the same: what lies behind the result before it, so that a burst of photographs takes one place."""

from __future__ import annotations

import numpy as np

from ..stores import Index

ALIKE = 0.995
"""Cosine from which on two items show the same."""
LOOKED_AT = 500
"""Results that are compared: further down a double is in nobody's way."""
READ_BACK = 4
"""Results before it that each is compared with: copies have almost the same score, but others may come between."""


def hidden_behind(store: Index, numbers_N: np.ndarray) -> list[list[int]]:
    """Pairs of rows ``[row, the row before it that shows the same]``, ascending; files only, which have a size."""
    numbers_N = np.asarray(numbers_N[:LOOKED_AT])
    if len(numbers_N) < 2:
        return []
    vectors_NE = store.vectors(numbers_N)
    shown_N = store.appearance(numbers_N)[:, 0] > 0
    leaders: list[int] = []
    pairs = []
    for row in range(len(numbers_N)):
        near = [one for one in leaders[-READ_BACK:] if shown_N[row] and vectors_NE[one] @ vectors_NE[row] >= ALIKE]
        if near:
            pairs.append([row, near[0]])
        else:
            leaders.append(row)
    return pairs

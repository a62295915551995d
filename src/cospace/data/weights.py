"""Graded relevance: how much each row of some pairs counts in training, by a column of the person's own.

A row counts by its own weight alone: of a pair that is listed twice each row counts by its own. What a weight of 0 says
is nothing: the two are neither pulled together nor, since the row pairs them, pushed apart, and both are negatives of
other rows as ever (as in GCL, Zhu et al. 2024, section 4).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..arrays import array_of
from ..types import UserError
from .pairs import Pairs
from .sources import WEIGHT
from .wanting import weight_of


def weights_of(pairs: Pairs) -> np.ndarray | None:
    """How much each row counts ``(rows,)``, float32, 1 on average; nothing where no column of weights was named.

    Rows of another table, which has no such column, had 1 before the mean was made so. Raises :class:`UserError` where
    no row counts.
    """
    if WEIGHT not in pairs.extras:
        return None
    weight_N = array_of((1.0 if text == "" else weight_of(text) or 0.0 for text in pairs.extras[WEIGHT]), np.float64)
    mean = float(weight_N.mean()) if len(weight_N) else 0.0
    if not 0 < mean < np.inf:
        raise UserError(f"the weights of {pairs.name} are all 0, or too large to add up; name another column")
    return np.asarray(
        weight_N / mean, np.float32
    )  # in which equal weights are exactly 1, whatever their mean rounds to


def weighted(pairs: Pairs) -> Pairs:
    """The same pairs, whose batches bring the weights of their rows where there are any."""
    weight_N = weights_of(pairs)
    return pairs if weight_N is None else replace(pairs, matches=replace(pairs.matches, weight_N=weight_N))

"""How much a new graph finds, and the effort it takes to find nearly all."""

from __future__ import annotations

import numpy as np

from ._scan import Best, scan, search
from ._segment import Segment

QUERIES, NEAREST = 100, 10
EFFORTS, GOAL = (64, 128, 256, 512), 0.98
"""Rows kept in sight that are tried, and the share of the nearest ten that is to be found."""


def with_effort(segment: Segment) -> Segment:
    """A linked segment with the first effort that reaches the goal, or the last, and its recall at ten.

    Asked are rows of its own, spread over all, for their nearest others; the truth is a full scan. Queries that lie
    apart from all rows, as texts do from images, are harder.
    """
    rows = np.unique(np.linspace(0, len(segment) - 1, QUERIES).astype(np.int64))
    queries_QE = segment.taken(rows)
    exact = Best(len(rows), NEAREST + 1)
    scan(segment, None, queries_QE, 0, exact)
    true_QK, recall = exact.ranked()[1], 0.0
    for effort in EFFORTS:
        best = Best(len(rows), NEAREST + 1)
        search(segment, None, queries_QE, 0, best, effort)
        recall = _recall(best.ranked()[1], true_QK, rows)
        if recall >= GOAL:
            break
    return segment.with_measure(effort, recall)


def _recall(found_QK: np.ndarray, true_QK: np.ndarray, own_Q: np.ndarray) -> float:
    """The share of true neighbours that was found; a row is no neighbour of its own."""
    shares = []
    for found_K, true_K, own in zip(found_QK.tolist(), true_QK.tolist(), own_Q.tolist(), strict=True):
        true = set(true_K) - {own, -1}
        shares.append(len(true & set(found_K)) / max(1, len(true)))
    return float(np.mean(shares))

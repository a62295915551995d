"""Search in one segment. Exact: every chosen vector is read once, in tiles, with memory that does not grow with the
segment. By graph, where there is one and that is cheaper: it proposes rows, and their vectors are read.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ._segment import Segment

TILE_QUERIES, TILE_ROWS = 256, 16_384
"""Scores held at a time: 16 MiB."""
FEW = 8
"""Where fewer than one row in so many is chosen, only those are read; otherwise all are, in one straight run."""
OVERFETCH = 4
"""A graph is asked for so many times the rows that are wanted: what it ranks by is rounded, and it overlooks some."""
COST = 32
"""Vectors that a graph reads here and there to propose one row; where that is more than there are, all are read."""
RESCORED = 1 << 24
"""Coordinates of proposed rows held at a time: 64 MiB."""


class Best:
    """The best ``k`` scores of each query so far, and the numbers of their rows."""

    def __init__(self, queries: int, k: int) -> None:
        self.k = k
        self._scores_QK = torch.empty((queries, 0))
        self._numbers_QK = torch.empty((queries, 0), dtype=torch.int64)

    def add(self, scores_QR: torch.Tensor, numbers_QR: torch.Tensor) -> None:
        """More candidates; ``numbers_QR`` may be one row for all queries. A score of ``-inf`` is no candidate."""
        if scores_QR.shape[1] > self.k:
            scores_QR, places_QK = scores_QR.topk(self.k, dim=1, sorted=False)
            numbers_QR = numbers_QR.expand(len(scores_QR), -1).gather(1, places_QK)
        scores_QR = torch.cat([self._scores_QK, scores_QR], dim=1)
        numbers_QR = torch.cat([self._numbers_QK, numbers_QR.expand(scores_QR.shape[0], -1)], dim=1)
        if scores_QR.shape[1] > self.k:
            scores_QR, places_QK = scores_QR.topk(self.k, dim=1, sorted=False)
            numbers_QR = numbers_QR.gather(1, places_QK)
        self._scores_QK, self._numbers_QK = scores_QR, numbers_QR

    def ranked(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores ``(Q, k)``, descending, and numbers; equal scores by number; padded with ``-inf`` and -1."""
        have = self._scores_QK.shape[1]
        scores_QK: np.ndarray = np.full((len(self._scores_QK), self.k), -np.inf, dtype=np.float32)
        numbers_QK: np.ndarray = np.full(scores_QK.shape, -1, dtype=np.int64)
        scores_QK[:, :have], numbers_QK[:, :have] = self._scores_QK.numpy(), self._numbers_QK.numpy()
        missing_QK = np.isneginf(scores_QK)
        numbers_QK[missing_QK] = -1
        scores_QK = scores_QK.clip(-1, 1)  # rounding may take a cosine a little further
        scores_QK[missing_QK] = -np.inf
        order_QK = np.lexsort((numbers_QK, -scores_QK), axis=1)
        return np.take_along_axis(scores_QK, order_QK, axis=1), np.take_along_axis(numbers_QK, order_QK, axis=1)


def scan(segment: Segment, chosen_N: np.ndarray | None, queries_QE: torch.Tensor, offset: int, best: Best) -> None:
    """Score the chosen rows of a segment (``None``: all) and offer them to ``best`` as numbers from ``offset`` on."""
    for start in range(0, len(segment), TILE_ROWS):
        tile = slice(start, min(start + TILE_ROWS, len(segment)))
        chosen_R = None if chosen_N is None else chosen_N[tile]
        count = tile.stop - start if chosen_R is None else int(np.count_nonzero(chosen_R))
        if not count:
            continue
        if chosen_R is not None and count * FEW < len(chosen_R):
            rows = np.flatnonzero(chosen_R) + start
            best.add(queries_QE @ segment.floats(rows).T, torch.from_numpy(rows + offset)[None])
            continue
        scores_QR = queries_QE @ segment.floats(tile).T
        if chosen_R is not None and count < len(chosen_R):
            scores_QR.masked_fill_(torch.from_numpy(~chosen_R), -torch.inf)
        best.add(scores_QR, torch.arange(start + offset, tile.stop + offset)[None])


def search(
    segment: Segment, chosen_N: np.ndarray | None, queries_QE: torch.Tensor, offset: int, best: Best, effort: int
) -> None:
    """Offer the nearest of the chosen rows to ``best``, by the graph where that is cheaper than reading them all.

    Where the graph proposes too few chosen rows for a query it is asked for more, and in the end all are read: there
    are never fewer results than there are rows. ``effort`` is the least number of rows it keeps in sight.
    """
    alive = len(segment) if chosen_N is None else int(np.count_nonzero(chosen_N))
    wanted = min(best.k, alive)
    fetch = math.ceil(max(OVERFETCH * wanted, effort) * len(segment) / alive) if alive else 0
    if segment.graph is None or fetch * COST >= alive:
        scan(segment, chosen_N, queries_QE, offset, best)
        return
    scores_QK = torch.full((len(queries_QE), wanted), -torch.inf)
    numbers_QK = torch.full((len(queries_QE), wanted), -1)
    left = torch.arange(len(queries_QE))
    segment.check_mapped()
    while len(left) and fetch * COST < alive:
        rows_QF = torch.from_numpy(segment.graph.near(queries_QE[left], fetch))
        good_QF = rows_QF >= 0 if chosen_N is None else (rows_QF >= 0) & torch.from_numpy(chosen_N)[rows_QF]
        enough = good_QF.sum(dim=1) >= wanted
        rescored = _rescored(segment, rows_QF[enough], good_QF[enough], queries_QE[left[enough]], wanted)
        scores_QK[left[enough]], numbers_QK[left[enough]] = rescored[0], rescored[1] + offset
        left, fetch = left[~enough], fetch * OVERFETCH
    if len(left):
        rest = Best(len(left), wanted)
        scan(segment, chosen_N, queries_QE[left], offset, rest)
        scores_QK[left], numbers_QK[left] = (torch.from_numpy(part) for part in rest.ranked())
    best.add(scores_QK, numbers_QK)


def _rescored(
    segment: Segment, rows_QF: torch.Tensor, good_QF: torch.Tensor, queries_QE: torch.Tensor, wanted: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact scores and rows ``(Q, wanted)`` of the best among proposed rows; only the ``good`` ones count."""
    scores_QF = torch.full(rows_QF.shape, -torch.inf)
    step = max(1, RESCORED // (rows_QF.shape[1] * queries_QE.shape[1]))
    for start in range(0, len(rows_QF), step):
        part = slice(start, start + step)
        vectors_PE = segment.floats(rows_QF[part].clamp(min=0).flatten().numpy())
        vectors_QFE = vectors_PE.view(*rows_QF[part].shape, -1)
        scores_QF[part] = torch.einsum("qfe,qe->qf", vectors_QFE, queries_QE[part])
    scores_QF.masked_fill_(~good_QF, -torch.inf)
    scores_QK, places_QK = scores_QF.topk(wanted, dim=1)
    return scores_QK, rows_QF.gather(1, places_QK)

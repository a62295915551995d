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
OVERFETCH = 1.5
"""A graph is asked for so many times the rows that are wanted, since what it ranks by is rounded."""
FURTHER = 4
"""How many times further a graph looks where it proposed too few rows that are chosen."""
COST = 32
"""Vectors that a graph reads here and there for each row in sight; where that is more than there are, all are read."""
RESCORED = 1 << 24
"""Coordinates of proposed rows held at a time: 64 MiB."""


class Best:
    """The best ``k`` scores of each query so far, and the numbers of their rows."""

    def __init__(self, queries: int, k: int) -> None:
        self.k = k
        self._held = torch.empty((queries, 0)), torch.empty((queries, 0), dtype=torch.int64)

    def add(self, scores_QR: torch.Tensor, numbers_QR: torch.Tensor) -> None:
        """More candidates; ``numbers_QR`` may be one row for all queries. A score of ``-inf`` is no candidate."""
        scores_QR, numbers_QR = self._cut(scores_QR, numbers_QR.expand(len(scores_QR), -1))
        if self._held[0].shape[1]:
            scores_QR, numbers_QR = torch.cat([self._held[0], scores_QR], 1), torch.cat([self._held[1], numbers_QR], 1)
        self._held = self._cut(scores_QR, numbers_QR)

    def ranked(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores ``(Q, k)``, descending, and numbers; equal scores by number; padded with ``-inf`` and -1."""
        scores_QK, numbers_QK = (part.numpy() for part in self._held)
        if scores_QK.shape[1] < self.k:
            scores_QK, numbers_QK = (_padded(part_QR, self.k) for part_QR in (scores_QK, numbers_QK))
        missing_QK = np.isneginf(scores_QK)
        # Rounding may take a cosine a little further than one.
        scores_QK = np.where(missing_QK, np.float32(-np.inf), scores_QK.clip(-1, 1))
        numbers_QK = np.where(missing_QK, -1, numbers_QK)
        order_QK = np.lexsort((numbers_QK, -scores_QK), axis=1)
        queries_Q1 = np.arange(len(order_QK))[:, None]
        return scores_QK[queries_Q1, order_QK], numbers_QK[queries_Q1, order_QK]

    def _cut(self, scores_QR: torch.Tensor, numbers_QR: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if scores_QR.shape[1] <= self.k:
            return scores_QR, numbers_QR
        scores_QK, places_QK = scores_QR.topk(self.k, dim=1, sorted=False)
        return scores_QK, numbers_QR.gather(1, places_QK)


def _padded(part_QR: np.ndarray, columns: int) -> np.ndarray:
    """With more columns: of ``-inf`` where they are scores, -1 where they are numbers."""
    filling = -np.inf if part_QR.dtype.kind == "f" else -1
    return np.pad(part_QR, ((0, 0), (0, columns - part_QR.shape[1])), constant_values=filling)


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
    segment: Segment,
    chosen_N: np.ndarray | None,
    queries_QE: torch.Tensor,
    offset: int,
    best: Best,
    effort: int | None = None,
) -> None:
    """Offer the nearest of the chosen rows to ``best``, by the graph where that is cheaper than reading them all.

    Where the graph proposes too few chosen rows for a query it is asked for more, and in the end all are read: there
    are never fewer results than there are rows. ``effort`` is the least number of rows it keeps in sight.
    """
    alive = len(segment) if chosen_N is None else int(np.count_nonzero(chosen_N))
    if segment.graph is None or not alive:
        scan(segment, chosen_N, queries_QE, offset, best)
        return
    wanted, share = min(best.k, alive), alive / len(segment)
    count = math.ceil(OVERFETCH * wanted / share)
    sight = max(count, math.ceil((effort or segment.entry["graph"]["effort"]) / share))
    left_Q, numpy_QE = np.arange(len(queries_QE)), queries_QE.numpy()
    scores_QK: np.ndarray = np.full((len(queries_QE), wanted), -np.inf, dtype=np.float32)
    numbers_QK: np.ndarray = np.full(scores_QK.shape, -1, dtype=np.int64)
    segment.check_mapped()
    while len(left_Q) and sight * COST < alive:
        rows_QF = segment.graph.near(numpy_QE[left_Q], count, sight)
        good_QF = rows_QF >= 0 if chosen_N is None else (rows_QF >= 0) & chosen_N[rows_QF]
        enough_Q = np.count_nonzero(good_QF, axis=1) >= wanted
        done_Q = left_Q[enough_Q]
        found = _rescored(segment, rows_QF[enough_Q], good_QF[enough_Q], numpy_QE[done_Q], wanted)
        scores_QK[done_Q], numbers_QK[done_Q] = found[0], found[1] + offset
        left_Q, count, sight = left_Q[~enough_Q], count * FURTHER, sight * FURTHER
    if len(left_Q):
        rest = Best(len(left_Q), wanted)
        scan(segment, chosen_N, queries_QE[left_Q], offset, rest)
        scores_QK[left_Q], numbers_QK[left_Q] = rest.ranked()
    best.add(torch.from_numpy(scores_QK), torch.from_numpy(numbers_QK))


def _rescored(
    segment: Segment, rows_QF: np.ndarray, good_QF: np.ndarray, queries_QE: np.ndarray, wanted: int
) -> tuple[np.ndarray, np.ndarray]:
    """Exact scores and rows ``(Q, wanted)`` of the best among proposed rows; only the ``good`` ones count."""
    scores_QF = np.empty(rows_QF.shape, dtype=np.float32)
    step = max(1, RESCORED // (rows_QF.shape[1] * queries_QE.shape[1]))
    for start in range(0, len(rows_QF), step):
        part = slice(start, start + step)
        vectors_PE = segment.floats(rows_QF[part].clip(min=0).ravel()).numpy()
        vectors_QFE = vectors_PE.reshape(-1, rows_QF.shape[1], queries_QE.shape[1])
        scores_QF[part] = (vectors_QFE @ queries_QE[part, :, None])[:, :, 0]
    scores_QF[~good_QF] = -np.inf
    places_QK = np.argpartition(-scores_QF, wanted - 1, axis=1)[:, :wanted]
    queries_Q1 = np.arange(len(rows_QF))[:, None]
    return scores_QF[queries_Q1, places_QK], rows_QF[queries_Q1, places_QK]

"""Search in one segment. Exact: every chosen vector is read once, in tiles, with memory that does not grow with the
segment. By graph, where there is one and that is cheaper: it proposes rows, and their vectors are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ._segment import Segment
from ._versions import State

TILE_QUERIES, TILE_ROWS = 256, 16_384
"""Scores held at a time: 16 MiB."""
FEW = 8
"""Where fewer than one row in so many is chosen, only those are read; otherwise all are, in one straight run."""
OVERFETCH = 1.2
"""A graph of bytes is asked for so many times the rows that are wanted, since what it ranks by is rounded."""
FURTHER = 4
"""How many times more a graph is asked for where it proposed too few rows that are chosen."""
COST = 32
"""Vectors that a graph reads here and there for each row in sight; where that is more than there are, all are read."""
RESCORED = 1 << 24
"""Coordinates of proposed rows held at a time: 64 MiB."""


class Best:
    """The best ``k`` scores of each query so far, and the numbers of their rows."""

    def __init__(self, queries: int, k: int) -> None:
        self.k, self._queries = k, queries
        self._held: tuple[torch.Tensor, torch.Tensor] | None = None
        self._offered: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, scores_QR: torch.Tensor, numbers_QR: torch.Tensor) -> None:
        """More candidates; ``numbers_QR`` may be one row for all queries. A score of ``-inf`` is no candidate."""
        scores_QR, numbers_QR = self._cut(scores_QR, numbers_QR.expand(len(scores_QR), -1))
        if self._held is not None:
            scores_QR, numbers_QR = torch.cat([self._held[0], scores_QR], 1), torch.cat([self._held[1], numbers_QR], 1)
        self._held = self._cut(scores_QR, numbers_QR)

    def offer(self, scores_QR: np.ndarray, numbers_QR: np.ndarray) -> None:
        """A few candidates as arrays, without any work before :meth:`ranked`."""
        self._offered.append((scores_QR, numbers_QR))

    def ranked(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores ``(Q, k)``, descending, and numbers; equal scores by number; padded with ``-inf`` and -1."""
        scores_QR, numbers_QR = self._all()
        order_QK = np.lexsort((numbers_QR, -scores_QR), axis=1)[:, : self.k]
        if len(order_QK) == 1:  # by one index, which is faster
            scores_QK, numbers_QK = scores_QR[:, order_QK[0]], numbers_QR[:, order_QK[0]]
        else:
            queries_Q1 = np.arange(len(order_QK))[:, None]
            scores_QK, numbers_QK = scores_QR[queries_Q1, order_QK], numbers_QR[queries_Q1, order_QK]
        np.minimum(scores_QK, np.float32(1), out=scores_QK)  # rounding may take a cosine a little further
        if scores_QK.size and scores_QK[:, -1].min() < -1:
            missing_QK = scores_QK == -np.inf
            scores_QK = np.where(missing_QK, np.float32(-np.inf), scores_QK.clip(min=-1))
            numbers_QK[missing_QK] = -1
        return scores_QK, numbers_QK

    def _all(self) -> tuple[np.ndarray, np.ndarray]:
        """Candidates ``(Q, k or more)``."""
        parts = [*self._offered, *([] if self._held is None else [(self._held[0].numpy(), self._held[1].numpy())])]
        columns = sum(scores_QR.shape[1] for scores_QR, _ in parts)
        if columns < self.k or not parts:
            none: np.ndarray = np.full((self._queries, self.k - columns), -np.inf, dtype=np.float32)
            parts.append((none, np.full(none.shape, -1, dtype=np.int64)))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([part[0] for part in parts], 1), np.concatenate([part[1] for part in parts], 1)

    def _cut(self, scores_QR: torch.Tensor, numbers_QR: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if scores_QR.shape[1] <= self.k:
            return scores_QR, numbers_QR
        scores_QK, places_QK = scores_QR.topk(self.k, dim=1, sorted=False)
        return scores_QK, numbers_QR.gather(1, places_QK)


def scan(segment: Segment, chosen_N: np.ndarray | None, asked_QE: np.ndarray, offset: int, best: Best) -> None:
    """Score the chosen rows of a segment (``None``: all) and offer them to ``best`` as numbers from ``offset`` on."""
    queries_QE = torch.from_numpy(asked_QE)
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
    queries_QE: np.ndarray,
    offset: int,
    best: Best,
    effort: int | None = None,
    further: int = 1,
) -> None:
    """Offer the nearest of the chosen rows to ``best``, by the graph where that is cheaper than reading them all.

    Where the graph proposes too few chosen rows for a query it is asked for more, ``further`` times as many, and in
    the end all are read: there are never fewer results than there are rows. ``effort`` is the least number of rows it
    keeps in sight, what was measured where it is ``None``.
    """
    alive = _count(segment, chosen_N)
    wanted, share = min(best.k, alive), alive / max(1, len(segment))
    if not alive:
        return
    if segment.graph is None:
        scan(segment, chosen_N, queries_QE, offset, best)
        return
    count = math.ceil((1 if segment.graph.exact and chosen_N is None else OVERFETCH) * further * wanted / share)
    sight = max(count, math.ceil((effort or segment.entry["graph"]["effort"]) * further / share))
    if sight * COST >= alive:
        scan(segment, chosen_N, queries_QE, offset, best)
        return
    rows_QF, scores_QF = segment.graph.near(queries_QE, count, sight)
    if not segment.graph.exact:
        scores_QF = _scores(segment, rows_QF, queries_QE)
    numbers_QF = rows_QF + offset
    if chosen_N is not None or rows_QF[:, -1].min() < 0:
        scores_QF[(rows_QF < 0) | (False if chosen_N is None else ~chosen_N[rows_QF])] = -np.inf
        few_Q = np.count_nonzero(scores_QF > -np.inf, axis=1) < wanted
        if few_Q.any():
            rest = Best(int(few_Q.sum()), wanted)
            search(segment, chosen_N, queries_QE[few_Q], offset, rest, effort, further * FURTHER)
            scores_QF[few_Q] = -np.inf
            scores_QF[few_Q, :wanted], numbers_QF[few_Q, :wanted] = rest.ranked()
    best.offer(scores_QF, numbers_QF)


def nearest(
    state: State, chosen: Sequence[np.ndarray | None], queries_QE: np.ndarray, k: int, effort: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and numbers ``(Q, k)`` of some queries."""
    parts = [
        part
        for part in zip(state.segments, chosen, state.starts.tolist(), strict=False)
        if part[1] is None or len(part[1])
    ]
    if len(parts) == 1 == len(queries_QE) and parts[0][1] is None and len(parts[0][0]) >= k:
        found = alone(parts[0][0], queries_QE, k, effort)
        if found is not None:
            return found[0], found[1] + parts[0][2]
    best = Best(len(queries_QE), k)
    for segment, chosen_N, start in parts:
        search(segment, chosen_N, queries_QE, start, best, effort)
    return best.ranked()


def alone(segment: Segment, query_1E: np.ndarray, k: int, effort: int | None) -> tuple[np.ndarray, np.ndarray] | None:
    """What :func:`search` finds for one query where every row is chosen, ranked, in the fewest steps.

    ``None`` where there is more to do: no graph, too few rows reached, equal scores. An interpreter that comes back
    from a graph finds its own things out of the cache, so that each step costs three times what it costs by itself.
    """
    if segment.graph is None:
        return None
    count = k if segment.graph.exact else math.ceil(OVERFETCH * k)
    sight = max(count, effort or segment.entry["graph"]["effort"])
    if sight * COST >= len(segment):
        return None
    rows_1F, scores_1F = segment.graph.near(query_1E, count, sight)
    if rows_1F[0, -1] < 0:
        return None
    if not segment.graph.exact:
        scores_1F = _scores(segment, rows_1F, query_1E)
        order_K = (-scores_1F[0]).argsort()[:k]
        rows_1F, scores_1F = rows_1F[:, order_K], scores_1F[:, order_K]
    listed = scores_1F[0].tolist()
    if len(set(listed)) < k or listed[0] > 1 or listed[-1] < -1:
        return None
    return scores_1F, rows_1F


def _count(segment: Segment, chosen_N: np.ndarray | None) -> int:
    """Of the chosen rows; those that are alive have been counted."""
    if chosen_N is None:
        return len(segment)
    return segment.alive if chosen_N is segment.live_N else int(np.count_nonzero(chosen_N))


def _scores(segment: Segment, rows_QF: np.ndarray, queries_QE: np.ndarray) -> np.ndarray:
    """Exact cosines ``(Q, F)`` of proposed rows; that of row -1 means nothing."""
    most = max(1, RESCORED // (rows_QF.shape[1] * queries_QE.shape[1]))
    if len(rows_QF) > most:
        cuts = [slice(start, start + most) for start in range(0, len(rows_QF), most)]
        return np.concatenate([_scores(segment, rows_QF[part], queries_QE[part]) for part in cuts])
    vectors_QFE = segment.taken(rows_QF.ravel()).reshape(*rows_QF.shape, -1)
    scores_QF: np.ndarray
    if len(rows_QF) == 1:  # without the loop over queries
        scores_QF = vectors_QFE[0].dot(queries_QE[0])[None]
    else:
        scores_QF = (vectors_QFE @ queries_QE[:, :, None])[:, :, 0]
    return scores_QF

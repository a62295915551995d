"""Exact search: every chosen vector is read once, in tiles, with memory that does not grow with the segment."""

from __future__ import annotations

import numpy as np
import torch

from ._segment import Segment

TILE_QUERIES, TILE_ROWS = 256, 16_384
"""Scores held at a time: 16 MiB."""
FEW = 8
"""Where fewer than one row in so many is chosen, only those are read; otherwise all are, in one straight run."""


class Best:
    """The best ``k`` scores of each query so far, and the numbers of their rows."""

    def __init__(self, queries: int, k: int) -> None:
        self._k = k
        self._scores_QK = torch.empty((queries, 0))
        self._numbers_QK = torch.empty((queries, 0), dtype=torch.int64)

    def add(self, scores_QR: torch.Tensor, numbers_QR: torch.Tensor) -> None:
        """More candidates; ``numbers_QR`` may be one row for all queries. A score of ``-inf`` is no candidate."""
        if scores_QR.shape[1] > self._k:
            scores_QR, places_QK = scores_QR.topk(self._k, dim=1, sorted=False)
            numbers_QR = numbers_QR.expand(len(scores_QR), -1).gather(1, places_QK)
        scores_QR = torch.cat([self._scores_QK, scores_QR], dim=1)
        numbers_QR = torch.cat([self._numbers_QK, numbers_QR.expand(scores_QR.shape[0], -1)], dim=1)
        if scores_QR.shape[1] > self._k:
            scores_QR, places_QK = scores_QR.topk(self._k, dim=1, sorted=False)
            numbers_QR = numbers_QR.gather(1, places_QK)
        self._scores_QK, self._numbers_QK = scores_QR, numbers_QR

    def ranked(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores ``(Q, k)``, descending, and numbers; equal scores by number; padded with ``-inf`` and -1."""
        scores_QK, numbers_QK = self._scores_QK.numpy(), self._numbers_QK.numpy()
        missing = self._k - scores_QK.shape[1]
        scores_QK = np.pad(scores_QK, ((0, 0), (0, missing)), constant_values=-np.inf)
        numbers_QK = np.pad(numbers_QK, ((0, 0), (0, missing)), constant_values=-1)
        numbers_QK = np.where(np.isneginf(scores_QK), -1, numbers_QK)
        order_QK = np.lexsort((numbers_QK, -scores_QK), axis=1)
        scores_QK = np.take_along_axis(scores_QK, order_QK, axis=1)
        return np.where(np.isneginf(scores_QK), scores_QK, scores_QK.clip(-1, 1)), np.take_along_axis(
            numbers_QK, order_QK, axis=1
        )


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

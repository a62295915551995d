"""Which rows a step sees.

A step's rows are a function of (seed, step) alone: the shuffled epochs are one endless list and a step is a slice of
it. So every pair is seen exactly once an epoch, a resumed run needs one number, and workers cannot change the order.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np


class Sampler(Protocol):
    """Which rows a step sees."""

    batch_size: int
    """The most rows of a step."""

    def step(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of a step (from 0) and the epoch each of them belongs to."""


class BatchSampler:
    """Rows of every step: an endless list of shuffled epochs, cut into batches."""

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        self.rows, self.batch_size, self.seed = rows, min(batch_size, rows), seed
        self._epoch = lru_cache(maxsize=2)(self._shuffle)

    def _shuffle(self, epoch: int) -> np.ndarray:
        key = np.array([self.seed, epoch], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key)).permutation(self.rows)

    def step(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of a step (from 0) and the epoch each of them belongs to."""
        place = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, offset = np.divmod(place, self.rows)
        rows = np.concatenate([self._epoch(int(e))[offset[epochs == e]] for e in np.unique(epochs)])
        return rows, epochs


class WindowSampler:
    """Rows of the steps of one window of a stream: shuffled by (seed, epoch, window), cut into even batches.

    So no batch spans two windows, every row is in one batch, and a window's batches have nearly the same size: at most
    ``batch_size``, but for three rows in batches of two, since one pair alone has nothing to be contrasted with.
    """

    def __init__(self, rows: int, batch_size: int, seed: int, place: tuple[int, int], first_step: int) -> None:
        """``place``: the epoch and the window's number in it; ``first_step``: that of the window's first batch."""
        self.rows, self.batch_size, self.first_step = rows, batch_size, first_step
        self.epoch, self.batches = place[0], window_batches(rows, batch_size)
        chosen = np.random.Philox(np.random.SeedSequence([seed, *place]))
        self._order = np.random.Generator(chosen).permutation(rows)

    def step(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of a step of the run, and the epoch each of them belongs to."""
        place = step - self.first_step
        assert 0 <= place < self.batches, "the step belongs to another window"
        rows = self._order[self.rows * place // self.batches : self.rows * (place + 1) // self.batches]
        return rows, np.full(len(rows), self.epoch, np.int64)


def window_batches(rows: int, batch_size: int) -> int:
    """How many batches a window of so many rows makes."""
    return min(-(-rows // batch_size), max(1, rows // 2)) if rows else 0

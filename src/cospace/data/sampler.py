"""Which rows a step sees.

A step's rows are a function of (seed, step) alone: the shuffled epochs are one endless list and a step is a slice of
it. So every pair is seen exactly once an epoch, a resumed run needs one number, and workers cannot change the order.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np


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

"""What samples measure: how far they swing, how loud they are, how much of them is cut off."""

from __future__ import annotations

import math

import numpy as np

NEAR = 0.998
"""Share of the largest sample from which on one is as large."""

BELOW = 0.98
"""Share of it that a sample beside a flat top must stay below: a wave that is cut off gets there by a step, while a low
tone comes to its top slowly and stays as long."""

FLAT = 3
"""Samples as large as the largest that follow each other in a flat top."""


class Measuring:
    """Listens to the blocks ``(N, C)`` of a sound as they are decoded, and keeps a few numbers of each channel."""

    def __init__(self) -> None:
        self._samples, self._sum, self._squares = 0, 0.0, 0.0
        self._low, self._high = math.inf, -math.inf
        self._flat: list[tuple[float, int]] = []

    def __call__(self, block_NC: np.ndarray) -> None:
        self._samples += block_NC.size
        self._sum += float(block_NC.sum(dtype=np.float64))
        self._squares += float(np.square(block_NC).sum(dtype=np.float64))
        for channel in range(block_NC.shape[1]):
            samples_N = np.ascontiguousarray(block_NC[:, channel])
            low, high = float(samples_N.min()), float(samples_N.max())
            self._low, self._high = min(self._low, low), max(self._high, high)
            top = max(-low, high)
            self._flat.append((top, _in_flat_tops(samples_N, top)))

    def measures(self) -> dict[str, float]:
        """``swing``: half the distance of the smallest from the largest sample, 1 at full scale. ``offset``: their
        mean.

        ``loudness``: mean level in dB below full scale. ``clipped``: share of samples that lie in flat tops.
        """
        if not self._samples:
            return {}
        mean = self._sum / self._samples
        power = max(self._squares / self._samples - mean**2, 1e-20)
        largest = max(top for top, _ in self._flat)
        clipped = sum(count for top, count in self._flat if top >= BELOW * largest)
        return {
            "swing": (self._high - self._low) / 2, "offset": mean, "loudness": 10 * math.log10(power),
            "clipped": clipped / self._samples,
        }  # fmt: skip


def _in_flat_tops(samples_N: np.ndarray, top: float) -> int:
    """How many samples lie in runs of :data:`FLAT` or more that are as large as the largest, with a step beside
    them.
    """
    size_N = np.abs(samples_N)
    near_N = size_N >= NEAR * top
    if not top or np.count_nonzero(near_N) < FLAT:
        return 0
    starts, ends = np.flatnonzero(np.diff(near_N, prepend=False, append=False).reshape(-1)).reshape(-1, 2).T
    padded_N = np.concatenate([[0.0], size_N, [0.0]])  # a run's neighbours
    steep = (padded_N[starts] < BELOW * top) | (padded_N[ends + 1] < BELOW * top)
    lengths = ends - starts
    return int(lengths[(lengths >= FLAT) & steep].sum())

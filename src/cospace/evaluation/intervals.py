"""95 % intervals that respect groups: all captions of one image are drawn together or not at all."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

Interval = tuple[float, float]

_WEIGHTS_AT_ONCE = 4_000_000
_FEW = 200
_Z95 = 1.959964


def interval(hits_N: np.ndarray | Tensor, groups: np.ndarray | Tensor, seed: int = 0, draws: int = 2000) -> Interval:
    """The 95 % interval of the mean of ``hits_N`` over groups drawn with replacement; see :func:`intervals`."""
    low_high_2 = intervals(np.asarray(hits_N, dtype=np.float64)[:, None], groups, seed, draws)[0]
    return float(low_high_2[0]), float(low_high_2[1])


def intervals(
    values_NK: np.ndarray | Tensor, groups: np.ndarray | Tensor, seed: int = 0, draws: int = 2000
) -> np.ndarray:
    """95 % intervals ``(K, 2)`` of the means of K columns, from the same draws of whole groups.

    Percentile bootstrap. Columns of zeros and ones get Wilson's interval (with one trial per group) where there are
    fewer than 200 groups or all values agree: there the bootstrap is too narrow, and "10 of 10" would read as certain.
    """
    values_NK = np.asarray(values_NK, dtype=np.float64)
    _, group_N, rows_G = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    sums_GK = np.zeros((len(rows_G), values_NK.shape[1]))
    np.add.at(sums_GK, group_N, values_NK)
    low_high_2K = np.percentile(_resampled_means(sums_GK, rows_G, seed, draws), (2.5, 97.5), axis=0)
    for k, column_N in enumerate(values_NK.T):
        binary = bool(np.isin(column_N, (0.0, 1.0)).all())
        if binary and (len(rows_G) < _FEW or column_N.min() == column_N.max()):
            low_high_2K[:, k] = wilson(float(column_N.mean()), len(rows_G))
    return np.asarray(low_high_2K.T)


def wilson(share: float, n: int) -> Interval:
    """Wilson's 95 % score interval of a share seen in ``n`` independent trials."""
    centre = (share + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    half = _Z95 * math.sqrt(share * (1 - share) / n + _Z95**2 / (4 * n * n)) / (1 + _Z95**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _resampled_means(sums_GK: np.ndarray, rows_G: np.ndarray, seed: int, draws: int) -> np.ndarray:
    """Means ``(draws, K)`` of collections of G groups drawn with replacement, in blocks of bounded memory."""
    generator = np.random.default_rng(seed)
    count = len(rows_G)
    block = max(1, _WEIGHTS_AT_ONCE // count)
    means = []
    for start in range(0, draws, block):
        picks = generator.integers(0, count, size=(min(block, draws - start), count))
        weights = np.stack([np.bincount(pick, minlength=count) for pick in picks]).astype(np.float64)
        means.append((weights @ sums_GK) / (weights @ rows_G)[:, None])
    return np.concatenate(means)

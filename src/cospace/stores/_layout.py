"""An order of rows in which neighbours lie side by side: what a search reads next is then often in the cache already.

The rows of a cluster are put together (k-means by FAISS on a sample), and clusters one after the other as a walk goes
from each to the nearest that is left.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

CLUSTER_ROWS, MOST_CLUSTERS = 400, 4096
"""Rows of a cluster: with their links some 150 KB at width 256, less than a core's own cache."""
SAMPLED, ROUNDS = 16, 4
"""Rows a cluster is made from, and rounds of k-means: a rough partition is as good as a fine one here."""


def sampled(rows: int) -> np.ndarray:
    """Numbers of the rows that clusters are made from, spread over all."""
    count = min(rows, SAMPLED * _clusters(rows))
    return np.arange(count, dtype=np.int64) * rows // count


def order(sample_SE: torch.Tensor, parts: Iterable[torch.Tensor], rows: int) -> np.ndarray:
    """Numbers of all rows in their order, int64 ``(N,)``; ``sample_SE`` holds the :func:`sampled` ones."""
    import faiss

    means = faiss.Kmeans(sample_SE.shape[1], _clusters(rows), niter=ROUNDS, spherical=True, min_points_per_centroid=1)
    means.train(sample_SE.numpy())
    centres_CE = torch.from_numpy(_walk(np.asarray(means.centroids)))
    cluster_N = torch.cat([(part_RE @ centres_CE.T).argmax(dim=1) for part_RE in parts])
    return np.argsort(cluster_N.numpy(), kind="stable").astype(np.int64)


def _clusters(rows: int) -> int:
    return max(1, min(MOST_CLUSTERS, rows // CLUSTER_ROWS))


def _walk(centres_CE: np.ndarray) -> np.ndarray:
    """The centres as a walk meets them that goes on to the nearest which is left."""
    likeness_CC = centres_CE @ centres_CE.T
    left_C = np.ones(len(centres_CE), dtype=bool)
    visited = [0]
    for _ in range(len(centres_CE) - 1):
        left_C[visited[-1]] = False
        visited.append(int(np.where(left_C, likeness_CC[visited[-1]], -np.inf).argmax()))
    walked_CE: np.ndarray = centres_CE[visited]
    return walked_CE

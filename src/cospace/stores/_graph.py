"""A graph over the vectors of one large segment: HNSW by usearch, in float16, memory-mapped.

Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical navigable small world
graphs", https://arxiv.org/abs/1603.09320. A graph proposes rows; their scores are always computed from the segment's
own vectors. It finds little among vectors without any structure, such as independent random ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..filenames import as_utf8
from ._mapping import is_mapped

GRAPH_ROWS = 100_000
"""From so many rows on a segment gets a graph: reading fewer takes some 10 ms, a graph of fewer saves nobody time."""
LINKS, BUILD_EFFORT = 16, 128
"""Neighbours a row is linked with, and rows kept in sight while it is placed: the library's own choice."""
SHARED = 8
"""From so many queries on they are shared out among all cores; starting the threads takes longer than one search."""


class Graph:
    """An open graph. It is asked by one thread at a time, since the library's searches share their working memory."""

    def __init__(self, path: Path, width: int) -> None:
        self._index = _empty(width)
        with as_utf8(path) as name:
            if is_mapped(path):
                self._index.view(name)
            else:
                self._index.load(name)
        self._asking = threading.Lock()

    @staticmethod
    def build(path: Path, width: int, parts: Iterable[torch.Tensor], done: Callable[[int], None]) -> None:
        """Write a graph over rows 0, 1, 2, ... of ``parts`` to ``path``; ``done`` hears how many rows are in."""
        index, rows = _empty(width), 0
        for part_RE in parts:
            index.add(np.arange(rows, rows + len(part_RE), dtype=np.uint64), part_RE.numpy())
            rows += len(part_RE)
            done(rows)
        with as_utf8(path) as name:
            index.save(name)

    def near(self, queries_QE: torch.Tensor, count: int) -> np.ndarray:
        """Rows near each query, int64 ``(Q, count)``; a row of the answer ends in -1 where fewer were reached."""
        threads = 0 if len(queries_QE) >= SHARED else 1
        with self._asking:
            found = self._index.search(queries_QE.numpy(), count, threads=threads)
        keys_QF = np.atleast_2d(found.keys)  # one query comes back as a row, cut to what was reached
        counts_Q = np.broadcast_to(np.asarray(getattr(found, "counts", keys_QF.shape[1])), len(keys_QF))
        rows_QF: np.ndarray = np.full((len(queries_QE), count), -1, dtype=np.int64)
        there_QF = np.arange(keys_QF.shape[1]) < counts_Q[:, None]
        rows_QF[:, : keys_QF.shape[1]][there_QF] = keys_QF[there_QF]
        return rows_QF


def _empty(width: int) -> Any:
    from usearch.index import Index

    return Index(ndim=width, metric="ip", dtype="f16", connectivity=LINKS, expansion_add=BUILD_EFFORT)

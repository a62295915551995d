"""A graph over the vectors of one large segment: HNSW by FAISS over bytes, memory-mapped.

Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical navigable small world
graphs", https://arxiv.org/abs/1603.09320; Douze et al., "The Faiss library", https://arxiv.org/abs/2401.08281. A graph
proposes rows; their scores are always computed from the segment's own vectors, so it may keep a byte a coordinate. It
finds little among vectors without any structure, such as independent random ones.

All coordinates are multiplied by one scale, and compared by Euclidean distance: every row keeps its length up to
rounding, so the order is that of the cosine, also for a query that had to be made shorter to fit into bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..filenames import as_utf8
from ..types import UserError
from ._mapping import Mapping, is_mapped

GRAPH_ROWS = 100_000
"""From so many rows on a segment gets a graph: reading fewer takes some 10 ms, a graph of fewer saves nobody time."""
LINKS, BUILD_EFFORT = 16, 128
"""Neighbours a row is linked with, and rows kept in sight while it is placed."""
MIDDLE, STEPS = 128, np.float32(127)
"""The byte that stands for zero, and the steps to either side."""
ROUNDED = np.float32(MIDDLE + 0.5)
"""What is added to a scaled coordinate, so that its whole part is the nearest byte."""
LANES = 16
"""The library's fast comparison takes so many coordinates at a time; a width is filled up to a multiple."""

Done = Callable[[int], None]
"""Hears how many rows are in."""


class Graph:
    """An open graph; several threads may ask it at the same time."""

    def __init__(self, path: Path, rows: int, scale: float) -> None:
        faiss = _library()
        with as_utf8(path) as name:
            read = faiss.read_index(name, faiss.IO_FLAG_MMAP_IFC if is_mapped(path) else 0)
        self._rows_N = np.append(faiss.vector_to_array(read.id_map), -1)  # and -1 for the place -1
        self._index = faiss.downcast_index(read.index)
        self._owner = read  # which owns the index
        if self._index.ntotal != rows or len(self._rows_N) != rows + 1:
            raise UserError(f"{path} does not link {rows} rows; restore it from a copy or index again")
        self._scale = np.float32(scale)
        self._mapping = Mapping.of(path) if is_mapped(path) else None
        self._settings: dict[int, Any] = {}

    @staticmethod
    def build(path: Path, parts: Iterable[torch.Tensor], order_N: np.ndarray, scale: float, done: Done) -> None:
        """Write a graph over rows 0, 1, 2, ... of ``parts`` to ``path``; ``done`` hears how many rows are in.

        ``order_N`` is the order in which rows lie in the file, see :mod:`._layout`; ``scale`` is from :func:`scale_of`.
        """
        faiss, rest = _library(), iter(parts)
        first_RE = next(rest)
        index = _empty(first_RE.shape[1])
        numbered = faiss.IndexIDMap(index)
        for part_RE in chain([first_RE], rest):
            index.add(_bytes(part_RE.numpy(), np.float32(scale)))
            done(index.ntotal)
        index.permute_entries(order_N)
        faiss.copy_array_to_vector(order_N, numbered.id_map)
        numbered.ntotal = index.ntotal
        with as_utf8(path) as name:
            faiss.write_index(numbered, name)

    def near(self, queries_QE: np.ndarray, count: int, effort: int) -> np.ndarray:
        """Rows near each query, int64 ``(Q, count)``; a row of the answer ends in -1 where fewer were reached.

        ``effort`` is the number of rows that are kept in sight.
        """
        if self._mapping is not None:
            self._mapping.check()
        codes_QP = _bytes(queries_QE, self._scale)
        if codes_QP.max() >= MIDDLE + STEPS + 1 or codes_QP.min() < MIDDLE - STEPS:  # longer somewhere than any row
            codes_QP = _bytes(
                queries_QE, np.minimum(self._scale, STEPS / np.abs(queries_QE).max(axis=1, keepdims=True))
            )
        places_QF = self._index.search(codes_QP, count, params=self._setting(effort))[1]
        return self._rows_N[places_QF]

    def _setting(self, effort: int) -> Any:
        """The library's object for an effort; it is only read, so threads may share it."""
        if effort not in self._settings:
            self._settings[effort] = _library().SearchParametersHNSW(efSearch=effort)
        return self._settings[effort]


def scale_of(parts: Iterable[torch.Tensor]) -> float:
    """The factor with which the largest coordinate of all rows just fits into a byte."""
    return float(STEPS) / max(float(part_RE.abs().max()) for part_RE in parts)


def _bytes(vectors_RE: np.ndarray, scales: np.ndarray | np.float32) -> np.ndarray:
    """Coordinates as float32 of which the whole part is 1 to 255, filled up with zeros: ``(R, P)``."""
    codes_RE = vectors_RE * scales
    codes_RE += ROUNDED  # the library cuts off what is behind the point
    lacking = -codes_RE.shape[1] % LANES
    return np.pad(codes_RE, ((0, 0), (0, lacking)), constant_values=MIDDLE) if lacking else codes_RE


def _empty(width: int) -> Any:
    faiss = _library()
    kind = faiss.ScalarQuantizer.QT_8bit_direct
    index = faiss.IndexHNSWSQ(-(-width // LANES) * LANES, kind, LINKS, faiss.METRIC_L2)
    index.hnsw.efConstruction = BUILD_EFFORT
    return index


def _library() -> Any:
    """FAISS, whose types do not know all that it has."""
    import faiss

    return faiss

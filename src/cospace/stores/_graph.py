"""A graph over the vectors of one large segment: HNSW by FAISS, memory-mapped.

Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical navigable small world
graphs", https://arxiv.org/abs/1603.09320; Douze et al., "The Faiss library", https://arxiv.org/abs/2401.08281. A graph
finds little among vectors without any structure, such as independent random ones.

Where vectors are stored as bfloat16 it holds the same, and its scores are theirs. Otherwise it keeps a byte for each
coordinate and proposes rows, whose scores are computed from the segment's own vectors: all coordinates are multiplied
by one scale, and compared by Euclidean distance. Every row keeps its length up to rounding, so the order is that of
the cosine, also for a query that had to be made shorter to fit into bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..filenames import as_utf8
from ..types import UserError
from ._mapping import Mapping, is_mapped

AVAILABLE = sys.platform == "linux"
"""Elsewhere the library and torch each bring an OpenMP of their own, and the second one ends the process: without
graphs every search is exact."""
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
REMEMBERED = 64
"""Efforts whose settings are kept: filters make one of their own each."""

Done = Callable[[int], None]
"""Hears how many rows are in."""


class Graph:
    """An open graph; several threads may ask it at the same time. ``scale`` is that of bytes, ``None`` of bfloat16."""

    def __init__(self, path: Path, rows: int, scale: float | None) -> None:
        import faiss

        with as_utf8(path) as name:
            read = faiss.read_index(name, faiss.IO_FLAG_MMAP_IFC if is_mapped(path) else 0)
        self._rows_N = np.append(faiss.vector_to_array(read.id_map), -1)  # and -1 for the place -1
        self._index = faiss.downcast_index(read.index)
        self._owner = read  # which owns the index
        if self._index.ntotal != rows or len(self._rows_N) != rows + 1:
            raise UserError(f"{path} does not link {rows} rows; restore it from a copy or index again")
        self._scale = scale
        self._mapping = Mapping.of(path) if is_mapped(path) else None
        self._settings: dict[int, Any] = {}

    @staticmethod
    def build(path: Path, parts: Iterable[torch.Tensor], order_N: np.ndarray, scale: float | None, done: Done) -> None:
        """Write a graph over rows 0, 1, 2, ... of ``parts`` to ``path``; ``done`` hears how many rows are in.

        ``order_N`` is the order in which rows lie in the file, see :mod:`._layout`; ``scale`` is from :func:`scale_of`.
        """
        import faiss

        rest = iter(parts)
        first_RE = next(rest)
        index = _empty(first_RE.shape[1], scale)
        numbered = faiss.IndexIDMap(index)
        for part_RE in chain([first_RE], rest):
            index.add(_given(part_RE.numpy(), scale))
            done(index.ntotal)
        index.permute_entries(order_N)
        faiss.copy_array_to_vector(order_N, numbered.id_map)
        numbered.ntotal = index.ntotal
        with as_utf8(path) as name:
            faiss.write_index(numbered, name)

    @property
    def exact(self) -> bool:
        """Whether its scores are the cosines of the stored vectors."""
        return self._scale is None

    def near(self, queries_QE: np.ndarray, count: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows near each query, int64 ``(Q, count)``, and scores, which mean something where they are :attr:`exact`.

        A row of the answer ends in -1 where fewer were reached. ``effort`` is the number of rows kept in sight.
        """
        if self._mapping is not None:
            self._mapping.check()
        codes_QP = _given(queries_QE, self._scale)
        if self._scale is not None and (codes_QP.max() >= 1 << 8 or codes_QP.min() < 1):  # longer there than any row
            reach_Q1 = np.abs(queries_QE).max(axis=1, keepdims=True)
            codes_QP = _given(queries_QE, np.minimum(np.float32(self._scale), STEPS / reach_Q1))
        scores_QF, places_QF = self._index.search(codes_QP, count, params=self._setting(effort))
        return self._rows_N[places_QF], scores_QF

    def _setting(self, effort: int) -> Any:
        """The library's object for an effort; it is only read, so threads may share it."""
        setting = self._settings.get(effort)
        if setting is None:
            import faiss

            if len(self._settings) >= REMEMBERED:
                self._settings.clear()
            setting = self._settings[effort] = faiss.SearchParametersHNSW(efSearch=effort)
        return setting


def scale_of(parts: Iterable[torch.Tensor]) -> float:
    """The factor with which the largest coordinate of all rows just fits into a byte."""
    return float(STEPS) / max(float(part_RE.abs().max()) for part_RE in parts)


def _given(vectors_RE: np.ndarray, scale: float | np.ndarray | None) -> np.ndarray:
    """Vectors as the library takes them, filled up with zeros, float32 ``(R, P)``; for bytes the whole part counts."""
    zero = np.float32(0)
    if scale is not None:
        zero = ROUNDED
        vectors_RE = vectors_RE * np.asarray(scale, dtype=np.float32)
        vectors_RE += ROUNDED
    lacking = -vectors_RE.shape[1] % LANES
    return np.pad(vectors_RE, ((0, 0), (0, lacking)), constant_values=zero) if lacking else vectors_RE


def _empty(width: int, scale: float | None) -> Any:
    import faiss

    kinds = faiss.ScalarQuantizer
    kind, metric = (
        (kinds.QT_bf16, faiss.METRIC_INNER_PRODUCT) if scale is None else (kinds.QT_8bit_direct, faiss.METRIC_L2)
    )
    index = faiss.IndexHNSWSQ(-(-width // LANES) * LANES, kind, LINKS, metric)
    index.hnsw.efConstruction = BUILD_EFFORT
    return index

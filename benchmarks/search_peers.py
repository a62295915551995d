"""The libraries that the search benchmark sets beside our stores, each through its own interface."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

WIDTH = 256
NEAREST = 10
LINKS, BUILD_EFFORT = 16, 128
PART = 8192
"""Rows that are made and added at a time."""
PARTITION_ROWS = 4096
"""Of an inverted file."""

Search = Callable[[np.ndarray, int], np.ndarray]
"""Queries and effort to the rows that are found, ``(Q, 10)``."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a system finds the vectors, keeps its index, and its server if it has one."""

    data: Path
    index: Path
    server: Path
    url: str


@dataclass(frozen=True, slots=True)
class Opened:
    """How to search, how to make rows of what is found, and the processes whose memory counts."""

    search: Search
    rows: Callable[[np.ndarray], np.ndarray]
    processes: Sequence[int]


class System(Protocol):
    """A contestant."""

    def build(self, vectors_NE: np.ndarray, place: Place) -> None:
        """Make an index of all rows and put it where it can be opened."""

    def open(self, place: Place) -> Opened:
        """Make it ready to answer."""


@dataclass(frozen=True, slots=True)
class Faiss:
    """FAISS's graph over vectors of one precision; all of it is read into memory."""

    precision: Literal["float32", "float16"] = "float32"

    def build(self, vectors_NE: np.ndarray, place: Place) -> None:
        """Add everything at once, as its manual does, and write it."""
        import faiss

        if self.precision == "float32":
            index = faiss.IndexHNSWFlat(WIDTH, LINKS, faiss.METRIC_INNER_PRODUCT)
        else:
            kind = faiss.ScalarQuantizer.QT_fp16
            index = faiss.IndexHNSWSQ(WIDTH, kind, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = BUILD_EFFORT
        index.train(vectors_NE[:PART])
        index.add(vectors_NE)
        faiss.write_index(index, str(place.index))

    def open(self, place: Place) -> Opened:
        """Read it."""
        import faiss

        index = faiss.read_index(str(place.index))

        def search(queries_QE: np.ndarray, effort: int) -> np.ndarray:
            index.hnsw.efSearch = effort
            return np.asarray(index.search(queries_QE, NEAREST)[1])

        return Opened(search, np.asarray, [os.getpid()])


@dataclass(frozen=True, slots=True)
class Usearch:
    """usearch's graph in float16, mapped into memory."""

    def build(self, vectors_NE: np.ndarray, place: Place) -> None:
        """Add everything, and save it."""
        index = self._empty()
        index.add(np.arange(len(vectors_NE), dtype=np.uint64), np.asarray(vectors_NE))
        index.save(str(place.index))

    def open(self, place: Place) -> Opened:
        """Map it."""
        index = self._empty()
        index.view(str(place.index))

        def search(queries_QE: np.ndarray, effort: int) -> np.ndarray:
            index.expansion_search = effort
            return np.atleast_2d(index.search(queries_QE, NEAREST).keys).astype(np.int64)

        return Opened(search, np.asarray, [os.getpid()])

    @staticmethod
    def _empty() -> Any:
        from usearch.index import Index

        return Index(ndim=WIDTH, metric="ip", dtype="f16", connectivity=LINKS, expansion_add=BUILD_EFFORT)


@dataclass(frozen=True, slots=True)
class LanceLibrary:
    """LanceDB by itself, refined by itself: a sixteenth of the effort is how many partitions are read."""

    kind: Literal["ivf_rq", "ivf_pq", "ivf_hnsw_sq"] = "ivf_rq"

    def build(self, vectors_NE: np.ndarray, place: Place) -> None:
        """Add in parts, join them, and build."""
        import lancedb
        import pyarrow as pa
        from lancedb.index import HnswSq, IvfPq, IvfRq

        shape = pa.schema([("row", pa.int64()), ("vector", pa.list_(pa.float32(), WIDTH))])
        table = lancedb.connect(place.index).create_table("vectors", schema=shape)
        for start in range(0, len(vectors_NE), PART):
            part = np.ascontiguousarray(vectors_NE[start : start + PART])
            stored = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), WIDTH)
            table.add(pa.table({"row": np.arange(start, start + len(part)), "vector": stored}, schema=shape))
        table.optimize()
        count = max(1, round(len(vectors_NE) / PARTITION_ROWS))
        kinds: dict[str, Any] = {
            "ivf_rq": IvfRq(distance_type="dot", num_partitions=count, num_bits=1),
            "ivf_pq": IvfPq(distance_type="dot", num_partitions=count, num_sub_vectors=WIDTH // 8),
            "ivf_hnsw_sq": HnswSq(distance_type="dot", num_partitions=1, m=LINKS, ef_construction=BUILD_EFFORT),
        }
        table.create_index("vector", config=kinds[self.kind])

    def open(self, place: Place) -> Opened:
        """Open the table."""
        import lancedb

        table = lancedb.connect(place.index).open_table("vectors")

        def search(queries_QE: np.ndarray, effort: int) -> np.ndarray:
            asked: Any = table.search([*queries_QE], vector_column_name="vector")
            asked = asked.distance_type("dot").limit(NEAREST)
            asked = asked.select(["row", "_distance"]).nprobes(max(1, effort // 16))
            asked = asked.ef(effort) if self.kind == "ivf_hnsw_sq" else asked
            found = asked.refine_factor(max(1, effort // NEAREST)).to_arrow()
            return np.asarray(found["row"].to_numpy()).reshape(len(queries_QE), -1)

        return Opened(search, np.asarray, [os.getpid()])

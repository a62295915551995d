"""Vector indexes of a Lance table: kinds and their options, building one, and the parameters that a search may have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._lance_tables import Table
from .ann import EXACT, Ann, Options

KINDS: dict[str, Options] = {
    EXACT: {},
    "ivf_pq": {"num_partitions": (1, 1 << 20), "num_sub_vectors": (1, 4096)},
    "ivf_rq": {"num_partitions": (1, 1 << 20), "num_bits": (1, 8)},
    "ivf_hnsw_sq": {"num_partitions": (1, 1 << 20), "m": (2, 256), "ef_construction": (8, 4096)},
    "ivf_flat": {"num_partitions": (1, 1 << 20)},
}
DEFAULT, OF_ANY_WIDTH = Ann("ivf_rq"), Ann("ivf_pq")
"""A bit a coordinate (RaBitQ, Gao and Long 2024, https://arxiv.org/abs/2405.12497) is as good as a byte for eight of
them once it is refined, and needs no training; it wants widths that eight divides."""
PARTITION_ROWS = {"ivf_pq": 4096, "ivf_rq": 4096, "ivf_flat": 4096, "ivf_hnsw_sq": 1 << 20}
"""Rows of a partition where none are asked for; a graph is made for each, so there are few."""
SUB_VECTOR = 8
"""Coordinates that one byte of a product quantiser stands for, where the width can be divided so."""
NAME = "nearest"
"""Of the vector index of a table."""
IDS, IDS_ROWS = "ids", 10_000
"""The index over ids, and from how many rows on it is made."""

LADDER = ((32, 4), (16, 4), (16, 8), (8, 8), (8, 16), (4, 16), (2, 16), (2, 32), (1, 32), (1, 64))
"""Tried after a build: one partition of so many is read, and so many times the wanted rows are refined."""
EFFORTS = ((64, 2), (128, 4), (256, 8), (512, 16), (1024, 32))
"""The same for graphs: rows kept in sight, and how many times the wanted rows are refined."""


def default(width: int) -> Ann:
    """The kind of index that is built where none was chosen."""
    return OF_ANY_WIDTH if width % 8 else DEFAULT


def partitions(ann: Ann, rows: int) -> int:
    """How many partitions an index of ``rows`` rows has."""
    return ann.options.get("num_partitions") or max(1, round(rows / PARTITION_ROWS[ann.kind]))


def tried(ann: Ann, rows: int) -> Iterator[dict[str, int]]:
    """Parameters of a search, the cheapest first."""
    count = partitions(ann, rows)
    if ann.kind == "ivf_hnsw_sq":
        for effort, refine in EFFORTS:
            yield {"nprobes": max(1, count // 4), "ef": effort, "refine": refine}
        yield {"nprobes": count, "ef": EFFORTS[-1][0], "refine": EFFORTS[-1][1]}
        return
    last: dict[str, int] = {}
    for share, refine in LADDER:
        search = {"nprobes": max(1, -(-count // share)), "refine": 1 if ann.kind == "ivf_flat" else refine}
        if search != last:
            yield search
        last = search


def build(table: Table, ann: Ann, rows: int, width: int) -> None:
    """Build the vector index of a table, in place of the one that it has."""
    table.create_index("vector", config=_config(ann, rows, width), name=NAME, replace=True)


def _config(ann: Ann, rows: int, width: int) -> Any:
    from lancedb.index import HnswSq, IvfFlat, IvfPq, IvfRq

    count = partitions(ann, rows)
    if ann.kind == "ivf_flat":
        return IvfFlat(distance_type="dot", num_partitions=count)
    if ann.kind == "ivf_rq":
        return IvfRq(distance_type="dot", num_partitions=count, num_bits=ann.options.get("num_bits", 1))
    if ann.kind == "ivf_hnsw_sq":
        options: dict[str, Any] = {name: ann.options[name] for name in ("m", "ef_construction") if name in ann.options}
        return HnswSq(distance_type="dot", num_partitions=count, **options)
    parts = ann.options.get("num_sub_vectors") or (width // SUB_VECTOR if width % SUB_VECTOR == 0 else None)
    return IvfPq(distance_type="dot", num_partitions=count, num_sub_vectors=parts)


def build_ids(table: Table) -> None:
    """Index the ids of a table."""
    from lancedb.index import BTree

    table.create_index("id", config=BTree(), name=IDS)

"""One immutable part of a local index: unit vectors, their items, and which of them are dead.

On disk a segment is two files that are written once, ``<name>.vectors.npy`` (float32, memory-mapped) and
``<name>.items.parquet``, and up to one ``<name>.dead-<version>.npy`` (row numbers) that each deletion writes anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..files import atomic_write, check, stamp
from ..types import UserError
from . import Item

COLUMNS = [field.name for field in fields(Item)]


@dataclass(frozen=True, slots=True)
class Segment:
    """An open segment; ``files`` maps the role of each of its files to name and stamp, as the version lists them."""

    files: Mapping[str, Mapping[str, Any]]
    vectors_NE: np.ndarray
    items: pa.Table
    live_N: np.ndarray

    @classmethod
    def write(cls, folder: Path, name: str, items: pa.Table, vectors_NE: np.ndarray) -> Segment:
        """Put a new segment on disk and open it; nothing refers to it until a version does."""
        vectors, table = folder / f"{name}.vectors.npy", folder / f"{name}.items.parquet"
        atomic_write(vectors, partial(_save_array, vectors_NE))
        atomic_write(table, partial(pq.write_table, items))
        return cls.open(folder, {"vectors": _entry(vectors), "items": _entry(table)}, thorough=False)

    @classmethod
    def open(cls, folder: Path, files: Mapping[str, Mapping[str, Any]], thorough: bool) -> Segment:
        """Map the vectors, read the items; ``thorough`` compares every byte with the version's hashes first."""
        for entry in files.values():
            check(folder / entry["name"], entry["stamp"], content=thorough)
        vectors_NE = np.load(folder / files["vectors"]["name"], mmap_mode="r", allow_pickle=False)
        live_N = np.ones(len(vectors_NE), dtype=bool)
        if "dead" in files:
            live_N[np.load(folder / files["dead"]["name"], allow_pickle=False)] = False
        return cls(files, vectors_NE, pq.read_table(folder / files["items"]["name"]), live_N)

    @property
    def name(self) -> str:
        """What its files' names begin with."""
        return str(self.files["vectors"]["name"]).removesuffix(".vectors.npy")

    def without(self, folder: Path, version: int, rows: Sequence[int]) -> Segment:
        """The same segment with more dead rows, which are on disk when this returns."""
        live_N = self.live_N.copy()
        live_N[list(rows)] = False
        path = folder / f"{self.name}.dead-{version:08d}.npy"
        atomic_write(path, partial(_save_array, np.flatnonzero(~live_N)))
        return replace(self, files={**self.files, "dead": _entry(path)}, live_N=live_N)

    def ids(self) -> list[str]:
        """Of all rows, dead ones too."""
        return [str(value) for value in self.items["id"].to_pylist()]

    def selected(self, where: Mapping[str, str]) -> np.ndarray:
        """``(N,)``, true for live rows whose columns equal ``where``."""
        chosen_N = self.live_N
        for column, value in where.items():
            if column not in COLUMNS:
                raise UserError(f"an index has no column {column!r}; it has {', '.join(COLUMNS)}")
            chosen_N = chosen_N & pc.equal(self.items[column], value).to_numpy()
        return chosen_N

    def survivors(self) -> pa.Table:
        """Items of the live rows, in the order of their vectors."""
        return self.items.filter(pa.array(self.live_N))


def table_of(items: Sequence[Item]) -> pa.Table:
    """Items as columns of text; text that is not Unicode (a file name of undecodable bytes) is refused."""
    try:
        return pa.table({name: pa.array([getattr(item, name) for item in items], pa.string()) for name in COLUMNS})
    except UnicodeEncodeError as error:
        raise UserError(f"{error.object!r} is not valid Unicode; rename that file or mend that text") from error


def _entry(path: Path) -> dict[str, Any]:
    return {"name": path.name, "stamp": stamp(path)}


def _save_array(array: np.ndarray, path: Path) -> None:
    # Through an open file, because given a path numpy appends ".npy" to it.
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)

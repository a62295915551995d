"""One immutable part of a local index: unit vectors of one modality, their items, and which of them are dead.

On disk a segment is files that are written once: ``<name>.vectors.npy`` (memory-mapped where it is large),
``<name>.scales.npy`` where vectors are int8, ``<name>.items.parquet``, and ``<name>.graph`` where it is large. Beside
them lies up to one ``<name>.dead-<version>.npy`` (row numbers) that each deletion writes anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from ..files import atomic_write, check, stamp
from ..reading import understood
from ..types import UserError
from . import Condition, Progress, _graph
from ._columns import EXTRA, Columns
from ._graph import Graph, scale_of
from ._layout import order, sampled
from ._mapping import Mapping as Mapped
from ._mapping import Rows, array, mappings

Precision = Literal["float32", "bfloat16", "int8"]
STORED = {"float32": np.dtype("<f4"), "bfloat16": np.dtype("<u2"), "int8": np.dtype("i1")}
"""How a coordinate lies in the file; numpy has no bfloat16, so its bits are stored."""
WRITTEN_ROWS = 65_536
"""Rows copied at a time when segments are merged."""
GRAPH_PART = 8_192
"""Rows between two reports of progress while a graph is made: a second or so."""
SINGLE_ROWS = 16_384
"""Up to so many rows of a mapped file are read one by one; more are taken from the mapping, which is faster then."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some vectors as stored: the ``rows`` of ``stored_NE``, and of ``scales_N`` where they are int8."""

    stored_NE: np.ndarray
    scales_N: np.ndarray | None
    rows: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """What a new segment shall hold: items of one modality, and their vectors in parts, in the same order."""

    modality: str
    items: pa.Table
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """An open segment; ``entry`` is what the version says of it: modality, rows, and the name and stamp of each file.

    ``stored_NE`` and ``scales_N`` are the vectors as stored, see :func:`encoded`.
    """

    entry: Mapping[str, Any]
    stored_NE: np.ndarray
    scales_N: np.ndarray | None
    items: Columns
    live_N: np.ndarray
    alive: int
    graph: Graph | None
    mapped: tuple[Mapped, ...] = ()
    """Its files that are not in memory, see :mod:`._mapping`."""
    single: Rows | None = None
    """Rows of its vectors where these are mapped."""

    @classmethod
    def write(cls, folder: Path, name: str, content: Content) -> Segment:
        """Put a new segment on disk and open it; nothing refers to it until a version does."""
        vectors, table, scales = (folder / f"{name}.{end}" for end in ("vectors.npy", "items.parquet", "scales.npy"))
        rows, first = content.items.num_rows, content.parts[0]
        stored = (part.stored_NE[part.rows] for part in content.parts)
        atomic_write(vectors, partial(_save_parts, (rows, first.stored_NE.shape[1]), first.stored_NE.dtype, stored))
        atomic_write(table, partial(_write_table, content.items))
        files = {"vectors": _entry(vectors), "items": _entry(table)}
        if first.scales_N is not None:
            values = (part.scales_N[part.rows] for part in content.parts if part.scales_N is not None)
            atomic_write(scales, partial(_save_parts, (rows,), first.scales_N.dtype, values))
            files["scales"] = _entry(scales)
        entry = {"modality": content.modality, "rows": rows, "files": files}
        return cls.open(folder, entry, thorough=False)

    @classmethod
    def open(cls, folder: Path, entry: Mapping[str, Any], thorough: bool) -> Segment:
        """Map the files; ``thorough`` compares every byte with the version's hashes first."""
        paths = {role: folder / Path(file["name"]).name for role, file in entry["files"].items()}
        for role, file in entry["files"].items():
            check(paths[role], file["stamp"], content=thorough)
        live_N = np.ones(entry["rows"], dtype=bool)
        if "dead" in paths:
            with understood(paths["dead"]):
                live_N[np.load(paths["dead"], allow_pickle=False)] = False
        stored_NE, items = array(paths["vectors"]), Columns(paths["items"])
        scales_N = array(paths["scales"]) if "scales" in paths else None
        _check_shapes(paths, (stored_NE, scales_N), entry["rows"])
        if thorough:
            items.check(entry["rows"])
        with understood(paths.get("graph", folder)):
            # What format 3 called a graph is another library's: such a segment is searched exactly until it is linked.
            linked = "graph" in entry and _graph.AVAILABLE
            graph = Graph(paths["graph"], entry["rows"], entry["graph"]["scale"]) if linked else None
        mapped = mappings(*(path for role, path in paths.items() if role in ("vectors", "scales", "graph")))
        single = Rows(paths["vectors"], stored_NE) if mappings(paths["vectors"]) else None
        return cls(entry, stored_NE, scales_N, items, live_N, int(live_N.sum()), graph, mapped, single)

    def check_mapped(self) -> None:
        """Refuse to be read where a mapped file was cut short, which would end the process."""
        for file in self.mapped:
            file.check()

    @property
    def name(self) -> str:
        """What its files' names begin with."""
        return str(self.entry["files"]["vectors"]["name"]).removesuffix(".vectors.npy")

    @property
    def modality(self) -> str:
        """Of all its items."""
        return str(self.entry["modality"])

    def __len__(self) -> int:
        return len(self.live_N)

    def without(self, folder: Path, version: int, rows: Sequence[int]) -> Segment:
        """The same segment with more dead rows, which are on disk when this returns."""
        live_N = self.live_N.copy()
        live_N[list(rows)] = False
        path = folder / f"{self.name}.dead-{version:08d}.npy"
        dead = np.flatnonzero(~live_N)
        atomic_write(path, partial(_save_parts, dead.shape, dead.dtype, [dead]))
        entry = {**self.entry, "files": {**self.entry["files"], "dead": _entry(path)}}
        return replace(self, entry=entry, live_N=live_N, alive=int(live_N.sum()))

    @property
    def without_words(self) -> bool:
        """Whether its file of items has nothing of rows that are dead."""
        return self.alive == len(self) or self.entry.get("wordless") == self.entry["files"]["dead"]["name"]

    def wordless(self, folder: Path, version: int) -> Segment:
        """The same segment with nothing in the place of what dead items were called and said; on disk on return."""
        table, live = self.items.table(), pa.array(self.live_N)
        path = folder / f"{self.name}.items-{version:08d}.parquet"
        columns = [pc.if_else(live, column, _nothing(column.type)) for column in table.columns]
        atomic_write(path, partial(_write_table, pa.Table.from_arrays(columns, schema=table.schema)))
        entry = {**self.entry, "files": {**self.entry["files"], "items": _entry(path)}}
        entry["wordless"] = self.entry["files"]["dead"]["name"]
        return replace(self, entry=entry, items=Columns(path))

    def with_graph(self, folder: Path, progress: Progress) -> Segment:
        """The same segment with a graph, which is on disk when this returns."""
        rows = len(self)
        path = folder / f"{self.name}{'-linked' if 'graph' in self.entry['files'] else ''}.graph"

        def parts() -> Iterator[torch.Tensor]:
            starts = range(0, rows, GRAPH_PART)
            return (self.floats(slice(start, min(start + GRAPH_PART, rows))) for start in starts)

        def done(count: int) -> None:
            progress(f"linking {self.modality}s", count, rows)

        scale = None if self.stored_NE.dtype == STORED["bfloat16"] else scale_of(parts())
        order_N = order(self.floats(sampled(rows)), parts(), rows)
        atomic_write(path, lambda temporary: Graph.build(temporary, parts(), order_N, scale, done))
        entry = {**self.entry, "files": {**self.entry["files"], "graph": _entry(path)}, "graph": {"scale": scale}}
        return replace(self, entry=entry, graph=Graph(path, rows, scale), mapped=(*self.mapped, *mappings(path)))

    def with_measure(self, effort: int, recall: float) -> Segment:
        """The same segment, which remembers how its graph is to be asked, and how much that finds."""
        return replace(self, entry={**self.entry, "graph": {**self.entry["graph"], "effort": effort, "recall": recall}})

    def live_rows(self, ids: Sequence[str]) -> np.ndarray:
        """The row of each id, -1 for one that is not here or dead; int64 ``(n,)``."""
        row_of = self.items.row_of
        rows = np.array([row_of.get(name, -1) for name in ids], dtype=np.int64)
        return np.where((rows >= 0) & self.live_N[rows], rows, -1)

    def extras(self) -> dict[str, int]:
        """Names of extras with the number of live items that have them."""
        valid = {name: self.items.column(EXTRA + name).is_valid().to_numpy() for name in self.items.extras}
        return {name: int((valid_N & self.live_N).sum()) for name, valid_N in valid.items()}

    def chosen(self, where: Sequence[Condition]) -> np.ndarray | None:
        """Bool ``(N,)``, true for live rows that satisfy all conditions; ``None`` where every row does.

        Where no row can, the array is empty: a text never is an image, and a million of them need not say so.
        """
        chosen_N = None if self.alive == len(self) else self.live_N
        for condition in where:
            if condition.column == "@modality" and condition.relation in ("=", "!="):
                passes: np.ndarray | bool = (self.modality in condition.values) == (condition.relation == "=")
            else:
                passes = self.items.passing(condition)
            if passes is False:
                return np.zeros(0, dtype=bool)
            if passes is not True:
                chosen_N = passes if chosen_N is None else chosen_N & passes
        return chosen_N

    def floats(self, rows: slice | np.ndarray) -> torch.Tensor:
        """Some vectors as float32 ``(R, E)``; a slice of float32 is not copied."""
        self.check_mapped()
        values_RE = decoded(self.stored_NE[rows])
        return values_RE if self.scales_N is None else values_RE * torch.from_numpy(self.scales_N[rows])[:, None]

    def taken(self, rows: np.ndarray) -> np.ndarray:
        """A few vectors as float32 ``(R, E)``, without mapping what lies around them."""
        if self.single is None or len(rows) > SINGLE_ROWS:
            return self.floats(rows).numpy()
        stored_RE = self.single.take(rows)
        values_RE = stored_RE if stored_RE.dtype == np.float32 else decoded(stored_RE).numpy()
        return values_RE if self.scales_N is None else values_RE * self.scales_N[rows, None]

    def survivors(self) -> tuple[pa.Table, list[Part]]:
        """Items and vectors of the live rows."""
        rows = np.flatnonzero(self.live_N)
        starts = range(0, len(rows), WRITTEN_ROWS)
        parts = [Part(self.stored_NE, self.scales_N, rows[start : start + WRITTEN_ROWS]) for start in starts]
        return self.items.table().filter(pa.array(self.live_N)), parts


def _nothing(kind: pa.DataType) -> pa.Scalar:
    return pa.scalar(0 if pa.types.is_integer(kind) else "", kind)


def encoded(units_NE: np.ndarray, precision: Precision) -> tuple[np.ndarray, np.ndarray | None]:
    """Unit vectors as they are stored, and a float32 scale a row where they are int8.

    bfloat16 keeps 8 bits of each coordinate, int8 divides the largest of a row into 127 steps; rounded to nearest.
    """
    if precision == "bfloat16":
        return torch.from_numpy(units_NE).bfloat16().view(torch.int16).numpy().view(np.uint16), None
    if precision == "int8":
        scales_N = np.abs(units_NE).max(axis=1) / np.float32(127)
        return np.rint(units_NE / scales_N[:, None]).astype(np.int8), scales_N
    return units_NE, None


def decoded(stored_RE: np.ndarray) -> torch.Tensor:
    """Stored coordinates as float32, still to be scaled where they are int8."""
    if stored_RE.dtype == np.uint16:
        return torch.from_numpy(stored_RE.view(np.int16)).view(torch.bfloat16).float()
    return torch.from_numpy(stored_RE).float()


def _check_shapes(paths: Mapping[str, Path], arrays: tuple[np.ndarray, np.ndarray | None], rows: int) -> None:
    """Refuse vectors that are not ``rows`` of numbers as they are stored, and scales that are not one for each."""
    stored_NE, scales_N = arrays
    if stored_NE.ndim != 2 or len(stored_NE) != rows or stored_NE.dtype not in STORED.values():
        raise UserError(f"{paths['vectors']} does not hold {rows} vectors; restore it from a copy or index again")
    if scales_N is not None and (scales_N.shape != (rows,) or scales_N.dtype.kind != "f"):
        raise UserError(f"{paths['scales']} does not hold {rows} scales; restore it from a copy or index again")


def _entry(path: Path) -> dict[str, Any]:
    return {"name": path.name, "stamp": stamp(path)}


def _save_parts(shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[np.ndarray], path: Path) -> None:
    """The parts, one after the other, as one ``.npy``, without holding the whole."""
    head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    # Through an open file, because given a path numpy appends ".npy" to it.
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        for part in parts:
            file.write(np.ascontiguousarray(part).data)


def _write_table(table: pa.Table, path: Path) -> None:
    with path.open("wb") as file:
        pq.write_table(table, file)


def recent(segments: Sequence[Segment]) -> list[Segment]:
    """The last segments, as far back as each is no larger than twice all newer ones.

    So a row is rewritten a logarithmic number of times, however small the steps in which an index grows.
    """
    count, rows = 0, 0
    for segment in reversed(segments):
        if count and segment.alive > 2 * rows:
            break
        count, rows = count + 1, rows + segment.alive
    return list(segments[len(segments) - count :])


def to_merge(segments: Sequence[Segment]) -> list[Segment]:
    """Those of one modality that a finished index holds as one: the ones without a graph, and graphs grown old."""
    rows = sum(segment.alive for segment in segments if segment.graph is None)
    return [
        segment
        for segment in segments
        if segment.graph is None or 3 * segment.alive < 2 * len(segment) or segment.alive <= 2 * rows
    ]

"""From some shards to rows: each is listed alone, and their rows stand one after the other.

What the first shards hold decides which columns there are: a later shard that lacks one has rows without it, which are
set aside as such, and of one that holds something else that is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ...columns import ColumnWriter, column_of, joined, mapped, taken
from ...reading import MALFORMED, opened
from ...types import LeftAlone, Problem, UserError
from ..sources import ReadOptions, Rows, modality_of_suffix, tar
from ..sources._archive import entries
from ..sources._columns import Table
from ..sources._packed import refuse_stand_in
from ..sources._parquet import add_rows, class_names
from . import Part, Shard

Local = Callable[[Shard], Path]
"""Where a shard lies on this machine."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What the rows of a stream have: columns of items, and how many modalities a row needs at least."""

    names: tuple[str, ...]
    least: int | None

    @classmethod
    def of(cls, rows: Rows) -> Columns:
        """As some rows have it."""
        return cls(tuple(rows.items), rows.least)


def read_parts(parts: Sequence[Part], local: Local, options: ReadOptions, known: Columns | None = None) -> Rows:
    """The rows of some parts. Raises :class:`UserError` for a shard that is damaged.

    ``known`` says what rows have; where it is not given, the first part with rows does.
    """
    listed = [_of_part(part, local(part.shard), options) for part in parts]
    if known is None:
        known = next((Columns.of(rows) for rows in listed if len(rows.ids)), Columns((), None))
    return _joined([_fitting(rows, known) for rows in listed], known)


def part_of_rows(ids: Sequence[str], parts: Sequence[Part]) -> list[list[int]]:
    """By part, which rows of these ids are its own; ids that :func:`read_parts` gave begin with the shard's name."""
    found: list[list[int]] = [[] for _ in parts]
    names = [f"{part.shard.name}/" for part in parts]
    place = 0
    for row, one in enumerate(ids):
        while not one.startswith(names[place]):
            place += 1
        found[place].append(row)
    return found


def _of_part(part: Part, path: Path, options: ReadOptions) -> Rows:
    """The rows of one part, each called by its shard first; what was set aside in listing goes with the first part."""
    read = _of_parquet if path.suffix.lower() == ".parquet" else _of_tar
    try:
        rows = read(part, path, options)
    except FileNotFoundError as error:
        raise UserError(f"{part.shard.address} is gone; restore it, or choose another --out") from error
    except UserError as error:  # of a copy, which has another name than the shard
        raise UserError(str(error).replace(str(path), part.shard.address)) from error
    prefix = f"{part.shard.name}/"

    def within(names: Sequence[str]) -> Sequence[str]:
        return mapped(lambda name: name and prefix + name, names)

    first = part.start == 0
    return replace(
        rows,
        ids=within(rows.ids),
        places=within(rows.places) if rows.places else [],
        names={name: within(called) for name, called in rows.names.items()},
        problems=[replace(one, id=prefix + one.id) for one in rows.problems] if first else [],
        left_alone=[replace(one, name=prefix + one.name) for one in rows.left_alone] if first else [],
    )


def _of_tar(part: Part, path: Path, options: ReadOptions) -> Rows:
    if not any(modality_of_suffix(Path(entry.name).suffix) for entry in entries(path)):
        others = [LeftAlone(entry.name, "of no kind that is read") for entry in entries(path)]
        return Rows([], {}, left_alone=others)
    rows = tar.Config(spec=str(path), options=options).read()
    return _selected(rows, part.rows(len(rows.ids)))


def _of_parquet(part: Part, path: Path, options: ReadOptions) -> Rows:
    import pyarrow as pa

    try:
        columns, first, count = _parquet_columns(part, path)
    except (pa.ArrowException, *MALFORMED) as error:
        raise UserError(f"{path} is not a whole parquet file: {error}") from error
    if not count:
        return Rows([], {})
    called = column_of(f"row {row + 1}" for row in range(first, first + count))
    return Table(part.shard.name, path.parent, called, columns, options).rows()


def _parquet_columns(part: Part, path: Path) -> tuple[Mapping[str, Sequence[Any]], int, int]:
    """The columns of a part, its first row in the file, and how many rows it has."""
    import pyarrow.parquet as pq

    with opened(path) as file:
        refuse_stand_in(file.read(512), path)
        parquet = pq.ParquetFile(file)
        wanted = part.rows(parquet.metadata.num_rows)
        writers = {name: ColumnWriter() for name in parquet.schema_arrow.names}
        known = class_names(parquet.schema_arrow.metadata or {})
        for first, batch in _batches(parquet, wanted):
            begin, end = max(wanted.start - first, 0), min(wanted.stop - first, batch.num_rows)
            if begin < end:
                add_rows(writers, batch.slice(begin, end - begin), known)
    return {name: writer.finish() for name, writer in writers.items()}, wanted.start, len(wanted)


def _batches(parquet: Any, wanted: range) -> Iterator[tuple[int, Any]]:
    """Record batches of the row groups that hold some of the rows, each with the number of its first row."""
    first = 0
    for group in range(parquet.metadata.num_row_groups):
        count = parquet.metadata.row_group(group).num_rows
        if first < wanted.stop and first + count > wanted.start:
            place = first
            for batch in parquet.iter_batches(1024, row_groups=[group]):
                yield place, batch
                place += batch.num_rows
        first += count


def count_rows(path: Path) -> int | None:
    """How many rows a parquet file's footer says it has; nothing for other files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() != ".parquet":
        return None
    try:
        with opened(path) as file:
            return int(pq.ParquetFile(file).metadata.num_rows)
    except (OSError, pa.ArrowException, *MALFORMED) as error:
        raise UserError(f"{path} is not a whole parquet file: {error}") from error


def _selected(rows: Rows, chosen: range) -> Rows:
    """Some of the rows; problems and what was left alone stay."""
    if len(chosen) == len(rows.ids):
        return rows
    at = np.arange(chosen.start, chosen.stop)

    def take(columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        return {name: taken(values, at) for name, values in columns.items()}

    return replace(
        rows,
        ids=taken(rows.ids, at),
        items=take(rows.items),
        extras=take(rows.extras),
        names=take(rows.names),
        places=taken(rows.places, at) if rows.places else [],
    )


def _fitting(rows: Rows, known: Columns) -> Rows:
    """Rows with the known columns and no others."""
    count = len(rows.ids)
    others = [name for name in rows.items if name not in known.names]
    left = [
        LeftAlone(called, f"of the modality {name}, which the first shards do not hold")
        for name in others
        for called, item in zip(rows.ids, rows.items[name], strict=True)
        if item is not None
    ]
    items = {name: rows.items[name] if name in rows.items else [None] * count for name in known.names}
    return replace(rows, items=items, left_alone=[*rows.left_alone, *left], least=known.least)


def _joined(parts: Sequence[Rows], known: Columns) -> Rows:
    def of_all(kind: str, missing: Any) -> dict[str, Sequence[Any]]:
        return joined([(len(rows.ids), getattr(rows, kind)) for rows in parts], missing)

    problems: list[Problem] = [problem for rows in parts for problem in rows.problems]
    return Rows(
        column_of(chain.from_iterable(rows.ids for rows in parts)),
        of_all("items", None) or {name: [] for name in known.names},
        of_all("extras", ""),
        problems,
        known.least,
        [left for rows in parts for left in rows.left_alone],
        next((rows.understood for rows in parts if rows.understood), ""),
        of_all("names", ""),
        column_of(chain.from_iterable(rows.places or rows.ids for rows in parts))
        if any(rows.places for rows in parts)
        else [],
    )

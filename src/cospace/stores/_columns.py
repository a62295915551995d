"""The items of one segment as columns of a parquet file, read when somebody asks for them; conditions on columns.

Own fields are columns by their names. An extra is a column ``extra.<name>``, and null where an item does not have it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..filenames import as_utf8
from ..reading import understood
from ..types import UserError
from . import NUMBER, SEVERAL, Condition, Item

OWN = tuple(field.name for field in fields(Item) if field.name != "extras")
APPEARANCE = ("width", "height", "rgb")
"""Own fields that are numbers; the others are texts."""
EXTRA = "extra."
REMEMBERED = 16
"""Conditions whose rows are kept, a byte a row each: people look for several things under one filter."""


class Columns:
    """An open parquet file of items. The file may be unlinked meanwhile: it stays readable until this object goes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with understood(path), as_utf8(path) as name:
            self._file = pa.OSFile(name)  # a mapped file that somebody cuts ends the process
        self._reading = threading.Lock()
        self._read: dict[str, pa.ChunkedArray] = {}
        self._passing: dict[Condition, np.ndarray | bool] = {}

    @cached_property
    def names(self) -> list[str]:
        """As they are in the file."""
        with self._reading, understood(self._path):
            return list(pq.read_schema(self._file).names)

    def check(self, rows: int) -> None:
        """Refuse a file that is not a table of ``rows`` items."""
        lacking = [name for name in OWN if name not in self.names]
        with self._reading, understood(self._path):
            count = pq.read_metadata(self._file).num_rows
        if lacking or count != rows:
            fault = f"has no column {lacking[0]}" if lacking else f"has {count} rows where {rows} belong"
            raise UserError(f"{self._path} {fault}; restore it from a copy or index again")

    @property
    def extras(self) -> list[str]:
        """Names of the extras that any item has."""
        return [name.removeprefix(EXTRA) for name in self.names if name.startswith(EXTRA)]

    def column(self, name: str) -> pa.ChunkedArray:
        """One column by its name in the file; from the second time on without reading."""
        if name not in self._read:
            with self._reading, understood(self._path):
                if name not in self._read:
                    self._read[name] = pq.ParquetFile(self._file).read([name]).column(0)
        return self._read[name]

    def table(self) -> pa.Table:
        """Everything."""
        return pa.table({name: self.column(name) for name in self.names})

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Rows by id: a fifth of a second and 150 MB for a million items, spent when an id is first looked for."""
        return {name: row for row, name in enumerate(self.column("id").to_pylist())}

    def passing(self, condition: Condition) -> np.ndarray | bool:
        """Bool ``(N,)`` of the rows that satisfy one condition, or one answer for all; remembered for a while."""
        passes = self._passing.get(condition)
        if passes is None:
            if len(self._passing) >= REMEMBERED:
                self._passing.clear()
            passes = self._passing[condition] = self._passes(condition)
        return passes

    def _passes(self, condition: Condition) -> np.ndarray | bool:
        own = own_field(condition.column)
        name = own or EXTRA + condition.column
        if name not in self.names:
            return condition.relation == "!="
        return passing(self.column(name), condition, several=own is None)

    def items(self, rows: np.ndarray) -> list[Item]:
        """The items of ``rows``, in their order."""
        taken = {name: self.column(name).take(pa.array(rows)).to_pylist() for name in self.names}
        extras = [(name.removeprefix(EXTRA), values) for name, values in taken.items() if name.startswith(EXTRA)]
        found = []
        for place in range(len(rows)):
            own: dict[str, Any] = {name: taken[name][place] for name in OWN}
            having = {name: values[place] for name, values in extras if values[place] is not None}
            found.append(Item(**own, extras=having))
        return found

    def appearance(self, rows: np.ndarray) -> np.ndarray:
        """int32 ``(n, 3)``: width, height, mean colour."""
        return np.stack([self.column(name).to_numpy()[rows] for name in APPEARANCE], axis=1)


def table_of(items: Sequence[Item]) -> pa.Table:
    """Items as columns; text that is not Unicode (a file name of undecodable bytes) is refused."""
    names = sorted({name for item in items for name in item.extras})
    try:
        columns = {
            name: pa.array([getattr(item, name) for item in items], pa.int32() if name in APPEARANCE else pa.string())
            for name in OWN
        }
        columns |= {EXTRA + name: pa.array([item.extras.get(name) for item in items], pa.string()) for name in names}
        return pa.table(columns)
    except UnicodeEncodeError as error:
        raise UserError(f"{error.object!r} is not valid Unicode; rename that file or mend that text") from error


def passing(column: pa.ChunkedArray, condition: Condition, several: bool) -> np.ndarray:
    """Bool ``(N,)`` of the rows whose value satisfies a condition; ``several``: a value may be several in one text."""
    if condition.relation in (">=", "<="):
        return _compared(column, condition)
    texts = column if pa.types.is_string(column.type) else column.cast(pa.string())
    among = _among(texts, condition.values, several)
    return np.asarray(among if condition.relation == "=" else ~among)


def own_field(column: str) -> str | None:
    """The field that a column of a resolved condition is: ``@id`` is ``id``."""
    return column[1:] if column.startswith("@") and column[1:] in OWN else None


def resolved(where: Sequence[Condition], extras: Mapping[str, int]) -> list[Condition]:
    """Conditions on fields (``@id``) or on ``extras``; a name that is both is the extra's.

    Raises :class:`UserError` for a column that is neither.
    """
    found = []
    for condition in where:
        if own_field(condition.column) is None and condition.column not in extras:
            if condition.column not in OWN:
                shown = [name for name in sorted(extras) if not name.startswith("@")]
                has = ", ".join([*shown, *(f"@{name}" for name in OWN)])
                raise UserError(f"an index has no column {condition.column!r}; it has {has}")
            condition = replace(condition, column=f"@{condition.column}")
        found.append(condition)
    return found


def _among(texts: pa.ChunkedArray, values: Sequence[str], several: bool) -> np.ndarray:
    """Which texts are one of ``values``; with ``several``, which have one of them among their parts."""
    among = np.asarray(pc.is_in(texts, value_set=pa.array(values, pa.string())).to_numpy())
    if not several:
        return among
    rows = np.flatnonzero(pc.fill_null(pc.match_substring(texts, SEVERAL), False).to_numpy())
    if len(rows):
        among = among.copy()
        parted = texts.take(pa.array(rows)).to_pylist()
        among[rows] = [not set(values).isdisjoint(text.split(SEVERAL)) for text in parted]
    return among


def _compared(column: pa.ChunkedArray, condition: Condition) -> np.ndarray:
    """Rows whose value is a number on the right side of the condition's; each different text is read once."""
    bound = float(condition.values[0])
    encoded = column.combine_chunks().dictionary_encode()
    values = [float(text) if NUMBER.fullmatch(str(text)) else np.nan for text in encoded.dictionary.to_pylist()]
    numbers = np.array([*values, np.nan])
    passes = numbers >= bound if condition.relation == ">=" else numbers <= bound
    codes = pc.fill_null(encoded.indices, len(values)).to_numpy(zero_copy_only=False)
    return np.asarray(passes[codes])

"""Columns of rows: lists while they are short, Arrow data that is mapped from a disk where they are long.

A Python string takes 50 bytes more than its letters and a path 200, so a million rows as lists are a gigabyte. Here a
long column takes none: its values are written in blocks to a file in the cache folder, which has no name any more once
it is whole, so that nothing is left of it when the process ends, however it ends. One value is read from the mapped
file; all of them, in order, block by block without mapping them, so that memory stays what it was.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np

from ..arrays import ArrayWriter, columns_folder, is_count, no_room, take
from ._values import (
    FIELDS,
    KEPT,
    NONE,
    PATH,
    PATHS,
    READ,
    TEXT,
    all_texts,
    as_paths,
    columns_of,
    stored,
    texts_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

SHORT = 1 << 16
"""Values that a list may have."""

BLOCK = 1 << 13
"""Values that are written, and read, together."""

_PIECE = 1 << 23
"""Bytes that are copied at a time."""

DAY = 86_400.0
"""Seconds."""


class LongColumn(Sequence[T]):
    """A column that is no list: equal to any sequence of the same values."""

    @overload
    def __getitem__(self, row: int) -> T: ...
    @overload
    def __getitem__(self, row: slice) -> list[T]: ...
    def __getitem__(self, row: int | slice) -> T | list[T]:
        if isinstance(row, slice):
            return [self._at(one) for one in range(*row.indices(len(self)))]
        place = row + len(self) if row < 0 else row
        if not 0 <= place < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self._at(place)

    @abstractmethod
    def _at(self, row: int) -> T:
        """The value of a row from 0 on."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[list[T]], tuple[list[T]]]:
        """Another process gets the values: it cannot open a file that has no name."""
        return list, (list(self),)

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {len(self):,} values"


class Column(LongColumn[T]):
    """A column in a file. Reading a value makes it anew: equal values are equal, never the same object."""

    def __init__(self, path: Path, length: int, classes: Sequence[type], kept: Mapping[int, Any]) -> None:
        import pyarrow as pa

        self._length, self._classes, self._kept = length, classes, kept
        self._file = pa.OSFile(os.fspath(path))
        self._scanned = pa.ipc.open_file(self._file)
        self._mapped = pa.ipc.open_file(pa.memory_map(os.fspath(path)))
        self._parts: dict[int, tuple[np.ndarray, pa.Array]] = {}

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        paths: dict[str, Path] = {}
        for number in range(self._scanned.num_record_batches):
            kinds, values = columns_of(self._scanned.get_batch(number))
            if (kinds == kinds[0]).all() and kinds[0] in (TEXT, PATH):
                texts = texts_of(values)
                yield from texts if kinds[0] == TEXT else as_paths(texts, paths)  # type: ignore[misc]
                continue
            made, first = values.to_pylist(), number * BLOCK
            for place, kind in enumerate(kinds.tolist()):
                yield self._value(kind, made[place], first + place)

    def kinds(self) -> Iterator[np.ndarray]:
        """How the values are stored, block by block: a number each."""
        for number in range(self._mapped.num_record_batches):
            yield columns_of(self._mapped.get_batch(number))[0]

    def _at(self, row: int) -> T:
        number, place = divmod(row, BLOCK)
        if number not in self._parts:
            self._parts[number] = columns_of(self._mapped.get_batch(number))
        kinds, values = self._parts[number]
        value: T = self._value(int(kinds[place]), values[place].as_py(), row)
        return value

    def _value(self, kind: int, data: bytes, row: int) -> Any:
        if kind == FIELDS:
            number, *fields = json.loads(data)
            return self._classes[number](*fields)
        return self._kept[row] if kind == KEPT else READ[kind](data)

    @property
    def nbytes(self) -> int:
        """Bytes of the file."""
        return int(self._file.size())

    def write(self, path: Path) -> list[type]:
        """Write the column's file anew; see :func:`write_column`."""
        if self._kept:
            raise ValueError("a column holds what no file can hold")
        import pyarrow as pa

        with pa.OSFile(os.fspath(path), "wb") as file:
            for start in range(0, self._file.size(), _PIECE):
                file.write(self._file.read_at(min(_PIECE, self._file.size() - start), start))
        return list(self._classes)


class Taken(LongColumn[T]):
    """Some rows of a long column, in any order."""

    def __init__(self, column: Sequence[T], rows: np.ndarray) -> None:
        self.column, self.rows = column, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[T]:
        if all((np.diff(self.rows[start : start + BLOCK + 1]) >= 0).all() for start in range(0, len(self.rows), BLOCK)):
            yield from self._in_order()
        else:
            for start in range(0, len(self.rows), BLOCK):
                yield from (self.column[row] for row in self.rows[start : start + BLOCK].tolist())

    def _at(self, row: int) -> T:
        return self.column[int(self.rows[row])]

    def _in_order(self) -> Iterator[T]:
        """One pass through the column, which is faster than one access for each row."""
        values, place, value = iter(self.column), -1, None
        for start in range(0, len(self.rows), BLOCK):
            for row in self.rows[start : start + BLOCK].tolist():
                while place < row:
                    value, place = next(values), place + 1
                yield value  # type: ignore[misc]


class ColumnWriter:
    """Collects a column value by value: ``append``, then :meth:`finish`."""

    def __init__(self, values: list[Any] | None = None) -> None:
        self._short = [] if values is None else values
        self._long: _Spilled | None = None

    def append(self, value: Any) -> None:
        """Add a value at the end."""
        self._short.append(value)
        if len(self._short) > (SHORT if self._long is None else BLOCK):
            self._spill()

    def extend(self, values: Sequence[Any]) -> None:
        """Add values at the end, not very many at a time."""
        self._short += values
        if len(self._short) > (SHORT if self._long is None else BLOCK):
            self._spill()

    def _spill(self) -> None:
        self._long = _Spilled() if self._long is None else self._long
        whole = len(self._short) - len(self._short) % BLOCK
        for start in range(0, whole, BLOCK):
            self._long.write(self._short[start : start + BLOCK])
        del self._short[:whole]

    def finish(self) -> Sequence[Any]:
        """The column; nothing is added to it any more."""
        if len(self._short) > SHORT:
            self._spill()
        if self._long is None:
            return self._short
        if self._short:
            self._long.write(self._short)
        return self._long.finish()


def column_of(values: Iterable[T]) -> Sequence[T]:
    """A column of these values, which are read once."""
    pending = iter(values)
    short = list(islice(pending, SHORT + 1))
    if len(short) <= SHORT:
        return short
    writer = ColumnWriter()
    while short:
        writer.extend(short)
        short = list(islice(pending, BLOCK))
    return writer.finish()


def mapped(function: Callable[[Any], T], values: Iterable[Any]) -> Sequence[T]:
    """A column of what a function makes of each value."""
    return column_of(map(function, values))


def given(column: Sequence[Any]) -> np.ndarray:
    """Of each row whether it has a value ``(N,)``, which a long column knows without reading it."""
    if isinstance(column, Taken):
        return take(given(column.column), column.rows)
    if isinstance(column, Column):
        writer = ArrayWriter(bool)
        for kinds in column.kinds():
            writer.append(kinds != NONE)
        return writer.finish()
    return np.fromiter((value is not None for value in column), bool, len(column))


def holds_only(column: Sequence[Any], kind: type[str] | type[Path]) -> bool:
    """Whether all values are texts, or all are paths, and not of a subclass."""
    if isinstance(column, Taken) and holds_only(column.column, kind):
        return True
    if isinstance(column, Column):
        wanted = TEXT if kind is str else PATH
        return all(bool((kinds == wanted).all()) for kinds in column.kinds())
    return all(type(value) is (str if kind is str else PATHS) for value in column)


def joined(parts: Sequence[tuple[int, Mapping[str, Sequence[Any]]]], missing: Any) -> dict[str, Sequence[Any]]:
    """The columns of several parts one after the other; ``missing`` fills those that a part of so many rows lacks."""
    names = dict.fromkeys(name for _, columns in parts for name in columns)
    return {
        name: column_of(chain.from_iterable(columns.get(name, repeat(missing, rows)) for rows, columns in parts))
        for name in names
    }


def taken(column: Sequence[T], rows: np.ndarray) -> Sequence[T]:
    """Some rows of a column: a list of a list, a view of a long one."""
    if is_count(rows, len(column)):
        return column
    if isinstance(column, Taken):
        return taken(column.column, take(column.rows, rows))
    if len(rows) <= SHORT or isinstance(column, list | tuple):
        return [column[row] for row in rows.tolist()]
    return Taken(column, rows)


def write_column(column: Sequence[Any], path: Path) -> list[type]:
    """Write a column to a file, and give the classes of its values that are stored by their fields.

    Raises ``ValueError`` for a value that no file can hold.
    """
    if isinstance(column, Column):
        return column.write(path)
    writer, values = _Spilled(path), iter(column)
    while block := list(islice(values, BLOCK)):
        writer.write(block)
    writer.close()
    if writer.kept:
        raise ValueError("a column holds what no file can hold")
    return writer.classes


def read_column(path: Path, length: int, classes: Sequence[type]) -> Sequence[Any]:
    """What :func:`write_column` wrote; the file may be removed afterwards."""
    column = Column[Any](path, length, classes, {})
    return list(column) if length <= SHORT else column


class _Spilled:
    """The file of a long column while it is written: at a path, or where nobody else finds it."""

    def __init__(self, path: Path | None = None) -> None:
        import pyarrow as pa

        self._length, self.classes, self.kept = 0, list[type](), dict[int, Any]()
        self._path = _new_file() if path is None else path
        schema = pa.schema([("kind", pa.uint8()), ("value", pa.large_binary())])
        self._writer = pa.ipc.new_file(os.fspath(self._path), schema)

    def write(self, values: Sequence[Any]) -> None:
        """Add a block of values."""
        import pyarrow as pa

        kinds, data = all_texts(values) or self._each(values)
        try:
            self._writer.write_batch(pa.record_batch([kinds, data], ["kind", "value"]))
        except OSError as error:
            self._path.unlink(missing_ok=True)
            raise no_room(error) from error
        self._length += len(values)

    def _each(self, values: Sequence[Any]) -> tuple[pa.Array, pa.Array]:
        import pyarrow as pa

        each = [stored(value, self.classes) for value in values]
        self.kept |= {self._length + place: values[place] for place, (kind, _) in enumerate(each) if kind == KEPT}
        kinds = pa.array(np.fromiter((kind for kind, _ in each), np.uint8, len(each)))
        return kinds, pa.array([data for _, data in each], pa.large_binary())

    def close(self) -> None:
        """Nothing is added any more."""
        self._writer.close()

    def finish(self) -> Column[Any]:
        """The column; its file has no name any more."""
        self.close()
        column = Column[Any](self._path, self._length, self.classes, self.kept)
        with suppress(OSError):  # Windows keeps the name of a file that is open
            self._path.unlink()
        return column


def _new_file() -> Path:
    folder = columns_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder)
        handle, name = tempfile.mkstemp(".arrow", dir=folder)
    except OSError as error:
        raise no_room(error) from error
    os.close(handle)
    return Path(name)


def _clear(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote; nobody writes a column for a day."""
    for path in folder.glob("*.arrow"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - DAY:
                path.unlink()

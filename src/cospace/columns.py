"""Columns of rows: lists while they are short, Arrow data that is mapped from a disk where they are long.

A Python string takes 50 bytes more than its letters and a path 200, so a million rows as lists are a gigabyte. Here a
long column takes none: its values are written in blocks to a file in the cache folder, which has no name any more once
it is whole, so that nothing is left of it when the process ends, however it ends. One value is read from the mapped
file; all of them, in order, block by block without mapping them, so that memory stays what it was.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np

from .arrays import ArrayWriter, columns_folder, is_count, no_room, take
from .types import Fault

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

SHORT = 1 << 16
"""Values that a list may have."""

BLOCK = 1 << 13
"""Values that are written, and read, together."""

DAY = 86_400.0
"""Seconds."""

_NONE, _TEXT, _PATH, _BYTES, _JSON, _FAULT, _FIELDS, _KEPT = range(8)
"""How a value is stored; what no file can hold is kept in memory."""


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
            kinds, values = _columns_of(self._scanned.get_batch(number))
            if (kinds == kinds[0]).all() and kinds[0] in (_TEXT, _PATH):
                texts = _texts(values)
                yield from texts if kinds[0] == _TEXT else _as_paths(texts, paths)  # type: ignore[misc]
                continue
            made, first = values.to_pylist(), number * BLOCK
            for place, kind in enumerate(kinds.tolist()):
                yield self._value(kind, made[place], first + place)

    def kinds(self) -> Iterator[np.ndarray]:
        """How the values are stored, block by block: a number each."""
        for number in range(self._mapped.num_record_batches):
            yield _columns_of(self._mapped.get_batch(number))[0]

    def _at(self, row: int) -> T:
        number, place = divmod(row, BLOCK)
        if number not in self._parts:
            self._parts[number] = _columns_of(self._mapped.get_batch(number))
        kinds, values = self._parts[number]
        value: T = self._value(int(kinds[place]), values[place].as_py(), row)
        return value

    def _value(self, kind: int, stored: bytes, row: int) -> Any:
        if kind == _FIELDS:
            number, *fields = json.loads(stored)
            return self._classes[number](*fields)
        return self._kept[row] if kind == _KEPT else _READ[kind](stored)


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
            writer.append(kinds != _NONE)
        return writer.finish()
    return np.fromiter((value is not None for value in column), bool, len(column))


def holds_only(column: Sequence[Any], kind: type[str] | type[Path]) -> bool:
    """Whether all values are texts, or all are paths, and not of a subclass."""
    if isinstance(column, Taken) and holds_only(column.column, kind):
        return True
    if isinstance(column, Column):
        wanted = _TEXT if kind is str else _PATH
        return all(bool((kinds == wanted).all()) for kinds in column.kinds())
    return all(type(value) is (str if kind is str else _PATHS) for value in column)


def taken(column: Sequence[T], rows: np.ndarray) -> Sequence[T]:
    """Some rows of a column: a list of a list, a view of a long one."""
    if is_count(rows, len(column)):
        return column
    if isinstance(column, Taken):
        return taken(column.column, take(column.rows, rows))
    if len(rows) <= SHORT or isinstance(column, list | tuple):
        return [column[row] for row in rows.tolist()]
    return Taken(column, rows)


class _Spilled:
    """The file of a long column while it is written."""

    def __init__(self) -> None:
        import pyarrow as pa

        self._length, self._classes, self._kept = 0, list[type](), dict[int, Any]()
        folder = columns_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _clear(folder)
            handle, name = tempfile.mkstemp(".arrow", dir=folder)
        except OSError as error:
            raise no_room(error) from error
        os.close(handle)
        self._path = Path(name)
        self._writer = pa.ipc.new_file(name, pa.schema([("kind", pa.uint8()), ("value", pa.large_binary())]))

    def write(self, values: Sequence[Any]) -> None:
        """Add a block of values."""
        import pyarrow as pa

        kinds, data = _all_texts(values) or self._each(values)
        try:
            self._writer.write_batch(pa.record_batch([kinds, data], ["kind", "value"]))
        except OSError as error:
            self._path.unlink(missing_ok=True)
            raise no_room(error) from error
        self._length += len(values)

    def _each(self, values: Sequence[Any]) -> tuple[pa.Array, pa.Array]:
        import pyarrow as pa

        stored = [self._stored(value, self._length + place) for place, value in enumerate(values)]
        kinds = pa.array(np.fromiter((kind for kind, _ in stored), np.uint8, len(stored)))
        return kinds, pa.array([value for _, value in stored], pa.large_binary())

    def finish(self) -> Column[Any]:
        """The column; its file has no name any more."""
        self._writer.close()
        column = Column[Any](self._path, self._length, self._classes, self._kept)
        with suppress(OSError):  # Windows keeps the name of a file that is open
            self._path.unlink()
        return column

    def _stored(self, value: Any, row: int) -> tuple[int, bytes]:
        """How a value is stored, and its bytes."""
        kind = type(value)
        if kind is str:
            return _TEXT, value.encode("utf-8", "surrogatepass")
        if value is None:
            return _NONE, b""
        if kind is _PATHS:
            return _PATH, str(value).encode("utf-8", "surrogatepass")
        if kind is bytes:
            return _BYTES, value
        if kind is Fault:
            return _FAULT, json.dumps(value).encode()
        if _is_plain(value):
            return _JSON, json.dumps(value).encode()
        if (fields := _plain_fields(value)) is not None:
            self._classes += [] if kind in self._classes else [kind]
            return _FIELDS, json.dumps([self._classes.index(kind), *fields]).encode()
        self._kept[row] = value
        return _KEPT, b""


def _clear(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote; nobody writes a column for a day."""
    for path in folder.glob("*.arrow"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - DAY:
                path.unlink()


def _all_texts(values: Sequence[Any]) -> tuple[pa.Array, pa.Array] | None:
    """A block of texts, or of paths, as Arrow writes them by itself; nothing where it holds anything else."""
    import pyarrow as pa

    first: type = type(values[0])
    if first not in (str, _PATHS) or not all(type(value) is first for value in values):
        return None
    kind = _TEXT if first is str else _PATH
    try:
        texts = pa.array(values if kind == _TEXT else list(map(str, values)), pa.large_string())
    except (UnicodeError, pa.ArrowInvalid):  # halves of characters, which stand for bytes that were no UTF-8
        return None
    return pa.array(np.full(len(values), kind, np.uint8)), texts.cast(pa.large_binary())


_MOST_PATHS = 1 << 14
"""Paths that are kept while a column is read: making one takes as long as reading ten texts."""


def _as_paths(texts: Sequence[str], known: dict[str, Path]) -> Iterator[Path]:
    """The texts as paths; the same object for the same text, up to very many."""
    if len(known) > _MOST_PATHS:
        known.clear()
    for text in texts:
        path = known.get(text)
        if path is None:
            path = known[text] = Path(text)
        yield path


def _texts(values: pa.Array) -> list[str]:
    import pyarrow as pa

    try:
        return list(values.cast(pa.large_string()).to_pylist())
    except pa.ArrowInvalid:
        return [value.decode("utf-8", "surrogatepass") for value in values.to_pylist()]


_PATHS = type(Path())


def _plain_fields(value: Any) -> list[Any] | None:
    """The fields of a small frozen object, such as a member of a tar; nothing of what they cannot make again."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return None
    fields = dataclasses.fields(value)
    found = [getattr(value, field.name) for field in fields]
    return found if all(field.init for field in fields) and all(map(_is_plain, found)) else None


def _is_plain(value: Any) -> bool:
    """Whether JSON gives back exactly this."""
    if type(value) is list:
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(type(name) is str for name in value) and all(map(_is_plain, value.values()))
    return value is None or type(value) in (str, int, float, bool)


_READ: Mapping[int, Callable[[bytes], Any]] = {
    _NONE: lambda _: None,
    _TEXT: lambda stored: stored.decode("utf-8", "surrogatepass"),
    _PATH: lambda stored: Path(stored.decode("utf-8", "surrogatepass")),
    _BYTES: bytes,
    _JSON: json.loads,
    _FAULT: lambda stored: Fault(*json.loads(stored)),
}


def _columns_of(batch: pa.RecordBatch) -> tuple[np.ndarray, pa.Array]:
    return batch.column(0).to_numpy(), batch.column(1)

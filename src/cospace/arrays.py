"""Arrays with a number for every row: in memory while they are short, mapped from a file where they are long.

A mapped array takes no memory of its own: the system keeps in memory what is in use and writes the rest to a file in
the cache folder, which has no name, so that nothing is left of it when the process ends, however it ends. Whoever
computes with long arrays does it block by block, for what NumPy makes on the way (the result of every operation, an
index as 64 bits) lies in memory. Sorting is :class:`Runs`.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike

from .files import cache_folder
from .types import UserError

LARGE = 1 << 20
"""Bytes that an array in memory may have."""

TOGETHER = 1 << 18
"""Numbers of a long array that are worked on, or sorted, at a time."""

_MOST_32 = 1 << 29
"""Rows up to which numbers of rows and items have 32 bits; items of several modalities are counted together."""

_SAMPLED = 64
"""Of a run, or of a part, the keys that decide where parts begin and end."""

_ALIGNED = 8
"""Bytes; every array in a file begins at a multiple."""


def index_type(count: int) -> np.dtype[Any]:
    """The type for numbers of so many rows, or of their items; -1 stands for none."""
    return np.dtype(np.int32 if count <= _MOST_32 else np.int64)


def zeros(shape: int | tuple[int, ...], kind: DTypeLike) -> np.ndarray:
    """As ``np.zeros``. Raises :class:`UserError` where a long array finds no room on the disk."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    if size <= LARGE:
        return np.zeros(shape, kind)
    with nameless() as file:
        try:
            _reserve(file, size)
        except OSError as error:
            raise no_room(error) from error
        return _mapped(file, size).view(kind).reshape(shape)


def full(count: int, value: int, kind: DTypeLike) -> np.ndarray:
    """As ``np.full``."""
    made = zeros(count, kind)
    for some in blocks(count):
        made[some] = value
    return made


def blocks(count: int, size: int | None = None) -> Iterator[slice]:
    """The rows from 0 to ``count``, some at a time."""
    step = TOGETHER if size is None else size
    for start in range(0, count, step):
        yield slice(start, min(count, start + step))


def each(values: np.ndarray) -> Iterator[Any]:
    """The values as Python's numbers, without a list of all of them."""
    for some in blocks(len(values)):
        yield from values[some].tolist()


def take(values: np.ndarray, index_N: np.ndarray, absent: int | None = None) -> np.ndarray:
    """``values[index_N]``; with ``absent`` that stands where the index is negative."""
    made = zeros(len(index_N), values.dtype)
    for some in blocks(len(index_N)):
        index = index_N[some]
        if absent is None or not len(values):
            made[some] = values[index] if absent is None else absent
        else:
            made[some] = np.where(index < 0, absent, values[index])
    return made


def rows_where(mask_N: np.ndarray) -> np.ndarray:
    """As ``np.flatnonzero``."""
    writer = ArrayWriter(index_type(len(mask_N)))
    for some in blocks(len(mask_N)):
        writer.append(np.flatnonzero(mask_N[some]) + some.start)
    return writer.finish()


def array_of(values: Iterable[Any], kind: DTypeLike) -> np.ndarray:
    """As ``np.fromiter``."""
    pending, writer = iter(values), ArrayWriter(kind)
    while some := list(islice(pending, TOGETHER)):
        writer.append(np.array(some, kind))
    return writer.finish()


def is_count(values: np.ndarray, count: int) -> bool:
    """Whether the values are 0, 1, ... up to ``count``."""
    if len(values) != count:
        return False
    return all(bool((values[some] == np.arange(some.start, some.stop)).all()) for some in blocks(count))


def occurring(codes_N: np.ndarray, count: int) -> np.ndarray:
    """Whether each of ``count`` codes occurs; -1 is none."""
    found = zeros(count + 1, bool)  # with a last place for -1
    for some in blocks(len(codes_N)):
        found[codes_N[some]] = True
    return found[:count]


def counted(codes_N: np.ndarray, count: int) -> np.ndarray:
    """How often each of ``count`` codes occurs; -1 is none."""
    found = zeros(count, index_type(len(codes_N)))
    for some in blocks(len(codes_N)):
        code, times = np.unique(codes_N[some], return_counts=True)
        found[code[code >= 0]] += times[code >= 0].astype(found.dtype)
    return found


def running(values: np.ndarray) -> np.ndarray:
    """The sum of all values before each of them."""
    made, before = zeros(len(values), np.int64), 0
    for some in blocks(len(values)):
        total = values[some].cumsum(dtype=np.int64)
        made[some] = total - values[some] + before
        before += int(total[-1])
    return made


def by_first(first_N: np.ndarray) -> np.ndarray:
    """From the place of the first equal value of each to numbers in order of appearance, in place."""
    known = 0
    for some in blocks(len(first_N)):
        first = first_N[some]
        new = np.flatnonzero(first == np.arange(some.start, some.stop))
        first_N[some.start + new] = np.arange(known, known + len(new))
        later = np.ones(len(first), bool)
        later[new] = False
        first[later] = first_N[first[later]]
        known += len(new)
    return first_N


def mixed(*columns: np.ndarray) -> np.ndarray:
    """A number of 64 bits for each row of some numbers that says hardly anything but whether rows are equal."""
    mixed_N = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        mixed_N = (mixed_N ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed_N = (mixed_N ^ (mixed_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed_N ^= mixed_N >> np.uint64(27)
    return mixed_N


def _reserve(file: IO[bytes], size: int) -> None:
    """Give a file its room, for a mapped page that finds none when it is written ends the process."""
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except AttributeError:  # macOS
        os.ftruncate(file.fileno(), size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.ftruncate(file.fileno(), size)  # a file system that reserves nothing


class ArrayWriter:
    """Collects a long array piece by piece: ``append``, then :meth:`finish`."""

    def __init__(self, kind: DTypeLike) -> None:
        self._file, self._kind = _Pieces(), np.dtype(kind)

    def append(self, values: np.ndarray) -> None:
        """Add values at the end."""
        self._file.add(np.ascontiguousarray(values, self._kind))

    def finish(self) -> np.ndarray:
        """The array; nothing is added to it any more."""
        return self._file.whole().view(self._kind)


class Runs:
    """Records that are sorted by their first number: runs in a file, which are merged part by part.

    What equal first numbers have to share a part, so a run should have few of them.
    """

    def __init__(self) -> None:
        self._pieces = _Pieces()
        self._places: list[list[tuple[int, int, np.dtype[Any]]]] = []

    def add(self, key_N: np.ndarray, *others: np.ndarray) -> None:
        """Add records, column by column, in any order."""
        order = np.argsort(key_N, kind="stable")
        columns = [np.ascontiguousarray(column[order]) for column in (key_N, *others)]
        if len(order):
            self._places.append([(self._pieces.add(column), len(column), column.dtype) for column in columns])

    def parts(self) -> Iterator[tuple[np.ndarray, ...]]:
        """All records, column by column, in ascending order of the first number; equal ones in the order of adding."""
        data = self._pieces.whole()
        runs = [
            [data[start : start + count * kind.itemsize].view(kind) for start, count, kind in run]
            for run in self._places
        ]
        cuts = np.array([np.zeros(len(runs), np.int64), *_cuts([run[0] for run in runs])])
        for first, last in pairwise(cuts):
            some = [run for run in zip(runs, first.tolist(), last.tolist(), strict=True) if run[1] < run[2]]
            columns = [np.concatenate(part) for part in zip(*(_cut(*run) for run in some), strict=True)]
            order = np.argsort(columns[0], kind="stable")
            yield tuple(column[order] for column in columns)


def numbered_by_hash(runs: Runs, count: int) -> np.ndarray:
    """Numbers in order of appearance of values that are hashed, equal for equal hashes ``(count,)``.

    Records of the runs are both halves of a hash, and the place of the value.
    """
    first_N = zeros(count, index_type(count))
    for high, low, place in runs.parts():
        order = np.lexsort((low, high))  # stable: of equal hashes the first one comes first
        starts = np.ones(len(order), bool)
        starts[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
        first_N[place[order]] = place[order][starts][starts.cumsum() - 1]
    return by_first(first_N)


def _cut(run: Sequence[np.ndarray], start: int, stop: int) -> list[np.ndarray]:
    return [column[start:stop] for column in run]


def _cuts(keys: Sequence[np.ndarray]) -> list[list[int]]:
    """Where each part ends in each of the sorted runs, for parts of about as many records as are sorted at a time."""
    total = sum(map(len, keys))
    parts = -(-total // TOGETHER)
    if parts < 2:
        return [list(map(len, keys))] if total else []
    step = max(1, min(TOGETHER, total // len(keys)) // _SAMPLED)
    sample = np.sort(np.concatenate([key[::step] for key in keys]))
    ends = np.unique(sample[np.linspace(0, len(sample), parts, endpoint=False).astype(int)[1:]])
    inner = np.array([np.searchsorted(key, ends) for key in keys]).T
    made = [list(map(int, cut)) for cut in inner if cut.any()]
    return [*made, list(map(len, keys))]


class _Pieces:
    """Arrays one after another: in memory while they are short, else in a file."""

    def __init__(self) -> None:
        self._size, self._short = 0, list[bytes]()
        self._file: IO[bytes] | None = None

    def add(self, values: np.ndarray) -> int:
        """Add an array; returns where it begins. Those of one type follow each other without a gap."""
        gap = -self._size % min(_ALIGNED, values.itemsize)
        start, self._size = self._size + gap, self._size + gap + values.nbytes
        self._short += [bytes(gap), values.tobytes()]
        if self._file is not None or self._size > LARGE:
            self._write()
        return start

    def _write(self) -> None:
        self._file = nameless() if self._file is None else self._file
        try:
            self._file.write(b"".join(self._short))
        except OSError as error:
            raise no_room(error) from error
        self._short.clear()

    def whole(self) -> np.ndarray:
        """All bytes; those of a file can be changed in place."""
        if self._file is None:
            return np.frombuffer(bytearray(b"".join(self._short)), np.uint8)
        with self._file as file:
            try:
                file.flush()
            except OSError as error:
                raise no_room(error) from error
            return _mapped(file, self._size)


def _mapped(file: IO[bytes], size: int) -> np.ndarray:
    return np.frombuffer(mmap.mmap(file.fileno(), size), np.uint8)


def nameless() -> IO[bytes]:
    """A new file in the cache folder that is gone when nobody has it open. Raises :class:`UserError` without one."""
    folder = columns_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise no_room(error) from error


def columns_folder() -> Path:
    """Where long columns lie."""
    return cache_folder() / "columns"


def no_room(error: OSError) -> UserError:
    """What to do where long columns cannot be written."""
    return UserError(
        f"{columns_folder()} cannot be written ({error.strerror or error}), and so many rows do not fit into memory; "
        "set XDG_CACHE_HOME to a folder with room"
    )


def concatenated(arrays: Iterable[np.ndarray], kind: DTypeLike) -> np.ndarray:
    """As ``np.concatenate``."""
    writer = ArrayWriter(kind)
    for values in arrays:
        for some in blocks(len(values)):
            writer.append(values[some])
    return writer.finish()

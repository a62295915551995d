"""Files of numbers in memory: small ones are read, large ones mapped.

Single rows of a mapped file are read by themselves all the same (:class:`Rows`): the system maps 64 KiB around each
that is looked at, so that a process which rescores a few rows a query would soon hold the whole file.

Reading a mapped file beyond the end that somebody gave it meanwhile (a copy over it, a disk that filled up) ends the
process, and no handler can help. What was read is safe from that; of what is mapped the size is compared right before
each use, so that only a cut within the milliseconds of one search is not noticed.
"""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..reading import opened, understood
from ..types import StorageError

READ_WHOLE = 256 << 20
"""Bytes up to which a file is read: a tenth of a second."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A file that is mapped, as it was when it was opened."""

    path: Path
    inode: int
    size: int

    @classmethod
    def of(cls, path: Path) -> Mapping:
        """A file that is about to be mapped."""
        found = path.stat()
        return cls(path, found.st_ino, found.st_size)

    def check(self) -> None:
        """Refuse a file that is shorter now; one that was removed or replaced by name is still there for who has it."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return
        if found.st_ino == self.inode and found.st_size < self.size:
            was = f"of {self.size:,} bytes {found.st_size:,} are left"
            raise StorageError(f"{self.path} was cut short while it was in use: {was}; restore it from a copy")


class Rows:
    """Rows of an ``.npy`` file of a matrix, read one by one; it may be unlinked meanwhile."""

    def __init__(self, path: Path, matrix_NE: np.ndarray) -> None:
        self._mapping = Mapping.of(path)
        self._dtype, (self._rows, self._width) = matrix_NE.dtype, matrix_NE.shape
        self._first, self._size = self._mapping.size - matrix_NE.nbytes, self._width * matrix_NE.itemsize
        with opened(path) as file:
            self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        if hasattr(os, "posix_fadvise"):  # what lies behind a row is not wanted
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)

    def take(self, rows_R: np.ndarray) -> np.ndarray:
        """A copy ``(R, E)`` of some rows, in their order; of the last for -1."""
        size, file, first = self._size, self._file, self._first
        parts = [os.pread(file, size, first + size * (row % self._rows)) for row in rows_R.tolist()]
        content = bytearray().join(parts)
        if len(content) != size * len(parts):
            self._mapping.check()
            raise StorageError(f"{self._mapping.path} ends before its last row; restore it from a copy")
        return np.frombuffer(content, dtype=self._dtype).reshape(len(parts), self._width)


def is_mapped(path: Path) -> bool:
    """True of a file that is too large to be read whole."""
    return path.stat().st_size > READ_WHOLE


def array(path: Path) -> np.ndarray:
    """The array of an ``.npy`` file, in memory or mapped."""
    with understood(path):
        if not is_mapped(path):
            return np.asarray(np.load(path, allow_pickle=False))
        # Copy-on-write: torch wants memory that it may write, and the file stays as it is.
        return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))


def mappings(*paths: Path) -> tuple[Mapping, ...]:
    """Those of some files that are mapped."""
    return tuple(Mapping.of(path) for path in paths if is_mapped(path))

"""Previews of an index's items: made once, when an item is indexed, and found by its content hash.

They lie in one SQLite file beside the vectors, since a hundred thousand files of a kilobyte each are slow to make, to
copy and to list. A transaction is on disk when :meth:`LocalThumbnails.add` returns; many threads and processes may
read while one writes (the file is in WAL mode).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from ..modalities import PREVIEW_SIZES
from ..types import StorageError

_AT_A_TIME = 500
"""Hashes in one question: SQLite allows at least 999 parameters."""

_PATIENCE = 30.0
"""Seconds that a reader or writer waits for another."""

Row = tuple[str, int, bytes]
"""Content hash, size, WebP."""


class Thumbnails(Protocol):
    """Where previews are kept, by content hash and size."""

    def add(self, rows: Sequence[Row]) -> None:
        """Keep previews, all or none, on disk when this returns; one that is there already is replaced."""

    def get(self, hash: str, size: int) -> bytes | None:
        """One as WebP, or nothing."""

    def known(self, hashes: Sequence[str]) -> set[str]:
        """Which of these contents have previews."""

    def hashes(self) -> set[str]:
        """All contents that have a preview."""

    def remove(self, hashes: Sequence[str]) -> None:
        """Forget these contents' previews."""


def keep_only(thumbnails: Thumbnails, contents: Iterable[str]) -> None:
    """Forget the previews of all other contents: what is to go follows from what is stored, not from who removed it."""
    thumbnails.remove(sorted(thumbnails.hashes() - set(contents)))


class LocalThumbnails:
    """The file ``thumbnails.sqlite`` of a local index; threads may share one object."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._reader: sqlite3.Connection | None = None

    @classmethod
    def open(cls, path: Path) -> LocalThumbnails:
        """Nothing is read or made yet: a file that is missing holds no preview, and is made by :meth:`add`."""
        return cls(path)

    def add(self, rows: Sequence[Row]) -> None:
        """One durable transaction. Raises :class:`StorageError` where the file is damaged or the disk is full."""
        if rows:
            self._write("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?)", rows)

    def remove(self, hashes: Sequence[str]) -> None:
        """One durable transaction, after which the file has none of their bytes.

        An earlier one may have been killed before it wrote over them, so that is done in any case.
        """
        if self._path.exists():
            self._write("DELETE FROM thumbnails WHERE hash = ?", [(name,) for name in hashes], overwritten=True)

    def hashes(self) -> set[str]:
        """All contents that have a preview."""
        return {row[0] for row in self._ask("SELECT DISTINCT hash FROM thumbnails", ())}

    def get(self, hash: str, size: int) -> bytes | None:
        """One as WebP, or nothing."""
        found = self._ask("SELECT webp FROM thumbnails WHERE hash = ? AND size = ?", (hash, size))
        return found[0][0] if found and isinstance(found[0][0], bytes) else None

    def known(self, hashes: Sequence[str]) -> set[str]:
        """Which of these contents have previews of every one of :data:`cospace.modalities.PREVIEW_SIZES`."""
        there: set[str] = set()
        for start in range(0, len(hashes), _AT_A_TIME):
            asked: list[Any] = list(hashes[start : start + _AT_A_TIME])
            marks = ", ".join("?" * len(asked))
            query = f"SELECT hash FROM thumbnails WHERE hash IN ({marks}) GROUP BY hash HAVING count(*) >= ?"
            asked = [*asked, len(PREVIEW_SIZES)]
            there.update(row[0] for row in self._ask(query, asked))
        return there

    def close(self) -> None:
        """Release the file; a later question opens it again."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]], overwritten: bool = False) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained(), closing(sqlite3.connect(self._path, timeout=_PATIENCE)) as writer:
            writer.execute("PRAGMA journal_mode = WAL")
            writer.execute("PRAGMA synchronous = FULL")
            writer.execute("PRAGMA secure_delete = ON")  # free pages hold zeros
            writer.execute(
                "CREATE TABLE IF NOT EXISTS thumbnails "
                "(hash TEXT NOT NULL, size INTEGER NOT NULL, webp BLOB NOT NULL, PRIMARY KEY (hash, size))"
            )
            with writer:
                writer.executemany(statement, rows)
            if overwritten:  # the log holds pages as they were before; a reader may keep it until the next time
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _ask(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """All rows; none where the file is not there yet. Answers take microseconds, so threads take turns."""
        with self._lock, self._explained():
            if self._reader is None:
                self._reader = _opened(self._path)
            if self._reader is None:
                return []
            return self._reader.execute(query, values).fetchall()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(
                f"{self._path}: {error}; if it is damaged, delete it and index again, which makes the previews anew"
            ) from error


def _opened(path: Path) -> sqlite3.Connection | None:
    """A connection that only reads, or nothing where there is no table to read yet.

    On a disk that cannot be written WAL mode cannot be had, and nobody writes: the file is read as it is.
    """
    if not path.exists():
        return None
    for option in ("", "&immutable=1"):
        address = f"{path.absolute().as_uri()}?mode=ro{option}"
        connection = sqlite3.connect(address, uri=True, timeout=_PATIENCE, check_same_thread=False)
        try:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'thumbnails'").fetchall()
        except sqlite3.OperationalError as error:
            connection.close()
            if option:
                raise
            if "readonly" not in str(error) and "unable to open" not in str(error):
                raise
        except sqlite3.DatabaseError:
            connection.close()
            raise
        else:
            if tables:
                return connection
            connection.close()
            return None
    return None

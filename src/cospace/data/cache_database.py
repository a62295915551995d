"""A SQLite database in the cache folder: what can be had again at a price. It may be deleted at any time.

Where it is damaged, full, locked or not to be written, everything is done without it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Self

PAUSE = 1.0
"""Seconds between two writings: as much work is done again after a kill."""

_TOGETHER = 500
"""Rows that are asked for at a time."""


class CacheDatabase:
    """The database. Every method does nothing, and finds nothing, where there is none. Threads may share it."""

    def __init__(self, path: Path, tables: str, largest: int) -> None:
        """``tables`` are statements that create what is missing; a file of more than ``largest`` bytes begins anew."""
        self._path, self._lock = path, threading.RLock()
        self._database: sqlite3.Connection | None = None
        self._pending: dict[str, list[tuple[Any, ...]]] = {}
        self._written = time.monotonic()
        try:
            self._database = _opened(path, tables, largest)
        except (OSError, sqlite3.Error):
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is not on disk yet, which is what came within the last :data:`PAUSE`."""
        with self._lock:
            self._flush()
            self._abandon()

    def _abandon(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None

    def _rows(self, table: str, column: str, keys: Iterable[str | bytes]) -> Iterator[tuple[Any, ...]]:
        """The rows of a table with one of these keys in a column."""
        pending = iter(keys)
        with self._lock:
            self._flush()
        while some := list(islice(pending, _TOGETHER)):
            marks, found = ", ".join("?" * len(some)), []
            with self._lock, self._forgiven():
                if self._database is None:
                    return
                found = self._database.execute(f"SELECT * FROM {table} WHERE {column} IN ({marks})", some).fetchall()
            yield from found

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._lock:
            self._pending.setdefault(statement, []).extend(rows)
            if time.monotonic() - self._written > PAUSE:
                self._flush()

    def _flush(self) -> None:
        if self._database is not None and any(self._pending.values()):
            with self._forgiven(), self._database:
                for statement, rows in self._pending.items():
                    self._database.executemany(statement, rows)
        self._pending, self._written = {}, time.monotonic()

    @contextmanager
    def _forgiven(self) -> Iterator[None]:
        """A database that is damaged, full or locked is done without."""
        try:
            yield
        except sqlite3.Error:
            self._abandon()


def _opened(path: Path, tables: str, largest: int) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > largest:
        for one in path.parent.glob(f"{path.name}*"):
            one.unlink(missing_ok=True)
    database = sqlite3.connect(path, timeout=10, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(tables)
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database

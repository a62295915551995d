"""What is known already of files and items that have not changed, so that a second look takes a fraction of the time.

A SQLite database in the cache folder: hashes of files by path, size and times, what an item measured by its content,
and what was computed of all items together. It may be deleted at any time; where it cannot be read or written,
everything is done anew.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..files import cache_folder
from ..modalities import Examined

SETTLED = 2.0
"""Seconds: a file that changed this shortly before it was read may change again within one tick of its clock."""

PAUSE = 1.0
"""Seconds between two writings: as much work is done again after a kill."""

LARGEST = 4 << 30
"""Bytes that the database may have; a larger one begins anew."""

_TOGETHER = 500
"""Rows that are asked for at a time."""

_TABLES = """
CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INT, changed INT, moved INT, number INT, digest TEXT)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (key TEXT PRIMARY KEY, measures TEXT, views INT, signature BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, shape TEXT, kind TEXT, numbers BLOB) WITHOUT ROWID;
"""


class KnownFiles:
    """The database. Every method does nothing, and finds nothing, where there is none."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = cache_folder() / "examined.sqlite" if path is None else path
        self._database: sqlite3.Connection | None = None
        self._pending: dict[str, list[tuple[Any, ...]]] = {}
        self._written = time.monotonic()
        try:
            self._database = _opened(self._path)
        except (OSError, sqlite3.Error):
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is not on disk yet, which is what came within the last :data:`PAUSE`."""
        self._flush()
        self._abandon()

    def _abandon(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None

    def digests(self, paths: Sequence[Path]) -> dict[str, str]:
        """By path, the hashes of those files that are as they were."""
        found, given = {}, {os.fsencode(os.path.abspath(path)): str(path) for path in paths}
        for path, *before, digest in self._rows("files", "path", given):
            if (status := _status(path)) is not None and state_of(status) == tuple(before):
                found[given[path]] = digest
        return found

    def keep_digests(self, digests: Mapping[str, str], since: float) -> None:
        """Hashes by path, of files that were read after ``since`` (seconds of the clock that files are dated by)."""
        rows = []
        for path, digest in digests.items():
            status = _status(path)
            if status is not None and max(status.st_mtime, status.st_ctime) < since - SETTLED:
                rows.append((os.fsencode(os.path.abspath(path)), *state_of(status), digest))
        self._write("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows)

    def examined(self, kind: str, contents: Sequence[str]) -> dict[str, Examined]:
        """By content, what is known of items; ``kind`` names the examination and its version."""
        found = {}
        for key, measures, views, signature in self._rows("items", "key", (f"{kind}:{one}" for one in contents)):
            kept = None if signature is None else np.frombuffer(signature, np.uint8).reshape(views, -1)
            found[key.removeprefix(f"{kind}:")] = Examined(json.loads(measures), kept)
        return found

    def keep_examined(self, kind: str, examined: Mapping[str, Examined]) -> None:
        """What items measured, by their content."""
        rows = []
        for content, one in examined.items():
            kept = one.signature
            signature = (0, None) if kept is None else (len(kept), np.ascontiguousarray(kept).tobytes())
            rows.append((f"{kind}:{content}", json.dumps(one.measures), *signature))
        self._write("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)", rows)

    def result(self, key: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """An array that was computed before under this key, which names all that it depends on; or computed now."""
        for _, shape, kind, numbers in self._rows("results", "key", [key]):
            return np.frombuffer(numbers, np.dtype(kind)).reshape(json.loads(shape)).copy()
        made = np.ascontiguousarray(compute())
        row = (key, json.dumps(made.shape), made.dtype.str, made.tobytes())
        self._write("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?)", [row])
        return made

    def _rows(self, table: str, column: str, keys: Iterable[str | bytes]) -> Iterator[tuple[Any, ...]]:
        self._flush()
        pending = iter(keys)
        while self._database is not None and (some := list(islice(pending, _TOGETHER))):
            marks = ", ".join("?" * len(some))
            with self._forgiven():
                yield from self._database.execute(f"SELECT * FROM {table} WHERE {column} IN ({marks})", some).fetchall()

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
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


def _status(path: str | bytes) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def state_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """What changes when a file does, or who may read it: its size, the times of its last changes, and its number."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def now() -> float:
    """The time by the clock that files are dated by."""
    return time.time()


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LARGEST:
        for one in path.parent.glob(f"{path.name}*"):
            one.unlink(missing_ok=True)
    database = sqlite3.connect(path, timeout=10)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_TABLES)
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database

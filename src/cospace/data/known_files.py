"""What is known already of files and items that have not changed, so that a second look takes a fraction of the time.

A SQLite database in the cache folder: hashes of files by path, size and times, what an item measured by its content,
and what was computed of all items together. It may be deleted at any time; where it cannot be read or written,
everything is done anew.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..files import cache_folder
from ..modalities import Examined
from .cache_database import CacheDatabase

SETTLED = 2.0
"""Seconds: a file that changed this shortly before it was read may change again within one tick of its clock."""

LARGEST = 4 << 30
"""Bytes that the database may have; a larger one begins anew."""

_TABLES = """
CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INT, changed INT, moved INT, number INT, digest TEXT)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (key TEXT PRIMARY KEY, measures TEXT, views INT, signature BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, shape TEXT, kind TEXT, numbers BLOB) WITHOUT ROWID;
"""


class KnownFiles(CacheDatabase):
    """The database."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(cache_folder() / "examined.sqlite" if path is None else path, _TABLES, LARGEST)

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

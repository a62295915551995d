"""Prepared items of before, kept by their content and shared by all runs of a machine: a second run decodes nothing.

What an item was prepared from, how, and by which versions of the libraries that decode is part of its key. The oldest
items go where all of them take more than :func:`bound`; ``COSPACE_CACHE_GB`` says otherwise.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files import cache_folder
from ..modalities import Processor, modality
from ..types import UserError
from .cache_database import CacheDatabase
from .contents import digest

if TYPE_CHECKING:
    from torch import Tensor

SETTING, DEFAULT_GB = "COSPACE_CACHE_GB", 16.0
"""Gigabytes of prepared items that a machine keeps; 0 keeps none."""

SHARE = 0.25
"""Largest share of a disk's free bytes that the cache takes, so that it never fills one."""

EVICTED = 10
"""A full cache drops its oldest items, one in so many."""

_TABLES = """
CREATE TABLE IF NOT EXISTS items (key BLOB PRIMARY KEY, checksum INT, shape TEXT, data BLOB);
"""


def bound(folder: Path) -> int:
    """Bytes that the cache may take where it lies."""
    text = os.environ.get(SETTING, "")
    try:
        asked = float(text) if text else DEFAULT_GB
    except ValueError:
        raise UserError(f"{SETTING}={text} is no number of gigabytes; give one such as {DEFAULT_GB:g}, or 0") from None
    there = next(one for one in (folder, *folder.parents) if one.exists())
    kept = sum(file.stat().st_size for file in folder.glob("prepared.sqlite*"))
    return int(min(asked * 1e9, SHARE * (shutil.disk_usage(there).free + kept)))


class PreparedCache(CacheDatabase):
    """Prepared items by key, each with a checksum: one that a disk has changed is as if it were not there."""

    def __init__(self, path: Path | None = None, most: int | None = None) -> None:
        path = cache_folder() / "prepared.sqlite" if path is None else path
        self.most = bound(path.parent) if most is None else most
        super().__init__(path, _TABLES, 2 * self.most)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        """The prepared items that are kept, by key."""
        import torch

        found = {}
        for key, checksum, shape, data in self._rows("items", "key", keys):
            if zlib.crc32(data) == checksum:
                found[key] = torch.from_numpy(np.frombuffer(bytearray(data), np.uint8).reshape(json.loads(shape)))
        return found

    def keep(self, key: bytes, prepared: Tensor) -> None:
        """Keep one more."""
        data = prepared.contiguous().numpy().tobytes()
        row = (key, zlib.crc32(data), json.dumps(list(prepared.shape)), data)
        self._write("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)", [row])

    def _flush(self) -> None:
        super()._flush()
        with self._forgiven():
            if self._database is not None and self._bytes(self._database) > self.most:
                self._evict(self._database)

    def _bytes(self, database: sqlite3.Connection) -> int:
        pages, free, size = (
            int(database.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _evict(self, database: sqlite3.Connection) -> None:
        """Drop the oldest items. Rows number in the order in which they came."""
        first, last = database.execute("SELECT min(rowid), max(rowid) FROM items").fetchone()
        if first is not None:
            with database:
                database.execute("DELETE FROM items WHERE rowid <= ?", [first + (last - first) // EVICTED])


class KeptItems:
    """The items of one modality and data set in the cache, by their numbers (see ``modalities.KnownItems``)."""

    def __init__(self, name: str, contents: Sequence[str], processor: Processor) -> None:
        self._contents, self._way = contents, way_of(name, processor)
        self._cache: tuple[int, PreparedCache] | None = None

    def get(self, numbers: Sequence[int]) -> Mapping[int, Tensor]:
        """Prepared items by number, as far as they are kept."""
        keys = {self._key(number): number for number in numbers}
        return {keys[key]: item for key, item in self.cache.get(list(keys)).items()}

    def keep(self, number: int, prepared: Tensor) -> None:
        """Keep one more."""
        self.cache.keep(self._key(number), prepared)

    def _key(self, number: int) -> bytes:
        return bytes.fromhex(digest([self._way, self._contents[number].encode("utf-8", "surrogatepass")]))

    @property
    def cache(self) -> PreparedCache:
        """The database, opened by each process for itself."""
        if self._cache is None or self._cache[0] != os.getpid():
            self._inherited = self._cache  # a connection of another process is neither used nor closed here
            self._cache = os.getpid(), PreparedCache()
        return self._cache[1]

    def close(self) -> None:
        """Write what is left, and let go of the database until it is needed again."""
        if self._cache is not None and self._cache[0] == os.getpid():
            self._cache[1].close()
            self._cache = None

    def __getstate__(self) -> dict[str, object]:
        return {"_contents": self._contents, "_way": self._way, "_cache": None}


def way_of(name: str, processor: Processor) -> bytes:
    """How items of a modality are prepared, as bytes that differ where anything does that they depend on."""
    import PIL
    import torch

    versions = {"torch": torch.__version__, "pillow": PIL.__version__, "numpy": np.__version__}
    way = {"modality": name, "version": modality(name).preparation, "processor": processor.state(), **versions}
    return json.dumps(way, sort_keys=True).encode()

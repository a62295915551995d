"""Shards on object storage: listed through fsspec, fetched whole into a bounded folder of the cache, then local files.

Nothing of a shard is read before all of it is here, under a name that says what it is a copy of, so that the readers
that refuse what is damaged or dangerous are those of files. Amazon's and Google's storage are reached by Arrow's own
clients, which every installation has, and other addresses by what fsspec has for them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ... import files, locks
from ...prefetch import Background, Cancelled
from ...types import UserError
from ..contents import digest
from . import SUFFIXES, Shard

PROTOCOLS = {
    "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "abfs", "abfss": "abfs", "hf": "hf",
    "memory": "memory",
}  # fmt: skip
"""What addresses of shards may begin with. ``memory`` is fsspec's own, within a process; chains (``::``) are none."""

CREDENTIALS = {"s3": " (AWS_ACCESS_KEY_ID, AWS_REGION)", "g": " (GOOGLE_APPLICATION_CREDENTIALS)"}
"""By how an address begins, what people set."""

TRIES, PAUSE = 4, 1.0
"""How often a shard is asked for before the run stops, and the seconds before the second time; twice as many before
each further one."""

TOGETHER, PIECE = 4, 4 << 20
"""Shards that are fetched at a time, and bytes that are asked for together."""

FEW, ASKED = 8, 16
"""Shards up to which each is asked for alone, and how many at a time."""

PATIENCE = 60
"""Seconds that a server may take to answer."""

WAIT = 3600.0
"""Seconds that a process waits for another one to fetch the same shard."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a store: its path with the bucket, its bytes, and its version."""

    path: str
    size: int
    version: str


class Store:
    """The files of one protocol."""

    def __init__(self, protocol: str, system: Any) -> None:
        self.protocol, self.system = protocol, system

    def files(self, folder: str) -> list[RemoteFile]:
        """The files that lie directly in a folder, by name."""
        with self._asking(folder):
            found = self.system.ls(folder, detail=True)
        return sorted((self._file(one) for one in found if one["type"] == "file"), key=lambda one: one.path)

    def named(self, paths: Sequence[str]) -> list[RemoteFile]:
        """The files of these paths: few are asked for one by one, of many their folders are listed."""
        if len(paths) <= FEW:
            with ThreadPoolExecutor(ASKED) as pool:
                return list(pool.map(self._info, paths))
        folders = dict.fromkeys(path.rpartition("/")[0] for path in paths)
        there = {one.path: one for folder in folders for one in self.files(folder)}
        for path in paths:
            if path not in there:
                raise UserError(f"{self.protocol}://{path} does not exist; check the address or its pattern")
        return [there[path] for path in paths]

    def _info(self, path: str) -> RemoteFile:
        with self._asking(path):
            return self._file(self.system.info(path))

    def pieces(self, path: str) -> Iterator[bytes]:
        """The bytes of a file, some at a time."""
        with self._asking(path), self.system.open(path, "rb") as file:
            while piece := file.read(PIECE):
                yield piece

    def _file(self, info: dict[str, Any]) -> RemoteFile:
        size = info.get("size")
        path = str(info["name"]).removeprefix(f"{self.protocol}://").lstrip("/")
        if size is None:
            raise UserError(f"{self.protocol}://{path}: the server does not say how large it is; download it")
        stamps = (
            "ETag",
            "etag",
            "md5Hash",
            "content_md5",
            "LastModified",
            "last_modified",
            "mtime",
            "updated",
            "created",
        )
        version = next((str(info[name]) for name in stamps if info.get(name) is not None), "")
        return RemoteFile(path, int(size), version)

    @contextmanager
    def _asking(self, path: str) -> Iterator[None]:
        """A block that asks the server; what goes wrong is one sentence with the address."""
        try:
            yield
        except (UserError, Cancelled):
            raise
        except Exception as error:  # other people's clients fail in ways of their own
            raise _refused(f"{self.protocol}://{path}", error) from error


@lru_cache(maxsize=8)
def store_of(protocol: str) -> Store:
    """What addresses with this protocol lead to. Raises :class:`UserError` where a package for it is missing."""
    kind = PROTOCOLS[protocol]
    try:
        return Store(protocol, _arrow(kind) if kind in ("s3", "gs") else _fsspec(kind))
    except ImportError as error:
        raise UserError(f"{protocol}:// needs a package that is not installed: {error}") from error
    except Exception as error:  # other people's clients fail in ways of their own
        raise _refused(f"{protocol}://", error) from error


def _arrow(kind: str) -> Any:
    """Amazon's or Google's storage; a server of one's own is named by ``AWS_ENDPOINT_URL``."""
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import fs

    if kind == "gs":
        return ArrowFSWrapper(fs.GcsFileSystem(retry_time_limit=timedelta(seconds=PATIENCE // 4)))
    variables = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoint = next((os.environ[name] for name in variables if os.environ.get(name)), None)
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return ArrowFSWrapper(
        fs.S3FileSystem(region=region, endpoint_override=endpoint, connect_timeout=20, request_timeout=PATIENCE)
    )


def _fsspec(kind: str) -> Any:
    import fsspec

    return fsspec.filesystem("abfs" if kind == "az" else kind)


def _refused(address: str, error: Exception) -> UserError:
    reason = " ".join((str(error) or type(error).__name__).split())[:300]
    if isinstance(error, FileNotFoundError):
        return UserError(f"{address} does not exist, or may not be seen with these credentials ({reason})")
    where = next((names for start, names in CREDENTIALS.items() if address.startswith(start)), "")
    return UserError(f"{address} cannot be read: {reason}; check the address and the credentials{where}")


class ShardCache:
    """Copies of remote shards in a folder of this machine, at most so many bytes of those that nobody reads.

    A copy is called by a hash of address, size and version. Whoever reads one holds a shared lock on a file beside it,
    which the kernel releases however the process ends; only copies without readers are removed, the longest unused
    first. One process fetches a copy, and others wait for it.
    """

    def __init__(self, size: int, folder: Path | None = None) -> None:
        self.size, self.folder = size, folder or files.cache_folder() / "shards"
        self._copies: dict[Shard, Background[locks.SharedLock]] = {}
        self._lock, self._together = threading.Lock(), threading.Semaphore(TOGETHER)

    def ask(self, shards: Iterable[Shard]) -> None:
        """Have these fetched, some at a time, and kept until they are released."""
        with self._lock:
            for shard in shards:
                if shard.remote and shard not in self._copies:
                    self._copies[shard] = Background(partial(self._copy, shard))

    def local(self, shard: Shard) -> Path:
        """Where a shard lies here, once it does."""
        if not shard.remote:
            return Path(shard.address)
        self.ask([shard])
        self._copies[shard].result()
        return self._path(shard)

    def release(self, keep: Iterable[Shard] = ()) -> None:
        """Let all copies go but these; what is still on its way is given up."""
        kept = set(keep)
        with self._lock:
            gone = [self._copies.pop(shard) for shard in list(self._copies) if shard not in kept]
        for copy in gone:
            copy.cancel(0)
        for copy in gone:
            if copy.cancel():  # otherwise its lock goes with it, once the server has answered
                with suppress(UserError, OSError, Cancelled):
                    copy.result().release()

    def _path(self, shard: Shard) -> Path:
        name = digest([shard.address.encode(), str(shard.size).encode(), shard.version.encode()])
        return self.folder / f"{name}{Path(shard.address).suffix.lower()}"

    def _copy(self, shard: Shard, check: Callable[[], None]) -> locks.SharedLock:
        """The shared lock of a copy that is whole."""
        path = self._path(shard)
        lock = locks.SharedLock(path.with_suffix(".lock"))
        try:
            deadline = time.monotonic() + WAIT
            while not (path.exists() and lock.attempt(alone=False) and path.exists()):
                if time.monotonic() > deadline:
                    raise UserError(f"{shard.address} is being fetched by another process and does not come")
                check()
                if not lock.attempt(alone=True):
                    time.sleep(0.05)
                elif not path.exists():
                    with self._together:
                        self._make_room(shard.size)
                        self._fetch(shard, path, check)
            os.utime(path)
        except BaseException:
            lock.release()
            raise
        return lock

    def _fetch(self, shard: Shard, path: Path, check: Callable[[], None]) -> None:
        for tried in range(1, TRIES + 1):
            try:
                files.atomic_write(path, partial(_download, shard, check))
                return
            except UserError:
                if tried == TRIES:
                    raise
                time.sleep(PAUSE * 2 ** (tried - 1))

    def _make_room(self, size: int) -> None:
        """Remove the copies longest unused until the new one fits; those that somebody reads stay."""
        known = []
        for path in [path for path in self.folder.iterdir() if path.suffix in SUFFIXES]:
            with suppress(OSError):  # another process has removed it
                known.append((path.stat().st_mtime, path.stat().st_size, path))
        held = sum(one for _, one, _ in known)
        for _, one, path in sorted(known):
            if held + size <= self.size:
                return
            lock = locks.SharedLock(path.with_suffix(".lock"))
            if lock.attempt(alone=True):
                path.unlink(missing_ok=True)
                held -= one
            lock.release()


def _download(shard: Shard, check: Callable[[], None], to: Path) -> None:
    """All bytes of a shard into a file; fewer or more than it had when it was listed are an error."""
    protocol, _, path = shard.address.partition("://")
    size = 0
    with to.open("wb") as file:
        for piece in store_of(protocol).pieces(path):
            check()
            file.write(piece)
            size += len(piece)
    if size != shard.size:
        raise UserError(f"{shard.address} had {shard.size:,} bytes when it was listed and has {size:,} now")

"""What an item contains, as a short text: read once, compared often."""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..arrays import blocks
from ..columns import SHORT, column_of
from ..modalities import is_text, modality, names
from ..reading import NotAFile, opened
from ..types import Fault, Lazy, Progress, UserError, silent
from .cluster import cluster, is_sent
from .known_files import KnownFiles, now

_READERS = 4
"""Threads that read files. Reading waits for the disk, and hashing releases the interpreter's lock."""

_CHUNK = 64

_BLOCK = SHORT
"""Items of a column whose files are read before the next ones are looked at."""

_REMEMBERED = 2 * SHORT
"""Contents that are kept in memory, for items that are named again."""

_LARGEST = 16 << 30
"""Bytes of a file. A sparse file may have any size, and take as long to read."""

_TOGETHER = 1 << 10
"""Texts that are hashed at a time."""

_PIECE = 1 << 20
"""Bytes of a file that are read at a time."""


_LONGEST_NAME = 1000
"""Characters of a path that a message shows."""


_Chunk = Sequence[tuple[Any, Any]]
"""Items to read, each with what is equal for the same one."""


def contents(
    column: str, items: Sequence[Any], progress: Progress = silent, known: KnownFiles | None = None
) -> Sequence[str | Fault]:
    """For each item of a column a text that is equal for equal content, or its fault.

    Files are read, each of them once, but for those that are ``known`` and have not changed; of very many files, some
    are read again where they are named again much later.
    """
    if is_text(column):
        what = modality(column).noun if column in names() else column
        if all(type(_text(item, what)) is str for item in items):
            return items
        return column_of(_text(item, what) for item in items)
    return column_of(_of_files(column, items, progress, known))


def _of_files(column: str, items: Sequence[Any], progress: Progress, known: KnownFiles | None) -> Iterator[str | Fault]:
    by_item: dict[Any, str | Fault] = {}
    pending, done = iter(items), 0
    with _Readers() as readers:
        while block := list(islice(pending, _BLOCK)):
            keys = [_key(item, items, done + place) for place, item in enumerate(block)]
            distinct = {key: item for key, item in zip(keys, block, strict=True) if key not in by_item}
            whole = len(block) == len(items)
            total = len(distinct) if whole else len(items)
            by_item |= {} if known is None else _remembered(distinct, known)
            missing = [(key, item) for key, item in distinct.items() if key not in by_item]
            chunks = [missing[i : i + _CHUNK] for i in range(0, len(missing), _CHUNK)]
            for chunk, (since, found) in zip(chunks, readers.read(chunks), strict=True):
                by_item |= {key: content for (key, _), content in zip(chunk, found, strict=True)}
                if known is not None:
                    known.keep_digests(_by_path(chunk, found), since)
                progress(f"reading {modality(column).plural}", len(by_item) if whole else done, total)
            yield from (by_item[key] for key in keys)
            done += len(block)
            if len(by_item) > _REMEMBERED:
                by_item.clear()


class _Readers:
    """Threads of this process; of files, the workers of a cluster where there is one."""

    def __init__(self) -> None:
        self._pool, self._cluster = ThreadPoolExecutor(_READERS), cluster()

    def __enter__(self) -> _Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def read(self, chunks: Sequence[_Chunk]) -> Iterator[tuple[float, list[str | Fault]]]:
        """For each chunk in order, its contents, and when reading them began."""
        if self._cluster is None or not all(is_sent(item) for chunk in chunks for _, item in chunk):
            return self._pool.map(_read_all, chunks)
        return self._cluster.map(_read_all, chunks)


def _key(item: Any, items: Sequence[Any], row: int) -> Any:
    """What is equal for the same item of a column; the items of a long one are made anew whenever they are read."""
    if isinstance(items, list | tuple):
        return id(item)
    return item if isinstance(item, Path | Lazy) and isinstance(item, Hashable) else row


def _remembered(distinct: Mapping[Any, Any], known: KnownFiles) -> dict[Any, str | Fault]:
    """Contents of files that are as they were."""
    kept = known.digests([item for item in distinct.values() if isinstance(item, Path)])
    return {key: kept[str(item)] for key, item in distinct.items() if isinstance(item, Path) and str(item) in kept}


def _by_path(chunk: Sequence[tuple[Any, Any]], found: Sequence[str | Fault]) -> dict[str, str]:
    """By path, the contents of those items that are files and could be read."""
    return {
        str(item): content
        for (_, item), content in zip(chunk, found, strict=True)
        if isinstance(item, Path) and isinstance(content, str)
    }


def is_absent(item: Any) -> bool:
    """Whether a row simply has no item here."""
    return item is None or (isinstance(item, str) and not item.strip())


def digest(parts: Iterable[bytes]) -> str:
    """A hash of a sequence of byte strings; where one part ends and the next begins counts."""
    state = blake2b(digest_size=16)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def digest_of_texts(texts: Iterable[str]) -> str:
    """:func:`digest` of very many short texts."""
    state, pending = blake2b(digest_size=16), iter(texts)
    while some := [text.encode() for text in islice(pending, _TOGETHER)]:
        state.update(b"".join([piece for part in some for piece in (len(part).to_bytes(8, "little"), part)]))
    return state.hexdigest()


def digest_of_rows(fingerprint: str, rows_N: np.ndarray) -> str:
    """:func:`digest` of a text and of some rows as 64 bits each."""
    state = blake2b(digest_size=16)
    state.update(len(fingerprint).to_bytes(8, "little") + fingerprint.encode())
    state.update((8 * len(rows_N)).to_bytes(8, "little"))
    for some in blocks(len(rows_N)):
        state.update(rows_N[some].astype("<i8").tobytes())
    return state.hexdigest()


def _text(text: Any, what: str) -> str | Fault:
    if isinstance(text, Fault):
        return text
    if text is None:
        return Fault(f"empty {what}", f"the {what} is missing")
    if not isinstance(text, str):
        return Fault("not a text", f"the {what} is of type {type(text).__name__}, not text")
    if not text.strip():
        return Fault(f"empty {what}", f"the {what} is empty")
    try:
        text.encode()
    except UnicodeEncodeError:  # sources keep undecodable bytes as lone surrogates
        return Fault("invalid utf-8", f"the {what} is not valid UTF-8; save the file as UTF-8")
    return text


def _read_all(chunk: _Chunk) -> tuple[float, list[str | Fault]]:
    """Contents of some items, and when reading them began."""
    since = now()
    return since, [_content(item) for _, item in chunk]


def _content(item: Any) -> str | Fault:
    try:
        if isinstance(item, Fault):
            return item
        if isinstance(item, Path):
            return _file(item)
        if isinstance(item, bytes):
            return _bytes(item, "the item")
        if isinstance(item, np.ndarray):
            return digest([str((item.shape, item.dtype)).encode(), np.ascontiguousarray(item).tobytes()])
        if isinstance(item, Image.Image):
            return digest([f"{item.mode} {item.size}".encode(), item.tobytes()])
        if isinstance(item, tuple):
            return digest([repr(item[1:]).encode(), _content(item[0]).encode()])  # type: ignore[union-attr]
        if isinstance(item, Lazy):
            return item.key()
        if isinstance(item, list):
            return digest([json.dumps(item, default=str).encode()])
    except (FileNotFoundError, NotADirectoryError):
        name = str(item)
        return Fault("missing", f"{name if len(name) < _LONGEST_NAME else name[:_LONGEST_NAME] + '...'} does not exist")
    except NotAFile:
        return Fault("not a file", f"{item} is a device, a pipe or a folder, not a file")
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte in it
        return Fault("missing", f"{item} cannot be read: {error}")
    if item is None:
        return Fault("missing", "no file is named")
    raise UserError(
        f"an item is a path, bytes, an image, an array, a list or lazy, not {type(item).__name__}: {item!r:.80}"
    )


def _file(path: Path) -> str | Fault:
    """The digest of a file's bytes, read piece by piece: a file may be larger than memory."""
    with opened(path) as file:
        status = os.fstat(file.fileno())
        if not status.st_size:
            return Fault("empty", f"{path} is empty")
        state = blake2b(digest_size=16)
        state.update(status.st_size.to_bytes(8, "little"))
        left = status.st_size
        if left > _LARGEST:
            return Fault("too large", f"{path} has {left:,} bytes; at most {_LARGEST:,} are read")
        while left and (part := file.read(min(left, _PIECE))):
            state.update(part)
            left -= len(part)
    return Fault("truncated", f"{path} was cut short while it was read") if left else state.hexdigest()


def _bytes(data: bytes, name: str) -> str | Fault:
    return digest([data]) if data else Fault("empty", f"{name} is empty")

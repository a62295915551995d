"""Tables that are packed: gzip, bzip2, xz and Zstandard, known by their first bytes, and never unpacked without bound.

By the bytes and not by the name, for browsers unpack what they download and leave the name as it was.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path, PurePath

from ...reading import MOST, read_bytes
from ...types import UserError

SUFFIXES = (".gz", ".bz2", ".xz", ".zst")

LEAST_BOUND, MOST_RATIO = 1 << 26, 200
"""Bytes that any file may unpack to, and beyond these how many times its own size; text shrinks to a tenth."""
_MOST_WINDOW = 1 << 28
"""Bytes that an xz file may make its decoder keep."""


def unpacked_suffix(path: str | PurePath) -> str:
    """The suffix of what is packed, in small letters: ``.csv`` of ``a.csv.gz`` and of ``a.csv``."""
    path = PurePath(path)
    suffix = path.suffix.lower()
    return PurePath(path.stem).suffix.lower() if suffix in SUFFIXES else suffix


def unpacked(path: Path) -> bytes:
    """A file's bytes, unpacked if they are packed. Raises :class:`UserError` for one that is damaged or a bomb."""
    data = read_bytes(path)
    refuse_stand_in(data[:512], path)
    unpack = next((unpack for start, unpack in _FORMATS if data.startswith(start)), None)
    if unpack is None:
        return data
    most = min(MOST, max(LEAST_BOUND, MOST_RATIO * len(data)))
    try:
        made = unpack(data, most + 1)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{path} is damaged or cut short, it does not unpack ({error}); copy it again") from error
    if len(made) > most:
        raise UserError(
            f"{path} has {len(data):,} bytes and unpacks to more than {most:,}, as no table does; if it is one, unpack "
            "it and name what comes out"
        )
    return made


def is_packed(beginning: bytes) -> bool:
    """Whether a file that begins so is packed."""
    return any(beginning.startswith(start) for start, _ in _FORMATS)


def refuse_stand_in(beginning: bytes, path: Path) -> None:
    """Raise :class:`UserError` for what a download leaves in the place of a table: a pointer, or a page."""
    if beginning.startswith(b"version https://git-lfs"):
        raise UserError(f"{path} is a Git LFS pointer and not the file; fetch it where it was cloned: git lfs pull")
    if beginning.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        raise UserError(f"{path} is a web page and not a table; download the file itself, perhaps signed in")


def _gunzipped(data: bytes, most: int) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        return file.read(most)


def _bunzipped(data: bytes, most: int) -> bytes:
    with bz2.BZ2File(io.BytesIO(data)) as file:
        return file.read(most)


def _unxz(data: bytes, most: int) -> bytes:
    made = b""
    while data and len(made) < most:
        decoder = lzma.LZMADecompressor(memlimit=_MOST_WINDOW)
        made += decoder.decompress(data, most - len(made))
        if not decoder.eof and len(made) < most:
            raise EOFError("it ends too early")
        data = decoder.unused_data.lstrip(b"\0")
    return made


def _unzstd(data: bytes, most: int) -> bytes:
    import pyarrow as pa

    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        made: bytes = stream.read(most)
    return made


_FORMATS: tuple[tuple[bytes, Callable[[bytes, int], bytes]], ...] = (
    (b"\x1f\x8b\x08", _gunzipped),
    *((b"BZh%d1AY&SY" % level, _bunzipped) for level in range(1, 10)),
    (b"\xfd7zXZ\0", _unxz),
    (b"\x28\xb5\x2f\xfd", _unzstd),
)

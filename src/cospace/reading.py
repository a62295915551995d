"""Reading what others wrote: regular files alone, never without bound, and every fault as a sentence with its name.

A name in a table, an archive or a command may lead to a device that never ends, to a pipe that never begins, or to a
file of the wrong kind. :func:`opened` is the one way to a file's bytes that waits for nothing. :func:`read_json` and
:func:`understood` make what a parser says of damaged content into one sentence.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from .types import BadItem, StorageError, UserError

MOST = 4 << 30
"""Bytes of a text or a JSON file that is read as a whole; in memory it takes several times as many."""

FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)

MALFORMED = (
    LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError, MemoryError, EOFError, BadItem,
    BadZipFile, zlib.error, struct.error,
)  # fmt: skip
"""What code that expects one form of data raises when it is given another; RuntimeError is torch's, and recursion's."""


class NotAFile(OSError):
    """A device, a pipe, a socket or a folder where a file was expected."""


def opened(path: str | Path) -> BufferedReader:
    """A regular file, open for reading.

    Raises :class:`NotAFile`, another ``OSError``, or ``ValueError`` for a name with a zero byte in it. A device is not
    even opened, which may do something; a pipe that nobody writes to would never open, but for ``O_NONBLOCK``.
    """
    _check(os.stat(path).st_mode, path)
    handle = os.open(path, FLAGS)
    try:
        _check(os.fstat(handle).st_mode, path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _check(mode: int, path: str | Path) -> None:
    if stat.S_ISDIR(mode):
        raise NotAFile(errno.EISDIR, "it is a folder, not a file", str(path))
    if not stat.S_ISREG(mode):
        raise NotAFile(errno.EINVAL, "it is a device or a pipe, not a file", str(path))


def whole(path: str | Path, most: int = MOST) -> bytes:
    """A file's bytes, as many as it had when it was opened. Raises ``OSError`` as :func:`opened`, and above ``most``.

    What the system makes up as it is read (``/proc``) has no size, and is empty.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, and at most {most:,} are read", str(path))
        return file.read(size)


def read_bytes(path: Path, most: int = MOST) -> bytes:
    """:func:`whole`, where every failure is a :class:`UserError` with the file's name."""
    try:
        return whole(path, most)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path} does not exist; check its name") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, MemoryError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error or 'it does not fit into memory'}") from error


def read_text(path: Path, most: int = MOST) -> str:
    """A UTF-8 file as text, without the mark that some editors put at its beginning."""
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error


_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
"""By the marks that Excel and Notepad write at the beginning."""


_GLANCE = 64
"""Bytes whose zeros say that a text without a mark is UTF-16."""


def _unmarked(beginning: bytes) -> str | None:
    """UTF-16 of Western letters without its mark: every other byte is zero, which no text has otherwise."""
    even, odd = beginning[::2], beginning[1::2]
    if len(odd) < 4:
        return None
    if not any(odd) and all(even):
        return "utf-16-le"
    return "utf-16-be" if not any(even) and all(odd) else None


def decode_text(data: bytes) -> str:
    """What a person wrote with any editor, as text: UTF-8 or UTF-16, lines that end in LF, CRLF or, on old Macs, CR.

    Bytes that are no UTF-8 become lone surrogates, so that only their own row is set aside.
    """
    encoding = _UTF16.get(data[:2])
    if encoding is not None:
        text = data[2:].decode(encoding, "replace")
    elif (encoding := _unmarked(data[:_GLANCE])) is not None:
        text = data.decode(encoding, "replace")
    else:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return text.replace("\r", "\n") if "\r" in text and "\n" not in text else text


def text_pieces(file: BufferedReader, size: int) -> Iterator[str]:
    """:func:`decode_text` of a file in pieces of about ``size`` bytes, for one that is larger than memory should be.

    Its ends of lines are LF or CRLF; one whose first piece has neither is read as a whole. Raises ``OSError`` where
    that would be more than :data:`MOST` bytes.
    """
    beginning = file.read(size)
    encoding = _UTF16.get(beginning[:2]) or _unmarked(beginning[:_GLANCE])
    if len(beginning) < size or b"\n" not in beginning:
        if (length := os.fstat(file.fileno()).st_size) > MOST:
            raise OSError(errno.EFBIG, f"it has {length:,} bytes and no line in the first {size:,}")
        yield decode_text(beginning + file.read())
        return
    marked = beginning[:2] in _UTF16
    decoder = codecs.getincrementaldecoder(encoding or "utf-8")("replace" if encoding else "surrogateescape")
    piece = beginning[2:] if marked else beginning.removeprefix(b"" if encoding else b"\xef\xbb\xbf")
    while piece:
        yield decoder.decode(piece)
        piece = file.read(size)
    yield decoder.decode(b"", final=True)


def lines(text: str) -> list[str]:
    """The lines of a text, without their ends: LF or CRLF.

    ``str.splitlines`` also cuts at U+000C, U+0085 and U+2028, which are letters of a caption.
    """
    return [line.removesuffix("\r") for line in text.split("\n")]


def parse_json(data: str | bytes, name: object) -> Any:
    """JSON, or one sentence with the ``name`` of where it stands."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise UserError(f"{name} is nested too deeply to be read") from error
    except (ValueError, MemoryError) as error:  # ValueError: no JSON, no UTF-8, or a number of too many digits
        raise UserError(f"{name} is not valid JSON: {error or 'it does not fit into memory'}") from error


def read_json(path: Path) -> Any:
    """JSON from a file, or one sentence that names the file."""
    return parse_json(read_bytes(path), path)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file; other JSON is one sentence that names the file."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a JSON {type(value).__name__} where an object belongs; it is another file")
    return value


@contextmanager
def understood(path: Path, advice: str = "restore it from a copy or make it again") -> Iterator[None]:
    """Say of content that is not what belongs into ``path`` that it is not, whatever reading it raises in the block."""
    try:
        yield
    except (OSError, *MALFORMED) as error:
        if isinstance(error, OSError) and error.errno is not None:  # without a number it is a parser's, as Arrow's are
            raise
        reason = " ".join(str(error).split())[:200]
        raise StorageError(
            f"{path} does not hold what belongs there ({type(error).__name__}: {reason}); {advice}"
        ) from error

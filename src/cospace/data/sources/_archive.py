"""Where the members of a tar archive lie, read from its headers alone (POSIX.1-1988 and pax, GNU long names).

Written because Python's ``tarfile`` reads an archive that was cut at a member's end without complaint: a quarter of
the data can be gone and nothing says so. It also makes members seekable: an archive is a list, not a stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ...reading import opened
from ...types import UserError

_BLOCK = 512
_LONGEST_NOTE = 1 << 20
"""Bytes that are read of a long name or a pax header; more is damage, or an attack."""
_LENGTH = re.compile(rb"(\d{1,9}) ")
_DIGITS = 20
"""Of a size in a pax header; more is damage, or an attack."""
_ABOUT_NEXT = (b"x", b"L", b"K", b"g")
"""Kinds of members that say something about the members after them: pax, GNU long name and link, global pax."""


class Entry(NamedTuple):
    """A regular file in an archive: its name, and where its bytes lie."""

    name: str
    offset: int
    size: int


def entries(path: Path) -> Iterator[Entry]:
    """Every regular file, in order. Raises :class:`UserError` for an archive that is damaged or was cut short."""
    with opened(path) as file:
        end = file.seek(0, 2)
        position = 0
        notes: dict[str, str] = {}  # what the headers before a member say about it
        while any(header := _read(file, position, _BLOCK)) or len(header) < _BLOCK:
            if len(header) < _BLOCK:
                raise UserError(f"{path} is cut short: it ends without the mark of a tar's end; copy it again")
            name, size, kind = _parse(header, path, position)
            if kind not in _ABOUT_NEXT:
                size = int(notes.get("size", size))
            position += _BLOCK
            if position + size > end:
                raise UserError(f"{path} is cut short in its member {name!r}; copy it again")
            if kind in (b"x", b"L"):
                notes |= _note(_read(file, position, min(size, _LONGEST_NOTE)), kind)
            elif kind not in _ABOUT_NEXT:
                if kind in (b"0", b"\0"):
                    yield Entry(notes.get("path", name), position, size)
                notes = {}
            position += -(-size // _BLOCK) * _BLOCK


def _read(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def _parse(header: bytes, path: Path, position: int) -> tuple[str, int, bytes]:
    """Name, size and kind of a member; the checksum distinguishes a header from anything else."""
    try:
        stated = int(header[148:156].rstrip(b" \0") or b"0", 8)
        size = _number(header[124:136])
    except ValueError:
        stated = size = -1
    if size < 0 or sum(header[:148]) + sum(b" " * 8) + sum(header[156:]) != stated:
        if position:
            raise UserError(f"{path} is damaged at byte {position}; copy it again")
        raise UserError(f"{path} is not a tar archive; a compressed one must be unpacked to .tar first")
    name = header[:100].split(b"\0")[0]
    if header[257:263] == b"ustar\0" and (prefix := header[345:500].split(b"\0")[0]):
        name = prefix + b"/" + name
    return name.decode("utf-8", "surrogateescape"), size, header[156:157]


def _number(text: bytes) -> int:
    """Octal digits, or GNU's base 256 for sizes above 8 GB."""
    if text[0] & 0x80:
        return int.from_bytes(bytes([text[0] & 0x7F]) + text[1:], "big")
    return int(text.strip(b" \0") or b"0", 8)


def _note(data: bytes, kind: bytes) -> dict[str, str]:
    """GNU's long name, or the ``path`` and ``size`` of a pax header: lines of ``LENGTH key=value``."""
    if kind == b"L":
        return {"path": data.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    found: dict[str, str] = {}
    start = 0
    while stated := _LENGTH.match(data, start):
        end = start + int(stated[1])
        if not stated.end() < end <= len(data):
            break
        key, _, value = data[stated.end() : end - 1].decode("utf-8", "surrogateescape").partition("=")
        if key == "path" or (key == "size" and value.isdecimal() and len(value) < _DIGITS):
            found[key] = value
        start = end
    return found

"""Names of files as text: bytes to the system, and what takes text (JSON, SQL, a terminal) may not hold them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\\\|\\x([89a-f][0-9a-f])|\\u(d[89a-f][0-9a-f]{2})")


def name_of(path: str) -> str:
    """The last part of a path with slashes. As ``PurePosixPath(path).name``, at a tenth of the time."""
    return path.rpartition("/")[2]


def suffix_of(path: str) -> str:
    """The last suffix of a path with slashes, dot included, as ``PurePosixPath(path).suffix`` has it."""
    name = name_of(path)
    dot = name.rfind(".")
    return name[dot:] if 0 < dot < len(name) - 1 else ""


def folder_of(path: str) -> str:
    """The name of the folder that a file lies in, as ``PurePosixPath(path).parent.name`` has it."""
    return name_of(path.rpartition("/")[0])


def escaped(name: str) -> str:
    r"""A file's name as text that can be written anywhere; :func:`unescaped` gives the name back.

    Names of files are bytes, and Python keeps those that are not UTF-8 as lone surrogates, which neither JSON, parquet,
    SQL nor a terminal takes. They are written as ``\xe9`` here. Names that hold such an escape, or two backslashes, get
    theirs doubled, so that no two names become one.
    """
    if not (_LONE.search(name) or _ESCAPED.search(name)):
        return name
    return without_surrogates(name.replace("\\", "\\\\"))


def without_surrogates(text: str) -> str:
    """A text to be read by people, with bytes that are not UTF-8 escaped and all else as it is."""
    return _LONE.sub(lambda found: _escape(ord(found[0])), text)


def unescaped(text: str) -> str:
    """The name of a file that :func:`escaped` wrote as text."""
    if not _ESCAPED.search(text):
        return text
    return _ESCAPED.sub(lambda found: _letter(*found.groups()), text)


@contextmanager
def as_utf8(path: Path) -> Iterator[str]:
    """A file's path for libraries that take only UTF-8, while it is opened: by a handle of a folder that is none."""
    if not _LONE.search(str(path.parent)):
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _escape(code: int) -> str:
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _letter(byte: str | None, code: str | None) -> str:
    return chr(0xDC00 + int(byte, 16)) if byte else chr(int(code, 16)) if code else "\\"

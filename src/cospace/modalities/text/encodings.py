"""Text whose UTF-8 was read as Latin-1 or Windows-1252 (mojibake): found, and mended where it can be."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

MENDED = 0.99
"""How sure it is of a text that reads as words once its bytes are read as UTF-8."""

BROKEN = 0.7
"""How sure it is of a text with letters that do not stand together in any language, but cannot be mended."""

_TRAILING = "\x80-\xbf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d"
_TRAILING += "\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178"
"""Bytes 0x80 to 0xBF, as Latin-1 and as Windows-1252 read them."""

_SEQUENCE = re.compile(rf"[\xc2-\xdf][{_TRAILING}]|[\xe0-\xef][{_TRAILING}]{{2}}|[\xf0-\xf4][{_TRAILING}]{{3}}")
"""Two, three or four bytes of UTF-8 for one character, each read as a letter of its own."""

_FREQUENT = re.compile(rf"[\xc2\xc3][{_TRAILING}]|\xe2\u20ac.|\xf0[\x9f\u0178]|\xef\xbf\xbd|\xe2\x80[\x80-\xbf]")
"""Those of accented letters, quotes, dashes and emoji: seldom anything else, so one of them is enough."""

_ENOUGH = 2
"""Other sequences, such as those of Cyrillic letters, that a text must have: one may stand there by chance."""


def mend(text: str) -> tuple[str, float]:
    """What a text was meant to say, and how sure it is that it was broken (0: it was not).

    With the library ftfy, which knows what does not stand together in any language; without, by the sequences.
    """
    known = _ftfy()
    if known is not None:
        return known(text)
    found = _SEQUENCE.findall(text)
    if not found or not (len(found) >= _ENOUGH or _FREQUENT.search(text)):
        return text, 0.0
    mended = _SEQUENCE.sub(lambda match: _decoded(match[0]), text)
    return (mended, MENDED) if mended != text else (text, 0.0)


@functools.cache
def _ftfy() -> Callable[[str], tuple[str, float]] | None:
    """The same by ftfy, where it is installed."""
    try:
        import ftfy
        from ftfy.badness import is_bad
    except ModuleNotFoundError:
        return None

    def mend(text: str) -> tuple[str, float]:
        mended = ftfy.fix_encoding(text)
        if mended != text:
            return mended, MENDED
        return (text, BROKEN) if is_bad(text) else (text, 0.0)

    return mend


def _decoded(sequence: str) -> str:
    """The character that the bytes of a sequence stand for; itself where they stand for none."""
    try:
        return b"".join(_byte(letter) for letter in sequence).decode("utf-8")
    except UnicodeError:
        return sequence


def _byte(letter: str) -> bytes:
    return letter.encode("latin-1" if ord(letter) < 0x100 else "cp1252")

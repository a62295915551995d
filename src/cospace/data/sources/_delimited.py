"""A strict reader of delimited text: a field arrives exactly as it was written, or its record is refused.

Written because lenient readers alter what people wrote: pandas turns ``NA`` into nothing, and one open quote makes
Python's ``csv`` swallow every row up to the next quote. The dialect is RFC 4180: a field that *begins* with a quote
ends at the next lone quote, ``""`` inside it is a quote, separators and line ends inside it are text. Anywhere else a
quote is an ordinary character. A line ends with LF or CRLF; blank lines are skipped.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

SEPARATORS = (",", "\t", ";", "|")

LONGEST_LINE = 1 << 28
"""Letters of a line, which may hold a file in base64."""

LONGEST = 1 << 24
"""Letters of a record with quotes, of a text that is read in pieces."""


class Record(NamedTuple):
    """One record: the line it starts on (from 1), its fields, and what is wrong with it (then no field is right)."""

    line: int
    fields: list[str]
    fault: str = ""


def records(
    text: str | Iterable[str], separator: str, swallowed: Callable[[list[str]], bool] | None = None
) -> Iterator[Record]:
    """Every record of ``text``, in order; of a text in pieces, no more than some of them are in memory.

    After an unbalanced quote the reader goes on at the next line, so that one typing error costs one row.
    ``swallowed`` is asked about each line inside a quoted field; where it says that the line is a record by itself,
    the quote is taken to be unbalanced too. In pieces, a quote is unbalanced that is open for :data:`LONGEST` letters.
    """
    quoted = re.compile(r'"([^"]*+(?:""[^"]*+)*+)"(?=' + re.escape(separator) + r"|\r?\n|\r?\Z)")
    plain = re.compile(r"[^\n" + re.escape(separator) + r"]*")
    window, line = _Window([text] if isinstance(text, str) else text), 1
    while window.begin():
        text, start = window.text, window.start
        end = _line_end(text, start)
        if '"' not in text[start:end]:
            content = _content(text, start, end)
            if content:
                yield Record(line, content.split(separator))
            line, window.start = line + 1, end + 1
            continue
        window.extend(LONGEST)
        text, start, end = window.text, window.start, window.start + end - start
        fields, stop, fault = _quoted_record(text, start, quoted, plain)
        inside = [_content(row, 0, len(row)) for row in text[start:stop].split("\n")[1:]]
        if not fault and swallowed and any(swallowed(row.split(separator)) for row in inside):
            fault = "a quote is opened here and the next one is in another row; close it, or double it if it is text"
        yield Record(line, [] if fault else fields, fault)
        line, window.start = (line + 1, end + 1) if fault else (line + len(inside) + 1, stop + 1)


def check_line(letters: int) -> None:
    """Raise ``OSError`` where a line that has not ended is longer than any of a table."""
    if letters > LONGEST_LINE:
        raise OSError(errno.EFBIG, f"a line of it has more than {LONGEST_LINE:,} letters")


class _Window:
    """The part of a text in pieces that is being read."""

    def __init__(self, pieces: Iterable[str]) -> None:
        self.text, self.start = "", 0
        self._pieces: Iterator[str] | None = iter(pieces)

    def begin(self) -> bool:
        """Whether there is more; if so, at least a whole line of it."""
        while self._pieces is not None and self.text.find("\n", self.start) < 0:
            check_line(len(self.text) - self.start)
            self.extend(len(self.text) - self.start + 1)
        return self.start < len(self.text)

    def extend(self, wanted: int) -> None:
        """Have so many letters behind the start, if there are as many."""
        missing = wanted - (len(self.text) - self.start)
        if self._pieces is None or missing <= 0:
            return
        parts = [self.text[self.start :]]
        while missing > 0 and (piece := next(self._pieces, None)) is not None:
            parts.append(piece)
            missing -= len(piece)
        self._pieces = self._pieces if missing <= 0 else None
        self.text, self.start = "".join(parts), 0


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _content(text: str, start: int, end: int) -> str:
    """A line without its carriage return."""
    return text[start : end - 1] if text.endswith("\r", start, end) else text[start:end]


def _quoted_record(
    text: str, start: int, quoted: re.Pattern[str], plain: re.Pattern[str]
) -> tuple[list[str], int, str]:
    """The fields of the record at ``start``, where its last line ends, and what is wrong with it."""
    fields = []
    while True:
        if text.startswith('"', start):
            match = quoted.match(text, start)
            if match is None:
                return [], start, "a quote is opened and not closed before the field ends; close it, or double it"
            fields.append(match[1].replace('""', '"'))
            start = match.end()
            if text.startswith("\r", start):
                start += 1
        else:
            match = plain.match(text, start)
            assert match is not None, "the pattern of a plain field matches the empty text"
            start = match.end()
            last = start >= len(text) or text[start] == "\n"
            fields.append(match[0].removesuffix("\r") if last else match[0])
        if start >= len(text) or text[start] == "\n":
            return fields, start, ""
        start += 1

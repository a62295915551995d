"""A strict reader of delimited text: a field arrives exactly as it was written, or its record is refused.

Written because lenient readers alter what people wrote: pandas turns ``NA`` into nothing, and one open quote makes
Python's ``csv`` swallow every row up to the next quote. The dialect is RFC 4180: a field that *begins* with a quote
ends at the next lone quote, ``""`` inside it is a quote, separators and line ends inside it are text. Anywhere else a
quote is an ordinary character. A line ends with LF or CRLF; blank lines are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

SEPARATORS = (",", "\t", ";", "|")


class Record(NamedTuple):
    """One record: the line it starts on (from 1), its fields, and what is wrong with it (then no field is right)."""

    line: int
    fields: list[str]
    fault: str = ""


def records(text: str, separator: str, swallowed: Callable[[list[str]], bool] | None = None) -> Iterator[Record]:
    """Every record of ``text``, in order.

    After an unbalanced quote the reader goes on at the next line, so that one typing error costs one row.
    ``swallowed`` is asked about each line inside a quoted field; where it says that the line is a record by itself,
    the quote is taken to be unbalanced too.
    """
    quoted = re.compile(r'"([^"]*+(?:""[^"]*+)*+)"(?=' + re.escape(separator) + r"|\r?\n|\r?\Z)")
    plain = re.compile(r"[^\n" + re.escape(separator) + r"]*")
    line, start = 1, 0
    while start < len(text):
        end = _line_end(text, start)
        if _content(text, start, end) == "":
            line, start = line + 1, end + 1
            continue
        if '"' not in text[start:end]:
            yield Record(line, _content(text, start, end).split(separator))
            line, start = line + 1, end + 1
            continue
        fields, stop, fault = _quoted_record(text, start, quoted, plain)
        inside = [_content(row, 0, len(row)) for row in text[start:stop].split("\n")[1:]]
        if not fault and swallowed and any(swallowed(row.split(separator)) for row in inside):
            fault = "a quote is opened here and the next one is in another row; close it, or double it if it is text"
        if fault:
            yield Record(line, [], fault)
            line, start = line + 1, end + 1
        else:
            yield Record(line, fields)
            line, start = line + len(inside) + 1, stop + 1


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

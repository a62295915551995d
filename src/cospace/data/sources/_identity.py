"""What the rows of a table are called: by its own ``id``, else by what they name and say, never by where they stand.

So a row keeps its name when others are inserted, removed or sorted, and an index knows its items again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays import blocks, each, take, zeros
from ...columns import column_of, holds_only, mapped
from ...filenames import escaped
from ..contents import digest
from ..keys import ABSENT, encode, first_rows, hashes, repeated, sorted_hashes
from . import Rows
from ._paths import without_number

_ID = "id"
"""The column of a person's own ids, in capitals or small letters."""
_SHOWN = 8
"""Hex digits of a hash that distinguishes rows of one file."""


def identify(rows: Rows) -> None:
    """Name rows, and their files, that are called by their places so far.

    A row is called by the extra ``id``, else by the first file it names, else by a hash of all it has. Rows that share
    an id or a file have such a hash behind it (``a.jpg#1f2e3d4c``); equal rows their number.
    """
    column = next((name for name in rows.extras if name.strip().casefold() == _ID), None)
    own: Sequence[str] = [] if column is None else mapped(str.strip, rows.extras[column])
    bases = _bases(own, list(rows.names.values()), len(rows.ids))
    shared = repeated(encode(bases))
    rows.places = rows.ids if column is None else []
    rows.ids = _distinct(
        column_of(
            base if base and not again else _hashed(base, texts)
            for base, again, texts in zip(bases, shared, _texts_of(rows), strict=True)
        )
    )
    if column is None:
        rows.names = {name: _where_one_file(called, name, rows) for name, called in rows.names.items()}
    else:
        rows.names = {name: _where_one_file(own, name, rows) for name in list(rows.names)[:1]}


def _bases(own: Sequence[str], names: Sequence[Sequence[str]], count: int) -> Sequence[str]:
    """What each row is called before equal ones are distinguished: by its own id, else by the first file it names."""
    if not own and len(names) == 1:
        return names[0]
    called = zip(*names, strict=True) if names else repeat((), count)
    return column_of(
        base or next(filter(None, files), "") for base, files in zip(own or repeat("", count), called, strict=True)
    )


def file_name(value: Any) -> str:
    """What a value of a column of files is called: a path as it was written; bytes have no name."""
    if isinstance(value, Mapping):  # Hugging Face's {"bytes": ..., "path": ...}
        value = value.get("path")
    return escaped(without_number(str(value).strip()).removeprefix("./")) if isinstance(value, str | Path) else ""


def _where_one_file(names: Sequence[str], modality: str, rows: Rows) -> Sequence[str]:
    """Names for the files of all rows, where all rows of a name have one file; otherwise what the rows are called."""
    if names is rows.names[modality] and holds_only(rows.items[modality], Path):  # a path is its name
        return names if all(names) else column_of(name or own for name, own in zip(names, rows.ids, strict=True))
    files = zip(rows.items[modality], rows.names[modality], strict=True)
    name_N, file_N = encode(names), encode(_text_of(item, called) for item, called in files)
    file_C = take(file_N, first_rows(name_N))
    several_C = zeros(len(file_C), bool)
    for some in blocks(len(name_N)):
        several_C[name_N[some][file_N[some] != file_C[name_N[some]]]] = True
    several = each(take(several_C, name_N))
    return column_of(
        name if name and not more else own for name, more, own in zip(names, several, rows.ids, strict=True)
    )


def _distinct(names: Sequence[str]) -> Sequence[str]:
    """The names, where several are equal with their number behind the second and later ones."""
    codes_N = encode(names)
    count = int(codes_N.max(initial=ABSENT)) + 1
    if count == len(names):
        return names
    taken, seen_C = sorted_hashes(names), zeros(count, codes_N.dtype)

    def numbered(name: str, code: int) -> str:
        seen_C[code] += 1
        found = name
        while seen_C[code] > 1 and _is_among(taken, found := f"{name}.{seen_C[code]}"):
            seen_C[code] += 1
        return found

    each_one = zip(names, each(codes_N), repeated(codes_N), strict=True)
    return column_of(numbered(name, code) if again else name for name, code, again in each_one)


def _is_among(sorted_N: np.ndarray, name: str) -> bool:
    """Whether a name is one of those with these hashes; another name with the hash of one passes for it."""
    wanted = hashes([name])[0, 0]
    place = int(np.searchsorted(sorted_N, wanted))
    return place < len(sorted_N) and bool(sorted_N[place] == wanted)


def _texts_of(rows: Rows) -> Iterator[list[str]]:
    """What distinguishes every row from others."""
    columns = [map(_text_of, values, rows.names.get(name, repeat(""))) for name, values in sorted(rows.items.items())]
    return map(list, zip(*columns, strict=True)) if columns else repeat([], len(rows.ids))


def _hashed(base: str, texts: Sequence[str]) -> str:
    made = digest(text.encode("utf-8", "surrogateescape") for text in texts)
    return f"{base}#{made[:_SHOWN]}" if base else made[: 2 * _SHOWN]


def _text_of(item: Any, name: str) -> str:
    """What distinguishes an item from others, as text."""
    if isinstance(item, bytes):
        return digest([item])
    return name or (item if isinstance(item, str) else json.dumps(item, default=str))

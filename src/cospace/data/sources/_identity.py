"""What the rows of a table are called: by its own ``id``, else by what they name and say, never by where they stand.

So a row keeps its name when others are inserted, removed or sorted, and an index knows its items again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from ...columns import column_of, mapped
from ...filenames import escaped
from ..contents import digest
from ..keys import encode, hashes
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
    called = zip(*rows.names.values(), strict=True) if rows.names else repeat((), len(rows.ids))
    bases = column_of(
        base or next(filter(None, names), "")
        for base, names in zip(own or repeat("", len(rows.ids)), called, strict=True)
    )
    codes_N = encode(bases)
    shared_N = np.bincount(codes_N)[codes_N] > 1 if len(codes_N) else codes_N > 0
    texts = _texts_of(rows)
    rows.places = rows.ids if column is None else []
    rows.ids = _distinct(
        column_of(
            base if base and not shared else _hashed(base, next_texts)
            for base, shared, next_texts in zip(bases, shared_N.tolist(), texts, strict=True)
        )
    )
    if column is None:
        rows.names = {name: _where_one_file(called, name, rows) for name, called in rows.names.items()}
    else:
        rows.names = {name: _where_one_file(own, name, rows) for name in list(rows.names)[:1]}


def file_name(value: Any) -> str:
    """What a value of a column of files is called: a path as it was written; bytes have no name."""
    if isinstance(value, Mapping):  # Hugging Face's {"bytes": ..., "path": ...}
        value = value.get("path")
    return escaped(without_number(str(value).strip()).removeprefix("./")) if isinstance(value, str | Path) else ""


def _where_one_file(names: Sequence[str], modality: str, rows: Rows) -> Sequence[str]:
    """Names for the files of all rows, where all rows of a name have one file; otherwise what the rows are called."""
    files = zip(rows.items[modality], rows.names[modality], strict=True)
    name_N, file_N = encode(names), encode(_text_of(item, called) for item, called in files)
    _, first_C = np.unique(name_N, return_index=True)
    several_C = np.bincount(name_N, weights=file_N != file_N[first_C[name_N]]) > 0 if len(name_N) else first_C > 0
    several_N = several_C[name_N].tolist()
    return column_of(
        name if name and not several else own for name, several, own in zip(names, several_N, rows.ids, strict=True)
    )


def _distinct(names: Sequence[str]) -> Sequence[str]:
    """The names, where several are equal with their number behind the second and later ones."""
    codes_N = encode(names)
    if int(codes_N.max(initial=-1)) + 1 == len(names):
        return names
    repeated = (np.bincount(codes_N)[codes_N] > 1).tolist()
    taken, seen = _Names(names), Counter[str]()

    def numbered(name: str) -> str:
        seen[name] += 1
        found = name
        while seen[name] > 1 and (found := f"{name}.{seen[name]}") in taken:
            seen[name] += 1
        taken.add(found)
        return found

    return column_of(numbered(name) if again else name for name, again in zip(names, repeated, strict=True))


class _Names:
    """The names that are taken, as hashes: one that only has the hash of another is passed over as well."""

    def __init__(self, names: Sequence[str]) -> None:
        self._sorted = np.sort(hashes(names)[:, 0])
        self._added: set[str] = set()

    def __contains__(self, name: str) -> bool:
        wanted = hashes([name])[0, 0]
        place = int(np.searchsorted(self._sorted, wanted))
        return name in self._added or (place < len(self._sorted) and bool(self._sorted[place] == wanted))

    def add(self, name: str) -> None:
        self._added.add(name)


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

"""What the rows of a table are called: by its own ``id``, else by what they name and say, never by where they stand.

So a row keeps its name when others are inserted, removed or sorted, and an index knows its items again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...filenames import escaped
from ..contents import digest
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
    own = [value.strip() for value in rows.extras[column]] if column is not None else [""] * len(rows.ids)
    bases = [own[row] or next((n[row] for n in rows.names.values() if n[row]), "") for row in range(len(own))]
    sharing = Counter(bases)
    rows.places = rows.ids if column is None else []
    rows.ids = _distinct(
        [base if base and sharing[base] == 1 else _hashed(base, row, rows) for row, base in enumerate(bases)]
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


def _where_one_file(names: Sequence[str], modality: str, rows: Rows) -> list[str]:
    """Names for the files of all rows, where all rows of a name have one file; otherwise what the rows are called."""
    files: dict[str, set[str]] = {}
    for row, name in enumerate(names):
        files.setdefault(name, set()).add(_text_of(rows.items[modality][row], rows.names[modality][row]))
    return [name if name and len(files[name]) == 1 else rows.ids[row] for row, name in enumerate(names)]


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, where several are equal with their number behind the second and later ones."""
    taken, seen = set(names), Counter[str]()
    found = []
    for name in names:
        seen[name] += 1
        numbered = name
        while seen[name] > 1 and (numbered := f"{name}.{seen[name]}") in taken:
            seen[name] += 1
        taken.add(numbered)
        found.append(numbered)
    return found


def _hashed(base: str, row: int, rows: Rows) -> str:
    names = {name: called[row] for name, called in rows.names.items()}
    texts = [_text_of(values[row], names.get(name, "")) for name, values in sorted(rows.items.items())]
    made = digest(text.encode("utf-8", "surrogateescape") for text in texts)
    return f"{base}#{made[:_SHOWN]}" if base else made[: 2 * _SHOWN]


def _text_of(item: Any, name: str) -> str:
    """What distinguishes an item from others, as text."""
    if isinstance(item, bytes):
        return digest([item])
    return name or (item if isinstance(item, str) else json.dumps(item, default=str))

"""The rows that can be trained on as a table of their own, and the others in a list with the reason of each."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import atomic_write
from ..modalities import is_text, modality
from ..types import UserError
from .pairs import Pairs
from .sources import WEIGHT


def write_clean_table(pairs: Pairs, folder: Path) -> Path:
    """Write ``quarantine.csv`` and the clean table to a folder and return the table's path.

    The table is ``clean.csv``, or ``clean.jsonl`` where a value holds a line end, with the modalities and then the
    other columns; its paths are relative to the folder. Items that are no files of their own, such as members of a
    tar, are written to folders named by modality (``images/``).
    """
    make_folder(folder)
    set_aside = [(problem.id, problem.kind, problem.reason) for problem in pairs.problems]
    atomic_write(folder / "quarantine.csv", as_csv([("id", "kind", "reason"), *set_aside]))
    table = _table(pairs, folder)
    plain = all(map(_fits_a_line, (value for row in table for value in row)))
    path = folder / ("clean.csv" if plain else "clean.jsonl")
    atomic_write(path, as_csv(table) if plain else _jsonl(table))
    (folder / ("clean.jsonl" if plain else "clean.csv")).unlink(missing_ok=True)  # of an earlier check
    return path


def make_folder(folder: Path) -> None:
    """The folder for what ``check`` writes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{folder} is not a folder; name a folder for the clean table") from error


def _table(pairs: Pairs, folder: Path) -> list[tuple[str, ...]]:
    """A header and the rows as texts; an extra that is called like a modality gets an underscore."""
    columns: dict[str, list[str]] = {}
    for name, items in pairs.items.items():
        columns[name] = [item or "" for item in items] if is_text(name) else _paths(pairs, name, folder)
    for name, values in pairs.extras.items():
        if name == WEIGHT:  # it stands there under the name that the person gave it
            continue
        columns[f"{name}_" if name in pairs.items else name] = list(values)
    return [tuple(columns), *zip(*columns.values(), strict=True)]


def _paths(pairs: Pairs, name: str, folder: Path) -> list[str]:
    """What to call each item in a table that lies in ``folder``; items that are no files become some."""
    here, known = folder.resolve(), dict[int, str]()
    for key, item in zip(pairs.keys[name].tolist(), pairs.items[name], strict=True):
        if item is not None and key not in known and not isinstance(item, str | Path):
            known[key] = _export(item, name, folder, f"{key:07d}")
    return [
        ""
        if item is None
        else os.path.relpath(Path(item).resolve(), here)
        if isinstance(item, str | Path)
        else known[key]
        for key, item in zip(pairs.keys[name].tolist(), pairs.items[name], strict=True)
    ]


def _export(item: Any, name: str, folder: Path, stem: str) -> str:
    """Write one item and return its path from the folder. Encoded items keep their bytes."""
    data, suffix = modality(name).export(item)
    inner = folder / f"{name}s"
    inner.mkdir(exist_ok=True)
    path = inner / f"{stem}.{suffix}"
    path.write_bytes(data)  # not synced one by one: the table that names it is written after all of them
    return f"{inner.name}/{path.name}"


def _fits_a_line(value: str) -> bool:
    """Whether a csv file can hold the value on one line; undecodable bytes pass through as they came."""
    return "\n" not in value and "\r" not in value and not any("\ud800" <= c < "\udc80" for c in value)


def as_csv(rows: Sequence[Sequence[str]]) -> bytes:
    """Rows as the text of a csv file."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogateescape")


def _jsonl(table: Sequence[Sequence[str]]) -> bytes:
    header, *rows = table
    return "".join(json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in rows).encode()

"""From a table's columns to rows: which column holds which modality, and what a path is relative to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...config import unknown
from ...modalities import FIELDS, Modality, is_typed, modality, names, typed_modality
from ...types import Problem, UserError
from . import Rows, file_modalities

_GLANCE = 200
"""Rows that are read to decide what a column holds."""


@dataclass(slots=True)
class Table:
    """Columns of equal length, as a file held them, before anyone knows what they mean."""

    name: str
    """Of the file, for messages."""
    folder: Path
    """What relative paths are relative to."""
    ids: list[str]
    columns: dict[str, list[Any]]
    roles: Mapping[str, str] = field(default_factory=dict)
    """Modalities to columns, as far as they are known."""
    problems: list[Problem] = field(default_factory=list)

    def rows(self) -> Rows:
        """The rows, by modality; a column that is none becomes an extra."""
        roles = choose(self.columns, self.roles, self.name)
        items = {
            role: self.columns[column] if is_typed(role) else self._files(self.columns[column])
            for role, column in roles.items()
        }
        used = set(roles.values())
        extras = {c: [as_text(v) for v in values] for c, values in self.columns.items() if c and c not in used}
        asked = typed_modality() in roles and set(FIELDS) <= roles.keys()
        partial = asked or len(roles.keys() - set(FIELDS)) > 2
        return Rows(self.ids, items, extras, self.problems, least=2 if partial else None)

    def _files(self, values: Sequence[Any]) -> list[Any]:
        """Paths resolved, one object per distinct text; bytes as they are, also in Hugging Face's struct."""
        values = [_unwrap(value) for value in values]
        paths = {value: self.folder / value for value in {v for v in values if isinstance(v, str) and v.strip()}}
        return [paths.get(value) if isinstance(value, str) else value for value in values]


def choose(columns: Mapping[str, Sequence[Any]], given: Mapping[str, str], table: str) -> dict[str, str]:
    """Which column holds which modality: as given, otherwise by what the columns hold and how they are called.

    Columns called ``question`` and ``answer`` are that, and where both are there the caption may be absent; so it may
    where files of two modalities are paired. Where at least one role is given, the others may be absent.
    Raises :class:`UserError` that lists the columns and says what to type.
    """
    for role, column in given.items():
        if role not in (*names(), *FIELDS):
            raise UserError(unknown(role, (*names(), *FIELDS), "there is no modality"))
        if column not in columns:
            raise UserError(unknown(column, columns, f"{table} has no column"))
    roles = dict(given) if given else _questions(columns)
    if all(map(is_typed, roles)):
        found = _file_columns({name: values for name, values in columns.items() if name not in roles.values()})
        roles |= found
        if not found and not given:
            raise _undecided(" or ".join(one.name for one in file_modalities()), columns, table)
    text = typed_modality()
    if text not in roles:
        files = [role for role in roles if not is_typed(role)]
        complete = "answer" in roles or len(files) > 1
        free = {name: values for name, values in columns.items() if name not in roles.values()}
        captions = _named(free, modality(text).columns) if complete else _text_column(free)
        if captions is not None:
            roles[text] = captions
        elif not given and not complete:
            raise _undecided("caption", columns, table)
    return roles


def _questions(columns: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """The columns of questions and answers, if both are there."""
    found = {name: column for name in FIELDS if (column := _named(columns, (name,)))}
    return found if len(found) == len(FIELDS) else {}


def _file_columns(columns: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Columns whose values are, or name, files of a modality; where none holds any, one that is called so."""
    found = {one.name: column for one in file_modalities() if (column := _holding(columns, one)) is not None}
    if found:
        return found
    for one in file_modalities():
        column = _named(columns, one.columns)
        if column is not None:
            return {one.name: column}
    return {}


def _holding(columns: Mapping[str, Sequence[Any]], one: Modality) -> str | None:
    """The column most of whose values are items of a modality; of several the one that is called so."""

    def holds(values: Sequence[Any]) -> bool:
        known = [value for value in values[:_GLANCE] if value not in (None, "")]
        return sum(one.holds(_unwrap(value)) for value in known) * 2 > len(known)

    holding = [name for name, values in columns.items() if holds(values)]
    return holding[0] if len(holding) == 1 else _named(holding, one.columns)


def as_text(value: Any) -> str:
    """A value of another column, to be shown: texts as they are, nothing as nothing, the rest as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def names_file(value: Any, roles: Iterable[str]) -> bool:
    """Whether a value is an item of one of the modalities, or a path that ends like one."""
    value = _unwrap(value)
    return isinstance(value, bytes) or any(modality(role).holds(value) for role in roles)


def _unwrap(value: Any) -> Any:
    """Hugging Face writes files as ``{"bytes": ..., "path": ...}``; either may be missing."""
    if isinstance(value, Mapping) and {"bytes", "path"} >= set(value):
        return value.get("bytes") or value.get("path")
    return value


def _text_column(columns: Mapping[str, Sequence[Any]]) -> str | None:
    """By name, otherwise the only column of texts, otherwise the only one whose texts have several words."""
    named = _named(columns, modality(typed_modality()).columns)
    if named is not None:
        return named
    words = {name: _mean_words(values) for name, values in columns.items()}
    for least in (0.0, 2.0):
        texts = [name for name, mean in words.items() if mean > least]
        if len(texts) == 1:
            return texts[0]
    return None


def _mean_words(values: Sequence[Any]) -> float:
    texts = [value for value in values[:_GLANCE] if isinstance(value, str) and value]
    return sum(len(text.split()) for text in texts) / len(texts) if texts else 0.0


def _named(columns: Sequence[str] | Mapping[str, Any], wanted: Sequence[str]) -> str | None:
    by_name = {name.strip().casefold().replace(" ", "_"): name for name in reversed(list(columns))}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _undecided(what: str, columns: Mapping[str, Any], table: str) -> UserError:
    found = ", ".join(repr(name) for name in columns)
    typed = ",".join(f"{name}=COLUMN" for name in names())
    return UserError(
        f"cannot decide which column of {table} holds the {what} (columns found: {found}); name them with "
        f"--columns, as far as there are any: {typed}; or the separator with --separator if they are split wrongly"
    )

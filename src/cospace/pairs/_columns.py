"""From a table's columns to rows: which column is the picture, which the caption, and what a path is relative to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import unknown
from ..types import WORDS, Problem, UserError
from . import PICTURES, Rows

_IMAGE_NAMES = (
    "image", "images", "img", "picture", "photo", "image_path", "img_path", "filepath", "file_path", "path",
    "image_file", "file_name", "filename", "file", "image_url", "url", "jpg", "png",
)  # fmt: skip
_TEXT_NAMES = (
    "text", "caption", "captions", "title", "description", "sentence", "alt_text", "alt", "txt", "label", "name",
)  # fmt: skip
_GLANCE = 200
"""Rows that are looked at to tell what a column holds."""


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
            modality: self.columns[column] if modality in WORDS else self._files(self.columns[column])
            for modality, column in roles.items()
        }
        used = set(roles.values())
        extras = {c: [as_text(v) for v in values] for c, values in self.columns.items() if c and c not in used}
        return Rows(self.ids, items, extras, self.problems)

    def _files(self, values: Sequence[Any]) -> list[Any]:
        """Paths resolved, one object per distinct text; bytes as they are, also in Hugging Face's struct."""
        values = [_unwrap(value) for value in values]
        paths = {value: self.folder / value for value in {v for v in values if isinstance(v, str) and v}}
        return [paths.get(value) if isinstance(value, str) else value for value in values]


def choose(columns: Mapping[str, Sequence[Any]], given: Mapping[str, str], table: str) -> dict[str, str]:
    """Which column holds which modality: as given, otherwise by what the columns hold and how they are called.

    Columns called ``question`` and ``answer`` are that, and where both are there the caption may be absent. Any further
    modality must be given. Where at least one is given, the others may be absent.
    Raises :class:`UserError` that lists the columns and says what to type.
    """
    for column in given.values():
        if column not in columns:
            raise UserError(unknown(column, columns, f"{table} has no column"))
    roles = dict(given)
    if not given:
        roles = _questions(columns)
    free = {name: values for name, values in columns.items() if name not in roles.values()}
    asks = "answer" in roles
    if "image" not in roles and set(roles) <= WORDS:
        image = _image_column(free)
        if image is not None:
            roles["image"] = image
            del free[image]
        elif not given:
            raise _cannot_tell("picture", columns, table)
    if "text" not in roles:
        text = _named(free, _TEXT_NAMES) if asks else _text_column(free)
        if text is not None:
            roles["text"] = text
        elif not given and not asks:
            raise _cannot_tell("caption", columns, table)
    return roles


def _questions(columns: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """The columns of questions and answers, if both are there."""
    found = {name: column for name in ("question", "answer") if (column := _named(columns, (name,)))}
    return found if len(found) == 2 else {}


def as_text(value: Any) -> str:
    """A value of another column, to be shown: texts as they are, nothing as nothing, the rest as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def names_picture(value: Any) -> bool:
    """Whether a value is a picture, or a path that ends like one."""
    value = _unwrap(value)
    return isinstance(value, bytes) or (isinstance(value, str) and Path(value).suffix.lower() in PICTURES)


def _unwrap(value: Any) -> Any:
    """Hugging Face writes pictures as ``{"bytes": ..., "path": ...}``; either may be missing."""
    if isinstance(value, Mapping) and {"bytes", "path"} >= set(value):
        return value.get("bytes") or value.get("path")
    return value


def _image_column(columns: Mapping[str, Sequence[Any]]) -> str | None:
    def holds_pictures(values: Sequence[Any]) -> bool:
        known = [value for value in values[:_GLANCE] if value not in (None, "")]
        return sum(map(names_picture, known)) * 2 > len(known)

    holding = [name for name, values in columns.items() if holds_pictures(values)]
    return holding[0] if len(holding) == 1 else _named(holding or columns, _IMAGE_NAMES)


def _text_column(columns: Mapping[str, Sequence[Any]]) -> str | None:
    """By name, otherwise the only column of texts, otherwise the only one whose texts have several words."""
    named = _named(columns, _TEXT_NAMES)
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


def _cannot_tell(what: str, columns: Mapping[str, Any], table: str) -> UserError:
    found = ", ".join(repr(name) for name in columns)
    return UserError(
        f"cannot tell which column of {table} holds the {what} (columns found: {found}); name them with "
        "--columns image=COLUMN,text=COLUMN, or the separator with --separator if they are split wrongly"
    )

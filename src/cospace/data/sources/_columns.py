"""From a table's columns to rows: which column holds which modality, and what a path is relative to."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...columns import column_of, mapped, taken
from ...config import unknown
from ...modalities import FIELDS, Modality, is_text, modality, names, text_modality
from ...types import Problem, UserError
from . import AS_FOUND, WEIGHT, WEIGHT_ROLE, ReadOptions, Rows, file_modalities
from ._below import Below
from ._identity import file_name, identify
from ._paths import Locator, without_number
from ._values import as_text, unwrap

_GLANCE = 200
"""Rows that are read to decide what a column holds."""
_LONGEST_OBJECT = 1 << 24
"""Bytes of a JSON object beside an item; more is no caption."""
_MOST_SEARCHED = 100_000
"""Files that are not where a table says."""
_NUMBER = re.compile(r"[\s\d.,:/+-]*")
"""A number, a date, a time."""
_LONGEST_LIST = 100_000
"""Characters of a list of captions that is written as text."""


@dataclass(slots=True)
class Table:
    """Columns of equal length, as a file held them, before anyone knows what they mean."""

    name: str
    """Of the file, for messages."""
    folder: Path
    """What relative paths are relative to."""
    places: Sequence[str]
    """Of the rows: the file and the line."""
    columns: Mapping[str, Sequence[Any]]
    options: ReadOptions = AS_FOUND
    """Which columns are named, and what paths are relative to."""
    problems: list[Problem] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    """Paths of another machine whose files were found here."""
    called: list[Path] = field(default_factory=list)
    """Files that were found by their ids alone, in whatever folder."""
    searched: list[Path] = field(default_factory=list)
    """What is not where the table says."""
    below: Below = field(init=False)

    def __post_init__(self) -> None:
        self.below = Below(self.options.root if self.options.root is not None else self.folder)

    def rows(self) -> Rows:
        """The rows, by modality; a column that is none becomes an extra, a row with several captions several rows."""
        roles, columns = self._roles()
        self.elsewhere, self.called, self.searched = [], [], []
        items = {
            role: mapped(text_value, columns[column]) if is_text(role) else self._files(columns[column], role)
            for role, column in roles.items()
        }
        used = set(roles.values()) | (self.columns.keys() - columns.keys())
        weight = self.options.weight
        used.discard(weight or "")
        extras = {c: mapped(as_text, values) for c, values in self.columns.items() if c and c not in used}
        asked = text_modality() in roles and set(FIELDS) <= roles.keys()
        partial = asked or len(roles.keys() - set(FIELDS)) > 2
        alone = not self.options.pairs and roles.keys() - {text_modality(), *FIELDS}
        weights = {} if weight is None else {WEIGHT: extras[weight]}
        rows = Rows(self.places, items, extras | weights, self.problems, least=2 if partial else 1 if alone else None)
        rows.names = {role: mapped(_name_of, columns[column]) for role, column in roles.items() if not is_text(role)}
        filters = f"; filters: {', '.join(_some(list(map(str, extras))))}" if extras else ""
        said = ", ".join(f"{role} = {column}" for role, column in {**roles, **_role(weight)}.items())
        rows.understood = said + filters + self._found_otherwise()
        rows.watched = [*self.below.folders, *self.searched] if len(self.searched) < _MOST_SEARCHED else None
        _one_caption_each(rows)
        identify(rows)
        return rows

    def _found_otherwise(self) -> str:
        """Which files were not where the table says, for people."""
        parts = []
        if self.elsewhere:
            parts.append(f"{len(self.elsewhere):,} paths of another machine, found here by their ends")
        if self.called:
            folders = dict.fromkeys(path.parent.relative_to(self.below.folder).as_posix() for path in self.called)
            where = ", ".join(_some(sorted(f"{name}/" for name in folders), 3))
            parts.append(f"{len(self.called):,} files found by their ids in {where}")
        return "".join(f"; {part}" for part in parts)

    def file_columns(self) -> dict[str, str]:
        """Which columns hold files, by modality."""
        return {role: column for role, column in self._roles()[0].items() if not is_text(role)}

    def found_files(self) -> bool:
        """Whether most of the first rows name files that are there."""
        try:
            roles, columns = self._roles()
        except UserError:
            return False
        named = [
            value for role, c in roles.items() if not is_text(role) for value in self._files(columns[c][:_GLANCE], role)
        ]
        there = sum(isinstance(value, bytes) or (isinstance(value, Path) and value.is_file()) for value in named)
        return there * 2 > len(named)

    def _roles(self) -> tuple[dict[str, str], Mapping[str, Sequence[Any]]]:
        """Which column holds which modality, and the columns, where several of captions are one of lists."""
        text, given = text_modality(), self.options.columns_of()
        several = next((role for role, names in given.items() if len(names) > 1 and role != text), None)
        if several is not None:
            raise UserError(f"{several} can be one column only; several are given: {', '.join(given[several])}")
        captions = given.get(text, []) if given else _numbered(self.columns)
        weight = self.options.weight
        if weight is not None and weight not in self.columns:
            raise UserError(unknown(weight, self.columns, f"{self.name} has no column"))
        columns: Mapping[str, Sequence[Any]] = self.columns
        if len(captions) > 1:
            columns, given[text] = self._joined(captions)
        columns = {name: values for name, values in columns.items() if name != weight or [name] in given.values()}
        first = {role: names[0] for role, names in given.items()}
        return choose(columns, first, self.name, self.options.pairs, self.below), columns

    def _joined(self, several: Sequence[str]) -> tuple[dict[str, Sequence[Any]], list[str]]:
        """The columns with some of them as one, of lists of what each row has; and what that one is called."""
        for name in several:
            if name not in self.columns:
                raise UserError(unknown(name, self.columns, f"{self.name} has no column"))
        rows = zip(*(self.columns[name] for name in several), strict=True)
        joined = {" + ".join(several): column_of(list(filter(_is_given, values)) for values in rows)}
        return {name: v for name, v in self.columns.items() if name not in several} | joined, list(joined)

    def _files(self, values: Sequence[Any], modality: str) -> Sequence[Any]:
        """Paths resolved, one object per distinct text of a short column; bytes as they are, also in wrappers."""
        values = mapped(_file_value, values)
        texts = (v for v in values if isinstance(v, str) and v.strip())
        locator = Locator(self.below, modality, texts, fixed=self.options.root is not None)
        found = column_of(locator.find(value) if isinstance(value, str) else value for value in values)
        self.searched += locator.searched
        self.elsewhere += locator.elsewhere
        self.called += locator.called
        return found


def _role(weight: str | None) -> dict[str, str]:
    return {} if weight is None else {WEIGHT_ROLE: weight}


def _file_value(value: Any) -> Any:
    """A value of a column of files, taken out of its wrappers; ids may be numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else unwrap(value)


def _one_caption_each(rows: Rows) -> None:
    """A row with a list of captions as a row for each of them, called ``NAME#1``, ``NAME#2``, ..."""
    captions: Sequence[Any] = rows.items.get(text_modality(), [])
    if not any(isinstance(value, list) for value in captions):
        return
    rows.ids = column_of(
        f"{name}#{number}" if isinstance(value, list) else name
        for name, value in zip(rows.ids, captions, strict=True)
        for number, _ in enumerate(_several(value), start=1)
    )
    texts = column_of(text for value in captions for text in _several(value))
    order_N = np.repeat(
        np.arange(len(captions)), np.fromiter((len(_several(v)) for v in captions), np.int64, len(captions))
    )
    rows.items = {
        name: texts if name == text_modality() else taken(values, order_N) for name, values in rows.items.items()
    }
    rows.names = {name: taken(values, order_N) for name, values in rows.names.items()}
    rows.extras = {name: taken(values, order_N) for name, values in rows.extras.items()}


def _several(value: Any) -> Sequence[Any]:
    """The captions of a value, at least one: an empty list is a row without a caption."""
    return (value or [None]) if isinstance(value, list) else [value]


_NUMBERED = re.compile(r"(caption|text|sentence|description|title|comment)s?[ _.-]?\d+", re.IGNORECASE)


def _numbered(columns: Mapping[str, Any]) -> list[str]:
    """Columns such as ``caption_1`` to ``caption_5``; nothing where there is one only."""
    found = [name for name in columns if _NUMBERED.fullmatch(name.strip())]
    kinds = {re.sub(r"\d+", "", name) for name in found}
    return found if len(found) > 1 and len(kinds) == 1 else []


def _is_given(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and not value.strip())


def text_value(value: Any) -> Any:
    """A value of a column of texts: captions as they are, also several; numbers as they are written."""
    if isinstance(value, bool | int | float) and value == value:
        return json.dumps(value)
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        return _listed(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_caption_of(one) for one in value]
    return value


def _listed(value: str) -> Any:
    """The captions in a list that was written as text, by JSON or by Python; other texts stay what they are."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value) if len(value) < _LONGEST_LIST else None
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
            return found
    return value


def _caption_of(value: Any) -> Any:
    """A caption of a list: a text, or an object with one, as COCO has it."""
    found = caption_values(value) if isinstance(value, Mapping) else None
    return found[0] if found else value


def caption_values(value: Mapping[str, Any]) -> list[str]:
    """The captions in a JSON object: under ``caption``, else under what tables call such a column."""
    for key in ("caption", *modality(text_modality()).columns):
        found = value.get(key)
        if isinstance(found, str):
            return [found]
        if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
            return found
    return []


def captions_in_json(data: bytes) -> list[str]:
    """The captions in a JSON object that lies beside an item; none when it is something else."""
    try:
        value = json.loads(data) if len(data) <= _LONGEST_OBJECT else None
    except (ValueError, RecursionError):
        return []
    return caption_values(value) if isinstance(value, dict) else []


def choose(
    columns: Mapping[str, Sequence[Any]],
    given: Mapping[str, str],
    table: str,
    pairs: bool = True,
    below: Below | None = None,
) -> dict[str, str]:
    """Which column holds which modality: as given, otherwise by what the columns hold and how they are called.

    A column that holds no files may hold ids of files that lie ``below`` the table's folder.

    Columns called ``question`` and ``answer`` are that, and where both are there the caption may be absent; so it may
    where files of two modalities are paired, or where no pairs are asked for. Where at least one role is given, the
    others may be absent.
    Raises :class:`UserError` that lists the columns and says what to type.
    """
    for role, column in given.items():
        if role not in (*names(), *FIELDS):
            raise UserError(unknown(role, (*names(), *FIELDS), "there is no modality"))
        if column not in columns:
            raise UserError(unknown(column, columns, f"{table} has no column"))
    roles = dict(given) if given else _questions(columns)
    if all(map(is_text, roles)):
        others = {name: values for name, values in columns.items() if name not in roles.values()}
        found = _file_columns(others, below)
        roles |= found
        if not found and not given:
            _refuse_several(others, table)
            raise _undecided(" or ".join(one.name for one in file_modalities()), columns, table)
    text = text_modality()
    if text not in roles:
        files = [role for role in roles if not is_text(role)]
        complete = "answer" in roles or len(files) > 1
        free = {name: values for name, values in columns.items() if name not in roles.values()}
        captions = _named(free, modality(text).columns) if complete else _text_column(free, pairs)
        if captions is not None:
            roles[text] = captions
        elif pairs and not given and not complete:
            raise _undecided("caption", columns, table)
    return roles


def _questions(columns: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """The columns of questions and answers, if both are there."""
    found = {name: column for name in FIELDS if (column := _named(columns, (name,)))}
    return found if len(found) == len(FIELDS) else {}


def _file_columns(columns: Mapping[str, Sequence[Any]], below: Below | None) -> dict[str, str]:
    """Columns whose values are, or name, files of a modality; else one of their ids; else one that is called so."""
    found = {one.name: column for one in file_modalities() if (column := _holding(columns, one)) is not None}
    if found:
        return found
    for one in file_modalities():
        ids = [name for name, values in columns.items() if below and below.are_ids(name, values[:_GLANCE], one.name)]
        if ids:
            return {one.name: _named(ids, (*one.columns, "id")) or ids[0]}
    for one in file_modalities():
        column = _named(columns, one.columns)
        if column is not None:
            return {one.name: column}
    return {}


def _refuse_several(columns: Mapping[str, Sequence[Any]], table: str) -> None:
    """Raise :class:`UserError` where several columns hold files of one modality, and none is called for it."""
    for one in file_modalities():
        holding = [name for name, values in columns.items() if _holds(values, one)]
        if len(holding) > 1:
            listed = ", ".join(map(repr, _some(holding)))
            example = f"--columns {one.name}={holding[0]}"
            raise UserError(
                f"{table} has several columns of {one.plural} ({listed}); say which one is meant: {example}"
            )


def _holds(values: Sequence[Any], one: Modality) -> bool:
    """Whether most of the first values are items of a modality."""
    known = [value for value in values[:_GLANCE] if value not in (None, "")]
    return sum(one.holds(_plain(value)) for value in known) * 2 > len(known)


def _holding(columns: Mapping[str, Sequence[Any]], one: Modality) -> str | None:
    """The column most of whose values are items of a modality; of several the one that is called so."""
    holding = [name for name, values in columns.items() if _holds(values, one)]
    return holding[0] if len(holding) == 1 else _named(holding, one.columns)


def names_file(value: Any, roles: Iterable[str]) -> bool:
    """Whether a value is an item of one of the modalities, or a path that ends like one."""
    value = unwrap(value)
    return isinstance(value, bytes) or any(modality(role).holds(value) for role in roles)


def _plain(value: Any) -> Any:
    """A value of a column of files as its file alone."""
    value = unwrap(value)
    return without_number(value) if isinstance(value, str) else value


def _text_column(columns: Mapping[str, Sequence[Any]], pairs: bool) -> str | None:
    """By name, otherwise the only column of texts, otherwise the only one whose texts have several words.

    Where no pairs are asked for, a column of single words is no caption: it says a place or a photographer.
    """
    named = _named(columns, modality(text_modality()).columns)
    if named is not None:
        return named
    words = {name: _mean_words(values) for name, values in columns.items()}
    for least in (0.0, 2.0) if pairs else (2.0,):
        texts = [name for name, mean in words.items() if mean > least]
        if len(texts) == 1:
            return texts[0]
    return None


def _mean_words(values: Sequence[Any]) -> float:
    """Words of a text on average; none where all texts are numbers, for these describe nothing."""
    texts = [value for value in values[:_GLANCE] if isinstance(value, str) and value]
    if all(map(_NUMBER.fullmatch, texts)):
        return 0.0
    return sum(len(text.split()) for text in texts) / len(texts)


def _named(columns: Sequence[str] | Mapping[str, Any], wanted: Sequence[str]) -> str | None:
    by_name = {name.strip().casefold().replace(" ", "_"): name for name in reversed(list(columns))}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _name_of(value: Any) -> str:
    """What a value of a column of files is called; a file that is written out in a text has no name."""
    plain = unwrap(value)
    if isinstance(value, str):
        return "" if isinstance(plain, bytes) else file_name(value)
    return file_name(plain if isinstance(plain, str) else value)


def _some(names_: Sequence[str], most: int = 50) -> Sequence[str]:
    """Names for a sentence, which a table of very many columns would make too long."""
    return names_ if len(names_) <= most else [*names_[:most], f"{len(names_) - most:,} more"]


def _undecided(what: str, columns: Mapping[str, Any], table: str) -> UserError:
    found = ", ".join(_some(list(map(repr, columns))))
    typed = ",".join(f"{name}=COLUMN" for name in names())
    return UserError(
        f"cannot decide which column of {table} holds the {what} (columns found: {found}); name them with "
        f"--columns, as far as there are any: {typed}; or the separator with --separator if they are split wrongly"
    )

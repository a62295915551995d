"""Tables: csv, tsv, jsonl and parquet files, a pair per row. Relative paths are relative to the table's own folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from ...config import Config as BaseConfig
from ...modalities import is_typed
from ...types import Problem, UserError
from . import Rows
from ._columns import Table, choose, names_file
from ._delimited import SEPARATORS, Record, records
from ._parquet import read_parquet

_NAMED_SEPARATORS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
_SAMPLE = 50
"""Records that are read to decide which separator a file uses."""


class Config(BaseConfig):
    """A table file; columns and separator are sniffed unless named."""

    offers: ClassVar[str] = "a .csv, .tsv, .jsonl or .parquet table"

    path: Path
    columns: dict[str, str] = Field(default_factory=dict)
    separator: str | None = None

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """By suffix, whether or not the file exists: a mistyped name is best called missing."""
        return Path(spec).suffix.lower() in _READERS and not Path(spec).is_dir()

    @classmethod
    def from_spec(cls, spec: str, columns: Mapping[str, str] | None = None, separator: str | None = None) -> Config:
        if separator is not None:
            separator = _NAMED_SEPARATORS.get(separator, separator)
            if len(separator) != 1 or separator in '"\r\n':
                raise UserError(f"{separator!r} is no separator; give one character, or tab, comma, semicolon, pipe")
        return cls(path=Path(spec), columns=dict(columns or {}), separator=separator)

    def read(self) -> Rows:
        """List the rows; records that cannot be read become problems with their line. Raises :class:`UserError`."""
        try:
            return _READERS[self.path.suffix.lower()](self).rows()
        except FileNotFoundError as error:
            raise UserError(f"{self.path} does not exist; check the name of the table") from error
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error}") from error


def _read_delimited(config: Config) -> Table:
    text = _text(config.path)
    separator = config.separator or _sniff_separator(text, config)
    sample = list(_first(text, separator))
    if not sample:
        raise UserError(f"{config.path} is empty; a table begins with a line of column names")
    header = _header(sample[0], config.path)
    whole = [record.fields for record in sample[1:] if len(record.fields) == len(header)]
    columns = {name: [fields[i] for fields in whole] for i, name in enumerate(header)}
    roles = choose(columns, config.columns, config.path.name)
    swallowed = _swallowed({role: header.index(column) for role, column in roles.items() if not is_typed(role)}, header)
    table = Table(config.path.name, config.path.parent, [], {name: [] for name in header}, roles)
    for record in list(records(text, separator, swallowed))[1:]:
        _add(table, record)
    return table


def _add(table: Table, record: Record) -> None:
    name = f"{table.name}:{record.line}"
    if record.fault:
        table.problems.append(Problem(name, "unbalanced quote", f"line {record.line}: {record.fault}"))
    elif len(record.fields) != len(table.columns):
        reason = f"line {record.line} has {len(record.fields)} fields where the header has {len(table.columns)}"
        advice = "put quotes around a field that holds the separator"
        table.problems.append(Problem(name, "wrong number of fields", f"{reason}; {advice}"))
    else:
        table.ids.append(name)
        for column, value in zip(table.columns.values(), record.fields, strict=True):
            column.append(value)


def _swallowed(files: Mapping[str, int], header: Sequence[str]) -> Callable[[list[str]], bool]:
    """Whether fields make a record: as many as there are columns, and a file's name where one belongs."""
    return lambda fields: (
        len(fields) == len(header) and any(names_file(fields[i].strip('"'), [role]) for role, i in files.items())
    )


def _header(record: Record, path: Path) -> list[str]:
    if record.fault:
        raise UserError(f"{path}, line {record.line}, which should name the columns: {record.fault}")
    twice = sorted({name for name in record.fields if record.fields.count(name) > 1})
    if twice:
        raise UserError(f"{path} has more than one column called {twice[0]!r}; rename all but one of them")
    return record.fields


def _first(text: str, separator: str) -> list[Record]:
    sample = []
    for record in records(text, separator):
        sample.append(record)
        if len(sample) > _SAMPLE:
            break
    return sample


def _sniff_separator(text: str, config: Config) -> str:
    """The candidate that splits the most records into as many fields as the header has, and into the most fields.

    A file that no candidate splits has one column. With columns given, only candidates that show them count.
    """
    wanted = set(config.columns.values())
    scores = {}
    for rank, separator in enumerate(SEPARATORS):
        first = _first(text, separator)
        header = first[0].fields if first else []
        if len(header) < 2 or not wanted <= set(header):
            continue
        agreeing = sum(len(record.fields) == len(header) for record in first) / len(first)
        scores[separator] = (round(agreeing, 1), separator == "\t" and config.path.suffix == ".tsv", len(header), -rank)
    return max(scores, key=lambda separator: scores[separator], default=",")


def _text(path: Path) -> str:
    """The file's text; bytes that are not UTF-8 become lone surrogates, so that only their own row is set aside."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path} is UTF-16; save it as UTF-8 and try again")
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def _read_jsonl(config: Config) -> Table:
    objects: list[dict[str, Any]] = []
    table = Table(config.path.name, config.path.parent, [], {}, config.columns)
    for number, line in enumerate(_text(config.path).split("\n"), start=1):
        if not line.strip():
            continue
        name = f"{table.name}:{number}"
        try:
            value = json.loads(line)
        except ValueError as error:
            table.problems.append(Problem(name, "invalid json", f"line {number} is not valid JSON: {error}"))
            continue
        if not isinstance(value, dict):
            table.problems.append(Problem(name, "invalid json", f"line {number} is not a JSON object"))
            continue
        table.ids.append(name)
        objects.append(value)
    if not objects:
        first = f" ({table.problems[0].reason})" if table.problems else ""
        raise UserError(f"{config.path} holds no JSON object{first}; write one object on each line")
    names = dict.fromkeys(key for item in objects for key in item)
    table.columns = {name: [item.get(name) for item in objects] for name in names}
    return table


def _read_parquet(config: Config) -> Table:
    columns = read_parquet([config.path])
    count = len(next(iter(columns.values()), []))
    ids = [f"{config.path.name}:{row}" for row in range(1, count + 1)]
    return Table(config.path.name, config.path.parent, ids, columns, config.columns)


_READERS: dict[str, Callable[[Config], Table]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}

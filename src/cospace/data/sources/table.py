"""Tables: csv, tsv, jsonl and parquet files, a pair per row. Relative paths are relative to the table's own folder.

Those of text may be packed (``.csv.gz``, also bzip2, xz and Zstandard).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from ...columns import ColumnWriter, column_of
from ...config import Config as BaseConfig
from ...reading import lines, opened, parse_json
from ...types import Problem, UserError
from . import AS_FOUND, ReadOptions, Rows, modality_of_file
from ._columns import Table, names_file
from ._delimited import SEPARATORS, Record, records
from ._packed import unpacked_suffix
from ._parquet import read_parquet
from ._paths import without_number
from ._text_files import TextFile
from .vqa import holds_questions

_NAMED_SEPARATORS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
_EXAMPLE = '{"image": "a.jpg", "caption": "a red bus"}'
_STATED = re.compile(r"sep=(.)\r?(?=\n)")
_SAMPLE = 50
"""Records that are read to decide which separator a file uses."""


class Config(BaseConfig):
    """A table file; columns and separator are sniffed unless named."""

    offers: ClassVar[str] = "a table (.csv, .tsv, .jsonl, .ndjson, .json, also .gz; .parquet)"

    path: Path
    options: ReadOptions = AS_FOUND

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """By suffix, whether or not the file exists: a mistyped name is best called missing."""
        path = Path(spec)
        if path.is_dir():
            return False
        return unpacked_suffix(path) in _READERS or is_text_table(path) or (is_json(path) and not holds_questions(path))

    @classmethod
    def from_spec(cls, spec: str, options: ReadOptions = AS_FOUND) -> Config:
        separator = options.separator
        if separator is not None:
            separator = _NAMED_SEPARATORS.get(separator, separator)
            if len(separator) != 1 or separator in '"\r\n':
                raise UserError(f"{separator!r} is no separator; give one character, or tab, comma, semicolon, pipe")
        return cls(path=Path(spec), options=replace(options, separator=separator))

    def read(self) -> Rows:
        """List the rows; records that cannot be read become problems with their line."""
        rows = self.table().rows()
        rows.watched = None if rows.watched is None else [self.path, *rows.watched]
        return rows

    def table(self) -> Table:
        """The columns as the file holds them. Raises :class:`UserError` for a file that is no table."""
        read = _READERS.get(unpacked_suffix(self.path)) or (_read_json if is_json(self.path) else _read_delimited)
        try:
            return read(self)
        except FileNotFoundError as error:
            raise UserError(f"{self.path} does not exist; check the name of the table") from error
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error}") from error


def is_json(path: Path) -> bool:
    """Whether a file is called like one of JSON."""
    return unpacked_suffix(path) == ".json"


def is_text_table(path: Path) -> bool:
    """Whether a ``.txt`` file begins like a table that names files: Kaggle's Flickr8k has ``image,caption``."""
    if path.suffix.lower() != ".txt" or not path.is_file():
        return False
    with opened(path) as file:
        first = lines(file.read(4096).decode("utf-8", "replace"))[1:4]
    fields = [re.split("[,\t;|]", line, maxsplit=1) for line in first if line]
    return bool(fields) and all(
        len(one) == 2 and modality_of_file(one[0].strip('"').partition("#")[0]) for one in fields
    )


def _read_delimited(config: Config) -> Table:
    text = TextFile.at(config.path)
    stated = _STATED.match(text.beginning)  # by Excel, on a line before the columns' names
    text = replace(text, skipped=stated.end()) if stated else text
    beginning = text.beginning[text.skipped :]
    separator = config.options.separator or (stated[1] if stated else _sniff_separator(beginning, config))
    sample = _first(beginning, separator)
    if not sample:
        raise UserError(f"{config.path} is empty; a table begins with a line of column names")
    named = _has_header(sample[0]) if config.options.header is None else config.options.header
    header = _header(sample[0], config.path) if named else [str(i + 1) for i in range(len(sample[0].fields))]
    blanks = bool(sample[0].fields[1:]) and all(field[:1] == " " for field in sample[0].fields[1:])
    whole = [record.fields for record in sample[named:] if len(record.fields) == len(header)]
    columns = {name: [fields[i].strip() for fields in whole] for i, name in enumerate(header)}
    glance = Table(config.path.name, config.path.parent, [], columns, config.options)
    swallowed = _swallowed({role: header.index(name) for role, name in glance.file_columns().items()}, header)
    read = _Read(config, header)
    for record in islice(records(text.pieces(), separator, swallowed), int(named), None):
        read.add(record, blanks)
    return read.table()


class _Read:
    """The rows of a table as they are read."""

    def __init__(self, config: Config, header: Sequence[str]) -> None:
        self._config, self._places = config, ColumnWriter()
        self._columns = {name: ColumnWriter() for name in header}
        self._writers = list(self._columns.values())
        self._problems: list[Problem] = []

    def add(self, record: Record, blanks: bool) -> None:
        """A record as a row; with ``blanks`` each separator has one after it, which belongs to no field."""
        name = f"{self._config.path.name}:{record.line}"
        if record.fault:
            self._problems.append(Problem(name, "unbalanced quote", f"line {record.line}: {record.fault}"))
        elif len(record.fields) != len(self._writers):
            reason = f"line {record.line} has {len(record.fields)} fields where the header has {len(self._writers)}"
            advice = "put quotes around a field that holds the separator"
            self._problems.append(Problem(name, "wrong number of fields", f"{reason}; {advice}"))
        else:
            self._places.append(name)
            for column, value in zip(self._writers, record.fields, strict=True):
                column.append(value.removeprefix(" ") if blanks else value)

    def table(self) -> Table:
        """All that was read."""
        columns = {name: column.finish() for name, column in self._columns.items()}
        path = self._config.path
        return Table(path.name, path.parent, self._places.finish(), columns, self._config.options, self._problems)


def _has_header(first: Record) -> bool:
    """Whether a first line names columns: one that names a file is a row."""
    return not any(modality_of_file(field.partition("#")[0]) for field in first.fields)


def _swallowed(files: Mapping[str, int], header: Sequence[str]) -> Callable[[list[str]], bool]:
    """Whether fields make a record: as many as there are columns, and a file's name where one belongs."""
    return lambda fields: (
        len(fields) == len(header) and any(names_file(fields[i].strip('"'), [role]) for role, i in files.items())
    )


def _header(record: Record, path: Path) -> list[str]:
    if record.fault:
        raise UserError(f"{path}, line {record.line}, which should name the columns: {record.fault}")
    names = [name.strip() for name in record.fields]
    twice = sorted(name for name, count in Counter(names).items() if count > 1 and name)
    if twice:
        raise UserError(f"{path} has more than one column called {twice[0]!r}; rename all but one of them")
    nameless = [place for place, name in enumerate(names) if not name]
    return [f"Unnamed: {place}" if place in nameless[1:] else name for place, name in enumerate(names)]


def _first(text: str, separator: str) -> list[Record]:
    sample = []
    for record in records(text, separator):
        sample.append(record)
        if len(sample) > _SAMPLE:
            break
    return sample


def _sniff_separator(text: str, config: Config) -> str:
    """The candidate that splits the most records into as many fields as the header has; then one that shows files.

    Of several it is the one that splits into the most fields.

    A file that no candidate splits has one column. With columns given, only candidates that show them count.
    """
    named = {} if config.options.header is False else config.options.columns_of()
    wanted = {name for names in named.values() for name in names}
    scores = {}
    for rank, separator in enumerate(SEPARATORS):
        first = _first(text, separator)
        header = first[0].fields if first else []
        if len(header) < 2 or not wanted <= set(map(str.strip, header)):
            continue
        agreeing = sum(len(record.fields) == len(header) for record in first) / len(first)
        tabs = separator == "\t" and unpacked_suffix(config.path) == ".tsv"
        scores[separator] = (round(agreeing, 1), tabs, _has_files(first[1:]), len(header), -rank)
    return max(scores, key=lambda separator: scores[separator], default=",")


def _has_files(records: Sequence[Record]) -> bool:
    """Whether some column of the records is the name of a file in each of them."""
    columns = zip(*(record.fields for record in records), strict=False)
    return any(all(modality_of_file(without_number(field.strip())) for field in fields) for fields in columns)


def _read_jsonl(config: Config) -> Table:
    return _of_lines(config, TextFile.at(config.path))


def _of_lines(config: Config, text: TextFile) -> Table:
    if text.beginning.lstrip()[:1] == "[" and _are_objects(value := _parsed(text.text)):
        return _of_json(config, value)  # a list, whatever the file is called
    objects, places, problems = _Objects(config.path), ColumnWriter(), list[Problem]()
    for number, line in enumerate(text.lines(), start=1):
        if not line.strip():
            continue
        name = f"{config.path.name}:{number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(name, "invalid json", f"line {number} is not valid JSON: {error}"))
            continue
        if not isinstance(value, dict):
            problems.append(Problem(name, "invalid json", f"line {number} is not a JSON object"))
            continue
        places.append(name)
        objects.add(value)
    if not objects.count:
        first = f" ({problems[0].reason})" if problems else ""
        raise UserError(f"{config.path} holds no JSON object{first}; write one object on each line")
    path = config.path
    return Table(path.name, path.parent, places.finish(), objects.columns(), config.options, problems)


_MOST_CELLS = 20_000_000
"""Cells of a table of objects that most of them leave empty."""


class _Objects:
    """JSON objects as the columns of a table; a column is empty where an object lacks its key."""

    def __init__(self, path: Path) -> None:
        self._path, self.count, self._values = path, 0, 0
        self._columns: dict[str, ColumnWriter] = {}

    def add(self, value: Mapping[str, Any]) -> None:
        """A row. Raises :class:`UserError` where objects have hardly any key in common."""
        for name in value.keys() - self._columns.keys():
            self._columns[name] = ColumnWriter()
            for _ in range(self.count):
                self._columns[name].append(None)
        for name, column in self._columns.items():
            column.append(value.get(name))
        self.count, self._values = self.count + 1, self._values + len(value)
        if len(self._columns) * self.count > _MOST_CELLS + 20 * self._values:
            raise UserError(
                f"{self._path} has {len(self._columns):,} different keys in its first {self.count:,} objects, so they "
                f"name no columns; give each row the same keys, such as {_EXAMPLE}"
            )

    def columns(self) -> dict[str, Sequence[Any]]:
        """Each key with the values of all objects."""
        return {name: column.finish() for name, column in self._columns.items()}


def _columns(objects: Iterable[Mapping[str, Any]], path: Path) -> dict[str, Sequence[Any]]:
    rows = _Objects(path)
    for one in objects:
        rows.add(one)
    return rows.columns()


def _parsed(text: str) -> Any:
    """JSON, or nothing where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _read_json(config: Config) -> Table:
    text = TextFile.at(config.path)
    first, _, rest = text.beginning.lstrip().partition("\n")
    if first.rstrip().endswith("}") and rest.lstrip()[:1] == "{":  # an object on each line, whatever the file is called
        return _of_lines(config, text)
    return _of_json(config, parse_json(text.text, config.path))


def _of_json(config: Config, value: Any) -> Table:
    """A list of objects, captions by file name, columns as pandas writes them, or COCO's."""
    if isinstance(value, dict) and isinstance(value.get("annotations"), list) and isinstance(value.get("images"), list):
        value = _cocos(config, value)
    elif isinstance(value, dict) and value and all(modality_of_file(name) is not None for name in value):
        modality = modality_of_file(next(iter(value)))
        value = [{modality: name, "caption": caption} for name, caption in value.items()]
    elif isinstance(value, dict):
        value = next((rows for rows in value.values() if _are_objects(rows)), None) or _transposed(value)
    if not _are_objects(value):
        raise UserError(f"{config.path} holds no rows: it should be a list of objects such as {_EXAMPLE}")
    ids = [f"{config.path.name}:{number}" for number in range(1, len(value) + 1)]
    return Table(config.path.name, config.path.parent, ids, _columns(value, config.path), config.options)


def _cocos(config: Config, value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """COCO's: ``images`` with names, ``annotations`` with captions; its boxes are no captions."""
    named = {one.get("id"): one for one in value["images"] if isinstance(one, dict)}
    notes = [one for one in value["annotations"] if isinstance(one, dict)]
    if notes and not any("caption" in note for note in notes):
        if config.options.pairs:
            raise UserError(
                f"{config.path} holds annotations without captions, such as boxes; COCO's captions are in "
                "captions_*.json"
            )
        return [{"file_name": one.get("file_name")} for one in named.values()]
    return [
        {"file_name": named.get(n.get("image_id"), {}).get("file_name"), "caption": n.get("caption")} for n in notes
    ]


def _transposed(value: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Rows of columns: ``{"image": [...], "caption": [...]}``, or ``{"image": {"0": ...}, ...}`` as pandas writes."""
    columns = {name: list(one.values()) if isinstance(one, dict) else one for name, one in value.items()}
    if not all(isinstance(one, list) for one in columns.values()) or len(set(map(len, columns.values()))) != 1:
        return None
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _read_parquet(config: Config) -> Table:
    if config.path.suffix.lower() != ".parquet":
        raise UserError(f"{config.path} is packed, and parquet is read as it is; unpack it and name what comes out")
    columns = read_parquet([config.path])
    count = len(next(iter(columns.values()), []))
    ids = column_of(f"{config.path.name}:{row}" for row in range(1, count + 1))
    return Table(config.path.name, config.path.parent, ids, columns, config.options)


_READERS: dict[str, Callable[[Config], Table]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}

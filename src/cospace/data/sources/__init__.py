"""Where pairs come from. One source per file; each turns what a person has into rows.

The contract of a source is a ``Config`` with ``accepts(spec)`` (does this text name something of mine?),
``from_spec`` and ``read() -> Rows``. Sources decode nothing: they list. Whoever decodes items later sets bad ones aside
through :meth:`cospace.data.pairs.Pairs.without`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal, Protocol

from ...columns import ColumnWriter
from ...filenames import suffix_of
from ...modalities import Modality, all_modalities
from ...types import LeftAlone, Problem, UserError

Form = Literal["files", "table", "shards"]
"""What a folder may be read as, where it holds several of them."""


WEIGHT_ROLE, WEIGHT = "weight", "@weight"
"""What the column of weights is named by, in place of a modality, and the extra that holds them."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How an input is read, the same for every command. What is not given is found out."""

    columns: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """Modalities to columns of a table; several columns of texts are several captions of a row."""
    separator: str | None = None
    """Between the fields of a text table: one character, or tab, comma, semicolon, pipe."""
    header: bool | None = None
    """Whether a text table begins with the names of its columns; without, these are called 1, 2, 3, ..."""
    root: Path | None = None
    """What the relative paths of a table are relative to, in place of the table's own folder."""
    exclude: tuple[str, ...] = ()
    """Files and folders to leave alone: patterns of names (``*.bak``) or of paths within a folder (``raw/*``)."""
    form: Form | None = None
    """What a folder is read as."""
    pairs: bool = True
    """Whether pairs are asked for, as in training; otherwise items, and a file without caption is one."""

    def columns_of(self) -> dict[str, list[str]]:
        """The columns that were named, by modality, each as a list."""
        named = {role: [names] if isinstance(names, str) else list(names) for role, names in self.columns.items()}
        return {role: names for role, names in named.items() if role != WEIGHT_ROLE}

    @property
    def weight(self) -> str | None:
        """The column that says how much each row counts, where one was named."""
        named = self.columns.get(WEIGHT_ROLE)
        if named is not None and not isinstance(named, str) and len(named) > 1:
            raise UserError(f"weight can be one column only; several are given: {', '.join(named)}")
        return named if named is None or isinstance(named, str) else named[0]

    def only(self, spec: str, *allowed: str) -> None:
        """Raise :class:`UserError` where an option was given that means nothing for this input."""
        options = {
            "columns": "--columns", "separator": "--separator", "header": "--header", "root": "--images",
            "exclude": "--exclude", "form": "--as",
        }  # fmt: skip
        given = [name for name in options if getattr(self, name) not in (None, (), [], {})]
        for name in given:
            if name not in allowed:
                raise UserError(f"{options[name]} means nothing for {spec}; leave it out")


AS_FOUND = ReadOptions()
"""Everything is found out."""


@dataclass(slots=True)
class Rows:
    """What a source reads: columns of equal length, and the rows it had to set aside.

    ``items`` holds ``str`` for text (undecodable bytes as lone surrogates) and a ``Path``, ``bytes``, array or
    ``Lazy`` for the rest; ``None`` where a row names nothing.
    """

    ids: Sequence[str]
    items: Mapping[str, Sequence[Any]]
    extras: Mapping[str, Sequence[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    least: int | None = None
    """How many modalities a row needs where rows may lack some; a question about a file, with its answer, counts as
    one more. Where nothing is said, every row needs all columns, and ``None`` is a problem."""
    left_alone: Sequence[LeftAlone] = ()
    """Files that lie there and are no part of this reading."""
    understood: str = ""
    """How the input was read, for people: ``1,000 images with captions beside them (.txt)``."""
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of files, by modality: what each is called in every row that has it; without, as the row is called."""
    places: Sequence[str] = field(default_factory=list)
    """Where each row stands (``pairs.csv:17``), for those who have to mend it; without, what the row is called."""
    watched: Iterable[Path | str] | None = None
    """Files and folders whose change may change the rows, besides the files that they name; None where not known."""


class RowsWriter:
    """Collects rows one by one, in memory that does not grow with them; see :class:`Rows` for what they have."""

    def __init__(self, items: Iterable[str], extras: Iterable[str] = (), names: Iterable[str] = ()) -> None:
        """The columns of each kind."""
        self._ids = ColumnWriter()
        self._items, self._extras, self._names = (
            {name: ColumnWriter() for name in columns} for columns in (items, extras, names)
        )

    def add(
        self,
        name: str,
        items: Mapping[str, Any],
        extras: Mapping[str, str] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """A row; what it lacks is ``None`` among the items, and an empty text elsewhere."""
        self._ids.append(name)
        for column, writer in self._items.items():
            writer.append(items.get(column))
        for given, writers in ((extras, self._extras), (names, self._names)):
            for column, writer in writers.items():
                writer.append("" if given is None else given.get(column, ""))

    def finish(self, problems: list[Problem] | None = None, least: int | None = None) -> Rows:
        """The rows; nothing is added to them any more."""
        items, extras, names = (
            {name: writer.finish() for name, writer in writers.items()}
            for writers in (self._items, self._extras, self._names)
        )
        return Rows(self._ids.finish(), items, extras, [] if problems is None else problems, least, names=names)


class Source(Protocol):
    """What every ``Config`` in this folder offers."""

    offers: ClassVar[str]
    """What a person may have of this kind, for the message that lists what can be read."""

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """Whether this text names something that this source can read; at most a glance at the disk."""

    @classmethod
    def from_spec(cls, spec: str, options: ReadOptions = AS_FOUND) -> Source:
        """The configuration for this text. Raises :class:`UserError` for options that make no sense here."""

    def read(self) -> Rows:
        """List the rows; what cannot be used becomes a problem. Raises :class:`UserError` if nothing can be read."""


def file_modalities() -> list[Modality]:
    """The modalities whose items are files."""
    return [one for one in all_modalities() if not one.is_text]


def file_kinds() -> str:
    """What people may have in files: ``images or sounds``."""
    return " or ".join(sorted(one.plural for one in file_modalities()))


def modality_of_file(name: str | PurePath) -> str | None:
    """The modality of a file by its suffix, if it is one of ours."""
    return modality_of_suffix(suffix_of(name) if isinstance(name, str) else name.suffix)


def modality_of_suffix(suffix: str) -> str | None:
    """The modality of files with this suffix, dot included; ``.seg.png`` is none of ours."""
    suffix = suffix.lower()
    return next((one.name for one in file_modalities() if suffix in one.suffixes), None)

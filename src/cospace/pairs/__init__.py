"""Where pairs come from. One source per file; each turns what a person has into rows.

The contract of a source is a ``Config`` with ``accepts(spec)`` (does this text name something of mine?),
``from_spec`` and ``read() -> Rows``. Sources decode no picture: they list. Whoever decodes pictures later sets bad
ones aside through :meth:`Pairs.without`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from ..config import lookup, names
from ..types import WORDS, Pair, Problem, Progress, UserError, silent
from ._content import Fault, contents
from ._content import digest as digest
from ._groups import encode, join, normalise_caption

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""The suffixes, in lower case, by which sources recognise a picture."""


@dataclass(slots=True)
class Rows:
    """What a source reads: columns of equal length, and the rows it had to set aside.

    ``items`` holds ``str`` for text (undecodable bytes as lone surrogates) and a ``Path``, ``bytes``, array or
    ``Lazy`` for the rest; ``None`` where a row names nothing. :func:`build` sets such rows aside.
    """

    ids: list[str]
    items: dict[str, list[Any]]
    extras: dict[str, list[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class Source(Protocol):
    """What every ``Config`` in this folder offers."""

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """Whether this text names something that this source can read; at most a glance at the disk."""

    @classmethod
    def from_spec(cls, spec: str, columns: Mapping[str, str] | None = None, separator: str | None = None) -> Source:
        """The configuration for this text. Raises :class:`UserError` for settings that make no sense here."""

    def read(self) -> Rows:
        """List the rows; what cannot be used becomes a problem. Raises :class:`UserError` if nothing can be read."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs in columns: ``items[modality][row]``, with a group id per row and the rows that were set aside.

    ``groups`` joins rows that share image content or a normalised caption, transitively.
    """

    name: str
    ids: Sequence[str]
    items: Mapping[str, Sequence[Any]]
    groups: np.ndarray
    keys: Mapping[str, np.ndarray]
    """Per modality, one integer per row; equal integers mean the same content (used to encode each item once)."""
    contents: Mapping[str, Sequence[str]]
    """Per modality and row, a text that is equal for equal content wherever and whenever it is read."""
    extras: Mapping[str, Sequence[str]]
    problems: Sequence[Problem]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Pair:
        items = {modality: column[row] for modality, column in self.items.items()}
        return Pair(self.ids[row], items, int(self.groups[row]), {k: v[row] for k, v in self.extras.items()})

    def select(self, rows: Iterable[int] | np.ndarray) -> Pairs:
        """The given rows, in the given order. Groups and keys keep their numbers: what matched still matches."""
        index = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows), dtype=np.int64)
        if np.array_equal(index, np.arange(len(self))):
            return self
        order = index.tolist()

        def take(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
            return {name: [column[row] for row in order] for name, column in columns.items()}

        return replace(
            self,
            ids=[self.ids[row] for row in order],
            items=take(self.items),
            groups=self.groups[index],
            keys={modality: column[index] for modality, column in self.keys.items()},
            contents=take(self.contents),
            extras=take(self.extras),
            fingerprint=digest([self.fingerprint.encode(), index.astype("<i8").tobytes()]),
        )

    def without(self, problems: Sequence[Problem]) -> Pairs:
        """Set further rows aside, named by their ids, and remember why."""
        bad = {problem.id for problem in problems}
        kept = self.select(row for row, name in enumerate(self.ids) if name not in bad)
        return replace(kept, problems=[*self.problems, *problems])

    def stop_above(self, share: float = 0.01) -> Pairs:
        """These pairs, or :class:`UserError` when none is left or more than ``share`` of the rows were set aside."""
        bad, total = len(self.problems), len(self.problems) + len(self)
        if len(self) and bad <= share * total:
            return self
        kinds = Counter(problem.kind for problem in self.problems).most_common()
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds)
        first = "; ".join(f"{problem.id}: {problem.reason}" for problem in self.problems[:3])
        raise UserError(
            f"{self.name}: {bad} of {total} rows cannot be used ({counts}), more than the {share:.2%} allowed; "
            f"`cospace check` lists them and writes a clean table with --out (first: {first})"
        )


def open_pairs(
    spec: str | Path | Pairs,
    columns: Mapping[str, str] | None = None,
    separator: str | None = None,
    progress: Progress = silent,
) -> Pairs:
    """Pairs from whatever ``spec`` names: a table, a folder, tar shards, ``hf:NAME``, or a built-in set.

    ``columns`` maps modalities to a table's columns (``{"image": "file", "text": "title"}``); what is not given is
    sniffed. Raises :class:`UserError` when nothing here can be read; single bad rows end in ``problems`` instead.
    """
    if isinstance(spec, Pairs):
        return spec
    text = str(spec)
    source = find_source(text).from_spec(text, columns, separator)
    pairs = build(Path(text).name if Path(text).exists() else text, source.read(), progress)
    if not len(pairs) and not pairs.problems:
        raise UserError(f"{text} holds no pairs; check that it is the file or folder you meant")
    return pairs


def built_in(spec: str) -> Pairs:
    """A built-in set by its name (``scenes``, ``glyphs/faces``), whatever files of that name there may be here."""
    source = cast("type[Source]", lookup("pairs", spec.partition("/")[0]))
    return build(spec, source.from_spec(spec).read())


def find_source(spec: str) -> type[Source]:
    """The ``Config`` of the one source that accepts this text."""
    sources = {name: cast("type[Source]", lookup("pairs", name)) for name in names("pairs")}
    accepting = {name: source for name, source in sources.items() if source.accepts(spec)}
    if len(accepting) == 1:
        return next(iter(accepting.values()))
    if accepting:
        kinds = " or ".join(accepting)
        raise UserError(f"{spec} could be read as {kinds}; name the file or folder that you mean, such as ./{spec}")
    offers = "; ".join(getattr(source, "offers", name) for name, source in sources.items())
    state = "exists but is of no kind known here" if Path(spec).exists() else "does not exist"
    raise UserError(f"{spec!r} {state}; pairs come from: {offers}")


def build(name: str, rows: Rows, progress: Progress = silent) -> Pairs:
    """Join rows into groups and set aside those with missing files or unusable captions.

    Equal questions or answers join nothing: "yes" is true of many pictures that are not alike.
    Reads every file once, to know which contents are equal; decodes none.
    """
    found = {modality: contents(modality, column, progress) for modality, column in rows.items.items()}
    faults: dict[int, Fault] = {}
    for column in found.values():
        for row, content in enumerate(column):
            if isinstance(content, Fault):
                faults.setdefault(row, content)
    kept = [row for row in range(len(rows.ids)) if row not in faults]
    ids = [rows.ids[row] for row in kept]
    assert len(set(ids)) == len(ids), f"the source of {name} gave the same id twice"
    tokens = {modality: [str(column[row]) for row in kept] for modality, column in found.items()}
    keys = {modality: encode(column) for modality, column in tokens.items()}
    same = {modality: column for modality, column in keys.items() if modality not in WORDS}
    if "text" in tokens:
        same["text"] = encode(map(normalise_caption, tokens["text"]))
    return Pairs(
        name=name,
        ids=ids,
        items={modality: [column[row] for row in kept] for modality, column in rows.items.items()},
        groups=join(list(same.values()), len(kept)),
        keys=keys,
        contents=tokens,
        extras={column: [values[row] for row in kept] for column, values in rows.extras.items()},
        problems=[*rows.problems, *(Problem(rows.ids[row], *fault) for row, fault in sorted(faults.items()))],
        fingerprint=digest(part.encode() for m in sorted(tokens) for part in (m, *ids, *tokens[m])),
    )

"""Pairs in columns: what belongs together, row by row, and which items match.

:func:`open_pairs` reads whatever a person names through the sources in ``data/sources``; several inputs become one set,
each with modalities of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from dataclasses import fields as dataclass_fields
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..arrays import array_of, each, full, is_count, occurring, rows_where, take, zeros
from ..columns import SHORT, column_of, given, holds_only, joined, taken
from ..config import lookup, names, unknown
from ..filenames import escaped
from ..matches import Matches
from ..modalities import FIELDS, Modality, modality, text_modality
from ..types import LeftAlone, Pair, Problem, Progress, UserError, silent
from .contents import contents, digest_of_rows, digest_of_texts
from .counting import Counts, describe_left_alone
from .keys import distinct_rows, encode
from .known_files import KnownFiles
from .manifest import Manifest
from .sources import AS_FOUND, WEIGHT, Form, ReadOptions, Rows, Source
from .unread import meant
from .wanting import absent_items, blanked, describe_weights, faults_of

FOLDER = "data.sources"
"""Where sources are registered."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs in columns: ``items[modality][row]``, what matches what, and the rows that were set aside.

    A row may lack some modalities: its item is ``None`` then and its key :data:`ABSENT`.
    """

    name: str
    ids: Sequence[str]
    items: Mapping[str, Sequence[Any]]
    matches: Matches
    """Which items match: those that some row pairs, and no others."""
    keys: Mapping[str, np.ndarray]
    """Per modality, one integer per row; equal integers mean the same content (used to encode each item once)."""
    contents: Mapping[str, Sequence[str]]
    """Per modality and row, a text that is equal for equal content wherever and whenever it is read."""
    extras: Mapping[str, Sequence[str]]
    problems: Sequence[Problem]
    fingerprint: str
    left_alone: Sequence[LeftAlone] = ()
    """Files that lie where the pairs do and are no part of them."""
    understood: str = ""
    """How the input was read, for people."""
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of files, by modality: what each is called in every row that has it; without, as the row is called."""
    places: Sequence[str] = ()
    """Where each row stands, for those who have to mend it; without, what the row is called."""
    rows_in_all: int | None = None
    """Where these are a sample of pairs that are streamed, about how many there are."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Pair:
        items = {name: column[row] for name, column in self.items.items() if column[row] is not None}
        return Pair(self.ids[row], items, {k: v[row] for k, v in self.extras.items()})

    @property
    def modalities(self) -> list[str]:
        """The modalities that some row has; a decoder's questions and answers are none."""
        return [name for name in self.items if name not in FIELDS]

    @property
    def groups(self) -> np.ndarray:
        """The connected component of every row ``(rows,)``: rows that share an item, and so do their partners."""
        return self.matches.components()

    def select(self, rows: Iterable[int] | np.ndarray) -> Pairs:
        """The given rows, in the given order. Keys keep their numbers, and what matched still matches."""
        index = rows if isinstance(rows, np.ndarray) else np.array(list(rows), np.int64)
        if is_count(index, len(self)):
            return self

        def chosen(columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
            return {name: taken(column, index) for name, column in columns.items()}

        return replace(
            self,
            ids=taken(self.ids, index),
            items=chosen(self.items),
            matches=self.matches.select(index),
            keys={name: take(column, index) for name, column in self.keys.items()},
            contents=chosen(self.contents),
            extras=chosen(self.extras),
            names=chosen(self.names),
            places=taken(self.places, index) if self.places else (),
            fingerprint=digest_of_rows(self.fingerprint, index),
        )

    def counts(self) -> Counts:
        """What was read, and what became of it."""
        used = distinct_rows(list(self.keys.values()), len(self))
        return Counts(used, len(self) - used, len(self.problems), len(self.left_alone))

    def summary(self, counts: Counts | None = None) -> list[str]:
        """How the input was read and what became of it, in lines for people; ``counts`` where items were counted."""
        counts = counts or self.counts()
        read = [f"{self.name}: {self.understood}"] if self.understood else []
        weights = [f"{self.name}: {said}" for said in describe_weights(self.extras.get(WEIGHT, ()))]
        return [*read, f"{self.name}: {counts.sentence()}", *weights, *describe_left_alone(self.left_alone)]

    def matched_through(self, shared: str) -> Pairs:
        """These pairs, where items that no row pairs match if they share an item of the modality ``shared``."""
        if shared not in self.modalities:
            raise UserError(unknown(shared, self.modalities, f"{self.name} has no modality"))
        return replace(self, matches=self.matches.through(shared))

    def place(self, row: int) -> str:
        """What a problem calls a row: where it stands, or else its id."""
        return self.places[row] if self.places else self.ids[row]

    def without(self, problems: Sequence[Problem]) -> Pairs:
        """Set further rows aside, named by their places or ids, and remember why."""
        bad = {problem.id for problem in problems}
        named = zip(self.ids, self.places or self.ids, strict=True)
        good_N = array_of(((one not in bad and two not in bad) for one, two in named), bool)
        return replace(self.select(rows_where(good_N)), problems=[*self.problems, *problems])

    def stop_above(self, fraction: float = 0.01) -> Pairs:
        """These pairs, or :class:`UserError` when none is left or more than ``fraction`` of the rows were set aside."""
        problems = [problem for problem in self.problems if not problem.asked]
        bad, total = len(problems), len(self.problems) + len(self)
        if len(self) and bad <= fraction * total:
            return self
        raise too_many_bad(self.name, Counter(problem.kind for problem in problems), total, problems, fraction)


def too_many_bad(name: str, kinds: Counter[str], total: int, problems: Sequence[Problem], fraction: float) -> UserError:
    """The sentence for pairs of which more than ``fraction`` cannot be used: how many of each kind, and the first."""
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    first = "; ".join(f"{problem.id}: {problem.reason}" for problem in problems[:3])
    return UserError(
        f"{name}: {kinds.total()} of {total} rows cannot be used ({counts}), more than the {fraction:.2%} allowed; "
        f"`cospace check PAIRS --out FOLDER` lists them and writes a clean table (first: {first})"
    )


Spec = str | Path | Pairs
"""What a person may name: a path, a built-in set, ``hf:NAME``; or pairs that are open already."""


def open_pairs(
    spec: Spec | Sequence[Spec],
    columns: Mapping[str, str | tuple[str, ...]] | None = None,
    separator: str | None = None,
    progress: Progress = silent,
    *,
    options: ReadOptions = AS_FOUND,
    known: KnownFiles | None = None,
) -> Pairs:
    """Pairs from whatever ``spec`` names: a table, a folder, tar shards, ``hf:NAME``, a built-in set; or several.

    ``columns`` maps modalities to a table's columns (``{"image": "file", "text": "title"}``); what is not given is
    sniffed; ``options`` has what else may be said. Several inputs become one set: an item that occurs in two of them
    joins them. ``known`` keeps hashes of files, so that those that have not changed are not read again. Raises
    :class:`UserError` when nothing here can be read; single bad rows end in ``problems`` instead.
    """
    if isinstance(spec, Pairs):
        return spec
    if not isinstance(spec, str | Path):
        return join_pairs([open_pairs(one, columns, separator, progress, options=options, known=known) for one in spec])
    options = replace(options, columns=columns or options.columns, separator=separator or options.separator)
    text = str(spec)
    source = find_source(text, options.form).from_spec(text, options)
    manifest = Manifest(type(source).__module__, text, options)
    if (fields := manifest.read()) is not None:
        return Pairs(**fields)
    name = escaped(Path(text).absolute().name or text if Path(text).exists() else text)
    rows = source.read()
    pairs = build(name, rows, progress, known)
    if not len(pairs) and not pairs.problems:
        raise UserError(f"{text} holds no pairs; check that it is the file or folder you meant")
    manifest.keep({one.name: getattr(pairs, one.name) for one in dataclass_fields(pairs)}, _watched(rows))
    return pairs


def _watched(rows: Rows) -> Iterable[Path | str] | None:
    """Files and folders that a source's rows depend on; nothing where that is not known."""
    if rows.watched is None:
        return None
    named = (item for column in rows.items.values() if not holds_only(column, str) for item in column)
    return chain(rows.watched, (item for item in named if isinstance(item, Path)))


def built_in(spec: str) -> Pairs:
    """A built-in set by its name (``scenes``, ``glyphs/faces``), whatever files of that name there may be here."""
    source = cast("type[Source]", lookup(FOLDER, spec.partition("/")[0]))
    return build(spec, source.from_spec(spec).read())


def find_source(spec: str, form: Form | None = None) -> type[Source]:
    """The ``Config`` of the one source that accepts this text; a folder with a ``form`` is what that says."""
    sources = {name: cast("type[Source]", lookup(FOLDER, name)) for name in names(FOLDER)}
    if "://" in spec and (advice := meant(spec)):
        raise UserError(f"{spec} {advice}")
    accepting = {name: source for name, source in sources.items() if source.accepts(spec)}
    general = {name: source for name, source in accepting.items() if getattr(source, "last_resort", False)}
    if general and form is not None:
        return next(iter(general.values()))
    if not any(getattr(source, "by_name", False) for source in accepting.values()) and len(accepting) > len(general):
        accepting = {name: source for name, source in accepting.items() if name not in general}
    if len(accepting) == 1:
        return next(iter(accepting.values()))
    if accepting:
        kinds = " or ".join(accepting)
        raise UserError(f"{spec} could be read as {kinds}; name the file or folder that you mean, such as ./{spec}")
    if advice := meant(spec):
        raise UserError(f"{spec} {advice}")
    offers = "; ".join(getattr(source, "offers", name) for name, source in sources.items())
    state = "exists but is of no kind known here" if Path(spec).exists() else "does not exist"
    raise UserError(f"{spec!r} {state}; pairs come from: {offers}")


def is_source(spec: str) -> bool:
    """Whether any source reads what this text names."""
    return any(cast("type[Source]", lookup(FOLDER, name)).accepts(spec) for name in names(FOLDER))


def build(name: str, rows: Rows, progress: Progress = silent, known: KnownFiles | None = None) -> Pairs:
    """Rows with their contents compared; those with missing files or unusable captions are set aside.

    Reads every file once, to know which contents are equal, but for files that are ``known``; decodes none.
    """
    found = {column: contents(column, values, progress, known) for column, values in rows.items.items()}
    absent = absent_items(rows)
    faults = faults_of(rows, found, absent)
    good_N = full(len(rows.ids), True, bool)
    good_N[np.fromiter(faults, np.int64, len(faults))] = False
    kept_N = rows_where(good_N)

    def kept(columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        return {one: taken(values, kept_N) if faults else values for one, values in columns.items()}

    ids = kept({"": rows.ids})[""]
    assert len(ids) > SHORT or len(set(ids)) == len(ids), f"the source of {name} gave the same id twice"
    items = kept({one: blanked(values, absent[one], None) for one, values in rows.items.items()})
    tokens = kept({one: blanked(values, absent[one], "") for one, values in found.items()})
    called = rows.places or rows.ids
    problems = [*rows.problems, *(Problem(called[row], *fault) for row, fault in sorted(faults.items()))]
    compared = _compared(name, ids, items, tokens, kept(rows.extras), problems)
    return replace(
        compared,
        left_alone=rows.left_alone,
        understood=rows.understood,
        names=kept(rows.names),
        places=kept({"": rows.places})[""] if rows.places else [],
    )


def join_pairs(parts: Sequence[Pairs]) -> Pairs:
    """Several sets as one, row after row; a name that several of them give gets its set's before it."""
    if not parts:
        raise UserError("no pairs are named; give at least one table, folder or data set")
    if len(parts) == 1:
        return parts[0]
    parts = _with_distinct_names(parts)

    def of_all(columns: str, missing: Any) -> dict[str, Sequence[Any]]:
        return joined([(len(part), getattr(part, columns)) for part in parts], missing)

    name, ids = " + ".join(part.name for part in parts), column_of(name for part in parts for name in part.ids)
    problems = [problem for part in parts for problem in part.problems]
    compared = _compared(name, ids, of_all("items", None), of_all("contents", ""), of_all("extras", ""), problems)
    return replace(
        compared,
        left_alone=column_of(
            replace(left, name=f"{part.name}/{left.name}") for part in parts for left in part.left_alone
        ),
        understood="; ".join(f"{part.name}: {part.understood}" for part in parts if part.understood),
        names=of_all("names", ""),
        places=column_of(place for part in parts for place in part.places or part.ids)
        if any(part.places for part in parts)
        else (),
    )


def _with_distinct_names(parts: Sequence[Pairs]) -> list[Pairs]:
    """The same sets, with nothing in two of them called alike: not a row, a file, a place, nor a problem."""
    columns = [[p.ids, p.places, [one.id for one in p.problems], *p.names.values()] for p in parts]
    codes = encode(chain.from_iterable(chain.from_iterable(columns)))
    sets_C = zeros(int(codes.max(initial=-1)) + 1, np.int32)
    ends = np.cumsum([0, *(sum(map(len, of_part)) for of_part in columns)]).tolist()
    for start, end in pairwise(ends):
        sets_C += occurring(codes[start:end], len(sets_C))
    if sets_C.max(initial=0) < 2:
        return list(parts)
    sets = each(take(sets_C, codes))
    made = []
    for number, (part, of_part) in enumerate(zip(parts, columns, strict=True), 1):
        prefix = f"{number}:{part.name}/"
        ids, places, problems, *names = (
            column_of(prefix + name if name and among > 1 else name for name, among in zip(column, sets, strict=False))
            for column in of_part
        )
        renamed = [replace(problem, id=new) for problem, new in zip(part.problems, problems, strict=True)]
        by_modality = dict(zip(part.names, names, strict=True))
        made.append(replace(part, ids=ids, places=places, names=by_modality, problems=renamed))
    return made


def _compared(
    name: str,
    ids: Sequence[str],
    items: Mapping[str, Sequence[Any]],
    tokens: Mapping[str, Sequence[str]],
    extras: Mapping[str, Sequence[str]],
    problems: list[Problem],
) -> Pairs:
    """The columns with their keys and matches. Equal questions or answers match nothing: "yes" is true of many."""
    ordered = sorted(items, key=lambda column: (column == text_modality(), column in FIELDS))
    items = {column: items[column] for column in ordered}
    keys = {column: encode(_present(tokens[column], items[column])) for column in items}
    codes = {column: _codes(column, keys, tokens, items) for column in items if column not in FIELDS}
    weights = {WEIGHT: extras[WEIGHT]} if WEIGHT in extras else {}
    hashed = {**tokens, **weights}
    fingerprint = digest_of_texts(part for m in sorted(hashed) for part in chain((m,), ids, hashed[m]))
    return Pairs(name, ids, items, Matches.of(codes), keys, tokens, extras, problems, fingerprint)


def _codes(
    column: str,
    keys: Mapping[str, np.ndarray],
    tokens: Mapping[str, Sequence[str]],
    items: Mapping[str, Sequence[Any]],
) -> np.ndarray:
    """What matches as the same item of a column: what has the same content, unless its modality is less strict."""
    one = modality(column)
    if type(one).match_key is Modality.match_key:
        return keys[column]
    return encode(_present(map(one.match_key, tokens[column]), items[column]))


def _present(values: Iterable[str], items: Sequence[Any]) -> Iterable[str | None]:
    """The values of rows that have an item."""
    given_N = given(items)
    if given_N.all():
        return values
    return (value if there else None for value, there in zip(values, each(given_N), strict=True))

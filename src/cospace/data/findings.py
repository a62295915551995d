"""What is wrong beyond rows that cannot be read: copies, leaks, and items that teach nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..modalities import ItemFinding, is_text, modality
from .contents import digest
from .examining import ItemsSeen
from .keys import ABSENT, encode
from .known_files import KnownFiles
from .near_duplicates import close_pairs, nearest_copy
from .pairs import Pairs

_NAMED = 6
"""Rows of a group that a line names."""

LEAK = 0.01
"""Share of the validation files from which on training should not go on before they are out."""

REASONS = {
    "leaked": "its file is among the validation pairs",
    "near_leaked": "a near-duplicate of it is among the validation pairs",
    "near_duplicates": "it is a near-duplicate of another item",
    "duplicate_images": "it is a copy of another file",
    "duplicate_text": "its caption is that of another item too",
    "class_imbalance": "its class has next to no items",
    "boilerplate": "its caption says nothing of it",
    "markup": "its caption is markup or an address",
}
"""Why a row is left out, where the name of the kind does not say it."""


NearGroups = Sequence[Sequence[int]]
"""Groups of different items of a modality that show the same, by their numbers."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of finding: its key in JSON, how many items it concerns, a sentence, and what to do about it."""

    kind: str
    count: int
    sentence: str
    advice: str = ""
    groups: Sequence[tuple[int, ...]] = ()
    """Rows to look at, the surest first: one row each, or those of copies of each other."""
    certainty: Sequence[float] = ()
    """How sure it is of each group, 0 to 1; 1 where nothing is said."""
    notes: Sequence[str] = ()
    """What was measured of each group."""
    rows: Sequence[int] = ()
    """Rows that a clean table is without if it leaves these out."""
    leave_out: bool = False
    """Whether it leaves them out without being asked to."""
    stops: bool = False
    """Whether one should not train before they are out."""
    beside: Sequence[int] = ()
    """For each group a row of the validation pairs that it is a copy of."""
    better: Sequence[int] = ()
    """For each group a row whose caption would fit it better, or -1."""
    about: str = ""
    """The modality whose items it concerns; of pairs, nothing."""
    mark: str = " "
    """Between the names of a group's rows: ``=`` for copies, ``~`` for near-duplicates."""
    fine: int = 0
    """Items of this kind that a person has looked at and called fine; they are not counted."""

    def names(self, pairs: Pairs, group: int) -> str:
        """A group in words: ``a.jpg ~ b.jpg``, or a row's place with what was measured."""
        rows = self.groups[group]
        note = self.notes[group] if group < len(self.notes) else ""
        named = pairs.place(rows[0])
        if len(rows) > 1:
            named = f" {self.mark} ".join(called(pairs, row) for row in rows[:_NAMED])
            named += f" and {len(rows) - _NAMED:,} more" if len(rows) > _NAMED else ""
        return f"{named}  {note}" if note else named

    @property
    def reason(self) -> str:
        """Why a row is left out, for the list of those that are."""
        return REASONS.get(self.kind, self.kind.replace("_", " "))

    def each(self, pairs: Pairs) -> Iterator[tuple[tuple[int, ...], float, str]]:
        """Every group with how sure it is and what was measured; of one item all its rows, not the first alone."""
        rows_of: dict[int, list[int]] = {}
        if self.about and self.groups:  # pairs may have none of this modality
            keys = pairs.keys[self.about]
            for row in self.rows:
                rows_of.setdefault(int(keys[row]), []).append(row)
        for place, rows in enumerate(self.groups):
            same = rows_of.get(int(pairs.keys[self.about][rows[0]]), []) if self.about and len(rows) == 1 else []
            certainty = self.certainty[place] if place < len(self.certainty) else 1.0
            yield tuple(sorted({*rows, *same})), certainty, self.notes[place] if place < len(self.notes) else ""

    def without(self, fine: Sequence[bool]) -> Finding:
        """The same without the groups that are ``fine``."""
        left = [group for group, is_fine in enumerate(fine) if not is_fine]
        many = sum(max(1, len(self.groups[group]) - 1) for group, is_fine in enumerate(fine) if is_fine)

        def of(values: Sequence[Any]) -> list[Any]:
            return [values[group] for group in left] if values else []

        return replace(
            self, count=max(0, self.count - many), fine=self.fine + many, groups=of(self.groups),
            certainty=of(self.certainty), notes=of(self.notes), beside=of(self.beside), better=of(self.better),
            stops=self.stops and bool(left),
        )  # fmt: skip


def items_found(pairs: Pairs, seen: ItemsSeen, found: Sequence[ItemFinding]) -> list[Finding]:
    """What a modality has found of its items, as findings of rows."""
    findings = []
    for one in found:
        there = [place for place, item in enumerate(one.items_F) if seen.first_row[item] >= 0]
        items = np.array([one.items_F[place] for place in there], np.int64)
        findings.append(Finding(
            one.kind, len(there), f"{counted(len(there), seen.name)} {one.what}", one.advice,
            groups=[(int(row),) for row in seen.first_row[items]],
            certainty=[one.certainty_F[place] for place in there], notes=[one.notes_F[place] for place in there],
            rows=np.flatnonzero(np.isin(seen.item_of_row, items)).tolist(), leave_out=one.leave_out, about=seen.name,
        ))  # fmt: skip
    return findings


def copies(pairs: Pairs, seen: Mapping[str, ItemsSeen], groups_of: Mapping[str, NearGroups]) -> list[Finding]:
    """Files of other names with the same bytes; and those that only show the same (:func:`near_groups`)."""
    found = []
    for name in (name for name in pairs.modalities if not is_text(name)):
        groups = duplicate_files(pairs, name)
        many = sum(len(group) - 1 for group in groups)
        found.append(Finding(
            f"duplicate_{modality(name).plural}", many,
            f"{counted(many, name, 'a copy', 'copies')} of another file, byte for byte",
            "both count as one, so nothing needs to be done", groups,
            rows=[row for group in groups for row in group[1:]], mark="=", about=name,
        ))  # fmt: skip
        if name in seen and seen[name].signatures_IVS is not None:
            near = [tuple(int(seen[name].first_row[item]) for item in group) for group in groups_of[name]]
            many = sum(len(group) - 1 for group in near)
            repeated = np.isin(seen[name].item_of_row, seen[name].item_of_row[[r for g in near for r in g[1:]]])
            found.append(Finding(
                "near_duplicates", many,
                f"{counted(many, name, 'a near-duplicate', 'near-duplicates')} (smaller, mirrored ...)",
                "keep them in one split, or add --leave-out near_duplicates", near,
                rows=np.flatnonzero(repeated).tolist(), mark="~", about=name,
            ))  # fmt: skip
    return found


def leaks(pairs: Pairs, val: Pairs, seen: Mapping[str, ItemsSeen], val_seen: Mapping[str, ItemsSeen]) -> list[Finding]:
    """Training rows whose files, or copies of them, are among the validation pairs."""
    found = []
    for name in (name for name in pairs.modalities if not is_text(name) and name in val.modalities):
        noun = modality(name).noun
        there: dict[str, int] = {}
        for row, content in enumerate(val.contents[name]):
            if content:
                there.setdefault(content, row)
        exact = [row for row, content in enumerate(pairs.contents[name]) if content and content in there]
        files = len({pairs.contents[name][row] for row in exact})
        found.append(Finding(
            "leaked", files,
            f"{counted(files, name, 'a copy', 'copies')} of a validation {noun}, so figures would lie",
            "--out leaves them out", [(row,) for row in exact], rows=exact, leave_out=True, about=name,
            stops=files > LEAK * len(there), beside=[there[pairs.contents[name][row]] for row in exact],
        ))  # fmt: skip
        if name in seen and name in val_seen:
            found.append(_near_leaks(seen[name], val_seen[name], set(exact)))
    return found


def _near_leaks(seen: ItemsSeen, val_seen: ItemsSeen, exact: set[int]) -> Finding:
    """Near-duplicates of validation items, without those that are the same file."""
    rows: list[int] = []
    beside: list[int] = []
    if seen.signatures_IVS is not None and val_seen.signatures_IVS is not None:
        items, val_items = seen.readable, val_seen.readable
        nearest = nearest_copy(val_seen.signatures_IVS[val_items], seen.signatures_IVS[items], seen.name)
        copy_of = np.full(len(seen.first_row), -1, np.int64)
        copy_of[items[nearest >= 0]] = val_seen.first_row[val_items[nearest[nearest >= 0]]]
        of_row = np.where(seen.item_of_row >= 0, copy_of[seen.item_of_row], -1)
        rows = [row for row in np.flatnonzero(of_row >= 0).tolist() if row not in exact]
        beside = [int(of_row[row]) for row in rows]
    many, noun = len({int(seen.item_of_row[row]) for row in rows}), modality(seen.name).noun
    return Finding(
        "near_leaked", many,
        f"{counted(many, seen.name, 'a near-duplicate', 'near-duplicates')} of a validation {noun}",
        "--out leaves them out", [(row,) for row in rows], rows=rows, leave_out=True, beside=beside,
        about=seen.name,
    )  # fmt: skip


def counted(many: int, name: str, one: str = "", several: str = "") -> str:
    """``1 image is a copy`` or ``12 images are copies``; without the words, ``1 image is``."""
    of = modality(name)
    plural = f"{of.noun}s" if of.is_text else of.plural
    return f"1 {of.noun} is {one}".rstrip() if many == 1 else f"{many:,} {plural} are {several}".rstrip()


def duplicate_files(pairs: Pairs, name: str) -> list[tuple[int, ...]]:
    """Groups of files of different names with the same bytes, each by its first row."""
    keys_N = pairs.keys[name]
    paths_N = encode(str(item) if isinstance(item, str | Path) else None for item in pairs.items[name])
    rows = np.flatnonzero((paths_N != ABSENT) & (keys_N != ABSENT))
    rows = rows[np.lexsort((rows, paths_N[rows], keys_N[rows]))]
    is_first = np.ones(len(rows), bool)
    is_first[1:] = (np.diff(keys_N[rows]) != 0) | (np.diff(paths_N[rows]) != 0)
    rows = rows[is_first]
    alone = np.bincount(keys_N[rows])[keys_N[rows]] < 2 if len(rows) else is_first
    first: dict[int, list[int]] = {}
    for row in np.sort(rows[~alone]).tolist():
        first.setdefault(int(keys_N[row]), []).append(row)
    return [tuple(group) for group in first.values()]


def near_groups(seen: ItemsSeen, known: KnownFiles | None = None) -> list[list[int]]:
    """Groups of different items that show the same, of two or more, by numbers of items."""
    items = seen.readable
    if seen.signatures_IVS is None:
        return []
    signatures_NVS, first = seen.signatures_IVS[items], np.arange(len(items))
    if known is None:
        pairs_P2 = close_pairs(signatures_NVS, seen.name)
    else:
        key = f"copies-{seen.name}-{modality(seen.name).examination}-{digest([signatures_NVS.tobytes()])}"
        pairs_P2 = known.result(key, lambda: close_pairs(signatures_NVS, seen.name))
    for left, right in pairs_P2.tolist():
        roots = _root(first, left), _root(first, right)
        first[max(roots)] = min(roots)
    groups: dict[int, list[int]] = {}
    for place in range(len(first)):
        groups.setdefault(_root(first, place), []).append(int(items[place]))
    return [group for group in groups.values() if len(group) > 1]


def _root(first: np.ndarray, place: int) -> int:
    while first[place] != place:
        first[place] = first[first[place]]
        place = int(first[place])
    return place


def called(pairs: Pairs, row: int) -> str:
    """What a row's file is called, or else the row."""
    files = [pairs.items[name][row] for name in pairs.modalities if not is_text(name)]
    return next((Path(one).name for one in files if isinstance(one, str | Path)), pairs.ids[row])

"""What is wrong with captions that only rows show: how often each occurs, and of which items.

Captions are *like classes* where few of them have many items each: "deer" of 5,000 images. There a caption of several
items is as it should be; where captions are otherwise all different, it is suspicious.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ..modalities import text_modality
from ..modalities.text.boilerplate import CAMERA
from .examining import ItemsSeen
from .findings import Finding, NearGroups
from .joins import describe_join, joining
from .keys import ABSENT, encode
from .pairs import Pairs

FEWEST = 20
"""Rows below which captions may well be alike."""

MOST = 0.5
"""Share of the rows from which on one caption, or names that a camera gave, cannot be what is learned from."""

EACH = 5
"""Items that a caption has on average from which on captions are like classes; and fewest items of a class, below which
nothing can be held out of it to measure on."""

SHARED = 0.5
"""Least share of the captions of such a set that have more than one item: it is not one frequent caption alone."""

EACH_LABEL = 2
"""Items on average from which on the values of a column that is called a label are classes."""

NEARLY_ALL = 0.9
"""Share of the captions with one item each from which on a caption of several items is suspicious."""

RATIO = 10
"""Times as many items in the largest class as in one that is small: imbalance is studied from this ratio on (Cui et al.
2019, Class-Balanced Loss Based on Effective Number of Samples, take 10 to 200)."""

NEAR = 0.9
"""How sure it is that two near-duplicates under different classes show the same: that is an estimate."""

LABELS = ("label", "labels", "class", "class_name", "category")
"""What columns of classes are called."""

_QUOTED = 3
"""Captions that a note quotes."""


def of_rows(pairs: Pairs, seen: Mapping[str, ItemsSeen], near: Mapping[str, NearGroups]) -> list[Finding]:
    """All findings about the captions of rows; ``near`` are the groups of near-duplicates of each modality."""
    links = links_of(pairs)
    return [
        *captions(pairs), duplicate_text(pairs, seen, near, links), class_imbalance(pairs, links),
        *contradictions(pairs), near_contradictions(pairs, seen, near, links),
    ]  # fmt: skip


def captions(pairs: Pairs) -> list[Finding]:
    """Captions that say nothing of the items: one for nearly all of them, or what a camera called the files."""
    text = text_modality()
    written = pairs.items.get(text, ())
    rows = np.flatnonzero(np.fromiter(map(bool, written), bool))
    if len(rows) < FEWEST or len(pairs.modalities) < 2:
        return []
    codes_N, found = pairs.matches.codes[text], []
    counts = np.bincount(codes_N[rows])
    different, often = int((counts > 0).sum()), int(counts.max())
    if often >= MOST * len(rows):
        first = rows[counts[codes_N[rows]] == often][0]
        same = rows[codes_N[rows] == codes_N[first]].tolist()
        stops = different == 1
        said = f'"{_caption(pairs, same[0]).strip()[:60]}"'
        what = "the only caption of all" if stops else "the caption of"
        found.append(Finding(
            "repeated_text", often, f"{said} is {what} {often:,} rows: it says nothing of the items",
            "write what each one shows", [(row,) for row in same], rows=same, stops=stops, about=text,
        ))  # fmt: skip
    named = [row for row, one in enumerate(written) if one and CAMERA.fullmatch(one.strip())]
    if len(named) >= MOST * len(rows) and different >= MOST * len(rows):
        found.append(Finding(
            "camera_names", len(named), f"{len(named):,} captions are names that a camera or scanner gave",
            "name the column of captions with --columns", [(row,) for row in named],
            notes=[_caption(pairs, row) for row in named], rows=named, stops=True, about=text,
        ))  # fmt: skip
    return found


class Links(NamedTuple):
    """Each caption (or class) with each of its different items once."""

    caption: np.ndarray
    """``(L,)``, ascending."""
    row: np.ndarray
    """The first row that has both, ``(L,)``, ascending within a caption."""

    @property
    def counts(self) -> np.ndarray:
        """Items of every caption, by its code."""
        return np.bincount(self.caption)

    @property
    def are_classes(self) -> bool:
        """Whether few captions have many items each."""
        there = self.counts[self.counts > 0]
        return len(there) > 1 and there.mean() >= EACH and (there > 1).mean() >= SHARED

    def rows(self, caption: int) -> list[int]:
        """The first row of each item of a caption."""
        start, end = np.searchsorted(self.caption, (caption, caption + 1)).tolist()
        return [int(row) for row in self.row[start:end]]


def links_of(pairs: Pairs, codes: np.ndarray | None = None) -> Links:
    """The items of every caption, whatever they are; ``codes`` are those of classes instead, one for each row.

    Captions are the same as in training: neither case nor spacing makes another one.
    """
    text, columns = text_modality(), pairs.matches.codes
    own = columns.get(text) if codes is None else codes
    caption, first = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for name in (name for name in columns if name != text):
        if own is None:
            break
        rows = np.flatnonzero((columns[name] != ABSENT) & (own != ABSENT))
        width = int(columns[name].max(initial=0)) + 1
        links, at = np.unique(own[rows].astype(np.int64) * width + columns[name][rows], return_index=True)
        caption.append(links // width)
        first.append(rows[at])
    caption_L, row_L = np.concatenate(caption), np.concatenate(first)
    order = np.lexsort((row_L, caption_L))
    return Links(caption_L[order], row_L[order])


def duplicate_text(
    pairs: Pairs, seen: Mapping[str, ItemsSeen], near: Mapping[str, NearGroups], links: Links | None = None
) -> Finding:
    """One caption of several different items, in a set where captions are otherwise nearly all different."""
    links = links_of(pairs) if links is None else links
    counts = links.counts
    several, different = np.flatnonzero(counts > 1), int((counts > 0).sum())
    groups: list[tuple[int, ...]] = []
    if different >= FEWEST and len(several) <= (1 - NEARLY_ALL) * different:
        alike = _copies(seen, near)
        written = int((pairs.matches.codes[text_modality()] != ABSENT).sum())
        for caption in several.tolist():
            rows = links.rows(caption)
            if counts[caption] < MOST * written and len({_first(alike, row) for row in rows}) > 1:
                groups.append(tuple(rows))
    groups.sort(key=lambda rows: (-len(rows), rows))
    many, shared = sum(len(group) - 1 for group in groups), {_code(pairs, group[0]) for group in groups}
    codes = pairs.matches.codes.get(text_modality(), np.zeros(0, np.int64))
    are = "1 row has" if many == 1 else f"{many:,} rows have"
    return Finding(
        "duplicate_text", many, f"{are} the caption of another item, where captions are otherwise all different",
        "write what is different about each item", groups, notes=[f'"{_caption(pairs, group[0])}"' for group in groups],
        rows=np.flatnonzero(np.isin(codes, list(shared))).tolist(), mark="and", about=text_modality(),
    )  # fmt: skip


def _copies(seen: Mapping[str, ItemsSeen], near: Mapping[str, NearGroups]) -> dict[int, int]:
    """By row, the first row of an item that its own shows the same as, of rows whose item is a near-duplicate."""
    first = {}
    for name, groups in near.items():
        group_of = {item: int(seen[name].first_row[group[0]]) for group in groups for item in group}
        for row in np.flatnonzero(np.isin(seen[name].item_of_row, list(group_of))).tolist():
            first[row] = group_of[int(seen[name].item_of_row[row])]
    return first


def _first(alike: Mapping[int, int], row: int) -> int:
    return alike.get(row, row)


def _code(pairs: Pairs, row: int) -> int:
    return int(pairs.matches.codes[text_modality()][row])


def _caption(pairs: Pairs, row: int) -> str:
    return str(pairs.items[text_modality()][row])


def class_imbalance(pairs: Pairs, links: Links | None = None) -> Finding:
    """Classes with next to no items, beside the largest one."""
    name, values, links = _classes(pairs, links)
    counts = links.counts
    there = np.flatnonzero(counts)
    small: list[int] = []
    sentence = "0 classes are small"
    if len(there):
        largest, smallest = int(counts.argmax()), int(there[counts[there].argmin()])
        few = there[(counts[there] < EACH) | (counts[there] * RATIO <= counts[largest])]
        small = few[np.argsort(counts[few], kind="stable")].tolist()
        are = f"1 class{name} is" if len(small) == 1 else f"{len(small):,} classes{name} are"
        tiny = int((counts[there] < EACH).sum())
        sentence = (
            f'{are} small ({tiny:,} with fewer than {EACH} items): "{values[links.rows(largest)[0]]}" has '
            f'{counts[largest]:,} items, "{values[links.rows(smallest)[0]]}" {counts[smallest]:,}, '
            f"a ratio of {counts[largest] / counts[smallest]:,.0f}"
        )
    firsts = [links.rows(one)[0] for one in small]
    names = {values[row] for row in firsts}
    return Finding(
        "class_imbalance", len(small), sentence, "find more items of these, or measure each class by itself",
        [(row,) for row in firsts],
        notes=[f'"{values[row]}": {_items(int(counts[one]))}' for one, row in zip(small, firsts, strict=True)],
        rows=[row for row, value in enumerate(values) if value in names], about="" if name else text_modality(),
    )  # fmt: skip


def _items(many: int) -> str:
    return "1 item" if many == 1 else f"{many:,} items"


def _classes(pairs: Pairs, of_captions: Links | None) -> tuple[str, Sequence[str], Links]:
    """What names them, the class of every row, and their items; nothing where there are no classes."""
    for name in (name for name in pairs.extras if name.casefold() in LABELS):
        values = pairs.extras[name]
        links = links_of(pairs, encode(value or None for value in values))
        counts = links.counts[links.counts > 0]
        if len(counts) > 1 and counts.mean() >= EACH_LABEL:
            named = "" if values == pairs.items.get(text_modality()) else f' of the column "{name}"'
            return named, values, links
    links = links_of(pairs) if of_captions is None else of_captions
    if not links.are_classes:
        return "", (), Links(links.caption[:0], links.row[:0])
    codes = pairs.matches.codes[text_modality()].tolist()
    spelled: dict[int, str] = {}
    written = pairs.items[text_modality()]
    return (
        "",
        [spelled.setdefault(code, text) if text else "" for code, text in zip(codes, written, strict=True)],
        links,
    )


def contradictions(pairs: Pairs) -> list[Finding]:
    """Items filed under captions that otherwise describe different items."""
    joins = joining(pairs)
    sentence = f"{len(joins):,} have captions that otherwise describe different items (possible label errors)"
    return [Finding(
        "contradictory_labels", len(joins), sentence,
        "leave out the rows that are wrong; where all are right, nothing needs to be done",
        [(join.captions[0],) for join in joins], notes=[describe_join(pairs, join) for join in joins],
        rows=sorted({row for join in joins for row in join.captions}),
    )]  # fmt: skip


def near_contradictions(
    pairs: Pairs, seen: Mapping[str, ItemsSeen], near: Mapping[str, NearGroups], links: Links
) -> Finding:
    """Near-duplicates under different classes: the same picture, smaller, called a cat here and a dog there.

    Only where captions are like classes; the many captions of a photograph differ and are all right.
    """
    found = [
        (rows, f"filed under {_listed([_caption(pairs, row) for row in of_captions])}")
        for name, groups in (near.items() if links.are_classes else ())
        for rows, of_captions in _contradicting(pairs, seen[name], groups)
    ]
    many = sum(len(rows) - 1 for rows, _ in found)
    are = "1 near-duplicate is" if many == 1 else f"{many:,} near-duplicates are"
    return Finding(
        "contradictory_labels", many, f"{are} filed under different captions (possible label errors)",
        "compare them, and leave out the rows that are wrong", [rows for rows, _ in found],
        [NEAR] * len(found), [note for _, note in found], sorted({row for rows, _ in found for row in rows}), mark="~",
    )  # fmt: skip


def _contradicting(pairs: Pairs, seen: ItemsSeen, groups: NearGroups) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Of each group of which two items share no caption the first rows of the items, and a row of each caption."""
    codes = pairs.matches.codes[text_modality()]
    items = {item for group in groups for item in group}
    captions_of: dict[int, dict[int, int]] = {item: {} for item in items}
    for row in np.flatnonzero(np.isin(seen.item_of_row, list(items)) & (codes != ABSENT)).tolist():
        captions_of[int(seen.item_of_row[row])].setdefault(int(codes[row]), row)
    for group in groups:
        having = [captions_of[item] for item in group if captions_of[item]]
        if any(one.keys().isdisjoint(other) for one, other in combinations(having, 2)):
            of_captions: dict[int, int] = {}
            for one in having:
                of_captions = one | of_captions
            yield tuple(min(one.values()) for one in having), sorted(of_captions.values())


def _listed(texts: Sequence[str]) -> str:
    """``"cat" and "dog"``."""
    quoted = [f'"{text}"' for text in texts[:_QUOTED]]
    if len(texts) > _QUOTED:
        return f"{', '.join(quoted)} and {len(texts) - _QUOTED} more"
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"

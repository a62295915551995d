"""Items that join captions which are otherwise apart, e.g. an image in ``cat/`` and in ``dog/``: likely mistakes."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..modalities import modality, text_modality
from .pairs import Pairs

_EXAMPLES = 3
"""Captions that a sentence quotes."""


class Join(NamedTuple):
    """An item filed under captions that are otherwise apart."""

    modality: str
    row: int
    """The first row that shows it with one of its captions."""
    captions: list[int]
    """A row for each of the captions."""


def joining(pairs: Pairs) -> list[Join]:
    """Items filed under captions of other items, where these captions are otherwise apart.

    Two captions are apart where each has an item that the other has not. So a second copy of an image with all of its
    captions joins nothing, and neither do an item's own captions.
    """
    text = text_modality()
    if text not in pairs.modalities:
        return []
    return [join for name in pairs.modalities if name != text for join in _joining(pairs, name, text)]


def _joining(pairs: Pairs, name: str, text: str) -> list[Join]:
    """Those of one modality. A caption's other items count in rows that have none of this modality."""
    rows, items_of = _of_shared_captions(pairs, name, text)

    @cache
    def are_apart(one: int, other: int) -> bool:
        ones, others = items_of[one], items_of[other]
        return not (ones <= others or others <= ones)

    captions_of: dict[int, dict[int, int]] = {}
    for row in rows.tolist():
        captions_of.setdefault(int(pairs.matches.codes[name][row]), {}).setdefault(
            int(pairs.matches.codes[text][row]), row
        )
    found = []
    for of_item in captions_of.values():
        joined = {caption for both in combinations(sorted(of_item), 2) if are_apart(*both) for caption in both}
        if joined:
            item = pairs.matches.codes[name][next(iter(of_item.values()))]
            first = int(np.argmax((pairs.matches.codes[name] == item) & (pairs.matches.codes[text] >= 0)))
            found.append(Join(name, first, sorted(of_item[caption] for caption in joined)))
    return found


def _of_shared_captions(pairs: Pairs, name: str, text: str) -> tuple[np.ndarray, dict[int, set[tuple[int, int]]]]:
    """Rows of items with several captions that other items have too, and all items of these captions."""
    codes, captions = pairs.matches.codes, pairs.matches.codes[text]
    lists = []
    for number, one in enumerate((name, *(codes.keys() - {name, text}))):
        there = (codes[one] >= 0) & (captions >= 0) & ((codes[name] < 0) | (one == name))
        rows = np.flatnonzero(there)
        lists.append(np.stack([captions[rows], np.full(len(rows), number), codes[one][rows]], axis=1))
    links_L3 = _distinct_rows(np.concatenate(lists))
    shared = np.bincount(links_L3[:, 0], minlength=int(captions.max(initial=0)) + 1) > 1
    own_L3 = links_L3[(links_L3[:, 1] == 0) & shared[links_L3[:, 0]]]
    several = np.flatnonzero(np.bincount(own_L3[:, 2], minlength=1) > 1)
    kept = np.zeros(int(codes[name].max(initial=0)) + 1, bool)
    kept[several] = True
    here = np.flatnonzero((codes[name] >= 0) & (captions >= 0))
    rows = here[kept[codes[name][here]] & shared[captions[here]]]
    items_of: dict[int, set[tuple[int, int]]] = {}
    wanted = np.zeros(len(shared), bool)
    wanted[captions[rows]] = True
    for caption, number, item in links_L3[wanted[links_L3[:, 0]]].tolist():
        items_of.setdefault(caption, set()).add((number, item))
    return rows, items_of


def _distinct_rows(rows_L3: np.ndarray) -> np.ndarray:
    ordered = rows_L3[np.lexsort(rows_L3.T[::-1])]
    return np.asarray(ordered[np.append(True, (np.diff(ordered, axis=0) != 0).any(axis=1))[: len(ordered)]])


def describe_join(pairs: Pairs, join: Join) -> str:
    """``the image a.jpg is filed under "cat" and "dog"``, for people."""
    item = pairs.items[join.modality][join.row]
    called = item.name if isinstance(item, Path) else pairs.place(join.row)
    texts = [f'"{pairs.items[text_modality()][row]}"' for row in join.captions[:_EXAMPLES]]
    more = len(join.captions) - len(texts)
    listed = f"{', '.join(texts)} and {more} more" if more else f"{', '.join(texts[:-1])} and {texts[-1]}"
    return f"the {modality(join.modality).noun} {called} is filed under {listed}"

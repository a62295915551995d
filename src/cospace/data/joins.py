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


def _of_shared_captions(pairs: Pairs, name: str, text: str) -> tuple[np.ndarray, dict[int, set[int]]]:
    """Rows of items with several captions that other items have too, and all items of these captions."""
    codes, captions = pairs.matches.codes, pairs.matches.codes[text]
    names = [name, *(codes.keys() - {name, text})]
    offsets = np.cumsum([0, *(int(codes[one].max(initial=-1)) + 1 for one in names)])
    width = max(1, int(offsets[-1]))
    links = []
    for one, offset in zip(names, offsets, strict=False):
        rows = np.flatnonzero((codes[one] >= 0) & (captions >= 0) & ((codes[name] < 0) | (one == name)))
        links.append(captions[rows].astype(np.int64) * width + codes[one][rows] + offset)
    caption_L, item_L = np.divmod(np.unique(np.concatenate(links)), width)
    shared = np.bincount(caption_L, minlength=int(captions.max(initial=0)) + 1) > 1
    own_L = item_L[(item_L < offsets[1]) & shared[caption_L]]
    several = np.append(np.bincount(own_L, minlength=int(offsets[1])) > 1, False)  # -1, no item, is the last
    rows = np.flatnonzero(several[codes[name]] & (captions >= 0))
    rows = rows[shared[captions[rows]]]
    wanted = np.zeros(len(shared), bool)
    wanted[captions[rows]] = True
    items_of: dict[int, set[int]] = {}
    for caption, item in zip(*(one[wanted[caption_L]].tolist() for one in (caption_L, item_L)), strict=True):
        items_of.setdefault(caption, set()).add(item)
    return rows, items_of


def describe_join(pairs: Pairs, join: Join) -> str:
    """``the image a.jpg is filed under "cat" and "dog"``, for people."""
    item = pairs.items[join.modality][join.row]
    called = item.name if isinstance(item, Path) else pairs.place(join.row)
    texts = [f'"{pairs.items[text_modality()][row]}"' for row in join.captions[:_EXAMPLES]]
    more = len(join.captions) - len(texts)
    listed = f"{', '.join(texts)} and {more} more" if more else f"{', '.join(texts[:-1])} and {texts[-1]}"
    return f"the {modality(join.modality).noun} {called} is filed under {listed}"

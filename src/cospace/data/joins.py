"""Items that join captions which are otherwise apart, e.g. an image in ``cat/`` and in ``dog/``: likely mistakes."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

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
    rows_of: dict[int, dict[int, int]] = {}
    items_of: dict[int, set[tuple[str, int]]] = {}
    codes = {one: column.tolist() for one, column in pairs.matches.codes.items()}
    others = codes.keys() - {name, text}
    for row, (item, caption) in enumerate(zip(codes[name], codes[text], strict=True)):
        if item >= 0 and caption >= 0:
            rows_of.setdefault(item, {}).setdefault(caption, row)
            items_of.setdefault(caption, set()).add((name, item))
        elif caption >= 0:
            items_of.setdefault(caption, set()).update((one, codes[one][row]) for one in others if codes[one][row] >= 0)

    @cache
    def are_apart(one: int, other: int) -> bool:
        ones, others = items_of[one], items_of[other]
        return not (ones <= others or others <= ones)

    found = []
    for rows in rows_of.values():
        shared = sorted(caption for caption in rows if len(items_of[caption]) > 1)
        joined = {caption for pair in combinations(shared, 2) if are_apart(*pair) for caption in pair}
        if joined:
            found.append(Join(name, min(rows.values()), sorted(rows[caption] for caption in joined)))
    return found


def describe_join(pairs: Pairs, join: Join) -> str:
    """``the image a.jpg is filed under "cat" and "dog"``, for people."""
    item = pairs.items[join.modality][join.row]
    called = item.name if isinstance(item, Path) else pairs.place(join.row)
    texts = [f'"{pairs.items[text_modality()][row]}"' for row in join.captions[:_EXAMPLES]]
    more = len(join.captions) - len(texts)
    listed = f"{', '.join(texts)} and {more} more" if more else f"{', '.join(texts[:-1])} and {texts[-1]}"
    return f"the {modality(join.modality).noun} {called} is filed under {listed}"

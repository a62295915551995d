"""Validation pairs held out from the training set."""

from __future__ import annotations

import numpy as np

from ..modalities import is_text, modality
from ..types import UserError
from .joins import describe_join, joining
from .pairs import Pairs

HELD_OUT = 500
"""Most items held out for validation when none are given; a twentieth of the data if that is less."""

MANY_COMPONENTS = 50
"""From so many connected components on, whole ones are held out; fewer are taken for classes."""

LARGE_COMPONENT = 0.5
"""A connected component with a larger share of the rows is neither held out nor kept as a whole."""


SHARE = 0.05
"""Of all items, where that is fewer."""


def hold_out(pairs: Pairs, seed: int, share: float = SHARE) -> tuple[Pairs, Pairs]:
    """Split off validation pairs: whole connected components where there are many, else single items.

    Components are no choice where there are few of them (classes, which training must see) or where one holds most of
    the rows: then an item goes with all of its rows, and its captions stay with other items. What is held out never all
    matches each other, because retrieval among such pairs measures nothing.
    """
    components, item_of_row = pairs.groups, _items(pairs)
    alike = pairs.matches.alike(_main(pairs))
    by_component = (
        len(np.unique(components)) >= MANY_COMPONENTS and pairs.matches.largest_component() <= LARGE_COMPONENT
    )
    values, first, unit = np.unique(components if by_component else item_of_row, return_index=True, return_inverse=True)
    if len(values) < 4 or len(np.unique(alike)) < 2:
        raise UserError(_no_split(pairs, len(values)))
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(values))
    wanted = max(2, min(HELD_OUT, round(share * len(values))))
    kind = alike[first][order]
    if (kind[:wanted] == kind[0]).all():
        other = int(np.argmax(kind != kind[0]))
        order[[wanted - 1, other]] = order[[other, wanted - 1]]
    held = np.isin(unit, order[:wanted])
    return pairs.select(np.flatnonzero(~held)), pairs.select(np.flatnonzero(held))


def _main(pairs: Pairs) -> str:
    """The modality whose items are held out one by one: the first that is not typed."""
    return next((name for name in pairs.modalities if not is_text(name)), pairs.modalities[0])


def _items(pairs: Pairs) -> np.ndarray:
    """A number for the first item that each row has, whatever its modality."""
    number = np.full(len(pairs), -1, np.int64)
    offset = 0
    for name in pairs.modalities:
        keys = pairs.keys[name]
        number = np.where((number < 0) & (keys >= 0), keys + offset, number)
        offset += int(keys.max(initial=-1)) + 1
    return number


def _shown(pairs: Pairs, name: str) -> str:
    """The one item of a modality: a text, or the row of a file."""
    return f"{pairs.items[name][0]!r:.60}" if is_text(name) else f"that of row {pairs.ids[0]}"


def _no_split(pairs: Pairs, units: int) -> str:
    """Why no validation pairs can be held out."""
    then = "give some with --val, or add pairs"
    alone = [name for name in pairs.modalities if len(pairs) > 3 and len(np.unique(pairs.keys[name])) == 1]
    if alone:
        what = f"every row of {pairs.name} has the same {modality(alone[0]).noun} ({_shown(pairs, alone[0])})"
        return f"{what}, so nothing can be learned of which belong together; correct the table, or add pairs"
    if units >= 4:
        return f"all pairs of {pairs.name} match each other, so none can be held out to validate on; {then}"
    joins, share = joining(pairs), pairs.matches.largest_component()
    if share > LARGE_COMPONENT and joins:
        return (
            f"{pairs.name} has {units} different items, and one connected component holds {share:.0%} of the rows: "
            f"{describe_join(pairs, joins[0])}; leave out what is wrong, {then}"
        )
    return f"{pairs.name} is too small to hold out validation pairs; {then}"

"""Teach an index by pointing: results marked right or wrong move the query, and may be saved as a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..config import unknown
from ..evaluation.feedback import Learned, learn
from ..evaluation.taught import SavedClass, as_file, parse_saved
from ..modalities import text_modality
from ..models.space import chunks
from ..stores import Condition, Index, of_modality
from ..stores.saved import check_name
from ..types import UserError
from .search import BACKGROUND, SearchableIndex

CLASS = "class:"
"""Before the name of a saved class, in the place of a condition."""

_PART = 65_536
"""Vectors that are compared with a class at a time."""


def marked(store: Index, ids: Sequence[str], what: str) -> np.ndarray:
    """The vectors ``(n, E)`` of marked items. Raises :class:`UserError` for an id that the index does not hold."""
    names = list(dict.fromkeys(ids))
    numbers = store.numbers(names)
    missing = [name for name, number in zip(names, numbers.tolist(), strict=True) if number < 0]
    if missing:
        raise UserError(
            f"the index holds no item {missing[0]!r}, which is marked {what}; give ids as search shows them"
        )
    return store.vectors(numbers)


def learned(store: Index, query_E: np.ndarray | None, right: Sequence[str], wrong: Sequence[str], find: str) -> Learned:
    """The direction that a query and marked items give together, among items of the modality ``find``."""
    both = sorted(set(right) & set(wrong))
    if both:
        raise UserError(f"{both[0]!r} is marked both right and wrong; decide for one")
    if query_E is None and not right:
        raise UserError("nothing says what is wanted: give a query, or mark something right")
    background_BE = store.vectors(store.select([of_modality(find)], BACKGROUND, seed=0))
    return learn(query_E, marked(store, right, "right"), marked(store, wrong, "wrong"), background_BE)


def unwanted(wrong: Sequence[str]) -> list[Condition]:
    """The condition that what was marked wrong is not found again."""
    return [Condition("@id", "!=", tuple(dict.fromkeys(wrong)))] if wrong else []


def save_class(
    index: SearchableIndex,
    name: str,
    taught: Learned,
    find: str,
    asked: str,
    right: Sequence[str],
    wrong: Sequence[str],
) -> SavedClass:
    """Keep what was learned beside the index under a name; a class of that name gets a new version."""
    name = check_name(name)
    before = saved_class(index, name, there=False)
    saved = SavedClass(
        name,
        find,
        str(index.space.fingerprint),
        taught.direction_E,
        taught.threshold,
        version=1 if before is None else before.version + 1,
        asked=asked,
        right=tuple(dict.fromkeys(right)),
        wrong=tuple(dict.fromkeys(wrong)),
    )
    numbers = index.store.numbers(list(saved.right))
    items = index.store.items(numbers.tolist())
    text = text_modality()
    pairs = tuple({item.modality: item.path, text: name} for item in items if Path(item.path).is_absolute())
    saved = replace(saved, pairs=pairs)
    index.location.saved().put(name, as_file(saved))
    return saved


def saved_class(index: SearchableIndex, name: str, there: bool = True) -> SavedClass | None:
    """A class by name; where ``there`` is given, a missing one is a :class:`UserError` that lists those there are."""
    shelf = index.location.saved()
    content = shelf.get(name)
    if content is None:
        if there:
            raise UserError(unknown(name, shelf.names(), f"{index.name} has no saved class"))
        return None
    return parse_saved(content, Path(f"{index.name}/classes/{name}.json")).check(
        index.space.fingerprint, index.space.width, index.name
    )


def saved_classes(index: SearchableIndex) -> list[SavedClass]:
    """All that were saved, in order of their names."""
    found = [saved_class(index, name) for name in index.location.saved().names()]
    return [one for one in found if one is not None]


def members(store: Index, saved: SavedClass) -> list[str]:
    """The ids of the items that belong to a class."""
    return list(_members(store, saved))


def _members(store: Index, saved: SavedClass) -> Iterator[str]:
    numbers = store.select([of_modality(saved.modality)])
    for part in chunks(iter(numbers.tolist()), _PART):
        rows = np.flatnonzero(saved.contains(store.vectors(np.asarray(part))))
        yield from (item.id for item in store.items([part[row] for row in rows.tolist()]))


def conditions(index: SearchableIndex, store: Index, where: Sequence[str | Condition]) -> list[Condition]:
    """What results must satisfy: conditions on columns, and ``class:NAME``, the members of a saved class."""
    found = []
    for one in where:
        if isinstance(one, str) and one.strip().startswith(CLASS):
            saved = saved_class(index, one.strip().removeprefix(CLASS).strip())
            assert saved is not None
            found.append(Condition("@id", "=", tuple(members(store, saved))))
        else:
            found.append(Condition.parse(one) if isinstance(one, str) else one)
    return found

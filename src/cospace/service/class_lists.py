"""What the engine knows of classes: lists that items are classified by, saved classes as conditions, marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from ..commands.classify import bare_names
from ..commands.search import SearchableIndex
from ..commands.teaching import CLASS, learned, members, saved_class, unwanted
from ..evaluation.classes import read_classes
from ..evaluation.feedback import Learned
from ..evaluation.taught import SavedClass
from ..evaluators.classification import Classifier
from ..runs.held_out import read_held_out
from ..stores import Condition
from . import asking
from .recent import Recent
from .snapshot import Snapshot

KEPT = 32
"""Lists of classes whose vectors are remembered, and saved classes whose members are."""


class Classifiers:
    """What a list of classes is to the model, made once; threads may share one object."""

    def __init__(self, collection: SearchableIndex) -> None:
        self._collection = collection
        self._made: Recent[tuple[Any, ...], Classifier] = Recent(KEPT)

    def get(self, names: Sequence[str], templates: Sequence[str] | None, rest: str | None) -> Classifier:
        """The classifier of a list. Raises :class:`~cospace.types.UserError` for one that cannot be used."""
        key = (tuple(names), None if templates is None else tuple(templates), rest)
        known = self._made.get(key)
        if known is not None:
            return known
        folder = self._collection.model_folder
        listed = read_classes(list(names), least=1 if rest else 2)
        held_out = read_held_out(folder)
        made = Classifier.build(self._collection.space, listed, templates, bare_names(folder), held_out, rest)
        return self._made.put(key, made)


class SavedClasses:
    """The saved classes of an index as conditions; the members of each are found once for a version of the index."""

    def __init__(self, collection: SearchableIndex) -> None:
        self._collection = collection
        self._members: Recent[tuple[int, str, int], Condition] = Recent(KEPT)

    def conditions(self, snapshot: Snapshot, where: Sequence[str]) -> list[Condition]:
        """What results must satisfy; ``class:NAME`` are the members of a saved class."""
        return [self._condition(snapshot, one.strip()) for one in where]

    def _condition(self, snapshot: Snapshot, one: str) -> Condition:
        if not one.startswith(CLASS):
            return Condition.parse(one)
        saved = cast(SavedClass, saved_class(self._collection, one.removeprefix(CLASS).strip()))
        key = (snapshot.version, saved.name, hash(saved.direction_E.tobytes()))
        known = self._members.get(key)
        if known is None:
            ids = tuple(members(snapshot.store, saved))
            known = self._members.put(key, Condition("@id", "=", ids))
        return known


def taught(snapshot: Snapshot, query_E: np.ndarray, query: asking.Query, find: str) -> tuple[Learned, list[Condition]]:
    """Where a query points after some results were marked, and the condition that those marked wrong do not return."""
    made = learned(snapshot.store, query_E, query.right, query.wrong, find)
    return made, unwanted(query.wrong)

"""Pairs whose items are prepared: decoded or tokenised once, with rows whose items cannot be used set aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..modalities import Processor, is_text, modality
from ..types import BadItem, Problem, Progress, silent
from .keys import hashes, items_of
from .pairs import Pairs


@dataclass(frozen=True, slots=True)
class PreparedPairs:
    """Pairs with their prepared items: ``items[modality][item]``, and the item of every row, -1 where it has none."""

    pairs: Pairs
    items: Mapping[str, Any]
    item_of_row: Mapping[str, np.ndarray]

    def select(self, rows: np.ndarray) -> PreparedPairs:
        """Some rows; items keep their numbers."""
        return replace(
            self,
            pairs=self.pairs.select(rows),
            item_of_row={name: column[rows] for name, column in self.item_of_row.items()},
        )


def different_items(pairs: Pairs, column: str) -> tuple[list[Any], np.ndarray]:
    """The different items of a column in order of appearance, and the item of every row (-1: none)."""
    first, item_of_row = items_of(pairs.keys[column])
    values = pairs.items[column]
    return [values[row] for row in first.tolist()], item_of_row


def identities(prepared: PreparedPairs, column: str) -> np.ndarray:
    """A number for the content of each item of a column ``(N,)``, uint64, the same wherever it is read."""
    item_of_row = prepared.item_of_row[column]
    found_N = np.zeros(len(prepared.items[column]), np.uint64)
    rows = np.flatnonzero(item_of_row >= 0)
    items, first = np.unique(item_of_row[rows], return_index=True)
    contents = prepared.pairs.contents[column]
    found_N[items] = hashes(contents[row] for row in rows[first].tolist())[:, 0]
    return found_N


def of_some_items(item_of_row: np.ndarray, most: int) -> np.ndarray:
    """Which rows have one of at most ``most`` different items, evenly spaced; ``item_of_row`` is negative for none."""
    items = np.unique(item_of_row[item_of_row >= 0])
    chosen = items if len(items) <= most else items[np.linspace(0, len(items) - 1, most).astype(int)]
    return np.isin(item_of_row, chosen)


def without_encoder(pairs: Pairs, modalities: Sequence[str]) -> list[Problem]:
    """The different files of modalities that are not among these: a model of these cannot read them."""
    problems = []
    for name in (name for name in pairs.modalities if name not in modalities and not is_text(name)):
        reason = f"the model has no encoder for {name}"
        rows = items_of(pairs.keys[name])[0].tolist()
        problems += [Problem(pairs.place(row), "no encoder", reason) for row in rows]
    return problems


def prepare_pairs(
    pairs: Pairs, processors: Mapping[str, Processor], progress: Progress = silent, spill: Path | None = None
) -> PreparedPairs:
    """Prepare every different item of the modalities that have a processor.

    Items live in memory, or in files under ``spill`` where they would take too much.
    """
    items: dict[str, Sequence[Any]] = {}
    item_of_row: dict[str, np.ndarray] = {}
    reasons: dict[int, BadItem] = {}
    for name, processor in processors.items():
        if name not in pairs.items:
            continue
        raws, item_of_row[name] = different_items(pairs, name)
        place = None if spill is None else spill.with_name(f"{spill.name}-{name}.npy")
        prepared = modality(name).prepare_all(raws, processor, progress, place)
        items[name] = prepared.items
        for row in np.flatnonzero(np.isin(item_of_row[name], list(prepared.bad))).tolist():
            reasons.setdefault(row, prepared.bad[int(item_of_row[name][row])])
    made = PreparedPairs(pairs, items, item_of_row)
    if not reasons:
        return made
    made = made.select(np.array([row for row in range(len(pairs)) if row not in reasons], np.int64))
    problems = [Problem(pairs.place(row), bad.kind, bad.reason) for row, bad in sorted(reasons.items())]
    return replace(made, pairs=replace(made.pairs, problems=[*pairs.problems, *problems]))

"""Pairs whose items are prepared: decoded or tokenised once, with rows whose items cannot be used set aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..columns import taken
from ..modalities import Processor, is_text, modality
from ..types import BadItem, Problem, Progress, silent
from .crash_safe import CrashSafeItems
from .keys import hashes, items_of
from .on_demand import (
    IN_MEMORY,
    MANY_TEXTS,
    OnDemandItems,
    OnDemandRows,
    OnDemandTexts,
    comes_encoded,
    preparation_seconds,
    without_rows,
)
from .pairs import Pairs
from .prepared_cache import KeptItems

KEPT_SECONDS = 1.0
"""Preparing that takes longer, as it is estimated, is kept for other runs."""


@dataclass(frozen=True, slots=True)
class PreparedPairs:
    """Pairs with their prepared items: ``items[modality][item]``, and the item of every row, -1 where it has none."""

    pairs: Pairs
    items: Mapping[str, Any]
    item_of_row: Mapping[str, np.ndarray]

    def without(self, bad: Mapping[int, BadItem]) -> PreparedPairs:
        """Without some rows, which are set aside for these reasons."""
        if not bad:
            return self
        made = self.select(np.delete(np.arange(len(self.pairs)), sorted(bad)))
        return replace(made, pairs=without_rows(self.pairs, bad))

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
    return list(taken(pairs.items[column], first)), item_of_row


def some_items(pairs: Pairs, column: str, most: int | None = None) -> Sequence[Any]:
    """The different items of a column in order of appearance; at most so many of them, evenly spaced."""
    first, _ = items_of(pairs.keys[column])
    if most is not None and len(first) > most:
        first = first[np.linspace(0, len(first) - 1, most).astype(int)]
    return taken(pairs.items[column], first)


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

    Items live in memory, or in files under ``spill`` where they would take too much. Of many that are decoded, what an
    earlier run has prepared is taken from the cache. An item at which an earlier attempt ended is set aside.
    """
    items: dict[str, Sequence[Any]] = {}
    item_of_row: dict[str, np.ndarray] = {}
    reasons: dict[int, BadItem] = {}
    for name, processor in processors.items():
        if name not in pairs.items:
            continue
        raws, item_of_row[name] = different_items(pairs, name)
        place = None if spill is None else spill.with_name(f"{spill.name}-{name}.npy")
        with closing(_known(pairs, name, processor, spill)) as known:
            prepared = modality(name).prepare_all(raws, processor, progress, place, known)
        items[name] = prepared.items
        for row in np.flatnonzero(np.isin(item_of_row[name], list(prepared.bad))).tolist():
            reasons.setdefault(row, prepared.bad[int(item_of_row[name][row])])
    return PreparedPairs(pairs, items, item_of_row).without(reasons)


def prepare_on_demand(
    pairs: Pairs,
    processors: Mapping[str, Processor],
    progress: Progress = silent,
    spill: Path | None = None,
    in_memory: int = IN_MEMORY,
) -> PreparedPairs:
    """The same, where items that are decoded are prepared when they are first asked for (:class:`OnDemandItems`).

    All rows are there until :func:`settled` has tried their items.
    """
    items: dict[str, Any] = {}
    item_of_row: dict[str, np.ndarray] = {}
    for name, processor in processors.items():
        if name not in pairs.items:
            continue
        first, item_of_row[name] = items_of(pairs.keys[name])
        raws = taken(pairs.items[name], first)
        if modality(name).is_text and len(raws) > MANY_TEXTS:
            items[name] = OnDemandTexts(raws, processor)
        elif modality(name).is_text:
            items[name] = modality(name).prepare_all(list(raws), processor, progress).items
        else:
            items[name] = OnDemandItems(_known(pairs, name, processor, spill), in_memory)
    return PreparedPairs(pairs, items, item_of_row)


def settled(prepared: PreparedPairs, progress: Progress = silent) -> PreparedPairs:
    """Pairs whose items have all been tried: rows of those that cannot be used are set aside."""
    reasons: dict[int, BadItem] = {}
    for name, items in prepared.items.items():
        if isinstance(items, OnDemandItems):
            item_of_row = prepared.item_of_row[name]
            items.ensure(np.unique(item_of_row[item_of_row >= 0]), progress)
            for row in np.flatnonzero(np.isin(item_of_row, list(items.bad))).tolist():
                reasons.setdefault(row, items.bad[int(item_of_row[row])])
    return prepared.without(reasons)


def on_demand_rows(prepared: PreparedPairs, seed: int, most: float, record: Path | None) -> OnDemandRows | None:
    """The rows of pairs with items that are prepared on demand, where there are any."""
    items = {name: items for name, items in prepared.items.items() if isinstance(items, OnDemandItems)}
    return OnDemandRows(prepared.pairs, items, prepared.item_of_row, seed, most, record) if items else None


def in_memory(prepared: PreparedPairs) -> np.ndarray:
    """The rows whose items are all in memory, ascending."""
    here = np.ones(len(prepared.pairs), bool)
    for name, items in prepared.items.items():
        if isinstance(items, OnDemandItems):
            item_of_row = prepared.item_of_row[name]
            here &= (item_of_row < 0) | np.isin(item_of_row, items.in_memory_now())
    return np.flatnonzero(here)


def _known(pairs: Pairs, name: str, processor: Processor, spill: Path | None) -> CrashSafeItems:
    """What is known of the different items of a modality, and where a job notes which of them it is preparing."""
    if modality(name).is_text:
        return CrashSafeItems(name, (), processor)
    first, _ = items_of(pairs.keys[name])
    slow = comes_encoded(pairs, name) and preparation_seconds(pairs, [name]) > KEPT_SECONDS
    kept = KeptItems(name, taken(pairs.contents[name], first), processor) if slow else None
    folder = None if spill is None else spill.with_name(f"{spill.name}-{name}-{pairs.fingerprint[:16]}")
    known = CrashSafeItems(name, taken(pairs.items[name], first), processor, kept, folder)
    known.recover()
    return known

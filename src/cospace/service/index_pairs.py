"""Pairs of an index: items of two modalities that came from the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from ..commands.search import SearchableIndex
from ..evaluation.vectors import unit
from ..modalities import is_text, modality
from ..stores import Index, Item, of_modality
from ..stores.entries import ROW, SOURCE

PAIRS = 20_000
"""Pairs of two modalities that are measured; of a larger index that many are drawn."""

_READ = 5000


@dataclass(frozen=True, slots=True)
class Pairs:
    """Items of two modalities that stand in the same rows, by their place; ``total`` is how many the index has."""

    first: str
    second: str
    first_items: list[Item]
    second_items: list[Item]
    numbers_P: np.ndarray
    first_PE: Tensor
    second_PE: Tensor
    total: int

    def __len__(self) -> int:
        return len(self.first_items)

    @property
    def contents(self) -> np.ndarray:
        """A number for each different content of the second modality: rows of equal content match each other."""
        found: np.ndarray = np.unique([item.hash or item.text for item in self.second_items], return_inverse=True)[1]
        return found

    @property
    def about(self) -> str:
        """The two modalities, to name these pairs: ``images and texts``."""
        return f"{modality(self.first).plural} and {modality(self.second).plural}"

    def rows(self, most: int) -> Tensor:
        """At most so many places, evenly spread."""
        return torch.linspace(0, len(self) - 1, min(most, len(self))).long()


def _both(modalities: Sequence[str]) -> list[tuple[str, str]]:
    """Every two modalities, files before texts."""
    return list(combinations(sorted(modalities, key=is_text), 2))


def paired_items(collection: SearchableIndex, seed: int) -> list[Pairs]:
    """The pairs of every two modalities that share rows of the index; if none do, those of the first two, empty."""
    found = [_pairs(collection.store, first, second, seed) for first, second in _both(collection.space.modalities)]
    return [pairs for pairs in found if len(pairs)] or found[:1]


def _pairs(store: Index, first: str, second: str, seed: int) -> Pairs:
    """Items of one modality whose own row has an item of the other."""
    numbers, row_of = _rows(store, first)
    others, other_row_of = _rows(store, second)
    number_of = dict(zip(other_row_of, others.tolist(), strict=True))
    partners = np.array([number_of.get(row, -1) for row in row_of], np.int64)
    both = np.flatnonzero(partners >= 0)
    kept = np.sort(np.random.default_rng(seed).permutation(both)[:PAIRS])
    first_PE, second_PE = (
        unit(torch.from_numpy(store.vectors(side[kept]))) if len(kept) else torch.zeros(0, store.width)
        for side in (numbers, partners)
    )
    first_items, second_items = (store.items(side[kept].tolist()) for side in (numbers, partners))
    return Pairs(first, second, first_items, second_items, numbers[kept], first_PE, second_PE, len(both))


def _rows(store: Index, name: str) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """Numbers of the items of a modality, and for each the input and the row it came from."""
    numbers = store.select([of_modality(name)])
    items = (
        item for start in range(0, len(numbers), _READ) for item in store.items(numbers[start : start + _READ].tolist())
    )
    return numbers, [
        (item.extras.get(SOURCE, ""), item.extras.get(ROW, item.id.removeprefix(f"{name}/"))) for item in items
    ]

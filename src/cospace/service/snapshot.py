"""One version of the index as the service answers from it: every answer comes from exactly one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..commands.search import BACKGROUND
from ..modalities import is_text
from ..stores import Condition, Index, of_modality
from ..stores.entries import own_columns

EXAMPLES, REPRESENTATIVES = 6, 24
ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A store as it was opened, with what the page shows before anybody has asked."""

    store: Index
    counts: dict[str, int]
    columns: dict[str, int]
    background: dict[str, np.ndarray]
    """Unit vectors ``(B, E)`` of a seeded sample, by modality."""
    examples: list[str] = field(default_factory=list)
    representatives: list[int] = field(default_factory=list)

    @property
    def version(self) -> int:
        """Of the store."""
        return self.store.version

    @classmethod
    def of(cls, store: Index, modalities: Sequence[str]) -> Snapshot:
        """Read from a store, once, what most requests need."""
        counts, background, sampled = {}, {}, {}
        for modality in modalities:
            where = [of_modality(modality)]
            counts[modality] = count(store, where)
            sampled[modality] = store.select(where, BACKGROUND, seed=0)
            background[modality] = store.vectors(sampled[modality])
        representatives = _representatives(sampled, background)
        return cls(
            store,
            counts,
            own_columns(store.columns()),
            background,
            _examples(store, sampled, background),
            representatives,
        )


def count(store: Index, where: Sequence[Condition]) -> int:
    """Items that satisfy all conditions."""
    return len(store.select(where))


def _representatives(sampled: Mapping[str, np.ndarray], background: Mapping[str, np.ndarray]) -> list[int]:
    """Numbers of files that stand for the others, as many of each modality."""
    files = [name for name, numbers in sampled.items() if len(numbers) and not is_text(name)]
    most = -(-REPRESENTATIVES // max(1, len(files)))
    return [number for name in files for number in sampled[name][medoids(background[name], most)].tolist()]


def _examples(store: Index, sampled: Mapping[str, np.ndarray], background: Mapping[str, np.ndarray]) -> list[str]:
    """Texts that people might search for, unlike each other: from the index's own texts, or what its files say."""
    for name in sorted(sampled, key=is_text, reverse=True):
        numbers = sampled[name]
        if len(numbers):
            chosen = [int(numbers[place]) for place in medoids(background[name], EXAMPLES)]
            texts = [item.text.strip() for item in store.items(chosen)]
            texts = list(dict.fromkeys(text for text in texts if 0 < len(text) <= 80))
            if texts:
                return texts
    return []


def medoids(vectors_NE: np.ndarray, most: int, seed: int = 0) -> list[int]:
    """Rows that stand for the others: the nearest to each centre of k-means (Lloyd's, on unit vectors)."""
    count = min(most, len(vectors_NE))
    if count == 0:
        return []
    rows = np.random.default_rng(seed).permutation(len(vectors_NE))[:count]
    centres_KE = vectors_NE[rows]
    for _ in range(ROUNDS):
        nearest_N = (vectors_NE @ centres_KE.T).argmax(1)
        sums_KE = np.zeros_like(centres_KE)
        np.add.at(sums_KE, nearest_N, vectors_NE)
        norms_K1 = np.linalg.norm(sums_KE, axis=1, keepdims=True)
        centres_KE = np.where(norms_K1 > 0, sums_KE / np.maximum(norms_K1, 1e-12), centres_KE)
    return list(dict.fromkeys((vectors_NE @ centres_KE.T).argmax(0).tolist()))

"""One version of the index as the service answers from it: every answer comes from exactly one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..commands.search import BACKGROUND, SearchableIndex
from ..modalities import is_text, text_modality
from ..stores import Condition, Index, of_modality
from ..stores.entries import own_columns
from ..stores.lexicon import Lexicon

EXAMPLES, REPRESENTATIVES = 6, 24
ROUNDS = 12
TRIED, SEEN, FEWEST, WORKS = 60, 10, 3, 0.6
"""Phrases that are tried as examples; first results that are looked at; items that an example finds at least, and the
share of them that have to be among those results."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A store as it was opened, with what the page shows before anybody has asked."""

    store: Index
    counts: dict[str, int]
    columns: dict[str, int]
    background: dict[str, np.ndarray]
    """Unit vectors ``(B, E)`` of a seeded sample, by modality."""
    lexicon: Lexicon
    examples: list[str] = field(default_factory=list)
    representatives: list[int] = field(default_factory=list)
    shared: dict[str, np.ndarray | None] = field(default_factory=dict)
    """By modality, the direction that all queries share, once it was asked for."""

    @property
    def version(self) -> int:
        """Of the store."""
        return self.store.version

    @property
    def usual(self) -> str:
        """The modality of the results where nobody says: files, where the index holds any."""
        names = sorted(self.counts, key=is_text)
        return next((name for name in names if self.counts[name]), names[0])

    @classmethod
    def of(cls, collection: SearchableIndex, store: Index, before: Snapshot | None = None) -> Snapshot:
        """Read from a store of a collection, once, what most requests need; examples are those of ``before``."""
        modalities = collection.space.modalities
        counts, background, sampled = {}, {}, {}
        for modality in modalities:
            where = [of_modality(modality)]
            counts[modality] = count(store, where)
            sampled[modality] = store.select(where, BACKGROUND, seed=0)
            background[modality] = store.vectors(sampled[modality])
        lexicon = collection.location.lexicon(store)
        made = cls(store, counts, own_columns(store.columns()), background, lexicon)
        examples = _examples(collection, made) if before is None else before.examples
        return replace(made, examples=examples, representatives=_representatives(sampled, background))


def count(store: Index, where: Sequence[Condition]) -> int:
    """Items that satisfy all conditions."""
    return len(store.select(where))


def _representatives(sampled: Mapping[str, np.ndarray], background: Mapping[str, np.ndarray]) -> list[int]:
    """Numbers of files that stand for the others, as many of each modality."""
    files = [name for name, numbers in sampled.items() if len(numbers) and not is_text(name)]
    most = -(-REPRESENTATIVES // max(1, len(files)))
    return [number for name in files for number in sampled[name][medoids(background[name], most)].tolist()]


def _examples(collection: SearchableIndex, snapshot: Snapshot) -> list[str]:
    """Short texts out of the captions that verifiably work: most of their first results have captions that say it."""
    phrases, text, found = snapshot.lexicon.phrases(TRIED), text_modality(), snapshot.usual
    if not phrases or text not in collection.space.modalities or is_text(found):
        return []
    query_QE = collection.space.embed(progress=None, **{text: phrases})
    numbers_QK = snapshot.store.nearest(query_QE, SEEN, [of_modality(found)]).numbers_QK
    kept: list[str] = []
    for phrase, numbers_K in zip(phrases, numbers_QK, strict=True):
        holding = snapshot.lexicon.holding(phrase, found)
        right, possible = np.isin(numbers_K, holding).sum(), min(SEEN, len(holding))
        alike = any(set(phrase.split()) & set(other.split()) for other in kept)
        if possible >= FEWEST and right >= WORKS * possible and not alike:
            kept.append(phrase)
    return kept[:EXAMPLES]


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

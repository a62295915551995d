"""Names for the regions of a map: groups of places, and the words that are typical of each group's texts."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

MOST = 20
"""Regions that get a name."""
LEAST_SHARE = 0.3
"""Share of a region's texts that must hold a term before the region is called by it."""

_ROUNDS = 25
_PER_REGION = 12
_TERMS = 2
_STANDS_OUT = 1.3
"""How many times more frequent in a region than everywhere a term must be."""
_ALSO = 0.55
"""Share of the best term's weight that a second one must have."""
_APART = 3
"""Places from the first word of a phrase to its last."""
_STOP = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be been being but by can do does for from has have he her him his how i if in "
        "into is it its just more no not of off on one onto or our out over she so some than that the their "
        "them then there these they this to two under up us very was we were what when where which while who "
        "will with you your near next front back side several various photo picture image ",
    )
)


def regions(places_N2: np.ndarray, seed: int = 0, most: int = MOST) -> np.ndarray:
    """The region of each place, ``(N,)``, by k-means; fewer regions where there are few places."""
    count = len(places_N2)
    if not count:
        return np.zeros(0, np.int64)
    wanted = min(most, max(1, round(math.sqrt(count / _PER_REGION))))
    generator = np.random.default_rng(seed)
    sample_S2 = places_N2[generator.permutation(count)[: 400 * most]].astype(np.float64)
    centres_K2 = _apart(sample_S2, wanted, generator)
    for _ in range(_ROUNDS):
        near_S = _nearest(sample_S2, centres_K2)
        size_K = np.bincount(near_S, minlength=len(centres_K2))
        sums_K2 = np.stack([np.bincount(near_S, sample_S2[:, axis], len(centres_K2)) for axis in (0, 1)], axis=1)
        centres_K2 = np.where(size_K[:, None] > 0, sums_K2 / np.maximum(size_K, 1)[:, None], centres_K2)
    return _nearest(places_N2.astype(np.float64), centres_K2)


def names(texts: Sequence[str], region_N: np.ndarray) -> list[str]:
    """A name for each region, empty where no term is held by :data:`LEAST_SHARE` of its texts.

    Terms are words, two words with no more than small ones between them ("dog in the grass") and three in a row
    ("medium skin tone"); singular and plural are one. They are
    weighed by class-based TF-IDF (Grootendorst 2022, section 4.3) on the number of texts that hold them, among those
    that stand out of the whole collection at all.
    """
    terms = [_terms(text) for text in texts]
    held = np.array([bool(found) for found in terms])
    everywhere = Counter(key for found in terms for key in found)
    last = int(region_N.max()) + 1 if len(region_N) else 0
    words_a_region = sum(everywhere.values()) / max(last, 1)
    result = []
    for region in range(last):
        rows = np.flatnonzero((region_N == region) & held).tolist()
        inside = Counter(key for row in rows for key in terms[row])
        weights = {
            key: count * math.log1p(words_a_region / everywhere[key])
            for key, count in inside.items()
            if count >= max(2, LEAST_SHARE * len(rows))
            and count / len(rows) > _STANDS_OUT * everywhere[key] / held.sum()
        }
        forms = Counter((key, terms[row][key]) for row in rows for key in terms[row] if key in weights)
        result.append(" · ".join(_best(weights, forms)))
    return result


Term = tuple[str, ...]
"""One to three words without their plural endings."""


def _best(weights: dict[Term, float], forms: Counter[tuple[Term, str]]) -> list[str]:
    """The heaviest terms that share no word, as they are most often written."""
    chosen: list[Term] = []
    for key in sorted(weights, key=lambda key: (-weights[key], -len(key), key)):
        if len(chosen) == _TERMS or (chosen and weights[key] < _ALSO * weights[chosen[0]]):
            break
        if not any(set(key) & set(other) for other in chosen):
            chosen.append(key)
    return [max((n, form) for (of, form), n in forms.items() if of == key)[1] for key in chosen]


def _terms(text: str) -> dict[Term, str]:
    """The different words and phrases of a text that could say what it is about, as they are written there."""
    found: dict[Term, str] = {}
    for sentence in re.split(r"[^\w\s'’-]+", text.lower()):
        words = list(_words(sentence))
        for _, word in words:
            found.setdefault((_stem(word),), word)
        spoken = re.findall(r"\w+", sentence)
        for (place, word), (then, other) in pairwise(words):
            if then - place <= _APART and word != other:
                found.setdefault((_stem(word), _stem(other)), " ".join(spoken[place : then + 1]))
        for (place, *_), _, (then, *_) in zip(words, words[1:], words[2:], strict=False):
            if then - place == 2:
                three = spoken[place : then + 1]
                found.setdefault(tuple(map(_stem, three)), " ".join(three))
    return found


def _words(sentence: str) -> Iterator[tuple[int, str]]:
    """Words with a meaning, and their places among all words."""
    for place, word in enumerate(re.findall(r"\w+", sentence)):
        if len(word) > 2 and word not in _STOP and re.fullmatch(r"[^\W\d_]+", word):
            yield place, word


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _apart(sample_S2: np.ndarray, wanted: int, generator: np.random.Generator) -> np.ndarray:
    """First centres, each drawn with the chance of its squared distance from those before (k-means++)."""
    centres = [sample_S2[int(generator.integers(len(sample_S2)))]]
    distance_S = np.square(sample_S2 - centres[0]).sum(1)
    while len(centres) < wanted and distance_S.sum() > 0:
        centres.append(sample_S2[generator.choice(len(sample_S2), p=distance_S / distance_S.sum())])
        distance_S = np.minimum(distance_S, np.square(sample_S2 - centres[-1]).sum(1))
    return np.array(centres)


def _nearest(places_N2: np.ndarray, centres_K2: np.ndarray) -> np.ndarray:
    """The nearest centre of each place, in parts of bounded memory."""
    parts = [
        (np.square(centres_K2).sum(1) - 2 * places_N2[start : start + 50_000] @ centres_K2.T).argmin(1)
        for start in range(0, len(places_N2), 50_000)
    ]
    return np.concatenate(parts)

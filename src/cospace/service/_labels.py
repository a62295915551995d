"""Names for the regions of a map: groups of places, and the words that are typical of each group's texts."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

MOST = 20
"""Regions that get a name."""

_ROUNDS = 25
_PER_REGION = 12
_WORDS = 3
_SHARE = 0.06
_LENGTH = 42
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


def names(texts: Sequence[str], region_N: np.ndarray, places_N2: np.ndarray) -> list[str]:
    """A name for each region: its typical words, else the text in its middle, else nothing."""
    words = [_words(text) for text in texts]
    held = np.array([bool(text.strip()) for text in texts])
    everywhere = Counter(word for group in words for word in group)
    result = []
    for region in range(int(region_N.max()) + 1 if len(region_N) else 0):
        rows = np.flatnonzero((region_N == region) & held)
        if not len(rows):
            result.append("")
            continue
        inside = Counter(word for row in rows for word in words[row])
        typical = _typical(inside, len(rows), everywhere, int(held.sum()))
        result.append(" · ".join(typical) if typical else _middle(texts, rows, places_N2))
    return result


def _typical(inside: Counter[str], rows: int, everywhere: Counter[str], total: int) -> list[str]:
    """Words that many texts of the region have and few others: share times information gained."""
    scored = []
    for word, count in inside.items():
        share, common = count / rows, everywhere[word] / total
        if count >= 2 and share >= _SHARE and share > 1.5 * common:
            scored.append((share * math.log(share / common), count, word))
    scored.sort(key=lambda entry: (-entry[0], -entry[1], entry[2]))
    best: list[str] = []
    for score, _, word in scored:
        if len(best) == _WORDS or score < 0.4 * scored[0][0]:
            break
        if not any(word.rstrip("s") == kept.rstrip("s") for kept in best):
            best.append(word)
    return best


def _middle(texts: Sequence[str], rows: np.ndarray, places_N2: np.ndarray) -> str:
    centre_2 = places_N2[rows].mean(0)
    text = " ".join(texts[rows[np.square(places_N2[rows] - centre_2).sum(1).argmin()]].split())
    return text if len(text) <= _LENGTH else text[: _LENGTH - 1].rstrip() + "…"


def _words(text: str) -> set[str]:
    """The different words of a text, in small letters, that could say what it is about."""
    return {word for word in re.findall(r"[^\W\d_]{3,}", text.lower()) if word not in _STOP}


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

"""Fit and check what a search says of its results, on held-out queries: whole captions, and a few words of them.

An item is a match of a text that it is paired with, of every short text whose words its captions hold, in any order,
and of a longer one that one of its captions says word for word, since there the order matters ("a red square above a
blue circle"): a query asks "show me this", not "which one was it". What is no text matches what the pairs say.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..modalities.text.words import is_short, words
from ..models.calibration import MAYBE, SHORT, WHOLE, Asked, Fit, Relevance, judge, probabilities

LEAST_QUERIES = 100
"""Fewer held-out queries say too little about probabilities; none are shown then."""
MOST_QUERIES, MOST_GALLERY = 400, 2_000
COLDEST, HOTTEST = 1e-3, 1.0
"""Temperatures, in cosines, between which the likeliest is looked for."""
_CUTS = 16
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Bin:
    """Results of similar probability: its mean, the share that was right, how many results."""

    predicted: float
    observed: float
    count: int


def kind_of(text: str) -> str:
    """Whether a text is a short query or a whole caption."""
    return SHORT if is_short(text) else WHOLE


def short_queries(captions: Sequence[str], most: int = MOST_QUERIES, seed: int = 0) -> list[str]:
    """Queries of one to four words drawn from captions: single words, two in a row, any two, three or four in a row.

    As many different ones of each kind as there are, up to ``most`` together.
    """
    dice = random.Random(seed)
    kinds: list[dict[str, None]] = [{}, {}, {}, {}]
    for caption in captions:
        there = words(caption)
        different = list(dict.fromkeys(there))
        kinds[0].update(dict.fromkeys(different))
        kinds[1].update((" ".join(pair), None) for pair in pairwise(there))
        if len(different) > 1:
            kinds[2][" ".join(dice.sample(different, 2))] = None
        if len(there) > 2:
            size = dice.randint(3, min(4, len(there)))
            start = dice.randrange(len(there) - size + 1)
            kinds[3][" ".join(there[start : start + size])] = None
    drawn = [sorted(queries) for queries in kinds]
    for queries in drawn:
        dice.shuffle(queries)
    return list(dict.fromkeys(query for queries in drawn for query in queries[: most // len(kinds)]))


def holding(queries: Sequence[str], captions: Sequence[str]) -> np.ndarray:
    """Bool ``(Q, G)``: which items have captions that hold all words of which query; an item's captions are lines.

    All words of a whole caption must stand in one line, in its order and beside each other.
    """
    places: dict[str, set[int]] = {}
    for place, caption in enumerate(captions):
        for word in set(words(caption)):
            places.setdefault(word, set()).add(place)
    held = np.zeros((len(queries), len(captions)), bool)
    for row, query in enumerate(queries):
        sets = [places.get(word, set()) for word in set(words(query))]
        chosen = list(set.intersection(*sets)) if sets else []
        if kind_of(query) == WHOLE:
            chosen = [place for place in chosen if _says(captions[place], words(query))]
        held[row, chosen] = True
    return held


def _says(captions: str, asked: Sequence[str]) -> bool:
    """Whether one line has all these words in this order, beside each other."""
    phrase = f" {' '.join(asked)} "
    return any(phrase in f" {' '.join(words(line))} " for line in captions.split("\n"))


def fit(scores_QG: np.ndarray, is_match_QG: np.ndarray, counted_Q: np.ndarray | None = None) -> Fit | None:
    """The likeliest temperature; nothing where fewer than :data:`LEAST_QUERIES` queries have a match.

    ``scores_QG`` are cosines of every query with every item of the gallery. How many items match is known of each query
    of which they can be counted in captions (``counted_Q``, of none by default), of others only on average.
    """
    rows = np.flatnonzero(is_match_QG.any(1))
    if len(rows) < LEAST_QUERIES:
        return None
    scores_QG, is_match_QG = scores_QG[rows].astype(np.float32), is_match_QG[rows]
    many_Q = is_match_QG.sum(1).astype(np.float64)
    counted_Q = np.zeros(len(rows), bool) if counted_Q is None else counted_Q[rows]
    expected_Q = np.where(counted_Q, many_Q, many_Q[~counted_Q].mean() if not counted_Q.all() else 0.0)

    def cost(place: float) -> float:
        chance_QG = probabilities(scores_QG, expected_Q, float(np.exp(place))).clip(1e-6, 1 - 1e-6)
        return -float(np.log(np.where(is_match_QG, chance_QG, 1 - chance_QG)).sum())

    temperature = float(np.exp(_lowest(cost, np.log(COLDEST), np.log(HOTTEST))))
    return Fit(temperature, float(np.median(many_Q)), scores_QG.shape[1])


def probabilities_of(
    relevance: Relevance,
    direction: str,
    scores_QG: np.ndarray,
    texts: Sequence[str] | None = None,
    captions: Sequence[str] | None = None,
) -> np.ndarray | None:
    """What page and terminal say of every item of a gallery for some queries: ``(Q, G)``, in the gallery's order.

    ``texts`` are the queries where these are texts, ``captions`` those of each item, a line each. None where nothing
    calibrates the direction.
    """
    if direction not in relevance:
        return None
    held_QG = None if texts is None or captions is None else holding(texts, captions)
    known: set[str] = set() if captions is None else {word for caption in captions for word in words(caption)}
    chance_QG = np.zeros(scores_QG.shape)
    for row, cosine_G in enumerate(scores_QG):
        asked, holds_G = Asked(), None
        if texts is not None:
            there = set(words(texts[row]))
            asked = Asked(kind_of(texts[row]))
            if held_QG is not None and known:
                holds_G = held_QG[row] if asked.kind == SHORT else None
                many = None if holds_G is None else int(holds_G.sum())
                asked = Asked(asked.kind, many, len(there & known), len(there - known))
        order_G = np.argsort(-cosine_G, kind="stable")
        fitted = relevance.of(direction, asked.kind)
        if fitted is None:
            return None
        chance_QG[row, order_G] = judge(
            fitted, asked, cosine_G[order_G], holds_N=None if holds_G is None else holds_G[order_G]
        )
    return chance_QG


def shown(probability: np.ndarray, is_match: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of results, flat, those that are maybe or better, and which of them match."""
    probability, is_match = np.ravel(probability), np.ravel(is_match)
    enough = probability >= MAYBE
    return probability[enough], is_match[enough]


def reliability(probability: np.ndarray, is_match: np.ndarray, bins: int = 10) -> list[Bin]:
    """Predicted against observed in bins of equal width; empty bins are left out."""
    probability, is_match = np.asarray(probability, np.float64), np.asarray(is_match, bool)
    place = np.minimum((probability * bins).astype(int), bins - 1)
    inside = [place == number for number in range(bins)]
    return [
        Bin(float(probability[one].mean()), float(is_match[one].mean()), int(one.sum())) for one in inside if one.any()
    ]


def expected_calibration_error(probability: np.ndarray, is_match: np.ndarray, bins: int = 10) -> float:
    """Mean distance of predicted and observed over the bins of :func:`reliability`, by their counts; 0 is perfect."""
    found = reliability(probability, is_match, bins)
    total = sum(one.count for one in found)
    return sum(one.count * abs(one.predicted - one.observed) for one in found) / max(total, 1)


def _lowest(cost: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one number with one valley is lowest (golden section)."""
    inner, outer = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    left, right = cost(inner), cost(outer)
    for _ in range(_CUTS):
        if left <= right:
            high, outer, right = outer, inner, left
            inner = high - _GOLDEN * (high - low)
            left = cost(inner)
        else:
            low, inner, left = inner, outer, right
            outer = low + _GOLDEN * (high - low)
            right = cost(outer)
    return (low + high) / 2

"""From cosines to probabilities: what a space keeps of its held-out pairs, and the words for it.

A search is judged as a whole. Of the ``N`` items of a collection ``c`` can be right: one for a caption of one image, as
many as there are captions that say it for "dog". Whatever the odds of a single item, ``exp(cosine / temperature)``,
exactly ``c`` are right: for one that is the softmax, which contrastive training is about. So the probabilities of a
query add up to ``c``. Only the temperature is fitted (as by Guo et al. 2017), on held-out queries; how large and how
difficult a collection is enters by the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

STRONG, LIKELY, MAYBE = 0.70, 0.50, 0.20
"""Least probabilities of results that are called so; those below are weak. The only place where they are defined."""

MATCHES = ("strong", "likely", "maybe", "weak")
"""Words for a result, from the best on."""

GUESS, DOUBT = 0.10, 0.49
"""Most that a result may have where no word of a query is known, and where some are unknown."""

WHOLE, SHORT = "whole captions", "one to four words"
"""The kinds of queries; what is no text counts as whole."""

FIRST, UNTIL, DEEPEST = 500, 3, 10_000
"""Results that are judged: the first ones, or so many times as many as can be right, at most :data:`DEEPEST`."""

NOWHERE = 0.5
"""Items that can be right where no caption holds all words of a query together, though each is known."""

BY_CAPTION = 0.95
"""Probability that an item shows what its own captions say, where no score decides: captions are sometimes wrong."""

COUNTED = 12
"""Up to so many right items, their number is taken exactly."""

_STEPS = 40


@dataclass(frozen=True, slots=True)
class Calibration:
    """P(match | cosine) = 1 / (1 + exp(-(slope * cosine + offset))) of a pair by itself, in no collection.

    The prior is even: the probability that two items match when that is as likely as not beforehand.
    """

    slope: float
    offset: float

    def probability(self, cosine: np.ndarray | float) -> np.ndarray:
        """Probabilities in float64, of the cosine's shape."""
        return _logistic(self.log_odds(cosine))

    def log_odds(self, cosine: np.ndarray | float) -> np.ndarray:
        """Evidence that can be added to other evidence: ``log(p / (1 - p))``, float64, of the cosine's shape."""
        return np.asarray(self.slope * np.asarray(cosine, np.float64) + self.offset)

    def at(self, prior: float) -> Calibration:
        """The same evidence when the share ``prior`` (between 0 and 1) of what is scored matches."""
        return Calibration(self.slope, self.offset + float(np.log(prior / (1 - prior))))


@dataclass(frozen=True, slots=True)
class Fit:
    """One kind of query in one direction: the temperature, how many items match the middle query, among how many."""

    temperature: float
    expected: float
    gallery: int


@dataclass(frozen=True, slots=True)
class Relevance:
    """All fits of a space, by direction (``text_to_image``) and kind of query (:data:`WHOLE`, :data:`SHORT`)."""

    fits: Mapping[str, Mapping[str, Fit]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.fits)

    def __contains__(self, direction: str) -> bool:
        return direction in self.fits

    def __iter__(self) -> Any:
        return iter(self.fits)

    def of(self, direction: str, kind: str) -> Fit | None:
        """The fit of a kind of query; that of whole captions serves short ones where nothing else was fitted."""
        fits = self.fits.get(direction, {})
        return fits.get(kind) or fits.get(WHOLE)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {way: {kind: asdict(fit) for kind, fit in fits.items()} for way, fits in self.fits.items()}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Relevance:
        """What :meth:`plain` gave. Raises TypeError or ValueError for anything else."""
        return cls({way: {kind: _checked(fit) for kind, fit in fits.items()} for way, fits in data.items()})


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of a query before any score.

    ``holding`` is how many items of the collection have captions that hold all words of a short query, None of others
    and where no captions or no words are there; ``known`` and ``unknown`` count its words that some caption holds, and
    the others.
    """

    kind: str = WHOLE
    holding: int | None = None
    known: int = 0
    unknown: int = 0

    def expected(self, fit: Fit, items: int) -> float:
        """How many of ``items`` can be right."""
        if self.holding:
            return float(self.holding)
        if self.kind == WHOLE:
            return fit.expected
        return NOWHERE if self.holding == 0 else fit.expected * items / fit.gallery

    @property
    def most(self) -> float:
        """No result is likelier: a word that no caption holds may mean anything."""
        return 1.0 if not self.unknown else DOUBT if self.known else GUESS

    def depth(self, items: int) -> int:
        """How many results have to be looked at to judge the first ones."""
        return min(items, DEEPEST, max(FIRST, UNTIL * (self.holding or 0)))


def judge(
    fit: Fit,
    asked: Asked,
    cosine_N: np.ndarray,
    others: tuple[np.ndarray, float] | None = None,
    holds_N: np.ndarray | None = None,
) -> np.ndarray:
    """Probabilities ``(N,)`` of the results of one query, best first; they never go up.

    ``cosine_N`` are those of the first :meth:`Asked.depth` results at least, ``others`` a sample ``(B,)`` of the
    cosines of the rest with how many items each stands for, ``holds_N`` which results have captions with all words.
    """
    rest, many = (None, 0.0) if others is None else (others[0][None], others[1])
    items = len(cosine_N) + (0 if rest is None else round(many * rest.shape[1]))
    expected_1 = np.array([asked.expected(fit, items)])
    chance_N = probabilities(cosine_N[None], expected_1, fit.temperature, None if rest is None else (rest, many))[0]
    if holds_N is not None and (asked.holding or 0) >= ENOUGH:
        near = slice(asked.depth(items))
        chance_N[near] = by_neighbours(chance_N[near], holds_N[near])
    return np.minimum(np.minimum.accumulate(chance_N), asked.most)


def match(probability: float) -> str:
    """The word for a probability."""
    return MATCHES[sum(probability < least for least in (STRONG, LIKELY, MAYBE))]


def outstanding(z_N: np.ndarray, items: int) -> list[str]:
    """Words where nothing is calibrated: by how far results stand out, in deviations of all items' scores.

    The largest of ``items`` numbers drawn from a normal distribution is about ``sqrt(2 log items)`` out.
    """
    chance = np.sqrt(2 * np.log(max(items, 2)))
    return [MATCHES[sum(z < chance + more for more in (1, 0, -1))] for z in z_N.tolist()]


def probabilities(
    cosine_QN: np.ndarray, expected_Q: np.ndarray, temperature: float, others: tuple[np.ndarray, float] | None = None
) -> np.ndarray:
    """Probabilities ``(Q, N)``, float64, that add up to ``expected_Q`` in each row.

    Where only the best items' cosines are given, ``others`` is a sample ``(Q, B)`` of the cosines of the rest, with how
    many items each of them stands for; they are part of the sum.
    """
    count, many = cosine_QN.shape[1], 1.0
    scaled_QM = np.asarray(cosine_QN, np.float64) / temperature
    weight_M = np.ones(count)
    if others is not None and others[0].shape[1]:
        rest_QB, many = np.asarray(others[0], np.float64) / temperature, others[1]
        scaled_QM = np.concatenate([scaled_QM, rest_QB], 1)
        weight_M = np.concatenate([weight_M, np.full(rest_QB.shape[1], many)])
    wanted_Q = np.minimum(np.asarray(expected_Q, np.float64), weight_M.sum() - 0.5)
    few_Q = wanted_Q <= COUNTED
    made_QM = np.empty_like(scaled_QM)
    made_QM[few_Q] = _exactly(scaled_QM[few_Q], wanted_Q[few_Q], weight_M)
    made_QM[~few_Q] = _about(scaled_QM[~few_Q], wanted_Q[~few_Q], weight_M)
    return np.asarray(made_QM[:, :count])


def _exactly(scaled_QM: np.ndarray, wanted_Q: np.ndarray, weight_M: np.ndarray) -> np.ndarray:
    """So many are right, no more and no fewer: the softmax for one; for more by the recursion of Chen et al. 1994."""
    odds_QM = np.exp(scaled_QM - scaled_QM.max(1, keepdims=True, initial=-np.inf))
    chance_QM = np.zeros_like(odds_QM)
    for number in range(1, COUNTED + 1):
        share_QM = odds_QM * (1 - chance_QM)
        share_QM /= np.maximum(share_QM @ weight_M, 1e-300)[:, None]
        now_QM = np.minimum(number * share_QM, 1)
        part_Q1 = np.clip(wanted_Q - (number - 1), 0, 1)[:, None]  # half an item is half the way to one more
        chance_QM = chance_QM + part_Q1 * (now_QM - chance_QM)
        if not (wanted_Q > number).any():
            break
    return np.asarray(chance_QM)


def _about(scaled_QM: np.ndarray, wanted_Q: np.ndarray, weight_M: np.ndarray) -> np.ndarray:
    """Each is right or not by itself, at the level at which so many are on average: of many the same in effect."""
    if not len(scaled_QM):
        return scaled_QM
    low_Q, high_Q = scaled_QM.min(1) - 60, scaled_QM.max(1) + 60
    for _ in range(_STEPS):
        level_Q = (low_Q + high_Q) / 2
        too_many = _logistic(scaled_QM - level_Q[:, None]) @ weight_M > wanted_Q
        low_Q, high_Q = np.where(too_many, level_Q, low_Q), np.where(too_many, high_Q, level_Q)
    return _logistic(scaled_QM - ((low_Q + high_Q) / 2)[:, None])


NEIGHBOURS, NEARBY, TRUSTED = 1.5, 2, 10.0
"""Neighbours of the result in place ``r`` are those from ``r / NEIGHBOURS - NEARBY`` to ``r * NEIGHBOURS + NEARBY``;
the score counts as much as :data:`TRUSTED` of them."""

ENOUGH = 5
"""Items that can be right from which on neighbours are asked: what stands beside a single one says nothing of it."""


def by_neighbours(probability_N: np.ndarray, holds_N: np.ndarray) -> np.ndarray:
    """Probabilities of results, best first, moved towards the share of their neighbours whose captions say it.

    A space that knows a word well in one collection may know it less in another, and its captions show that. What a
    result's own caption says does not count for it. The answer goes down with the place (isotonic regression).
    """
    places, held_N1 = np.arange(len(holds_N)), np.concatenate([[0], np.cumsum(holds_N)])
    first_N = np.maximum((places + 1) / NEIGHBOURS - NEARBY, 0).astype(int)
    last_N = np.minimum((places + 1) * NEIGHBOURS + NEARBY, len(holds_N)).astype(int)
    said_N = held_N1[last_N] - held_N1[first_N] - holds_N
    return falling((said_N + TRUSTED * probability_N) / (last_N - first_N - 1 + TRUSTED))


def falling(values_N: np.ndarray) -> np.ndarray:
    """The nearest sequence, in squares, that never goes up (pool adjacent violators)."""
    levels: list[float] = []
    sizes: list[int] = []
    for value in values_N.tolist():
        size = 1
        while levels and levels[-1] < value:
            before = sizes.pop()
            value = (value * size + levels.pop() * before) / (size + before)
            size += before
        levels.append(value)
        sizes.append(size)
    return np.repeat(np.array(levels), np.array(sizes, int))


def _logistic(odds: np.ndarray) -> np.ndarray:
    probability: np.ndarray = 1 / (1 + np.exp(-np.clip(odds, -700, 700)))
    return probability


def _checked(data: Mapping[str, Any]) -> Fit:
    fit = Fit(float(data["temperature"]), float(data["expected"]), int(data["gallery"]))
    if not (0 < fit.temperature < np.inf and 0 < fit.expected < np.inf and fit.gallery > 0):
        raise ValueError(f"no calibration has the numbers {dict(data)}")
    return fit

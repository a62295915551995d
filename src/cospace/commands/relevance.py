"""How well the results of a search fit: probabilities and words for them, the same for terminal, page and Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..evaluation.relevance import kind_of
from ..modalities.text.words import words
from ..models.calibration import BY_CAPTION, LIKELY, MATCHES, MAYBE, SHORT, STRONG, Asked, Relevance, judge, outstanding
from ..stores.lexicon import Lexicon

LEAST_DEVIATION = 1e-3
"""Of a query's cosines; below this it says the same of everything."""

LITERAL = 60
"""Items whose captions hold the words that are named beside the results."""

FUSION = 60
"""What is added to a place before ranks are fused (Cormack, Clarke & Buettcher 2009)."""


@dataclass(frozen=True, slots=True)
class Wording:
    """What the captions of a collection say of a query: the words that none uses, the items whose captions hold all."""

    asked: Asked = field(default_factory=Asked)
    unknown: Sequence[str] = ()
    holding_L: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of(cls, text: str | None, lexicon: Lexicon, modality: str, among_N: np.ndarray | None = None) -> Wording:
        """Of a single text that is to find items of a modality, ``among_N`` these where not all are wanted.

        Nothing is known of what is no text, nor where no item has a caption. How many items can be right for a whole
        caption is no matter of its words, whose order means something.
        """
        if text is None or not lexicon:
            return cls(Asked() if text is None else Asked(kind_of(text)))
        unknown, there = lexicon.unknown(text), set(words(text))
        holding_L = lexicon.holding(text, modality)
        if among_N is not None:
            holding_L = holding_L[np.isin(holding_L, among_N)]
        counted = len(holding_L) if lexicon.describes(modality) and kind_of(text) == SHORT else None
        return cls(Asked(kind_of(text), counted, max(0, len(there) - len(unknown)), len(unknown)), unknown, holding_L)

    def depth(self, items: int) -> int:
        """How many results are judged, of so many."""
        return self.asked.depth(items)


@dataclass(frozen=True, slots=True)
class Gallery:
    """What results are judged against: how many items could have been found, and a sample's cosines with the query."""

    items: int
    background_B: np.ndarray

    def beyond(self, cosine_N: np.ndarray) -> tuple[np.ndarray, float] | None:
        """Cosines of the items that are not among the best, sampled, with how many each stands for."""
        rest = self.items - len(cosine_N)
        if rest <= 0 or not len(cosine_N):
            return None
        below_B = self.background_B[self.background_B <= cosine_N[-1]]
        below_B = below_B if len(below_B) else cosine_N[-1:]
        return below_B, rest / len(below_B)

    def z(self, cosine_N: np.ndarray) -> np.ndarray:
        """How many deviations results stand out."""
        if not len(self.background_B):
            return np.zeros(len(cosine_N))
        return np.asarray((cosine_N - self.background_B.mean()) / max(float(self.background_B.std()), LEAST_DEVIATION))


@dataclass(frozen=True, slots=True)
class Found:
    """Items by number, and their cosines to the query."""

    numbers_N: np.ndarray
    scores_N: np.ndarray


@dataclass(frozen=True, slots=True)
class Verdict:
    """Words for results, best first: so many are strong, likely or better, maybe or better; the others are weak.

    ``probability_N`` of the first results, None where nothing is calibrated.
    """

    probability_N: np.ndarray | None
    strong: int
    likely: int
    maybe: int
    unknown: Sequence[str] = ()
    by_caption: int = 0
    """The first so many are there since their captions hold all the words, whatever their scores."""

    @property
    def calibrated(self) -> bool:
        """Whether there are probabilities."""
        return self.probability_N is not None

    def left_to_captions(self, wording: Wording) -> bool:
        """Whether no result is likely by its score, while captions hold all words of a short query: then these decide.

        Of a whole caption the same words in another order may mean something else.
        """
        return self.calibrated and not self.likely and not self.unknown and bool(wording.asked.holding)

    def probability(self, place: int) -> float | None:
        """Of the result in a place, from 0 on; what was not judged is less likely than all that were."""
        if self.probability_N is None or not len(self.probability_N):
            return None
        last = len(self.probability_N) - 1
        beyond = min(float(self.probability_N[last]), MAYBE / 2)
        return float(self.probability_N[place]) if place <= last else beyond

    def match(self, place: int) -> str:
        """The word for the result in a place."""
        return MATCHES[sum(place >= many for many in (self.strong, self.likely, self.maybe))]

    def until(self, least: str) -> int:
        """How many results are at least ``strong``, ``likely`` or ``maybe``."""
        return {"strong": self.strong, "likely": self.likely, "maybe": self.maybe}[least]


def verdict(
    relevance: Relevance, direction: str, wording: Wording, cosine_N: np.ndarray, numbers_N: np.ndarray, of: Gallery
) -> Verdict:
    """Judge the results of one query by their cosines, best first; ``numbers_N`` are their items."""
    fit = relevance.of(direction, wording.asked.kind)
    cosine_N = cosine_N[: wording.depth(of.items)]
    if fit is None or not len(cosine_N):
        return _by_standing_out(cosine_N, wording, of)
    holds_N = np.isin(numbers_N[: len(cosine_N)], wording.holding_L)
    probability_N = judge(fit, wording.asked, cosine_N, of.beyond(cosine_N), holds_N)
    counts = [int((probability_N >= least).sum()) for least in (STRONG, LIKELY, MAYBE)]
    return Verdict(probability_N, counts[0], counts[1], counts[2], wording.unknown)


def _by_standing_out(cosine_N: np.ndarray, wording: Wording, of: Gallery) -> Verdict:
    """Words without probabilities."""
    found = outstanding(of.z(cosine_N), of.items)
    counts = [sum(word in MATCHES[: least + 1] for word in found) for least in range(3)]
    if wording.unknown:
        counts = [0, 0, counts[2] if wording.asked.known else 0]
    return Verdict(None, counts[0], counts[1], counts[2], wording.unknown)


def fused(numbers_N: np.ndarray, cosine_N: np.ndarray, holding_L: np.ndarray) -> np.ndarray:
    """The places of results in their order by words and meaning: reciprocal ranks of both lists, added up.

    The list of words has the items ``holding_L`` whose captions hold all of them, in the order of their cosines.
    """
    holds_N = np.isin(numbers_N, holding_L)
    by_meaning = 1 / (FUSION + 1 + np.arange(len(numbers_N)))
    by_words = np.where(holds_N, 1 / (FUSION + np.cumsum(holds_N)), 0)
    return np.argsort(-(by_meaning + by_words), kind="stable")


def reordered(judged: Verdict, order_N: np.ndarray, holds_N: np.ndarray) -> Verdict:
    """What is said of results in their order by words and meaning: no probabilities, since these are of the score.

    What a caption says is strong, whatever the score; a word never gets better again further down.
    """
    code_N = np.array([MATCHES.index(judged.match(place)) for place in order_N.tolist()], int)
    code_N = np.maximum.accumulate(np.where(holds_N[order_N], 0, code_N)) if len(code_N) else code_N
    counts = [int((code_N <= code).sum()) for code in range(3)]
    return replace(judged, probability_N=None, strong=counts[0], likely=counts[1], maybe=counts[2])


def captions_first(judged: Verdict, found: Found, holding: Found) -> tuple[Verdict, Found]:
    """Where no result is likely by its score: first the items whose captions hold all the words, the best score first.

    What is right by a caption is among these, so the others are weak.
    """
    order_L = np.argsort(-holding.scores_N, kind="stable")
    rest_N = ~np.isin(found.numbers_N, holding.numbers_N)
    joined = Found(
        np.concatenate([holding.numbers_N[order_L], found.numbers_N[rest_N]]),
        np.concatenate([holding.scores_N[order_L], found.scores_N[rest_N]]),
    )
    many, before_N = len(order_L), judged.probability_N
    assert before_N is not None
    others_N = np.minimum(before_N[rest_N[: len(before_N)]], 1 - BY_CAPTION)
    probability_N = np.concatenate([np.full(many, BY_CAPTION), others_N])
    return replace(judged, probability_N=probability_N, strong=many, likely=many, maybe=many, by_caption=many), joined


def ordered(
    judged: Verdict, found: Found, wording: Wording, hybrid: bool, score: Callable[[np.ndarray], np.ndarray]
) -> tuple[Verdict, Found]:
    """The final order of judged results: by score, unless captions are asked for (``hybrid``) or have to decide.

    ``score`` gives the cosines of items by their numbers.
    """
    if hybrid and len(wording.holding_L):
        order_N = fused(found.numbers_N, found.scores_N, wording.holding_L)
        judged = reordered(judged, order_N, np.isin(found.numbers_N, wording.holding_L))
        return judged, Found(found.numbers_N[order_N], found.scores_N[order_N])
    if not hybrid and judged.left_to_captions(wording):
        holding_L = wording.holding_L[:LITERAL]
        return captions_first(judged, found, Found(holding_L, score(holding_L)))
    return judged, found


def unknown_sentence(unknown: Sequence[str], captions: int, known: bool) -> str:
    """``None of the 3,999 captions uses "qwzx", so these are guesses.``, or nothing where all words are known."""
    if not unknown:
        return ""
    quoted = [f'"{word[:40]}"' for word in unknown[:5]]
    named = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    so = "results go by the other words" if known else "these are guesses"
    return f"None of the {captions:,} captions uses {named}, so {so}."

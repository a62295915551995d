"""Whether a question is like those that a decoder was taught; outside them its answers mean nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

REFUSED = 0.01
"""Share of the questions like those taught that is refused, at most."""
FEW = 100
"""Different questions below which nothing is said about how questions vary: all pairs of words must be known."""
LEAST = 0.5
"""Share of its pairs of words that must be known of any question."""


class TaughtQuestions:
    """The pairs of neighbouring words of the questions taught, and how familiar a question must be.

    A word list would not do: "how many are there?" has only words of "how many crosses are there?". The bar is set by
    the questions themselves: each is judged by all others (leave-one-out), and all but :data:`REFUSED` of them pass.
    So a decoder that was taught a few patterns answers those alone, and one that was taught free questions most others.
    """

    def __init__(self, questions: Iterable[str]) -> None:
        """``questions`` are spelled as :meth:`knows` gets them; an empty one is left out."""
        taught = [question for question in questions if question]
        self._counts = Counter(pair for question in taught for pair in set(_pairs(question)))
        self.least = 1.0
        if len(taught) >= FEW:
            alone = [self._familiarity(question, more_than=1) for question in taught]
            self.least = max(LEAST, float(np.quantile(alone, REFUSED, method="lower")))

    def knows(self, question: str) -> bool:
        """True where the question is like those taught, and where nothing is known of what was taught."""
        return not self._counts or self._familiarity(question, more_than=0) >= self.least

    def _familiarity(self, question: str, more_than: int) -> float:
        """The share of its pairs of words that stand in more than so many of the questions taught."""
        pairs = list(_pairs(question))
        return sum(self._counts[pair] > more_than for pair in pairs) / len(pairs)


def _pairs(question: str) -> Iterator[tuple[str, str]]:
    """Neighbouring words, with the beginning and the end as words of their own."""
    words = question.rstrip("?!. ").split()
    return pairwise(["", *words, ""])

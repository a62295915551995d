"""The most frequent answers and captions, a baseline that does not look at the item: a decoder must do better."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

QUESTIONS = 10_000
"""Questions whose most frequent answer is kept."""

CAPTIONS = 5_000
"""Captions that are kept."""

SUGGESTED, CONSIDERED = 48, 2_000
"""Questions that are kept as they were spelled, to suggest some of them; and frequent ones that are looked at."""


def suggestions(asked: Iterable[str], most: int = SUGGESTED) -> list[str]:
    """Frequent questions that are unlike each other: each the one whose frequency is largest for what it adds.

    A question counts with its frequency times the share of its words that no question before it has, so that one of
    every kind comes before the second of any.
    """
    left = dict(Counter(asked).most_common(CONSIDERED))
    words = {question: set(question.lower().split()) for question in left}
    known: set[str] = set()
    chosen: list[str] = []
    while left and len(chosen) < most:
        gains = {q: n * len(words[q] - known) / max(1, len(words[q])) for q, n in left.items()}
        best = max(gains, key=lambda question: (gains[question], left[question]))
        if not gains[best]:
            known = set()  # every word has been asked after once; now for the second time
            if not any(words[question] for question in left):
                break
            continue
        chosen.append(best)
        known |= words[best]
        del left[best]
    return chosen


@dataclass(frozen=True, slots=True)
class FrequencyBaseline:
    """The most frequent texts of a decoder's training pairs."""

    answers: Mapping[str, str] = field(default_factory=dict)
    """The most frequent answer to every question, and under the empty text that to all of them."""
    captions: Mapping[str, int] = field(default_factory=dict)
    """How often a caption was seen, the most frequent first."""
    questions: Sequence[str] = ()
    """Frequent questions that are unlike each other, as they were spelled; none in runs of before."""

    @classmethod
    def of(
        cls, captions: Iterable[str], asked: Iterable[tuple[str, str]], spelled: Iterable[str] = ()
    ) -> FrequencyBaseline:
        """From captions, and questions (spelled so that equal ones are equal) with their answers.

        ``spelled`` are the questions as people wrote them.
        """
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for question, answer in asked:
            counts[question][answer] += 1
            counts[""][answer] += 1
        often = sorted(counts, key=lambda question: -counts[question].total())[: QUESTIONS + 1]
        answers = {question: counts[question].most_common(1)[0][0] for question in often}
        return cls(answers, dict(Counter(captions).most_common(CAPTIONS)), suggestions(spelled))

    def answer(self, question: str) -> str:
        """The best guess without the item."""
        return self.answers.get(question, self.answers.get("", ""))

    def most_frequent(self) -> list[str]:
        """The caption that was seen most often, or all that were equally often."""
        most = max(self.captions.values(), default=0)
        return [caption for caption, count in self.captions.items() if count == most]

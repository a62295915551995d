"""The most frequent answers and captions, a baseline that does not look at the item: a decoder must do better."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

QUESTIONS = 10_000
"""Questions whose most frequent answer is kept."""

CAPTIONS = 5_000
"""Captions that are kept."""


@dataclass(frozen=True, slots=True)
class FrequencyBaseline:
    """The most frequent texts of a decoder's training pairs."""

    answers: Mapping[str, str] = field(default_factory=dict)
    """The most frequent answer to every question, and under the empty text that to all of them."""
    captions: Mapping[str, int] = field(default_factory=dict)
    """How often a caption was seen, the most frequent first."""

    @classmethod
    def of(cls, captions: Iterable[str], asked: Iterable[tuple[str, str]]) -> FrequencyBaseline:
        """From captions, and questions (spelled so that equal ones are equal) with their answers."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for question, answer in asked:
            counts[question][answer] += 1
            counts[""][answer] += 1
        often = sorted(counts, key=lambda question: -counts[question].total())[: QUESTIONS + 1]
        answers = {question: counts[question].most_common(1)[0][0] for question in often}
        return cls(answers, dict(Counter(captions).most_common(CAPTIONS)))

    def answer(self, question: str) -> str:
        """The best guess without the item."""
        return self.answers.get(question, self.answers.get("", ""))

    def most_frequent(self) -> list[str]:
        """The caption that was seen most often, or all that were equally often."""
        most = max(self.captions.values(), default=0)
        return [caption for caption, count in self.captions.items() if count == most]

"""What can be said about a picture without looking at it: a decoder must do better."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

QUESTIONS = 10_000
"""Questions whose commonest answer is remembered."""

CAPTIONS = 5_000
"""Captions that are remembered."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What a decoder's training pairs said most often."""

    answers: Mapping[str, str] = field(default_factory=dict)
    """The commonest answer to every question, and under the empty text that to all of them."""
    captions: Mapping[str, int] = field(default_factory=dict)
    """How often a caption was seen, the commonest first."""

    @classmethod
    def of(cls, captions: Iterable[str], asked: Iterable[tuple[str, str]]) -> Prior:
        """From captions, and questions (spelled so that equal ones are equal) with their answers."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for question, answer in asked:
            counts[question][answer] += 1
            counts[""][answer] += 1
        often = sorted(counts, key=lambda question: -counts[question].total())[: QUESTIONS + 1]
        answers = {question: counts[question].most_common(1)[0][0] for question in often}
        return cls(answers, dict(Counter(captions).most_common(CAPTIONS)))

    def answer(self, question: str) -> str:
        """The best guess without a picture."""
        return self.answers.get(question, self.answers.get("", ""))

    def commonest(self) -> list[str]:
        """The caption that was seen most often, or all that were equally often."""
        most = max(self.captions.values(), default=0)
        return [caption for caption, count in self.captions.items() if count == most]

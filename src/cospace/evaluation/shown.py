"""What a search shows of its results against what is true: the calibration that people meet, in one wording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from .relevance import Bin

FEWEST = 20
"""Results below which a bin says little; it is drawn in grey, and no line goes through it."""

SMALL, LARGE = 0.05, 0.15
"""Mean distances of shown and true up to which percentages are good, or at least worth reading."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Results of held-out searches that are likely enough to be shown, by what was said of them.

    Every result counts as one; ``error`` is the mean distance from what was true, 0 to 1.
    """

    bins: Sequence[Bin]
    error: float
    results: int
    queries: int

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Self | None:
        """From a run's ``reliability.json``; nothing of a run that did not measure what is shown, or shows nothing."""
        if not kept.get("shown") or not kept.get("bins"):
            return None
        bins = [Bin(float(one["predicted"]), float(one["observed"]), int(one["count"])) for one in kept["bins"]]
        return cls(bins, float(kept["error"]), int(kept["shown"]), int(kept.get("queries", 0)))

    @property
    def word(self) -> str:
        """Good, look or bad."""
        return "good" if self.error <= SMALL else "look" if self.error <= LARGE else "bad"

    @property
    def sentence(self) -> str:
        """What the figures say, for people."""
        sentence = (
            f"Percentages are off by {100 * self.error:.1f} points on average, over the {self.results:,} results that "
            f"{self.queries:,} test searches showed as maybe or better."
        )
        return sentence if self.word == "good" else f"{sentence} Trust the order more than the percentages."

    def json(self) -> dict[str, Any]:
        """As plain data for the page; each bin says whether it has enough results."""
        bins = [asdict(one) | {"enough": one.count >= FEWEST} for one in self.bins]
        return {
            "error": self.error, "shown": f"{100 * self.error:.1f} %", "results": self.results, "queries": self.queries,
            "bins": bins, "word": self.word, "sentence": self.sentence,
        }  # fmt: skip

"""One sentence on how good a space is, which the page, the report and the terminal share, so that they agree.

What counts is what a person sees of a search: whether the right item comes first, and whether it is among the first
ten. Both are compared with guessing by their 95 % intervals; thresholds are ours, and say when a list is of use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..matches import modality_pairs
from ..modalities import is_text, modality, names
from ..types import Metrics
from .geometry import collapse, plural
from .intervals import wilson

Level = Literal["good", "fair", "poor", "chance", "collapsed", "unmeasured"]

GOOD = 0.7
"""R@1 from which on a search is good."""

FAIR = (0.25, 0.5)
"""R@1, or else R@10, from which on a search is fair: every other time the right item is on the first screen."""

CUTS = (1, 5, 10)
"""First results that are looked at."""

_BASES = (100, 1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Recall:
    """``R@k`` of one direction with its 95 % interval and what guessing gives; shares, 0 to 1."""

    k: int
    value: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True, slots=True)
class Direction:
    """How one direction of search went on held-out pairs: one query modality, one that is found, ``R@1, 5, 10``."""

    asked: str
    found: str
    queries: int
    recalls: tuple[Recall, ...]

    @property
    def name(self) -> str:
        """As in the metrics: ``text_to_image``."""
        return f"{self.asked}_to_{self.found}"

    @property
    def level(self) -> Level:
        """A word for this direction alone."""
        first, last = self.recalls[0], self.recalls[-1]
        if first.low <= first.chance:
            return "chance"
        if first.value >= GOOD:
            return "good"
        if first.value >= FAIR[0] or last.value >= FAIR[1]:
            return "fair"
        return "poor"


@dataclass(frozen=True, slots=True)
class Quality:
    """A level, the sentence that says it, and the figures behind it; no direction where nothing was measured."""

    level: Level
    sentence: str
    direction: Direction | None = None

    @property
    def evidence(self) -> str:
        """The sentence's figures to their shown digit: ``R@1 3.1 % [1.0, 6.2], 100 captions, chance 1.0 %``."""
        if self.direction is None:
            return ""
        first = self.direction.recalls[0]
        return (
            f"R@1 {100 * first.value:.1f} % [{100 * first.low:.1f}, {100 * first.high:.1f}], "
            f"{self.direction.queries:,} {nouns(self.direction.asked)}, chance {shown_chance(first.chance)} %"
        )


def judge(metrics: Metrics, bounds: Mapping[str, Sequence[float]], modalities: Sequence[str], width: int) -> Quality:
    """The quality of a space of ``width`` by figures of held-out pairs; ``bounds`` are 95 % intervals by their keys.

    It is that of the search by text, for files, of the first two modalities that were measured.
    """
    measured = directions(metrics, bounds, modalities)
    if not measured:
        what = plural(next((name for name in modalities if not is_text(name)), modalities[0]))
        return Quality(
            "unmeasured", f"Nothing held out is known here, so how well it finds your {what} is not measured."
        )
    main = measured[0]
    level, found = main.level, describe(main)
    fault = collapse(metrics, width, modalities)
    if fault is not None and level in ("chance", "poor"):
        return Quality(
            "collapsed", f"Collapsed: {fault.what}, so a search cannot separate them. It finds {found}.", main
        )
    if level == "chance":
        return Quality(level, f"No better than guessing: it finds {found}.", main)
    if level == "good":
        return Quality(level, f"Good: it finds {found}.", main)
    return Quality(level, f"{level.capitalize()}: it finds {describe(main, deep=True)}.", main)


def directions(metrics: Metrics, bounds: Mapping[str, Sequence[float]], modalities: Sequence[str]) -> list[Direction]:
    """Every direction that was measured, the search by text for files first."""
    found = []
    for pair in modality_pairs(sorted(modalities, key=is_text)):
        found += [
            _direction(asked, wanted, metrics, bounds)
            for asked, wanted in (pair[::-1], pair)
            if f"{asked}_to_{wanted}/R@1" in metrics
        ]
    return sorted(found, key=lambda one: (not is_text(one.asked), is_text(one.found)))


def _direction(asked: str, found: str, metrics: Metrics, bounds: Mapping[str, Sequence[float]]) -> Direction:
    """One direction at k = 1, 5 and 10.

    Chance for ``R@k`` is ``k`` times that of ``R@1``: exact where a query has one match, never too low. Without
    intervals, Wilson's with as many trials as there are items on the smaller side.
    """
    name = f"{asked}_to_{found}"
    counts = {one: int(metrics.get(f"n_{one}s", 0)) for one in (asked, found)}
    chance = float(metrics.get(f"chance/{name}/R@1", 0.0))
    recalls = []
    for k in (k for k in CUTS if f"{name}/R@{k}" in metrics):
        value = float(metrics[f"{name}/R@{k}"])
        low, high = bounds.get(f"{name}/R@{k}") or wilson(value, max(1, min(counts.values())))
        recalls.append(Recall(k, value, float(low), float(high), min(1.0, k * chance)))
    return Direction(asked, found, counts[asked], tuple(recalls))


def describe(direction: Direction, deep: bool = False) -> str:
    """``the right image first for 3 of 100 captions; guessing finds 1``; ``deep`` adds the first ten."""
    first, last = direction.recalls[0], direction.recalls[-1]
    count, base = of_base(first.value, direction.queries)
    guess, guess_base = of_base(first.chance, max(base, _BASES[-1]), base)
    by_chance = f"{guess:,}" if guess_base == base else f"{guess:,} of {guess_base:,}"
    words = f"the right {noun(direction.found)} first for {count:,} of {base:,} {nouns(direction.asked)}"
    if deep:
        return f"{words} (guessing: {by_chance}) and among the first ten for {last.value * base:,.0f}"
    return f"{words}; guessing finds {by_chance}"


def of_base(share: float, most: int, least: int = 0) -> tuple[int, int]:
    """A share as ``3 of 100``: of 100, or of more where that would round to none or to all; of ``most`` at most."""
    bases = [base for base in (least, *_BASES) if base >= max(least, 1)]
    for base in (min(base, most) for base in sorted(bases)):
        count = round(share * base)
        if base == most or 0 < count < base or share in (0.0, 1.0):
            return count, base
    return round(share * most), most


def shown_chance(share: float) -> str:
    """Chance in percent: one decimal like all other figures, or two digits where that would show none."""
    return f"{100 * share:.1f}" if share >= 0.0005 or share == 0 else f"{100 * share:.2g}"


def noun(name: str) -> str:
    """One item of a modality, in words."""
    return modality(name).noun if name in names() else f"{name} item"


def nouns(name: str) -> str:
    """Several items of a modality as queries: ``captions``, ``images``."""
    return f"{noun(name)}s"

"""Nothing is passed over in silence: what was read is what was used and what was not, and the sum is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..types import LeftAlone

_NAMED = 3
"""Files that a sentence names."""


@dataclass(frozen=True, slots=True)
class Counts:
    """``items = used + duplicates + set_aside + left_alone``; the first three add up to ``rows``."""

    used: int
    duplicates: int = 0
    """Rows whose content is all that of an earlier row."""
    set_aside: int = 0
    """Rows that cannot be used, each with its reason among the problems."""
    left_alone: int = 0
    """Files that lie there and are no part of what was asked for."""

    @property
    def rows(self) -> int:
        return self.used + self.duplicates + self.set_aside

    @property
    def items(self) -> int:
        return self.rows + self.left_alone

    def to_json(self) -> dict[str, int]:
        """The sum as well as its parts."""
        names = ("items", "rows", "used", "duplicates", "set_aside", "left_alone")
        return {name: getattr(self, name) for name in names}

    def sentence(self) -> str:
        """``204 read = 198 used + 2 duplicates + 1 set aside + 3 left alone``; parts that are nothing are not said."""
        duplicates = "duplicate" if self.duplicates == 1 else "duplicates"
        parts = {duplicates: self.duplicates, "set aside": self.set_aside, "left alone": self.left_alone}
        said = [f"{self.used:,} used", *(f"{count:,} {name}" for name, count in parts.items() if count)]
        return f"{self.items:,} read = {' + '.join(said)}"


def describe_left_alone(left_alone: Sequence[LeftAlone]) -> list[str]:
    """A line for each reason for which files were left alone, the most frequent first, with the first names."""
    names: dict[str, list[str]] = {}
    counts = Counter[str]()
    for left in left_alone:
        counts[left.reason] += 1
        first = names.setdefault(left.reason, [])
        first += [left.name] if len(first) < _NAMED else []
    return [f"left alone, {reason}: {_some(names[reason], count)}" for reason, count in counts.most_common()]


def _some(names: Sequence[str], count: int) -> str:
    more = count - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more else "")

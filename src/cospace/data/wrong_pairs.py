"""Pairs that are probably wrong: how sure it is of each row, and what would fit better, as a finding and as a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..modalities import is_text
from .clean_table import as_csv
from .findings import Finding, called
from .pairs import Pairs

WRONG = 0.5
"""Probability from which on a pair is called wrong: it is more likely wrong than right."""


def most_suspicious_first(wrong_R: np.ndarray) -> np.ndarray:
    """Rows by the probability that they are wrong, without those that were not judged (NaN)."""
    order = np.argsort(-wrong_R, kind="stable")
    return np.asarray(order[~np.isnan(wrong_R[order])])


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge says of every row."""

    wrong_R: np.ndarray
    """The probability that its pair is wrong; NaN where it was not judged."""
    better_R: np.ndarray
    """A row whose caption would fit its item better; -1 where none is known."""
    by: str
    """Who judged."""

    @property
    def ranking(self) -> np.ndarray:
        """The rows that were judged, the most suspicious first."""
        return most_suspicious_first(self.wrong_R)

    def counts(self) -> dict[str, int]:
        """Rows that were judged, and those that were not: they lack an item, or there are too few to judge by."""
        unjudged = int(np.isnan(self.wrong_R).sum())
        return {"judged": len(self.wrong_R) - unjudged, "not_judged": unjudged}

    def finding(self, pairs: Pairs) -> Finding:
        """Those that are more likely wrong than right, the surest first."""
        rows = [int(row) for row in self.ranking if self.wrong_R[row] >= WRONG]
        many = len(rows)
        return Finding(
            "wrong_pairs", many,
            f"{many:,} pairs are probably wrong" if many != 1 else "1 pair is probably wrong",
            f"judged by {self.by}; look at them, or let --out leave them out",
            groups=[(row,) for row in rows], certainty=[float(self.wrong_R[row]) for row in rows],
            notes=[_note(pairs, row) for row in rows], rows=rows, leave_out=True,
            better=[int(self.better_R[row]) for row in rows],
        )  # fmt: skip

    def table(self, pairs: Pairs) -> bytes:
        """Every row that was judged, the most suspicious first, as a csv file."""
        rows = [
            (
                pairs.place(row),
                f"{self.wrong_R[row]:.4f}",
                _caption(pairs, row),
                _caption(pairs, int(self.better_R[row])),
            )
            for row in self.ranking.tolist()
        ]
        return as_csv([("id", "probability", "caption", "better"), *rows])


def _note(pairs: Pairs, row: int) -> str:
    """``b.jpg "a black dog"``, for the terminal."""
    caption = _caption(pairs, row)
    return f'{called(pairs, row)} "{caption[:60]}"' if caption else called(pairs, row)


def _caption(pairs: Pairs, row: int) -> str:
    text = next((name for name in pairs.modalities if is_text(name)), None)
    return "" if text is None or row < 0 else str(pairs.items[text][row] or "")

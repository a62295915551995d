"""The table of docs/starts.md from the rows that `starts.py` has kept: ``python benchmarks/starts_table.py``.

A cell is the median of the seeds and their lowest in brackets, with the number of seeds where there are fewer than
three; a dash stands where nothing has been measured.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from starts import FITTED, STARTS, rows_of

ROWS = Path(__file__).parents[1] / "docs" / "starts"
SETS = {
    "photographs, 700": "flickr1k", "emoji, 2,813": "emoji", "CIFAR-10, 490": "cifar_1", "4,900": "cifar_10",
    "49,000": "cifar_all",
}  # fmt: skip
SEEDS = 3


def main() -> None:
    """Print it."""
    known = [rows_of(ROWS / f"{file}.jsonl") for file in SETS.values()]
    print(f"| start | {' | '.join(SETS)} |")
    print("|---" * (1 + len(SETS)) + "|")
    for name in (*STARTS, *FITTED, "heads"):
        cells = [cell([row["recall"] for row in rows if row["start"] == name]) for rows in known]
        print(f"| {name} | {' | '.join(cells)} |")


def cell(found: list[float]) -> str:
    """``53.9 (51.4)``."""
    if not found:
        return "–"
    few = f", {len(found)}" if len(found) < SEEDS else ""
    return f"{statistics.median(found):.1f} ({min(found):.1f}{few})"


if __name__ == "__main__":
    main()

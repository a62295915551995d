"""The table that ``make torture`` ends with, on the terminal and in docs/reliability.md.

python tests/torture/report.py FIGURES.jsonl TESTS.xml... [--write docs/reliability.md]
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from torture.figures import BAD  # noqa: E402
from torture.rows import TITLES, held_by  # noqa: E402

BEGIN, END = "<!-- figures of make torture: begin -->", "<!-- figures of make torture: end -->"


def table(figures: Sequence[Mapping[str, Any]], passed: Mapping[str, bool]) -> tuple[list[str], int]:
    """Lines of the table, and how much in it is not as it should be.

    ``figures`` are what tests have noted; for a row with none, ``n`` counts the tests that hold it.
    """
    columns = [name.replace("_", " ") for name in BAD]
    lines = [f"| row | what was tried | n | {' | '.join(columns)} |", "|---|---|---|" + "---|" * len(columns)]
    total = 0
    for row, title in TITLES.items():
        noted: dict[str, list[int]] = {}
        for one in (one for one in figures if one["row"] == row):
            sums = noted.setdefault(str(one["what"]), [0] * (1 + len(BAD)))
            for place, name in enumerate(("n", *BAD)):
                sums[place] += int(one.get(name, 0))
        ran = {name: passed[name] for name in held_by(row) if name in passed}
        failed = sum(not well for well in ran.values())
        if ran:
            noted[f"{title}: tests"] = [len(ran), failed, *[0] * (len(BAD) - 1)]
        for what, (n, *bad) in noted.items():
            shown = " | ".join(f"**{number}**" if number else "0" for number in bad)
            lines.append(f"| {row} | {what if what.startswith(title) else f'{title}: {what}'} | {n} | {shown} |")
            total += sum(bad)
    return lines, total


def outcomes(path: Path) -> dict[str, bool]:
    """By name (see :func:`torture.rows.held_by`) whether a test passed in all its forms, without skipped ones."""
    found: dict[str, bool] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        if case.find("skipped") is not None:
            continue
        file = case.get("classname", "").removeprefix("tests.").replace(".", "/") + ".py"
        name = f"{file}::{case.get('name', '').partition('[')[0]}"
        found[name] = found.get(name, True) and case.find("failure") is None and case.find("error") is None
    return found


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("figures", type=Path)
    asked.add_argument("tests", type=Path, nargs="+")
    asked.add_argument("--write", type=Path)
    given = asked.parse_args()
    lines = given.figures.read_text("utf-8").splitlines() if given.figures.exists() else []
    passed: dict[str, bool] = {}
    for path in (path for path in given.tests if path.exists()):
        for name, well in outcomes(path).items():
            passed[name] = passed.get(name, True) and well
    made, bad = table([json.loads(line) for line in lines], passed)
    sys.stdout.write("\n".join(made) + "\n")
    if given.write is not None:
        page = given.write.read_text("utf-8")
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        said = f"Run on {datetime.date.today():%Y-%m-%d}, Python {platform.python_version()}, {platform.system()}."
        given.write.write_text("\n".join([before + BEGIN, said, "", *made, END + after]), "utf-8")
    missing = [row for row in TITLES if not any(name in passed for name in held_by(row))]
    if missing:
        sys.stdout.write(f"no test of these rows ran: {', '.join(map(str, missing))}\n")
    return 1 if bad or missing else 0


if __name__ == "__main__":
    sys.exit(main())

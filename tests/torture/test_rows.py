"""All forty rows have tests, and every test that the table names is there."""

from __future__ import annotations

import pytest

from torture.report import table
from torture.rows import ELSEWHERE, TESTS, TITLES, held_by, names_in

NEEDED = (6, 7, 12, 15, 16, 17, 18, 23, 26, 28, 33)
"""Rows that the largest training runs depend on."""


def test_there_are_forty_rows() -> None:
    assert list(TITLES) == list(range(1, 41))
    assert set(ELSEWHERE) <= set(TITLES) and set(NEEDED) <= set(TITLES)


@pytest.mark.parametrize("row", TITLES)
def test_a_row_has_tests_that_are_there(row: int) -> None:
    assert held_by(row), f"nothing holds row {row}: {TITLES[row]}"
    for path, names in ELSEWHERE.get(row, {}).items():
        missing = set(names) - names_in(TESTS / path)
        assert not missing, f"{path} has no {missing}"


def test_the_table_adds_up_and_shows_what_is_bad() -> None:
    figures = [
        {"row": 2, "what": "kills", "n": 3, "lost": 0, "altered": 0},
        {"row": 2, "what": "kills", "n": 4, "lost": 1, "altered": 0},
    ]
    passed = dict.fromkeys(held_by(1), True)
    lines, bad = table(figures, passed)
    assert any("| 2 |" in line and "| 7 | **1** |" in line for line in lines)
    assert any(line.startswith(f"| 1 | {TITLES[1]}") and f"| {len(passed)} |" in line for line in lines)
    assert bad == 1
    assert table([], dict.fromkeys(held_by(1), False))[1] == len(passed), "a test that failed is bad"

"""Groups are exactly the connected components of "same picture or same caption"."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cospace.pairs._groups import encode, join, normalise_caption


def components(columns: list[list[int]], rows: int) -> list[int]:
    """The slow truth: spread the smallest label along shared codes until nothing changes."""
    labels = list(range(rows))
    changed = True
    while changed:
        changed = False
        for column in columns:
            for a in range(rows):
                for b in range(rows):
                    if column[a] == column[b] and labels[b] > labels[a]:
                        labels[b], changed = labels[a], True
    return labels


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=14))
def test_groups_are_the_connected_components(rows: list[tuple[int, int]]) -> None:
    columns = [[row[i] for row in rows] for i in range(2)]
    groups = join([np.array(c, dtype=np.int64) for c in columns], len(rows))
    assert groups.tolist() == encode(components(columns, len(rows))).tolist()


def test_a_long_chain_is_one_group_and_takes_no_time() -> None:
    rows = 50_000
    started = time.perf_counter()
    groups = join([np.arange(rows) // 2, (np.arange(rows) + 1) // 2], rows)
    assert (groups == 0).all()
    assert time.perf_counter() - started < 5


def test_codes_count_from_zero_in_order() -> None:
    assert encode(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


def test_captions_are_the_same_whatever_case_spacing_and_accents() -> None:
    assert normalise_caption(" A  Red\tBUS\n") == normalise_caption("a red bus")
    assert normalise_caption("caf\u00e9") == normalise_caption("CAFE\u0301")
    assert normalise_caption("stra\u00dfe") == normalise_caption("STRASSE")
    assert normalise_caption("a red bus") != normalise_caption("a red bus.")


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise_caption(text)
    assert normalise_caption(once) == once

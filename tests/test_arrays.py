"""Long arrays in files give what NumPy gives of short ones."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cospace import arrays
from cospace.arrays import ArrayWriter, Runs
from cospace.types import UserError

NUMBERS = st.lists(st.integers(-1, 6), max_size=30)


@pytest.fixture(autouse=True, params=[0, 1 << 20], ids=["in files", "in memory"])
def in_small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three numbers at a time, in files or in memory."""
    monkeypatch.setattr(arrays, "LARGE", request.param)
    monkeypatch.setattr(arrays, "TOGETHER", 3)
    return iter(())


def of(numbers: list[int]) -> np.ndarray:
    return np.array(numbers, np.int32)


@given(numbers=NUMBERS)
def test_what_is_done_block_by_block_is_what_numpy_does_at_once(numbers: list[int]) -> None:
    values = of(numbers)
    known = values[values >= 0]
    assert list(arrays.each(values)) == numbers
    assert arrays.rows_where(values > 2).tolist() == np.flatnonzero(values > 2).tolist()
    assert arrays.array_of(iter(numbers), np.int16).tolist() == numbers
    assert arrays.occurring(values, 7).tolist() == [code in numbers for code in range(7)]
    assert arrays.counted(values, 7).tolist() == np.bincount(known, minlength=7).tolist()
    assert arrays.running(known).tolist() == (known.cumsum() - known).tolist()
    assert arrays.full(len(values), 5, np.int32).tolist() == [5] * len(values)
    assert arrays.take(np.arange(10, 17), values, absent=-2).tolist() == [v + 10 if v >= 0 else -2 for v in numbers]
    assert arrays.take(np.arange(10, 17), known).tolist() == (known + 10).tolist()
    assert arrays.is_count(np.arange(len(values)), len(values))
    assert arrays.is_count(values, len(values)) == (numbers == list(range(len(numbers))))


@given(pieces=st.lists(NUMBERS, max_size=6))
def test_pieces_make_one_array(pieces: list[list[int]]) -> None:
    writer = ArrayWriter(np.int16)
    for piece in pieces:
        writer.append(of(piece))
    assert writer.finish().tolist() == [*chain.from_iterable(pieces)]


@given(runs=st.lists(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5), max_size=9), max_size=6))
def test_runs_are_merged_in_order_and_equal_keys_share_a_part(runs: list[list[int]]) -> None:
    merged, count = Runs(), 0
    for run in runs:
        key = np.array(run, np.uint64)
        merged.add(key, (np.arange(len(run)) + count).astype(np.int16))
        count += len(run)
    expected = sorted(((key, place) for place, key in enumerate(chain.from_iterable(runs))))
    parts = [list(zip(key.tolist(), place.tolist(), strict=True)) for key, place in merged.parts()]
    assert [*chain.from_iterable(parts)] == expected
    assert all(parts)
    assert all(one[-1][0] < two[0][0] for one, two in pairwise(parts))


def test_the_parts_of_a_merge_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "TOGETHER", 100)
    dice, runs = np.random.default_rng(0), Runs()
    for size in (1000, *[10] * 100):
        runs.add(dice.integers(0, 1 << 40, size))
    sizes = [len(key) for (key,) in runs.parts()]
    assert sum(sizes) == 2000
    assert max(sizes) < 200, "about as many records as are sorted at a time"


def test_a_mapped_array_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = arrays.zeros((4, 2), np.int64)
    made[1] = 7
    assert made.tolist() == [[0, 0], [7, 7], [0, 0], [0, 0]]
    assert os.listdir(tmp_path / "cospace" / "columns") == [] if (tmp_path / "cospace").exists() else True


def test_a_disk_without_room_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "LARGE", 0)

    def refuse(number: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", lambda *_: refuse(errno.ENOSPC))
    with pytest.raises(UserError, match="No space left on device.*XDG_CACHE_HOME"):
        arrays.zeros(9, np.int64)
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: refuse(errno.EOPNOTSUPP))
    assert arrays.zeros(9, np.int64).tolist() == [0] * 9, "a file system that reserves nothing"

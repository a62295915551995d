"""Which pairs a step of a stream sees: each once an epoch, by the seed and the step alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cospace.data.sampler import WindowSampler, window_batches
from cospace.data.stream import Part, Shard
from cospace.data.stream.manifest import Manifest, Record, check_shards
from cospace.data.stream.windows import FIRST, Limits, Plan, cut
from cospace.types import UserError

SHARDS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60)), min_size=1, max_size=12)
"""Rows and bytes; a shard may be empty, or have fewer bytes than rows."""


def plan_of(sizes: list[tuple[int, int]], limits: Limits, seed: int = 0) -> Plan:
    return Plan([Shard(f"s{i}", f"s{i}", size) for i, (_, size) in enumerate(sizes)], seed, limits)


def steps_of(sizes: list[tuple[int, int]], plan: Plan, batch_size: int, epochs: int) -> list[list[tuple[str, int]]]:
    """What each step sees of a stream whose shards have so many rows: a shard's name and a row of it."""
    seen: list[list[tuple[str, int]]] = []
    for place in plan.places():
        if place.epoch == epochs:
            return seen
        rows = [(p.shard.name, row) for p in place.window for row in p.rows(sizes[int(p.shard.name[1:])][0])]
        sampler = WindowSampler(len(rows), batch_size, plan.seed, (place.epoch, place.number), len(seen))
        for step in range(len(seen), len(seen) + sampler.batches):
            chosen, epoch = sampler.step(step)
            assert set(epoch.tolist()) == {place.epoch}
            seen.append([rows[row] for row in chosen])
    raise AssertionError


@given(SHARDS, st.integers(1, 4), st.integers(1, 80), st.integers(2, 9), st.integers(0, 3))
def test_every_pair_is_seen_once_an_epoch(
    sizes: list[tuple[int, int]], most: int, size: int, batch_size: int, seed: int
) -> None:
    plan = plan_of(sizes, Limits(most, size), seed)
    seen = Counter(row for batch in steps_of(sizes, plan, batch_size, 2) for row in batch)
    expected = {(f"s{i}", row): 2 for i, (rows, _) in enumerate(sizes) for row in range(rows)}
    assert seen == expected


@given(st.integers(0, 200), st.integers(2, 40))
def test_batches_of_a_window_are_even_and_none_has_one_pair(rows: int, batch_size: int) -> None:
    sampler = WindowSampler(rows, batch_size, 0, (0, 0), 5)
    sizes = [len(sampler.step(step)[0]) for step in range(5, 5 + sampler.batches)]
    assert sum(sizes) == rows
    assert len(sizes) == window_batches(rows, batch_size)
    if rows > 1:
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) > 1
        assert max(sizes) <= max(batch_size, 3)


@given(SHARDS, st.integers(1, 4), st.integers(1, 80))
def test_windows_keep_to_their_limits(sizes: list[tuple[int, int]], most: int, size: int) -> None:
    for window in plan_of(sizes, Limits(most, size)).windows(1):
        assert 1 <= len(window) <= most
        held = sum(part.size for part in window)
        assert held <= size + size // 2  # what is left of a shard may stay with its last part
        assert held <= size or len(window) == 1


def test_the_first_windows_grow_and_a_large_shard_is_cut() -> None:
    shards = [Shard(name, name, 20 * FIRST) for name in "abc"]
    limits = Limits(16, 8 * FIRST)
    sizes = [sum(part.size for part in window) // FIRST for window in cut(shards, 0, limits)]
    assert sizes[:4] == [1, 2, 4, 8]
    assert {sum(part.size for part in window) // FIRST for window in cut(shards, 1, limits)} == {8, 4}


def test_small_rows_make_small_windows() -> None:
    """A table of paths has a hundred bytes a row, and an image of each is in memory."""
    limits = Limits.of(16, 500_000_000, bytes_per_row=100.0)
    assert (limits.size, limits.room(0, 0), limits.room(0, 1)) == (6_553_600, 100_000, 200_000)
    assert Limits.of(16, 500_000_000, bytes_per_row=25_000.0) == Limits(16, 500_000_000)


def test_the_order_is_a_function_of_the_seed_and_differs_between_epochs() -> None:
    sizes = [(5, 10)] * 12
    limits = Limits(3, 100)
    orders = [steps_of(sizes, plan_of(sizes, limits, seed), 4, 2) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    half = len(orders[0]) // 2
    assert orders[0][:half] != orders[0][half:]
    assert len({name for batch in orders[0][:4] for name, _ in batch}) == 3, "shuffled within a window of shards"


def test_parts_of_a_shard_have_each_row_once() -> None:
    shard = Shard("a", "a", 10)
    parts = [Part(shard, 0, 3), Part(shard, 3, 9), Part(shard, 9, 10)]
    for count in (0, 1, 2, 7, 100):
        assert [row for part in parts for row in part.rows(count)] == list(range(count))
    assert list(Part(Shard("b", "b", 0), 0, 0).rows(3)) == [0, 1, 2]


# ------------------------------------------------------------------------------------------------ what is recorded


def test_records_survive_and_half_a_line_is_none(tmp_path: Path) -> None:
    manifest = Manifest.open(tmp_path, "key")
    records = [Record(0, n, 5, 4, set_aside={"missing": 1}, parts={f"s{n}": "x"}) for n in range(3)]
    for record in records:
        manifest.add(record)
    path = tmp_path / "windows.jsonl"
    data = path.read_bytes()
    assert list(Manifest.open(tmp_path, "key").records.values()) == records
    path.write_bytes(data[:-10])
    assert list(Manifest.open(tmp_path, "key").records.values()) == records[:2]
    path.write_bytes(data.replace(b'"rows": 5', b'"rows": 6', 1))
    assert list(Manifest.open(tmp_path, "key").records.values()) == records[1:]
    assert Manifest.open(tmp_path, "another").records == {}
    assert path.read_bytes() == b""


@given(st.binary(max_size=200), st.integers(0, 3))
def test_whatever_stands_in_the_record_is_a_whole_line_or_none(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, before: int
) -> None:
    folder = tmp_path_factory.mktemp("record")
    manifest = Manifest.open(folder, "key")
    for number in range(3):
        manifest.add(Record(0, number, 5))
    lines = (folder / "windows.jsonl").read_bytes().split(b"\n")
    (folder / "windows.jsonl").write_bytes(b"\n".join([*lines[:before], junk.replace(b"\n", b""), *lines[before:]]))
    assert len(Manifest.open(folder, "key").records) == 3


def test_a_shard_that_has_changed_is_named(tmp_path: Path) -> None:
    manifest = Manifest.open(tmp_path, "key")
    manifest.add(Record(0, 0, 5, parts={"a.tar#0-5": "x", "b.tar": "y"}))
    manifest.add(Record(1, 0, 5, parts={"b.tar": "y"}))
    with pytest.raises(UserError, match=r"^b\.tar has changed since this run read it"):
        manifest.add(Record(1, 1, 5, parts={"b.tar": "z"}))
    with pytest.raises(UserError, match="had 5 usable pairs and has 4 now"):
        manifest.add(Record(0, 0, 4, parts={"b.tar": "y"}))
    assert np.all([not record.parts for (epoch, _), record in manifest.records.items() if epoch])


def test_the_list_of_shards_is_compared_where_a_run_goes_on(tmp_path: Path) -> None:
    shards = [Shard("a.tar", "/d/a.tar", 10), Shard("b.tar", "/d/b.tar", 20, "tag")]
    check_shards(tmp_path, shards, goes_on=False)
    check_shards(tmp_path, shards, goes_on=True)
    for now, said in (
        ([Shard("a.tar", "/d/a.tar", 9), shards[1]], r"/d/a.tar has changed .*\(10 bytes then, 9 now\)"),
        ([shards[0], Shard("b.tar", "/d/b.tar", 20, "other")], "/d/b.tar has changed"),
        (shards[:1], "/d/b.tar is gone"),
        ([*shards, Shard("c.tar", "/d/c.tar", 1)], "/d/c.tar is new"),
    ):
        with pytest.raises(UserError, match=said):
            check_shards(tmp_path, now, goes_on=True)
        check_shards(tmp_path, shards, goes_on=False)

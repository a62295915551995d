"""The local index against a plain matrix, and against faults: what was acknowledged is there, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cospace.files import digest
from cospace.stores import Condition, Hit, Index, Item, _scan, local, of_modality, search
from cospace.stores.local import LocalIndex
from cospace.types import UserError
from faults import every_fault

WIDTH = 8
ONES = np.ones((1, WIDTH))


def vectors(count: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def items(count: int, prefix: str = "i") -> list[Item]:
    return [Item(f"{prefix}{n}", ("image", "text")[n % 2], f"{prefix}{n}.jpg", f"caption {n}") for n in range(count)]


@pytest.fixture
def index(tmp_path: Path) -> LocalIndex:
    return LocalIndex.create(tmp_path / "idx", "f00d", WIDTH)


def content(index: LocalIndex) -> dict[str, str]:
    """Live ids with their captions, as a search finds them: by looking for everything."""
    (hits,) = search(index, ONES, 10_000)
    assert len({hit.id for hit in hits}) == len(hits) == len(index)
    return {hit.id: hit.text for hit in hits}


def test_search_equals_the_full_matrix_across_tiles_segments_and_deletions(
    index: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_scan, "TILE_ROWS", 7)
    monkeypatch.setattr(local, "TILE_QUERIES", 3)
    everything, data = items(60), vectors(60)
    for start in (0, 25, 26, 47):
        stop = {0: 25, 25: 26, 26: 47, 47: 60}[start]
        index.add(everything[start:stop], data[start:stop] * 3)
    index.delete([f"i{n}" for n in range(10, 20)])
    queries = vectors(8, seed=1)
    cosine = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (
        data / np.linalg.norm(data, axis=1, keepdims=True)
    ).T
    cosine[:, 10:20] = -np.inf
    for k in (1, 5, 50, 1000):
        for hits, row in zip(search(index, queries, k), cosine, strict=True):
            expected = np.argsort(-row, kind="stable")[: min(k, 50)]
            assert [hit.id for hit in hits] == [f"i{n}" for n in expected]
            np.testing.assert_allclose([hit.score for hit in hits], row[expected], atol=1e-6)


def test_an_item_is_found_by_its_own_vector_with_all_that_is_known_of_it(index: LocalIndex) -> None:
    everything, data = items(40), vectors(40)
    index.add(everything, data)
    for item, vector in zip(everything, data, strict=True):
        ((hit,),) = search(index, vector[None], 1)
        assert hit == Hit(item.id, hit.score, item.modality, item.path, item.text)
        assert hit.score == pytest.approx(1.0, abs=1e-6)


def test_where_selects_on_columns(index: LocalIndex) -> None:
    index.add(items(20), vectors(20))
    (hits,) = search(index, ONES, 100, [of_modality("text")])
    assert {hit.id for hit in hits} == {f"i{n}" for n in range(1, 20, 2)}
    assert search(index, ONES, 3, [of_modality("audio")]) == [[]]
    with pytest.raises(
        UserError, match="no column 'colour'; it has id, modality, path, text, hash, width, height, rgb"
    ):
        search(index, ONES, 3, [Condition.parse("colour=red")])


def test_reopened_it_answers_with_equal_bytes(index: LocalIndex, tmp_path: Path) -> None:
    index.add(items(30), vectors(30))
    index.delete(["i3"])
    query = vectors(4, seed=2)
    before = search(index, query, 7)
    index.close()
    again = LocalIndex.open(tmp_path / "idx", "f00d")
    assert search(again, query, 7) == before
    assert (again.fingerprint, again.width, len(again)) == ("f00d", WIDTH, 29)


def test_an_id_added_again_is_replaced(index: LocalIndex) -> None:
    data = vectors(3)
    index.add(items(3), data)
    index.add([Item("i1", "image", "new.jpg", "new caption")], data[2:])
    assert content(index) == {"i0": "caption 0", "i1": "new caption", "i2": "caption 2"}
    assert {hit.id for hit in search(index, data[2:], 2)[0]} == {"i1", "i2"}
    assert index.delete(["i1", "i1", "unknown"]) == 1
    assert sorted(content(index)) == ["i0", "i2"]


def test_an_empty_index_answers_with_nothing(index: LocalIndex) -> None:
    assert search(index, ONES, 5) == [[]]
    assert index.delete(["i0"]) == 0
    index.add([], np.empty((0, WIDTH)))
    index.add(items(1), vectors(1))
    assert index.delete(["i0"]) == 1
    index.finish()
    assert content(index) == {}


def test_many_small_steps_are_merged_and_dead_rows_dropped(index: LocalIndex, tmp_path: Path) -> None:
    data = vectors(120)
    for n, item in enumerate(items(120)):
        index.add([item], data[n : n + 1])
    index.delete([f"i{n}" for n in range(0, 120, 3)])
    expected = {f"i{n}": f"caption {n}" for n in range(120) if n % 3}
    assert content(index) == expected
    files = os.listdir(tmp_path / "idx" / "segments")
    assert len([name for name in files if name.endswith("vectors.npy")]) <= 2 * (local.MOST_SEGMENTS + 2)
    index.finish()
    assert content(index) == expected
    assert search(index, data[100:101], 1)[0][0].id == "i100"
    index.close()
    assert content(LocalIndex.open(tmp_path / "idx")) == expected


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([0.0] * WIDTH, "'i1' is zero"),
        ([np.nan] + [1.0] * (WIDTH - 1), "'i1' is not finite"),
        ([np.inf] + [1.0] * (WIDTH - 1), "'i1' is not finite"),
    ],
)
def test_a_vector_without_direction_is_refused_by_its_id(index: LocalIndex, row: list[float], said: str) -> None:
    bad = vectors(3)
    bad[1] = row
    with pytest.raises(UserError, match=said):
        index.add(items(3), bad)
    assert len(index) == 0
    with pytest.raises(UserError, match="query 0"):
        search(index, np.array([row]), 1)


def test_tiny_and_huge_vectors_keep_their_direction(index: LocalIndex) -> None:
    data = vectors(2)
    index.add(items(2), np.stack([data[0].astype(np.float64) * 1e-30, data[1].astype(np.float64) * 1e30]))
    assert [hits[0].id for hits in search(index, data, 1)] == ["i0", "i1"]


def test_wrong_shapes_ids_and_numbers_are_refused(index: LocalIndex) -> None:
    with pytest.raises(UserError, match=r"\(n, 8\) are expected, \(2, 5\)"):
        index.add(items(2), vectors(2, width=5))
    with pytest.raises(UserError, match=r"\(n, 8\) are expected"):
        search(index, np.ones((1, 5)), 1)
    with pytest.raises(UserError, match="2 items came with 3 vectors"):
        index.add(items(2), vectors(3))
    with pytest.raises(UserError, match="'i0' occurs more than once"):
        index.add(items(1) + items(1), vectors(2))
    with pytest.raises(UserError, match="k must be 1 or more, 0"):
        search(index, ONES, 0)
    with pytest.raises(UserError, match="not valid Unicode"):
        index.add([Item("i0", "image", "\udcff.jpg")], vectors(1))
    assert len(index) == 0


def test_another_runs_fingerprint_is_refused_and_both_are_shown(index: LocalIndex, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"f00d.*beef"):
        LocalIndex.open(tmp_path / "idx", "beef")


def test_folders_that_are_no_index_or_already_one_are_refused(index: LocalIndex, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not an index"):
        LocalIndex.open(tmp_path / "missing")
    with pytest.raises(UserError, match="open the index that is there"):
        LocalIndex.create(tmp_path / "idx", "f00d", WIDTH)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match="not empty"):
        LocalIndex.create(tmp_path / "photos", "f00d", WIDTH)


def test_a_second_writer_is_told_who_writes_while_readers_read_on(index: LocalIndex, tmp_path: Path) -> None:
    index.add(items(5), vectors(5))
    reader = LocalIndex.open(tmp_path / "idx")
    with pytest.raises(UserError, match=f"process {os.getpid()}"):
        reader.add(items(1, "j"), vectors(1))
    for n in range(4):
        index.add(items(1, f"k{n}-"), vectors(1, seed=n))
    assert len(content(reader)) == 5, "a reader keeps the version that it opened"
    index.close()
    reader.add(items(1, "j"), vectors(1))
    assert len(content(reader)) == 10, "a writer begins with the newest version"


def test_a_flipped_bit_is_found_on_opening(index: LocalIndex, tmp_path: Path) -> None:
    index.add(items(5), vectors(5))
    index.delete(["i2"])
    index.close()
    newest = max((tmp_path / "idx" / "versions").iterdir())
    for path in [*(tmp_path / "idx" / "segments").iterdir(), newest]:
        whole = path.read_bytes()
        expected = digest(path)
        for place in range(0, len(whole) - 1, 1 + len(whole) // 20):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            with pytest.raises(UserError, match=path.name) as error:
                LocalIndex.open(tmp_path / "idx")
            assert path == newest or (expected in str(error.value) and digest(path) in str(error.value))
        path.write_bytes(whole)
    LocalIndex.open(tmp_path / "idx")


def test_a_fault_at_any_operation_loses_nothing_and_invents_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "idx"
    with LocalIndex.create(folder, "f00d", WIDTH) as index:
        index.add(items(6), vectors(6))
    old = {f"i{n}": f"caption {n}" for n in range(6)}
    new = {**old, "i4": "changed", "extra": "caption"}
    change = [Item("i4", "image", "", "changed"), Item("extra", "text", "", "caption")]

    def act() -> None:
        with LocalIndex.open(folder) as writer:
            writer.add(change, vectors(2, seed=3))

    def check(succeeded: bool) -> None:
        found = content(LocalIndex.open(folder))
        assert found == new if succeeded else found in (old, new)
        with LocalIndex.open(folder) as writer:
            writer.delete(["extra"])
            writer.add(items(6), vectors(6))
        assert content(LocalIndex.open(folder)) == old

    assert every_fault(act, check) > 12


def test_a_reader_that_a_writer_overtakes_reads_the_newer_version(
    index: LocalIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(items(4), vectors(4))
    opened = local.Segment.open

    def overtaken(*arguments: Any, **settings: Any) -> Any:
        monkeypatch.setattr(local.Segment, "open", opened)
        for n in range(3):
            index.add(items(1, f"k{n}-"), vectors(1, seed=n))
            index.finish()
        return opened(*arguments, **settings)

    monkeypatch.setattr(local.Segment, "open", overtaken)
    assert len(content(LocalIndex.open(tmp_path / "idx"))) == 7


def test_a_writer_goes_on_after_a_failed_step(index: LocalIndex, tmp_path: Path) -> None:
    index.add(items(3), vectors(3))

    def check(succeeded: bool) -> None:
        on_disk = "j0" in content(LocalIndex.open(tmp_path / "idx"))
        assert index.delete(["j0"]) == on_disk, "the writer knows what its failed step left on disk"
        assert sorted(content(index)) == ["i0", "i1", "i2"]

    every_fault(lambda: index.add(items(1, "j"), vectors(1, seed=1)), check)


ADDER = """
import sys
from pathlib import Path
import numpy as np
from cospace.stores import Item
from cospace.stores.local import LocalIndex
index = LocalIndex.open(Path(sys.argv[1]))
for n in range(len(index), 10**6):
    index.add([Item(str(n), "text", "", str(n))], np.eye(8)[[n % 8]])
    print(n, flush=True)
"""


def test_what_was_acknowledged_survives_kill(index: LocalIndex, tmp_path: Path) -> None:
    index.close()
    for kill in range(3):
        child = subprocess.Popen([sys.executable, "-c", ADDER, str(tmp_path / "idx")], stdout=subprocess.PIPE)
        assert child.stdout is not None
        for _ in range(12 + kill):
            acknowledged = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        acknowledged = int(([str(acknowledged).encode(), *child.communicate()[0].split()])[-1])
        found = content(LocalIndex.open(tmp_path / "idx"))
        assert len(found) in (acknowledged + 1, acknowledged + 2)
        assert found == {str(n): str(n) for n in range(len(found))}


STEP = st.tuples(st.sampled_from(["add", "delete", "finish", "reopen"]), st.sets(st.integers(0, 9)))


@settings(max_examples=25)
@given(steps=st.lists(STEP))
def test_any_history_equals_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, set[int]]]
) -> None:
    folder = tmp_path_factory.mktemp("history") / "idx"
    index, truth = LocalIndex.create(folder, "f00d", WIDTH), dict[str, str]()
    for turn, (step, numbers) in enumerate(steps):
        ids = [str(n) for n in sorted(numbers)]
        if step == "add":
            index.add([Item(name, "text", "", f"{name} at {turn}") for name in ids], vectors(len(ids), turn))
            truth |= {name: f"{name} at {turn}" for name in ids}
        elif step == "delete":
            assert index.delete(ids) == len(truth.keys() & set(ids))
            truth = {name: text for name, text in truth.items() if name not in ids}
        elif step == "finish":
            index.finish()
        else:
            index.close()
            index = LocalIndex.open(folder)
        assert content(index) == truth


def test_it_is_an_index(index: LocalIndex) -> None:
    store: Index = index
    assert len(store) == 0

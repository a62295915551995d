"""The local index against a plain matrix, and against faults: what was acknowledged is there, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cospace.files import digest, read_sealed, write_sealed
from cospace.stores import Condition, Index, Item, _graph, _scan, local, search
from cospace.stores.local import LocalIndex
from cospace.stores.locations import FolderLocation
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


def test_reopened_it_answers_with_equal_bytes(index: LocalIndex, tmp_path: Path) -> None:
    index.add(items(30), vectors(30))
    index.delete(["i3"])
    query = vectors(4, seed=2)
    before = search(index, query, 7)
    index.close()
    again = LocalIndex.open(tmp_path / "idx", "f00d")
    assert search(again, query, 7) == before
    assert (again.fingerprint, again.width, len(again)) == ("f00d", WIDTH, 29)


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


def test_tiny_and_huge_vectors_keep_their_direction(index: LocalIndex) -> None:
    data = vectors(2)
    index.add(items(2), np.stack([data[0].astype(np.float64) * 1e-30, data[1].astype(np.float64) * 1e30]))
    assert [hits[0].id for hits in search(index, data, 1)] == ["i0", "i1"]


def test_folders_that_are_no_index_or_already_one_are_refused(index: LocalIndex, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not an index"):
        LocalIndex.open(tmp_path / "missing")
    with pytest.raises(UserError, match="open the index that is there"):
        LocalIndex.create(tmp_path / "idx", "f00d", WIDTH)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match="not empty"):
        LocalIndex.create(tmp_path / "photos", "f00d", WIDTH)


def linked(folder: Path, monkeypatch: pytest.MonkeyPatch, precision: str = "int8") -> LocalIndex:
    """An index of 60 items whose pictures have a graph."""
    monkeypatch.setattr(_graph, "GRAPH_ROWS", 30)
    index = LocalIndex.create(folder, "f00d", WIDTH, precision)
    index.add(items(60), vectors(60))
    index.finish()
    return index


def test_a_flipped_bit_is_found_on_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = linked(tmp_path / "idx", monkeypatch)
    index.delete(["i2"])
    index.close()
    newest = max((tmp_path / "idx" / "versions").iterdir())
    paths = [*(tmp_path / "idx" / "segments").iterdir(), newest]
    assert {"vectors.npy", "scales.npy", "items.parquet", "graph"} <= {path.name.split(".", 1)[1] for path in paths}
    for path in paths:
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


def test_a_fault_while_finishing_changes_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = linked(tmp_path / "idx", monkeypatch)
    truth = {f"i{n}": f"caption {n}" for n in range(60)}

    def act() -> None:
        with LocalIndex.open(tmp_path / "idx") as writer:
            writer.finish()

    def check(succeeded: bool) -> None:
        found = LocalIndex.open(tmp_path / "idx")
        assert content(found) == truth
        linked_rows = [len(segment) for segment in found._state.segments if segment.graph]
        assert not succeeded or linked_rows == [60, 60]
        with found as writer:  # so that there is something to finish
            writer.add(items(60, "j"), vectors(60))
            writer.delete([f"j{n}" for n in range(60)])
            writer.add(items(60), vectors(60))

    index.add(items(120)[60:], vectors(60))
    truth |= {f"i{n}": f"caption {n}" for n in range(60, 120)}
    index.close()
    assert every_fault(act, check) > 12


def test_a_graph_is_kept_while_little_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = linked(tmp_path / "idx", monkeypatch)
    steps: list[tuple[str, int, int]] = []

    def graphs() -> set[str]:
        return {path.name for path in (tmp_path / "idx" / "segments").glob("*.graph")}

    def finished() -> bool:
        """True if the graphs were made anew."""
        before = graphs()
        index.finish(lambda *report: steps.append(report))
        return {file["graph"]["name"] for file in files() if "graph" in file} != before

    def files() -> list[dict[str, Any]]:
        return [segment.entry["files"] for segment in index._state.segments]

    assert len(graphs()) == 2 and not finished()
    index.add(items(20, "j"), vectors(20))
    index.delete(["i0", "i1"])
    assert not finished() and not steps
    assert [segment.graph is None for segment in index._state.segments] == [False, False, True, True]
    index.add(items(20, "k"), vectors(20))
    assert finished(), "twenty of each against thirty"
    assert steps[-1] == ("linking texts", 49, 49)
    assert len(content(index)) == 98
    index.delete([f"i{n}" for n in range(40)])
    assert finished(), "more than a third is gone"


@pytest.mark.parametrize(("precision", "bytes_each"), [("float32", 4), ("bfloat16", 2), ("int8", 1)])
def test_scores_of_each_precision_are_within_their_bound(tmp_path: Path, precision: str, bytes_each: int) -> None:
    """Rounding moves a vector by so much at most, and a cosine by no more than that."""
    data, queries = vectors(300, width=64), vectors(20, seed=1, width=64)
    index = LocalIndex.create(tmp_path / "idx", "f00d", 64, precision)
    index.add(items(200), data[:200])
    index.add(items(300)[200:], data[200:])
    index.finish()
    index.close()
    index = LocalIndex.open(tmp_path / "idx")
    unit = data / np.linalg.norm(data, axis=1, keepdims=True)
    bound = {"float32": 1e-6, "bfloat16": 2**-8, "int8": 8 * np.abs(unit).max() / 254}[precision] + 1e-6
    numbers = index.numbers([f"i{n}" for n in range(300)])
    moved = np.linalg.norm(index.vectors(numbers) - unit, axis=1).max()
    assert moved <= bound and (precision == "float32" or moved > bound / 10)
    found = index.nearest(queries, 300)
    exact = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ unit.T
    row_of = {number: row for row, number in enumerate(numbers.tolist())}
    for found_K, scores, true in zip(found.numbers_QK.tolist(), found.scores_QK, exact, strict=True):
        np.testing.assert_allclose(scores, true[[row_of[number] for number in found_K]], atol=bound)
    assert sum(segment.stored_NE.nbytes for segment in index._state.segments) == 300 * 64 * bytes_each


def test_opening_without_a_check_reads_nothing_and_outlives_the_files(index: LocalIndex, tmp_path: Path) -> None:
    index.add(items(20), vectors(20))
    reader = LocalIndex.open(tmp_path / "idx", thorough=False)
    assert all(not segment.items._read for segment in reader._state.segments)
    for n in range(4):
        index.add(items(20), vectors(20, seed=n + 1))
        index.finish()
    (hit,) = search(reader, vectors(20)[3:4], 1)[0]
    assert (hit.id, hit.text) == ("i3", "caption 3") and hit.score == pytest.approx(1, abs=1e-6)
    assert reader.refresh() and search(reader, vectors(20)[3:4], 1)[0][0].score < 0.99


def test_an_index_of_the_first_format_is_to_be_made_again(index: LocalIndex, tmp_path: Path) -> None:
    index.close()
    path = max((tmp_path / "idx" / "versions").iterdir())
    for number, said in ((1, "index again"), (9, "update")):
        write_sealed(path, {**read_sealed(path), "format": number})
        with pytest.raises(UserError, match=said):
            LocalIndex.open(tmp_path / "idx")


def test_the_format_is_refused_before_the_model_that_came_with_it(tmp_path: Path) -> None:
    """Converting an old index's model would not help: its vectors are another run's then."""
    (tmp_path / "model").mkdir()
    LocalIndex.create(tmp_path / "vectors", "f00d", WIDTH, "float32").close()
    location = FolderLocation(tmp_path)
    assert location.model() == tmp_path / "model"
    path = max((tmp_path / "vectors" / "versions").iterdir())
    write_sealed(path, {**read_sealed(path), "format": 2})
    with pytest.raises(UserError, match="has format 2, this cospace reads 4; index again with"):
        location.model()


def test_a_precision_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'float64'; choose one of float32, bfloat16, int8"):
        LocalIndex.create(tmp_path / "idx", "f00d", WIDTH, "float64")


def test_filters_that_no_store_could_answer_are_refused() -> None:
    for written in ("label", "=x", "year>=new", "year<=1|2", "year>=nan", "label=\udcff", "year>=1_0", "a<b"):
        with pytest.raises(UserError, match="filter"):
            Condition.parse(written)
    assert Condition.parse(" label = a | b=c ") == Condition("label", "=", ("a", "b=c"))
    with pytest.raises(UserError, match="no known relation"):
        Condition("a", "~", ("b",))


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


def test_it_is_an_index(index: LocalIndex) -> None:
    store: Index = index
    assert len(store) == 0

"""The graph of a large segment beside plain searches, its layout, its recall, and indexes of the format before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from cospace.files import read_sealed, stamp, write_sealed
from cospace.stores import Item, _graph, _mapping, _recall, _scan
from cospace.stores._graph import Graph, scale_of
from cospace.stores._layout import order, sampled
from cospace.stores._mapping import Rows
from cospace.stores.local import LocalIndex

WIDTH, ROWS = 24, 3000
"""The library takes 16 coordinates at a time: 24 are filled up."""


def latent(count: int, seed: int) -> np.ndarray:
    """Unit vectors in clusters on a curved surface of few dimensions."""
    made, shared = np.random.default_rng(seed), np.random.default_rng(0)
    centres, out = shared.normal(size=(60, 6)), shared.normal(size=(6, WIDTH))
    vectors_NE = np.tanh((centres[made.integers(0, 60, count)] + 0.7 * made.normal(size=(count, 6))) @ out)
    units_NE: np.ndarray = vectors_NE / np.linalg.norm(vectors_NE, axis=1, keepdims=True)
    return units_NE.astype(np.float32)


def graph(path: Path, data_NE: np.ndarray, exact: bool = False) -> Graph:
    parts = [torch.from_numpy(data_NE[:500]), torch.from_numpy(data_NE[500:])]
    scale = None if exact else scale_of(parts)
    order_N = order(torch.from_numpy(data_NE[sampled(len(data_NE))]), parts, len(data_NE))
    Graph.build(path, parts, order_N, scale, lambda rows: None)
    return Graph(path, len(data_NE), scale)


def items(count: int) -> list[Item]:
    return [Item(str(row), "image") for row in range(count)]


def found_share(rows_QF: np.ndarray, queries_QE: np.ndarray, data_NE: np.ndarray) -> float:
    """The share of the ten nearest rows by a full matrix that is among the proposed ones."""
    true_QK = np.argsort(-(queries_QE @ data_NE.T), axis=1)[:, :10]
    return float(np.mean([np.isin(true_K, rows_F).mean() for true_K, rows_F in zip(true_QK, rows_QF, strict=True)]))


@pytest.fixture
def linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalIndex:
    """A finished index with a graph, which is asked."""
    monkeypatch.setattr(_graph, "GRAPH_ROWS", 500)
    monkeypatch.setattr(_scan, "COST", 1)
    index = LocalIndex.create(tmp_path / "idx", "f00d", WIDTH)
    index.add(items(ROWS), latent(ROWS, 1))
    index.finish()
    index.close()
    return LocalIndex.open(tmp_path / "idx")


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_a_graph_proposes_the_rows_that_a_full_matrix_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: bool, exact: bool
) -> None:
    monkeypatch.setattr(_mapping, "READ_WHOLE", 0 if mapped else 1 << 30)
    data, queries = torch.from_numpy(latent(ROWS, 1)).bfloat16().float().numpy(), latent(50, 2)
    opened = graph(tmp_path / "a.graph", data, exact)
    rows_QF, scores_QF = opened.near(queries, 12, 200)
    assert found_share(rows_QF, queries, data) > 0.98
    if exact:
        np.testing.assert_allclose(scores_QF, np.take_along_axis(queries @ data.T, rows_QF, axis=1), atol=2e-6)
    for query in range(3):
        np.testing.assert_array_equal(opened.near(queries[query : query + 1], 12, 200)[0][0], rows_QF[query])


def test_a_query_that_is_longer_in_one_coordinate_than_any_row_finds_its_nearest(tmp_path: Path) -> None:
    data, queries = latent(ROWS, 1), np.eye(WIDTH, dtype=np.float32)
    assert np.abs(data).max() < 0.9
    near_QF = graph(tmp_path / "a.graph", data).near(queries, 40, 400)[0]
    assert found_share(near_QF, queries, data) > 0.9


def test_where_fewer_rows_are_reached_the_answer_ends_in_none(tmp_path: Path) -> None:
    data = latent(600, 1)
    near_QF = graph(tmp_path / "a.graph", data).near(latent(2, 2), 700, 700)[0]
    assert near_QF.shape == (2, 700) and (near_QF[:, -100:] == -1).all()
    assert all(len(set(row)) == len(row) for row in ([n for n in row if n >= 0] for row in near_QF.tolist()))


def test_several_threads_get_what_one_gets(linked: LocalIndex) -> None:
    queries = latent(200, 2)
    alone = [linked.nearest(query[None], 10) for query in queries]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda query: linked.nearest(query[None], 10), queries))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.numbers_QK, other.numbers_QK)
        np.testing.assert_array_equal(one.scores_QK, other.scores_QK)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_the_shortest_way_for_one_query_finds_what_the_plain_one_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setattr(_graph, "GRAPH_ROWS", 500)
    monkeypatch.setattr(_scan, "COST", 1)
    index = LocalIndex.create(tmp_path / "idx", "f00d", WIDTH, precision)
    data = latent(700, 1)
    data[100:103] = data[0]  # equal scores come by number
    index.add(items(700), data)
    index.finish()
    short, taken = _scan.alone, []
    monkeypatch.setattr(_scan, "alone", lambda *given: taken.append(short(*given)) or taken[-1])
    queries = np.concatenate([latent(30, 2), data[:1]])
    found = [index.nearest(query[None], 5) for query in queries]
    assert [one is None for one in taken] == [False] * 30 + [True]
    monkeypatch.setattr(_scan, "alone", lambda *given: None)
    for query, one in zip(queries, found, strict=True):
        plain = index.nearest(query[None], 5)
        np.testing.assert_array_equal(one.numbers_QK, plain.numbers_QK)
        np.testing.assert_allclose(one.scores_QK, plain.scores_QK, atol=1e-6)
    assert found[-1].numbers_QK[0, :4].tolist() == [0, 100, 101, 102]


def test_neighbours_lie_side_by_side(tmp_path: Path) -> None:
    data = latent(ROWS, 1)
    parts = [torch.from_numpy(data[start : start + 700]) for start in range(0, ROWS, 700)]
    order_N = order(torch.from_numpy(data[sampled(ROWS)]), parts, ROWS)
    assert sorted(order_N.tolist()) == list(range(ROWS))
    adjacent, before = ((rows[1:] * rows[:-1]).sum(axis=1).mean() for rows in (data[order_N], data))
    assert adjacent > before + 0.2


def test_rows_read_one_by_one_are_those_of_the_file(tmp_path: Path) -> None:
    for kind in (np.float32, np.uint16, np.int8):
        matrix_NE = (latent(50, 1) * 100).astype(kind)
        np.save(tmp_path / "a.npy", matrix_NE)
        rows = np.array([3, 0, 49, 3, -1])
        np.testing.assert_array_equal(Rows(tmp_path / "a.npy", matrix_NE).take(rows), matrix_NE[rows])


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_mapped_vectors_give_the_scores_that_vectors_in_memory_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    index = LocalIndex.create(tmp_path / "idx", "f00d", WIDTH, precision)
    index.add(items(700), latent(700, 1))
    monkeypatch.setattr(_graph, "GRAPH_ROWS", 500)
    monkeypatch.setattr(_scan, "COST", 1)
    index.finish()
    monkeypatch.setattr(_mapping, "READ_WHOLE", 0)
    mapped = LocalIndex.open(tmp_path / "idx")
    numbers, queries = np.arange(700), latent(5, 2)
    np.testing.assert_array_equal(mapped.vectors(numbers), index.vectors(numbers))
    one, other = index.nearest(queries, 10), mapped.nearest(queries, 10)
    np.testing.assert_array_equal(one.numbers_QK, other.numbers_QK)
    np.testing.assert_allclose(one.scores_QK, other.scores_QK, atol=1e-6)


def test_recall_is_measured_when_a_graph_is_made_and_decides_the_effort(
    linked: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert linked.recall["image"] >= 0.98
    (segment,) = linked._state.segments
    assert segment.entry["graph"]["effort"] == 64
    blind = np.tile(np.arange(200), (100, 1))
    monkeypatch.setattr(_graph.Graph, "near", lambda self, queries, count, effort: (blind[:, :count], blind))
    measured = _recall.with_effort(segment).entry["graph"]
    assert measured["effort"] == 512 and measured["recall"] < 0.1


def test_an_index_of_the_format_before_is_searched_exactly_and_linked_by_its_next_change(
    linked: LocalIndex, tmp_path: Path
) -> None:
    folder, queries, data = tmp_path / "idx", latent(20, 2), latent(ROWS, 1)
    newest = max((folder / "versions").iterdir())
    version = read_sealed(newest)
    (segment,) = version["segments"]
    old = folder / "segments" / segment["files"]["graph"]["name"]
    old.write_bytes(b"a graph of another library")
    segment["files"]["graph"]["stamp"] = stamp(old)
    del segment["graph"]
    write_sealed(newest, {**version, "format": 3})
    index = LocalIndex.open(folder)
    truth_QK = np.argsort(-(queries @ data.T), axis=1)[:, :10]
    np.testing.assert_array_equal(index.nearest(queries, 10).numbers_QK, truth_QK)
    assert index.recall == {}
    index.finish()
    index.close()
    again = LocalIndex.open(folder)
    assert read_sealed(max((folder / "versions").iterdir()))["format"] == 4
    assert [segment.graph is None for segment in again._state.segments] == [False]
    assert np.mean(again.nearest(queries, 10).numbers_QK == truth_QK) > 0.9
    assert not old.exists(), "it went with the version before"


def test_where_the_library_cannot_be_loaded_every_search_is_exact(
    linked: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = linked._folder
    linked.close()
    monkeypatch.setattr(_graph, "AVAILABLE", False)
    data_NE, queries_QE = latent(ROWS, 1), latent(5, 2)
    with LocalIndex.open(folder) as index:
        assert index.recall == {}
        found = index.nearest(queries_QE, 10)
        np.testing.assert_array_equal(found.numbers_QK, np.argsort(-(queries_QE @ data_NE.T), axis=1)[:, :10])
        index.add([Item("new", "image")], latent(1, 3))
        index.finish()
        assert [segment.graph for segment in index._state.segments] == [None]

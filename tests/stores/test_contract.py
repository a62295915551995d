"""What every store promises, held against a dictionary and a full matrix; the same tests for each of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cospace.stores import (
    NUMBER,
    SEVERAL,
    Condition,
    Index,
    Item,
    _graph,
    _lance_part,
    _links,
    _scan,
    of_modality,
    search,
)
from cospace.types import UserError

WIDTH = 8
YEARS = ["1990", "1990.5", "+7", "-3", "1e3", "1e999", " 4", "x", "", "nan", "inf", "1_0", "٣", "7."]
LABELS = ["cat", "dog", "a|b", "é", "'; DROP TABLE items; --", "%s"]
FILTERS = [
    *("modality=text", "modality!=text", "modality=audio", "modality=image|text"),
    *(
        "label=cat",
        "label=cat|dog",
        "label!=cat",
        "label='; DROP TABLE items; --",
        "label!=%s|é",
        "label=\0",
        "label>=1",
    ),
    *(
        "year>=1990",
        "year<=7",
        "year>=-1e3",
        "year=7.",
        "year<=1e999",
        "width>=5",
        "width<=5.5",
        "width=4",
        "height!=4",
    ),
    *("id=3|5|zz", "id!=3", "id>=4", "text!=caption", "path=3.jpg", "hash=h1|h2", "rgb>=70000", "modality>=1"),
]


def vectors(count: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def latent(count: int, seed: int, width: int = 32) -> np.ndarray:
    """Vectors as encoders give them: clusters on a curved surface of few dimensions, which a graph can follow."""
    made, shared = np.random.default_rng(seed), np.random.default_rng(0)
    centres, out = shared.normal(size=(60, 6)), shared.normal(size=(6, width))
    inner = centres[made.integers(0, 60, count)] + 0.7 * made.normal(size=(count, 6))
    return np.tanh(inner @ out).astype(np.float32)


def item(n: int, turn: int = 0) -> Item:
    """An item that looks different in every turn."""
    drawn = np.random.default_rng([n, turn])
    extras = {}
    if drawn.random() < 0.6:
        extras["label"] = LABELS[drawn.integers(len(LABELS))]
    if drawn.random() < 0.6:
        extras["year"] = YEARS[drawn.integers(len(YEARS))]
    modality = ("image", "text")[int(drawn.integers(2))]
    return Item(str(n), modality, f"{n}.jpg", f"caption {turn}", f"h{turn}", n, 2 * n, 65_536 * n, extras)


def units(data: np.ndarray) -> np.ndarray:
    return data / np.linalg.norm(data, axis=1, keepdims=True)


def satisfies(one: Item, condition: Condition) -> bool:
    """The contract in plain Python."""
    value = one.extras.get(condition.column, None)
    if condition.column in Item.__dataclass_fields__:
        value = str(getattr(one, condition.column))
    if condition.relation in ("=", "!="):
        return (value is not None and value in condition.values) == (condition.relation == "=")
    if value is None or not NUMBER.fullmatch(value):
        return False
    number, bound = float(value), float(condition.values[0])
    return number >= bound if condition.relation == ">=" else number <= bound


def known(index: Index, truth: dict[str, Any], condition: Condition) -> bool:
    has = {name for one, _ in truth.values() for name in one.extras}
    return condition.column in has or condition.column in Item.__dataclass_fields__


def check_nearest(index: Index, truth: dict[str, Any], queries: np.ndarray, k: int, where: list[Condition]) -> None:
    """The nearest are those of a full matrix, with their scores, best first."""
    chosen = [(one, unit) for one, unit in truth.values() if all(satisfies(one, each) for each in where)]
    found = index.nearest(queries, k, where)
    columns = min(k, len(truth))
    assert found.numbers_QK.shape == found.scores_QK.shape == (len(queries), columns)
    assert found.numbers_QK.dtype == np.int64 and found.scores_QK.dtype == np.float32
    count = min(columns, len(chosen))
    assert np.all(found.numbers_QK[:, count:] == -1) and np.all(np.isneginf(found.scores_QK[:, count:]))
    matrix = units(queries) @ np.array([unit for _, unit in chosen]).reshape(-1, queries.shape[1]).T
    for numbers, scores, row in zip(found.numbers_QK[:, :count], found.scores_QK[:, :count], matrix, strict=True):
        order = np.argsort(-row, kind="stable")[:count]
        assert index.items(numbers) == [chosen[place][0] for place in order]
        np.testing.assert_allclose(scores, row[order], atol=2e-6)
    everything = index.select(where)
    assert everything.tolist() == sorted(index.numbers([one.id for one, _ in chosen]).tolist())


def check_content(index: Index, truth: dict[str, Any]) -> None:
    """Everything there is to know of the index is as in the dictionary."""
    ids = list(truth)
    numbers = index.numbers([*ids, "never"])
    assert len(index) == len(truth) and numbers[-1] == -1 and -1 not in numbers[:-1]
    numbers = numbers[:-1]
    assert len(set(numbers.tolist())) == len(numbers)
    assert index.items(numbers) == [truth[name][0] for name in ids]
    assert index.hashes() == {name: truth[name][0].hash for name in ids}
    appearance = [[truth[name][0].width, truth[name][0].height, truth[name][0].rgb] for name in ids]
    np.testing.assert_array_equal(index.appearance(numbers), np.array(appearance, dtype=np.int32).reshape(-1, 3))
    stored = np.array([truth[name][1] for name in ids]).reshape(-1, index.width)
    np.testing.assert_allclose(index.vectors(numbers), stored, atol=1e-6)
    extras = [name for one, _ in truth.values() for name in one.extras]
    assert index.columns() == {name: extras.count(name) for name in sorted(set(extras))}


STEP = st.tuples(st.sampled_from(["add", "add", "delete", "finish", "reopen", "other"]), st.sets(st.integers(0, 14)))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, max_size=8), filters=st.lists(st.sampled_from(FILTERS), max_size=2), k=st.integers(1, 20))
def test_any_history_equals_a_dictionary(
    place: Any, steps: list[tuple[str, set[int]]], filters: list[str], k: int
) -> None:
    here = place.another()
    index: Index = here.create(WIDTH)
    truth: dict[str, Any] = {}
    for turn, (step, numbers) in enumerate(steps):
        ids = [str(n) for n in sorted(numbers)]
        if step == "add":
            added, data = [item(n, turn) for n in sorted(numbers)], vectors(len(ids), turn)
            index.add(added, data * 3)
            truth |= {one.id: (one, unit) for one, unit in zip(added, units(data), strict=True)}
        elif step == "delete":
            assert index.delete(ids) == len(truth.keys() & set(ids))
            truth = {name: kept for name, kept in truth.items() if name not in ids}
        elif step == "finish":
            index.finish()
        elif step == "reopen":
            index.close()
            index = here.open("f00d")
        else:
            index.close()
            with here.open() as writer:
                gone = writer.delete(ids)
            truth = {name: kept for name, kept in truth.items() if name not in ids}
            assert index.refresh() == bool(gone) and not index.refresh()
        check_content(index, truth)
    where = [Condition.parse(written) for written in filters]
    if all(known(index, truth, each) for each in where):
        check_nearest(index, truth, vectors(3, 99), k, where)
    else:
        with pytest.raises(UserError, match="no column"):
            index.nearest(vectors(3, 99), k, where)
    index.close()


def test_of_several_values_each_counts(place: Any) -> None:
    """What several rows said of one item, and plain names beside those of our own fields."""
    index: Index = place.create(WIDTH)
    extras = [{"label": f"cat{SEVERAL}pet", "id": "7"}, {"label": "cat"}, {"label": "cats"}, {}]
    index.add([replace(item(n), extras=one) for n, one in enumerate(extras)], vectors(4))

    def found(written: str) -> list[str]:
        return sorted(one.id for one in index.items(index.select([Condition.parse(written)]).tolist()))

    assert [found(one) for one in ("label=pet", "label=cat", "label=dog|pet")] == [["0"], ["0", "1"], ["0"]]
    assert [found(one) for one in ("label!=pet", "label!=cat")] == [["1", "2", "3"], ["2", "3"]]
    assert [found(one) for one in ("id=7", "id=1", "@id=1", "@id=7")] == [["0"], [], ["1"], []]
    assert index.items(index.numbers(["0"]).tolist())[0].extras == extras[0]


@pytest.mark.parametrize("written", FILTERS)
def test_conditions_mean_the_same_everywhere(place: Any, written: str) -> None:
    index: Index = place.create(WIDTH)
    everything, data = [item(n) for n in range(60)], vectors(60)
    index.add(everything, data)
    truth = {one.id: (one, unit) for one, unit in zip(everything, units(data), strict=True)}
    check_nearest(index, truth, vectors(2, 5), 20, [Condition.parse(written)])


def filled(index: Index, count: int) -> dict[str, Any]:
    """A finished index of ``count`` items and some more, some of which are gone: with graphs, and a rest without."""
    made = [replace(item(n), modality="image" if n % 4 else "text") for n in range(count + 300)]
    data = latent(len(made), 1)
    index.add(made[:count], data[:count])
    index.finish()
    index.add(made[count:], data[count:])
    gone = {str(n) for n in range(0, len(made), 7)}
    assert index.delete(gone) == len(gone)
    pairs = zip(made, units(data), strict=True)
    return {one.id: (one, unit) for one, unit in pairs if one.id not in gone}


@pytest.fixture
def soon_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs for few items, which are asked even where reading everything would be cheaper."""
    monkeypatch.setattr(_graph, "GRAPH_ROWS", 500)
    monkeypatch.setattr(_links, "GRAPH_ROWS", 500)
    monkeypatch.setattr(_scan, "COST", 1)
    monkeypatch.setattr(_links, "FEW", 50)
    monkeypatch.setattr(_lance_part, "ANN_ROWS", 500)
    monkeypatch.setattr(_lance_part, "COST", 1)
    monkeypatch.setattr(_lance_part, "FEW", 50)


@pytest.mark.usefixtures("soon_linked")
@pytest.mark.parametrize("filters", [[], ["modality=image"], ["modality=image", "label=cat|dog"], ["id=2|4|6"]])
def test_a_graph_finds_nearly_all_with_exact_scores(
    place: Any, filters: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = place.create(32)
    truth = filled(index, 3000)
    index.effort = 0 if getattr(index, "measured", None) else 40  # what was measured after the build is used
    asked: list[int] = []
    for kind in (_graph.Graph, _lance_part.Part):
        near = kind.near
        monkeypatch.setattr(kind, "near", lambda *given, near=near: asked.append(1) or near(*given))
    where, queries = [Condition.parse(written) for written in filters], latent(40, 2)
    chosen = [(one, unit) for one, unit in truth.values() if all(satisfies(one, each) for each in where)]
    matrix = units(queries) @ np.array([unit for _, unit in chosen]).T
    place_of = {one.id: place for place, (one, _) in enumerate(chosen)}
    count, hits = min(10, len(chosen)), 0
    for row, found in zip(matrix, search(index, queries, 10, where), strict=True):
        places = [place_of[hit.id] for hit in found]
        assert len(set(places)) == len(places) == count
        np.testing.assert_allclose([hit.score for hit in found], row[places], atol=2e-6)
        hits += len(set(places) & set(np.argsort(-row)[:count].tolist()))
    assert hits >= 0.95 * count * len(queries)
    assert bool(asked) == (not hasattr(place, "url") and len(chosen) > 3), "where many are meant the graph is asked"
    index.close()


@pytest.mark.usefixtures("soon_linked")
def test_however_rare_or_many_nothing_that_exists_is_left_out(place: Any) -> None:
    index: Index = place.create(32)
    truth = filled(index, 1500)
    far = -units(latent(1, 3))
    text = sum(one.modality == "text" for one, _ in truth.values())
    assert len(search(index, far, 5000)[0]) == len(truth)
    assert len(search(index, far, 5000, [of_modality("text")])[0]) == text
    for k in (1, 60, text):
        assert len(search(index, far, k, [of_modality("text")])[0]) == k


@pytest.mark.usefixtures("soon_linked")
def test_finishing_again_and_opening_again_change_nothing(place: Any) -> None:
    index: Index = place.create(32)
    truth = filled(index, 1000)
    for _ in range(2):
        index.finish()
        check_content(index, truth)
    index.close()
    again = place.open("f00d")
    check_content(again, truth)
    check_nearest(again, truth, latent(2, 4), 1000, [])


def test_an_empty_index_answers_with_nothing(place: Any) -> None:
    index: Index = place.create(WIDTH)
    for _ in range(2):
        assert index.nearest(vectors(2), 5).numbers_QK.shape == (2, 0)
        assert search(index, vectors(1), 5, [of_modality("image")]) == [[]]
        assert index.delete(["i0"]) == 0 and len(index) == 0 and index.hashes() == {} == index.columns()
        assert index.select().tolist() == [] == index.numbers([]).tolist() == index.items([])
        assert index.appearance(np.array([], dtype=np.int64)).shape == (0, 3)
        assert index.vectors(np.array([], dtype=np.int64)).shape == (0, WIDTH)
        index.add([], np.empty((0, WIDTH)))
        index.finish()
        index.add([item(0)], vectors(1))
        assert index.delete(["0"]) == 1
    index.close()


def test_a_sample_is_the_same_for_the_same_seed(place: Any) -> None:
    index: Index = place.create(WIDTH)
    index.add([item(n) for n in range(50)], vectors(50))
    some = index.select(most=10, seed=3)
    assert len(set(some.tolist())) == 10 and some.tolist() == sorted(some.tolist())
    assert some.tolist() == index.select(most=10, seed=3).tolist() != index.select(most=10, seed=4).tolist()
    assert len(index.select(most=50)) == len(index.select(most=99)) == 50
    with pytest.raises(UserError, match="search again"):
        index.items([10**6])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([0.0] * WIDTH, "'1' is zero"),
        ([np.nan] + [1.0] * (WIDTH - 1), "'1' is not finite"),
        ([-np.inf] + [1.0] * (WIDTH - 1), "'1' is not finite"),
    ],
)
def test_a_vector_without_direction_is_refused_by_its_id(place: Any, row: list[float], said: str) -> None:
    index: Index = place.create(WIDTH)
    bad = vectors(3)
    bad[1] = row
    with pytest.raises(UserError, match=said):
        index.add([item(n) for n in range(3)], bad)
    assert len(index) == 0
    with pytest.raises(UserError, match="query 0"):
        index.nearest(np.array([row]), 1)


def test_wrong_shapes_ids_and_numbers_are_refused(place: Any) -> None:
    index: Index = place.create(WIDTH)
    wrong = [
        ([item(0), item(1)], vectors(2, width=5), r"\(n, 8\) are expected, \(2, 5\)"),
        ([item(0), item(1)], vectors(3), "2 items came with 3 vectors"),
        ([item(0), item(0)], vectors(2), "'0' occurs more than once"),
        ([replace(item(0), path="\udcff.jpg")], vectors(1), "not valid Unicode"),
        ([replace(item(0), extras={"label": "\udcff"})], vectors(1), "not valid Unicode"),
        ([replace(item(0), width=2**31)], vectors(1), "size or colour of '0'"),
        ([replace(item(0), rgb=-1)], vectors(1), "size or colour of '0'"),
    ]
    for given_items, data, said in wrong:
        with pytest.raises(UserError, match=said):
            index.add(given_items, data)
    with pytest.raises(UserError, match="k must be 1 or more, 0"):
        index.nearest(vectors(1), 0)
    with pytest.raises(UserError, match=r"\(n, 8\) are expected"):
        index.nearest(np.ones(WIDTH), 1)
    with pytest.raises(
        UserError, match="no column 'colour'; it has @id, @modality, @path, @text, @hash, @width, @height, @rgb"
    ):
        index.select([Condition.parse("colour=red")])
    assert len(index) == 0 and index.numbers(["\udcff", "a\0b"]).tolist() == [-1, -1]


def test_another_runs_fingerprint_is_refused_and_both_are_shown(place: Any) -> None:
    place.create(WIDTH).close()
    with pytest.raises(UserError, match=r"f00d.*beef"):
        place.open("beef")
    with pytest.raises(UserError, match="is not an index"):
        place.another().open()
    with pytest.raises(UserError, match=r"open th(e index that is there|is one)"):
        place.create(WIDTH)


def test_a_second_writer_is_told_who_writes_while_readers_read_on(place: Any) -> None:
    index: Index = place.create(WIDTH)
    index.add([item(n) for n in range(5)], vectors(5))
    reader = place.open()
    if not str(getattr(place, "folder", "")).startswith("s3://"):  # which has no locks: see test_lance.py
        with pytest.raises(UserError, match=f"process {os.getpid()}"):
            reader.add([item(9)], vectors(1))
    numbers = reader.numbers(["1", "2"])
    for n in range(4):
        index.add([item(n, turn=1)], vectors(1, seed=n))
    index.delete(["2"])
    assert len(reader) == 5 and reader.items(numbers) == [item(1), item(2)], "a reader keeps the version that it opened"
    assert {hit.text for hit in search(reader, vectors(1), 9)[0]} == {"caption 0"}
    index.close()
    before = reader.version
    reader.add([item(9)], vectors(1))
    assert len(reader) == 5 and reader.version > before, "a writer begins with the newest version"
    assert sorted(reader.hashes()) == ["0", "1", "3", "4", "9"]
    reader.close()


def test_every_answer_comes_from_one_version(place: Any) -> None:
    """Two items are always replaced together; whoever reads meanwhile sees them of the same turn."""
    index: Index = place.create(WIDTH)
    two = vectors(2)
    index.add([item(0), item(1)], two)
    reader, stop, turns = place.open(), threading.Event(), 0

    def write() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            index.add([item(0, turn), item(1, turn)], two)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while turns < 5:  # however slow the disk is; the suite's time limit ends a writer that does nothing
            turns += reader.refresh()
            hits = search(reader, two[:1], 5)[0]
            assert len(hits) == 2 and hits[0].text == hits[1].text
    finally:
        stop.set()
        writer.join()


ADDER = """
import sys
import numpy as np
from cospace.stores import Item
{opened_by}
index = Store.open(at)
for n in range(len(index) * 2, 10**6, 2):
    items = [Item(str(n + m), "text", text=str(n + m)) for m in range(2)]
    index.add(items, np.eye(8)[[n % 8, (n + 1) % 8]])
    if n % 10 == 4:
        index.finish()
    index.delete([str(n)])
    print(n, flush=True)
"""


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3, 4))])
def test_what_was_acknowledged_survives_kill(place: Any, seed: int) -> None:
    """The adder adds n and n + 1 and deletes n, for every even n, and is killed at any moment, three times over."""
    place.create(WIDTH).close()
    drawn = np.random.default_rng(seed)
    for _ in range(3 if hasattr(place, "path") else 1):
        program = ADDER.format(opened_by=place.opened_by)
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(int(drawn.integers(3, 9)))]
        threading.Event().wait(float(drawn.random()) * 0.05)
        child.send_signal(signal.SIGKILL)
        acknowledged = int([*lines, *child.communicate()[0].split(b"\n")[:-1]][-1])
        index = place.open()
        ids = {int(name) for name in index.hashes()}
        expected = set(range(1, acknowledged + 2, 2))
        after = acknowledged + 2
        assert ids in (expected, expected | {after, after + 1}, expected | {after + 1})
        assert {hit.id: hit.text for hit in search(index, np.ones((1, 8)), 9999)[0]} == {str(n): str(n) for n in ids}
        np.testing.assert_array_equal(index.vectors(index.numbers([str(max(ids))])), np.eye(8)[[max(ids) % 8]])
        index.delete([str(n) for n in ids - expected if n == after])
        index.close()

"""Matches against brute force over rows: direct, never by way of a third item; and components, which are."""

from __future__ import annotations

import pickle
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cospace import arrays
from cospace.matches import BatchMatches, Matches, Relation, connected, modality_pairs
from cospace.matches._codes import connected_in_pieces, numbered

NUMBERS = st.integers(-1, 5)
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS).filter(lambda row: max(row) >= 0), min_size=1, max_size=14)
NAMES = ("audio", "image", "text")
CATS_AND_DOGS = [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (2, 1)]
"""Pictures and classes: cats are 0, dogs are 1, and picture 2 is filed under both."""
Row = tuple[int, int, int]


def codes_of(rows: list[Row]) -> dict[str, np.ndarray]:
    return {name: np.array([row[at] for row in rows], np.int64) for at, name in enumerate(NAMES)}


def two(rows: list[tuple[int, int]]) -> Matches:
    return Matches.of({"image": np.array([i for i, _ in rows]), "text": np.array([t for _, t in rows])})


def components(columns: list[np.ndarray]) -> list[int]:
    """The slow truth: spread the smallest label along shared codes until nothing changes."""
    labels = list(range(len(columns[0])))
    changed = True
    while changed:
        changed = False
        for column in columns:
            for a in range(len(labels)):
                for b in range(len(labels)):
                    if column[a] == column[b] >= 0 and labels[b] > labels[a]:
                        labels[b], changed = labels[a], True
    seen: dict[int, int] = {}
    return [seen.setdefault(label, len(seen)) for label in labels]


def brute(rows: list[Row], left: int, right: int, of: list[int]) -> list[list[bool]]:
    """Which of some rows' left items match which right ones: those that some row of all pairs."""
    known = {(row[left], row[right]) for row in rows if min(row[left], row[right]) >= 0}
    both = [rows[place] for place in of if min(rows[place][left], rows[place][right]) >= 0]
    return [[(a[left], b[right]) in known for b in both] for a in both]


@given(rows=ROWS, together=st.integers(1, 5), count=st.integers(1, 14))
def test_long_columns_match_as_short_ones_do(rows: list[Row], together: int, count: int) -> None:
    short = Matches.of(codes_of(rows))
    chosen = np.random.default_rng(count).permutation(len(rows))[:count]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "LARGE", 0)
        patch.setattr(arrays, "TOGETHER", together)
        long = Matches.of(codes_of(rows))
        for one, other in ((short, long), (short.select(chosen), long.select(chosen))):
            assert one.components().tolist() == other.components().tolist()
            assert one.largest_component() == other.largest_component()
            assert one.all_match() == other.all_match()
            for name in NAMES:
                assert one.codes[name].tolist() == other.codes[name].tolist()
                assert one.component_of_code[name].tolist() == other.component_of_code[name].tolist()
                assert one.alike(name).tolist() == other.alike(name).tolist()
            for pair in modality_pairs(NAMES):
                assert one.pairs[pair].tolist() == other.pairs[pair].tolist()


@given(st.lists(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=9), max_size=6))
def test_components_of_edges_in_pieces_are_those_of_all_edges(pieces: list[list[tuple[int, int]]]) -> None:
    edges = [np.array(piece, np.int64).reshape(-1, 2) for piece in pieces]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "TOGETHER", 3)
        found = connected_in_pieces(20, edges)
    assert found.tolist() == connected(20, np.concatenate([np.zeros((0, 2), np.int64), *edges])).tolist()


@given(rows=ROWS, seed=st.integers(0, 9), count=st.integers(1, 14))
def test_a_batch_matches_as_its_rows_do_in_all_of_the_data(rows: list[Row], seed: int, count: int) -> None:
    matches = Matches.of(codes_of(rows))
    chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
    batch = matches.batch(chosen)
    for left, right in modality_pairs(NAMES):
        expected = brute(rows, NAMES.index(left), NAMES.index(right), chosen.tolist())
        relation = batch.relation(left, right)
        assert relation.dense().tolist() == (expected or [])
        assert relation.shape == (len(expected), len(expected))
        assert torch.equal(batch.relation(right, left).dense(), relation.dense().T)
        assert relation.dense().diagonal().all(), "a row matches itself"
    for name, column in codes_of(rows).items():
        has = np.flatnonzero(column[chosen] >= 0).tolist()
        places = batch.rows[name]
        assert (list(range(len(chosen))) if places is None else places.tolist()) == has


@given(rows=ROWS, seed=st.integers(0, 9), count=st.integers(1, 14))
def test_places_of_rows_with_both_modalities_are_those_in_the_embeddings(
    rows: list[Row], seed: int, count: int
) -> None:
    matches = Matches.of(codes_of(rows))
    chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
    batch = matches.batch(chosen)
    shown = {name: chosen[column[chosen] >= 0] for name, column in matches.codes.items()}
    for (left, right), together in batch.pairs.items():
        both = [row for row in chosen if matches.codes[left][row] >= 0 <= matches.codes[right][row]]
        for name, places in ((left, together.left_K), (right, together.right_K)):
            assert (shown[name] if places is None else shown[name][places.numpy()]).tolist() == both


@given(rows=ROWS, seed=st.integers(0, 9), count=st.integers(1, 14))
def test_components_are_the_connected_components_and_stay_so_in_a_selection(
    rows: list[Row], seed: int, count: int
) -> None:
    matches = Matches.of(codes_of(rows))
    expected = components(list(codes_of(rows).values()))
    assert matches.components().tolist() == expected
    assert matches.largest_component() == max(np.bincount(expected)) / len(rows)
    chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
    kept = matches.select(chosen)
    assert kept.components().tolist() == np.array(expected)[chosen].tolist()
    for left, right in modality_pairs(NAMES):
        both = kept.batch(np.arange(len(chosen))).relation(left, right)
        assert torch.equal(both.dense(), matches.batch(chosen).relation(left, right).dense())


def test_a_long_chain_is_one_component_and_takes_no_time() -> None:
    rows = 50_000
    started = time.perf_counter()
    for order in (np.arange(rows), np.random.default_rng(0).permutation(rows)):
        columns = {"image": (np.arange(rows) // 2)[order], "text": ((np.arange(rows) + 1) // 2)[order]}
        assert (Matches.of(columns).components() == 0).all()
    assert time.perf_counter() - started < 5


def test_nodes_without_edges_are_components_of_their_own() -> None:
    assert connected(4, np.array([[3, 1]])).tolist() == [0, 1, 2, 1]
    assert connected(0, np.zeros((0, 2), np.int64)).tolist() == []


@given(rows=ROWS, numbers=st.permutations(range(6)))
def test_the_numbering_of_codes_does_not_matter(rows: list[Row], numbers: list[int]) -> None:
    renamed = [tuple(1_000_003 * numbers[code] if code >= 0 else -1 for code in row) for row in rows]
    one, other = Matches.of(codes_of(rows)), Matches.of(codes_of(renamed))  # type: ignore[arg-type]
    assert one.components().tolist() == other.components().tolist()
    everything = np.arange(len(rows))
    for pair in modality_pairs(NAMES):
        dense = [matches.batch(everything).relation(*pair).dense() for matches in (one, other)]
        assert torch.equal(*dense)


# ------------------------------------------------------------------------------------------------ relations

LISTS = st.tuples(
    st.lists(st.integers(0, 4), min_size=1, max_size=8),
    st.lists(st.integers(0, 4), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=10),
)


@given(lists=LISTS, seed=st.integers(0, 99))
def test_a_relation_says_the_same_in_every_form(
    lists: tuple[list[int], list[int], list[tuple[int, int]]], seed: int
) -> None:
    left, right, pairs = lists
    relation = Relation.of(np.array(left), np.array(right), np.array(pairs, np.int64).reshape(-1, 2))
    truth = torch.tensor([[(a, b) in set(pairs) for b in right] for a in left])
    assert torch.equal(relation.dense(), truth)
    assert torch.equal(relation.T.dense(), truth.T)
    counts = relation.counts()
    assert counts[0].tolist() == truth.sum(1).tolist()
    assert counts[1].tolist() == truth.sum(0).tolist()
    dice = np.random.default_rng(seed)
    rows, columns = (torch.from_numpy(dice.integers(0, len(side), 5)) for side in (left, right))
    assert torch.equal(relation.dense(rows, columns), truth[rows][:, columns])
    assert torch.equal(relation.dense(slice(1, 3)), truth[1:3])
    assert torch.equal(relation.dense(columns=columns), truth[:, columns])
    assert torch.equal(relation.matched(rows, columns), truth[rows, columns])
    assert torch.equal(relation.T.matched(columns, rows), truth[rows, columns])
    assert torch.equal(relation.select(rows, columns).dense(), truth[rows][:, columns])
    order = dice.permutation(len(right))
    first, last, items = relation.partners(order)
    for row in range(len(left)):
        assert items[first[row] : last[row]].tolist() == [item for item in order.tolist() if truth[row, item]]


@given(lists=LISTS)
def test_a_relation_is_complete_where_matches_are_groups(
    lists: tuple[list[int], list[int], list[tuple[int, int]]],
) -> None:
    left, right, pairs = lists
    relation = Relation.of(np.array(left), np.array(right), np.array(pairs, np.int64).reshape(-1, 2))
    same = relation.component_L[relation.left_N][:, None] == relation.component_R[relation.right_M]
    assert relation.complete == torch.equal(relation.dense(), same)
    assert (relation.dense() <= same).all()
    assert not relation.complete or torch.equal(relation.by_component().dense(), relation.dense())


def test_a_batch_of_groups_survives_a_worker() -> None:
    groups = torch.tensor([7, -3, 7, 0])
    batch = pickle.loads(pickle.dumps(BatchMatches.of_groups(groups, NAMES)))
    for pair in modality_pairs(NAMES):
        assert torch.equal(batch.relation(*pair).dense(), groups[:, None] == groups)
        assert batch.relation(*pair).complete
    assert batch.to("cpu").rows == dict.fromkeys(NAMES)


# ------------------------------------------------------------------------------------------------ what follows


def test_a_picture_filed_under_two_classes_does_not_make_them_one() -> None:
    matches = two(CATS_AND_DOGS)
    rows = np.arange(len(CATS_AND_DOGS))
    match = matches.batch(rows).relation("image", "text").dense().int().tolist()
    cat, dog, both = [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1] * 6
    assert match == [cat, cat, both, dog, dog, both]
    assert matches.components().tolist() == [0] * 6
    assert matches.largest_component() == 1
    assert not matches.all_match()
    assert matches.alike("image").tolist() == [0, 0, 1, 2, 2, 1]


def test_a_match_is_no_bridge() -> None:
    matches = two([(1, 0), (2, 0), (2, 1), (3, 1)])
    relation = matches.between("text", "image", np.array([0, 3]), np.array([0, 1, 3]))
    assert relation.dense().tolist() == [[True, True, False], [False, True, True]]


@given(rows=ROWS)
def test_what_no_row_pairs_matches_through_a_shared_item(rows: list[Row]) -> None:
    """Against the definition; two modalities that some row pairs keep to what rows say."""
    matches = Matches.of(codes_of(rows))
    for shared in NAMES:
        through = matches.through(shared)
        for left, right in modality_pairs(NAMES):
            a, b, s = NAMES.index(left), NAMES.index(right), NAMES.index(shared)
            lefts = [place for place, row in enumerate(rows) if row[a] >= 0]
            rights = [place for place, row in enumerate(rows) if row[b] >= 0]
            said = {(row[a], row[b]) for row in rows if min(row[a], row[b]) >= 0}
            if not said and shared not in (left, right):
                with_left = {(row[a], row[s]) for row in rows if min(row[a], row[s]) >= 0}
                with_right = {(row[s], row[b]) for row in rows if min(row[s], row[b]) >= 0}
                said = {(x, y) for x, m in with_left for n, y in with_right if m == n}
            found = through.between(left, right, np.array(lefts, np.int64), np.array(rights, np.int64)).dense()
            assert found.tolist() == [[(rows[i][a], rows[j][b]) in said for j in rights] for i in lefts]


def test_pairs_that_all_match_are_known() -> None:
    assert two([(0, 0), (1, 0)]).all_match()
    assert two([(0, 0), (1, 1)]).select(np.array([0])).all_match()
    assert not two([(0, 0), (1, 1)]).all_match()
    assert not Matches.of({"image": np.array([0, 1])}).all_match()
    assert Matches.of({"image": np.array([3, 3])}).alike("image").tolist() == [0, 0]
    assert Matches.of({"image": np.array([3, 5, 3])}).alike("image").tolist() == [0, 1, 0]


@pytest.mark.parametrize(("rows", "seconds"), [(256, 0.01), (32_768, 0.2)])
def test_a_batch_is_cheap(rows: int, seconds: float) -> None:
    dice = np.random.default_rng(0)
    matches = Matches.of({"image": dice.permutation(50_000), "text": dice.integers(0, 50_000, 50_000)})
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        matches.batch(dice.permutation(50_000)[:rows])
        taken.append(time.perf_counter() - started)
    assert min(taken) < seconds


@given(st.lists(st.integers(-1, 12), max_size=12))
def test_codes_with_gaps_are_numbered_as_by_unique(codes: list[int]) -> None:
    column = np.array(codes, np.int64)
    different, place = np.unique(column[column >= 0], return_inverse=True)
    expected = np.full(len(column), -1)
    expected[column >= 0] = place
    made, count = numbered(column)
    assert made.tolist() == expected.tolist()
    assert count == len(different)

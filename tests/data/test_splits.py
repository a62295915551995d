"""Holding out: nothing of the validation in the training pairs, and the true cause where it cannot be done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cospace.data.pairs import Pairs, build
from cospace.data.sources import Rows
from cospace.data.splits import HELD_OUT, hold_out
from cospace.types import UserError


def image(number: int) -> np.ndarray:
    return np.full((2, 2, 3), (number % 256, number // 256 % 256, 7), np.uint8)


def made(images: list[int], captions: list[int]) -> Pairs:
    """Pairs by the numbers of their images and captions; equal numbers are equal content."""
    items = {"image": [image(n) for n in images], "text": [f"caption {n}" for n in captions]}
    return build("made", Rows([f"row{i}" for i in range(len(images))], items))


NUMBERS = st.integers(0, 150)


@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=300), seed=st.integers(0, 9))
def test_held_out_pairs_are_a_part_that_training_never_sees(rows: list[tuple[int, int]], seed: int) -> None:
    pairs = made([image for image, _ in rows], [text for _, text in rows])
    try:
        train, val = hold_out(pairs, seed)
    except UserError:
        assert len(np.unique(pairs.keys["image"])) < 4 or pairs.matches.all_match()
        return
    assert sorted([*train.ids, *val.ids]) == sorted(pairs.ids)
    assert not set(train.keys["image"]) & set(val.keys["image"]), "no picture stands on both sides"
    if len(np.unique(pairs.groups)) >= 50 and pairs.matches.largest_component() <= 0.5:
        assert not set(train.groups) & set(val.groups), "and, with many groups, nothing that matches one"
    assert not val.matches.all_match()
    assert len(train) >= 1
    again = hold_out(pairs, seed)
    assert (again[0].ids, again[1].ids) == (train.ids, val.ids)


def test_captions_of_one_picture_stay_together() -> None:
    pairs = made([i // 5 for i in range(500)], list(range(500)))
    train, val = hold_out(pairs, 0)
    assert len(val) == 25, "a twentieth of the groups, with all of their captions"
    assert not set(train.groups) & set(val.groups)


def test_classes_are_split_by_picture() -> None:
    """Ten classes are ten groups: held out by group, training would never hear of a class."""
    pairs = made(list(range(400)), [i % 10 for i in range(400)])
    train, val = hold_out(pairs, 0)
    assert len(val) == 20
    assert set(train.groups) == set(pairs.groups)


@pytest.mark.parametrize("seed", range(20))
def test_one_rare_class_is_enough_to_tell_matches_from_others(seed: int) -> None:
    pairs = made(list(range(60)), [int(i == 37) for i in range(60)])
    _, val = hold_out(pairs, seed)
    assert len(np.unique(val.groups)) == 2


def test_one_picture_of_two_classes_does_not_keep_them_from_being_held_out() -> None:
    """Forty cats, forty dogs, and one picture that is filed under both: all hang together, and most do not match."""
    pairs = made([*range(80), 7], [*[0] * 40, *[1] * 40, 1])
    assert len(np.unique(pairs.groups)) == 1
    train, val = hold_out(pairs, 0)
    assert len(np.unique(val.keys["image"])) == 4
    assert not val.matches.all_match()
    assert not set(train.keys["image"]) & set(val.keys["image"])


def test_a_component_of_most_rows_is_split_by_picture() -> None:
    """A chain of captions through 200 pictures beside 60 pairs of their own."""
    chain = [(n, n) for n in range(200)] + [(n, n + 1) for n in range(200)]
    pairs = made(*zip(*chain, *((n, n) for n in range(1000, 1060)), strict=True))
    train, val = hold_out(pairs, 0)
    assert len(np.unique(val.keys["image"])) == 13
    assert len(train) > 0.9 * len(pairs)
    assert not set(train.keys["image"]) & set(val.keys["image"])


def test_why_nothing_can_be_held_out_is_said() -> None:
    with pytest.raises(UserError, match="every row of made has the same caption"):
        hold_out(made(list(range(10)), [0] * 10), 0)
    with pytest.raises(UserError, match="every row of made has the same image"):
        hold_out(made([0] * 10, list(range(10))), 0)
    with pytest.raises(
        UserError, match="one connected component holds 100% of the rows: the image row1 is filed under"
    ):
        hold_out(made([0, 1, 1, 2], [0, 0, 1, 1]), 0)
    with pytest.raises(UserError, match="too small"):
        hold_out(made([0, 1], [0, 1]), 0)


def test_never_more_than_a_cap_is_held_out() -> None:
    numbers = list(range(25_000))
    pairs = made(numbers, numbers)
    assert len(hold_out(pairs, 0)[1]) == HELD_OUT


def test_seeds_hold_out_differently() -> None:
    pairs = made(list(range(300)), list(range(300)))
    assert hold_out(pairs, 0)[1].ids != hold_out(pairs, 1)[1].ids

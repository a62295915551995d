"""Preparing: each picture once, broken ones set aside, and nothing of the validation in the training pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import write_shapes
from cospace.experiment import prepare
from cospace.experiment.prepare import HELD_OUT, decode_all, hold_out, need, preparers, training_batches
from cospace.experiment.settings import experiment, facts_of
from cospace.pairs import Pairs, Rows, build, open_pairs
from cospace.preprocess import ImagePreparer
from cospace.space import Space
from cospace.types import UserError

PREPARER = ImagePreparer(size=8)


def picture(number: int) -> np.ndarray:
    return np.full((2, 2, 3), (number % 256, number // 256 % 256, 7), np.uint8)


def made(pictures: list[int], captions: list[int]) -> Pairs:
    """Pairs by the numbers of their pictures and captions; equal numbers are equal content."""
    items = {"image": [picture(n) for n in pictures], "text": [f"caption {n}" for n in captions]}
    return build("made", Rows([f"row{i}" for i in range(len(pictures))], items))


# ------------------------------------------------------------------------------------------------ holding out

NUMBERS = st.integers(0, 150)


@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=300), seed=st.integers(0, 9))
def test_held_out_pairs_are_a_part_that_training_never_sees(rows: list[tuple[int, int]], seed: int) -> None:
    pairs = made([image for image, _ in rows], [text for _, text in rows])
    try:
        train, val = hold_out(pairs, seed)
    except UserError:
        assert len(np.unique(pairs.keys["image"])) < 4 or len(np.unique(pairs.groups)) < 2
        return
    assert sorted([*train.ids, *val.ids]) == sorted(pairs.ids)
    assert not set(train.keys["image"]) & set(val.keys["image"]), "no picture stands on both sides"
    if len(np.unique(pairs.groups)) >= 50:
        assert not set(train.groups) & set(val.groups), "and, with many groups, nothing that matches one"
    assert len(np.unique(val.groups)) >= 2
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


def test_never_more_than_a_cap_is_held_out() -> None:
    numbers = list(range(25_000))
    pairs = made(numbers, numbers)
    assert len(hold_out(pairs, 0)[1]) == HELD_OUT


def test_seeds_hold_out_differently() -> None:
    pairs = made(list(range(300)), list(range(300)))
    assert hold_out(pairs, 0)[1].ids != hold_out(pairs, 1)[1].ids


# ------------------------------------------------------------------------------------------------ decoding


def test_every_picture_is_decoded_once_and_found_by_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = made([5, 3, 5, 9, 3], [0, 1, 2, 3, 4])
    calls: list[int] = []
    real = ImagePreparer.prepare
    monkeypatch.setattr(ImagePreparer, "prepare", lambda self, raw: (calls.append(1), real(self, raw))[1])
    kept, store = decode_all(pairs, PREPARER)
    assert kept is pairs
    assert len(calls) == len(store.images_N3SS) == 3
    for row, number in enumerate((5, 3, 5, 9, 3)):
        assert store.images_N3SS[store.item_of_row[row]].unique().tolist() == sorted({number, 0, 7})


def test_broken_pictures_are_set_aside_with_all_of_their_rows(tmp_path: Path) -> None:
    table = write_shapes(tmp_path, 4)
    text = table.read_text() + "images/red-circle-0.png,another caption\n"
    table.write_text(text)
    broken = tmp_path / "images" / "red-circle-0.png"
    broken.write_bytes(broken.read_bytes()[:60])
    pairs = open_pairs(table)
    kept, store = decode_all(pairs, PREPARER)
    assert len(kept) == len(pairs) - 2 == len(store.item_of_row)
    assert {problem.id for problem in kept.problems} == {"pairs.csv:2", "pairs.csv:34"}
    assert {problem.kind for problem in kept.problems} == {"truncated"}
    for row in range(len(kept)):
        expected = PREPARER.prepare(kept.items["image"][row])
        assert (store.images_N3SS[store.item_of_row[row]] == expected).all(), "rows still find their own pictures"
    with pytest.raises(UserError, match="2 truncated"):
        kept.stop_above(0.01)


def test_what_does_not_fit_in_memory_goes_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = made(list(range(30)), list(range(30)))
    _, inside = decode_all(pairs, PREPARER, spill=tmp_path / "cache" / "a.npy")
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(prepare, "MEMORY", 100)
    _, outside = decode_all(pairs, PREPARER, spill=tmp_path / "cache" / "a.npy")
    assert (tmp_path / "cache" / "a.npy").stat().st_size > 30 * 3 * 8 * 8
    assert (inside.images_N3SS == outside.images_N3SS).all()


def test_progress_ends_at_the_end() -> None:
    seen: list[tuple[str, int, int]] = []
    decode_all(made(list(range(150)), list(range(150))), PREPARER, lambda *told: seen.append(told))
    assert [done for _, done, _ in seen] == [64, 128, 150]
    assert {total for _, _, total in seen} == {150}


# ------------------------------------------------------------------------------------------------ the rest


def test_pairs_without_captions_are_refused_by_name() -> None:
    pairs = build("photos", Rows(["a"], {"image": [picture(1)]}))
    need(pairs, "image")
    with pytest.raises(UserError, match="photos has no text"):
        need(pairs, "image", "text")


def test_preparation_is_learned_from_the_training_captions() -> None:
    pairs = made(list(range(20)), list(range(20)))
    fitted = experiment("small", ["data.size=16", "data.vocabulary=300", "data.length=9"]).fitted(facts_of(pairs))
    parts = preparers(pairs, fitted)
    assert parts["image"].spec.size == 16
    assert parts["text"].spec.length == 9
    assert parts["text"].spec.vocabulary <= 300
    with pytest.raises(ValueError, match="fitted"):
        preparers(pairs, experiment())


@pytest.mark.parametrize(("share", "first"), [(0.4, 6), (1, 0), (0, None)])
def test_pairs_are_compared_in_the_last_steps(share: float, first: int | None) -> None:
    pairs = made(list(range(20)), list(range(20)))
    said = ["data.size=16", "training.steps=10", "training.batch=4", "tell=caption", f"decoder.match={share}"]
    fitted = experiment("small", said).fitted(facts_of(pairs))
    space = Space.build(fitted.encoder_parts(), preparers(pairs, fitted), fitted.width)
    kept, store = decode_all(pairs, space.preparers["image"])
    batches = training_batches(kept, store, space, fitted, space.preparers["text"])
    compared = [step for step in range(10) if batches[step].captions]
    assert compared == ([] if first is None else list(range(first, 10)))

"""The built-in scenes: what they say is true, what they hold out stays out, and they never change."""

from __future__ import annotations

import pickle
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cospace.config import validate
from cospace.data.sources import ReadOptions
from cospace.data.sources._scene_captions import captions
from cospace.data.sources._scene_drawing import _RGB, draw
from cospace.data.sources._scene_world import COLOURS, SHAPES, Split, drawn, layout
from cospace.data.sources.scenes import (
    HELD_OUT,
    Config,
    Question,
    Scene,
    SceneImage,
    Thing,
    holds,
    questions,
    scene,
)
from cospace.types import Lazy, UserError

SPLITS: tuple[Split, ...] = ("train", "val", "heldout")
scenes = st.builds(scene, st.integers(0, 2**63 - 1), st.sampled_from(SPLITS), st.integers(0, 2**32))
described = st.builds(drawn, st.integers(0, 99), st.sampled_from(SPLITS), st.integers(0, 2**32))

# A large red circle at the top left, a small blue square below it, a large red star at the bottom right.
THREE = Scene(
    (
        Thing("large", "red", "circle", 0, 1 / 6, 1 / 6),
        Thing("small", "blue", "square", 3, 1 / 6, 1 / 2),
        Thing("large", "red", "star", 8, 5 / 6, 5 / 6),
    )
)
TWO = Scene(THREE.things[:2])


def many(split: Split, n: int) -> list[Scene]:
    return [scene(0, split, index) for index in range(n)]


# --- the world


def test_a_scene_never_changes() -> None:
    assert layout(scene(0, "train", 0).things) == "large pink circle 1;small blue square 3;large red heart 4"
    assert scene(7, "val", 123) == scene(7, "val", 123) != scene(8, "val", 123)


def test_held_out_pairs_appear_in_heldout_only() -> None:
    kinds = {split: [{(t.colour, t.shape) for t in s.things} for s in many(split, 500)] for split in SPLITS}
    assert not any(pairs & HELD_OUT for split in ("train", "val") for pairs in kinds[split])
    assert all(pairs & HELD_OUT for pairs in kinds["heldout"])
    assert set().union(*kinds["heldout"]) >= HELD_OUT
    assert len(HELD_OUT) == 8


def test_training_shows_every_colour_and_shape_often() -> None:
    things = [thing for s in many("train", 1000) for thing in s.things]
    assert min(Counter(t.colour for t in things).values()) > 200
    assert {t.colour for t in things} == set(COLOURS)
    assert min(Counter(t.shape for t in things).values()) > 200
    assert {t.shape for t in things} == set(SHAPES)


def test_no_validation_layout_is_trained_on_under_any_seed() -> None:
    trained = {layout(scene(seed, "train", index).things) for seed in (0, 1) for index in range(2000)}
    assert trained.isdisjoint(layout(s.things) for s in many("val", 1000))


@given(scenes)
def test_things_differ_and_stay_within_their_cells(of: Scene) -> None:
    assert len({(t.colour, t.shape) for t in of.things}) == len({t.cell for t in of.things}) == len(of.things)
    assert [t.cell for t in of.things] == sorted(t.cell for t in of.things)
    for thing in of.things:
        reach = {"small": 0.09, "large": 0.1475}[thing.size]
        assert thing.column / 3 < thing.x - reach
        assert thing.x + reach < (thing.column + 1) / 3
        assert thing.row / 3 < thing.y - reach
        assert thing.y + reach < (thing.row + 1) / 3


# --- pictures


@pytest.mark.parametrize("size", [32, 64, 101])
def test_the_drawing_shows_each_colour_at_its_exact_centre(size: int) -> None:
    for of in many("train", 60):
        pixels = draw(of, size)
        assert pixels.shape == (size, size, 3)
        assert pixels.dtype == np.uint8
        for thing in of.things:
            seen = pixels[int(thing.y * size), int(thing.x * size)]
            colour = np.minimum(np.array(_RGB[thing.colour]) * thing.shade, 255)
            assert np.abs(seen - colour).max() < (1 if size > 32 else 12)
        full = {thing.cell for thing in of.things}
        for cell in set(range(9)) - full:
            assert pixels[int((cell // 3 + 0.5) * size / 3), int((cell % 3 + 0.5) * size / 3)].min() > 225


def test_the_ink_is_as_large_as_the_size_says() -> None:
    extents = {}
    for size in ("small", "large"):
        for shape in SHAPES:
            dark = draw(Scene((Thing(size, "black", shape, 4, 0.5, 0.5),)), 128).min(axis=2) < 140
            extents[size, shape] = max(np.ptp(np.flatnonzero(dark.any(axis=axis))) + 1 for axis in (0, 1)) / 128
    assert all(0.13 < extents["small", shape] < 0.19 for shape in SHAPES)
    assert all(1.5 < extents["large", shape] / extents["small", shape] < 1.8 for shape in SHAPES)


def test_a_picture_travels_by_name() -> None:
    picture = SceneImage(3, "heldout", 41, 64)
    copy = pickle.loads(pickle.dumps(picture))
    assert isinstance(picture, Lazy)
    assert copy == picture
    assert len(pickle.dumps(picture)) < 200
    assert np.array_equal(copy.load(), picture.load())
    assert copy.scene() == scene(3, "heldout", 41)
    others = [SceneImage(4, "heldout", 41, 64), SceneImage(3, "val", 41, 64), SceneImage(3, "heldout", 41, 32)]
    assert len({p.key() for p in (picture, copy, *others)}) == 4


# --- captions


@pytest.mark.parametrize(
    "caption",
    [
        "a large red circle in the top left, a small blue square in the middle left and a large red star in the "
        "bottom right",
        "there is a large red star in the bottom right corner, a small blue square on the left in the middle and a "
        "large red circle in the top left corner",
        "in the middle left is a small blue square, in the bottom right is a large red star and in the top left is a "
        "large red circle",
        "a large red circle above a small blue square and above and to the left of a large red star",
        "A large red circle is over a small blue square, and a large red star is to the lower right of the red circle.",
        "a picture of a small blue square in the middle left, with a large red star below and to the right of it and "
        "a large red circle above it",
        "a large red star, a large red circle and a small blue square",
    ],
)
def test_true_captions_hold(caption: str) -> None:
    assert holds(THREE, caption)


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "a picture of ",
        "a large red circle above a small blue square",
        "a large red circle below a small blue square and above and to the left of a large red star",
        "a large red circle above a small blue square and above a large red star",
        "a small red circle above a small blue square and above and to the left of a large red star",
        "a large red circle in the centre, a small blue square in the middle left and a large red star in the bottom "
        "right",
        "a large red circle, a large red circle and a small blue square",
        "a large red circle above a small blue square and above and to the left of a large green star",
        "a large red circle above a small blue square, and a large red star to the lower right of the green circle",
        "a large red circle above above a small blue square and above and to the left of a large red star",
        "a large red circle above a small blue square and above and to the left of a large red star above",
        "a large red circle above a small blue squares and above and to the left of a large red star",
        "above a large red circle, a small blue square and a large red star",
        "a large red circle in the top left in the top left, a small blue square and a large red star",
        "a large red circle above it, a small blue square and a large red star",
        "a large shiny red circle, a small blue square and a large red star",
        "a large red circle, a small blue square and a large red star, in the centre is",
    ],
)
def test_false_or_broken_captions_do_not_hold(caption: str) -> None:
    assert not holds(THREE, caption)


def test_a_caption_describes_the_whole_scene() -> None:
    assert holds(TWO, "a large red circle above a small blue square")
    assert not holds(TWO, "a large red circle above a small blue square and above and to the left of a large red star")


@given(described)
def test_every_caption_of_a_scene_holds(of: tuple[Scene, object]) -> None:
    texts = captions(*of)  # type: ignore[arg-type]
    assert len(texts) == len(set(texts)) == 3
    assert all(holds(of[0], text) for text in texts)


SWAPS = [("red", "green"), ("large", "small"), ("circle", "heart"), ("above", "below"), ("over", "under")]
SWAPS += [("left", "right"), ("top", "bottom")]


@settings(max_examples=200)
@given(described, st.sampled_from(SWAPS), st.integers(0, 5))
def test_one_changed_word_makes_a_caption_false(of: tuple[Scene, object], swap: tuple[str, str], which: int) -> None:
    for text in captions(*of):  # type: ignore[arg-type]
        found = list(re.finditer(rf"\b({swap[0]}|{swap[1]})\b", text))
        if found:
            match = found[which % len(found)]
            other = swap[1] if match.group() == swap[0] else swap[0]
            assert not holds(of[0], text[: match.start()] + other + text[match.end() :])


@given(st.text(max_size=80))
def test_the_checker_survives_any_text(text: str) -> None:
    assert not holds(THREE, text)


def test_captions_tell_a_thousand_scenes_apart() -> None:
    worlds = many("val", 1000)
    rows = Config(split="val").read()
    captioned = {(picture.index, text) for picture, text in zip(rows.items["image"], rows.items["text"], strict=True)}
    alike: dict[frozenset[tuple[str, str]], list[int]] = {}
    for number, of in enumerate(worlds):
        alike.setdefault(frozenset((t.colour, t.shape) for t in of.things), []).append(number)
    # Only scenes of the same colour-shape pairs can share a caption, for every caption names them all.
    group_of = {number: group for group in alike.values() for number in group}
    ambiguous = sum(
        any(other != number and holds(worlds[other], text) for other in group_of[number]) for number, text in captioned
    )
    assert len(captioned) == 3000
    assert ambiguous / len(captioned) < 0.01


# --- questions


PLACES = ["top left", "top middle", "top right", "middle left", "centre", "middle right"]
PLACES += ["bottom left", "bottom middle", "bottom right"]


def only(things: list[Thing]) -> Thing:
    (thing,) = things
    return thing


def yes(true: bool) -> str:
    return "yes" if true else "no"


def answer(of: Scene, text: str) -> str:
    """The right answer, read off the scene by other means than the ones that made the question."""

    def find(kind: str) -> Thing:
        return only([t for t in of.things if kind == f"{t.colour} {t.shape}"])

    if match := re.fullmatch(r"(?:is there|do you see) a (\w+ \w+)\?", text):
        return yes(match[1] in {f"{t.colour} {t.shape}" for t in of.things})
    if match := re.fullmatch(r"how many (?:(\w+) )?(\w+) are there\?", text):
        noun = {"shapes": "", "crosses": "cross"}.get(match[2], match[2].removesuffix("s"))
        named = [t for t in of.things if noun in ("", t.shape)]
        return str(sum(match[1] in (None, t.size, t.colour) for t in named))
    if match := re.fullmatch(r"what (colour|shape) is (?:the shape )?in the (.+)\?", text):
        return str(getattr(only([t for t in of.things if PLACES[t.cell] == match[2]]), match[1]))
    if match := re.fullmatch(r"what colour is the (\w+)\?", text):
        return only([t for t in of.things if t.shape == match[1]]).colour
    if match := re.fullmatch(r"what shape is (\w+)\?", text):
        return only([t for t in of.things if t.colour == match[1]]).shape
    if match := re.fullmatch(r"are the (\w+ \w+) and the (\w+ \w+) the same size\?", text):
        return yes(find(match[1]).size == find(match[2]).size)
    match = re.fullmatch(
        r"is the (\w+ \w+) (larger|smaller|higher|lower|further left|further right) than the (.+)\?", text
    )
    assert match, text
    a, b = find(match[1]), find(match[3])
    area = {"small": 1, "large": 2}
    return yes(
        {
            "larger": area[a.size] > area[b.size],
            "smaller": area[a.size] < area[b.size],
            "higher": a.y < b.y and a.row != b.row,
            "lower": a.y > b.y and a.row != b.row,
            "further left": a.x < b.x and a.column != b.column,
            "further right": a.x > b.x and a.column != b.column,
        }[match[2]]
    )


@given(scenes)
def test_every_answer_is_right(of: Scene) -> None:
    asked = questions(of)
    assert {q.kind for q in asked} == {"existence", "count", "colour", "shape", "relation", "comparison"}
    assert [(q.text, q.answer) for q in asked] == [(q.text, answer(of, q.text)) for q in asked]
    assert asked == questions(Scene(of.things))


def test_answers_are_balanced() -> None:
    asked = [question for of in many("train", 1000) for question in questions(of)]
    by_kind = {kind: [q for q in asked if q.kind == kind] for kind in {q.kind for q in asked}}

    def share(of: list[Question], given: str) -> float:
        return sum(q.answer == given for q in of) / len(of)

    for kind in ("existence", "relation", "comparison"):
        assert share(by_kind[kind], "yes") == pytest.approx(0.5, abs=0.04)
    for number in "0123":
        assert 0.12 < share(by_kind["count"], number) < 0.33
    assert all(0.08 < share(by_kind["colour"], colour) < 0.17 for colour in COLOURS)
    assert all(0.10 < share(by_kind["shape"], shape) < 0.24 for shape in SHAPES)


# --- the source


def test_rows_are_questions_and_captions_in_turn_that_share_their_scenes_picture() -> None:
    rows = Config(split="val", scenes=20).read()
    asked = [(number, question) for number in range(20) for question in questions(scene(0, "val", number))]
    assert rows.ids[:2] == ["scenes/val/000000#0", "scenes/val/000000#1"]
    assert len(rows.ids) == len(set(rows.ids)) == len(asked)
    assert {len(column) for column in [*rows.items.values(), *rows.extras.values()]} == {len(asked)}
    for row, (number, question) in enumerate(asked):
        picture, text = rows.items["image"][row], rows.items["text"][row]
        assert picture == SceneImage(0, "val", number, 64)
        assert picture.holds(text)
        assert (rows.items["question"][row], rows.items["answer"][row]) == (question.text, question.answer)
        assert rows.extras["kind"][row] == question.kind
    assert rows.items["image"][0] is rows.items["image"][2]
    captioned = zip(rows.items["image"], rows.items["text"], strict=True)
    assert len({(picture.index, text) for picture, text in captioned}) == 60


def test_a_longer_set_begins_like_a_shorter_one() -> None:
    short, long = (Config(scenes=n).read().items["text"] for n in (5, 9))
    assert long[: len(short)] == short
    assert len({picture.index for picture in Config(split="heldout").read().items["image"]}) == 500


@pytest.mark.parametrize(
    ("spec", "split"),
    [("scenes", "train"), ("scenes/train", "train"), ("scenes/val", "val"), ("scenes/heldout", "heldout")],
)
def test_specs_name_splits(spec: str, split: Split) -> None:
    assert Config.accepts(spec)
    assert Config.from_spec(spec) == Config(split=split)


def test_what_is_not_a_spec() -> None:
    assert not any(map(Config.accepts, ["", "scene", "scenes.csv", "scenes/", "scenes/test", "photos/scenes"]))
    with pytest.raises(UserError, match=r"--columns means nothing for scenes/val; leave it out"):
        Config.from_spec("scenes/val", ReadOptions(columns={"image": "picture"}))
    with pytest.raises(UserError, match=r"scenes\.split"):
        validate(Config, {"split": "test"}, "scenes")

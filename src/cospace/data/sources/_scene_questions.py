"""Questions about a scene whose answers are true by construction.

Each maker weighs its answers evenly, so that a model that does not look at the image learns nothing: a yes comes
as often as a no, and neither colour, shape nor number is the safe guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

from ._scene_captions import place
from ._scene_world import COLOURS, DIAMETERS, SHAPES, Dice, Scene, Thing, questions_dice

Kind = Literal["existence", "count", "colour", "shape", "relation", "comparison"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its one right answer: yes, no, a digit, a colour or a shape."""

    text: str
    answer: str
    kind: Kind


def questions(scene: Scene) -> list[Question]:
    """One or two of each kind, a function of the scene's layout alone."""
    dice = questions_dice(scene)
    made = (make(scene, dice) for make in (_existence, _count, _colour, _shape, _relation, _comparison))
    return [question for pair in made for question in pair]


def _existence(scene: Scene, dice: Dice) -> Iterator[Question]:
    """One yes and one no; what is missing differs from what is there in one word only."""
    there = {(thing.colour, thing.shape) for thing in scene.things}
    colour, shape = dice.choice(sorted(there))
    near = [(other, shape) for other in COLOURS] + [(colour, other) for other in SHAPES]
    missing = dice.choice([kind for kind in near if kind not in there])
    opening = dice.choice(("is there a", "do you see a"))
    yield Question(f"{opening} {colour} {shape}?", "yes", "existence")
    yield Question(f"{opening} {' '.join(missing)}?", "no", "existence")


def _count(scene: Scene, dice: Dice) -> Iterator[Question]:
    """Two different numbers, each drawn before what is counted, for most colours and shapes are absent."""
    by_number: dict[int, list[str]] = {}
    words = [(thing.size, thing.colour, thing.shape) for thing in scene.things]
    for noun, word in _COUNTED:
        by_number.setdefault(sum(word is None or word in of for of in words), []).append(noun)
    for number in dice.sample(sorted(by_number), 2):
        yield Question(f"how many {dice.choice(by_number[number])} are there?", str(number), "count")


def _colour(scene: Scene, dice: Dice) -> Iterator[Question]:
    for thing in dice.sample(scene.things, 2):
        alone = sum(other.shape == thing.shape for other in scene.things) == 1
        by_shape = alone and dice.below(2) == 0
        subject = f"the {thing.shape}" if by_shape else f"the shape in the {place(thing)}"
        yield Question(f"what colour is {subject}?", thing.colour, "colour")


def _shape(scene: Scene, dice: Dice) -> Iterator[Question]:
    for thing in dice.sample(scene.things, 2):
        alone = sum(other.colour == thing.colour for other in scene.things) == 1
        by_colour = alone and dice.below(2) == 0
        yield Question(
            f"what shape is {thing.colour}?" if by_colour else f"what shape is in the {place(thing)}?",
            thing.shape,
            "shape",
        )


def _relation(scene: Scene, dice: Dice) -> Iterator[Question]:
    """One yes and one no about two things that differ in that axis; slanted pairs count by that axis alone."""
    tests = [test for pair in permutations(scene.things, 2) for test in _relations(*pair)]
    for wanted in ("yes", "no"):
        text = dice.choice([text for text, answer in tests if answer == wanted])
        yield Question(text, wanted, "relation")


def _relations(a: Thing, b: Thing) -> Iterator[tuple[str, str]]:
    if a.column != b.column:
        yield f"is {_the(a)} further left than {_the(b)}?", _yes(a.column < b.column)
        yield f"is {_the(a)} further right than {_the(b)}?", _yes(a.column > b.column)
    if a.row != b.row:
        yield f"is {_the(a)} higher than {_the(b)}?", _yes(a.row < b.row)
        yield f"is {_the(a)} lower than {_the(b)}?", _yes(a.row > b.row)


def _comparison(scene: Scene, dice: Dice) -> Iterator[Question]:
    """Size against size. Unequal pairs answer both ways; with equal ones only, as many yes as no over all scenes."""
    a, b = dice.sample(scene.things, 2)
    yield Question(f"are {_the(a)} and {_the(b)} the same size?", _yes(a.size == b.size), "comparison")
    unequal = [pair for pair in permutations(scene.things, 2) if pair[0].size != pair[1].size]
    if unequal:
        a, b = dice.choice(unequal)
        word = dice.choice(("larger", "smaller"))
        answer = _yes((a.size == "large") == (word == "larger"))
        yield Question(f"is {_the(a)} {word} than {_the(b)}?", answer, "comparison")


def _the(thing: Thing) -> str:
    return f"the {thing.colour} {thing.shape}"


def _yes(true: bool) -> str:
    return "yes" if true else "no"


_COUNTED: tuple[tuple[str, str | None], ...] = (
    ("shapes", None),
    *((f"{word} shapes", word) for word in (*DIAMETERS, *COLOURS)),
    *(("crosses" if shape == "cross" else f"{shape}s", shape) for shape in SHAPES),
)

"""What a scene is, and how (seed, split, index) alone decide which one.

Draws come from the raw words of a counter-based generator with our own arithmetic on top: NumPy promises the words
of ``Philox`` for ever, but not the methods of ``Generator``, and a scene must be the same in every version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

T = TypeVar("T")
Split = Literal["train", "val", "heldout"]

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
SHAPES = ("circle", "square", "triangle", "star", "cross", "heart")
DIAMETERS = {"small": 0.18, "large": 0.295}
"""A shape's extent as a share of the image's side; a grid cell is a third of the side."""

HELD_OUT = frozenset(
    {
        ("red", "star"),
        ("orange", "cross"),
        ("yellow", "heart"),
        ("green", "circle"),
        ("blue", "triangle"),
        ("purple", "square"),
        ("pink", "star"),
        ("black", "heart"),
    }
)
"""Colour-shape pairs that occur in ``heldout`` only; each colour misses one shape, no shape misses more than two."""

_SIZES = tuple(DIAMETERS)
_KINDS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
_SEEN = tuple(kind for kind in _KINDS if kind not in HELD_OUT)
_UNSEEN = tuple(kind for kind in _KINDS if kind in HELD_OUT)
_SPLITS: tuple[Split, ...] = ("train", "val", "heldout")
_MARGIN = 0.012
_VAL_SHARE = 5


class Dice:
    """An endless row of draws that depends on ``key`` and ``index`` only."""

    __slots__ = ("_bits", "_words")

    def __init__(self, key: tuple[int, int], index: int) -> None:
        counter = np.array([0, index, 0, 0], dtype=np.uint64)
        self._bits = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=counter)
        self._words: list[int] = []

    def below(self, n: int) -> int:
        """A whole number in ``[0, n)``; with 64-bit words the bias of the remainder is under 1e-17 here."""
        if not self._words:
            self._words = self._bits.random_raw(64).tolist()
        return self._words.pop() % n

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.below(1 << 53) / (1 << 53)

    def choice(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def sample(self, options: Sequence[T], n: int) -> list[T]:
        """``n`` different options in random order: the first ``n`` steps of a Fisher-Yates shuffle."""
        result = list(options)
        for step in range(n):
            other = step + self.below(len(result) - step)
            result[step], result[other] = result[other], result[step]
        return result[:n]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        return self.sample(options, len(options))


@dataclass(frozen=True, slots=True)
class Thing:
    """One coloured shape. ``x`` (right) and ``y`` (down) are its exact centre as shares of the image's side.

    ``cell`` counts the 3 x 3 grid in reading order, 0 top left to 8 bottom right. ``shade`` multiplies the colour.
    """

    size: str
    colour: str
    shape: str
    cell: int
    x: float
    y: float
    shade: float = 1.0

    @property
    def row(self) -> int:
        return self.cell // 3

    @property
    def column(self) -> int:
        return self.cell % 3


@dataclass(frozen=True, slots=True)
class Scene:
    """Two or three things in reading order, no two of the same colour and shape, on a plain light ground.

    ``ground`` is the background's colour (three numbers 0 to 255) at the centre; ``slope`` is how much brighter its
    bottom right corner is.
    """

    things: tuple[Thing, ...]
    ground: tuple[float, float, float] = (245.0, 245.0, 245.0)
    slope: float = 0.0


def layout(things: Sequence[Thing]) -> str:
    """Everything that words can say about a scene, on one line; equal layouts deserve equal captions."""
    return ";".join(f"{t.size} {t.colour} {t.shape} {t.cell}" for t in things)


def scene(seed: int, split: Split, index: int) -> Scene:
    """The scene number ``index`` of a split."""
    return drawn(seed, split, index)[0]


def drawn(seed: int, split: Split, index: int) -> tuple[Scene, Dice]:
    """The scene number ``index`` of a split, and its dice as they lie afterwards, from which its captions are worded.

    The layout's own hash decides between ``train`` and ``val``, and draws repeat until one belongs to the split
    asked for. So no validation scene was ever trained on, whatever the seeds and the numbers of scenes.
    """
    dice = Dice((seed, _SPLITS.index(split)), index)
    things = _things(dice, split)
    while split != "heldout" and (_fingerprint(things) % _VAL_SHARE == 0) != (split == "val"):
        things = _things(dice, split)
    things = tuple(_jittered(thing, dice) for thing in things)
    return Scene(things, _ground(dice), dice.between(-5.0, 5.0)), dice


def questions_dice(of: Scene) -> Dice:
    """The draws for a scene's questions, which depend on nothing but its layout."""
    return Dice((_fingerprint(of.things), len(_SPLITS)), 0)


def _things(dice: Dice, split: Split) -> tuple[Thing, ...]:
    n = 2 if dice.below(5) < 2 else 3
    kinds = [dice.choice(_UNSEEN)] if split == "heldout" else []
    while len(kinds) < n:
        kind = dice.choice(_KINDS if split == "heldout" else _SEEN)
        if kind not in kinds:
            kinds.append(kind)
    cells = sorted(dice.sample(range(9), n))
    return tuple(
        Thing(dice.choice(_SIZES), colour, shape, cell, (cell % 3 + 0.5) / 3, (cell // 3 + 0.5) / 3)
        for (colour, shape), cell in zip(dice.shuffled(kinds), cells, strict=True)
    )


def _jittered(thing: Thing, dice: Dice) -> Thing:
    """The whole shape stays within its cell, so cells and exact centres never disagree on a relation."""
    room = 1 / 6 - DIAMETERS[thing.size] / 2 - _MARGIN
    x, y = thing.x + dice.between(-room, room), thing.y + dice.between(-room, room)
    return Thing(thing.size, thing.colour, thing.shape, thing.cell, x, y, dice.between(0.92, 1.06))


def _ground(dice: Dice) -> tuple[float, float, float]:
    light = dice.between(238.0, 248.0)
    red, green, blue = (light + dice.between(-3.0, 3.0) for _ in range(3))
    return red, green, blue


def _fingerprint(things: Sequence[Thing]) -> int:
    return int.from_bytes(hashlib.blake2b(layout(things).encode(), digest_size=8).digest())

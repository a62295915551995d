"""Single images from which nothing can be learned, or less than it seems, by what :mod:`.measuring` measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import ItemFinding
from .._faults import faults
from .measuring import WINDOW

TINY = 16
"""Pixels of the shorter side below which nothing can be made out; at 32, people name nine things of ten (Torralba et
al. 2008)."""

LONG = 5.0
"""Ratio of the sides from which on a square picture of it shows a strip: panoramas of 3 to 1 and banners of 4 to 1 are
in use, and the most of 800 photographs (Flickr8k) is 2.4."""

BLANK = 16
"""Levels of 255 that the colours of one sheet or wall span, with grain and JPEG; the least of 13,000 pictures (emoji,
Flickr8k, CIFAR-10, easy-VQA) is 63."""

PALE = 40
"""The same below which a picture is fog: a contrast of 0.1 of what pictures usually have leaves 25."""

DARK = 72
"""Largest level of the lightest pixels, 8 % of the light of white; 1 of 50,000 pictures (CIFAR-10), a black cat at
night, has less than 100. A night with lamps has 255."""

BRIGHT = 200
"""Least level, in all channels, of the darkest pixels; the most of 5,800 photographs is 138."""

OVEREXPOSED = 0.6
"""Share of pixels with a channel at its end, in photographs alone, see :func:`~.measuring.overexposed`: no photograph
of 50,800 (Flickr8k, CIFAR-10), no emoji, and one in four photographs at four times the light."""

BLURRED = 0.42
"""Largest step of the sharpest edges, as a share of the rise, see :func:`~.measuring.sharpness`: an edge spread over
some three pixels of those that a model sees. The least of 13,000 pictures is 0.48, and 0.62 of 800 photographs
(Flickr8k); of 800 that a Gaussian of 1.6 to 5 pixels blurred or that were enlarged 4 to 8 times, 97 % have less than
0.42."""

WIDE = 48
"""Levels that a picture must span to be called blurred for having no edges at all."""


def find(measures: Mapping[str, np.ndarray]) -> list[ItemFinding]:
    """The kinds of fault, each image in the first that explains the others: a black image is not blurred too."""
    if "width" not in measures:
        measures = dict.fromkeys(
            ("width", "height", "frames", "darkest", "lightest", "spread", "overexposed"), np.zeros(0)
        )
    width, height = measures["width"], measures["height"]
    shorter, longer = np.minimum(width, height), np.maximum(width, height)
    tiny = shorter < TINY
    blank = measures["spread"] <= BLANK

    def pixels(item: int) -> str:
        return f"{width[item]:.0f} x {height[item]:.0f} pixels"

    return [
        faults("tiny", "too small to make anything out", "find larger ones, or leave the rows out",
               tiny, 1 - shorter / TINY, pixels),
        faults("blank", "of one colour", "leave the rows out, as --out does", blank, 1 - measures["spread"] / BLANK,
               lambda item: f"its colours span {measures['spread'][item]:.0f} of 255 levels", leave_out=True),
        *_of_light(measures, tiny | blank),
        _of_blur(measures, tiny | blank | (measures["spread"] <= PALE) | (measures["lightest"] <= DARK)),
        faults("extreme_aspect", "more than five times as long as wide", "cut them into pieces, or leave the rows out",
               longer > LONG * shorter, 1 - LONG * shorter / np.maximum(longer, 1), pixels),
        faults("animated", "of several frames or pages, of which the first is used", "save the one that is meant",
               measures["frames"] > 1, np.ones(len(width)),
               lambda item: f"{measures['frames'][item]:.0f} frames or pages"),
    ]  # fmt: skip


def _of_light(measures: Mapping[str, np.ndarray], other: np.ndarray) -> list[ItemFinding]:
    """Dark, overexposed, and pale ones, which have no ``other`` fault."""
    darkest, lightest, spread, burnt = (
        measures[key] for key in ("darkest", "lightest", "spread", "overexposed")
    )  # fmt: skip
    dark = (lightest <= DARK) & ~other
    bright = ((darkest >= BRIGHT) | (burnt >= OVEREXPOSED)) & ~other
    pale = (spread <= PALE) & ~(other | dark | bright)
    strength = np.maximum((darkest - BRIGHT) / (255 - BRIGHT), (burnt - OVEREXPOSED) / (1 - OVEREXPOSED))

    def brightness(item: int) -> str:
        if burnt[item] >= OVEREXPOSED:
            return f"{burnt[item]:.0%} of it is burnt out"
        return f"nothing is darker than {darkest[item]:.0f} of 255"

    advice = "lighten or darken what can be, or leave the rows out"
    return [
        faults("dark", "nearly black", advice, dark, 1 - lightest / DARK,
               lambda item: f"99 % of it is no lighter than {lightest[item]:.0f} of 255"),
        faults("bright", "overexposed", advice, bright, strength, brightness),
        faults("low_contrast", "of hardly any contrast", "raise the contrast, or leave the rows out",
               pale, 1 - spread / PALE, lambda item: f"its colours span {spread[item]:.0f} of 255 levels"),
    ]  # fmt: skip


def _of_blur(measures: Mapping[str, np.ndarray], other: np.ndarray) -> ItemFinding:
    """Those that are blurred at the size at which models see them, and have no ``other`` fault that explains it."""
    sharp = measures.get("sharpness", np.full(len(other), np.nan))
    edgeless = np.isnan(sharp) & (measures["spread"] >= WIDE)
    strength = np.where(edgeless, 1.0, (BLURRED - np.nan_to_num(sharp, nan=1.0)) / (BLURRED - 1 / WINDOW))

    def edges(item: int) -> str:
        if np.isnan(sharp[item]):
            return "it has no edges"
        return f"its sharpest edges rise by {sharp[item]:.0%} from pixel to pixel"

    advice = "find the originals if these were enlarged, or leave the rows out"
    return faults("blurred", "blurred", advice, (edgeless | (sharp <= BLURRED)) & ~other, strength, edges)

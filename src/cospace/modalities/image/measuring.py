"""What pixels measure: how light, how varied and how sharp they are, at about the scale at which models see them."""

from __future__ import annotations

import numpy as np
from PIL import Image

SCALE = 128
"""Pixels of the shorter side, at least, that pictures are measured at; of a larger one, less than twice as many.

Models read pictures at 64 to 384 pixels. What is unsharp at full size only is sharp to them."""

RARE = 0.01
"""Share of the pixels that may be lighter than a dark picture: stars, a lamp."""

SPECKS = 0.002
"""Share of the pixels that count as none where it is asked whether there is anything at all."""

CLIPPED = 253
"""Level from which on a sensor is at its end; JPEG moves it by one or two."""

WHITE = 235
"""Least level of all three channels in what is burnt out to white, with the halo that a JPEG leaves beside it."""

TINTED = 0.2
"""Share of what is not white that has a channel at its end in an overexposed picture: so has most of what is only
lighter than a third of white, at four times the light. In front of a white wall, nothing has: of 50,000 pictures
(CIFAR-10) one."""

FLAT, ALIKE = 0.2, 3
"""Share of neighbours, white left out, whose levels differ by no more, from which on a picture is drawn: yellow is
clipped by intention. Of 3,191 emoji that would be overexposed otherwise all have as many, saved as JPEG two of
three."""

GROUND = 0.7
"""Share of the outermost pixels that are white from which on there is a white ground: a drawing, or a thing to sell."""

WINDOW = 8
"""Pixels in a row in which the largest step is compared with the whole rise: an edge and its surroundings."""

STRONG = 0.5
"""Share of the strongest rise that a window must have to count as an edge: where a lens focused, rises are largest."""

FAINTEST = 12
"""Levels that an edge must rise, so that grain and blocks of a JPEG are none."""

SHARPEST = 0.9
"""Quantile of the edges that a picture is judged by: one whose subject alone is sharp is sharp."""


def at_scale(pixels_HW3: np.ndarray) -> np.ndarray:
    """The picture, reduced by a whole number so that its shorter side has :data:`SCALE` to twice as many pixels."""
    part = min(pixels_HW3.shape[:2]) // SCALE
    return np.asarray(Image.fromarray(pixels_HW3).reduce(part)) if part > 1 else pixels_HW3


def measured(pixels_HW3: np.ndarray) -> dict[str, float]:
    """Levels are 0 to 255.

    ``darkest``: no channel of a pixel is darker, :data:`SPECKS` of them left out. ``lightest``: none is lighter,
    :data:`RARE` left out. ``spread``: the largest range of a channel, without :data:`SPECKS` at each end.
    ``overexposed``: see :func:`overexposed`. ``sharpness``: see :func:`sharpness`; absent where there are no edges.
    """
    thin = 2 if min(pixels_HW3.shape[:2]) >= SCALE else 1
    some_HW3 = pixels_HW3[::thin, ::thin]
    place_HW3 = some_HW3 + np.array([0, 256, 512], np.intp)
    rising_3L = np.bincount(place_HW3.ravel(), minlength=768).reshape(3, 256).cumsum(axis=1)
    pixels = int(rising_3L[0, -1])
    low_3, dark_3, high_3 = (
        (rising_3L <= share * pixels).sum(axis=1) for share in (SPECKS, 1 - RARE - 1e-9, 1 - SPECKS - 1e-9)
    )
    found = {
        "darkest": float(low_3.min()), "lightest": float(dark_3.max()), "spread": float((high_3 - low_3).max()),
        "overexposed": overexposed(some_HW3) if dark_3.max() >= CLIPPED else 0.0,
    }  # fmt: skip
    sharp = sharpness(np.asarray(Image.fromarray(pixels_HW3).convert("L")))
    if sharp is None:  # shapes may differ in colour alone
        sharp = sharpness(np.ascontiguousarray(pixels_HW3[:, :, int((high_3 - low_3).argmax())]))
    return found if sharp is None else {**found, "sharpness": sharp}


def overexposed(pixels_HW3: np.ndarray) -> float:
    """The share of pixels with a channel at its end, in a photograph whose highlights have run to white.

    0 for drawings, which are white and yellow by intention, and for what lies in front of a white wall.
    """
    red, green, blue = pixels_HW3[:, :, 0], pixels_HW3[:, :, 1], pixels_HW3[:, :, 2]
    high_HW = np.maximum(np.maximum(red, green), blue)
    clipped_HW = high_HW >= CLIPPED
    share = float(clipped_HW.mean())
    if share < TINTED:
        return 0.0
    rest_HW = np.minimum(np.minimum(red, green), blue) < WHITE
    if np.count_nonzero(clipped_HW & rest_HW) < TINTED * np.count_nonzero(rest_HW):
        return 0.0
    edges = [rest_HW[0], rest_HW[-1], rest_HW[:, 0], rest_HW[:, -1]]
    if np.count_nonzero(np.concatenate(edges)) <= (1 - GROUND) * sum(map(len, edges)):
        return 0.0
    beside = rest_HW[:, 1:] & rest_HW[:, :-1]
    right, left = pixels_HW3[:, 1:], pixels_HW3[:, :-1]
    alike = ((np.maximum(right, left) - np.minimum(right, left)) <= ALIKE).all(axis=2) & beside
    return share if np.count_nonzero(alike) < FLAT * np.count_nonzero(beside) else 0.0


def sharpness(grey_HW: np.ndarray) -> float | None:
    """The largest step from pixel to pixel as a share of the rise over :data:`WINDOW` pixels, at the sharpest edges.

    1 for an edge between two pixels, 0.57 for one that a Gaussian of 1 pixel has blurred, 0.33 for one of 2 pixels, and
    1/7 for an even slope. Contrast, noise and how many edges there are do not matter, as they do to the variance of
    the Laplacian. The sharper of the two directions counts.
    """
    along = [edges for grey in (grey_HW, grey_HW.T) if (edges := _edges(grey)) is not None]
    return max(along, default=None)


def _edges(grey_HW: np.ndarray) -> float | None:
    """The same along the rows: those steps and rises by running maxima, which take no time in bytes."""
    if grey_HW.shape[1] < WINDOW:
        return None
    low, high = np.minimum(grey_HW[:, 1:], grey_HW[:, :-1]), np.maximum(grey_HW[:, 1:], grey_HW[:, :-1])
    step = high - low
    for shift in (2, 4):  # windows of 4 and 8 pixels
        low, high = np.minimum(low[:, shift:], low[:, :-shift]), np.maximum(high[:, shift:], high[:, :-shift])
    for shift in (1, 2, 3):  # of 2, 4 and 7 steps
        step = np.maximum(step[:, shift:], step[:, :-shift])
    rise = high - low
    least = max(FAINTEST, STRONG * int(rise.max()))
    edge = rise >= int(least)
    rise_E = rise[edge]
    if not len(rise_E):
        return None
    ratio_E = step[edge] / rise_E.astype(np.float32)
    place = int(SHARPEST * (len(ratio_E) - 1))
    return float(np.partition(ratio_E, place)[place])

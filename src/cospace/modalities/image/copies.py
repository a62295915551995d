"""Whether two images are copies of each other, or only alike, by their signatures.

One is moved, scaled, lightened and blurred as far as copying does that, so that it fits the other best (one linear
regression on the gradients of the picture, after Lucas and Kanade 1981). What is then left of the difference is noise
of the encoder in a copy, and a face, a hand or a hat in another picture of a series.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .signatures import COLOURED, EDGE, SIDE, blurred, colour, lightness

DETAIL = 4.0
"""Levels that a cell differs from its neighbours by where there is detail."""

BUSY = (0.3, 0.5, 0.9)
"""Shares of such cells: below the first in drawings of one shape (easy-VQA), around 0.7 in emoji, 0.9 in
photographs."""

APART = (1.2, 1.3, 2.0)
"""Largest distance of copies at each of :data:`BUSY`: the root of the sum of squares of five differences, each in units
of what copying does. One thing is done to a copy, while drawings of one shape differ a little in all; and where there
is much detail, none but a copy shares it. Of 600 pictures (emoji, Flickr8k, CIFAR-10) that were cropped, framed,
resized, mirrored, lightened, or saved at quality 30, 97 % of every kind are nearer; of 12 million pairs of CIFAR-10, 3
are, which are copies."""

LEFT = 1.2
"""Difference of lightness that is left when it fits, in :data:`NOISE` and :data:`MISFIT`: 1.9 in 97 % of pictures of 32
pixels that were saved at quality 30, 1.1 in 97 % of all others; 1 to 4 between figures that differ in their skin
alone."""

NOISE = 3.0
"""Levels of 255 by which a cell of a copy may differ anyway."""

MISFIT = 0.1
"""Cells by which an edge of a copy may be misplaced."""

OUTLIERS, COLOUR_OUTLIERS = 0.005, 0.03
"""Shares of the cells, and of the few cells of colour, that may differ more: 4, and 1."""

COLOUR = 6.0
"""Levels of colour by which a cell may differ; saved at quality 30, 97 % of copies differ by less."""

TINT = 3.2
"""The same of the mean over all cells, where noise is no excuse."""

GREY = 4.0
"""Levels of colour below which an image has none. A copy without colour may be of an image that has some."""

GREY_LEFT, GREY_MOVED = (0.3, 0.3, 1.0), (0.1, 0.1, 0.3)
"""How much of the difference of lightness, and of the other differences, such a copy may have at each of :data:`BUSY`,
since colour says nothing: 99 % of 600 have less. A grey square is no copy of a blue one, which is not exactly as
light."""

DARKER, SHADE = 0.07, 4.0
"""By what share, and by how many levels more, a copy may be lighter or darker."""

SHIFT, SCALE = 0.05, 0.1
"""How far a copy may be moved, and its edges by scaling, in half widths: a crop of 3 %, a border of 1 pixel in 32."""

WHITE = 251
"""Level from which on both are white, and say nothing of how much lighter one is."""

SHARPER = 1.25
"""Ratio of the squared gradients from which on the sharper one is blurred before they are compared."""

TOGETHER = 256
"""Pairs that are compared at a time: 7 MB of gradients."""

_STIFF = np.array([100, 100, 100, 100, 4, 0.01, 4], np.float32)
"""What is added to the mean squares of the regression, so that flat pictures are not moved by their noise."""


def copies(known_MVS: np.ndarray, measured_NVS: np.ndarray, pairs_P2: np.ndarray) -> np.ndarray:
    """Which pairs of a known and a measured image, given by their places, are copies of each other: bool ``(P,)``."""
    known_MS, measured_NS = known_MVS[:, 0], measured_NVS[:, 0]
    alike_P = np.flatnonzero(_plausible(_means_of(known_MS, pairs_P2[:, 0]), _means_of(measured_NS, pairs_P2[:, 1])))
    found_P = np.zeros(len(pairs_P2), bool)
    for start in range(0, len(alike_P), TOGETHER):
        some = alike_P[start : start + TOGETHER]
        left, right = pairs_P2[some].T
        found_P[some] = _same(known_MS[left], measured_NS[right])
    return found_P


def _means_of(rows_NS: np.ndarray, places_P: np.ndarray) -> np.ndarray:
    """The means of rows at some places ``(P, 4)``, each row's computed once."""
    some, place_P = np.unique(places_P, return_inverse=True)
    return _means(rows_NS[some])[place_P]


def _means(rows_NS: np.ndarray) -> np.ndarray:
    """Mean lightness, blue and red of each, and the most that any cell has of colour: ``(N, 4)``."""
    parts = []
    for start in range(0, len(rows_NS), 4096):
        rows = rows_NS[start : start + 4096]
        tints = rows[:, SIDE * SIDE :]
        most = np.maximum(tints.max(axis=1).astype(np.float32) - 128, 128 - tints.min(axis=1).astype(np.float32))
        parts.append(np.column_stack([rows.astype(np.float32) @ _AVERAGES - (0, 128, 128), most]))
    return np.concatenate(parts or [np.zeros((0, 4))]).astype(np.float32)


def _averages() -> np.ndarray:
    """What a signature is multiplied with to have the means of its lightness but for the edges, and its colours."""
    light = np.zeros((SIDE, SIDE), np.float32)
    light[EDGE:-EDGE, EDGE:-EDGE] = 1 / (SIDE - 2 * EDGE) ** 2
    tint, none = np.full(COLOURED**2, 1 / COLOURED**2, np.float32), np.zeros(COLOURED**2, np.float32)
    dark = np.zeros(SIDE * SIDE, np.float32)
    columns = [(light.ravel(), none, none), (dark, tint, none), (dark, none, tint)]
    return np.stack([np.concatenate(column) for column in columns], axis=1)


_AVERAGES = _averages()


def _plausible(left_P4: np.ndarray, right_P4: np.ndarray) -> np.ndarray:
    """Which pairs are as light and of the same tint, unless one is grey; nine of ten are not, at a tenth of the
    cost.
    """
    apart = np.abs(left_P4 - right_P4)
    light = apart[:, 0] <= DARKER * np.maximum(left_P4[:, 0], right_P4[:, 0]) + SHADE
    grey = (left_P4[:, 3] <= GREY) != (right_P4[:, 3] <= GREY)
    return np.asarray(light & (grey | (apart[:, 1:3].max(axis=1) <= APART[-1] * TINT + 1)))


def _same(known_PS: np.ndarray, measured_PS: np.ndarray) -> np.ndarray:
    known, measured = lightness(known_PS).astype(np.float32), lightness(measured_PS).astype(np.float32)
    tint, other = colour(known_PS), colour(measured_PS)
    mirrored = _likeness(known, measured[:, :, ::-1]) > _likeness(known, measured)
    measured[mirrored], other[mirrored] = measured[mirrored][:, :, ::-1], other[mirrored][..., ::-1]
    fit = fitted(known, measured)
    moved = np.abs(fit.moved_P4).reshape(-1, 2, 2).max(axis=2) / (SHIFT, SCALE)
    distant = np.square([fit.left_P / LEFT, fit.darker_P, moved.max(axis=1)])
    one_is_grey = (np.abs(tint).max(axis=(1, 2, 3)) <= GREY) != (np.abs(other).max(axis=(1, 2, 3)) <= GREY)
    busy_P = (_slope(known, EDGE) > DETAIL).mean(axis=(1, 2))
    grey_left, grey_moved, most = (np.interp(busy_P, BUSY, at) for at in (GREY_LEFT, GREY_MOVED, APART))
    in_grey = (fit.left_P <= grey_left) & (distant[1:].max(axis=0) <= grey_moved**2)
    fits = np.stack([warped(other[:, channel], fit.moved_P4) for channel in (0, 1)], axis=1)
    apart = tint - fit.contrast_P[:, None, None, None] * fits
    smooth = np.stack([np.abs(blurred(apart[:, channel])) for channel in (0, 1)], axis=1)[:, :, 1:-1, 1:-1]
    strongest = _quantile(smooth.max(axis=1), COLOUR_OUTLIERS)
    tinted = np.abs((tint - fits).mean(axis=(2, 3))).max(axis=1)
    distant = np.concatenate([distant, np.square([strongest / COLOUR, tinted / TINT])])
    return np.asarray(np.where(one_is_grey, in_grey, distant.sum(axis=0) <= most**2))


@dataclass(frozen=True, slots=True)
class Fit:
    """How pairs fit each other: what is left of the difference, how one is moved, how much darker it is."""

    left_P: np.ndarray
    """In units of :data:`NOISE` and :data:`MISFIT`."""
    moved_P4: np.ndarray
    """Shift to the right and down, and scaling of both, in half widths."""
    contrast_P: np.ndarray
    darker_P: np.ndarray
    """Difference of the means, as a share of what :data:`DARKER` and :data:`SHADE` allow."""


def fitted(known_PSS: np.ndarray, measured_PSS: np.ndarray) -> Fit:
    """Move, scale, lighten and blur the lightness of measured images until it fits that of known ones."""
    known, measured = _equally_sharp(known_PSS.copy(), measured_PSS.copy())
    moved_P4, half = np.zeros((len(known), 4), np.float32), SIDE // 2
    small = [image.reshape(-1, half, 2, half, 2).mean(axis=(2, 4)) for image in (known, measured)]
    for left, right, edge in ((*small, 1), (*small, 1), (known, measured, EDGE)):
        moved_P4 = _within(moved_P4 + _regressed(left, right, moved_P4, edge)[2][:, :4])
    by_P7K, rest_PK, step_P7 = _regressed(known, measured, moved_P4, EDGE)
    light_P, moved_light_P = (
        image[:, EDGE:-EDGE, EDGE:-EDGE].mean(axis=(1, 2)) for image in (known, warped(measured, moved_P4))
    )
    shade_P = DARKER * light_P + SHADE
    allowed = np.column_stack([np.full((len(light_P), 4), 0.03), np.full_like(light_P, DARKER + 0.03),
                               shade_P, np.full_like(light_P, 0.35)])  # fmt: skip
    step_P7 = step_P7.clip(-allowed, allowed).astype(np.float32)
    side = SIDE - 2 * EDGE
    left_PSS = (rest_PK - (step_P7[:, None] @ by_P7K)[:, 0]).reshape(-1, side, side)
    steep = _slope(known, EDGE)
    units = np.abs(blurred(blurred(left_PSS))) / (NOISE + MISFIT * blurred(blurred(steep)))
    darker_P = np.abs(light_P - moved_light_P) / shade_P
    return Fit(_quantile(units, OUTLIERS), moved_P4, 1 + step_P7[:, 4], darker_P)


def _within(moved_P4: np.ndarray) -> np.ndarray:
    most = np.array([SHIFT, SHIFT, SCALE, SCALE], np.float32)
    return moved_P4.clip(-most, most)


def _regressed(
    known: np.ndarray, measured: np.ndarray, moved_P4: np.ndarray, edge: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the measured image can change by ``(P, 7, K)``, the difference ``(P, K)``, and how much of each fits it
    best.

    A shift to the right and down, a scaling of both, contrast, lightness, and sharpness.
    """
    side = known.shape[-1]
    inner, after, before = slice(edge, -edge), slice(edge + 1, side - edge + 1), slice(edge - 1, -edge - 1)
    place = ((np.arange(side) - (side - 1) / 2) / (side / 2)).astype(np.float32)[inner]
    image = warped(measured, moved_P4)
    middle, wanted = image[:, inner, inner], known[:, inner, inner]
    across, down = (
        (image[:, inner, after] - image[:, inner, before]) * (side / 4),
        (image[:, after, inner] - image[:, before, inner]) * (side / 4),
    )
    around = image[:, inner, after] + image[:, inner, before] + image[:, after, inner] + image[:, before, inner]
    counts = ((wanted < WHITE) | (middle < WHITE)).astype(np.float32)
    by = np.stack([across, down, across * place, down * place[:, None], middle - middle.mean(axis=(1, 2),
    keepdims=True), np.ones_like(middle), around - 4 * middle], axis=1) * counts[:, None]  # fmt: skip
    by_P7K = by.reshape(len(by), 7, -1)
    rest_PK = ((wanted - middle) * counts).reshape(len(by), -1)
    squares = by_P7K @ by_P7K.transpose(0, 2, 1) + np.diag(_STIFF * by_P7K.shape[2])
    return by_P7K, rest_PK, np.linalg.solve(squares, by_P7K @ rest_PK[..., None])[..., 0]


def warped(image_PSS: np.ndarray, moved_P4: np.ndarray) -> np.ndarray:
    """Images shifted and scaled, in half widths, with linear interpolation."""
    side = image_PSS.shape[-1]
    cells = np.arange(side)
    place = (cells - (side - 1) / 2) / (side / 2)
    columns, rows = (
        (cells + side / 2 * (moved_P4[:, axis, None] + moved_P4[:, axis + 2, None] * place)).clip(0, side - 1.001)
        for axis in (0, 1)
    )
    left, top = columns.astype(np.int64), rows.astype(np.int64)
    right_share, bottom_share = ((at - whole).astype(np.float32) for at, whole in ((columns, left), (rows, top)))
    pair = np.arange(len(image_PSS))[:, None]
    share = bottom_share[:, :, None]
    lines = image_PSS[pair, top] * (1 - share) + image_PSS[pair, top + 1] * share
    lines, share = lines.transpose(0, 2, 1), right_share[:, :, None]
    turned = lines[pair, left] * (1 - share) + lines[pair, left + 1] * share
    return np.asarray(turned.transpose(0, 2, 1))


def _equally_sharp(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sharper of each pair blurred until it is not, at most twice: one may be of half the size."""
    for _ in range(2):
        energy = [np.square(_slope(image, EDGE)).mean(axis=(1, 2)) for image in (left, right)]
        for image, own, other in ((left, *energy), (right, *energy[::-1])):
            sharper = own > SHARPER * other + 1
            image[sharper] = blurred(image[sharper])
    return left, right


def _slope(image_PSS: np.ndarray, edge: int) -> np.ndarray:
    """Levels by which neighbouring cells differ, both directions together."""
    side = image_PSS.shape[-1]
    inner, after, before = slice(edge, -edge), slice(edge + 1, side - edge + 1), slice(edge - 1, -edge - 1)
    across = np.abs(image_PSS[:, inner, after] - image_PSS[:, inner, before])
    return np.asarray((across + np.abs(image_PSS[:, after, inner] - image_PSS[:, before, inner])) / 2)


def _likeness(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return -np.asarray(np.square(left - right)[:, EDGE:-EDGE, EDGE:-EDGE].mean(axis=(1, 2)))


def _quantile(values_PSS: np.ndarray, above: float) -> np.ndarray:
    """What a share of the cells of each lies above."""
    rows = values_PSS.reshape(len(values_PSS), -1)
    place = int((1 - above) * rows.shape[1])
    return np.asarray(np.partition(rows, place, axis=1)[:, place])

"""Images in a kilobyte each, from which :mod:`.copies` judges whether two are copies of each other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

SIDE = 32
"""Cells a side of the lightness. Small figures differ in a face of 3 x 3 of these, and in nothing at half as many."""

COLOURED = 8
"""Cells a side of each of the two colour differences, which a JPEG keeps at half the resolution or less."""

WIDTH = SIDE * SIDE + 2 * COLOURED * COLOURED
"""Numbers of a signature."""

EDGE = 3
"""Cells at each edge that are not compared: a border of one pixel around 32 reaches as far."""

LIGHTNESS = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601), as JPEG and conversions to grey have it."""

BLUE, RED = 0.564, 0.713
"""Factors of the colour differences blue - lightness and red - lightness, which keep them within 128 (the same)."""

OUTLINE = 7
"""Cells a side of the outlines, of two cells of a 16 x 16 picture whose outermost cells are left out."""

FAINT = 3.0
"""Levels of lightness below which differences between cells count little in an outline: pictures of one colour have
the same one, whatever their grain."""


def signature(image_HW3: np.ndarray) -> np.ndarray:
    """Of one upright image: uint8 ``(1, S)``, lightness row by row and then blue and red differences."""
    small = Image.fromarray(image_HW3).resize((SIDE, SIDE), Image.Resampling.BILINEAR)  # smooth, so that it can shift
    rgb_SS3 = np.asarray(small).astype(np.float32)
    light_SS = rgb_SS3 @ np.array(LIGHTNESS, np.float32)
    part = SIDE // COLOURED
    rgb_CC3 = rgb_SS3.reshape(COLOURED, part, COLOURED, part, 3).mean(axis=(1, 3))
    light_CC = rgb_CC3 @ np.array(LIGHTNESS, np.float32)
    blue_CC, red_CC = BLUE * (rgb_CC3[..., 2] - light_CC), RED * (rgb_CC3[..., 0] - light_CC)
    levels = np.concatenate([light_SS.ravel(), 128 + blue_CC.ravel(), 128 + red_CC.ravel()])
    return np.asarray((levels + 0.5).clip(0, 255).astype(np.uint8)[None])


def signatures(images: Sequence[Any]) -> np.ndarray:
    """Of images ``(3, H, W)``: uint8 ``(N, 1, S)``."""
    if not len(images):
        return np.zeros((0, 1, WIDTH), np.uint8)
    return np.stack([signature(np.ascontiguousarray(np.asarray(image).transpose(1, 2, 0))) for image in images])


def lightness(rows_NS: np.ndarray) -> np.ndarray:
    """``(N, SIDE, SIDE)`` of signatures ``(N, S)``."""
    return rows_NS[:, : SIDE * SIDE].reshape(-1, SIDE, SIDE)


def colour(rows_NS: np.ndarray) -> np.ndarray:
    """Blue and red differences ``(N, 2, COLOURED, COLOURED)``, 0 where there is no colour, as float32."""
    return rows_NS[:, SIDE * SIDE :].reshape(-1, 2, COLOURED, COLOURED).astype(np.float32) - 128


def outlines(signatures_NVS: np.ndarray) -> np.ndarray:
    """Of the images and their mirror images, vectors of length 1: float32 ``(N, 2, D)``.

    Light and dark in 7 x 7 blurred cells: of 600 pictures (emoji, Flickr8k, CIFAR-10) that were cropped by 3 % or
    framed by a pixel, all but 4 have a cosine above 0.92 with the original, of different ones two in ten thousand.
    """
    rows_NS = signatures_NVS[:, 0, : SIDE * SIDE].astype(np.float32)
    cells_NOO = (rows_NS @ _to_cells()).reshape(-1, OUTLINE, OUTLINE)
    cells_NOO -= cells_NOO.mean(axis=(1, 2), keepdims=True)
    views_N2D = np.stack([cells_NOO, cells_NOO[:, :, ::-1]], axis=1).reshape(-1, 2, OUTLINE * OUTLINE)
    faint = np.full((len(views_N2D), 2, 1), FAINT * OUTLINE, np.float32)
    rows_N2D = np.concatenate([views_N2D, faint], axis=2)
    return np.asarray(rows_N2D / np.linalg.norm(rows_N2D, axis=2, keepdims=True))


@cache
def _to_cells() -> np.ndarray:
    """What cells make of each number of the lightness ``(SIDE * SIDE, OUTLINE * OUTLINE)``: they are linear in it."""
    return cells(np.eye(SIDE * SIDE, dtype=np.float32).reshape(-1, SIDE, SIDE)).reshape(SIDE * SIDE, -1)


def cells(light_NSS: np.ndarray) -> np.ndarray:
    """Lightness in blurred cells without the edges: float32 ``(N, OUTLINE, OUTLINE)``."""
    side = 2 * OUTLINE
    fine_NSS = light_NSS.reshape(-1, SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4), dtype=np.float32)[:, 1:-1, 1:-1]
    parts = blurred(fine_NSS).reshape(-1, OUTLINE, side // OUTLINE, OUTLINE, side // OUTLINE)
    return np.asarray(parts.mean(axis=(2, 4)))


def blurred(image_NHW: np.ndarray) -> np.ndarray:
    """Each cell with its neighbours, by the weights 1, 2, 1 in both directions."""
    for axis in (1, 2):
        padding = [(0, 0), (0, 0), (0, 0)]
        padding[axis] = (1, 1)
        wide = np.moveaxis(np.pad(image_NHW, padding, "edge"), axis, 0)
        image_NHW = np.moveaxis((wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4, 0, axis)
    return image_NHW

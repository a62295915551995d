"""Scenes as pixels: polygons drawn once per shape, size and sub-pixel offset, then composited onto the ground."""

from __future__ import annotations

import functools
import math

import numpy as np
from PIL import Image, ImageDraw

from ._scene_world import DIAMETERS, Scene, Thing

_RGB = {
    "red": (222, 40, 45),
    "orange": (247, 140, 20),
    "yellow": (246, 208, 32),
    "green": (46, 160, 67),
    "blue": (38, 98, 214),
    "purple": (124, 52, 168),
    "pink": (244, 146, 190),
    "black": (34, 34, 38),
}
_PHASES = 4
"""Offsets a pixel is divided into; a quarter of a pixel is finer than the eye sees and keeps the cache small."""
_OVERSAMPLE = 8
_BORDER = 2
"""Spare pixels around the canvas, so that a mask's empty rim never needs clipping."""


def draw(scene: Scene, size: int) -> np.ndarray:
    """The image as ``uint8 (size, size, 3)``."""
    canvas = scene.slope * _ramp(size + 2 * _BORDER) + np.asarray(scene.ground, dtype=np.float32)
    for thing in scene.things:
        _composite(canvas, thing, size)
    return np.rint(canvas[_BORDER:-_BORDER, _BORDER:-_BORDER]).clip(0, 255).astype(np.uint8)


def _composite(canvas: np.ndarray, thing: Thing, side: int) -> None:
    column, phase_x = divmod(round(thing.x * side * _PHASES), _PHASES)
    row, phase_y = divmod(round(thing.y * side * _PHASES), _PHASES)
    mask = _mask(thing.shape, DIAMETERS[thing.size] * side, phase_x, phase_y)
    top, left = (middle + _BORDER - len(mask) // 2 for middle in (row, column))
    patch = canvas[top : top + len(mask), left : left + len(mask)]
    patch += mask * (np.asarray(_RGB[thing.colour], dtype=np.float32) * np.float32(thing.shade) - patch)


@functools.cache
def _mask(shape: str, diameter: float, phase_x: int, phase_y: int) -> np.ndarray:
    """How much of each pixel the shape covers, ``float32 (2r, 2r, 1)``; the middle corner is the shape's centre."""
    reach = math.ceil(diameter / 2) + 1
    corner = np.array([phase_x, phase_y]) / _PHASES + reach
    outline = (_OUTLINES[shape] * diameter + corner) * _OVERSAMPLE - 0.5
    image = Image.new("L", (2 * reach * _OVERSAMPLE, 2 * reach * _OVERSAMPLE))
    ImageDraw.Draw(image).polygon([(x, y) for x, y in outline.tolist()], fill=255)
    mask = np.asarray(image.reduce(_OVERSAMPLE), dtype=np.float32)[..., None] / 255
    mask.flags.writeable = False
    return mask


@functools.cache
def _ramp(size: int) -> np.ndarray:
    """From -1/2 at the top left to 1/2 at the bottom right, ``float32 (size, size, 1)``."""
    step = np.linspace(-0.25, 0.25, size, dtype=np.float32)
    ramp = (step[:, None] + step)[..., None]
    ramp.flags.writeable = False
    return ramp


def _regular(corners: int, radius: float, inner: float | None = None) -> np.ndarray:
    """A regular polygon with one corner up; with ``inner`` every second corner lies on that smaller radius: a star."""
    radii = np.full(corners, radius) if inner is None else np.tile([radius, inner], corners)
    angles = np.arange(len(radii)) * 2 * np.pi / len(radii)
    return np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)


def _centred(points: np.ndarray) -> np.ndarray:
    """Shift the box around the points to the origin and scale its longer side to 1."""
    low, high = points.min(axis=0), points.max(axis=0)
    scaled: np.ndarray = (points - (low + high) / 2) / (high - low).max()
    return scaled


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return _centred(np.stack([16 * np.sin(t) ** 3, -y], axis=1))


def _cross(arm: float = 0.36) -> np.ndarray:
    a, b = arm / 2, 0.455
    quarter = np.array([(-a, -a), (-a, -b), (a, -b)])
    turn = np.array([(0, 1), (-1, 0)])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])


# Factors make the six look equally big: a square of full width would dwarf a star of full width.
_OUTLINES = {
    "circle": _regular(64, 0.43),
    "square": np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.385,
    "triangle": _centred(_regular(3, 1.0)) * 0.93,
    "star": _centred(_regular(5, 1.0, inner=0.42)) * 1.0,
    "cross": _cross(),
    "heart": _heart() * 0.92,
}

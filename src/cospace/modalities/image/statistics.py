"""What kind of image it is, in a few numbers that no network learned: photographs, drawings, scans and screens differ.

Encoders look away from what does not part their classes, so that a letter may lie amid the birds. How large the steps
between neighbouring pixels are, how much is flat, how many colours there are and how saturated
they are: in these it differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

STEPS = (0.5, 2.0, 5.0, 12.0, 32.0, 80.0)
"""Between the brightness of neighbours, of 255."""

SATURATIONS = (3.0, 15.0, 50.0, 120.0)
"""Largest less smallest of red, green and blue."""

QUANTILES = (0.02, 0.25, 0.75, 0.98)
"""Of brightness."""

COLOURS = 16
"""Levels of each of red, green and blue by which colours are counted."""


def statistics(images: Sequence[Any]) -> np.ndarray:
    """float32 ``(N, 22)`` of prepared images ``(3, S, S)``, uint8."""
    rows = [_of(np.asarray(image, np.float32)) for image in images]
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, 22), np.float32)


def _of(image_3SS: np.ndarray) -> np.ndarray:
    grey_SS = image_3SS.mean(0)
    steps = np.concatenate([np.abs(np.diff(grey_SS, axis=axis)).ravel() for axis in (0, 1)])
    saturation = image_3SS.max(0) - image_3SS.min(0)
    level_3SS = image_3SS.astype(np.int64) * COLOURS // 256
    codes = (level_3SS[0] * COLOURS + level_3SS[1]) * COLOURS + level_3SS[2]
    counts = np.bincount(codes.ravel(), minlength=COLOURS**3)
    inner = 4 * grey_SS[1:-1, 1:-1]
    edges = np.abs(inner - grey_SS[:-2, 1:-1] - grey_SS[2:, 1:-1] - grey_SS[1:-1, :-2] - grey_SS[1:-1, 2:])
    edges = edges if edges.size else np.zeros(1)
    tails = ((steps - steps.mean()) ** 4).mean() / (steps.var() ** 2 + 1) / 50 if steps.size else 0.0
    return np.array(
        [
            *(np.mean(steps <= most) if steps.size else 1.0 for most in STEPS),
            *(np.mean(saturation <= most) for most in SATURATIONS),
            np.log(counts.max() / counts.sum()),
            np.log((counts > 0).sum()),
            grey_SS.mean() / 255,
            grey_SS.std() / 128,
            *np.quantile(grey_SS, QUANTILES) / 255,
            np.log1p(edges.mean()),
            np.log1p(np.median(edges)),
            np.log1p(steps.std()) if steps.size else 0.0,
            tails,
        ]
    )

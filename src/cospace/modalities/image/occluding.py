"""An image with one region after the other hidden, to find the regions that a score rests on."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .. import Occlusions
from .decoding import decoded
from .processing import ImageProcessor

GRID, COARSE, LARGE = 10, 7, 128
"""Regions along each side; fewer of an image of so many pixels a side, whose encoder takes longer."""
REACH = 1.0
"""How far a patch reaches over its region on every side, in regions: a small thing must vanish whole wherever it lies,
or what is left of it still answers the query."""
SMALLEST = 32


def occlusions(raw: Any, processor: ImageProcessor) -> Occlusions:
    """Regions of a grid over what the encoder sees, each hidden by a patch of the image's median colour.

    A grey patch would itself be a thing that is seen (a square, in drawings); the median is what most of the image
    shows as its ground.
    """
    image_3SS = processor.prepare(raw)
    side = image_3SS.shape[-1]
    cells = min(GRID if side < LARGE else COARSE, side)
    fill_3 = image_3SS.flatten(1).median(1).values
    left, top, right, bottom = seen(raw, processor)
    spans, hidden = [], []
    for row in range(cells):
        for column in range(cells):
            hidden.append(_patched(image_3SS, row, column, side / cells, fill_3))
            spans.append(
                (
                    left + (right - left) * column / cells,
                    top + (bottom - top) * row / cells,
                    left + (right - left) * (column + 1) / cells,
                    top + (bottom - top) * (row + 1) / cells,
                )
            )
    return Occlusions("boxes", spans, image_3SS, hidden, cells)


def _patched(image_3SS: Tensor, row: int, column: int, cell: float, fill_3: Tensor) -> Tensor:
    top, bottom = (max(0, round((row + shift) * cell)) for shift in (-REACH, 1 + REACH))
    left, right = (max(0, round((column + shift) * cell)) for shift in (-REACH, 1 + REACH))
    patched_3SS = image_3SS.clone()
    patched_3SS[:, top:bottom, left:right] = fill_3[:, None, None]
    return patched_3SS


def seen(raw: Any, processor: ImageProcessor) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the encoder's square as shares of the image's width and height.

    A cropped image is not seen whole; of a padded one the square reaches beyond its edges, below 0 and above 1.
    """
    if processor.fit == "squash":
        margin = 0.0 if processor.before_crop is None else (1 - processor.size / processor.before_crop) / 2
        return margin, margin, 1 - margin, 1 - margin
    height, width = decoded(raw, SMALLEST).upright_size
    side = float(max(height, width))
    if processor.fit == "crop":
        side = min(height, width) * processor.size / (processor.before_crop or processor.size)
    across, down = side / width, side / height
    return (1 - across) / 2, (1 - down) / 2, (1 + across) / 2, (1 + down) / 2

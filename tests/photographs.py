"""Pictures with what photographs have and drawings lack: smooth shapes, fine texture, grain; and files of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """The same arguments give the same picture."""
    dice = np.random.default_rng([seed, width, height])
    shapes = Image.fromarray(dice.integers(0, 256, (5, 7, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    coarse = dice.integers(0, 2, (max(2, height // 9), max(2, width // 9)), np.uint8) * 255
    texture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    grain = Image.fromarray(dice.integers(0, 256, (height, width), np.uint8))
    rough = np.asarray(Image.blend(texture, grain, 0.4)).astype(np.int16)[:, :, None] - 128
    return Image.fromarray((np.asarray(shapes) + rough // 4).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", orientation: int = 1, **options: Any) -> bytes:
    """The bytes of a file; a JPEG of quality 88 with halved chroma unless ``options`` say otherwise."""
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    given = {"quality": 88, **options} if kind == "JPEG" else options
    image.save(buffer, kind, **({"exif": exif} if orientation > 1 else {}), **given)
    return buffer.getvalue()

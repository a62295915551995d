"""Resizing of decoded pixels: by torch, which is fast, or by Pillow, which published models were trained with.

Either resizes in two passes, along one side and then the other, and rounds between them. The order is therefore part
of the result: what lies on its side in its file must be resized as it is shown, or its vector would be another one than
that of the same picture turned upright by its owner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch

Filter = Literal["bicubic", "bilinear"]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""What turns an image of each EXIF orientation upright."""


def by_torch(
    image_3HW: torch.Tensor,
    target: tuple[int, int],
    extent: tuple[float, float],
    mode: Filter,
    columns_first: bool = False,
) -> torch.Tensor:
    """Antialiased resizing of ``uint8`` ``(3, H, W)``, within one level of Pillow's and ten times as fast.

    ``extent`` are the image's height and width in its own pixels, of which the last may be a part: at an eighth, 2250
    rows are 281.25. Resized as 282 they would be shifted by up to a fifth of a pixel, and the vector with them.
    ``columns_first`` is for what lies on its side.
    """
    from torch.nn.functional import interpolate

    height, width = image_3HW.shape[-2:]
    whole = (float(height), float(width)) == extent
    if whole and (height, width) == target:
        return image_3HW
    image = image_3HW[None]
    if whole:
        if columns_first:
            image = interpolate(image, size=(target[0], width), mode=mode, antialias=True, align_corners=False)
        return interpolate(image, size=target, mode=mode, antialias=True, align_corners=False)[0]
    scale = tuple(side / own * (1 + 1e-7) for side, own in zip(target, extent, strict=True))  # rounded down inside
    resized = interpolate(
        image, scale_factor=scale, mode=mode, antialias=True, align_corners=False, recompute_scale_factor=False
    )
    return resized[0, :, : target[0], : target[1]]


def by_pillow(stored_HW3: np.ndarray, target: tuple[int, int], mode: Filter, orientation: int = 1) -> np.ndarray:
    """``Image.resize`` of ``uint8`` ``(H, W, 3)`` that is turned upright before: Pillow itself, to the last bit.

    ``orientation`` is EXIF's (1 to 8), ``target`` the upright height and width. Not done in strips, which would take
    less memory: newer versions of Pillow choose by the sizes whether rows or columns come first.
    """
    image, turn = Image.fromarray(np.ascontiguousarray(stored_HW3)), _TURNS.get(orientation)
    shown = image if turn is None else image.transpose(turn)
    return np.array(shown.resize(target[::-1], Image.Resampling[mode.upper()]))

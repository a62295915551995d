"""Images for people: small ones for lists and maps, larger ones to open, and uploads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from ...types import BadItem
from .. import PREVIEW_SIZES, Media, Preview
from .._pixels import SMALL, reduced, small_images, webp
from .decoding import Decoded, decode, decoded
from .formats import format_of, unread, unread_format

UPLOADED = ("JPEG", "PNG", "WEBP")
"""What is read of uploads. Fewer decoders mean fewer ways in; SVG, which can run programs, is none of them."""

LARGEST = 1024
"""Longer side in pixels that is kept of an upload: more than any encoder reads."""


def preview(raw: Any) -> Preview:
    """A decoded image's previews, its full size and mean colour."""
    return preview_of(decoded(raw, max(PREVIEW_SIZES)))


def preview_of(image: Decoded) -> Preview:
    """Previews of decoded pixels, which may be fewer than the image has."""
    small, rgb = small_images(_near(image).upright())
    height, width = image.upright_size
    return Preview(small, width, height, rgb)


def _near(image: Decoded) -> Decoded:
    """The largest preview's pixels, of an image that was decoded whole for a model: torch takes a tenth of the time."""
    import torch

    from .resizing import by_torch

    rows, columns = image.pixels_HW3.shape[:2]
    side, longer = max(PREVIEW_SIZES), max(rows, columns)
    if longer <= 2 * side:
        return image
    target = max(1, round(rows * side / longer)), max(1, round(columns * side / longer))
    pixels_3HW = torch.from_numpy(np.require(image.pixels_HW3, requirements=["C", "W"])).permute(2, 0, 1)
    smaller_3HW = by_torch(pixels_3HW, target, (float(rows), float(columns)), "bicubic")
    return replace(image, pixels_HW3=np.ascontiguousarray(smaller_3HW.permute(1, 2, 0).numpy()))


def media(raw: Any, size: int) -> Media:
    """The image as WebP, at most ``size`` pixels a side."""
    return Media(at_size(raw, size), "image/webp")


def encoded_suffix(data: bytes) -> str:
    """The suffix for a file with these bytes; ``bin`` for what is no image."""
    return (format_of(data) or "bin").lower()


def read_upload(data: bytes) -> np.ndarray:
    """Upright RGB ``uint8 (H, W, 3)`` of at most :data:`LARGEST` pixels a side from uploaded bytes.

    Raises :class:`BadItem`: ``unsupported`` for other formats, ``bomb`` for what takes more memory than an image may,
    as in files; else what is wrong.
    """
    known = format_of(data)
    if known is None and unread_format(data) is None:
        raise BadItem("undecodable", unread(data))
    if known not in UPLOADED:
        raise BadItem("unsupported", f"send a JPEG, PNG or WebP image; {_guess(data)}")
    return _smaller(decode(data, at_least=LARGEST // 2))


def _guess(data: bytes) -> str:
    """What it seems to be, for people whose browser could not say."""
    known = format_of(data)
    if known == "HEIC":
        return "this is HEIC, which phones can also save as JPEG"
    return unread(data) if known is None else f"this is {known}"


def _smaller(pixels: np.ndarray) -> np.ndarray:
    """At most :data:`LARGEST` pixels a side."""
    if max(pixels.shape[:2]) <= LARGEST:
        return pixels
    image = Image.fromarray(pixels)
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.asarray(image)


def at_size(raw: Any, size: int) -> bytes:
    """An image as WebP whose longer side is ``size`` pixels, or its own where that is shorter.

    ``raw`` is what :func:`~cospace.modalities.image.decoding.decode` takes; raises its :class:`BadItem`.
    """
    image = Image.fromarray(decode(raw, at_least=size))
    return webp(reduced(image, size), lossless=max(image.size) < min(SMALL, size))

"""Images for people: small ones for lists and maps, larger ones to open, and uploads."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from PIL import Image

from ...types import BadItem
from .. import PREVIEW_SIZES, Media, Preview
from .._pixels import reduced, small_images, webp
from .processing import FORMATS, decode, fetched, full_size

UPLOADED = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"RIFF": "WEBP"}
"""What is read of uploads, by its first bytes. Fewer decoders mean fewer ways in; SVG, which can run programs, is
none of them."""

LARGEST = 1024
"""Longer side in pixels that is kept of an upload: more than any encoder reads."""

PIXELS, JPEG_PIXELS = 25_000_000, 50_000_000
"""Width times height that an upload's header may announce; a JPEG is decoded at a fraction of its size."""


def preview(raw: Any) -> Preview:
    """A decoded image's previews, its full size and mean colour."""
    data = fetched(raw)
    pixels = decode(data, max(PREVIEW_SIZES))
    return preview_of(pixels, full_size(data, pixels))


def preview_of(pixels_HW3: np.ndarray, size: tuple[int, int]) -> Preview:
    """Previews of decoded pixels; ``size`` is the full height and width, which a fast decoder may have reduced."""
    small, rgb = small_images(pixels_HW3)
    height, width = size
    return Preview(small, width, height, rgb)


def media(raw: Any, size: int) -> Media:
    """The image as WebP, at most ``size`` pixels a side."""
    return Media(at_size(raw, size), "image/webp")


def encoded_suffix(data: bytes) -> str:
    """The suffix for a file with these bytes; ``bin`` for what is no image."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return str(image.format).lower()
    except (OSError, Image.DecompressionBombError):
        return "bin"


def read_upload(data: bytes) -> np.ndarray:
    """Upright RGB ``uint8 (H, W, 3)`` of at most :data:`LARGEST` pixels a side from uploaded bytes.

    Raises :class:`BadItem`: ``unsupported`` for other formats, ``bomb`` for too many pixels, else what is wrong.
    """
    kind = next((name for start, name in UPLOADED.items() if data.startswith(start)), None)
    if kind is None:
        raise BadItem("unsupported", f"send a JPEG, PNG or WebP image{_guess(data)}")
    width, height = _announced_size(data, kind)
    most = JPEG_PIXELS if kind == "JPEG" else PIXELS
    if width * height > most:
        raise BadItem("bomb", f"the image has {width} x {height} pixels; at most {most:,} of a {kind} are decoded")
    return _smaller(decode(data, at_least=LARGEST // 2, max_pixels=most))


def _announced_size(data: bytes, kind: str) -> tuple[int, int]:
    """Width and height by the header, which is all that is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound follows
            with Image.open(io.BytesIO(data), formats=[kind]) as image:
                return image.size
    except Image.DecompressionBombError:
        raise BadItem("bomb", "the image announces far more pixels than are decoded here") from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise BadItem("undecodable", f"the file begins like a {kind} and is none") from error


def _guess(data: bytes) -> str:
    """What it seems to be, for people whose browser could not say."""
    known = {b"GIF8": "a GIF", b"BM": "a BMP", b"II*\0": "a TIFF", b"MM\0*": "a TIFF", b"%PDF": "a PDF", b"<": "markup"}
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "; this is HEIC, which phones can also save as JPEG"
    return next((f"; this is {name}" for start, name in known.items() if data.startswith(start)), "")


def _smaller(pixels: np.ndarray) -> np.ndarray:
    """At most :data:`LARGEST` pixels a side."""
    if max(pixels.shape[:2]) <= LARGEST:
        return pixels
    image = Image.fromarray(pixels)
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.asarray(image)


def at_size(raw: Any, size: int) -> bytes:
    """An image as WebP whose longer side is ``size`` pixels, or its own where that is shorter.

    ``raw`` is what :func:`~cospace.modalities.image.processing.decode` takes; raises its :class:`BadItem`.
    """
    return webp(reduced(Image.fromarray(decode(raw, at_least=size)), size))

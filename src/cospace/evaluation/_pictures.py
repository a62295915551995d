"""Thumbnails for one HTML file: each picture once, small, and shown as often as needed."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


class Sheet:
    """The pictures of a page. ``show`` refers to a picture; ``definitions`` holds each that was shown, once.

    An SVG ``<use>`` needs no script, prints, and is not repeated in the bytes. A picture that is missing or does not
    decode is shown as a grey tile with its words.
    """

    def __init__(self, pictures: Mapping[str, bytes], size: int, quality: int) -> None:
        self._pictures = pictures
        self._size = size
        self._quality = quality
        self._shown: dict[str, tuple[str, bytes | None]] = {}

    def show(self, key: str, words: str) -> str:
        """Markup of one picture, described for those who cannot see it."""
        label = escape(words, quote=True)
        name = self._name(key)
        if name is None:
            return f'<span class="missing" role="img" aria-label="{label}">no picture</span>'
        return f'<svg class="pic" viewBox="0 0 100 100" role="img" aria-label="{label}"><use href="#{name}"/></svg>'

    def place(self, key: str, words: str, frame: tuple[float, float, float]) -> str:
        """Markup of one picture inside a drawing, in the square given by its left, top and side."""
        left, top, side = frame
        name = self._name(key)
        inside = "" if name is None else f'<use href="#{name}"/>'
        where = f'x="{left:.1f}" y="{top:.1f}" width="{side:.1f}" height="{side:.1f}"'
        return f'<svg {where} viewBox="0 0 100 100"><title>{escape(words)}</title>{inside}</svg>'

    def definitions(self) -> str:
        """The hidden drawing that holds the pictures; it may stand anywhere on the page."""
        images = "".join(
            f'<image id="{name}" width="100" height="100" href="data:image/webp;base64,'
            f'{base64.b64encode(data).decode()}"/>'
            for name, data in self._shown.values()
            if data is not None
        )
        return f'<svg class="store" width="0" height="0" aria-hidden="true"><defs>{images}</defs></svg>'

    def _name(self, key: str) -> str | None:
        """The picture's name on this page, or nothing where there is no picture to show."""
        if key not in self._shown:
            encoded = self._pictures.get(key)
            data = None if encoded is None else thumbnail(encoded, self._size, self._quality)
            self._shown[key] = (f"p{len(self._shown)}", data)
        name, data = self._shown[key]
        return None if data is None else name


def thumbnail(encoded: bytes, size: int, quality: int) -> bytes | None:
    """A WebP of at most ``size`` pixels a side, upright, on white and without metadata; nothing where it is broken."""
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            opened.draft("RGB", (size, size))
            picture = ImageOps.exif_transpose(_eight_bit(opened)).convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None
    if max(picture.size) > size:
        picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    paper = Image.new("RGB", picture.size, "white")
    paper.paste(picture, mask=picture.getchannel("A"))
    buffer = io.BytesIO()
    paper.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Sixteen-bit greys scaled to eight: Pillow's own conversion clips them, which turns nearly all of them white."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))

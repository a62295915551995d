"""Thumbnails and players for one HTML file: each image once, small, and shown as often as needed."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .examples import Item
from .parts import Report


class Sheet:
    """The images of a page, and what it plays. ``definitions`` holds each image that was shown, once.

    An SVG ``<use>`` needs no script, prints, and is not repeated in the bytes. An image that is missing or does not
    decode is shown as a grey tile with its words. A player stands where its item is shown first.
    """

    def __init__(self, report: Report, size: int, quality: int) -> None:
        self._images, self._media = report.images, dict(report.media)
        self._size = size
        self._quality = quality
        self._shown: dict[str, tuple[str, bytes | None]] = {}

    def show(self, item: Item) -> str:
        """Markup of an item's image, described for those who cannot see it, and of its player; empty for a text."""
        if item.image is None:
            return ""
        label = escape(item.text, quote=True)
        name = self._name(item.image)
        if name is None:
            shown = f'<span class="missing" role="img" aria-label="{label}">no image</span>'
        else:
            use = f'<use href="#{name}"/>'
            shown = f'<svg class="pic" viewBox="0 0 100 100" role="img" aria-label="{label}">{use}</svg>'
        return shown + self._player(item.image, label)

    def place(self, item: Item, frame: tuple[float, float, float]) -> str:
        """Markup of one image inside a drawing, in the square given by its left, top and side."""
        left, top, side = frame
        name = self._name(item.image or "")
        inside = "" if name is None else f'<use href="#{name}"/>'
        where = f'x="{left:.1f}" y="{top:.1f}" width="{side:.1f}" height="{side:.1f}"'
        return f'<svg {where} viewBox="0 0 100 100"><title>{escape(item.text)}</title>{inside}</svg>'

    def definitions(self) -> str:
        """The hidden drawing that holds the images; it may stand anywhere on the page."""
        images = "".join(
            f'<image id="{name}" width="100" height="100" href="data:image/webp;base64,'
            f'{base64.b64encode(data).decode()}"/>'
            for name, data in self._shown.values()
            if data is not None
        )
        return f'<svg class="store" width="0" height="0" aria-hidden="true"><defs>{images}</defs></svg>'

    def _player(self, key: str, label: str) -> str:
        if key not in self._media:
            return ""
        data, kind = self._media.pop(key)
        tag = kind.partition("/")[0]
        source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        return f'<{tag} controls preload="none" aria-label="{label}" src="{source}"></{tag}>'

    def _name(self, key: str) -> str | None:
        """The image's name on this page, or nothing where there is no image to show."""
        if key not in self._shown:
            encoded = self._images.get(key)
            data = None if encoded is None else thumbnail(encoded, self._size, self._quality)
            self._shown[key] = (f"p{len(self._shown)}", data)
        name, data = self._shown[key]
        return None if data is None else name


def thumbnail(encoded: bytes, size: int, quality: int) -> bytes | None:
    """A WebP of at most ``size`` pixels a side, upright, on white and without metadata; nothing where it is broken."""
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            opened.draft("RGB", (size, size))
            image = ImageOps.exif_transpose(_eight_bit(opened)).convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None
    if max(image.size) > size:
        image.thumbnail((size, size), Image.Resampling.LANCZOS)
    paper = Image.new("RGB", image.size, "white")
    paper.paste(image, mask=image.getchannel("A"))
    buffer = io.BytesIO()
    paper.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def _eight_bit(image: Image.Image) -> Image.Image:
    """Sixteen-bit greys scaled to eight: Pillow's own conversion clips them, which turns nearly all of them white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))

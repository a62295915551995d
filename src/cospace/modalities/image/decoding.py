"""Images of every common kind, decoded into the same thing: upright 8-bit RGB, as a browser shows them.

Each is judged by the memory that decoding it takes (:mod:`.cost`), and costs no more. What is not a pixel, such as
comments, profiles and thumbnails, never costs an image, while damaged pixels are always noticed.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from ...reading import opened as opened_file
from ...types import BadItem, Lazy
from .._lazy import loaded
from . import jpeg
from .color import from_float, from_lab, in_srgb, needs_conversion, on_white, scaled, to_srgb
from .cost import OVERHEAD, afforded, budget
from .formats import format_of, unread, unread_format
from .opening import Opened, given, opened, opened_cmyk, turned

ToRGB = Literal["browser", "convert", "resize_convert"]
"""How pixels become RGB. ``browser``: transparency on white, colour profiles converted to sRGB. ``convert``: as
Pillow's ``Image.convert("RGB")`` before resizing, which Transformers uses: transparency dropped, profiles ignored.
``resize_convert``: the same after resizing, which OpenCLIP does: colours are then weighted by their opacity, black
where nothing is opaque, and palettes are resized by the nearest pixel."""

_BAND = 1 << 18
"""Pixels that are converted at a time."""

_LARGE = 4_000_000
"""Pixels from which on an image that only its full size can be decoded to is reduced while it is converted."""

_FAILURES = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, AttributeError,
    RuntimeError, AssertionError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What decoders let out when the bytes are not what their header promises."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels as they are stored, not upright, perhaps at a fraction of the size."""

    pixels_HW3: np.ndarray
    size: tuple[int, int]
    """Full height and width, as stored."""
    part: int = 1
    """A pixel stands for a square of so many a side; the last row and column for what is left."""
    orientation: int = 1
    plain: bool = True
    """Whether every :data:`ToRGB` gives the same."""
    unconverted: Image.Image | None = None
    """The image in its own mode, where it is to be converted after resizing and that makes a difference."""
    profile: bytes | None = None
    """The colour profile that the pixels are still in: 12 megapixels take a second to convert, so it is done last."""

    @property
    def lies(self) -> bool:
        """Whether height and width change places when it is turned upright."""
        return self.orientation >= 5

    @property
    def upright_size(self) -> tuple[int, int]:
        """Full height and width, upright."""
        height, width = self.size
        return (width, height) if self.lies else (height, width)

    def upright(self) -> np.ndarray:
        """``uint8`` ``(H, W, 3)``, the right way up, as sRGB where that was asked for."""
        return _upright(in_srgb(self.pixels_HW3, self.profile), self.orientation)


def decode(raw: Any, at_least: int | None = None, to_rgb: ToRGB = "browser") -> np.ndarray:
    """One image as ``uint8`` ``(H, W, 3)`` RGB: upright, first frame only.

    ``raw`` is a path, encoded ``bytes``, a PIL image, a ``uint8`` array ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``,
    or a :class:`~cospace.types.Lazy` that gives one of these. With ``at_least``, an image may arrive at a fraction of
    its size (1/2, 1/4, ...) as long as both sides keep that many pixels, which is several times faster for a JPEG.
    Raises :class:`BadItem` for everything that cannot be used.
    """
    return decoded(raw, at_least, to_rgb).upright()


def decoded(raw: Any, at_least: int | None = None, to_rgb: ToRGB = "browser", whole: float = 0) -> Decoded:
    """The same with its full size, before it is turned upright.

    One of up to ``whole`` pixels is never decoded at a fraction where memory allows all of it.
    """
    raw = fetched(raw)
    if isinstance(raw, np.ndarray):
        return _from_array(raw, to_rgb)
    try:
        if isinstance(raw, bytes):
            return _from_bytes(raw, at_least, to_rgb, whole)
        if isinstance(raw, Image.Image):
            source = _undecoded(raw)
            if source is not None:
                return _from_bytes(source, at_least, to_rgb, whole)
            return _from_pil(given(raw), at_least, to_rgb, whole)
    except _FAILURES as error:
        raise _malformed(error) from error
    raise BadItem("unsupported", f"an image is a path, bytes, a PIL image or an array, not {type(raw).__name__}")


def fetched(raw: Any) -> Any:
    """What there is to decode: a file's bytes, what a lazy item loads, everything else as it is.

    Raises :class:`BadItem` where it cannot be read.
    """
    if isinstance(raw, bytes | np.ndarray | Image.Image):  # asked first: whether something is lazy is a slow question
        return raw
    if isinstance(raw, str | Path):
        return _read(Path(raw))
    return loaded(raw) if isinstance(raw, Lazy) else raw


def _read(path: Path) -> bytes:
    """A file's bytes, if it is one, and not larger than what decoding an image may take."""
    try:
        with opened_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > budget():
                raise BadItem("bomb", f"{path} has {size >> 20:,} MB, more than decoding an image may take")
            return file.read(size)
    except FileNotFoundError:
        raise BadItem("missing", f"{path} does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte in it
        reason = getattr(error, "strerror", None) or error
        raise BadItem("missing", f"{path} cannot be read: {reason}") from error


def _from_array(array: np.ndarray, to_rgb: ToRGB) -> Decoded:
    if array.dtype != np.uint8:
        raise BadItem("unsupported", f"an array of pixels is uint8 (0 to 255), not {array.dtype}")
    if array.size == 0:
        raise BadItem("empty", f"the array of shape {array.shape} has no pixels")
    if array.ndim == 2:
        return Decoded(np.repeat(array[:, :, None], 3, axis=2), array.shape)
    if array.ndim == 3 and array.shape[2] == 3:
        return Decoded(array, array.shape[:2])
    if array.ndim == 3 and array.shape[2] == 4:
        flat = on_white(array) if to_rgb == "browser" else np.ascontiguousarray(array[:, :, :3])
        return Decoded(flat, array.shape[:2], plain=False)
    raise BadItem("unsupported", f"an array of pixels has shape (H, W), (H, W, 3) or (H, W, 4), not {array.shape}")


def _undecoded(image: Image.Image) -> bytes | None:
    """The bytes of an image that was opened and is not decoded yet: decoded as a file is, it gives the same pixels."""
    file = getattr(image, "fp", None)
    if not getattr(image, "tile", None) or file is None or image.format not in ("JPEG", "MPO", "PNG", "WEBP", "BMP"):
        return None
    if getattr(image, "decoderconfig", None) not in (None, (), (0, 0)) or image.tell():
        return None  # asked for at a fraction, or turned to another frame
    place = file.tell()
    file.seek(0)
    data: bytes = file.read()
    file.seek(place)
    return data if format_of(data) is not None else None


def _from_bytes(data: bytes, at_least: int | None, to_rgb: ToRGB, whole: float) -> Decoded:
    if not data:
        raise BadItem("empty", "the file is empty")
    kind = format_of(data[:256])
    if kind is None:
        raise BadItem("undecodable" if unread_format(data) is None else "unsupported", unread(data))
    if kind == "JPEG":
        return _from_jpeg(data, at_least, to_rgb, whole)
    made = opened(data, kind)
    with made.image:
        return _from_pil(made, at_least, to_rgb, whole)


def _from_jpeg(data: bytes, at_least: int | None, to_rgb: ToRGB, whole: float) -> Decoded:
    header = jpeg.read_header(data)
    size = (header.height, header.width)
    grey = len(header.samples) == 1
    profile = header.profile if needs_conversion(header.profile, "L" if grey else "RGB") else None
    copies = 2 if profile or header.orientation > 1 or math.isinf(whole) else 1  # Pillow resizes a copy of its own

    def cost(part: int) -> int:
        return header.coefficients + 3 * copies * -(-header.height // part) * -(-header.width // part) + OVERHEAD

    part = 1 if _fits(size, cost(1), whole) else jpeg.fraction(header, at_least)
    while part < max(jpeg.FRACTIONS) and at_least and _may_shrink(size, 2 * part, at_least, cost(part)):
        part *= 2
    if len(header.samples) == 4:
        made = opened_cmyk(data, header, part)
        with made.image:
            return _from_pil(made, at_least, to_rgb, whole)
    with afforded(cost(part), *size):
        array = jpeg.pixels(data, header, part)
        if profile is not None and to_rgb == "browser" and grey:
            array = np.array(to_srgb(Image.fromarray(array[:, :, 0]), profile))
    left = profile if to_rgb == "browser" and not grey else None
    return Decoded(array, size, part, header.orientation, plain=profile is None, profile=left)


def _fits(size: tuple[int, int], cost: int, whole: float) -> bool:
    """Whether an image is decoded whole because it is not too large and memory allows it."""
    return size[0] * size[1] <= whole and cost <= budget()


def _may_shrink(size: tuple[int, int], part: int, at_least: int, cost: int) -> bool:
    """Whether an image that memory does not allow comes smaller than asked for, rather than not at all."""
    return cost > budget() and 8 * min(size) >= part * at_least


def _from_pil(made: Opened, at_least: int | None, to_rgb: ToRGB, whole: float) -> Decoded:
    """Load an image within the budget, and convert it some rows at a time."""
    width, height = made.size
    part = made.part
    most = made.cost + 3 * width * height + OVERHEAD
    if part == 1 and at_least is not None and width * height > _LARGE and not _fits((height, width), most, whole):
        part = max(1, min(width, height) * 2 // (3 * at_least))
        while _may_shrink((height, width), part + 1, at_least, made.cost + 3 * width * height // part**2 + OVERHEAD):
            part += 1
    rows, columns = (-(-side // part) for side in (height, width))
    with afforded(made.cost + 3 * rows * columns + OVERHEAD, height, width):
        _load(made.image)
        profile = _left(made) if to_rgb == "browser" else None
        if profile is not None:
            made.profile = None
        pixels_HW3, plain = _converted(made, 1 if made.part > 1 else part, to_rgb)
        late = to_rgb == "resize_convert" and made.image.mode in ("RGBA", "LA", "P", "1", "CMYK")
        unconverted = made.image.copy() if late else None
        orientation = turned(made)
    if part == 1:  # Pillow turns TIFFs by itself while it loads
        height, width = pixels_HW3.shape[:2]
    plain = plain and not late and profile is None
    return Decoded(pixels_HW3, (height, width), part, orientation, plain, unconverted, profile)


def _left(made: Opened) -> bytes | None:
    """The profile of plain RGB, which is left to convert by until there are fewer pixels."""
    plain = made.image.mode == "RGB" and made.key is None and not made.image.has_transparency_data
    return made.profile if plain and needs_conversion(made.profile, "RGB") else None


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except OSError as error:
        if "decoder error" not in str(error):
            raise
        packed = f"packed as {image.info['compression']}, " if "compression" in image.info else ""
        reason = f"its pixels, {packed}are damaged, or this Pillow does not unpack them; save it as JPEG or PNG"
        raise BadItem("undecodable", reason) from error


def _converted(made: Opened, part: int, to_rgb: ToRGB) -> tuple[np.ndarray, bool]:
    """Pixels at a fraction, and whether they depend on how colours are converted."""
    image = made.image
    width, height = image.size
    clear = made.key is not None or image.has_transparency_data
    profile = made.profile if needs_conversion(made.profile, _color_mode(image)) else None
    browser, plain = to_rgb == "browser", not clear and profile is None
    step = max(part, _BAND // max(1, width) // part * part)
    made_HW3 = np.empty((-(-height // part), -(-width // part), 3), np.uint8)
    for top in range(0, height, step):
        band = image if step >= height else image.crop((0, top, width, min(height, top + step)))
        band = _rgb(band, made, browser, profile)
        if part > 1:
            band = band.reduce(part)
        made_HW3[top // part : top // part + band.height] = np.asarray(band)
    return made_HW3, plain


def _color_mode(image: Image.Image) -> str:
    """The mode in which an image's colours are converted by a profile."""
    if image.mode in ("CMYK", "RGB", "L"):
        return image.mode
    return {"LA": "L", "1": "L", "F": "L"}.get(image.mode, "RGB")


def _rgb(band: Image.Image, made: Opened, browser: bool, profile: bytes | None) -> Image.Image:
    """Some rows as RGB."""
    profile = profile if browser else None
    if band.mode == "LAB":
        return from_lab(band)
    if band.mode == "F":
        return to_srgb(from_float(np.asarray(band)), profile)
    if band.mode.startswith("I"):
        grey_HW = np.asarray(band)
        levels_HW = scaled(grey_HW, made.bits)
        image = to_srgb(Image.fromarray(255 - levels_HW if made.inverted else levels_HW), profile)
        clear_HW = None if made.key is None else grey_HW == made.key[0]
        return image if clear_HW is None or not browser else _cleared(image, clear_HW)
    if made.key is not None and browser and band.mode in ("1", "L", "RGB"):
        values = np.asarray(band.convert("L") if band.mode == "1" else band)
        clear_HW = (values == np.array(made.key)).all(axis=2) if values.ndim == 3 else values == made.key[0]
        return _cleared(to_srgb(band.convert("L") if band.mode == "1" else band, profile), clear_HW)
    if not (browser and band.has_transparency_data):
        mode = _color_mode(band)
        return to_srgb(band if band.mode == mode else band.convert(mode), profile)
    rgba = band.convert("RGBA")
    if profile is not None:
        grey = _color_mode(band) == "L"
        color = to_srgb(rgba.getchannel(0) if grey else rgba.convert("RGB"), profile)
        color.putalpha(rgba.getchannel("A"))
        rgba = color
    return Image.fromarray(on_white(np.asarray(rgba)))


def _cleared(image: Image.Image, clear_HW: np.ndarray) -> Image.Image:
    pixels_HW3 = np.array(image)
    pixels_HW3[clear_HW] = 255
    return Image.fromarray(pixels_HW3)


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the EXIF orientation (1 to 8): those above 4 lie on their side, the others are flipped or turned."""
    if orientation in (5, 6, 7, 8):
        array = array.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _malformed(error: BaseException) -> BadItem:
    """What a decoder let out, as a sentence: some say what they miss in the words of a programmer."""
    reason = str(error) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError):
        return BadItem("bomb", reason)
    if isinstance(error, MemoryError):
        return BadItem("bomb", "there is not enough memory to decode it")
    short = isinstance(error, EOFError) or any(word in reason.lower() for word in ("truncated", "unexpected end"))
    if short:
        return BadItem("truncated", f"the file ends before the image does ({reason})")
    if isinstance(error, UnidentifiedImageError) or not isinstance(error, OSError | SyntaxError | ValueError):
        return BadItem("undecodable", "the header of the image is damaged")
    return BadItem("undecodable", f"the image is damaged, or of a kind that is not read ({reason})")

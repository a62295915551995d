"""Encoded bytes as an image of Pillow's that is not decoded yet, with what its container says of the pixels."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from PIL import (
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ...types import BadItem
from . import bmp, jpeg
from .cost import PER_PIXEL, STORAGE
from .exif import orientation
from .png import stripped_gif, stripped_png

HEIF_EXTRA = "pip install 'cospace[heif]'"

_WHITE_IS_ZERO = 0


@dataclass(slots=True)
class Opened:
    """An image whose header was read; ``image`` decodes when it is loaded."""

    image: Image.Image
    cost: int
    """Bytes that loading takes."""
    orientation: int | None = None
    """As EXIF numbers it; nothing where it is Pillow's to say, after loading."""
    profile: bytes | None = None
    key: tuple[int, ...] | None = None
    """The one colour that is transparent."""
    bits: int = 16
    """Of a sample of grey, where there are more than 8."""
    inverted: bool = False
    """Whether such grey is white at zero."""
    part: int = 1
    """The fraction of the size at which it is decoded."""
    size: tuple[int, int] = (0, 0)
    """Full width and height."""


def opened(data: bytes, kind: str) -> Opened:
    """Open bytes of a format other than JPEG. Raises :class:`BadItem`, and whatever Pillow raises for damage."""
    if kind == "PNG":
        clean = stripped_png(data)
        made = _plain(PngImagePlugin.PngImageFile(io.BytesIO(clean.data)), kind)
        made.orientation, made.profile, made.key = clean.orientation, clean.profile, clean.key
        return made
    if kind == "WEBP" and len(data) < int.from_bytes(data[4:8], "little") + 8:
        raise BadItem("truncated", "the file ends before the image does")
    if kind == "HEIC":
        return _heic(data)
    if kind == "AVIF":
        return _avif(data)
    if kind == "TIFF":
        return _tiff(data)
    if kind == "GIF":
        return _plain(GifImagePlugin.GifImageFile(io.BytesIO(stripped_gif(data))), kind)
    if kind == "BMP":
        header = bmp.read_header(data)
        return Opened(bmp.Bitmap(data, header), header.cost, 1, header.profile, size=(header.width, header.height))
    return _plain(WebPImagePlugin.WebPImageFile(io.BytesIO(data)), kind)


def opened_cmyk(data: bytes, header: jpeg.Header, part: int) -> Opened:
    """A JPEG of four colours, which the fast decoder does not convert, to be decoded at a fraction."""
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(jpeg.cleaned(data, header)))
    size = image.size
    image.draft(image.mode, (max(1, size[0] // part), max(1, size[1] // part)))
    cost = header.coefficients + 4 * image.width * image.height
    return Opened(image, cost, header.orientation, header.profile, part=part, size=size)


def given(image: Image.Image, kind: str = "") -> Opened:
    """An image that somebody else opened."""
    made = _plain(image, kind)
    if not getattr(image, "tile", None):
        made.cost = 0  # it is in memory already
    key = image.info.get("transparency")
    if image.mode in ("L", "RGB") or image.mode.startswith("I"):
        made.key = (key,) if isinstance(key, int) else key if isinstance(key, tuple) else None
    if image.format == "TIFF":
        _read_tags(made, image)
    return made


def _plain(image: Image.Image, kind: str) -> Opened:
    pixel = PER_PIXEL.get(kind, STORAGE.get(image.mode, 4))
    profile = image.info.get("icc_profile")
    return Opened(
        image,
        image.width * image.height * pixel,
        profile=profile if isinstance(profile, bytes) and profile else None,
        size=image.size,
    )


def _tiff(data: bytes) -> Opened:
    try:
        image = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
    except SyntaxError as error:
        if "unknown" not in str(error):
            raise BadItem("undecodable", f"the header of the TIFF is damaged ({error})") from error
        reason = f"the pixels of this TIFF are of a kind that is not read ({error}); save it as JPEG or PNG"
        raise BadItem("unsupported", reason) from error
    made = _plain(image, "TIFF")
    _read_tags(made, image)
    tags = image.tag_v2
    rows = min(int(tags.get(278, image.height)), image.height) * image.width  # of a strip, which is unpacked at once
    if 322 in tags:
        rows = int(tags[322]) * int(tags.get(323, 0))
    made.cost += rows * int(tags.get(277, 1)) * max(tags.get(258, (1,))) // 8
    return made


def _read_tags(made: Opened, image: Image.Image) -> None:
    """What Pillow leaves undone of a TIFF's grey of more than 8 bits."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(258, (16,))
    made.bits = bits[0] if image.mode.startswith("I") and 8 < bits[0] < 16 else 16
    made.inverted = image.mode.startswith("I") and tags.get(262) == _WHITE_IS_ZERO


def _avif(data: bytes) -> Opened:
    try:
        from PIL import AvifImagePlugin
    except ImportError:
        supported = False
    else:
        supported = AvifImagePlugin.SUPPORTED
    if not supported:
        raise BadItem("unsupported", "this is AVIF, which this Pillow does not read; pip install -U 'pillow>=11.3'")
    return _plain(AvifImagePlugin.AvifImageFile(io.BytesIO(data)), "AVIF")


def _heic(data: bytes) -> Opened:
    """By an optional library, which turns the image upright by itself."""
    try:
        import pillow_heif
    except ImportError:
        raise BadItem("unsupported", f"this is HEIC, which needs one more library: {HEIF_EXTRA}") from None
    found = pillow_heif.open_heif(data, convert_hdr_to_8bit=True)
    width, height = found.size
    made = _Heic(found, (width, height))
    profile = found.info.get("icc_profile")
    return Opened(made, PER_PIXEL["HEIC"] * width * height, 1, profile or None, size=(width, height))


class _Heic(Image.Image):
    """A HEIC image that is decoded when it is loaded, as Pillow's are."""

    def __init__(self, found: Any, size: tuple[int, int]) -> None:
        super().__init__()
        self._found, self._size, self._mode = found, size, found.mode

    def load(self) -> Any:
        if self._found is not None:
            loaded, self._found = self._found.to_pillow(), None
            self.im, self._mode, self._size = loaded.im, loaded.mode, loaded.size
        return super().load()


def turned(made: Opened) -> int:
    """The orientation of an image that is loaded; 1 where its metadata are damaged."""
    if made.orientation is not None:
        return made.orientation
    exif = made.image.info.get("exif")
    if made.image.format not in ("TIFF", None):  # Pillow also asks XMP, which no browser does
        return orientation(exif) if isinstance(exif, bytes) else 1
    try:
        return int(made.image.getexif().get(0x0112, 1))
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError):
        return 1

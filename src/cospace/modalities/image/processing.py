"""Images of every common kind, made into the same thing: upright 8-bit RGB, then squares of one size.

Two stages, since the first is slow and the second depends on the model: :func:`decode` turns a raw item into an
array or says why it cannot; :class:`ImageProcessor` resizes (to ``uint8``, so that a prepared image can be kept in
a quarter of the memory) and normalises (to ``float32``, on whatever device the batch is on).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import simplejpeg  # type: ignore[import-untyped,unused-ignore]
from PIL import Image, UnidentifiedImageError
from pydantic import Field, PositiveFloat, PositiveInt

from ...config import Config
from ...types import BadItem, ImageSpec, Lazy
from .._lazy import loaded

if TYPE_CHECKING:
    import torch

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""The formats that are opened. Fewer decoders mean fewer ways for a hostile file to reach one."""

MAX_PIXELS = 25_000_000
"""Images whose header announces more pixels are refused before decoding: half a megabyte can unpack to gigabytes."""

_ORIENTATION = 0x0112
_MALFORMED = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    struct.error, zlib.error,
)  # fmt: skip
"""What Pillow's format plugins let out when the bytes are not what their header promises."""


def decode(raw: Any, at_least: int | None = None, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """One image as ``uint8`` ``(H, W, 3)`` RGB: upright, on white where it was transparent, first frame only.

    ``raw`` is a path, encoded ``bytes``, a PIL image, a ``uint8`` array ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``,
    or a :class:`~cospace.types.Lazy` that gives one of these. With ``at_least``, a JPEG may arrive at a fraction of
    its size (1/2, 1/4, ...) as long as both sides keep that many pixels; decoding is then several times faster.
    Raises :class:`BadItem` for everything that cannot be used.
    """
    raw = fetched(raw)
    if isinstance(raw, np.ndarray):
        return _from_array(raw)
    if isinstance(raw, bytes):
        return _from_bytes(raw, at_least, max_pixels)
    if isinstance(raw, Image.Image):
        return _from_pil(raw, max_pixels)
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


def full_size(data: Any, pixels_HW3: np.ndarray) -> tuple[int, int]:
    """Height and width of an image, upright, of which :func:`decode` gave ``pixels_HW3``, at a fraction perhaps."""
    height, width = pixels_HW3.shape[:2]
    if not isinstance(data, bytes) or not simplejpeg.is_jpeg(data):
        return height, width
    try:
        sides = simplejpeg.decode_jpeg_header(data, strict=False)[:2]
    except ValueError:  # an odd one, that Pillow could decode
        return height, width
    return (max(sides), min(sides)) if height > width else (min(sides), max(sides))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadItem("missing", f"{path} does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte in it
        raise BadItem("missing", f"{path} cannot be read: {error}") from error


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8:
        raise BadItem("unsupported", f"an array of pixels is uint8 (0 to 255), not {array.dtype}")
    if array.size == 0:
        raise BadItem("empty", f"the array of shape {array.shape} has no pixels")
    if array.ndim == 2:
        return np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim == 3 and array.shape[2] == 3:
        return array
    if array.ndim == 3 and array.shape[2] == 4:
        return _on_white(array)
    raise BadItem("unsupported", f"an array of pixels has shape (H, W), (H, W, 3) or (H, W, 4), not {array.shape}")


def _from_bytes(data: bytes, at_least: int | None, max_pixels: int) -> np.ndarray:
    if not data:
        raise BadItem("empty", "the file is empty")
    if _cut_short(data):
        raise BadItem("truncated", "the file ends before the image does")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
                return _from_jpeg(data, image, at_least, max_pixels)
            return _from_pil(image, max_pixels)
    except UnidentifiedImageError as error:
        raise BadItem("undecodable", f"not an image in {', '.join(FORMATS)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadItem("bomb", str(error)) from error
    except _MALFORMED as error:
        raise _malformed(error) from error


def _from_jpeg(data: bytes, image: Image.Image, at_least: int | None, max_pixels: int) -> np.ndarray:
    """Grey and YCbCr JPEGs, by the fast decoder, which knows neither orientation nor CMYK: the header is Pillow's."""
    _refuse_bomb(image, max_pixels)
    smallest = at_least or 0
    try:
        array = simplejpeg.decode_jpeg(data, "RGB", min_height=smallest, min_width=smallest)
    except ValueError as error:
        # The fast decoder is strict about harmless oddities, such as stray bytes; missing pixels are never harmless.
        if "premature end" in str(error).lower():
            raise
        return _from_pil(image, max_pixels)
    return _upright(array, _orientation(image))


def _from_pil(image: Image.Image, max_pixels: int) -> np.ndarray:
    _refuse_bomb(image, max_pixels)
    try:
        image.load()
    except _MALFORMED as error:
        raise _malformed(error) from error
    # Read after loading: Pillow turns TIFFs by itself while it loads, and forgets the tag.
    return _upright(_to_rgb(image), _orientation(image))


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        return _from_array(_scaled(np.asarray(image)))
    if image.mode in ("F", "LAB"):
        raise BadItem("unsupported", f"pixels of kind {image.mode!r} have no fixed range; save it with 8 bits")
    if image.has_transparency_data:
        return _on_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))  # a copy: Pillow's own memory is read-only


def _scaled(grey_HW: np.ndarray) -> np.ndarray:
    """16-bit grey to 8-bit, over the whole range; Pillow's own conversion clips everything above 255 to white."""
    if grey_HW.min(initial=0) < 0 or grey_HW.max(initial=0) > 0xFFFF:  # 16-bit files may open as 32-bit, mode "I"
        raise BadItem("unsupported", "32-bit grey has no fixed range; save the image with 8 or 16 bits")
    return ((grey_HW.astype(np.uint32) * 255 + 32_767) // 65_535).astype(np.uint8)


def _on_white(rgba_HW4: np.ndarray) -> np.ndarray:
    """Flatten transparency on white, in integers, rounded. White, since most cut-outs are drawn for a page."""
    alpha = rgba_HW4[:, :, 3:].astype(np.uint16)
    return ((rgba_HW4[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except _MALFORMED:
        return 1  # broken metadata does not make a sound image unusable


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the EXIF orientation (1 to 8): those above 4 lie on their side, the others are flipped or turned."""
    if orientation in (5, 6, 7, 8):
        array = array.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _refuse_bomb(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise BadItem("bomb", f"{image.width} x {image.height} pixels, more than the {max_pixels:,} allowed")


def _cut_short(data: bytes) -> bool:
    """PNG and WebP say where they end; Pillow does not look, or does not say that this is what went wrong."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    return False


def _malformed(error: Exception) -> BadItem:
    reason = str(error) or type(error).__name__
    short = isinstance(error, EOFError) or any(word in reason.lower() for word in ("truncated", "premature end"))
    return BadItem("truncated" if short else "undecodable", reason)


class ImageProcessor(Config):
    """From any raw image to what an image encoder reads; the same settings at training and at search time.

    ``fit`` says what happens to images that are not square: ``squash`` changes their proportions and loses
    nothing, ``crop`` keeps the middle, ``pad`` adds white borders.
    """

    size: PositiveInt
    fit: Literal["squash", "crop", "pad"] = "squash"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)
    max_pixels: PositiveInt = Field(default=MAX_PIXELS)
    resample: Literal["bicubic", "bilinear"] = "bicubic"
    before_crop: PositiveInt | None = None
    """The shorter side in pixels (``squash``: both sides) whose middle is cut out; left open, ``size`` itself."""

    def prepare(self, raw: Any) -> torch.Tensor:
        """Decode and resize: ``uint8`` ``(3, S, S)``. Raises :class:`BadItem`."""
        import torch

        pixels = np.require(decode(raw, self.side, self.max_pixels), requirements=["C", "W"])
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        height, width = self._target(*pixels.shape[:2])
        return self._square(_resize(image, height, width, self.resample)).contiguous()

    @property
    def side(self) -> int:
        """Pixels of both sides that an image is decoded to at least."""
        return self.before_crop or self.size

    @property
    def spec(self) -> ImageSpec:
        """What an image encoder must be built for."""
        return ImageSpec(self.size)

    def batch(self, prepared: Sequence[torch.Tensor]) -> torch.Tensor:
        """Prepared images as one encoder input, ``float32`` ``(B, 3, S, S)``."""
        import torch

        return self.normalise(torch.stack(list(prepared)))

    def state(self) -> dict[str, Any]:
        """Everything as JSON data."""
        return self.model_dump(mode="json")

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ImageProcessor:
        """The inverse of :meth:`state`."""
        return cls(**state)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """``uint8`` ``(..., 3, S, S)`` to ``float32`` with the configured mean and standard deviation a channel."""
        import torch

        scale = torch.tensor([1 / (255 * s) for s in self.std], device=images.device).view(3, 1, 1)
        shift = torch.tensor([m / s for m, s in zip(self.mean, self.std, strict=True)], device=images.device)
        return images.to(torch.float32, copy=True).mul_(scale).sub_(shift.view(3, 1, 1))

    def _target(self, height: int, width: int) -> tuple[int, int]:
        side = self.size if self.before_crop is None or self.fit == "pad" else self.before_crop
        if self.fit == "squash":
            return side, side
        reference = min(height, width) if self.fit == "crop" else max(height, width)
        return max(1, height * side // reference), max(1, width * side // reference)

    def _square(self, image: torch.Tensor) -> torch.Tensor:
        """Crop or pad about the middle; an image that is square already passes through."""
        height, width = image.shape[-2:]
        if self.fit != "pad":
            top, left = (height - self.size) // 2, (width - self.size) // 2
            return image[:, top : top + self.size, left : left + self.size]
        if (height, width) == (self.size, self.size):
            return image
        square = image.new_full((3, self.size, self.size), 255)
        top, left = (self.size - height) // 2, (self.size - width) // 2
        square[:, top : top + height, left : left + width] = image
        return square


def _resize(image: torch.Tensor, height: int, width: int, mode: str) -> torch.Tensor:
    """Antialiased resizing on ``uint8``, within one level of Pillow's and several times as fast."""
    from torch.nn.functional import interpolate

    if tuple(image.shape[-2:]) == (height, width):
        return image
    resized = interpolate(image[None], size=(height, width), mode=mode, antialias=True, align_corners=False)
    return resized[0]

"""Pictures that strangers send: what they are is known before they are decoded, and they stay in memory only."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..preprocess import BadImage, decode
from ..stores.thumbnails import at_size
from .limits import Limits
from .problems import Refusal
from .recent import Recent

FORMATS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"RIFF": "WEBP"}
"""What is read, by its first bytes. Fewer decoders mean fewer ways in; a drawing that runs programs (SVG) is none."""
LARGEST = 1024
"""Longer side in pixels that is kept: more than any encoder reads."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture as the models read it: upright RGB ``uint8`` ``(H, W, 3)``, at most :data:`LARGEST` pixels a side."""

    name: str
    pixels: np.ndarray
    width: int
    height: int


def read(data: bytes, limits: Limits) -> Upload:
    """Decode what was sent. Raises :class:`Refusal`: 415 for what is no JPEG, PNG or WebP, 413 for too many pixels."""
    if not data:
        raise Refusal(422, "the request holds no picture; send its bytes as the body")
    kind = next((name for start, name in FORMATS.items() if data.startswith(start)), None)
    if kind is None:
        raise Refusal(415, f"send a JPEG, PNG or WebP picture{_guess(data)}")
    width, height = _claimed(data, kind)
    most = limits.jpeg_pixels if kind == "JPEG" else limits.pixels
    if width * height > most:
        raise Refusal(413, f"the picture has {width} x {height} pixels; at most {most:,} of a {kind} are decoded")
    try:
        pixels = decode(data, at_least=LARGEST // 2, max_pixels=most)
    except BadImage as error:
        raise Refusal(422, f"the picture cannot be read: {error.reason}") from error
    if (width > height) != (pixels.shape[1] > pixels.shape[0]):  # the file lies on its side
        width, height = height, width
    return Upload(hashlib.blake2b(data, digest_size=16).hexdigest(), _smaller(pixels), width, height)


def _claimed(data: bytes, kind: str) -> tuple[int, int]:
    """Width and height by the header, which is all that is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound follows
            with Image.open(io.BytesIO(data), formats=[kind]) as picture:
                return picture.size
    except Image.DecompressionBombError:
        raise Refusal(413, "the picture claims far more pixels than are decoded here") from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise Refusal(422, f"the file begins like a {kind} and is none") from error


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
    picture = Image.fromarray(pixels)
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.asarray(picture)


class Uploads:
    """The last pictures that were sent, by their hash."""

    def __init__(self, most: int) -> None:
        self._kept: Recent[str, Upload] = Recent(most)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, upload: Upload) -> None:
        """Remember one."""
        self._kept.put(upload.name, upload)

    def get(self, name: str) -> Upload:
        """Raises :class:`Refusal` (404) for one that is not remembered any more."""
        upload = self._kept.get(name)
        if upload is None:
            raise Refusal(404, "this picture is not remembered any more; send it again", "upload")
        return upload

    def small(self, name: str) -> bytes:
        """WebP of 256 pixels a side."""
        return at_size(self.get(name).pixels, 256)

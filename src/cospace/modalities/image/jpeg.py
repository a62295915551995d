"""JPEG files: what their segments say, and their pixels at a fraction of the size.

The segments are read here, and not by Pillow, so that an odd one costs neither the image nor time. What libjpeg then
says of the pixels decides: stray bytes are harmless, missing or impossible codes are damage.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import simplejpeg  # type: ignore[import-untyped,unused-ignore]

from ...types import BadItem
from .exif import orientation

FRACTIONS = (8, 4, 2)
"""Whole fractions at which libjpeg decodes fast; the others are slower than decoding all of it."""

_SOS, _EOI = 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_READ = {0xC0, 0xC1, 0xC2}
_UNREAD = {0xC3: "lossless", 0xF7: "JPEG-LS", **dict.fromkeys(range(0xC5, 0xC8), "hierarchical")}
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""
_PROFILE = b"ICC_PROFILE\0"
_MOST_PROFILE = 8 << 20
_JFIF = b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_DAMAGE = ("premature end", "huffman", "instead of rst", "bad arithmetic")
"""In libjpeg's warnings: pixels that are not there. Its other warnings are of what surrounds them."""


@dataclass(slots=True)
class Header:
    """What stands before the pixels."""

    height: int = 0
    width: int = 0
    samples: tuple[int, ...] = ()
    """Samples of each component in the smallest unit of the picture, e.g. ``(4, 1, 1)`` for 4:2:0."""
    precision: int = 8
    frame: int = 0
    """The marker of the frame, which says how it is coded."""
    several_scans: bool = False
    orientation: int = 1
    profile: bytes | None = None
    adobe: int | None = None
    """Adobe's colour transform, where its segment is there."""
    jfif: bool = False
    kept: list[tuple[int, int]] = field(default_factory=list)
    """Where the segments lie that decoding needs."""
    scan: int = 0
    """Where the first scan begins."""

    @property
    def coefficients(self) -> int:
        """Bytes that libjpeg keeps of an image that comes in several scans: two for each sample."""
        if not self.several_scans:
            return 0
        most = max(self.samples)
        return 2 * self.height * self.width * sum(self.samples) // most


def read_header(data: bytes) -> Header:
    """Everything before the first scan. Raises :class:`BadItem` where there is none, or in a coding not read here."""
    header, profile, place = Header(), dict[int, bytes](), 2
    while True:
        place = data.find(b"\xff", place)
        if place < 0 or place + 1 >= len(data):
            raise BadItem("truncated", "the file ends before the image does")
        marker = data[place + 1]
        if marker in (0x00, 0xFF) or marker in _ALONE:
            place += 1 if marker == 0xFF else 2
            continue
        if marker == _EOI:
            raise BadItem("undecodable", "the JPEG ends without an image")
        end = place + 2 + max(2, int.from_bytes(data[place + 2 : place + 4], "big"))
        _take(header, profile, marker, data[place + 4 : end])
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE or marker == _SOS):
            header.kept.append((place, end))
        if marker == _SOS:
            header.scan, components = place, data[place + 4] if place + 4 < len(data) else 0
            header.several_scans = header.frame == 0xC2 or components < len(header.samples)
            break
        place = end
    header.profile = _joined(profile)
    if not header.samples:
        raise BadItem("undecodable", "the JPEG has no frame before its first scan")
    return header


def _take(header: Header, profile: dict[int, bytes], marker: int, segment: bytes) -> None:
    """Learn from one segment; one that is too short says nothing."""
    if marker in _UNREAD:
        raise BadItem("unsupported", f"this is a {_UNREAD[marker]} JPEG, which is not read; save it as JPEG or PNG")
    if marker in _FRAMES and not header.samples:
        _take_frame(header, marker, segment)
    elif marker == 0xE0 and segment.startswith(b"JFIF\0"):
        header.jfif = True
    elif marker == 0xE1 and segment.startswith(b"Exif\0\0") and header.orientation == 1:
        header.orientation = orientation(segment)
    elif marker == 0xE2 and segment.startswith(_PROFILE) and len(segment) > 14:
        profile.setdefault(segment[12] | segment[13] << 8, segment[14:])
    elif marker == 0xEE and segment.startswith(b"Adobe") and len(segment) >= 12:
        header.adobe = segment[11]


def _take_frame(header: Header, marker: int, segment: bytes) -> None:
    if len(segment) < 6 or len(segment) < 6 + 3 * segment[5]:
        raise BadItem("undecodable", "the header of the JPEG is damaged")
    sizes = segment[7 : 6 + 3 * segment[5] : 3]
    header.precision, header.frame = segment[0], marker
    header.height, header.width = (int.from_bytes(segment[at : at + 2], "big") for at in (1, 3))
    header.samples = tuple(max(1, size >> 4) * max(1, size & 15) for size in sizes)
    if header.precision != 8:
        raise BadItem("unsupported", f"this JPEG has {header.precision} bits a sample; save it with 8")
    if not (header.height and header.width and header.samples):
        raise BadItem("undecodable", "the header of the JPEG announces no pixels")


def _joined(parts: dict[int, bytes]) -> bytes | None:
    """A colour profile that came in numbered parts, if they are all there."""
    if not parts:
        return None
    count = next(iter(parts)) >> 8
    wanted = [number | count << 8 for number in range(1, count + 1)]
    if not count or not all(number in parts for number in wanted):
        return None
    profile = b"".join(parts[number] for number in wanted)
    return profile if len(profile) <= _MOST_PROFILE else None


def fraction(header: Header, at_least: int | None) -> int:
    """The largest of :data:`FRACTIONS` that leaves both sides ``at_least`` pixels; else 1."""
    shorter = min(header.height, header.width)
    return 1 if at_least is None else next((part for part in FRACTIONS if shorter >= part * at_least), 1)


def cleaned(data: bytes, header: Header) -> bytes:
    """The same image with the segments alone that decoding needs."""
    parts = [b"\xff\xd8", _JFIF if header.jfif else b""]
    if header.adobe is not None:
        transform = header.adobe if header.adobe <= 2 else len(header.samples) - 2
        parts.append(b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0" + bytes([transform]))
    parts += [data[start:end] for start, end in header.kept]
    return b"".join([*parts, data[header.scan :]])


def pixels(data: bytes, header: Header, part: int) -> np.ndarray:
    """``uint8`` ``(H, W, 3)`` at a fraction of the size, rounded up, as it is stored: not upright.

    Raises :class:`BadItem` for damage.
    """
    sides = {"min_height": -(-header.height // part), "min_width": -(-header.width // part)}
    try:
        return _decoded(data, sides, strict=True)
    except ValueError as error:
        _refuse_damage(error)
    data = cleaned(data, header)
    try:
        return _decoded(data, sides, strict=True)
    except ValueError as error:
        _refuse_damage(error)
    if data.find(b"\xff\xd9", len(data) // 2) < 0:  # libjpeg names its first warning alone
        raise BadItem("truncated", "the file ends before the image does")
    try:
        return _decoded(data, sides, strict=False)
    except ValueError as error:
        raise BadItem("undecodable", str(error)) from error


def _decoded(data: bytes, sides: dict[str, int], strict: bool) -> np.ndarray:
    array: np.ndarray = simplejpeg.decode_jpeg(data, "RGB", strict=strict, **sides)
    return array


def _refuse_damage(error: ValueError) -> None:
    reason = str(error).lower()
    if any(words in reason for words in _DAMAGE):
        kind = "truncated" if "premature" in reason else "undecodable"
        raise BadItem(kind, f"the pixel data is damaged: {error}") from error  # type: ignore[arg-type]

"""PNG and GIF files without what is no pixel: read in one pass, in time that grows with their bytes alone.

Browsers ignore a damaged or odd chunk that the pixels do not need, and refuse one that they do. So does this: what is
handed to the decoder are the header, the palette and the compressed pixels, after their checksums were compared.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ...types import BadItem
from .calibration import calibrated
from .exif import orientation

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
"""Bits of a sample, by colour type: grey, RGB, palette, grey and alpha, RGB and alpha."""
_MOST_PROFILE = 8 << 20
"""Bytes that a colour profile may unpack to; a printer's has up to 3 million."""
_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_WANTED = _CRITICAL | {b"tRNS", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"eXIf"}
_CUT = "the file ends before the image does"


class Stripped(NamedTuple):
    """An image file with nothing but pixels, and what its other parts said."""

    data: bytes
    orientation: int = 1
    profile: bytes | None = None
    key: tuple[int, ...] | None = None
    """The one colour that is transparent, as it is stored; 16-bit colours by their upper byte."""


def stripped_png(data: bytes) -> Stripped:
    """Raises :class:`BadItem` for damage of what the pixels need."""
    found, order = dict[bytes, memoryview](), list[bytes]()
    pixels = list[memoryview]()
    for kind, body, sound in _chunks(data):
        if not sound and kind in _CRITICAL and kind != b"IEND":
            raise BadItem("undecodable", f"the pixel data is damaged: the checksum of {kind.decode()} is wrong")
        if kind == b"IDAT" and (not pixels or order[-1] == b"IDAT"):
            pixels.append(body)
        elif kind != b"IDAT" and sound and (kind != b"tRNS" or not pixels):
            found.setdefault(kind, body)
        order.append(kind)
    if order[:1] != [b"IHDR"] or len(found[b"IHDR"]) != 13 or not pixels:
        raise BadItem("undecodable", "the header of the PNG is damaged")
    width, height, depth, colour = struct.unpack_from(">IIBB", found[b"IHDR"])
    if not (width and height) or depth not in _DEPTHS.get(colour, ()):
        raise BadItem("undecodable", f"the PNG announces {width} x {height} pixels of colour type {colour}")
    parts = [_SIGNATURE, _chunk(b"IHDR", found[b"IHDR"])]
    if colour == 3:
        if b"PLTE" not in found:
            raise BadItem("undecodable", "the PNG has no palette")
        parts.append(_chunk(b"PLTE", found[b"PLTE"]))
        if b"tRNS" in found and 0 < len(found[b"tRNS"]) <= len(found[b"PLTE"]) // 3:
            parts.append(_chunk(b"tRNS", found[b"tRNS"]))
    parts += [_chunk(b"IDAT", b"".join(pixels)), _chunk(b"IEND", b"")]
    profile = None if b"sRGB" in found else _profile(found.get(b"iCCP")) or _calibration(found, grey=colour in (0, 4))
    turned = orientation(bytes(found[b"eXIf"])) if b"eXIf" in found else 1
    return Stripped(b"".join(parts), turned, profile, _key(colour, depth, found.get(b"tRNS")))


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, bool]]:
    """The chunks that are wanted, up to the last: name, content, whether the checksum is right."""
    place, view, size = 8, memoryview(data), len(data)
    header = struct.Struct(">I4s")
    while place + 8 <= size:
        length, kind = header.unpack_from(data, place)
        end = place + 12 + length
        if kind == b"IEND":
            yield kind, view[:0], True
            return
        if end > size:
            break
        if kind in _WANTED:
            (stored,) = struct.unpack_from(">I", data, end - 4)
            yield kind, view[place + 8 : end - 4], zlib.crc32(view[place + 4 : end - 4]) == stored
        elif not kind[0] & 0x20:
            if kind == b"CgBI":
                raise BadItem("unsupported", "this is Apple's own kind of PNG for its devices; save it as PNG")
            raise BadItem("undecodable", f"the PNG has a part that nobody knows, {kind!r}, and says it is needed")
        place = end
    raise BadItem("truncated", _CUT)


def _chunk(kind: bytes, body: bytes | memoryview) -> bytes:
    return b"".join([struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))])


def _profile(body: memoryview | None) -> bytes | None:
    """The colour profile, if it unpacks to a sensible size."""
    if body is None:
        return None
    _, _, packed = bytes(body).partition(b"\0")
    unpack = zlib.decompressobj()
    try:
        profile = unpack.decompress(packed[1:], _MOST_PROFILE)
    except zlib.error:
        return None
    return profile if unpack.eof else None


def _calibration(found: Mapping[bytes, memoryview], grey: bool) -> bytes | None:
    """What the chunks of a PNG say of its colours by numbers, as a profile."""
    gamma = xy = None
    if len(found.get(b"gAMA", b"")) == 4 and any(found[b"gAMA"]):
        gamma = 100_000 / int.from_bytes(found[b"gAMA"], "big")
    if len(found.get(b"cHRM", b"")) == 32:
        xy = tuple(value / 100_000 for value in struct.unpack(">8I", found[b"cHRM"]))
    return calibrated(gamma, xy, grey)


def _key(colour: int, depth: int, body: memoryview | None) -> tuple[int, ...] | None:
    """The transparent colour of an image without alpha, as it appears once decoded."""
    if body is None or (colour, len(body)) not in ((0, 2), (2, 6)):
        return None
    values = struct.unpack(f">{len(body) // 2}H", body)
    if colour == 2:
        return tuple(value >> 8 if depth == 16 else value & 255 for value in values)
    value = values[0] & ((1 << depth) - 1)
    return (value if depth == 16 else value * 255 // ((1 << depth) - 1),)


def stripped_gif(data: bytes) -> bytes:
    """The first frame alone: comments may be millions, and Pillow joins them one by one."""
    place = 13 + _table(data[10:11])
    start, control = data[:place], b""
    while place < len(data):
        kind = data[place]
        if kind == 0x2C:
            end = _blocks(data, place + 11 + _table(data[place + 9 : place + 10]))
            return b"".join([start, control, data[place:end], b";"])
        if kind == 0x3B:
            raise BadItem("undecodable", "the GIF ends without an image")
        end = _blocks(data, place + 2) if kind == 0x21 else place + 1
        if data[place : place + 2] == b"\x21\xf9":
            control = data[place:end]
        place = end
    raise BadItem("truncated", _CUT)


def _table(flags: bytes) -> int:
    """Bytes of the colour table that these flags announce."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _blocks(data: bytes, place: int) -> int:
    """Where a chain of blocks ends."""
    while place < len(data):
        length = data[place]
        place += 1 + length
        if not length:
            return place
    raise BadItem("truncated", _CUT)

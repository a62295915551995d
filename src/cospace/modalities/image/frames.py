"""How many frames or pages a file has, without decoding any: only the first is used."""

from __future__ import annotations

import struct
from typing import Any

from .formats import format_of

_MOST = 1 << 16
"""Frames that are counted."""


def frames(raw: Any) -> int:
    """Frames of encoded bytes or of an image that Pillow opened; 1 where there are no more, or none can be counted."""
    if not isinstance(raw, bytes):
        return int(getattr(raw, "n_frames", 1))
    counts = {"GIF": _of_gif, "PNG": _of_png, "WEBP": _of_webp, "TIFF": _of_tiff}
    kind = format_of(raw[:256])
    if kind == "AVIF" and raw[8:12] == b"avis":
        return 2
    try:
        return max(1, counts[kind](raw)) if kind in counts else 1
    except (IndexError, struct.error):  # what is damaged behind the first frame does not matter
        return 1


def _of_gif(data: bytes) -> int:
    place, count = 13 + _table(data[10]), 0
    while place < len(data) and data[place] != 0x3B and count < _MOST:
        if data[place] == 0x2C:
            count += 1
            place += 11 + _table(data[place + 9])
        elif data[place] == 0x21:
            place += 2
        else:
            place += 1
            continue
        while data[place]:  # the lengths of blocks, up to an empty one
            place += 1 + data[place]
        place += 1
    return count


def _table(flags: int) -> int:
    """Bytes of the colour table that these flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _of_png(data: bytes) -> int:
    """What the chunk of an animation says, which comes before the pixels."""
    place = 8
    while data[place + 4 : place + 8] != b"IDAT":
        (length,) = struct.unpack_from(">I", data, place)
        if data[place + 4 : place + 8] == b"acTL":
            return int(struct.unpack_from(">I", data, place + 8)[0])
        place += 12 + length
    return 1


def _of_webp(data: bytes) -> int:
    place, count = 12, 0
    while place + 8 <= len(data) and count < _MOST:
        (length,) = struct.unpack_from("<I", data, place + 4)
        count += data[place : place + 4] == b"ANMF"
        place += 8 + length + length % 2
    return count


def _of_tiff(data: bytes) -> int:
    """Pages, by the chain of their directories; those of more than 4 GB are not followed."""
    order = "<" if data[:2] == b"II" else ">"
    if struct.unpack_from(f"{order}H", data, 2)[0] != 42:
        return 1
    seen: set[int] = set()
    (place,) = struct.unpack_from(f"{order}I", data, 4)
    while place and place not in seen and len(seen) < _MOST:
        seen.add(place)
        (entries,) = struct.unpack_from(f"{order}H", data, place)
        (place,) = struct.unpack_from(f"{order}I", data, place + 2 + 12 * entries)
    return len(seen)

"""The orientation in EXIF data, read without trusting the rest of it."""

from __future__ import annotations

import struct

_ORIENTATION = 0x0112


def orientation(exif: bytes) -> int:
    """1 to 8 as EXIF numbers them; 1 where nothing, or nothing sensible, is said."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (first,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, first)
        for place in range(first + 2, first + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, place)
            if tag == _ORIENTATION:
                (value,) = struct.unpack_from(f"{order}{'I' if kind == 4 else 'H'}", exif, place + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1

"""BMP files, as browsers read them: any masks, any header, palettes that are too long or too short, runs with gaps.

Pillow refuses masks that it has no name for, and takes broken runs for pixels.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ...types import BadItem

_RGB, _RLE8, _RLE4, _FIELDS, _JPEG, _PNG, _ALPHA_FIELDS = range(7)
_DEPTHS = {_RGB: (1, 2, 4, 8, 16, 24, 32), _RLE8: (8,), _RLE4: (4,), _FIELDS: (16, 32), _ALPHA_FIELDS: (16, 32)}
_USUAL_MASKS = {16: (0x7C00, 0x03E0, 0x001F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_OS2 = (16, 64)
"""Sizes of headers of OS/2, whose compressions 3 and 4 are others."""
_EMBEDDED = b"DEBM"
_PIXELS = 1 << 18
"""Pixels that are unpacked at a time."""
_CUT = "the file ends before the image does"


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the pixels."""

    width: int
    height: int
    top_down: bool
    bits: int
    compression: int
    masks: tuple[int, ...]
    """Red, green, blue, alpha."""
    palette_N3: np.ndarray
    start: int
    """Where the pixels begin."""
    profile: bytes | None

    @property
    def cost(self) -> int:
        """Bytes that decoding takes: the file, the pixels here and in Pillow, and of runs which of them were set."""
        pixel = 8 + self.bits // 8 if self.bits > 8 else 4
        return pixel * self.width * self.height


def read_header(data: bytes) -> Header:
    """Raises :class:`BadItem` where the header announces what cannot be, or what is not read."""
    (start,), (size,) = struct.unpack_from("<I", data, 10), struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = used = 0
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
        compression = struct.unpack_from("<I", data, 30)[0] if size > 16 else 0
        used = struct.unpack_from("<I", data, 46)[0] if size > 16 else 0
    if compression in (_JPEG, _PNG) or (size in _OS2 and compression > _RLE4):
        inside = "a JPEG" if compression == _JPEG else "a PNG" if compression == _PNG else "a fax"
        raise BadItem(
            "unsupported", f"this BMP holds its pixels as {inside}, which is not read; save it as JPEG or PNG"
        )
    if width < 1 or not height or bits not in _DEPTHS.get(compression, ()):
        stated = f"{width} x {height} pixels of {bits} bits in compression {compression}"
        raise BadItem("undecodable", f"the header of the BMP announces {stated}, which cannot be")
    masks, behind = _masks(data, size, bits, compression)
    wide = 3 if size == 12 else 4
    colours = min(used or 256, 1 << bits, (start - behind) // wide) if bits <= 8 else 0
    if bits <= 8 and colours < 1:
        raise BadItem("undecodable", "the header of the BMP is damaged: its pixels begin where its palette belongs")
    palette = _palette(data, behind, colours, wide)
    header = Header(width, abs(height), height < 0, bits, compression, masks, palette, start, _profile(data, size))
    if compression not in (_RLE8, _RLE4) and len(data) - start < _row(header) * (abs(height) - 1) + -(
        -width * bits // 8
    ):
        raise BadItem("truncated", _CUT)
    return header


def _row(header: Header) -> int:
    """Bytes of a row that is not packed: a multiple of four."""
    return (header.width * header.bits + 31) // 32 * 4


def _masks(data: bytes, size: int, bits: int, compression: int) -> tuple[tuple[int, ...], int]:
    """The masks of red, green, blue and alpha, and where the palette begins."""
    behind = 14 + size
    if compression not in (_FIELDS, _ALPHA_FIELDS):
        return _USUAL_MASKS.get(bits, ()), behind
    count = 4 if size >= 56 or compression == _ALPHA_FIELDS else 3
    masks = struct.unpack_from(f"<{count}I", data, 54)
    return (*masks, 0)[:4], behind if size >= 52 else behind + 4 * count


def _palette(data: bytes, place: int, count: int, width: int) -> np.ndarray:
    """``uint8 (count, 3)``: red, green, blue; colours that the file does not have are black."""
    stored = np.frombuffer(data[place : place + count * width].ljust(count * width, b"\0"), np.uint8)
    return np.ascontiguousarray(stored.reshape(count, width)[:, 2::-1])


def _profile(data: bytes, size: int) -> bytes | None:
    """The colour profile that a header of version 5 has behind the pixels."""
    if size < 124 or data[70:74] != _EMBEDDED:
        return None
    place, length = struct.unpack_from("<II", data, 126)
    return data[14 + place : 14 + place + length] or None


class Bitmap(Image.Image):
    """A BMP that is decoded when it is loaded, as Pillow's images are."""

    format = "BMP"

    def __init__(self, data: bytes, header: Header) -> None:
        super().__init__()
        self._data: bytes | None = data
        self._header, self._size, self._mode = header, (header.width, header.height), "RGB"

    def load(self) -> Any:
        if self._data is not None:
            data, self._data = self._data, None
            loaded = _decoded(data, self._header)
            self.im, self._mode, self._size, self.palette = loaded.im, loaded.mode, loaded.size, loaded.palette
        return super().load()


def _decoded(data: bytes, header: Header) -> Image.Image:
    if header.compression in (_RLE8, _RLE4):
        indices_HW, unset_HW = _runs(data, header)
        if unset_HW.any():
            colours_HW3 = _colours(indices_HW, header.palette_N3)
            return Image.fromarray(np.dstack([colours_HW3, np.where(unset_HW, 0, 255).astype(np.uint8)]))
        return _indexed(indices_HW, header)
    size = _row(header) * header.height
    stored: bytes | memoryview = memoryview(data)[header.start : header.start + size]
    if len(stored) < size:  # a last row may lack what fills it up
        stored = bytes(stored).ljust(size, b"\0")
    rows_HB = np.frombuffer(stored, np.uint8).reshape(header.height, -1)
    rows_HB = rows_HB if header.top_down else rows_HB[::-1]
    if header.bits <= 8:
        return _indexed(_unpacked(rows_HB, header), header)
    if header.bits == 24:
        return Image.fromarray(rows_HB[:, : 3 * header.width].reshape(header.height, -1, 3)[:, :, ::-1].copy())
    return Image.fromarray(_from_masks(rows_HB, header))


def _unpacked(rows_HB: np.ndarray, header: Header) -> np.ndarray:
    """Indices ``(H, W)`` of rows that hold 8, 4, 2 or 1 to a byte."""
    if header.bits == 8:
        return rows_HB[:, : header.width]
    shifts = np.arange(8 - header.bits, -1, -header.bits, dtype=np.uint8)
    made_HW: np.ndarray = np.empty((header.height, header.width), np.uint8)
    step = max(1, _PIXELS // header.width)
    for top in range(0, header.height, step):
        parts = rows_HB[top : top + step, :, None] >> shifts & ((1 << header.bits) - 1)
        made_HW[top : top + step] = parts.reshape(len(parts), -1)[:, : header.width]
    return made_HW


def _from_masks(rows_HB: np.ndarray, header: Header) -> np.ndarray:
    """``uint8 (H, W, 3)``, or with alpha 4; an alpha that is nought everywhere was never meant."""
    kind = np.dtype(f"<u{header.bits // 8}")
    made = np.empty((header.height, header.width, 4 if header.masks[3] else 3), np.uint8)
    step = max(1, _PIXELS // header.width)
    for top in range(0, header.height, step):
        values = np.ascontiguousarray(rows_HB[top : top + step]).view(kind)[:, : header.width].astype(np.uint64)
        for channel in range(made.shape[2]):
            made[top : top + step, :, channel] = _channel(values, header.masks[channel])
    return made if made.shape[2] == 3 or made[:, :, 3].any() else np.ascontiguousarray(made[:, :, :3])


def _channel(values: np.ndarray, mask: int) -> np.ndarray:
    if not mask:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    levels = ((values & np.uint64(mask)) >> np.uint64(shift)) * np.uint64(255) // np.uint64(most)
    return levels.astype(np.uint8)


def _colours(indices_HW: np.ndarray, palette_N3: np.ndarray) -> np.ndarray:
    whole = np.zeros((256, 3), np.uint8)
    whole[: len(palette_N3)] = palette_N3
    colours_HW3: np.ndarray = whole[indices_HW]
    return colours_HW3


def _indexed(indices_HW: np.ndarray, header: Header) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(indices_HW))
    image.putpalette(_colours(np.arange(256, dtype=np.uint8), header.palette_N3).tobytes())
    return image


def _runs(data: bytes, header: Header) -> tuple[np.ndarray, np.ndarray]:
    """Indices of run-length encoded pixels ``(H, W)``, and which of them no run has set: these are transparent."""
    width, height = header.width, header.height
    made, unset = bytearray(width * height), bytearray(b"\1") * (width * height)
    place, x, y = header.start, 0, 0
    while True:
        count, value = _two(data, place)
        place += 2
        if not count and value == _END:
            break
        if not count and value == _END_OF_ROW:
            x, y = 0, y + 1
            if y >= height and place >= len(data):  # a last row that nothing follows
                break
        elif not count and value == _MOVE:
            right, up = _two(data, place)
            place, x, y = place + 2, x + right, y + up
        else:
            run, place = _run(data, place, (count, value), header.compression == _RLE4)
            if y >= height:
                raise BadItem("undecodable", "the pixel data is damaged: it goes on behind the last row")
            start, run = y * width + x, run[: max(0, width - x)]
            made[start : start + len(run)], unset[start : start + len(run)] = run, bytes(len(run))
            x += len(run)
    indices_HW, unset_HW = (np.frombuffer(buffer, np.uint8).reshape(height, width) for buffer in (made, unset))
    return (indices_HW, unset_HW) if header.top_down else (indices_HW[::-1], unset_HW[::-1])


_END_OF_ROW, _END, _MOVE = range(3)


def _two(data: bytes, place: int) -> tuple[int, int]:
    if place + 2 > len(data):
        raise BadItem("truncated", _CUT)
    return data[place], data[place + 1]


def _run(data: bytes, place: int, code: tuple[int, int], nibbles: bool) -> tuple[bytes, int]:
    """The indices of a run, repeated or written out, and where the next one begins."""
    count, value = code
    if count:
        return (bytes((value >> 4, value & 15)) * -(-count // 2))[:count] if nibbles else bytes((value,)) * count, place
    size = -(-value // 2) if nibbles else value
    run = data[place : place + size]
    if len(run) < size:
        raise BadItem("truncated", _CUT)
    if nibbles:
        run = bytes(part for byte in run for part in (byte >> 4, byte & 15))
    return run[:value], place + size + size % 2

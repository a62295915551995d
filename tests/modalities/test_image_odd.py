"""Pictures as odd programs write them, with what Chromium shows of each (its pixels were compared in November 2026)."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from cospace.modalities.image.calibration import SRGB, calibrated
from cospace.modalities.image.decoding import decode
from cospace.types import BadItem

HEIGHT, WIDTH = 6, 9
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH]
RGB = np.stack([255 * X // (WIDTH - 1), 255 * Y // (HEIGHT - 1), 40 + 20 * X], axis=2).astype(np.uint8)
PALETTE = np.array([[0, 0, 0], [250, 10, 20], [30, 240, 50], [60, 70, 230]], np.uint8)
INDICES = ((X + Y) % 4).astype(np.uint8)


def encoded(image: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def refused(data: bytes) -> BadItem:
    with pytest.raises(BadItem) as caught:
        decode(data)
    assert len(caught.value.reason.split()) > 3
    return caught.value


# ------------------------------------------------------------------------------------------------ BMP


def bmp(bits: int, rows: list[bytes], compression: int = 0, **parts: Any) -> bytes:
    """A BMP from its rows, the lowest first; ``masks`` stand in or behind the header, ``used`` counts the palette."""
    size, masks, palette = parts.get("size", 40), parts.get("masks", ()), parts.get("palette", b"")
    height = parts.get("height", HEIGHT)
    if size == 12:
        header = struct.pack("<IHHHH", 12, WIDTH, height, 1, bits)
    else:
        used = parts.get("used", len(palette) // 4)
        header = struct.pack("<IiiHHIIiiII", 40, WIDTH, height, 1, bits, compression, 0, 0, 0, used, 0)
        header = struct.pack("<I", size) + header[4 : min(size, 40)]
        fields = struct.pack(f"<{len(masks)}I", *masks)
        header = (header + fields).ljust(size, b"\0") if size > 40 else header + fields
    body = b"".join(row + bytes(-len(row) % 4) for row in rows) if compression in (0, 3, 6) else b"".join(rows)
    start = 14 + len(header) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start) + header + palette + body


def four_bytes(palette: np.ndarray) -> bytes:
    return np.insert(palette[:, ::-1], 3, 0, axis=1).tobytes()


def packed(indices: np.ndarray, bits: int) -> list[bytes]:
    """Rows of indices, the lowest first."""
    spread = np.unpackbits(indices[:, :, None], axis=2)[:, :, 8 - bits :].reshape(len(indices), -1)
    return [np.packbits(row).tobytes() for row in spread[::-1]]


@pytest.mark.parametrize("size", [12, 16, 40, 52, 56, 64, 108, 124])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_indexed_bmps_of_every_header(size: int, bits: int) -> None:
    palette = np.ascontiguousarray(PALETTE[:, ::-1]).tobytes() if size == 12 else four_bytes(PALETTE)
    made = decode(bmp(bits, packed(INDICES, bits), size=size, palette=palette))
    assert np.array_equal(made, PALETTE[INDICES])


def test_palettes_that_are_too_long_too_short_or_miscounted() -> None:
    rows, long = packed(INDICES, 8), np.vstack([PALETTE, np.full((296, 3), 9, np.uint8)])
    assert np.array_equal(decode(bmp(8, rows, palette=four_bytes(long))), PALETTE[INDICES])
    assert np.array_equal(decode(bmp(8, rows, palette=four_bytes(PALETTE), used=305_402_420)), PALETTE[INDICES])
    short = decode(bmp(8, rows, palette=four_bytes(PALETTE[:3])))
    assert np.array_equal(short, np.where(INDICES[:, :, None] == 3, 0, PALETTE[INDICES]))
    assert "palette" in refused(bmp(8, rows, palette=b"")).reason


MASKS = {
    "5-6-5": (16, (0xF800, 0x07E0, 0x001F)),
    "2-3-1": (16, (0x00C0, 0x0038, 0x0004)),
    "4-4-4-4": (16, (0x0F00, 0x00F0, 0x000F, 0xF000)),
    "BGRA": (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    "ABGR": (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
    "11-11-10": (32, (0xFFE00000, 0x001FFC00, 0x000003FF)),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("opaque", [255, 0])
def test_any_masks_and_an_alpha_that_is_nought_everywhere_was_never_meant(name: str, opaque: int) -> None:
    bits, masks = MASKS[name]
    values = np.zeros((HEIGHT, WIDTH), np.uint64)
    expected = np.zeros_like(RGB)
    for place, mask in enumerate(masks):
        channel = RGB[:, :, place] if place < 3 else np.full((HEIGHT, WIDTH), opaque)
        shift = (mask & -mask).bit_length() - 1
        most = mask >> shift
        level = np.round(channel * (most / 255)).astype(np.uint64)
        values |= level << np.uint64(shift)
        if place < 3:
            expected[:, :, place] = np.round(level * (255 / most))
    rows = [row.astype(f"<u{bits // 8}").tobytes() for row in values[::-1]]
    size = 56 if len(masks) == 4 else 40
    made = decode(bmp(bits, rows, 3, size=size, masks=masks))
    assert np.abs(made.astype(int) - expected).max() <= 1
    behind = decode(bmp(bits, rows, 6 if len(masks) == 4 else 3, masks=masks))
    assert np.array_equal(behind, made)


def test_a_transparent_bmp_is_laid_on_white() -> None:
    rgba = np.dstack([RGB, (Y * 51).astype(np.uint8)])
    rows = [row[:, [2, 1, 0, 3]].tobytes() for row in rgba[::-1]]
    made = decode(bmp(32, rows, 3, size=56, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)))
    alpha = rgba[:, :, 3:] / 255
    assert np.abs(made - (RGB * alpha + 255 * (1 - alpha))).max() <= 1


def test_runs_with_gaps_are_clear_where_nothing_was_set_and_broken_ones_are_damage() -> None:
    palette = four_bytes(PALETTE)
    row = b"\x09\x01\0\0"
    whole = [row] * HEIGHT + [b"\0\1"]
    assert (decode(bmp(8, whole, 1, palette=palette)) == PALETTE[1]).all()
    literal = b"\0\x09" + bytes(range(4)) * 2 + b"\1\0" + b"\0\0"  # an odd number is filled up to an even one
    made = decode(bmp(8, [literal, *whole[1:]], 1, palette=palette))
    assert np.array_equal(made[-1], PALETTE[[0, 1, 2, 3, 0, 1, 2, 3, 1]])
    gaps = decode(bmp(8, [b"\0\2\2\1", b"\x03\x02\0\1"], 1, palette=palette))
    assert np.array_equal(gaps[-2, 2:5], PALETTE[[2, 2, 2]])
    assert (np.delete(gaps.reshape(-1, 3), range((HEIGHT - 2) * WIDTH + 2, (HEIGHT - 2) * WIDTH + 5), 0) == 255).all()
    nibbles = decode(bmp(4, [b"\x09\x12\0\0"] * HEIGHT + [b"\0\1"], 2, palette=palette))
    assert np.array_equal(nibbles[0], PALETTE[[1, 2, 1, 2, 1, 2, 1, 2, 1]])
    assert refused(bmp(8, [row] * 3, 1, palette=palette)).kind == "truncated"
    assert "last row" in refused(bmp(8, [row] * (HEIGHT + 1), 1, palette=palette)).reason


def test_bmps_that_are_cut_impossible_or_hold_another_format_are_named() -> None:
    rows = [row[:, ::-1].tobytes() for row in RGB[::-1]]
    whole = bmp(24, rows)
    assert np.array_equal(decode(whole), RGB)
    assert np.array_equal(decode(whole[:-1]), RGB), "what fills up the last row may be missing"
    assert np.array_equal(decode(bmp(24, rows[::-1], height=-HEIGHT)), RGB)
    assert refused(whole[:-9]).kind == "truncated"
    assert "JPEG" in refused(bmp(0, rows, 4)).reason
    assert "30000 bits" in refused(bmp(30_000, rows)).reason
    huge = bytearray(whole)
    huge[18:26] = struct.pack("<ii", 3_000_000, 2_000_000)
    assert refused(bytes(huge)).kind == "truncated", "the file is too short for what it announces"
    huge[18:22] = struct.pack("<i", -127)
    assert "cannot be" in refused(bytes(huge)).reason
    assert refused(whole[:30]).kind in ("undecodable", "truncated")


# ------------------------------------------------------------------------------------------------ PNG


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(image: np.ndarray, *chunks: bytes) -> bytes:
    data = encoded(image, "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def gamma(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def primaries(*values: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values)))


def srgb_of(light: np.ndarray) -> np.ndarray:
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("exponent", [1.0, 1.8, 2.2, 2.8])
def test_a_gamma_is_undone(exponent: float, grey: bool) -> None:
    pixels = RGB[:, :, 0] if grey else RGB
    made = decode(with_chunks(pixels, gamma(1 / exponent)))
    expected = srgb_of((pixels / 255) ** exponent)
    assert np.abs(made - (np.dstack([expected] * 3) if grey else expected)).max() < 2


def test_other_primaries_are_converted_and_srgb_s_own_change_nothing() -> None:
    exchanged = SRGB[:2] + SRGB[4:6] + SRGB[2:4] + SRGB[6:]  # red and green
    made = decode(with_chunks(RGB, primaries(*exchanged)))
    assert np.abs(made.astype(int) - RGB[:, :, [1, 0, 2]]).max() <= 2
    assert np.array_equal(decode(with_chunks(RGB, primaries(*SRGB))), RGB)
    stated = with_chunks(RGB, chunk(b"sRGB", b"\0"), gamma(1), primaries(*exchanged))
    assert np.array_equal(decode(stated), RGB), "sRGB is said before"
    assert np.array_equal(decode(with_chunks(RGB, gamma(1)), to_rgb="convert"), RGB)


@pytest.mark.parametrize(
    "chunks",
    [
        (chunk(b"gAMA", bytes(4)),),
        (chunk(b"gAMA", b"\xff\xff\xff\xff"),),
        (chunk(b"gAMA", b"\0\1"),),
        (primaries(*[0] * 8),),
        (primaries(0.3, 0.3, *[0.4, 0.4] * 3),),
        (primaries(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 9, 9),),
    ],
)
def test_numbers_that_make_no_sense_change_nothing(chunks: tuple[bytes, ...]) -> None:
    assert np.array_equal(decode(with_chunks(RGB, *chunks)), RGB)


def test_the_profiles_that_are_made_are_valid() -> None:
    for grey in (False, True):
        made = calibrated(1.8, SRGB, grey)
        assert made is not None
        profile = ImageCms.ImageCmsProfile(io.BytesIO(made)).profile
        assert profile.xcolor_space.strip() == ("GRAY" if grey else "RGB")
        assert len(made) == int.from_bytes(made[:4], "big")
    assert calibrated(None, None, False) is None


def test_the_still_picture_of_an_apng_and_the_first_frames_of_others() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for kind in ("PNG", "GIF", "WEBP", "TIFF", "MPO"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert np.abs(decode(data).astype(int) - [255, 0, 0]).max() <= 2, kind
    still = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)
    assert (decode(still) == [255, 0, 0]).all()


# ------------------------------------------------------------------------------------------------ TIFF and the rest


def test_lab_and_floating_point_tiffs() -> None:
    grey = Image.frombytes("LAB", (2, 1), bytes((0, 0, 0, 255, 0, 0)))
    assert np.abs(decode(encoded(grey, "TIFF")).astype(int) - [[[0] * 3, [255] * 3]]).max() <= 1
    srgb, lab = (ImageCms.createProfile(name) for name in ("sRGB", "LAB"))
    colours = ImageCms.applyTransform(Image.fromarray(RGB), ImageCms.buildTransform(srgb, lab, "RGB", "LAB"))
    assert colours is not None
    assert np.abs(decode(encoded(colours, "TIFF")).astype(int) - RGB).mean() < 3
    ramp = np.linspace(0, 1, 54, dtype=np.float32).reshape(HEIGHT, WIDTH)
    expected = np.round(ramp * 255)[:, :, None]
    assert np.array_equal(decode(encoded(ramp, "TIFF")), np.broadcast_to(expected, (HEIGHT, WIDTH, 3)))
    for wrong in (ramp * 300, ramp - 1, np.where(ramp > 0.5, np.nan, ramp)):
        found = refused(encoded(wrong.astype(np.float32), "TIFF"))
        assert (found.kind, "samples reach from" in found.reason) == ("unsupported", True)


def tag(data: bytes, number: int, value: int) -> bytes:
    """A little-endian TIFF with another value of a tag."""
    place = next(at for at in range(10, len(data), 2) if data[at : at + 2] == struct.pack("<H", number))
    return data[: place + 8] + struct.pack("<I", value) + data[place + 12 :]


def test_what_a_tiff_lacks_is_said_in_a_sentence() -> None:
    plain = encoded(RGB, "TIFF", compression="tiff_lzw")
    assert "kind that is not read" in refused(tag(plain, 262, 77)).reason
    assert "damaged" in refused(plain[:8] + b"\xff" * 60).reason
    packed_wrongly = tag(plain, 259, 8)
    assert "tiff_adobe_deflate" in refused(packed_wrongly).reason
    assert "decoder error" not in refused(packed_wrongly).reason


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_an_orientation_in_xmp_is_none(kind: str) -> None:
    note = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="tiff" tiff:Orientation="3"/></rdf:RDF></x:xmpmeta>'
    )
    big = np.repeat(np.repeat(RGB, 8, axis=0), 8, axis=1)
    data = encoded(big, kind, xmp=note, quality=95)
    assert Image.open(io.BytesIO(data)).getexif().get(0x0112) == 3, "Pillow takes it for one"
    assert np.abs(decode(data).astype(int) - big).mean() < 4


NAMED = {
    "PCX": "PCX", "SGI": "SGI", "ICNS": "ICNS", "PPM": "Netpbm", "DDS": "DDS", "JPEG2000": "JPEG 2000", "ICO": "ICO",
    "TGA": "TGA", "XBM": "XBM", "BLP": "BLP", "PDF": "PDF", "EPS": "PostScript",
}  # fmt: skip


@pytest.mark.parametrize("kind", NAMED)
def test_formats_that_are_not_read_are_named(kind: str) -> None:
    image = Image.fromarray(RGB).resize((64, 64))
    image = image.convert("1") if kind == "XBM" else image.quantize(16) if kind == "BLP" else image
    found = refused(encoded(image, kind))
    assert found.kind == "unsupported"
    assert NAMED[kind] in found.reason

"""A table of pixel formats and containers, each beside a reference; colour profiles, oddities, damage, cost."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from cospace.modalities.image import MODALITY, cost
from cospace.modalities.image.decoding import decode, decoded
from cospace.modalities.image.processing import ImageProcessor
from cospace.prefetch import prefetch
from cospace.types import BadItem, UserError

HEIGHT, WIDTH = 41, 63
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH]
RGB = np.stack([255 * X // WIDTH, 255 * Y // HEIGHT, 80 + 0 * X], axis=2).astype(np.uint8)
GREY, ALPHA = RGB[:, :, 0], (255 * Y // HEIGHT).astype(np.uint8)
RGBA = np.dstack([RGB, ALPHA])
DEEP = (X * 65_535 // (WIDTH - 1)).astype(np.uint16)
"""16-bit grey."""


def encoded(image: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def heic(rgb: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(rgb)).save(buffer, quality=95, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(depth: int, colour: int, rows: np.ndarray, *chunks: bytes) -> bytes:
    """A PNG of packed rows, with chunks before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, len(rows), depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *chunks, body, chunk(b"IEND", b"")])


def key(*values: int) -> bytes:
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *map(int, values)))


def white_at_zero(levels: np.ndarray) -> bytes:
    data = bytearray(encoded(levels, "TIFF"))
    place = data.index(struct.pack("<HHI", 262, 3, 1))
    data[place + 8 : place + 10] = bytes(2)
    return bytes(data)


def three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)


def whitened(rgb: np.ndarray) -> np.ndarray:
    return np.round(rgb * (ALPHA[:, :, None] / 255) + 255 - ALPHA[:, :, None]).astype(np.uint8)


def cleared(rgb: np.ndarray, clear_HW: np.ndarray) -> np.ndarray:
    return np.where(clear_HW[:, :, None], 255, rgb).astype(np.uint8)


def table() -> dict[str, tuple[bytes, np.ndarray, float]]:
    """Bytes, what a browser shows, and the largest mean difference in levels."""
    bits, fours, level = X % 3 == 0, (X % 4).astype(np.uint8), np.round(DEEP / 257).astype(np.uint8)
    two = np.packbits(np.unpackbits(fours[:, :, None], axis=2)[:, :, 6:].reshape(HEIGHT, -1), axis=1)
    deep = np.stack([DEEP, DEEP[:, ::-1], DEEP // 2], axis=2)
    deep_rows, upper = deep.astype(">u2").reshape(HEIGHT, -1), (deep >> 8).astype(np.uint8)
    palette, cmyk = Image.fromarray(RGB).quantize(32), Image.fromarray(RGB).convert("CMYK")
    indexed, third = np.asarray(palette.convert("RGB")), np.asarray(palette) == 3
    rows: dict[str, tuple[bytes, np.ndarray, float]] = {}
    for kind in ("PNG", "BMP", "TIFF"):
        rows[f"RGB {kind}"] = encoded(RGB, kind), RGB, 0
        rows[f"1 {kind}"] = encoded(bits, kind), three(255 * bits), 0
        rows[f"L {kind}"] = encoded(GREY, kind), three(GREY), 0
    for kind in ("PNG", "GIF"):
        rows[f"P {kind}"] = encoded(palette, kind), indexed, 0
        rows[f"P with transparency {kind}"] = encoded(palette, kind, transparency=3), cleared(indexed, third), 0
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        rows[f"RGBA {kind}"] = encoded(RGBA, kind, **options), whitened(RGB), 0.6
    grey_alpha = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    rows["LA PNG"] = encoded(grey_alpha, "PNG"), whitened(three(GREY)), 0.6
    rows["1 with tRNS PNG"] = png(1, 0, np.packbits(bits, axis=1), key(0)), three(255 + 0 * X), 0
    rows["L of 2 bits with tRNS PNG"] = png(2, 0, two, key(1)), cleared(three(85 * fours), fours == 1), 0
    rows["L with tRNS PNG"] = png(8, 0, GREY, key(GREY[0, 5])), cleared(three(GREY), X == 5), 0
    one = (RGB[3, 5] == RGB).all(axis=2)
    rows["RGB with tRNS PNG"] = png(8, 2, RGB.reshape(HEIGHT, -1), key(*RGB[3, 5])), cleared(RGB, one), 0
    rows["I;16 PNG"] = encoded(DEEP, "PNG"), three(level), 0.1
    rows["I;16 with tRNS PNG"] = png(16, 0, DEEP.astype(">u2"), key(DEEP[0, 7])), cleared(three(level), X == 7), 0.1
    rows["RGB of 16 bits PNG"] = png(16, 2, deep_rows), upper, 0
    rows["RGB of 16 bits with tRNS PNG"] = png(16, 2, deep_rows, key(*deep[0, 9])), cleared(upper, X == 9), 0
    rows["I;16 TIFF"] = encoded(DEEP, "TIFF"), three(level), 0.1
    rows["I;16 TIFF, white at zero"] = white_at_zero(DEEP), 255 - three(level), 0.1
    rows["CMYK TIFF"] = encoded(cmyk, "TIFF"), RGB, 0
    rows["CMYK JPEG"] = encoded(cmyk, "JPEG", quality=97), RGB, 3
    rows["L JPEG"] = encoded(GREY, "JPEG", quality=97), three(GREY), 1.5
    rows["RGB JPEG"] = encoded(RGB, "JPEG", quality=97), RGB, 2
    rows["progressive JPEG"] = encoded(RGB, "JPEG", quality=97, progressive=True), RGB, 2
    rows["RGB JPEG, not YCbCr"] = encoded(RGB, "JPEG", quality=97, keep_rgb=True), RGB, 2
    rows["RGB AVIF"] = encoded(RGB, "AVIF", quality=98), RGB, 2
    rows["RGBA AVIF"] = encoded(RGBA, "AVIF", quality=98), whitened(RGB), 2
    rows["HEIC"] = heic(RGB), RGB, 3
    return rows


TABLE = table()


@pytest.mark.parametrize("row", TABLE)
def test_each_pixel_format_is_shown_as_a_browser_shows_it(row: str) -> None:
    data, expected, most = TABLE[row]
    assert MODALITY.recognises(data[:64])
    difference = np.abs(decode(data).astype(int) - expected)
    assert difference.mean() <= most
    assert difference.max() <= max(1, 12 * most)
    opened = decode(Image.open(io.BytesIO(data))) if row != "HEIC" else decode(data)
    if "16 bits with" not in row and "2 bits" not in row and not row.startswith("1 with"):  # Pillow forgets the key
        assert np.abs(opened.astype(int) - expected).mean() <= most + 0.1


def test_what_has_no_fixed_range_is_set_aside_with_the_reason() -> None:
    with pytest.raises(BadItem, match="no fixed range"):
        decode(encoded(np.full((4, 4), 2**20, np.int32), "TIFF"))


def wide_gamut() -> bytes:
    """sRGB with red and green exchanged: a valid profile that no one can mistake for sRGB."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    places = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12)}
    red, green = (places[name] for name in (b"rXYZ", b"gXYZ"))
    data[red + 4 : red + 12], data[green + 4 : green + 12] = data[green + 4 : green + 12], data[red + 4 : red + 12]
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_profiles_are_converted_to_srgb(kind: str) -> None:
    profile = wide_gamut()
    options = {"quality": 97} if kind in ("JPEG", "WEBP", "AVIF") else {}
    data = heic(RGB, icc_profile=profile) if kind == "HEIC" else encoded(RGB, kind, icc_profile=profile, **options)
    expected = RGB[:, :, [1, 0, 2]]
    assert np.abs(decode(data).astype(int) - expected).mean() < 4
    assert np.abs(decode(data, to_rgb="convert").astype(int) - RGB).mean() < 4
    turned = ImageProcessor(size=32, to_rgb="convert")
    shown = MODALITY.prepare_with_preview(data, turned)
    assert torch.equal(shown.prepared, turned.prepare(data))
    assert shown.preview is not None
    assert np.abs(np.asarray(Image.open(io.BytesIO(shown.preview.webp[64]))).astype(int) - expected).mean() < 6


def test_a_profile_that_is_broken_of_another_space_or_srgb_changes_nothing() -> None:
    lab, srgb = (ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes() for name in ("LAB", "sRGB"))
    for profile in (b"junk", lab, srgb, srgb[:200]):
        made = decoded(encoded(RGB, "PNG", icc_profile=profile))
        assert made.plain
        assert np.array_equal(made.upright(), RGB)


def odd_pngs() -> dict[str, bytes]:
    plain = encoded(RGB, "PNG")
    noise, crc = os.urandom(2_000_000), bytearray(chunk(b"tEXt", b"a\0b"))
    crc[-1] ^= 1
    parts = {
        "2 MB zTXt": chunk(b"zTXt", b"a\0\0" + zlib.compress(noise)),
        "2 MB iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 2_000_000),
        "2 MB iCCP": chunk(b"iCCP", b"a\0\0" + zlib.compress(noise)),
        "wrong checksum of a text": bytes(crc),
        "short pHYs": chunk(b"pHYs", b"1"),
        "short gAMA": chunk(b"gAMA", b"1"),
        "short tRNS": chunk(b"tRNS", b"1"),
        "junk in eXIf": chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
        "500,000 texts": chunk(b"tEXt", b"a\0b") * 500_000,
    }
    return {name: plain[:33] + part + plain[33:] for name, part in parts.items()} | {"trailing bytes": plain + noise}


def odd_jpegs() -> dict[str, bytes]:
    plain = encoded(RGB, "JPEG", quality=97)
    parts = {
        "short APP1": b"\xff\xe1\0\2",
        "APP1 of length zero": b"\xff\xe1\0\0",
        "junk in MPF": b"\xff\xe2\0\x0aMPF\0junk",
        "cut Photoshop": b"\xff\xed\0\x0ePhotoshop 3.",
        "short Adobe": b"\xff\xee\0\x07Adobe",
        "short JFIF": b"\xff\xe0\0\x07JFIF\0",
        "half a profile": b"\xff\xe2\0\x14ICC_PROFILE\0\5\1junk",
        "junk in EXIF": b"\xff\xe1\0\x0eExif\0\0MM\0*\xff\xff",
        "100,000 comments": b"\xff\xfe\0\3a" * 100_000,
    }
    stray = plain[:20] + b"stray" + plain[20:]
    return {name: plain[:2] + part + plain[2:] for name, part in parts.items()} | {"stray bytes": stray}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_no_pixel_never_costs_an_image() -> None:
    gif = encoded(Image.fromarray(RGB).quantize(64), "GIF")
    start = 13 + 3 * 64
    odd = {**odd_pngs(), **odd_jpegs(), "GIF": gif[:start] + b"\x21\xfe\1x\0" * 300_000 + gif[start:]}
    odd["WebP"] = encoded(RGB, "WEBP", quality=97, xmp=b"x" * 2_000_000, exif=b"Exif\0\0junk")
    for name, data in odd.items():
        began = time.process_time()
        assert np.abs(decode(data).astype(int) - RGB).mean() < 6, name
        assert time.process_time() - began < 2, name


def test_damaged_pixels_are_always_noticed() -> None:
    plain = bytearray(encoded(RGB, "PNG"))
    place = plain.index(b"IDAT")
    end = place + 4 + int.from_bytes(plain[place - 4 : place], "big")
    plain[end] ^= 1
    with pytest.raises(BadItem, match="checksum of IDAT"):
        decode(bytes(plain))
    for data in (encoded(RGB, "AVIF"), heic(RGB), encoded(RGB, "JPEG", progressive=True), encoded(RGB, "GIF")):
        for part in (0.4, 0.7, 0.9):
            with pytest.raises(BadItem):
                decode(data[: int(len(data) * part)])
    photo = encoded(Image.effect_noise((96, 96), 80), "JPEG")
    with pytest.raises(BadItem) as caught:  # an odd segment before must not hide the cut behind
        decode(photo[:2] + b"\xff\xe0\0\x07JFIF\0" + photo[2 : len(photo) // 2])
    assert caught.value.kind == "truncated"


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (encoded(RGB, "JPEG2000"), "JPEG 2000"),
        (b"<?xml version='1.0'?><svg>", "SVG"),
        (b"\xef\xbb\xbf<!DOCTYPE html>", "a web page"),
        (b"\xff\x0a" + bytes(9), "JPEG XL"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\xff\xd8\xff\xf7\0\x0b\x08\0\1\0\1\1\1\x11\0", "JPEG-LS"),
    ],
)
def test_formats_that_are_not_read_are_named(data: bytes, named: str) -> None:
    with pytest.raises(BadItem, match=named):
        decode(data)


def test_heic_without_its_library_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic(RGB)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(BadItem, match=r"pip install 'cospace\[heif\]'"):
        decode(data)


def header_of(kind: str, width: int, height: int) -> bytes:
    """A few bytes that announce so many pixels."""
    if kind == "PNG":
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    data = bytearray(encoded(RGB, "JPEG", progressive=kind == "progressive"))
    place = data.index(b"\xff\xc2" if kind == "progressive" else b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    ("kind", "width", "height", "kept"),
    [
        ("JPEG", 12_000, 9_000, True),
        ("JPEG", 40_000, 40_000, True),
        ("progressive", 12_000, 9_000, True),
        ("progressive", 40_000, 40_000, False),
        ("PNG", 10_000, 10_000, True),
        ("PNG", 20_000, 10_000, False),
    ],
)
def test_cost_decides_and_not_size(
    kind: str, width: int, height: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = header_of(kind, width, height)
    refused = not kept
    for setting in ("", "20000"):
        monkeypatch.setenv(cost.SETTING, setting)
        monkeypatch.setattr(Image.Image, "load", _out_of_data)
        monkeypatch.setattr("cospace.modalities.image.jpeg.pixels", _out_of_data)
        with pytest.raises(BadItem) as caught:
            ImageProcessor(size=224).prepare(data)
        assert (caught.value.kind == "bomb") == refused
        assert not refused or f"{cost.SETTING}=" in caught.value.reason
        refused = False  # the setting allows it
    monkeypatch.setenv(cost.SETTING, "many")
    with pytest.raises(UserError, match="not a whole number"):
        decode(data)


def _out_of_data(*_: Any, **__: Any) -> None:
    raise EOFError("what was announced is not there")


MEASURE = """
import sys
from cospace.modalities.image import cost, decoding
from cospace.modalities.image.processing import ImageProcessor
def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
processor, costs, real = ImageProcessor(size=64), [], decoding.afforded
decoding.afforded = lambda bytes, *size: costs.append(bytes) or real(bytes, *size)
processor.prepare(sys.argv[1])
for path in sys.argv[2:]:
    open("/proc/self/clear_refs", "w").write("5")
    before = kilobytes("VmRSS")
    processor.prepare(path)
    print(costs[-1] >> 10, kilobytes("VmHWM") - before, kilobytes("VmRSS") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured by Linux's files")
def test_decoding_takes_no_more_than_is_said_and_gives_it_back(tmp_path: Path) -> None:
    pixels = np.repeat(np.repeat(RGB, 48, axis=0), 48, axis=1)  # 6 megapixels
    images = {
        "small.png": encoded(RGB, "PNG"),
        "a.png": encoded(pixels, "PNG", compress_level=1),
        "a.webp": encoded(pixels, "WEBP", method=0),
        "a.jpg": encoded(pixels, "JPEG"),
        "b.jpg": encoded(pixels, "JPEG", progressive=True),
        "c.jpg": encoded(Image.fromarray(pixels).convert("CMYK"), "JPEG"),
        "a.tif": encoded(pixels, "TIFF", compression="tiff_lzw"),
        "a.avif": encoded(pixels, "AVIF", speed=10),
        "a.bmp": encoded(pixels, "BMP"),
        "b.bmp": encoded(np.dstack([pixels, pixels[:, :, :1]]), "BMP"),
        "c.bmp": encoded(Image.fromarray(pixels).quantize(16), "BMP"),
    }
    for name, data in images.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in images]
    made = subprocess.run([sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=True)
    for name, line in zip(list(images)[1:], made.stdout.splitlines(), strict=True):
        said, took, kept = map(int, line.split())
        assert took <= said, name
        assert kept < 32_000, name


def test_large_decodings_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cost.SETTING, "100")
    room, inside, most = cost._Room(), 0, 0

    def one(_: int) -> None:
        nonlocal inside, most
        with room.taken(60 << 20):
            inside += 1
            most = max(most, inside)
            time.sleep(0.002)
            inside -= 1

    assert list(prefetch(range(40), one)) == [None] * 40
    assert most == 1


def test_a_very_long_image_is_cropped_first() -> None:
    strip = np.full((60_000, 1, 3), 200, np.uint8)
    strip[29_999:30_001] = 10
    for pixels in (strip, strip.transpose(1, 0, 2)):
        began = time.process_time()
        made = ImageProcessor(size=224, fit="crop").prepare(encoded(pixels, "PNG"))
        assert time.process_time() - began < 2
        assert made.shape == (3, 224, 224)
        assert made.min() < 30
    long = np.repeat(np.repeat(RGB, 4, axis=0), 60, axis=1)[:160]  # 160 x 3780: just beyond the bound
    short = ImageProcessor(size=32, fit="crop")
    whole = torch.nn.functional.interpolate(
        torch.from_numpy(long).permute(2, 0, 1)[None], size=(32, 756), mode="bicubic", antialias=True
    )[0, :, :, 362:394]
    assert (short.prepare(long).int() - whole.int()).abs().float().mean() < 1.5


def test_any_failure_of_a_reader_is_that_items_own() -> None:
    def read(number: int) -> int:
        if number == 3:
            raise ZeroDivisionError("a bug of a decoder")
        if number == 5:
            raise MemoryError
        return number

    made = list(prefetch(range(7), read))
    assert [one for one in made if isinstance(one, int)] == [0, 1, 2, 4, 6]
    assert str(made[3]) == "undecodable: reading it failed with ZeroDivisionError: a bug of a decoder"
    with pytest.raises(UserError):
        list(prefetch([1], _mistake))


def _mistake(_: int) -> None:
    raise UserError("the command is wrong")

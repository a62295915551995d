"""Pictures that strangers send: known before they are decoded, upright, small in memory, forgotten in time."""

from __future__ import annotations

import io
import resource
import struct
import time
import zlib
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cospace.service.limits import Limits
from cospace.service.problems import Refusal
from cospace.service.uploads import LARGEST, Uploads, read

LIMITS = Limits()


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    columns = np.linspace(0, 255, width, dtype=np.uint8)
    return Image.fromarray(np.repeat(np.repeat(columns[None, :, None], height, 0), 3, 2))


def png(width: int, height: int, chunks: Iterable[bytes] = (), more: bytes = b"") -> bytes:
    """A PNG whose header claims a size; its pixels are what ``chunks`` unpack to."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(part) for part in chunks) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more
    return start + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_three_formats_are_read(kind: str) -> None:
    upload = read(encoded(gradient(60, 40), kind), LIMITS)
    assert (upload.width, upload.height, upload.pixels.shape) == (60, 40, (40, 60, 3))
    assert len(upload.name) == 32


def test_a_phone_picture_on_its_side_is_upright_and_large_ones_are_kept_small() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upload = read(encoded(gradient(3000, 2000), "JPEG", exif=exif), LIMITS)
    assert (upload.width, upload.height) == (2000, 3000)
    assert upload.pixels.shape[0] > upload.pixels.shape[1]
    assert max(upload.pixels.shape) <= LARGEST
    assert upload.pixels[0].mean() < upload.pixels[-1].mean() - 200, "the gradient runs downwards now"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "PDF", "ICO"])
def test_other_formats_are_refused_by_their_first_bytes(kind: str) -> None:
    with pytest.raises(Refusal) as refused:
        read(encoded(gradient(32, 32), kind), LIMITS)
    assert refused.value.status == 415


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    "data", [SVG, b"<html>", b"SIMPLE  =", b"8BPS\0\1", b"%!PS-Adobe", b"\0\0\0\x18ftypheic", b"GIF89a", b"x" * 100]
)
def test_what_is_no_picture_here_is_refused_whatever_it_is(data: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        read(data, LIMITS)
    assert refused.value.status == 415


def outcome(data: bytes) -> int:
    """The status of a picture that is sent; 200 where it is read."""
    try:
        read(data, LIMITS)
    except Refusal as refused:
        return refused.status
    return 200


def peak() -> int:
    """Bytes of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("side", [13_000, 14_000, 60_000])
def test_a_bomb_is_refused_by_its_header_before_it_costs_anything(side: int) -> None:
    zeros = bytes(3 * side + 1)
    bomb = png(side, side, (zeros for _ in range(side if side < 20_000 else 1_000)))
    assert len(bomb) < 2_000_000
    before, began = peak(), time.monotonic()
    with pytest.raises(Refusal) as refused:
        read(bomb, LIMITS)
    assert refused.value.status == 413
    assert peak() - before < 64_000_000
    assert time.monotonic() - began < 0.5  # a header; decoding would take seconds


def test_text_and_profiles_that_unpack_to_gigabytes_are_refused() -> None:
    packed = zlib.compress(bytes(300_000_000), 9)
    for kind, start in ((b"zTXt", b"Comment\0\0"), (b"iCCP", b"profile\0\0")):
        data = start + packed
        chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        before = peak()
        assert outcome(png(8, 8, [bytes(25 * 8)], more=chunk)) in (200, 413, 422)
        assert peak() - before < 64_000_000


def test_a_header_that_lies_is_refused() -> None:
    for data in (png(4000, 4000, [bytes(100)]), encoded(gradient(64, 64), "JPEG")[:300], b"\xff\xd8\xff\xe0"):
        with pytest.raises(Refusal) as refused:
            read(data, LIMITS)
        assert refused.value.status in (413, 422)


@given(st.binary(max_size=300), st.sampled_from(["JPEG", "PNG", "WEBP"]), st.integers(0, 10_000))
def test_damaged_pictures_are_refused_or_read_and_nothing_else(noise: bytes, kind: str, place: int) -> None:
    data = bytearray(encoded(gradient(24, 24), kind))
    place %= len(data)
    data[place : place + len(noise)] = noise
    assert outcome(bytes(data)) in (200, 413, 415, 422)


def test_the_last_ones_are_remembered() -> None:
    uploads = Uploads(2)
    sent = [read(encoded(gradient(16 + n, 16), "PNG"), LIMITS) for n in range(3)]
    uploads.add(sent[0])
    uploads.add(sent[1])
    assert uploads.get(sent[0].name) is sent[0]
    uploads.add(sent[2])
    with pytest.raises(Refusal, match="not remembered"):
        uploads.get(sent[1].name)
    assert uploads.get(sent[0].name) is sent[0]
    with Image.open(io.BytesIO(uploads.small(sent[2].name))) as small:
        assert (small.format, small.size) == ("WEBP", (18, 16))

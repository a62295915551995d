"""Files that clients send: recognised before they are decoded, upright, small in memory, forgotten in time."""

from __future__ import annotations

import io
import resource
import struct
import time
import zlib
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cospace.modalities.image.showing import LARGEST
from cospace.service.problems import Refusal
from cospace.service.uploads import Uploads, read

IMAGES = ["image", "text"]
BOTH = ["audio", "image", "text"]


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
    upload = read(encoded(gradient(60, 40), kind), IMAGES)
    assert (upload.modality, upload.width, upload.height, upload.raw.shape) == ("image", 60, 40, (40, 60, 3))
    assert len(upload.name) == 32


def test_a_phone_photograph_on_its_side_is_upright_and_large_ones_are_kept_small() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upload = read(encoded(gradient(3000, 2000), "JPEG", exif=exif), IMAGES)
    assert (upload.height, upload.width) == upload.raw.shape[:2] == (LARGEST, round(LARGEST * 2 / 3))
    assert upload.raw[0].mean() < upload.raw[-1].mean() - 200, "the gradient runs downwards now"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "PDF", "ICO"])
def test_other_formats_are_refused_by_their_first_bytes(kind: str) -> None:
    with pytest.raises(Refusal) as refused:
        read(encoded(gradient(32, 32), kind), IMAGES)
    assert refused.value.status == 415


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    "data", [SVG, b"<html>", b"SIMPLE  =", b"8BPS\0\1", b"%!PS-Adobe", b"\0\0\0\x18ftypheic", b"GIF89a", b"x" * 100]
)
@pytest.mark.parametrize("modalities", [IMAGES, BOTH, ["audio"], ["text"]], ids="-".join)
def test_what_is_no_item_here_is_refused_whatever_it_is(data: bytes, modalities: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        read(data, modalities)
    assert refused.value.status == 415


def outcome(data: bytes) -> int:
    """The status of an image that is sent; 200 where it is read."""
    try:
        read(data, IMAGES)
    except Refusal as refused:
        return refused.status
    return 200


def peak() -> int:
    """Bytes of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("side", [14_000, 60_000])
def test_a_bomb_is_refused_by_its_header_before_it_costs_anything(side: int) -> None:
    zeros = bytes(3 * side + 1)
    bomb = png(side, side, (zeros for _ in range(side if side < 20_000 else 1_000)))
    assert len(bomb) < 2_000_000
    before, began = peak(), time.monotonic()
    with pytest.raises(Refusal) as refused:
        read(bomb, IMAGES)
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
            read(data, IMAGES)
        assert refused.value.status in (413, 422)


@given(st.binary(max_size=300), st.sampled_from(["JPEG", "PNG", "WEBP"]), st.integers(0, 10_000))
def test_damaged_images_are_refused_or_read_and_nothing_else(noise: bytes, kind: str, place: int) -> None:
    data = bytearray(encoded(gradient(24, 24), kind))
    place %= len(data)
    data[place : place + len(noise)] = noise
    assert outcome(bytes(data)) in (200, 413, 415, 422)


def test_the_last_ones_are_remembered() -> None:
    uploads = Uploads(2)
    sent = [read(encoded(gradient(16 + n, 16), "PNG"), IMAGES) for n in range(3)]
    uploads.add(sent[0])
    uploads.add(sent[1])
    assert uploads.get(sent[0].name) is sent[0]
    uploads.add(sent[2])
    with pytest.raises(Refusal, match="not remembered"):
        uploads.get(sent[1].name)
    assert uploads.get(sent[0].name) is sent[0]
    with Image.open(io.BytesIO(uploads.preview(sent[2].name))) as small:
        assert (small.format, small.size) == ("WEBP", (18, 16))


def wav(seconds: float, rate: int = 16_000) -> bytes:
    """A tone as a file."""
    samples = (8000 * np.sin(2 * np.pi * 440 / rate * np.arange(round(seconds * rate)))).astype("<i2").tobytes()
    body = (
        b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16) + b"data" + struct.pack("<I", len(samples))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body) + len(samples)) + b"WAVE" + body + samples


def test_each_file_is_of_the_modality_that_recognises_it() -> None:
    sound, image = read(wav(0.5), BOTH), read(encoded(gradient(60, 40), "PNG"), BOTH)
    assert (sound.modality, image.modality) == ("audio", "image")
    samples, rate = sound.raw
    assert len(samples) == pytest.approx(rate / 2, abs=2)
    with Image.open(io.BytesIO(sound.preview or b"")) as preview:
        assert (preview.format, max(preview.size)) == ("WEBP", 256)


def test_a_file_of_a_modality_that_the_index_has_not_is_refused_with_what_it_takes() -> None:
    with pytest.raises(Refusal, match="this is no image; send image/jpeg, image/png or image/webp") as refused:
        read(wav(0.5), IMAGES)
    assert refused.value.status == 415
    with pytest.raises(Refusal, match="audio/ogg, image/jpeg, image/png or image/webp") as refused:
        read(b"%PDF-1.7", BOTH)
    assert refused.value.status == 415


def test_a_silent_or_cut_sound_is_refused_with_the_cause() -> None:
    silence = wav(0.5)[:44] + bytes(16_000)
    for data, cause in ((silence, "nothing is to be heard"), (wav(2)[:3000], "ends before the sound does")):
        with pytest.raises(Refusal, match=f"the sound cannot be read: .*{cause}") as refused:
            read(data, BOTH)
        assert refused.value.status == 422


def test_what_has_no_preview_is_remembered_and_not_shown() -> None:
    uploads = Uploads(2)
    uploads.add(replace(read(wav(0.2), BOTH), preview=None))
    with pytest.raises(Refusal, match="no preview"):
        uploads.preview(read(wav(0.2), BOTH).name)

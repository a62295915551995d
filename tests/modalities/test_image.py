"""Every kind of picture becomes upright 8-bit RGB, or says why it cannot."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cospace.modalities.image.decoding import decode, decoded, fetched
from cospace.modalities.image.processing import ImageProcessor
from cospace.types import BadItem


def gradient(height: int = 40, width: int = 60) -> np.ndarray:
    """A smooth picture in which no two quarters look alike, so that a wrong flip shows."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x // width, 255 * y // height, 80 + 0 * x], axis=2).astype(np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(**options: Any) -> bytes:
    return encoded(Image.fromarray(gradient()), "JPEG", quality=95, **options)


def kind_of(raw: Any, **options: Any) -> str:
    with pytest.raises(BadItem) as caught:
        decode(raw, **options)
    assert caught.value.reason
    return caught.value.kind


def difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG"])
def test_each_format_gives_the_picture(kind: str) -> None:
    result = decode(encoded(Image.fromarray(gradient()), kind))
    assert result.dtype == np.uint8
    assert difference(result, gradient()) < 8  # GIF has 256 colours


def test_sources_of_the_same_picture_agree(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(gradient()))
    (tmp_path / "a.png").write_bytes(data)
    for raw in (tmp_path / "a.png", str(tmp_path / "a.png"), data, Image.fromarray(gradient()), Member(data)):
        assert np.array_equal(decode(raw), gradient())
    assert np.array_equal(decode(Member(gradient())), gradient())


class Member:
    def __init__(self, content: Any) -> None:
        self.content = content

    def load(self) -> Any:
        if isinstance(self.content, OSError):
            raise self.content
        return self.content

    def key(self) -> str:
        return "member"


def test_arrays() -> None:
    grey = gradient()[:, :, 0]
    assert np.array_equal(decode(grey), np.stack([grey] * 3, axis=2))
    clear = np.zeros((2, 2, 4), np.uint8)
    assert (decode(clear) == 255).all()
    assert kind_of(np.zeros((2, 2, 3), np.float32)) == "unsupported"
    assert kind_of(np.zeros((2, 2, 5), np.uint8)) == "unsupported"
    assert kind_of(np.zeros((0, 2, 3), np.uint8)) == "empty"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_undone(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(gradient()), kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert difference(decode(data), expected) < 0.5
    assert decode(data).shape[:2] == ((60, 40) if orientation >= 5 else (40, 60))


def test_orientation_of_a_given_picture_is_undone_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.open(io.BytesIO(jpeg(exif=exif)))
    assert difference(decode(picture), np.rot90(gradient(), -1)) < 3


def test_broken_metadata_does_not_cost_the_picture() -> None:
    assert decode(jpeg(exif=b"Exif\0\0nonsense")).shape == (40, 60, 3)


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"subsampling": 2}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_matches_pillow(options: dict[str, Any], mode: str) -> None:
    data = encoded(Image.fromarray(gradient(97, 131)).convert(mode), "JPEG", **options)
    reference = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert difference(decode(data), reference) < 0.05
    assert np.abs(decode(data).astype(int) - reference).max() <= 2


def test_scaled_decoding_keeps_enough_pixels() -> None:
    data = encoded(Image.fromarray(gradient(400, 600)), "JPEG", quality=95)
    small = decode(data, at_least=64)
    assert 64 <= min(small.shape[:2]) < 128
    smaller = np.asarray(Image.fromarray(gradient(400, 600)).resize(small.shape[1::-1], Image.Resampling.BOX))
    assert difference(small, smaller) < 2


def test_transparency_is_flattened_on_white() -> None:
    rgba = np.dstack([gradient(), np.full((40, 60), 255, np.uint8)])
    rgba[:20, :, 3] = 0
    rgba[20:, :, 3] = 128
    picture = Image.fromarray(rgba)
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    for kind in ("PNG", "WEBP", "TIFF"):
        result = decode(encoded(picture, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})))
        assert (result[:20] == 255).all()
        assert difference(result, np.asarray(white)[:, :, :3]) < 1


def test_transparent_palette_and_colour_key() -> None:
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30, 200, 0, 0])
    palette.putpixel((0, 0), 1)
    for kind in ("PNG", "GIF"):
        result = decode(encoded(palette, kind, transparency=0))
        assert result[0, 0].tolist() == [200, 0, 0]
        assert result[1, 1].tolist() == [255, 255, 255]
    keyed = decode(encoded(Image.new("RGB", (2, 2), (1, 2, 3)), transparency=(1, 2, 3)))
    assert (keyed == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    ramp = np.linspace(0, 65_535, 256).astype(np.uint16).reshape(16, 16)
    result = decode(encoded(Image.fromarray(ramp), kind))[:, :, 0]
    assert np.abs(result.ravel().astype(int) - np.arange(256)).max() <= 1


def test_pixels_without_a_range_are_refused() -> None:
    assert kind_of(encoded(Image.fromarray(np.full((4, 4), 300, np.float32)), "TIFF")) == "unsupported"
    assert kind_of(encoded(Image.fromarray(np.full((4, 4), 2**20, np.int32)), "TIFF")) == "unsupported"


def test_cmyk_jpeg_has_the_right_colours() -> None:
    colours = {"red": (255, 0, 0), "white": (255, 255, 255), "black": (0, 0, 0), "cyan": (0, 255, 255)}
    for rgb in colours.values():
        data = encoded(Image.new("RGB", (16, 16), rgb).convert("CMYK"), "JPEG", quality=95)
        assert b"Adobe" in data  # stored inverted, as Photoshop does
        assert np.abs(decode(data)[8, 8].astype(int) - rgb).max() <= 3


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert decode(data)[4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("part", [0.3, 0.5, 0.8])
def test_half_a_file_is_never_a_picture(kind: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    found = kind_of(data[: int(len(data) * part)])
    assert found == "truncated" or (kind == "TIFF" and found == "undecodable")  # a TIFF's directory may come last


def test_a_jpeg_closed_early_is_truncated() -> None:
    data = encoded(Image.effect_noise((64, 64), 80), "JPEG")
    assert kind_of(data[: len(data) // 2] + b"\xff\xd9") == "truncated"
    assert kind_of(data[:-2]) == "truncated"


def test_a_png_without_its_end_is_truncated() -> None:
    assert kind_of(encoded(Image.fromarray(gradient()))[:-12]) == "truncated"


def bomb() -> bytes:
    """A PNG of a few bytes that claims 60,000 x 60,000 pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def test_bad_pictures_say_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "note.png").write_text("not a picture at all")
    assert kind_of(tmp_path / "nowhere.png") == "missing"
    assert kind_of(tmp_path) == "missing"
    assert kind_of("a\0b.png") == "missing"
    assert kind_of(Member(OSError("gone"))) == "missing"
    assert kind_of(tmp_path / "empty.png") == "empty"
    assert kind_of(tmp_path / "note.png") == "undecodable"
    assert kind_of(bomb()) == "bomb"
    assert kind_of(3.14) == "unsupported"
    assert kind_of(encoded(Image.fromarray(gradient()), "PPM")) == "unsupported"


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow reports damaged tags
@settings(max_examples=200)
@given(
    st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]), st.integers(0), st.binary(min_size=1, max_size=9)
)
def test_damage_gives_a_picture_or_a_reason(kind: str, place: int, damage: bytes) -> None:
    data = bytearray(encoded(Image.fromarray(gradient(12, 15)), kind))
    place %= len(data)
    data[place : place + len(damage)] = damage
    try:
        result = decode(bytes(data))
    except BadItem:
        return
    assert result.dtype == np.uint8
    assert result.ndim == 3
    assert result.shape[2] == 3


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (32, 32), (1, 90), (200, 300)])
def test_prepared_pictures_are_squares(fit: Any, shape: tuple[int, int]) -> None:
    image = ImageProcessor(size=32, fit=fit).prepare(gradient(*shape))
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.uint8
    assert image.is_contiguous()


def test_resizing_matches_pillow() -> None:
    reference = np.asarray(Image.fromarray(gradient(200, 300)).resize((32, 32), Image.Resampling.BICUBIC))
    image = ImageProcessor(size=32).prepare(gradient(200, 300)).permute(1, 2, 0).numpy()
    assert np.abs(image.astype(int) - reference).max() <= 1


def test_crop_keeps_the_middle_and_pad_adds_white() -> None:
    bars = np.zeros((20, 60, 3), np.uint8)
    bars[:, 20:40] = 200
    assert (ImageProcessor(size=20, fit="crop").prepare(bars) == 200).all()
    padded = ImageProcessor(size=60, fit="pad").prepare(bars)
    assert (padded[:, :20] == 255).all()
    assert (padded[:, 40:] == 255).all()
    assert torch.equal(padded[:, 20:40], torch.from_numpy(bars).permute(2, 0, 1))


def test_a_prepared_read_only_array_is_left_alone() -> None:
    pixels = gradient(32, 32)
    pixels.setflags(write=False)
    assert torch.equal(ImageProcessor(size=32).prepare(pixels).permute(1, 2, 0), torch.tensor(gradient(32, 32)))


def test_normalise_is_the_textbook_formula() -> None:
    processor = ImageProcessor(size=8, mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28))
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (processor.mean, processor.std))
    torch.testing.assert_close(processor.normalise(images), (images.float() / 255 - mean) / std)
    assert torch.equal(processor.normalise(images)[2], processor.normalise(images[2]))


def test_preparers_travel_to_workers() -> None:
    processor = ImageProcessor(size=8, fit="pad")
    assert pickle.loads(pickle.dumps(processor)) == processor


@settings(max_examples=40)
@given(st.integers(8, 900), st.integers(8, 900), st.sampled_from([1, 3, 6, 8]), st.sampled_from(["JPEG", "PNG"]))
def test_the_full_size_is_known_of_a_picture_that_was_decoded_small(
    width: int, height: int, orientation: int, format: str
) -> None:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (width, height), "red").save(buffer, format, exif=exif)
    data = buffer.getvalue()
    expected = (width, height) if orientation > 4 else (height, width)
    found = decoded(data, 16).upright_size
    assert found in (expected, expected[::-1]) if abs(width - height) < 16 else found == expected


def test_what_there_is_to_decode(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"content")
    assert fetched(tmp_path / "a.png") == fetched(str(tmp_path / "a.png")) == fetched(b"content") == b"content"
    with pytest.raises(BadItem, match="does not exist"):
        fetched(tmp_path / "b.png")

"""Images for people: previews keep proportions, stand upright, and larger ones are made of the source."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cospace.modalities import PREVIEW_SIZES
from cospace.modalities.image.showing import at_size, small_images
from cospace.types import BadItem


def opened(webp: bytes) -> Image.Image:
    with Image.open(io.BytesIO(webp), formats=("WEBP",)) as image:
        return image.convert("RGB")


def encoded(image: Image.Image, format: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **settings)
    return buffer.getvalue()


@settings(max_examples=60)
@given(st.integers(1, 700), st.integers(1, 700))
def test_the_longer_side_fits_and_nothing_is_enlarged(height: int, width: int) -> None:
    small, _ = small_images(np.full((height, width, 3), 90, np.uint8))
    assert set(small) == set(PREVIEW_SIZES)
    for size, webp in small.items():
        made = opened(webp).size
        assert max(made) == min(size, max(height, width))
        scale = max(made) / max(height, width)
        assert made == pytest.approx((max(1, width * scale), max(1, height * scale)), abs=1.1), "proportions stay"


def test_the_mean_colour_is_of_the_whole_image() -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, :100] = (255, 0, 0)
    pixels[:, 200:] = (0, 0, 255)
    rgb = small_images(pixels)[1]
    assert (rgb >> 16, rgb >> 8 & 255, rgb & 255) == pytest.approx((85, 0, 85), abs=3)


def test_images_are_upright_and_on_white() -> None:
    lying = Image.new("RGB", (80, 40), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by a quarter
    assert opened(at_size(encoded(lying, "JPEG", exif=exif), 64)).size == (32, 64)
    clear = opened(at_size(encoded(Image.new("RGBA", (20, 20), (0, 0, 0, 0)), "PNG"), 64))
    assert min(clear.getpixel((10, 10))) > 250  # type: ignore[type-var]


def test_larger_ones_are_made_of_the_source() -> None:
    photo = encoded(Image.effect_noise((900, 600), 50).convert("RGB"), "JPEG")
    made = [opened(at_size(photo, size)).size for size in (64, 512, 1280)]
    assert made[1:] == [(512, 341), (900, 600)]
    assert made[0] in [(64, 42), (64, 43)], "from an eighth of the image, whose sides are rounded"
    with pytest.raises(BadItem):
        at_size(b"no image", 64)

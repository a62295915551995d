"""Planted faults of single images are found, each by its kind, and what only resembles them is not."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from cospace.modalities.image.frames import frames
from cospace.modalities.image.measuring import sharpness
from item_faults import found_by
from photographs import encoded, photograph

KINDS = ["tiny", "blank", "dark", "bright", "low_contrast", "blurred", "extreme_aspect", "animated"]


def found(*raws: Any) -> dict[str, list[int]]:
    return found_by("image", raws, KINDS, ("blank",))


def levels(image: Image.Image, change: Callable[[float], float]) -> Image.Image:
    return image.point([round(min(255, max(0, change(level)))) for level in range(256)] * 3)


def scene(width: int, height: int, seed: int) -> Image.Image:
    """A photograph of things with outlines, which the plain one lacks at half its size."""
    image, dice = photograph(width, height, seed), np.random.default_rng(seed)
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, half = dice.integers(width), dice.integers(height), min(width, height) / dice.uniform(4, 10)
        pen.ellipse([x - half, y - half, x + half, y + half], fill=tuple(dice.integers(0, 256, 3).tolist()))
    return image


def drawing(size: int = 72, ground: str = "white") -> Image.Image:
    """Flat colours on white, as emoji have them."""
    image = Image.new("RGB", (4 * size, 4 * size), ground)
    pen = ImageDraw.Draw(image)
    pen.ellipse([0.4 * size, 0.4 * size, 3.6 * size, 3.6 * size], fill="#fcc21b")
    pen.ellipse([1.2 * size, 1.4 * size, 1.6 * size, 1.9 * size], fill="#2f2f2f")
    pen.ellipse([2.4 * size, 1.4 * size, 2.8 * size, 1.9 * size], fill="#2f2f2f")
    return image.resize((size, size), Image.Resampling.LANCZOS)


@settings(max_examples=25, deadline=None)
@given(st.integers(24, 700), st.integers(24, 700), st.integers(0, 999))
def test_photographs_of_all_sizes_have_no_fault(width: int, height: int, seed: int) -> None:
    if max(width, height) <= 5 * min(width, height):
        assert found(encoded(scene(width, height, seed), quality=75 + seed % 20)) == {}


@settings(max_examples=15, deadline=None)
@given(st.integers(100, 500), st.integers(100, 500), st.integers(0, 999), st.floats(0.12, 0.2), st.floats(2.5, 6))
def test_photographs_of_all_sizes_with_a_fault_have_that_one(
    width: int, height: int, seed: int, left: float, blur: float
) -> None:
    plain = scene(width, height, seed)
    strong = blur * max(1, min(width, height) / 256)
    cases = {
        "dark": levels(plain, lambda level: left * level),
        "bright": levels(plain, lambda level: 255 - left * (255 - level)),
        "blurred": plain.filter(ImageFilter.GaussianBlur(strong)),
        "blank": Image.new("RGB", (width, height), (seed % 256, 90, 200)),
    }
    kinds = found(*map(encoded, cases.values()))
    for number, kind in enumerate(cases):
        assert kinds.get(kind) == [number], kinds


@pytest.mark.parametrize("size", [32, 72, 128])
def test_drawings_on_white_have_no_fault(size: int) -> None:
    buffer = io.BytesIO()
    clear = drawing(size).convert("RGBA")
    clear.putalpha(drawing(size).convert("L").point(lambda level: 0 if level == 255 else 255))
    clear.save(buffer, "PNG")
    thin = Image.new("RGB", (size, size), "white")
    ImageDraw.Draw(thin).line([size // 4, size // 2, size // 2, size // 2], fill="black", width=2)
    assert found(encoded(drawing(size), "PNG"), encoded(drawing(size)), buffer.getvalue(), encoded(thin, "PNG")) == {}


def test_tiny_is_what_nothing_can_be_made_out_in() -> None:
    sizes = ((15, 40), (4, 4), (16, 16), (32, 32))
    assert found(*(encoded(photograph(*size), "PNG") for size in sizes)) == {"tiny": [0, 1]}


def test_one_colour_with_grain_is_blank_and_a_small_thing_on_it_is_something() -> None:
    dice = np.random.default_rng(0)
    paper = (230 + dice.normal(0, 2, (200, 300, 3))).clip(0, 255).astype(np.uint8)
    marked = Image.fromarray(paper)
    ImageDraw.Draw(marked).ellipse([140, 90, 160, 110], fill="black")
    assert found(encoded(Image.fromarray(paper)), encoded(marked), np.zeros((9, 9, 3), np.uint8)) == {
        "blank": [0, 2], "tiny": [2],
    }  # fmt: skip


def test_a_night_with_lamps_is_not_dark_and_snow_is_not_overexposed() -> None:
    night = levels(photograph(240, 180, 1), lambda level: 0.15 * level)
    lamps = night.copy()
    ImageDraw.Draw(lamps).rectangle([20, 20, 60, 50], fill="#ffe9a0")
    snow = levels(photograph(240, 180, 2), lambda level: 255 - 0.5 * (255 - level))
    assert found(encoded(night), encoded(lamps), encoded(snow)) == {"dark": [0]}


def test_four_times_the_light_is_overexposed_and_a_white_wall_is_not() -> None:
    burnt = ImageEnhance.Brightness(photograph(240, 180, 3)).enhance(4)
    wall = Image.new("RGB", (240, 180), "white")
    wall.paste(photograph(80, 80, 3), (70, 50))
    assert found(encoded(burnt), encoded(wall)) == {"bright": [0]}


def test_fog_has_hardly_any_contrast_and_half_of_it_is_enough() -> None:
    plain = photograph(240, 180, 4)
    pale, half = (levels(plain, lambda level, by=by: 140 + by * (level - 128)) for by in (0.1, 0.5))
    assert found(encoded(pale), encoded(half)) == {"low_contrast": [0]}


def test_enlarged_pictures_are_blurred_and_a_sharp_subject_before_a_blurred_ground_is_not() -> None:
    plain = photograph(400, 300, 5)
    enlarged = photograph(60, 45, 5).resize((400, 300), Image.Resampling.BICUBIC)
    portrait = plain.filter(ImageFilter.GaussianBlur(8))
    portrait.paste(plain.crop((150, 80, 260, 220)), (150, 80))
    slope = Image.fromarray(np.tile(np.linspace(0, 255, 400).astype(np.uint8), (300, 1))).convert("RGB")
    grainy = np.asarray(plain.filter(ImageFilter.GaussianBlur(8))) + np.random.default_rng(0).normal(
        0, 1, (300, 400, 3)
    )
    raws = (enlarged, portrait, slope, Image.fromarray(grainy.clip(0, 255).astype(np.uint8)))
    assert found(*map(encoded, raws)) == {"blurred": [0, 2, 3]}


def test_what_is_unsharp_at_full_size_alone_is_sharp() -> None:
    large = drawing(300).resize((3000, 3000), Image.Resampling.BICUBIC)
    assert found(encoded(large)) == {}
    assert found(encoded(large, "PNG")) == {}


def test_sharpness_is_that_of_a_blurred_edge() -> None:
    edge = Image.fromarray(np.repeat(np.array([[60] * 40 + [190] * 40], np.uint8), 80, axis=0))
    measured = [sharpness(np.asarray(edge.filter(ImageFilter.GaussianBlur(sigma)))) for sigma in (0, 1, 2, 4)]
    assert measured[0] == 1
    assert measured == sorted(measured, reverse=True)
    assert measured[1:3] == pytest.approx([0.57, 0.33], abs=0.02)
    assert sharpness(np.full((40, 40), 7, np.uint8)) is None
    assert sharpness(np.zeros((3, 3), np.uint8)) is None


def test_strips_are_extreme_and_panoramas_are_not() -> None:
    assert found(*(encoded(photograph(*size)) for size in ((600, 100), (60, 400), (500, 130)))) == {
        "extreme_aspect": [0, 1]
    }


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_frames_and_pages_are_counted(kind: str) -> None:
    first, *others = (photograph(64, 48, seed).convert("P" if kind == "GIF" else "RGB") for seed in range(4))
    several = encoded(first, kind, save_all=True, append_images=others)
    assert frames(several) == 4
    assert frames(encoded(first, kind)) == 1
    assert frames(Image.open(io.BytesIO(several))) == 4
    assert all(frames(several[:end]) >= 1 for end in range(0, len(several), 97)), "what is cut is no error here"
    assert found(several, encoded(photograph(64, 48), kind)) == {"animated": [0]}


def test_what_cannot_be_read_has_no_fault_and_nothing_of_nothing_is_found() -> None:
    assert found(b"", encoded(photograph(64, 48))[:-500]) == {}
    assert found(encoded(photograph(64, 48)), b"", encoded(Image.new("RGB", (64, 48)))) == {"blank": [2]}
    assert found() == {}

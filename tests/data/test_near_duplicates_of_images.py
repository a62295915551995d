"""Copies of images as people make them are found, whatever was done to them, and other pictures of a series are not."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from cospace.data import near_duplicates as engine
from cospace.data.examining import ItemsSeen
from cospace.data.findings import near_groups
from cospace.data.near_duplicates import close_pairs, nearest_copy
from cospace.modalities import modality
from cospace.modalities.image.signatures import WIDTH
from photographs import encoded, photograph

MANY = 40


def cropped(image: Image.Image, dice: random.Random) -> Image.Image:
    right, below = (max(1, round(side * dice.uniform(0.02, 0.03))) for side in image.size)
    left, above = dice.randint(0, right), dice.randint(0, below)
    return image.crop((left, above, image.width - right + left, image.height - below + above))


COPIES: dict[str, Callable[[Image.Image, random.Random], bytes]] = {
    "quality 30": lambda image, dice: encoded(image, quality=30),
    "half": lambda image, dice: encoded(image.resize((image.width // 2, image.height // 2))),
    "twice": lambda image, dice: encoded(image.resize((image.width * 2, image.height * 2))),
    "mirrored": lambda image, dice: encoded(ImageOps.mirror(image)),
    "cropped": lambda image, dice: encoded(cropped(image, dice)),
    "lighter or darker": lambda image, dice: encoded(ImageEnhance.Brightness(image).enhance(dice.choice((0.95, 1.05)))),
    "grey": lambda image, dice: encoded(image.convert("L")),
    "PNG": lambda image, dice: encoded(image, "PNG"),
    "framed": lambda image, dice: encoded(
        ImageOps.expand(image, 1, fill=dice.choice(("black", "white", "grey"))), "PNG"
    ),
}


def figure(number: int, size: int = 72) -> Image.Image:
    """One of a series: the same body, with another face, hat and colour of the coat."""
    dice = random.Random(number)
    image = Image.new("RGB", (4 * size, 4 * size), "white")
    pen = ImageDraw.Draw(image)

    def spot(left: float, top: float, right: float, bottom: float, fill: str) -> None:
        pen.ellipse([4 * size * share for share in (left, top, right, bottom)], fill=fill)

    coat = ("#e53935", "#1e88e5", "#43a047", "#fb8c00", "#8e24aa")[number % 5]
    hat = ("#ffeb3b", "#212121", "#00acc1", "#6d4c41")[number // 5 % 4]
    shift = dice.uniform(-0.1, 0.1)
    spot(0.2, 0.45, 0.8, 1.0, coat)
    spot(0.32 + shift, 0.15, 0.68 + shift, 0.55, ("#ffdbac", "#c68642", "#8d5524", "#3b2219")[number // 20 % 4])
    spot(0.3 + shift, 0.05, 0.7 + shift, 0.25, hat)
    spot(0.42 + shift, 0.3, 0.46 + shift, 0.36, "#212121")
    spot(0.55 + shift, 0.3, 0.59 + shift, 0.36, "#212121")
    return image.resize((size, size), Image.Resampling.LANCZOS)


SETS: dict[str, Callable[[int], Image.Image]] = {
    "photographs": lambda number: photograph(240, 180, number),
    "small photographs": lambda number: photograph(120, 120, number).resize((32, 32), Image.Resampling.LANCZOS),
    "figures": figure,
}


def signed(files: list[bytes]) -> np.ndarray:
    return np.stack([modality("image").examine(one).signature for one in files])


@pytest.mark.parametrize("name", SETS)
def test_copies_are_found_whatever_was_done_and_no_other_picture(name: str) -> None:
    originals = [SETS[name](number) for number in range(MANY)]
    known, dice = signed([encoded(one, "PNG") for one in originals]), random.Random(0)
    assert len(close_pairs(known, "image")) <= 0.01 * MANY, "of those as they are, none is a copy"
    right = wrong = 0
    for kind, change in COPIES.items():
        found = nearest_copy(known, signed([change(one, dice) for one in originals]), "image")
        assert (found == np.arange(MANY)).mean() >= 0.75, kind
        right += int((found == np.arange(MANY)).sum())
        wrong += int(((found >= 0) & (found != np.arange(MANY))).sum())
    assert right >= 0.95 * MANY * len(COPIES)
    assert wrong <= 0.05 * right


def test_another_skin_is_another_picture() -> None:
    """Small figures that differ in the colour of a face alone."""
    series = signed([encoded(figure(number), "PNG") for number in (0, 20, 40, 60)])
    same_place = [figure(number) for number in (0,)]
    recoloured = np.asarray(same_place[0]).copy()
    skin = (np.abs(recoloured.astype(int) - (0xFF, 0xDB, 0xAC)) < 12).all(axis=2)
    recoloured[skin] = (0x8D, 0x55, 0x24)
    both = np.concatenate([series[:1], signed([encoded(Image.fromarray(recoloured), "PNG")])])
    assert close_pairs(series, "image").tolist() == close_pairs(both, "image").tolist() == []


def test_a_grey_square_is_no_copy_of_a_blue_one_and_its_own_grey_is() -> None:
    blue, grey = Image.new("RGB", (64, 64), "white"), Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(blue).rectangle([12, 12, 52, 52], fill="#1e88e5")
    ImageDraw.Draw(grey).rectangle([12, 12, 52, 52], fill="#9e9e9e")
    files = [encoded(image, "PNG") for image in (blue, grey, blue.convert("L"))]
    assert close_pairs(signed(files), "image").tolist() == [[0, 2]]


def test_pictures_with_equal_signatures_are_copies_of_the_first_however_many() -> None:
    plain = np.repeat(signed([encoded(Image.new("RGB", (64, 64), "white"), "PNG")]), 9_000, axis=0)
    pairs = close_pairs(plain, "image")
    assert pairs.tolist() == [[0, item] for item in range(1, 9_000)]
    assert close_pairs(plain[:0], "image").shape == (0, 2)
    assert close_pairs(plain[:1], "image").shape == (0, 2)


def test_groups_find_what_the_plain_comparison_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many groups and many blocks, as without."""
    originals = [photograph(64, 48, number) for number in range(300)]
    again = [ImageOps.mirror(one) if number % 2 else one for number, one in enumerate(originals[:60])]
    signatures = signed([encoded(one, "PNG") for one in originals] + [encoded(one, quality=60) for one in again])
    plain = close_pairs(signatures, "image")
    assert plain.tolist() == [[number, 300 + number] for number in range(60)]
    monkeypatch.setattr(engine, "FEW", 50)
    monkeypatch.setattr(engine, "_CELLS", 2_000)
    assert close_pairs(signatures, "image").tolist() == plain.tolist()
    assert nearest_copy(signatures[:300], signatures[300:], "image").tolist() == list(range(60))
    seen = ItemsSeen("image", np.arange(360), np.arange(360), {}, signatures, {})
    assert near_groups(seen) == [[number, 300 + number] for number in range(60)]


def test_no_block_is_larger_than_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20,000 random signatures: products of outlines, and what is compared closely at a time."""
    signatures, largest = np.random.default_rng(0).integers(0, 256, (20_000, 1, WIDTH)).astype(np.uint8), []
    parallel = engine._parallel

    def watched(left_LD: np.ndarray, right_RWD: np.ndarray) -> np.ndarray:
        largest.append(len(left_LD) * len(right_RWD) * 4)
        return parallel(left_LD, right_RWD)

    monkeypatch.setattr(engine, "_parallel", watched)
    assert len(close_pairs(signatures, "image")) == 0
    assert max(largest) <= 64 << 20
    assert sum(largest) / 4 < 20_000**2, "fewer products than of all with all"

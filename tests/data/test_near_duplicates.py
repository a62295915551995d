"""Copies of other bytes between what was trained on and what is measured on."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from conftest import TINY, Cospace
from cospace.data.near_duplicates import near_duplicates, shares
from cospace.modalities import modality
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.image.signatures import SIDE, _to_cells, cells
from photographs import photograph

PROCESSOR = ImageProcessor(size=64)


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def pictures(count: int) -> list[Image.Image]:
    return [photograph(240, 180, seed) for seed in range(count)]


def signatures(images: list[Image.Image], quality: int = 90) -> np.ndarray:
    made = modality("image").signatures([PROCESSOR.prepare(jpeg(image, quality)) for image in images])
    assert made is not None
    return made


def halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2))


def test_copies_are_found_and_other_pictures_are_not() -> None:
    known = signatures(pictures(30))
    for change in (lambda image: image, halved, ImageOps.mirror):
        assert near_duplicates(known, signatures([change(one) for one in pictures(30)], 30), "image").all()
    others = [photograph(240, 180, seed) for seed in range(100, 130)]
    assert not near_duplicates(known, signatures(others), "image").any()
    assert not near_duplicates(known, signatures([ImageOps.flip(one) for one in pictures(30)]), "image").any()


def test_pictures_of_one_colour_are_alike_only_where_they_are_as_bright() -> None:
    plain = [Image.new("RGB", (64, 64), (level,) * 3) for level in (0, 4, 128)]
    assert near_duplicates(signatures(plain[:1]), signatures(plain), "image").tolist() == [True, True, False]


def test_a_share_leaves_out_what_is_equal_byte_by_byte() -> None:
    known = {"image": signatures(pictures(10))}
    measured = {"image": signatures([*pictures(3), *map(halved, pictures(4)[3:])])}
    assert shares(known, measured, {"leaked/image": 0.75}) == {"near_duplicates/image": pytest.approx(0.25)}
    assert shares(known, measured, {"leaked/image": 1.0}) == {}
    assert shares({}, measured, {}) == {}


def test_signatures_of_another_width_say_nothing() -> None:
    """Runs that were trained when signatures were shorter can still be evaluated."""
    assert shares({"image": np.zeros((4, 1, 192), np.uint8)}, {"image": signatures(pictures(2))}, {}) == {}


def table(folder: Path, images: list[Image.Image], quality: int) -> Path:
    folder.mkdir()
    rows = ["image,text"]
    for number, image in enumerate(images):
        (folder / f"{number}.jpg").write_bytes(jpeg(image, quality))
        rows.append(f"{number}.jpg,picture {folder.name} {number} of a series")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return folder / "pairs.csv"


def test_train_and_eval_name_the_share(tmp_path: Path, cospace: Cospace) -> None:
    """Four of eight validation pictures are smaller copies of training pictures; the report says so too."""
    images = pictures(48)
    train = table(tmp_path / "train", images[:40], 90)
    val = table(tmp_path / "val", [*map(halved, images[:4]), *images[44:]], 50)
    out = tmp_path / "run"
    done = cospace("train", train, "--val", val, "--out", out, *TINY, "training.steps=2")
    words = "50.0 % of these images are near-duplicates"
    assert done.code == 0, done.err
    assert words in done.err
    assert words in (out / "report.html").read_text("utf-8")
    measured = cospace("eval", out, val, "--json")
    assert '"near_duplicates/image": 0.5' in measured.out
    assert words in measured.err


def test_cells_by_one_product_are_those_of_the_plain_way() -> None:
    light_NSS = np.random.default_rng(0).integers(0, 256, (40, SIDE, SIDE)).astype(np.uint8)
    fast = light_NSS.reshape(40, -1).astype(np.float32) @ _to_cells()
    assert np.abs(fast.reshape(cells(light_NSS).shape) - cells(light_NSS)).max() < 0.001  # of 255 levels

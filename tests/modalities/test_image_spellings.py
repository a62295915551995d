"""One picture has one vector, whether it is given as a path, as bytes, as an image of Pillow's or as an array."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps
from torch.nn.functional import cosine_similarity

from cospace.modalities.image import MODALITY, cost, processing
from cospace.modalities.image.color import to_srgb
from cospace.modalities.image.processing import ImageProcessor
from photographs import encoded, photograph

SIZES = [(201, 151), (333, 500), (640, 427), (1003, 751), (64, 64), (90, 41)]
FOLLOWS: list[Any] = [None, "transformers", "torchvision"]


def spellings(data: bytes, folder: Path) -> dict[str, Any]:
    """All ways to give a file's picture."""
    path = folder / "picture"
    path.write_bytes(data)
    loaded = Image.open(io.BytesIO(data))
    loaded.load()
    shown = ImageOps.exif_transpose(loaded)
    return {
        "text": str(path), "path": path, "bytes": data, "opened": Image.open(path), "loaded": loaded,
        "made": Image.fromarray(np.array(shown)), "array": np.array(shown),
    }  # fmt: skip


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The cosine of what encoders read."""
    first, second = (pixels.double().flatten() - 127.5 for pixels in (one, other))
    return cosine_similarity(first, second, dim=0).item()


@pytest.mark.parametrize("follows", FOLLOWS)
@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_every_spelling_is_prepared_to_the_same_bits(
    follows: Any, fit: Any, size: tuple[int, int], tmp_path: Path
) -> None:
    processor = ImageProcessor(size=64, fit=fit, follows=follows)
    for number, options in enumerate(({}, {"subsampling": 0, "quality": 95}, {"progressive": True})):
        expected = None
        for name, raw in spellings(encoded(photograph(*size, seed=number), **options), tmp_path).items():
            made = processor.prepare(raw)
            expected = made if expected is None else expected
            assert torch.equal(made, expected), (name, options)


@pytest.mark.parametrize("follows", FOLLOWS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_so_is_what_lies_on_its_side(follows: Any, orientation: int, tmp_path: Path) -> None:
    data = encoded(photograph(401, 299), orientation=orientation)
    for fit in ("squash", "crop"):
        processor = ImageProcessor(size=48, fit=fit, follows=follows)
        expected = processor.prepare(data)
        for name, raw in spellings(data, tmp_path).items():
            assert torch.equal(processor.prepare(raw), expected), (name, fit)


@pytest.mark.parametrize("follows", [None, "transformers"])
def test_so_are_twelve_megapixels(follows: Any, tmp_path: Path) -> None:
    processor = ImageProcessor(size=64, follows=follows)
    data = encoded(photograph(4032, 3024))
    expected = processor.prepare(data)
    for name, raw in spellings(data, tmp_path).items():
        assert torch.equal(processor.prepare(raw), expected), name
    assert torch.equal(MODALITY.prepare_with_preview(data, processor).prepared, expected)


@pytest.mark.parametrize(("options", "fraction"), [({}, 2), ({"subsampling": 0}, 2), ({"orientation": 6}, 2)])
def test_what_is_larger_still_may_come_at_a_fraction_and_is_the_same_to_the_fourth_digit(
    options: dict[str, Any], fraction: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sides that are no multiples of eight: resized from a fraction as if they were, the image would be shifted."""
    monkeypatch.setattr(processing, "WHOLE", 500_000)
    least = 1.0
    for size in ((1197, 843), (843, 1501)):
        for fit in ("squash", "crop", "pad"):
            processor = ImageProcessor(size=24, fit=fit)
            data = encoded(photograph(*size), **options)
            assert processor.decoded(data).part == fraction
            expected = processor.prepare(data)
            cosines = {name: apart(processor.prepare(raw), expected) for name, raw in spellings(data, tmp_path).items()}
            least = min(least, *cosines.values())
    sys.stdout.write(f"least cosine of prepared pixels, at 1/{fraction} beside whole: {least:.6f}\n")
    assert least >= 0.9999


def test_a_library_is_followed_as_far_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    processor, data = ImageProcessor(size=32, follows="transformers"), encoded(photograph(2100, 1501))
    whole = processor.prepare(data)
    assert processor.decoded(data).part == 1
    monkeypatch.setenv(cost.SETTING, "20")
    assert processor.decoded(data).part == 2
    assert apart(processor.prepare(data), whole) >= 0.9999
    monkeypatch.setenv(cost.SETTING, "14")  # too little for what is asked for
    assert processor.decoded(data).part == 4
    assert apart(processor.prepare(data), whole) >= 0.999
    deep = encoded(photograph(2100, 2050), "PNG")
    monkeypatch.setenv(cost.SETTING, "33")
    assert processor.decoded(deep).part > 1


def profile() -> bytes:
    """A matrix of colours like Display P3's: what phones write."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    places = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12)}
    wide = {b"rXYZ": (0.5151, 0.2412, -0.001), b"gXYZ": (0.292, 0.6922, 0.0419), b"bXYZ": (0.1571, 0.0666, 0.7841)}
    for name, values in wide.items():
        start = int.from_bytes(data[places[name] + 4 : places[name] + 8], "big") + 8
        data[start : start + 12] = b"".join(round(value * 65536).to_bytes(4, "big", signed=True) for value in values)
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_colour_profile_is_applied_last_in_every_spelling_that_has_one(kind: str, tmp_path: Path) -> None:
    processor, image = ImageProcessor(size=64), photograph(500, 375)
    data = encoded(image, kind, icc_profile=profile())
    given = spellings(data, tmp_path)
    expected = processor.prepare(data)
    for name in ("text", "path", "opened", "loaded"):
        assert torch.equal(processor.prepare(given[name]), expected), name
    assert not torch.equal(processor.prepare(given["array"]), expected)
    first = np.array(to_srgb(given["loaded"], profile()))
    assert apart(processor.prepare(first), expected) >= 0.9997  # converted before it was resized, a second slower
    shown = np.asarray(Image.open(io.BytesIO(MODALITY.preview(data).webp[256]))).astype(int)
    both = MODALITY.prepare_with_preview(data, processor)
    assert torch.equal(both.prepared, expected)
    assert both.preview is not None
    assert np.abs(np.asarray(Image.open(io.BytesIO(both.preview.webp[256]))) - shown).mean() < 3

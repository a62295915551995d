"""Images of published models are prepared to the last bit as their libraries prepare them, from files on."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cospace.interop import align, huggingface, openclip
from cospace.modalities.image.processing import ImageProcessor
from peers import import_peer
from photographs import encoded, photograph

SIZES = [(301, 299), (640, 427), (333, 500), (501, 335), (97, 61), (40, 33), (600, 600)]
"""Width and height; halves and quarters of what is cut off occur, and either order of Pillow's two passes."""

Prepare = Callable[[Image.Image], np.ndarray]
"""From an image as it is opened to ``uint8`` ``(3, S, S)``."""


def by_transformers(name: str, folder: Path, **settings: Any) -> Prepare:
    """A processor of transformers on Pillow, without the last two steps, which are arithmetic on whole levels.

    It gets RGB, as its manual opens images: some do not convert, and newer ones lay what is transparent on white.
    """
    made = getattr(import_peer("transformers"), name)(**settings)
    made.save_pretrained(folder)
    raw = getattr(import_peer("transformers"), name)(**{**settings, "do_rescale": False, "do_normalize": False})
    return lambda image: np.asarray(raw(image.convert("RGB"))["pixel_values"][0])


def by_torchvision(transform: Any) -> Prepare:
    """Transforms that end with levels divided by 255."""
    return lambda image: (transform(image) * 255).round().byte().numpy()


def clip(folder: Path) -> tuple[ImageProcessor, Prepare]:
    sizes = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    theirs = by_transformers("CLIPImageProcessorPil", folder, **sizes)
    return huggingface.image_processor(folder, 224), theirs


def odd_clip(folder: Path) -> tuple[ImageProcessor, Prepare]:
    sizes = {"size": {"shortest_edge": 51}, "crop_size": {"height": 37, "width": 37}}
    theirs = by_transformers("CLIPImageProcessorPil", folder, **sizes)
    return huggingface.image_processor(folder, 37), theirs


def siglip(folder: Path) -> tuple[ImageProcessor, Prepare]:
    theirs = by_transformers("SiglipImageProcessorPil", folder, size={"height": 224, "width": 224}, resample=3)
    return huggingface.image_processor(folder, 224), theirs


def vit(folder: Path) -> tuple[ImageProcessor, Prepare]:
    theirs = by_transformers("ViTImageProcessorPil", folder, size={"height": 224, "width": 224}, resample=2)
    return huggingface.image_processor(folder, 224), theirs


def dinov2(folder: Path) -> tuple[ImageProcessor, Prepare]:
    sizes = {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "resample": 3}
    theirs = by_transformers("BitImageProcessorPil", folder, **sizes)
    return huggingface.image_processor(folder, 224), theirs


def convnext(folder: Path) -> tuple[ImageProcessor, Prepare]:
    theirs = by_transformers("ConvNextImageProcessorPil", folder, size={"shortest_edge": 224}, crop_pct=0.875)
    steps: dict[str, Any] = {"fit": "crop", "before_crop": 256, "to_rgb": "convert", "follows": "transformers"}
    return ImageProcessor(size=224, **steps), theirs


def efficientnet(folder: Path) -> tuple[ImageProcessor, Prepare]:
    sizes = {"size": {"height": 86, "width": 86}, "crop_size": {"height": 71, "width": 71}, "do_center_crop": True}
    theirs = by_transformers("EfficientNetImageProcessorPil", folder, **sizes, resample=2, include_top=False)
    return align.image_processor(folder), theirs


def openclip_shortest(folder: Path, size: int = 224, mode: str = "shortest") -> tuple[ImageProcessor, Prepare]:
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    transform = import_peer("open_clip").image_transform(size, is_train=False, resize_mode=mode, **plain)
    return openclip.image_processor({"resize_mode": mode}, size, folder), by_torchvision(transform)


def timm_crop(folder: Path, **changes: Any) -> tuple[ImageProcessor, Prepare]:
    data = import_peer("timm").data
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "is_training": False}
    steps = {"crop_pct": 0.875, "interpolation": "bicubic", **changes}
    transform = data.create_transform((3, 224, 224), **plain, **steps)
    fits = {"center": "crop", "squash": "squash"}
    ours = ImageProcessor(
        size=224,
        fit=fits[steps.get("crop_mode", "center")],  # type: ignore[arg-type]
        before_crop=int(224 / steps["crop_pct"]),
        resample=steps["interpolation"],
        to_rgb="convert",
        follows="torchvision",
    )
    return ours, by_torchvision(lambda image: transform(image.convert("RGB")))


PREPARATIONS: dict[str, Callable[[Path], tuple[ImageProcessor, Prepare]]] = {
    "CLIP": clip,
    "CLIP of odd sides": odd_clip,
    "SigLIP": siglip,
    "ViT": vit,
    "DINOv2": dinov2,
    "ConvNeXt": convnext,
    "EfficientNet": efficientnet,
    "OpenCLIP": openclip_shortest,
    "OpenCLIP of odd sides": lambda folder: openclip_shortest(folder, 33),
    "OpenCLIP's SigLIP": lambda folder: openclip_shortest(folder, 64, "squash"),
    "timm": timm_crop,
    "timm, bilinear": lambda folder: timm_crop(folder, crop_pct=0.9, interpolation="bilinear"),
    "timm, squashed": lambda folder: timm_crop(folder, crop_mode="squash"),
}


def kinds(image: Image.Image) -> dict[str, bytes]:
    """Files of one picture in the modes that Pillow opens them in."""
    clear = image.copy()
    clear.putalpha(image.convert("L").resize((8, 8)).resize(image.size, Image.Resampling.BICUBIC))
    return {
        "4:2:0": encoded(image),
        "4:4:4, progressive": encoded(image, subsampling=0, quality=95, progressive=True),
        "4:2:2": encoded(image, subsampling=1, quality=75),
        "grey": encoded(image.convert("L")),
        "CMYK": encoded(image.convert("CMYK")),
        "PNG": encoded(image, "PNG"),
        "palette": encoded(image.quantize(64), "PNG"),
        "alpha": encoded(clear, "PNG"),
        "grey with alpha": encoded(clear.convert("LA"), "PNG"),
    }


@pytest.fixture(scope="module")
def files() -> list[tuple[str, bytes]]:
    """A picture of each size as JPEG, and one in every kind."""
    first = [(kind, data) for kind, data in kinds(photograph(*SIZES[0])).items()]
    return [*first, *((f"{size}", encoded(photograph(*size))) for size in SIZES[1:])]


@pytest.mark.parametrize("name", PREPARATIONS)
def test_every_pixel_is_the_librarys(name: str, files: list[tuple[str, bytes]], tmp_path: Path) -> None:
    ours, theirs = PREPARATIONS[name](tmp_path)
    for kind, data in files:
        (tmp_path / "file").write_bytes(data)
        expected = theirs(Image.open(io.BytesIO(data)))
        assert expected.shape == (3, ours.size, ours.size)
        assert np.array_equal(ours.prepare(tmp_path / "file").numpy(), expected), kind


def test_torchvision_cuts_elsewhere_than_transformers() -> None:
    """Three rows too many: either rounds a half, and one of them to even."""
    image = photograph(64, 67)
    cut = {
        follows: ImageProcessor(size=64, fit="crop", follows=follows).prepare(image)
        for follows in (None, "transformers", "torchvision")
    }
    pixels = np.asarray(image).transpose(2, 0, 1)
    assert np.array_equal(cut[None].numpy(), pixels[:, 1:65])
    assert np.array_equal(cut["transformers"].numpy(), pixels[:, 1:65])
    assert np.array_equal(cut["torchvision"].numpy(), pixels[:, 2:66])


def test_a_run_from_before_is_prepared_as_it_was(tmp_path: Path) -> None:
    """Its state does not name a library, so torch resizes: its golden vectors hold."""
    ours, _ = PREPARATIONS["CLIP"](tmp_path)
    state = {key: value for key, value in ours.state().items() if key != "follows"}
    before = ImageProcessor.from_state(json.loads(json.dumps(state)))
    assert before.follows is None
    image = photograph(500, 375)
    apart = (before.prepare(image).int() - ours.prepare(image).int()).abs()
    assert 0 < apart.float().mean() < 0.5
    assert apart.max() <= 2

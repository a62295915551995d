"""How transformers prepares the images of a published folder, as our settings; the library fills in its defaults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..config import validate
from ..modalities.image.processing import ImageProcessor
from ..models.libraries import first_line, library
from ..types import UserError
from . import align
from .huggingface import RESAMPLES

Steps = tuple[int, str, int | None]
"""Side of the prepared square, ``fit``, and what is resized to before a crop."""

PLAIN = {
    "BeitImageProcessor", "BitImageProcessor", "CLIPImageProcessor", "DINOv3ViTImageProcessor", "DeiTImageProcessor",
    "MobileNetV1ImageProcessor", "MobileNetV2ImageProcessor", "PvtImageProcessor", "SiglipImageProcessor",
    "ViTImageProcessor",
}  # fmt: skip
"""Classes that resize, cut out the middle if they are asked to, and normalise, each by the same settings."""


def image_processor(folder: Path) -> ImageProcessor:
    """The preparation of a folder. Raises :class:`UserError` for a step that we do not have."""
    transformers = library("transformers", "towers")
    try:
        asked: Any = transformers.AutoImageProcessor.from_pretrained(
            folder, backend="pil", trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise UserError(
            f"{folder / 'preprocessor_config.json'} does not say how images are to be prepared "
            f"({first_line(error)[:200]}); copy it from where the model was published"
        ) from error
    kind = type(asked).__name__.removesuffix("Pil").removesuffix("Fast")
    if kind == "EfficientNetImageProcessor":
        return align.image_processor(folder)
    steps = SIDES.get(kind, _plain if kind in PLAIN else None)
    found = None if steps is None else steps(asked)
    normal = asked.do_resize and asked.do_rescale and abs(asked.rescale_factor - 1 / 255) < 1e-9
    if found is None or not normal or asked.resample not in RESAMPLES:
        raise UserError(f"{folder} prepares its images by {kind} with steps that are not known here")
    size, fit, before_crop = found
    settings = {
        "size": size,
        "fit": fit,
        "before_crop": None if before_crop == size else before_crop,
        "resample": RESAMPLES[int(asked.resample)],
        "mean": asked.image_mean if asked.do_normalize else (0.0, 0.0, 0.0),
        "std": asked.image_std if asked.do_normalize else (1.0, 1.0, 1.0),
        "to_rgb": "convert",
        "follows": "transformers",
    }
    return validate(ImageProcessor, settings, where=str(folder))


def _plain(asked: Any) -> Steps | None:
    """Resize the shorter side, or both, then cut out the middle."""
    whole, squash = _side(asked.size)
    if not asked.do_center_crop:
        return (whole, "squash", None) if squash and whole else None
    side, square = _side(asked.crop_size)
    if not (whole and side and square) or side > whole:
        return None
    return side, "squash" if squash else "crop", whole


def _convnext(asked: Any) -> Steps | None:
    """Below 384 pixels the middle of an image of ``size / crop_pct``; from there on all of it, squashed."""
    side = asked.size.shortest_edge
    if not side or asked.do_center_crop:
        return None
    return (side, "crop", int(side / asked.crop_pct)) if side < 384 else (side, "squash", None)


def _levit(asked: Any) -> Steps | None:
    """The middle of an image whose shorter side is 256/224 of what is said."""
    whole, side = asked.size.shortest_edge, _side(asked.crop_size)[0]
    return (side, "crop", int(256 / 224 * whole)) if whole and side and asked.do_center_crop else None


def _side(given: Any) -> tuple[int | None, bool]:
    """Pixels, and whether they are those of both sides."""
    if given is None:
        return None, False
    if given.shortest_edge:
        return int(given.shortest_edge), False
    return (int(given.height) if given.height == given.width and given.height else None), True


SIDES: dict[str, Callable[[Any], Steps | None]] = {"ConvNextImageProcessor": _convnext, "LevitImageProcessor": _levit}
"""Classes that resize in a way of their own."""

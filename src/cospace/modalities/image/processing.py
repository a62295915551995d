"""From decoded images to what an image encoder reads: squares of one size, normalised.

Two stages, since the first is slow and the second depends on the model: :func:`~.decoding.decoded` turns a raw item
into pixels or says why it cannot; :class:`ImageProcessor` resizes (to ``uint8``, so that a prepared image can be kept
in a quarter of the memory) and normalises (to ``float32``, on whatever device the batch is on).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image
from pydantic import PositiveFloat, PositiveInt

from ...config import Config
from ...types import ImageSpec
from .color import in_srgb
from .cost import held
from .decoding import Decoded, ToRGB, decoded
from .resizing import Filter, by_pillow, by_torch

if TYPE_CHECKING:
    import torch

WHOLE = 16_000_000
"""Pixels up to which an image is decoded whole, so that its file, its bytes and its pixels have one vector."""

GAP = 16
"""Pixels that a larger image is decoded to for each that it is resized to. With fewer, a JPEG at a fraction gives other
vectors than the same image whole (docs/decisions/0029); Pillow's ``reducing_gap`` means the same."""

Library = Literal["transformers", "torchvision"]
"""Where a published model's images are prepared: by Transformers (its processors on Pillow), or by torchvision's
transforms, which timm and OpenCLIP use."""

ELONGATED = 16
"""Proportions from which on the middle is cut out before resizing: 1 x 60,000 pixels would become gigabytes."""


class ImageProcessor(Config):
    """From any raw image to what an image encoder reads; the same settings at training and at search time.

    ``fit`` says what happens to images that are not square: ``squash`` changes their proportions and loses
    nothing, ``crop`` keeps the middle, ``pad`` adds white borders.
    """

    size: PositiveInt
    fit: Literal["squash", "crop", "pad"] = "squash"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)
    resample: Filter = "bicubic"
    before_crop: PositiveInt | None = None
    """The shorter side in pixels (``squash``: both sides) whose middle is cut out; left open, ``size`` itself."""
    to_rgb: ToRGB = "browser"
    """``browser``: transparency on white, profiles to sRGB; ``convert``: both ignored, as Transformers does;
    ``resize_convert``: the same after resizing, as OpenCLIP does."""
    follows: Library | None = None
    """The library that prepares a published model's images, followed to the last bit: decoded whole, resized by Pillow
    and cut where that library cuts. Left open, large ones may be decoded at a fraction, and torch resizes, ten times as
    fast and within one level. Either way an image is upright first, which these libraries leave to their caller."""

    def prepare(self, raw: Any) -> torch.Tensor:
        """Decode and resize: ``uint8`` ``(3, S, S)``. Raises :class:`BadItem`."""
        with held():
            return self.resized(self.decoded(raw))

    def decoded(self, raw: Any) -> Decoded:
        """Pixels for :meth:`resized`: all of them, as far as memory allows; where no library is followed, those of an
        image above :data:`WHOLE` perhaps at a fraction. Raises :class:`BadItem`.
        """
        return decoded(raw, self.side, self.to_rgb, whole=math.inf if self.follows else WHOLE)

    def resized(self, image: Decoded) -> torch.Tensor:
        """Pixels that :meth:`prepare` has decoded as a square: ``uint8`` ``(3, S, S)``."""
        import torch

        pixels_HW3, size = self._shortened(image)
        part, target = image.part, self._target(*(size[::-1] if image.lies else size))
        stored = target[::-1] if image.lies else target
        if image.unconverted is not None and size == image.size:
            resample = Image.Resampling[self.resample.upper()]
            pixels_HW3 = np.array(image.unconverted.resize(stored[::-1], resample).convert("RGB"))
            size, part = stored, 1
        if self.follows and part == 1:
            shown_HW3 = by_pillow(pixels_HW3, target, self.resample, image.orientation)
            return self._finished(torch.from_numpy(shown_HW3).permute(2, 0, 1), image)
        image_3HW = torch.from_numpy(np.require(pixels_HW3, requirements=["C", "W"])).permute(2, 0, 1)
        extent = size[0] / part, size[1] / part
        resized = by_torch(image_3HW, stored, extent, self.resample, columns_first=image.lies)
        return self._finished(_upright(resized, image.orientation), image)

    def _finished(self, shown_3HW: torch.Tensor, image: Decoded) -> torch.Tensor:
        """The square of an image that is upright and resized, in sRGB where that was left until now."""
        import torch

        square_3SS = self._square(shown_3HW)
        if image.profile is not None:
            pixels_HW3 = np.ascontiguousarray(square_3SS.permute(1, 2, 0).numpy())
            square_3SS = torch.from_numpy(in_srgb(pixels_HW3, image.profile)).permute(2, 0, 1)
        return square_3SS.contiguous()

    def _shortened(self, image: Decoded) -> tuple[np.ndarray, tuple[int, int]]:
        """Pixels and full size, as stored; of a very long image that is cropped the middle alone, three squares."""
        height, width = image.size
        if self.fit != "crop" or max(height, width) <= ELONGATED * min(height, width):
            return image.pixels_HW3, image.size
        rows, columns = image.pixels_HW3.shape[:2]
        shorter = min(rows, columns)
        top, left = ((side - 3 * shorter) // 2 if side > shorter else 0 for side in (rows, columns))
        cut = image.pixels_HW3[top : top + 3 * shorter, left : left + 3 * shorter]
        return cut, (cut.shape[0] * image.part, cut.shape[1] * image.part)

    @property
    def side(self) -> int:
        """Pixels of both sides that a large image is decoded to at least, if it has them."""
        return GAP * (self.before_crop or self.size)

    @property
    def spec(self) -> ImageSpec:
        """What an image encoder must be built for."""
        return ImageSpec(self.size)

    def batch(self, prepared: Sequence[torch.Tensor]) -> torch.Tensor:
        """Prepared images as one encoder input, ``float32`` ``(B, 3, S, S)``."""
        import torch

        return self.normalise(torch.stack(list(prepared)))

    def state(self) -> dict[str, Any]:
        """Everything as JSON data."""
        return self.model_dump(mode="json")

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ImageProcessor:
        """The inverse of :meth:`state`; runs of before had a bound of pixels, which the budget of memory replaces."""
        return cls(**{name: value for name, value in state.items() if name != "max_pixels"})

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """``uint8`` ``(..., 3, S, S)`` to ``float32`` with the configured mean and standard deviation a channel."""
        import torch

        scale = torch.tensor([1 / (255 * s) for s in self.std], device=images.device).view(3, 1, 1)
        shift = torch.tensor([m / s for m, s in zip(self.mean, self.std, strict=True)], device=images.device)
        return images.to(torch.float32, copy=True).mul_(scale).sub_(shift.view(3, 1, 1))

    def _target(self, height: int, width: int) -> tuple[int, int]:
        side = self.size if self.before_crop is None or self.fit == "pad" else self.before_crop
        if self.fit == "squash":
            return side, side
        reference = min(height, width) if self.fit == "crop" else max(height, width)
        return max(1, height * side // reference), max(1, width * side // reference)

    def _margin(self, spare: int) -> int:
        """Pixels that are cut off before the middle, of those that are to go; torchvision rounds halves to even."""
        return round(spare / 2) if self.follows == "torchvision" else spare // 2

    def _square(self, image: torch.Tensor) -> torch.Tensor:
        """Crop or pad about the middle; an image that is square already passes through."""
        height, width = image.shape[-2:]
        if self.fit != "pad":
            top, left = (self._margin(side - self.size) for side in (height, width))
            return image[:, top : top + self.size, left : left + self.size]
        if (height, width) == (self.size, self.size):
            return image
        square = image.new_full((3, self.size, self.size), 255)
        top, left = (self.size - height) // 2, (self.size - width) // 2
        square[:, top : top + height, left : left + width] = image
        return square


def _upright(image: torch.Tensor, orientation: int) -> torch.Tensor:
    """Undo the EXIF orientation of ``(3, H, W)``."""
    if orientation >= 5:
        image = image.transpose(1, 2)
    flips = [axis for axis, turned in ((1, (3, 4, 7, 8)), (2, (2, 3, 6, 7))) if orientation in turned]
    return image.flip(flips) if flips else image

"""Images of a training set as a step sees them: moved, mirrored, and small at first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ...config import Config
from ...types import BadItem, attempted
from .. import Wanted, everything
from .._draws import drawing, draws
from .augmentation import Augment
from .decoding import decoded
from .processing import ImageProcessor

SIZES = (32, 64)
"""Sides that images are resized to; the largest one that their own size fills is taken."""

LOW_RES_FRACTION = 0.6
"""Share of the steps at low resolution where no decoder learns."""

SAMPLE = 64
"""Images whose size is measured."""

_SIDES = re.compile(r"\b(?:left|right|east|west|clockwise|anticlockwise)", re.IGNORECASE)


class ImageSettings(Config):
    """How images become inputs; ``None`` is filled in from the data."""

    size: int | None = Field(default=None, ge=8)
    """Side in pixels that images are resized to; from the data: 64 where their shorter side has that many, else 32."""
    augment: Augment = Augment()
    progressive_resizing: float | None = Field(default=None, ge=0, le=1)
    """Share of the steps, from the first, at three quarters of the side (Tan and Le 2021), at little over half the
    cost; from the data: 0.6, and 0 where a decoder learns, since it cannot begin before it sees details."""

    def fitted(self, items: Sequence[Any], texts: Sequence[str], generates: bool) -> ImageSettings:
        """Every open value chosen: from the size of some images, and from whether any text names a side."""
        low_res = self.progressive_resizing
        flip = self.augment.hflip
        if flip is None:
            flip = not any(_SIDES.search(text) for text in texts)
        return self.model_copy(
            update={
                "size": self.size or _size_for(median_side(items)),
                "progressive_resizing": (0.0 if generates else LOW_RES_FRACTION) if low_res is None else low_res,
                "augment": self.augment.model_copy(update={"hflip": flip}),
            }
        )


def _size_for(side: int) -> int:
    fits = [size for size in SIZES if size <= side * 1.05]
    return fits[-1] if fits else SIZES[0]


def median_side(items: Sequence[Any]) -> int:
    """The median shorter side, in pixels, of some of the images."""
    chosen = np.linspace(0, len(items) - 1, min(SAMPLE, len(items))).astype(int)
    sides = [side for place in chosen if (side := _side(items[place]))]
    return int(np.median(sides)) if sides else SIZES[-1]


def _side(raw: Any) -> int | None:
    found = attempted(lambda item: min(decoded(item, SIZES[0]).size), raw)
    return None if isinstance(found, BadItem) else found


@dataclass(frozen=True, slots=True)
class ImageMicroBatch:
    """Some images as they are stored, a quarter of the size of what an encoder reads."""

    images_B3SS: Tensor
    side: int
    """What the encoder reads has this many pixels a side."""
    processor: ImageProcessor

    def to(self, where: torch.device) -> Tensor:
        """What the encoder reads, made on the device: float32, normalised. A CPU alone resizes bytes as bytes."""
        if where.type == "cpu":
            return self.processor.normalise(self._resized(self.images_B3SS))
        return self._resized(self.processor.normalise(self.images_B3SS.to(where)))

    def _resized(self, images_B3SS: Tensor) -> Tensor:
        if self.side == images_B3SS.shape[-1]:
            return images_B3SS
        return nn.functional.interpolate(images_B3SS, size=(self.side, self.side), mode="bilinear", antialias=True)


class ImageBatcher:
    """Images prepared once into ``images_N3SS`` (uint8) and augmented when a step asks for them.

    The first ``low_res_steps`` see them at three quarters of their side, which costs little more than half: a tower
    learns the large structure first anyway, and the details in the steps that are left (Tan and Le 2021, section 4).
    An image is mirrored every other epoch, so that two epochs show both sides of all (Jordan 2024, section 3.6).
    """

    in_order = True

    def __init__(
        self,
        images_N3SS: Tensor,
        item_of_row: np.ndarray,
        processor: ImageProcessor,
        augment: Augment,
        seed: int,
        low_res_steps: int = 0,
    ) -> None:
        self.images_N3SS, self.item_of_row = images_N3SS, item_of_row
        self.processor, self.augment, self.seed, self.low_res_steps = processor, augment, seed, low_res_steps
        self.identity_N: np.ndarray | None = None

    def micro_batches(
        self, step: int, items: np.ndarray, epochs: np.ndarray, size: int, wanted: Wanted = everything
    ) -> tuple[list[Any], np.ndarray]:
        """See :class:`cospace.modalities.Batcher`."""
        known_B = drawing(items, self.identity_N)
        numbers_B4 = draws(self.seed, epochs, known_B, 4)
        numbers_B4[:, 3] = (draws(self.seed, np.zeros_like(epochs), known_B, 4)[:, 3] + 0.5 * (epochs % 2)) % 1
        cuts = torch.split(torch.arange(len(items)), size)
        made = wanted([len(cut) for cut in cuts])
        places = torch.cat([cut[:0] if not here else cut for cut, here in zip(cuts, made, strict=True)])
        moved = self.augment.apply(self.images_N3SS[torch.from_numpy(items)[places]], numbers_B4[places.numpy()])
        parts = iter(torch.split(moved, size))
        side = self.processor.size * 3 // 4 if step < self.low_res_steps else self.processor.size
        batches = [ImageMicroBatch(next(parts), side, self.processor) if here else None for here in made]
        return batches, np.arange(len(items))

"""Image augmentation on prepared batches; every draw is a function of (seed, epoch, item) and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from ...config import Config

if TYPE_CHECKING:
    import torch


class Augment(Config):
    """Mild by default: captions name colours, sides and small parts, so colour and mirroring stay as they are."""

    translate: float = Field(default=0.06, ge=0, lt=0.5)
    """Largest translation as a share of the side."""
    scale: float = Field(default=0.0, ge=0, lt=0.5)
    """Largest change of scale."""
    hflip: bool | None = None
    """Mirror each image every other epoch; from the data: on where no text names a side."""

    def apply(self, images_B3SS: torch.Tensor, draws_BK: np.ndarray) -> torch.Tensor:
        """Move, scale and mirror each image; edges are continued, not filled with black. Scaling gives float32.

        ``draws_BK`` holds at least four uniform numbers in ``[0, 1)`` per image: x, y, scale, mirror.
        """
        import torch

        if not (self.translate or self.scale or self.hflip):
            return images_B3SS
        if not self.scale:
            return self._move(images_B3SS, draws_BK)
        draws = torch.from_numpy(draws_BK[:, :4]).float()
        scale = 1 + self.scale * (2 * draws[:, 2] - 1)
        mirror = torch.where((draws[:, 3] < 0.5) & torch.tensor(bool(self.hflip)), -1.0, 1.0)
        theta = torch.zeros(len(draws), 2, 3)
        theta[:, 0, 0], theta[:, 1, 1] = scale * mirror, scale
        theta[:, :, 2] = 2 * self.translate * (2 * draws[:, :2] - 1)
        grid = torch.nn.functional.affine_grid(theta, list(images_B3SS.shape), align_corners=False)
        return torch.nn.functional.grid_sample(
            images_B3SS.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
        )

    def _move(self, images_B3SS: torch.Tensor, draws_BK: np.ndarray) -> torch.Tensor:
        """Whole-pixel translation and mirroring: a window on each image with its edges continued.

        Copied image by image, six times as fast as one gather by indices.
        """
        import torch

        side = images_B3SS.shape[-1]
        reach = round(self.translate * side)
        start_B2 = np.floor(draws_BK[:, :2] * (2 * reach + 1)).astype(np.int64)
        mirrored_B = draws_BK[:, 3] < (0.5 if self.hflip else 0.0)
        start_B2[:, 1] = np.where(mirrored_B, 2 * reach - start_B2[:, 1], start_B2[:, 1])
        wide = _widened(images_B3SS.numpy(), reach)
        moved = np.empty(images_B3SS.shape, wide.dtype)
        for place, ((top, left), mirrored) in enumerate(zip(start_B2.tolist(), mirrored_B.tolist(), strict=True)):
            window = wide[place, :, top : top + side, left : left + side]
            moved[place] = window[:, :, ::-1] if mirrored else window
        return torch.from_numpy(moved)


def _widened(images_B3SS: np.ndarray, reach: int) -> np.ndarray:
    """With the outermost pixels repeated ``reach`` times on every side; ``np.pad`` takes three times as long."""
    batch, channels, side, _ = images_B3SS.shape
    wide = np.empty((batch, channels, side + 2 * reach, side + 2 * reach), images_B3SS.dtype)
    inner = slice(reach, reach + side)
    wide[:, :, inner, inner] = images_B3SS
    wide[:, :, :reach, inner] = images_B3SS[:, :, :1]
    wide[:, :, reach + side :, inner] = images_B3SS[:, :, -1:]
    wide[:, :, :, :reach] = wide[:, :, :, reach : reach + 1]
    wide[:, :, :, reach + side :] = wide[:, :, :, reach + side - 1 : reach + side]
    return wide

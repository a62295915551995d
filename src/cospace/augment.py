"""Picture augmentation on prepared batches; every draw is a function of (seed, epoch, item) and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from .config import Config

if TYPE_CHECKING:
    import torch


class Augment(Config):
    """Mild by default: captions name colours, sides and small parts, so colour and flips stay as they are.

    ``shift`` is the largest translation as a share of the side, ``zoom`` the largest change of scale; ``flip`` mirrors
    half of the pictures; left open, it is switched on where no caption names a side.
    """

    shift: float = Field(default=0.06, ge=0, lt=0.5)
    zoom: float = Field(default=0.0, ge=0, lt=0.5)
    flip: bool | None = None

    def apply(self, images_B3SS: torch.Tensor, draws_BK: np.ndarray) -> torch.Tensor:
        """Move, scale and mirror each picture; edges are continued, not filled with black. Zooming gives float32.

        ``draws_BK`` holds at least four uniform numbers in ``[0, 1)`` per picture: x, y, scale, mirror.
        """
        import torch

        if not (self.shift or self.zoom or self.flip):
            return images_B3SS
        if not self.zoom:
            return self._move(images_B3SS, draws_BK)
        draws = torch.from_numpy(draws_BK[:, :4]).float()
        scale = 1 + self.zoom * (2 * draws[:, 2] - 1)
        mirror = torch.where((draws[:, 3] < 0.5) & torch.tensor(bool(self.flip)), -1.0, 1.0)
        theta = torch.zeros(len(draws), 2, 3)
        theta[:, 0, 0], theta[:, 1, 1] = scale * mirror, scale
        theta[:, :, 2] = 2 * self.shift * (2 * draws[:, :2] - 1)
        grid = torch.nn.functional.affine_grid(theta, list(images_B3SS.shape), align_corners=False)
        return torch.nn.functional.grid_sample(
            images_B3SS.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
        )

    def _move(self, images_B3SS: torch.Tensor, draws_BK: np.ndarray) -> torch.Tensor:
        """Whole-pixel translation and mirroring: a window on each picture with its edges continued.

        Copied picture by picture, six times as fast as one gather by indices.
        """
        import torch

        side = images_B3SS.shape[-1]
        reach = round(self.shift * side)
        start_B2 = np.floor(draws_BK[:, :2] * (2 * reach + 1)).astype(np.int64)
        mirrored_B = draws_BK[:, 3] < (0.5 if self.flip else 0.0)
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


def draws(seed: int, epochs_B: np.ndarray, items_B: np.ndarray, count: int) -> np.ndarray:
    """Uniform numbers ``(B, count)`` in ``[0, 1)`` by hashing (seed, epoch, item, place): splitmix64 (Steele 2014).

    A counter-based generator has no state, so workers, ranks and restarts cannot change what an item draws.
    """
    place = np.arange(count, dtype=np.uint64)[None, :]
    with np.errstate(over="ignore"):
        state = _mix(np.uint64(seed) + np.zeros_like(items_B, dtype=np.uint64))
        state = _mix(state ^ epochs_B.astype(np.uint64))
        state = _mix(state ^ items_B.astype(np.uint64))
        mixed = _mix(state[:, None] + place * np.uint64(0x9E3779B97F4A7C15))
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed

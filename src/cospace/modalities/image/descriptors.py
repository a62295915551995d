"""Images as small colours, directions of edges and patches: what they show without a trained network.

Histograms of oriented gradients (Dalal and Triggs 2005), and similarities of whitened patches to their spherical
k-means (Coates, Lee and Ng 2011; Coates and Ng 2012), pooled in a grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize, unfold

from .._descriptors import SAMPLE, reduced

SIDE = 32
"""Pixels a side that images are prepared to."""

WIDTH = 384
"""Numbers of an image."""

COLOURS, CELLS, DIRECTIONS = 12, 6, 9
"""Cells a side of the small colours, and of the directions of edges, and how many directions there are."""

PATCH, STRIDE, CENTERS, POOLED = 6, 2, 256, 3
"""Pixels a side of a patch, between patches, how many kinds of patch there are, and cells a side they are pooled in."""

DRAWN, EACH, ROUNDS = 40_000, 40, 8
"""Patches that the kinds are learned from, of one image at most, and rounds of k-means."""


def descriptors(images: Sequence[Any]) -> np.ndarray:
    """float32 ``(N, at most WIDTH)`` of prepared images, uint8 ``(3, SIDE, SIDE)``, by principal components."""
    if not len(images):
        return np.zeros((0, 0), np.float32)
    patches = _Patches.learned(_stacked(images, range(0, len(images), max(1, len(images) // SAMPLE))))

    def describe(numbers: Sequence[int]) -> list[np.ndarray]:
        images_N3SS = _stacked(images, numbers)
        small = adaptive_avg_pool2d(images_N3SS, COLOURS).flatten(1)
        return [kind.numpy() for kind in (small, _edges(images_N3SS), patches(images_N3SS))]

    return reduced(describe, len(images), WIDTH)


def _stacked(images: Sequence[Any], numbers: Sequence[int]) -> Tensor:
    return torch.stack([images[int(number)] for number in numbers]).float() / 255


def _edges(images_N3SS: Tensor) -> Tensor:
    """Unit vectors ``(N, DIRECTIONS * CELLS**2)``: roots of how much edge of each direction is in each cell."""
    across = images_N3SS[:, :, 1:-1, 2:] - images_N3SS[:, :, 1:-1, :-2]
    down = images_N3SS[:, :, 2:, 1:-1] - images_N3SS[:, :, :-2, 1:-1]
    strongest = (across.square() + down.square()).argmax(1, keepdim=True)  # of the three colours
    across, down = across.gather(1, strongest)[:, 0], down.gather(1, strongest)[:, 0]
    place = (torch.atan2(down, across) / math.pi) % 1 * DIRECTIONS
    lower, weight, size = place.floor(), place - place.floor(), torch.hypot(across, down)
    found = torch.zeros(len(size), DIRECTIONS, *size.shape[1:])
    for step, share in ((0, 1 - weight), (1, weight)):
        found.scatter_add_(1, ((lower.long() + step) % DIRECTIONS)[:, None], (size * share)[:, None])
    return normalize(adaptive_avg_pool2d(found, CELLS).sqrt().flatten(1), dim=-1)


class _Patches:
    """Kinds of patches: unit vectors ``(K, D)`` among whitened patches."""

    def __init__(self, mean_D: Tensor, whiten_DD: Tensor, centers_KD: Tensor) -> None:
        self.mean_D, self.whiten_DD, self.centers_KD = mean_D, whiten_DD, centers_KD

    @classmethod
    def learned(cls, images_N3SS: Tensor) -> _Patches:
        """From some images, by drawing patches of them."""
        draw = torch.Generator().manual_seed(0)
        each = max(1, min(EACH, DRAWN // len(images_N3SS)))
        side = images_N3SS.shape[-1] - PATCH + 1
        found = []
        for image_3SS in images_N3SS:
            cut = unfold(image_3SS[None], PATCH)[0]  # (D, places)
            found.append(cut[:, torch.randint(side * side, (each,), generator=draw)].T)
        patches_PD = _contrasts(torch.cat(found))
        mean_D = patches_PD.mean(0)
        values, basis = torch.linalg.eigh(torch.cov((patches_PD - mean_D).T))
        whiten_DD = basis * (values.clamp_min(0) + 0.1).rsqrt() @ basis.T
        white_PD = (patches_PD - mean_D) @ whiten_DD
        centers_KD = normalize(white_PD[torch.randperm(len(white_PD), generator=draw)[:CENTERS]], dim=-1)
        for _ in range(ROUNDS):
            best, kind = (white_PD @ centers_KD.T).max(1)
            sums = torch.zeros_like(centers_KD).index_add_(0, kind, white_PD * best[:, None])
            centers_KD = normalize(sums + 1e-3 * torch.randn(sums.shape, generator=draw), dim=-1)
        return cls(mean_D, whiten_DD, centers_KD)

    def __call__(self, images_N3SS: Tensor) -> Tensor:
        """Unit vectors ``(N, K * POOLED**2)``: roots of how much of each kind is in each cell."""
        found = []
        for start in range(0, len(images_N3SS), 128):
            cut_NPD = unfold(images_N3SS[start : start + 128], PATCH, stride=STRIDE).transpose(1, 2)
            white_NPD = (_contrasts(cut_NPD) - self.mean_D) @ self.whiten_DD
            near_NPK = (white_NPD @ self.centers_KD.T - 1).clamp_min_(0)
            side = math.isqrt(near_NPK.shape[1])
            grid = near_NPK.transpose(1, 2).reshape(len(near_NPK), -1, side, side)
            found.append(adaptive_avg_pool2d(grid, POOLED).flatten(1).sqrt())
        return normalize(torch.cat(found), dim=-1)


def _contrasts(patches: Tensor) -> Tensor:
    """Patches ``(..., D)`` of 0 to 1 without their brightness, and brought to one contrast."""
    patches = patches - patches.mean(-1, keepdim=True)
    return patches / (patches.var(-1, keepdim=True) + 0.01).sqrt()

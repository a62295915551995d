"""Features that nobody trained, reduced to the directions in which the items of a collection differ most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from . import Prepared

SAMPLE = 4096
"""Items that the directions are found from, evenly spaced."""

CHUNK = 512
"""Items that are described at a time."""


def reduced(describe: Callable[[Sequence[int]], list[np.ndarray]], count: int, width: int) -> np.ndarray:
    """Principal components ``(count, at most width)``, float32, of what ``describe`` gives for items by number.

    That is one array ``(items, D)`` for each kind of feature; every kind weighs the same in total.
    """
    chosen = np.unique(np.linspace(0, max(0, count - 1), min(count, SAMPLE)).astype(np.int64))
    parts = [np.concatenate(kind) for kind in zip(*(describe(some) for some in _chunks(chosen)), strict=True)]
    if not parts:
        return np.zeros((0, 0), np.float32)
    centers = [part.mean(axis=0) for part in parts]
    scales = [
        max(1e-9, float(np.square(part - c).sum(1).mean())) ** -0.5 for part, c in zip(parts, centers, strict=True)
    ]

    def together(kinds: Sequence[np.ndarray]) -> torch.Tensor:
        scaled = [(kind - c) * scale for kind, c, scale in zip(kinds, centers, scales, strict=True)]
        return torch.from_numpy(np.concatenate(scaled, axis=1).astype(np.float32))

    sample_ND = together(parts)
    basis_DR = _directions(sample_ND, width)
    found = np.empty((count, basis_DR.shape[1]), np.float32)
    found[chosen] = (sample_ND @ basis_DR).numpy()
    for some in _chunks(np.setdiff1d(np.arange(count), chosen)):
        found[some] = (together(describe(some)) @ basis_DR).numpy()
    return found


def of_whole(prepared: Prepared, count: int, make: Callable[[Sequence[Any]], np.ndarray]) -> Prepared:
    """What ``make`` gives for the items that could be prepared, float32 ``(count, D)``; zeros for the others."""
    whole = [number for number in range(count) if number not in prepared.bad]
    made = make([prepared.items[number] for number in whole])
    found = np.zeros((count, made.shape[1]), np.float32)
    found[whole] = made
    return Prepared(found, prepared.bad)  # type: ignore[arg-type]


def _chunks(numbers: np.ndarray) -> list[list[int]]:
    return [numbers[start : start + CHUNK].tolist() for start in range(0, len(numbers), CHUNK)]


def _directions(rows_ND: torch.Tensor, width: int) -> torch.Tensor:
    """The leading right singular vectors ``(D, R)``, exact where there are few, else by random projections."""
    rank = min(width, *rows_ND.shape)
    if min(rows_ND.shape) <= 2 * width:
        exact_RD: torch.Tensor = torch.linalg.svd(rows_ND, full_matrices=False)[2]
        return exact_RD[:rank].T
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        basis_DR: torch.Tensor = torch.svd_lowrank(rows_ND, q=rank + 20, niter=2)[2]
        return basis_DR[:, :rank]

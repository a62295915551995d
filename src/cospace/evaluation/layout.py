"""Put many vectors on a plane so that neighbours stay neighbours: t-SNE, in a few seconds on a CPU.

Points attract their nearest in the full space and repel all others (van der Maaten & Hinton 2008). The repulsion of all
pairs is a convolution on a grid, done by FFT (Linderman et al. 2019), so a step costs what its edges cost. Affinities
are those of plain neighbour lists, which give the same maps as tuned perplexities (Böhm, Berens & Kobak 2022). The
start is the PCA map: so the large shape means what PCA's does, and a seed decides nothing but samples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

NEIGHBOURS = 10
"""Edges of a point to its nearest, whatever they are, before both directions are joined."""
ACROSS = 5
"""Edges of a point to the nearest of each other kind. Without them images and texts keep to separate islands."""
LANDMARKS = 20_000
"""Points that are laid out by their own forces; the others are put between the nearest of these."""

_EARLY, _STEPS = 75, 225
_FEW, _STRIDE = 8, 5.0
_EXAGGERATION = 12.0
_CELL = 0.5
_SIDES = (32, 40, 48, 64, 80, 96, 120, 144, 160, 180, 200, 225, 240, 270, 300, 320, 360, 400, 450, 500, 576, 640, 960)
_TILE = 1 << 24
_ANCHORS, _REACH, _JITTER = 4, 4.0, 0.35
_PIVOTS, _PROBED = 128, 8


def nothing() -> None:
    """Work that is checked by nobody."""


def layout(
    vectors_NE: Tensor,
    kind_N: Tensor | None = None,
    seed: int = 0,
    landmarks: int = LANDMARKS,
    check: Callable[[], None] = nothing,
) -> np.ndarray:
    """float32 places ``(N, 2)`` of the rows, near for those that are near; equal rows and seeds give equal places.

    Distances are Euclidean: centre the rows as the map is meant. ``kind_N`` (integers) ties kinds of rows together, see
    :data:`ACROSS`. Where there are more than ``landmarks`` rows, ``seed`` draws those. ``check`` is called at every
    step; what it raises ends the work.
    """
    vectors_NE = vectors_NE.detach().float().cpu()
    kind_N = torch.zeros(len(vectors_NE), dtype=torch.long) if kind_N is None else kind_N
    if len(vectors_NE) <= landmarks:
        return _by_forces(vectors_NE, kind_N, check)
    order_N = np.random.default_rng(seed).permutation(len(vectors_NE))
    chosen, others = (torch.from_numpy(np.sort(part)) for part in np.split(order_N, [landmarks]))
    places_N2 = np.empty((len(vectors_NE), 2), np.float32)
    places_N2[chosen] = _by_forces(vectors_NE[chosen], kind_N[chosen], check)
    generator = np.random.default_rng([seed, 1])
    places_N2[others] = _between(vectors_NE, (chosen, others), places_N2[chosen], generator, check)
    return places_N2


def nearest_rows(queries_QE: Tensor, rows_NE: Tensor, k: int, itself: bool = False) -> tuple[Tensor, Tensor]:
    """Squared distances and places of the ``k`` nearest rows of each query, in tiles; ``itself`` leaves out row q."""
    square_N = rows_NE.square().sum(1)
    step = max(1, _TILE // max(1, len(rows_NE)))
    parts = []
    for start in range(0, len(queries_QE), step):
        tile_QE = queries_QE[start : start + step]
        distance_QN = torch.addmm(square_N, tile_QE, rows_NE.T, alpha=-2)
        if itself:
            own = torch.arange(len(tile_QE))
            distance_QN[own, own + start] = torch.inf
        best = distance_QN.topk(k, dim=1, largest=False)
        parts.append((best.values + tile_QE.square().sum(1, keepdim=True), best.indices))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def principal_plane(vectors_NE: Tensor) -> Tensor:
    """float64 ``(N, 2)``: the two main axes of the centred rows, each with its largest weight positive."""
    centred_NE = vectors_NE.double() - vectors_NE.double().mean(0)
    _, axes_EE = torch.linalg.eigh(centred_NE.T @ centred_NE)
    axes_E2 = axes_EE[:, -2:].flip(1)
    if axes_E2.shape[1] < 2:
        axes_E2 = torch.cat([axes_E2, torch.zeros_like(axes_E2)], 1)
    signs_2 = axes_E2.gather(0, axes_E2.abs().argmax(0, keepdim=True)).sign()
    plane_N2: Tensor = centred_NE @ (axes_E2 * signs_2)
    return plane_N2


def _by_forces(vectors_NE: Tensor, kind_N: Tensor, check: Callable[[], None]) -> np.ndarray:
    """Gradient descent with momentum and a gain for each coordinate, as t-SNE has always been done."""
    count = len(vectors_NE)
    start_N2 = principal_plane(vectors_NE) if count > 1 else torch.zeros(count, 2, dtype=torch.float64)
    if count < _FEW:
        return np.asarray(start_N2.float())
    edges, field = _Edges(_neighbours(vectors_NE, kind_N)), _Field()
    y_2N = (0.1 * start_N2 / start_N2[:, 0].std().clamp(min=1e-12)).float().T.contiguous()
    speed_2N, gain_2N = torch.zeros_like(y_2N), torch.ones_like(y_2N)
    for step in range(_EARLY + _STEPS):
        check()
        early = step < _EARLY
        factor, momentum = (_EXAGGERATION, 0.5) if early else (1.0, 0.8)
        downhill_2N = factor * edges.pull(y_2N) - field.push(y_2N)
        gain_2N = torch.where(downhill_2N * speed_2N > 0, gain_2N * 0.8, gain_2N + 0.2).clamp_(0.05, 8.0)
        speed_2N = momentum * speed_2N - count / factor / 2.5 * gain_2N * downhill_2N
        y_2N = y_2N + speed_2N.clamp_(-_STRIDE, _STRIDE)
        y_2N -= y_2N.mean(1, keepdim=True)
    return np.asarray(y_2N.T.contiguous())


def _neighbours(vectors_NE: Tensor, kind_N: Tensor) -> Tensor:
    """Places ``(N, K)`` of the nearest of each row, and of the nearest of each other kind."""
    count = len(vectors_NE)
    columns = [nearest_rows(vectors_NE, vectors_NE, min(NEIGHBOURS, count - 1), itself=True)[1]]
    kinds, sizes = np.unique(kind_N.numpy(), return_counts=True)
    across = min(ACROSS, int(sizes.min()))
    for step in range(1, len(kinds)):
        column_NK = torch.empty(count, across, dtype=torch.long)
        for place, kind in enumerate(kinds):
            own = torch.nonzero(kind_N == int(kind))[:, 0]
            other = torch.nonzero(kind_N == int(kinds[(place + step) % len(kinds)]))[:, 0]
            column_NK[own] = other[nearest_rows(vectors_NE[own], vectors_NE[other], across)[1]]
        columns.append(column_NK)
    return torch.cat(columns, 1)


class _Edges:
    """Who attracts whom: ``near_NK``, read in both directions; all weigh the same and one together."""

    def __init__(self, near_NK: Tensor) -> None:
        self.shape = tuple(near_NK.shape)
        self.tail = near_NK.flatten()

    def pull(self, y_2N: Tensor) -> Tensor:
        """Gradient of the attraction, ``(2, N)``."""
        count, k = self.shape
        away_2NK = y_2N[:, :, None] - y_2N.index_select(1, self.tail).view(2, count, k)
        away_2NK /= away_2NK.square().sum(0).add_(1)
        pull_2N = away_2NK.sum(2)
        for axis in (0, 1):
            pull_2N[axis].index_add_(0, self.tail, away_2NK[axis].flatten(), alpha=-1)
        gradient_2N: Tensor = pull_2N / (2 * count * k)
        return gradient_2N


class _Field:
    """The repulsion of all pairs, felt through a grid whose cells are half as wide as the kernel's peak."""

    def __init__(self) -> None:
        self._kernels: dict[tuple[int, float], Tensor] = {}

    def push(self, y_2N: Tensor) -> Tensor:
        """The repulsive force on each point ``(2, N)``, over the sum of all pairs as t-SNE's gradient asks."""
        low_21 = y_2N.amin(1, keepdim=True)
        span = float((y_2N - low_21).max())
        cell = max(_CELL, span / (_SIDES[-1] - 3))
        side = next(size for size in _SIDES if size >= min(int(span / cell) + 3, _SIDES[-1]))
        at_2N = (y_2N - low_21) / cell
        base_2N = at_2N.long()
        high_2N = at_2N - base_2N
        low_2N = 1 - high_2N
        corner_N = base_2N[0] * side + base_2N[1]
        place_4N = torch.stack([corner_N, corner_N + 1, corner_N + side, corner_N + side + 1])
        share_4N = torch.stack(
            [low_2N[0] * low_2N[1], low_2N[0] * high_2N[1], high_2N[0] * low_2N[1], high_2N[0] * high_2N[1]]
        )
        mass = torch.zeros(side * side).index_add_(0, place_4N.flatten(), share_4N.flatten()).view(side, side)
        size = (2 * side, 2 * side)
        fields_3SS = torch.fft.irfft2(torch.fft.rfft2(mass, s=size) * self._kernel(side, cell), s=size)
        felt_3C = fields_3SS[:, :side, :side].reshape(3, -1)
        felt_3N = (felt_3C.index_select(1, place_4N.flatten()).view(3, 4, -1) * share_4N).sum(1)
        pairs = max(float(felt_3N[0].sum(dtype=torch.float64)) - y_2N.shape[1], 1e-6)
        force_2N: Tensor = felt_3N[1:] / pairs
        return force_2N

    def _kernel(self, side: int, cell: float) -> Tensor:
        """Spectra of 1/(1+d²) and of the two components of d/(1+d²)²."""
        key = (side, cell)
        if key not in self._kernels:
            offset = torch.arange(2 * side, dtype=torch.float64)
            offset = torch.where(offset < side, offset, offset - 2 * side) * cell
            x, y = torch.meshgrid(offset, offset, indexing="ij")
            near = 1 / (1 + x * x + y * y)
            spectra: Tensor = torch.fft.rfft2(torch.stack([near, x * near.square(), y * near.square()]).float())
            if cell != _CELL:  # of a map that outgrew the grid: the next step has another cell
                self._kernels.clear()
            self._kernels[key] = spectra
        return self._kernels[key]


def _between(
    vectors_NE: Tensor,
    parts: tuple[Tensor, Tensor],
    landmarks_L2: np.ndarray,
    generator: np.random.Generator,
    check: Callable[[], None],
) -> np.ndarray:
    """Places ``(M, 2)`` at the weighted mean of the nearest landmarks; ``parts`` are rows of landmarks and of others.

    Landmarks that the map holds far from the nearest one do not count: a mean of two regions lies in neither. Only the
    landmarks around the nearest of a few pivots are looked at.
    """
    chosen, others = parts
    pivots = chosen[torch.from_numpy(generator.permutation(len(chosen))[:_PIVOTS])]
    _, round_PP = nearest_rows(vectors_NE[pivots], vectors_NE[pivots], min(_PROBED, len(pivots)))
    pivot_N = nearest_rows(vectors_NE, vectors_NE[pivots], 1)[1][:, 0]
    pivot_L, pivot_M = pivot_N[chosen], pivot_N[others]
    result_M2 = np.empty((len(others), 2), np.float32)
    for pivot in range(len(pivots)):
        check()
        own = torch.nonzero(pivot_M == pivot)[:, 0]
        around = torch.nonzero(torch.isin(pivot_L, round_PP[pivot]))[:, 0]
        if not len(own):
            continue
        rows, anchors = vectors_NE[others[own]], vectors_NE[chosen[around]]
        distance_MK, near_MK = nearest_rows(rows, anchors, min(_ANCHORS, len(around)))
        anchor_MK2 = landmarks_L2[around[near_MK]]
        excess_MK = np.asarray(distance_MK - distance_MK[:, :1])
        weight_MK = np.exp(-excess_MK / np.maximum(excess_MK.mean(1, keepdims=True), 1e-9))
        weight_MK *= np.square(anchor_MK2 - anchor_MK2[:, :1]).sum(2) <= _REACH**2
        weight_MK /= weight_MK.sum(1, keepdims=True)
        result_M2[own] = (weight_MK[:, :, None] * anchor_MK2).sum(1)
    return result_M2 + generator.normal(0, _JITTER, result_M2.shape).astype(np.float32)

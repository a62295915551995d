"""A flat map of the space, laid out as the page lays out its own, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .layout import layout
from .vectors import unit

_NEIGHBOURS = 15
_TRIED = 1000


@dataclass(frozen=True, slots=True)
class Map:
    """Points by modality ``(N, 2)``; the share of true neighbours that are near on the map too."""

    points: Mapping[str, np.ndarray]
    agreement: float


def flat_map(vectors: Mapping[str, Tensor], most: int = 1500, seed: int = 0) -> tuple[Map, dict[str, np.ndarray]]:
    """The map of at most ``most`` items a modality, and by modality the rows that were drawn for it.

    Each modality is centred on its own mean: otherwise the gap between them would be all that the map shows.
    """
    generator = np.random.default_rng(seed)
    rows = {name: np.sort(generator.permutation(len(v))[:most]) for name, v in vectors.items()}
    centred = {}
    for name, vectors_NE in vectors.items():
        unit_NE = unit(vectors_NE[torch.as_tensor(rows[name], device=vectors_NE.device)], f"{name} embeddings").cpu()
        centred[name] = unit_NE - unit_NE.mean(0)
    sizes = [len(own_NE) for own_NE in centred.values()]
    all_NE = torch.cat(list(centred.values()))
    kind_N = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    flat_N2 = layout(all_NE, kind_N, seed)
    pieces = np.split(flat_N2.astype(np.float64), np.cumsum(sizes)[:-1])
    points = dict(zip(centred, pieces, strict=True))
    return Map(points, agreement(all_NE, torch.from_numpy(flat_N2), generator)), rows


def spread_out(points_N2: np.ndarray, count: int = 24) -> list[int]:
    """Rows far from each other, to hang images on: each next one is the farthest from those before."""
    if len(points_N2) == 0:
        return []
    chosen = [int(np.square(points_N2 - points_N2.mean(0)).sum(1).argmin())]
    distance = np.square(points_N2 - points_N2[chosen[0]]).sum(1)
    while len(chosen) < min(count, len(points_N2)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.square(points_N2 - points_N2[chosen[-1]]).sum(1))
    return chosen


def agreement(full_NE: Tensor, flat_N2: Tensor, generator: np.random.Generator) -> float:
    """Mean share of an item's 15 nearest in the full space that are among its 15 nearest on the map.

    Among at most 1,000 items that ``generator`` draws, so that figures of large and small maps can be compared.
    """
    tried = torch.as_tensor(np.sort(generator.permutation(len(full_NE))[:_TRIED]))
    count = min(_NEIGHBOURS, len(tried) - 1)
    if count < 1:
        return 1.0
    near = []
    for vectors in (full_NE[tried], flat_N2[tried]):
        distance_NN = torch.cdist(vectors, vectors).fill_diagonal_(torch.inf)
        near.append(distance_NN.topk(count, largest=False).indices)
    shared_NKK = near[0][:, :, None] == near[1][:, None, :]
    return float(shared_NKK.any(2).double().mean())

"""A flat map of the space by principal components, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .vectors import unit

_NEIGHBOURS = 15
_TRIED = 1000


@dataclass(frozen=True, slots=True)
class Map:
    """Points by modality ``(N, 2)``; the share of variance they keep; the share of true neighbours that stay near."""

    points: Mapping[str, np.ndarray]
    explained: float
    agreement: float


def pca_map(vectors: Mapping[str, Tensor], most: int = 1500, seed: int = 0) -> tuple[Map, dict[str, np.ndarray]]:
    """The map of at most ``most`` items a modality, and by modality the rows that were drawn for it.

    Each modality is centred on its own mean: otherwise the gap between them would be the first axis and the map would
    show nothing else.
    """
    generator = np.random.default_rng(seed)
    rows = {name: np.sort(generator.permutation(len(v))[:most]) for name, v in vectors.items()}
    centred = {}
    for name, vectors_NE in vectors.items():
        unit_NE = unit(vectors_NE[torch.as_tensor(rows[name], device=vectors_NE.device)], f"{name} embeddings")
        centred[name] = unit_NE - unit_NE.mean(0)
    all_NE = torch.cat(list(centred.values()))
    _, singular, axes = torch.linalg.svd(all_NE.double(), full_matrices=False)
    flat_N2 = (all_NE.double() @ axes[:2].T).cpu()
    pieces = flat_N2.split([len(v) for v in centred.values()])
    total = float(singular.square().sum())
    explained = float(singular[:2].square().sum()) / total if total > 0 else 0.0
    points = {name: np.asarray(piece) for name, piece in zip(centred, pieces, strict=True)}
    return Map(points, explained, agreement(all_NE.cpu(), flat_N2.float(), generator)), rows


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

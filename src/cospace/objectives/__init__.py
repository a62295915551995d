"""Losses on embeddings. One objective per file.

The contract of a file here: a frozen ``Config`` with ``build()``, which returns a module whose ``forward`` takes
``embeddings`` (modality to ``(B, E)``, row ``i`` of each belongs together, of any length) and ``groups`` (``(B,)``
integers; equal means a true match) and returns a scalar. An objective never sees the model, the rank or the
configuration; it normalises where its paper does, and owns its learned scale and bias in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def modality_pairs(embeddings: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Every two modalities of a batch, in float32 or better, in an order that does not depend on the mapping's."""
    full = {name: rows_BE.to(torch.promote_types(rows_BE.dtype, torch.float32)) for name, rows_BE in embeddings.items()}
    return [(full[a], full[b]) for a, b in combinations(sorted(full), 2)]


def cosine(left_BE: Tensor, right_BE: Tensor) -> Tensor:
    """Cosine of every left row with every right row, ``(B, B)``."""
    return normalize(left_BE, dim=-1) @ normalize(right_BE, dim=-1).T


def same_group(groups_B: Tensor) -> Tensor:
    """``(B, B)``, true where two rows are true matches of each other."""
    return groups_B[:, None] == groups_B[None, :]


def average(losses: list[Tensor]) -> Tensor:
    """Mean over modality pairs."""
    return torch.stack(losses).mean()

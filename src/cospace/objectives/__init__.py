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
    return torch.stack(losses).mean(0)


DOUBTFUL = 2.0
"""Standard deviations above the cosine of strangers from which on a pair is believed."""


@torch.no_grad()
def trusted(embeddings: Mapping[str, Tensor], share: float) -> Tensor:
    """The rows ``(K,)`` of a batch that are worth learning from; at most ``share`` of them are left out.

    Trimmed loss (Shen and Sanghavi 2019): a pair that the model, which learns the common before the odd (Arpit et
    al. 2017), finds among the least alike is probably wrong. Left out are those of the lowest ``share`` that are no
    more alike than strangers are, so pairs that are plainly right stay even where nothing is wrong.
    """
    own_B, strange_B = (
        average([_alike(left_BE, right_BE.roll(shift, 0)) for left_BE, right_BE in modality_pairs(embeddings)])
        for shift in (0, 1)
    )
    low_B = own_B.argsort().argsort() < int(share * len(own_B))
    return torch.nonzero(~(low_B & (own_B < strange_B.mean() + DOUBTFUL * strange_B.std())))[:, 0]


def _alike(left_BE: Tensor, right_BE: Tensor) -> Tensor:
    """Cosine of each row of one side with the same row of the other."""
    alike_B: Tensor = torch.linalg.vecdot(normalize(left_BE, dim=-1), normalize(right_BE, dim=-1))
    return alike_B

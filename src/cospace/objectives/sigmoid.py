"""The pairwise sigmoid loss of SigLIP (Zhai et al. 2023): every pair of rows is its own yes-or-no question.

Rows of one group are matches. The learned bias starts where the loss expects the batch's share of matches.

:func:`dense` is the definition. :func:`tiled` is the same number and the same gradients without a ``(B, B)`` matrix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from ..config import PartConfig
from . import average, cosine, modality_pairs, same_group
from ._tiled import Gradients, Tiles, is_small, with_gradients


class Config(PartConfig):
    """Inverse temperature and bias to start from (section 3.1 of the paper: 10 and -10); both are learned."""

    scale: float = Field(default=10.0, gt=0)
    bias: float = -10.0
    max_scale: float = Field(default=100.0, ge=1)

    def build(self) -> Sigmoid:
        return Sigmoid(self)


class Sigmoid(nn.Module):
    """Binary cross-entropy over all pairs of rows, summed over a row and averaged over rows."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale)))
        self.bias = nn.Parameter(torch.tensor(config.bias))
        self.max_log_scale = math.log(config.max_scale)

    def forward(self, embeddings: Mapping[str, Tensor], groups: Tensor) -> Tensor:
        scale = self.log_scale.clamp(0.0, self.max_log_scale).exp()
        ask = dense if is_small(groups) else tiled
        return average([ask(groups, left, right, scale, self.bias) for left, right in modality_pairs(embeddings)])


def dense(groups_B: Tensor, left_BE: Tensor, right_BE: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Mean over rows of the summed loss of a row's questions."""
    logits_BB = scale * cosine(left_BE, right_BE) + bias
    sign_BB = same_group(groups_B).to(logits_BB.dtype) * 2 - 1
    return -logsigmoid(sign_BB * logits_BB).sum(1).mean()


def tiled(groups_B: Tensor, left_BE: Tensor, right_BE: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """:func:`dense` in memory that grows with ``B * E`` alone."""
    return with_gradients(partial(loss_and_gradients, groups_B), left_BE, right_BE, scale, bias)


def loss_and_gradients(
    groups_B: Tensor, left_BE: Tensor, right_BE: Tensor, scale: Tensor, bias: Tensor
) -> tuple[Tensor, Gradients]:
    """The loss of :func:`dense` and its gradients for both sides, the scale and the bias."""
    tiles = Tiles(left_BE, right_BE, groups_B, scale.item())
    loss_B, slope_B = torch.zeros_like(tiles.matches_B), torch.zeros_like(tiles.matches_B)
    for tile in tiles:
        logits_RC = tile.logits_RC.add_(bias)
        sign_KC = 1 - 2 * tile.match_KC.to(logits_RC.dtype)
        logits_RC[tile.near].mul_(sign_KC)
        loss_B[tile.rows] += softplus(logits_RC, threshold=EXACT).sum(1)
        slope_RC = logits_RC.sigmoid_()
        slope_RC[tile.near].mul_(sign_KC)
        slope_B[tile.rows] += slope_RC.sum(1)
        tiles.add_gradient(tile, slope_RC)
    return loss_B.mean(), (*tiles.gradients(1 / len(groups_B)), slope_B.mean())


EXACT = 40.0
"""From here on ``softplus(x)`` is ``x`` to the last digit of a float64; torch's default of 20 is off by 2e-9."""

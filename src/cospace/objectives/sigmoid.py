"""The pairwise sigmoid loss of SigLIP (Zhai et al. 2023): every pair of rows is its own yes-or-no question.

The learned bias starts where the loss expects the batch's share of matches.

:func:`dense` is the definition. :func:`tiled` is the same number and the same gradients without a ``(B, B)`` matrix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from ..config import PartConfig
from ..matches import BatchMatches, ModalityPair, Relation
from . import PAIRS, aligned, cosine, per_pair_parameter, total
from ._tiled import Gradients, Tiles, is_small, with_gradients


class Config(PartConfig):
    """Where the learned temperature and bias start; the defaults are the paper's (section 3.1)."""

    init_logit_scale: float = Field(default=10.0, gt=0)
    """Inverse temperature to start from; it is learned, one for each pair of modalities."""
    init_logit_bias: float = -10.0
    """What is added to every logit at the start; it is learned, and low since most pairs of rows do not match."""
    max_logit_scale: float = Field(default=100.0, ge=1)
    """Largest inverse temperature that can be learned."""

    def build(self, pairs: Sequence[ModalityPair] = PAIRS) -> Sigmoid:
        return Sigmoid(self, pairs)


class Sigmoid(nn.Module):
    """Binary cross-entropy over all pairs of rows, summed over a row and averaged over rows."""

    def __init__(self, config: Config, pairs: Sequence[ModalityPair] = PAIRS) -> None:
        super().__init__()
        self.log_scale = per_pair_parameter(math.log(config.init_logit_scale), pairs)
        self.bias = per_pair_parameter(config.init_logit_bias, pairs)
        self.max_log_scale = math.log(config.max_logit_scale)

    def forward(self, embeddings: Mapping[str, Tensor], matches: BatchMatches) -> Tensor:
        losses = []
        for pair in aligned(embeddings, matches):
            scale = self.log_scale[pair.name].clamp(0.0, self.max_log_scale).exp()
            ask = dense if is_small(pair.left_KE) else tiled
            losses.append(ask(pair.relation, pair.left_KE, pair.right_KE, scale, self.bias[pair.name], pair.weight_K))
        return total(losses, embeddings)


def dense(
    relation: Relation,
    left_BE: Tensor,
    right_BE: Tensor,
    scale: Tensor,
    bias: Tensor,
    weight_B: Tensor | None = None,
) -> Tensor:
    """Mean over rows of the summed loss of a row's questions."""
    logits_BB = scale * cosine(left_BE, right_BE) + bias
    match_BB = relation.dense()
    loss_BB = -logsigmoid((match_BB.to(logits_BB.dtype) * 2 - 1) * logits_BB)
    if weight_B is not None:
        loss_BB = loss_BB * importance(match_BB, weight_B[:, None], weight_B)
    return loss_BB.sum(1).mean()


def importance(match_KC: Tensor, rows_K1: Tensor, columns_C: Tensor) -> Tensor:
    """How much each question counts: a match the mean weight of its two rows, what is none 1."""
    return torch.where(match_KC, (rows_K1 + columns_C) / 2, 1.0)


def tiled(
    relation: Relation,
    left_BE: Tensor,
    right_BE: Tensor,
    scale: Tensor,
    bias: Tensor,
    weight_B: Tensor | None = None,
) -> Tensor:
    """:func:`dense` in memory that grows with ``B * E`` alone."""
    return with_gradients(partial(loss_and_gradients, relation, weight_B), left_BE, right_BE, scale, bias)


def loss_and_gradients(
    relation: Relation, weight_B: Tensor | None, left_BE: Tensor, right_BE: Tensor, scale: Tensor, bias: Tensor
) -> tuple[Tensor, Gradients]:
    """The loss of :func:`dense` and its gradients for both sides, the scale and the bias."""
    tiles = Tiles(left_BE, right_BE, relation, scale.item(), weight_B)

    def of(rows: Sequence[slice]) -> Gradients:
        loss_B, slope_B = torch.zeros_like(tiles.left.matches_B), torch.zeros_like(tiles.left.matches_B)
        for tile in tiles.of(rows):
            logits_RC = tile.logits_RC.add_(bias)
            sign_KC = 1 - 2 * tile.match_KC.to(logits_RC.dtype)
            logits_RC[tile.near].mul_(sign_KC)
            loss_RC = softplus(logits_RC, threshold=EXACT)
            slope_RC = logits_RC.sigmoid_()
            slope_RC[tile.near].mul_(sign_KC)
            if tiles.left.weight_B is not None and tiles.right.weight_B is not None:
                rows_K1, columns_C = tiles.left.weight_B[tile.rows][tile.near, None], tiles.right.weight_B[tile.columns]
                important_KC = importance(tile.match_KC, rows_K1, columns_C)
                loss_RC[tile.near].mul_(important_KC)
                slope_RC[tile.near].mul_(important_KC)
            loss_B[tile.rows] += loss_RC.sum(1)
            slope_B[tile.rows] += slope_RC.sum(1)
            tiles.add_gradient(tile, slope_RC)
        return loss_B, slope_B, *tiles.take_gradients()

    loss_B, slope_B, left_BE, right_BE = tiles.together(of)
    tiles.give_gradients(left_BE, right_BE)
    return loss_B.mean(), (*tiles.gradients(1 / len(left_BE)), slope_B.mean())


EXACT = 40.0
"""From here on ``softplus(x)`` is ``x`` to the last digit of a float64; torch's default of 20 is off by 2e-9."""

"""Symmetric InfoNCE with a learned temperature: the loss of CLIP (Radford et al. 2021) and ALIGN (Jia et al. 2021).

Rows of one group are matches: they are never counted as negatives of each other. Each match is classified against
the other groups alone, ``log(1 + sum over other groups of the group's mean exp(s_row - s_match))``, and a row's matches
are averaged (the form of Khosla et al. 2020 with other positives kept out of the denominator). A group counts once
however many rows it has: with one row per group this is InfoNCE exactly, with classes as captions it is cross-entropy
over the classes, and a perfect space has loss 0 however often a caption repeats, where the plain form has a floor of
``ln d`` for ``d`` copies.

:func:`dense` is the definition. :func:`tiled` is the same number and the same gradients without a ``(B, B)`` matrix,
in three passes over the tiles of ``_tiled.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize

from ..config import PartConfig
from . import average, cosine, modality_pairs, same_group, trusted
from ._tiled import Gradients, Tile, Tiles, is_small, with_gradients


class Config(PartConfig):
    """``scale`` is the inverse temperature to start from; it is learned and kept within ``[1, max_scale]``.

    ``smoothing`` is the share of a row's target that is spread evenly over all groups (label smoothing, Szegedy et
    al. 2016): it keeps few classes, or doubtful pairs, from being learned by heart. ``trim`` is the share of a batch's
    pairs that may be left out where the model doubts them (:func:`cospace.objectives.trusted`): about as large as the
    share of wrong pairs, 0 for clean ones.
    """

    scale: float = Field(default=1 / 0.07, gt=0)
    max_scale: float = Field(default=100.0, ge=1)
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    trim: float = Field(default=0.0, ge=0, lt=1)

    def build(self) -> Softmax:
        return Softmax(self)


class Softmax(nn.Module):
    """Contrast every row with all rows of other groups, in both directions."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale)))
        self.max_log_scale = math.log(config.max_scale)
        self.smoothing, self.trim = config.smoothing, config.trim

    def forward(self, embeddings: Mapping[str, Tensor], groups: Tensor) -> Tensor:
        if self.trim and self.training:
            kept_K = trusted(embeddings, self.trim)
            embeddings, groups = {name: rows_BE[kept_K] for name, rows_BE in embeddings.items()}, groups[kept_K]
        scale = self.log_scale.clamp(0.0, self.max_log_scale).exp()
        contrast = dense if is_small(groups) else tiled
        pairs = modality_pairs(embeddings)
        loss = average([contrast(groups, left, right, scale) for left, right in pairs])
        if self.smoothing:
            loss = loss + self.smoothing * scale * average([lean(groups, left, right) for left, right in pairs])
        return loss


def lean(groups_B: Tensor, left_BE: Tensor, right_BE: Tensor) -> Tensor:
    """How much more alike rows are to their own group than to the mean of all groups; in both directions.

    Cross-entropy against smoothed targets is the plain one plus ``smoothing`` times the lead of the true class's logit
    over the mean logit. That is linear in the cosines, so sums of embeddings give it and no matrix is needed.
    """
    group_B = torch.unique(groups_B, return_inverse=True)[1]
    left_BE, right_BE = normalize(left_BE, dim=-1), normalize(right_BE, dim=-1)
    return average([_lead_of_own(group_B, left_BE, right_BE), _lead_of_own(group_B, right_BE, left_BE)])


def _lead_of_own(group_B: Tensor, rows_BE: Tensor, others_BE: Tensor) -> Tensor:
    count_G1 = group_B.bincount()[:, None].to(others_BE.dtype)
    mean_GE = others_BE.new_zeros(len(count_G1), others_BE.shape[1]).index_add(0, group_B, others_BE) / count_G1
    return (rows_BE * (mean_GE - mean_GE.mean(0))[group_B]).sum(1).mean()


def dense(groups_B: Tensor, left_BE: Tensor, right_BE: Tensor, scale: Tensor) -> Tensor:
    """Mean of the two directions."""
    match_BB = same_group(groups_B)
    logits_BB = scale * cosine(left_BE, right_BE)
    return average([classify(logits_BB, match_BB), classify(logits_BB.T, match_BB)])


def classify(logits_BB: Tensor, match_BB: Tensor) -> Tensor:
    """Mean over rows of the mean over a row's matches of the loss of telling the match from the other groups."""
    matches_B = match_BB.sum(1).to(logits_BB.dtype)
    others_BB = (logits_BB - matches_B.log()).masked_fill(match_BB, float("-inf"))
    bar_B1 = others_BB.logsumexp(1, keepdim=True).clamp(min=torch.finfo(logits_BB.dtype).min)
    loss_BB = -logsigmoid(logits_BB - bar_B1)
    return (loss_BB * match_BB / matches_B[:, None]).sum(1).mean()


def tiled(groups_B: Tensor, left_BE: Tensor, right_BE: Tensor, scale: Tensor) -> Tensor:
    """:func:`dense` in memory that grows with ``B * E`` alone."""
    return with_gradients(partial(loss_and_gradients, groups_B), left_BE, right_BE, scale)


def loss_and_gradients(groups_B: Tensor, left_BE: Tensor, right_BE: Tensor, scale: Tensor) -> tuple[Tensor, Gradients]:
    """The loss of :func:`dense` and its gradients for both sides and the scale.

    With ``m`` matches of a row and discounted logits ``t_ij = scale * cosine_ij - log m_i - log m_j`` both directions
    look alike: the other groups of row ``i`` set the bar ``logsumexp t_ij - log m_i``, and a match ``j`` has the loss
    ``softplus(bar_i - t_ij)``.
    """
    tiles = Tiles(left_BE, right_BE, groups_B, scale.item())
    bars = find_bars(tiles)
    loss_sum, doubts = judge_matches(tiles, bars)
    log_matches_B = tiles.matches_B.log()
    left_B, right_B = (doubt_B.log() - bar_B - log_matches_B for doubt_B, bar_B in zip(doubts, bars, strict=True))
    for tile in discounted(tiles, iter(tiles)):
        tiles.add_gradient(tile, logit_gradient(tiles, tile, bars, (left_B, right_B)))
    half_mean = 0.5 / len(groups_B)
    return half_mean * loss_sum, tiles.gradients(half_mean)


Both = tuple[Tensor, Tensor]
"""A number per row, ``(B,)`` in the order of groups, of left rows among right rows and of right among left."""


def discounted(tiles: Tiles, chosen: Iterator[Tile]) -> Iterator[Tile]:
    """Tiles whose logits count a group once, however many rows and columns it has."""
    log_matches_B = tiles.matches_B.log()
    for tile in chosen:
        tile.logits_RC.sub_(log_matches_B[tile.rows, None]).sub_(log_matches_B[tile.columns])
        yield tile


def find_bars(tiles: Tiles) -> Both:
    """First pass, over all tiles: what a row's other groups amount to, which its matches must exceed."""
    left_B, right_B = (torch.full_like(tiles.matches_B, float("-inf")) for _ in range(2))
    for tile in discounted(tiles, iter(tiles)):
        tile.logits_RC[tile.near].masked_fill_(tile.match_KC, float("-inf"))
        for sum_X, dim in ((left_B[tile.rows], 1), (right_B[tile.columns], 0)):
            torch.logaddexp(sum_X, tile.logits_RC.logsumexp(dim), out=sum_X)
    log_matches_B = tiles.matches_B.log()
    lowest = torch.finfo(left_B.dtype).min  # a row without other groups has a loss of zero, not of nan
    return left_B.sub_(log_matches_B).clamp_(min=lowest), right_B.sub_(log_matches_B).clamp_(min=lowest)


def judge_matches(tiles: Tiles, bars: Both) -> tuple[Tensor, Both]:
    """Second pass, over tiles with matches: the summed loss, and a row's doubt in its matches (0 none, 1 all)."""
    loss_B, left_B, right_B = (torch.zeros_like(tiles.matches_B) for _ in range(3))
    for tile in discounted(tiles, tiles.matching()):
        left_KC, right_KC = lead(tile, bars)
        share_KC = tile.match_KC / tiles.matches_B[tile.columns]
        for lead_KC, doubt_B, at, dim in ((left_KC, left_B, tile.rows, 1), (right_KC, right_B, tile.columns, 0)):
            loss_B[at] -= (share_KC * logsigmoid(lead_KC)).sum(dim)
            doubt_B[at] += (share_KC * lead_KC.neg_().sigmoid_()).sum(dim)
    return loss_B.sum(), (left_B, right_B)


def logit_gradient(tiles: Tiles, tile: Tile, bars: Both, offsets: Both) -> Tensor:
    """Third pass, over all tiles: a match is pulled by the doubt in it, which pushes the other groups in turn.

    ``offsets`` turn a logit into the log of its part in its row's, and in its column's, doubt.
    """
    left_KC, right_KC = lead(tile, bars)
    pull_KC = (left_KC.neg_().sigmoid_() + right_KC.neg_().sigmoid_()) / tiles.matches_B[tile.columns]
    left_B, right_B = offsets
    gradient_RC = (tile.logits_RC + left_B[tile.rows, None]).exp_()
    gradient_RC += tile.logits_RC.add_(right_B[tile.columns]).exp_()
    near_KC = gradient_RC[tile.near]
    near_KC.copy_(torch.where(tile.match_KC, -pull_KC, near_KC))
    return gradient_RC


def lead(tile: Tile, bars: Both) -> Both:
    """How far the logits near matches stand above their row's bar, and above their column's, ``(K, C)`` each."""
    left_B, right_B = bars
    near_KC = tile.logits_RC[tile.near]
    return near_KC - left_B[tile.rows][tile.near, None], near_KC - right_B[tile.columns]

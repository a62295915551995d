"""Symmetric InfoNCE with a learned temperature: the loss of CLIP (Radford et al. 2021) and ALIGN (Jia et al. 2021).

A row may match several others, and none of them is ever counted as a negative of it. Each match is classified against
what does not match the row, ``log(1 + sum over the others of exp(s_row - s_match) / c)``, where ``c`` is how many rows
match that other one, and a row's matches are averaged (the form of Khosla et al. 2020 with other positives kept out of
the denominator). Where matches are groups of rows a group so counts once, by its mean, however many rows it has: with
one row per group this is InfoNCE exactly, with classes as captions it is cross-entropy over the classes, and a perfect
space has loss 0 however often a caption repeats, where the plain form has a floor of ``ln d`` for ``d`` copies.

:func:`dense` is the definition. :func:`tiled` is the same number and the same gradients without a ``(B, B)`` matrix,
in three passes over the tiles of ``_tiled.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize

from ..config import PartConfig
from ..matches import BatchMatches, ModalityPair, Relation
from . import PAIRS, Aligned, aligned, average, cosine, per_pair_parameter, small_loss_rows, total, weighted_mean
from ._tiled import Gradients, Tile, Tiles, is_small, with_gradients


class Config(PartConfig):
    """Where the learned temperature starts, and what guards against few classes and wrong pairs."""

    init_logit_scale: float = Field(default=1 / 0.07, gt=0)
    """Inverse temperature to start from; it is learned, one for each pair of modalities."""
    max_logit_scale: float = Field(default=100.0, ge=1)
    """Largest inverse temperature that can be learned."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of a target spread evenly over a batch's distinct items (Szegedy 2016), against memorising few classes."""
    loss_truncation: float = Field(default=0.0, ge=0, lt=1)
    """Largest share of a batch's pairs left out as probably wrong (Shen 2019): the share of wrong pairs, if known."""

    def build(self, pairs: Sequence[ModalityPair] = PAIRS) -> Softmax:
        return Softmax(self, pairs)


class Softmax(nn.Module):
    """Contrast every row with all rows that it does not match, in both directions."""

    def __init__(self, config: Config, pairs: Sequence[ModalityPair] = PAIRS) -> None:
        super().__init__()
        self.log_scale = per_pair_parameter(math.log(config.init_logit_scale), pairs)
        self.max_log_scale = math.log(config.max_logit_scale)
        self.label_smoothing, self.loss_truncation = config.label_smoothing, config.loss_truncation

    def forward(self, embeddings: Mapping[str, Tensor], matches: BatchMatches) -> Tensor:
        return total([self._loss(pair) for pair in aligned(embeddings, matches)], embeddings)

    def _loss(self, pair: Aligned) -> Tensor:
        left_KE, right_KE, relation, weight_K = pair.left_KE, pair.right_KE, pair.relation, pair.weight_K
        if self.loss_truncation and self.training:
            kept_K = small_loss_rows(left_KE, right_KE, self.loss_truncation)
            left_KE, right_KE, relation = left_KE[kept_K], right_KE[kept_K], relation.select(kept_K, kept_K)
            weight_K = None if weight_K is None else weight_K[kept_K]
        scale = self.log_scale[pair.name].clamp(0.0, self.max_log_scale).exp()
        contrast = dense if is_small(left_KE) else tiled
        loss: Tensor = contrast(relation, left_KE, right_KE, scale, weight_K)
        if not self.label_smoothing:
            return loss
        leads: Tensor = self.label_smoothing * scale * smoothing_term(relation, left_KE, right_KE, weight_K)
        return loss + leads


def smoothing_term(relation: Relation, left_BE: Tensor, right_BE: Tensor, weight_B: Tensor | None = None) -> Tensor:
    """How much more alike rows are to their own matches than to the mean of all rows; in both directions.

    In that mean a row counts one over its number of matches, so that a group of rows counts once. Cross-entropy
    against smoothed targets is the plain one plus ``label_smoothing`` times the lead of the true class's logit over
    the mean logit. That is linear in the cosines, so sums of embeddings give it and no matrix is needed.
    """
    left_BE, right_BE = normalize(left_BE, dim=-1), normalize(right_BE, dim=-1)
    if relation.complete:
        group_B = relation.component_L[relation.left_N]
        leads = [_lead_of_own(group_B, left_BE, right_BE), _lead_of_own(group_B, right_BE, left_BE)]
    else:
        leads = [_lead_of_matches(relation, left_BE, right_BE), _lead_of_matches(relation.T, right_BE, left_BE)]
    return average([weighted_mean(lead_B, weight_B) for lead_B in leads])


def _lead_of_own(group_B: Tensor, rows_BE: Tensor, others_BE: Tensor) -> Tensor:
    """Where matches are groups: against the group's own mean and the mean of all groups; of each row."""
    count_G1 = group_B.bincount()[:, None].to(others_BE.dtype)
    mean_GE = others_BE.new_zeros(len(count_G1), others_BE.shape[1]).index_add(0, group_B, others_BE) / count_G1
    return (rows_BE * (mean_GE - mean_GE.mean(0))[group_B]).sum(1)


def _lead_of_matches(relation: Relation, rows_BE: Tensor, others_BE: Tensor) -> Tensor:
    """For any relation, by way of the sums over equal items."""
    matches_B, matched_B = (counts_B.to(others_BE.dtype) for counts_B in relation.counts())
    left_P, right_P = relation.pairs_P2.T
    nothing_E = others_BE.new_zeros(1, others_BE.shape[1])
    item_RE = nothing_E.repeat(len(relation.component_R), 1).index_add(0, relation.right_M, others_BE)
    match_LE = nothing_E.repeat(len(relation.component_L), 1).index_add(0, left_P, item_RE[right_P])
    own_BE = match_LE[relation.left_N] / matches_B[:, None]
    weight_B = 1 / matched_B
    mean_E = (weight_B / weight_B.sum()) @ others_BE
    return (rows_BE * (own_BE - mean_E)).sum(1)


def dense(
    relation: Relation, left_BE: Tensor, right_BE: Tensor, scale: Tensor, weight_B: Tensor | None = None
) -> Tensor:
    """Mean of the two directions, in both of which a row counts by its weight."""
    match_BB = relation.dense()
    logits_BB = scale * cosine(left_BE, right_BE)
    return average([classify(logits_BB, match_BB, weight_B), classify(logits_BB.T, match_BB.T, weight_B)])


def classify(logits_BB: Tensor, match_BB: Tensor, weight_B: Tensor | None = None) -> Tensor:
    """Mean over rows of the mean over a row's matches of the loss of separating the match from what is none."""
    matches_B, matched_B = (match_BB.sum(dim).to(logits_BB.dtype) for dim in (1, 0))
    others_BB = (logits_BB - matched_B.log()).masked_fill(match_BB, float("-inf"))
    negative_B1 = others_BB.logsumexp(1, keepdim=True).clamp(min=torch.finfo(logits_BB.dtype).min)
    loss_BB = -logsigmoid(logits_BB - negative_B1)
    return weighted_mean((loss_BB * match_BB / matches_B[:, None]).sum(1), weight_B)


def tiled(
    relation: Relation, left_BE: Tensor, right_BE: Tensor, scale: Tensor, weight_B: Tensor | None = None
) -> Tensor:
    """:func:`dense` in memory that grows with ``B * E`` alone."""
    return with_gradients(partial(loss_and_gradients, relation, weight_B), left_BE, right_BE, scale)


def loss_and_gradients(
    relation: Relation, weight_B: Tensor | None, left_BE: Tensor, right_BE: Tensor, scale: Tensor
) -> tuple[Tensor, Gradients]:
    """The loss of :func:`dense` and its gradients for both sides and the scale.

    With ``r`` matches of a row, ``c`` of a column and discounted logits ``t_ij = s_ij - log r_i - log c_j`` both
    directions look alike: the negatives of row ``i`` add up to ``n_i = logsumexp t_ij``, and a match ``j`` has the
    loss ``softplus(n_i - t_ij - log c_j)``.
    """
    tiles = Tiles(left_BE, right_BE, relation, scale.item(), weight_B)
    negatives = negative_logsumexps(tiles)
    loss_sum, residuals = positive_losses(tiles, negatives)
    left_B, right_B = (
        residual_B.log() - negative_B for residual_B, negative_B in zip(residuals, negatives, strict=True)
    )

    def gradients_of(rows: Sequence[slice]) -> Gradients:
        for tile in deduplicated(tiles, tiles.of(rows)):
            tiles.add_gradient(tile, logit_gradient(tiles, tile, negatives, (left_B, right_B)))
        return tiles.take_gradients()

    tiles.give_gradients(*tiles.together(gradients_of))
    half_mean = 0.5 / len(left_BE)
    return half_mean * loss_sum, tiles.gradients(half_mean)


Both = tuple[Tensor, Tensor]
"""A number per row, each side in its own order: of left rows among right rows, and of right among left."""


def deduplicated(tiles: Tiles, chosen: Iterator[Tile]) -> Iterator[Tile]:
    """Tiles whose logits count a group once, however many rows and columns it has."""
    left_B, right_B = tiles.left.log_matches_B, tiles.right.log_matches_B
    for tile in chosen:
        tile.logits_RC.sub_(left_B[tile.rows, None]).sub_(right_B[tile.columns])
        yield tile


def negative_logsumexps(tiles: Tiles) -> Both:
    """First pass, over all tiles: what a row does not match amounts to, which its matches must exceed."""

    def of(rows: Sequence[slice]) -> Both:
        left_B, right_B = (torch.full_like(side.matches_B, float("-inf")) for side in (tiles.left, tiles.right))
        for tile in deduplicated(tiles, tiles.of(rows)):
            tile.logits_RC[tile.near].masked_fill_(tile.match_KC, float("-inf"))
            for sum_X, dim in ((left_B[tile.rows], 1), (right_B[tile.columns], 0)):
                torch.logaddexp(sum_X, tile.logits_RC.logsumexp(dim), out=sum_X)
        return left_B, right_B

    left_B, right_B = tiles.together(of, torch.logaddexp)
    lowest = torch.finfo(left_B.dtype).min  # a row that matches everything has a loss of zero, not of nan
    return left_B.clamp_(min=lowest), right_B.clamp_(min=lowest)


def positive_losses(tiles: Tiles, negatives: Both) -> tuple[Tensor, Both]:
    """Second pass, over tiles with matches: the summed loss, and residuals: 1 less the mean probability of matches.

    Both are those of a row times its weight.
    """

    def of(rows: Sequence[slice]) -> tuple[Tensor, ...]:
        found = tuple(torch.zeros_like(side.matches_B) for side in (tiles.left, tiles.right) * 2)
        left_B, right_B, left_loss_B, right_loss_B = found
        for tile in deduplicated(tiles, tiles.matching(rows)):
            left_KC, right_KC = margins(tiles, tile, negatives)
            for margin_KC, loss_B, residual_B, at, near, dim in (
                (left_KC, left_loss_B, left_B, tile.rows, tile.near, 1),
                (right_KC, right_loss_B, right_B, tile.columns, slice(None), 0),
            ):
                loss_B[at][near] -= (tile.match_KC * logsigmoid(margin_KC)).sum(dim)
                residual_B[at][near] += margin_KC.neg_().sigmoid_().mul_(tile.match_KC).sum(dim)
        return found

    left_B, right_B, left_loss_B, right_loss_B = tiles.together(of)
    left_B.div_(tiles.left.divisor_B)
    right_B.div_(tiles.right.divisor_B)
    loss_sum = (left_loss_B / tiles.left.divisor_B).sum() + (right_loss_B / tiles.right.divisor_B).sum()
    return loss_sum, (left_B, right_B)


def logit_gradient(tiles: Tiles, tile: Tile, negatives: Both, offsets: Both) -> Tensor:
    """Third pass, over all tiles: a match is pulled by the residual of its row, by which what is none is pushed.

    ``offsets`` turn a logit into the log of its part in its row's, and in its column's, residual.
    """
    left_KC, right_KC = margins(tiles, tile, negatives)
    left_KC.neg_().sigmoid_().div_(tiles.left.divisor_B[tile.rows][tile.near, None])
    pull_KC = left_KC.add_(right_KC.neg_().sigmoid_().div_(tiles.right.divisor_B[tile.columns])).neg_()
    left_B, right_B = offsets
    gradient_RC = (tile.logits_RC + left_B[tile.rows, None]).exp_()
    gradient_RC += tile.logits_RC.add_(right_B[tile.columns]).exp_()
    near_KC = gradient_RC[tile.near]
    near_KC.copy_(torch.where(tile.match_KC, pull_KC, near_KC))
    return gradient_RC


def margins(tiles: Tiles, tile: Tile, negatives: Both) -> Both:
    """How far the logits near matches stand above the negatives of their row, and of their column, ``(K, C)`` each."""
    near_KC = tile.logits_RC[tile.near]
    left_K1, right_C = negatives[0][tile.rows][tile.near, None], negatives[1][tile.columns]
    log_left_K1 = tiles.left.log_matches_B[tile.rows][tile.near, None]
    log_right_C = tiles.right.log_matches_B[tile.columns]
    return (near_KC + log_right_C).sub_(left_K1), (near_KC + log_left_K1).sub_(right_C)

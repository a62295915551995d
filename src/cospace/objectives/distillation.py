"""Distillation from a teacher's space beside another objective: similarities become those that the teacher finds.

Each row of the batch's similarities is a distribution over the other side's items. Its divergence from the teacher's is
the loss, in both directions (CLIP-KD, Yang et al. 2024, section 3.2; MobileCLIP, Vasu et al. 2024, equation 3). Cosines
alone are compared, so the teacher's vectors may have another length. The learned temperature is the one of the
objective beside it; the teacher keeps its own.

:func:`dense` is the definition. :func:`tiled` is the same number and the same gradients without a ``(B, B)`` matrix, in
two passes over the tiles of ``_tiled.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ..matches import BatchMatches, ModalityPair, Relation
from . import PAIRS, Aligned, OfAnother, aligned, average, cosine, fitted_to, per_pair_parameter, total
from ._tiled import Gradients, Side, Tile, Tiles, is_small, with_gradients

USUAL_SCALE = 100.0
"""Inverse temperature of a teacher that says none of its own: CLIP's, at the end of its training."""


class Config(OfAnother):
    """How much the teacher counts, and how sharp its similarities are."""

    weight: float = Field(default=0.5, ge=0, le=1)
    """Share of the loss that is the divergence from the teacher, beside the objective's; 1 is distillation alone."""
    teacher_logit_scale: float | None = Field(default=None, gt=0)
    """Inverse temperature of the teacher's cosines; left open, the one that it learned itself, otherwise 100."""

    def fitted(self, width: int) -> Config:
        """With the objective beside it fitted to an embedding of ``width`` numbers."""
        return self.model_copy(update={"of": fitted_to(self.of, width)})

    def build(self, pairs: Sequence[ModalityPair] = PAIRS) -> Distillation:
        return Distillation(self, self.build_inner(pairs), pairs)


class Distillation(nn.Module):
    """The objective where the teacher has no vectors, a mixture of both losses where it has."""

    def __init__(self, config: Config, of: nn.Module, pairs: Sequence[ModalityPair]) -> None:
        super().__init__()
        self.of, self.weight = of, config.weight
        self.teacher_scale = config.teacher_logit_scale or USUAL_SCALE
        self._scaled = tuple(module for module in of.modules() if hasattr(module, "log_scale"))[:1]
        if not self._scaled:
            self.log_scale, self.max_log_scale = per_pair_parameter(math.log(1 / 0.07), pairs), math.log(USUAL_SCALE)

    def forward(self, embeddings: Mapping[str, Tensor], matches: BatchMatches) -> Tensor:
        taught = [pair for pair in aligned(embeddings, matches) if pair.teacher is not None]
        if not taught or not self.weight:
            return self._beside(embeddings, matches)
        names = {(pair.left, pair.right) for pair in taught}
        losses = [self.weight * total([self._loss(pair) for pair in taught], embeddings)]
        if self.weight < 1:
            losses.append((1 - self.weight) * self._beside(embeddings, matches.only(names)))
        if untaught := matches.pairs.keys() - names:
            losses.append(self._beside(embeddings, matches.only(untaught)))
        return torch.stack(losses).sum(0)

    def _beside(self, embeddings: Mapping[str, Tensor], matches: BatchMatches) -> Tensor:
        loss: Tensor = self.of(embeddings, matches)
        return loss

    def _loss(self, pair: Aligned) -> Tensor:
        assert pair.teacher is not None
        left_KD, right_KD = (side.to(pair.left_KE.dtype) for side in pair.teacher)
        scaled: Any = self._scaled[0] if self._scaled else self
        scale = scaled.log_scale[pair.name].clamp(0.0, scaled.max_log_scale).exp()
        compare = dense if is_small(pair.left_KE) else tiled
        teacher = left_KD, right_KD, self.teacher_scale
        return compare(teacher, pair.relation, pair.left_KE, pair.right_KE, scale)


Teacher = tuple[Tensor, Tensor, float]
"""The teacher's vectors of both sides, ``(B, D)`` each, and its inverse temperature."""


def dense(teacher: Teacher, relation: Relation, left_BE: Tensor, right_BE: Tensor, scale: Tensor) -> Tensor:
    """Mean of the two directions. What matches plays no part."""
    target_BB = teacher[2] * cosine(*teacher[:2])
    logits_BB = scale * cosine(left_BE, right_BE)
    return average([divergence(target_BB, logits_BB), divergence(target_BB.T, logits_BB.T)])


def divergence(target_BB: Tensor, logits_BB: Tensor) -> Tensor:
    """Mean over rows of Kullback and Leibler's divergence of the softmax of ``logits_BB`` from that of the target."""
    known_BB = target_BB.log_softmax(1)
    return (known_BB.exp() * (known_BB - logits_BB.log_softmax(1))).sum(1).mean()


def tiled(teacher: Teacher, relation: Relation, left_BE: Tensor, right_BE: Tensor, scale: Tensor) -> Tensor:
    """:func:`dense` in memory that grows with ``B * (E + D)`` alone."""
    return with_gradients(partial(loss_and_gradients, teacher, relation), left_BE, right_BE, scale)


def loss_and_gradients(
    teacher: Teacher, relation: Relation, left_BE: Tensor, right_BE: Tensor, scale: Tensor
) -> tuple[Tensor, Gradients]:
    """The loss of :func:`dense` and its gradients for both sides and the scale.

    The gradient of a logit is the difference of the two probabilities, of its row's softmax and of its column's.
    """
    tiles = Tiles(left_BE, right_BE, relation, scale.item())
    targets = Targets(teacher, tiles)
    sums = logsumexps(tiles, targets)

    def of(rows: Sequence[slice]) -> Gradients:
        loss_B = torch.zeros_like(tiles.left.matches_B)
        for tile, target_RC in targets.beside(tiles.of(rows)):
            loss_B[tile.rows] += differences(tile, target_RC, sums)
            tiles.add_gradient(tile, tile.logits_RC)
        return loss_B, *tiles.take_gradients()

    loss_B, left_BE, right_BE = tiles.together(of)
    tiles.give_gradients(left_BE, right_BE)
    half_mean = 0.5 / len(loss_B)
    return half_mean * loss_B.sum(), tiles.gradients(half_mean)


class Targets:
    """The teacher's logits, in the tiles of those that learn from it."""

    def __init__(self, teacher: Teacher, tiles: Tiles) -> None:
        left_BD, right_BD, self.scale = teacher
        nothing_B = torch.ones_like(tiles.left.matches_B)
        self.left = Side(left_BD, tiles.order.left_B, nothing_B, tiles.height)
        self.right = Side(right_BD, tiles.order.right_B, nothing_B, tiles.width)

    def beside(self, tiles: Iterator[Tile]) -> Iterator[tuple[Tile, Tensor]]:
        """Every tile with the teacher's."""
        for tile in tiles:
            yield tile, (self.left.unit(tile.rows) @ self.right.unit(tile.columns).T).mul_(self.scale)


def logsumexps(tiles: Tiles, targets: Targets) -> tuple[Tensor, ...]:
    """First pass: the logarithm of every softmax's denominator: of the teacher's rows and columns, then of ours."""

    def of(rows: Sequence[slice]) -> Gradients:
        found = tuple(torch.full_like(tiles.left.matches_B, float("-inf")) for _ in range(4))
        for tile, target_RC in targets.beside(tiles.of(rows)):
            for (rows_B, columns_B), logits_RC in ((found[:2], target_RC), (found[2:], tile.logits_RC)):
                for sum_X, dim in ((rows_B[tile.rows], 1), (columns_B[tile.columns], 0)):
                    torch.logaddexp(sum_X, logits_RC.logsumexp(dim), out=sum_X)
        return found

    return tiles.together(of, torch.logaddexp)


def differences(tile: Tile, target_RC: Tensor, sums: Sequence[Tensor]) -> Tensor:
    """A tile's part of the loss, by row ``(R,)``; the gradient takes the place of its logits."""
    loss_R = torch.zeros_like(target_RC[:, 0])
    gradient_RC = torch.zeros_like(target_RC)
    target_rows_B, target_columns_B, own_rows_B, own_columns_B = sums
    for target_sum, own_sum in (
        (target_rows_B[tile.rows, None], own_rows_B[tile.rows, None]),
        (target_columns_B[tile.columns], own_columns_B[tile.columns]),
    ):
        known_RC, found_RC = target_RC - target_sum, tile.logits_RC - own_sum
        loss_R += (known_RC.exp() * (known_RC - found_RC)).sum(1)
        gradient_RC.add_(found_RC.exp_()).sub_(known_RC.exp_())
    tile.logits_RC.copy_(gradient_RC)
    return loss_R

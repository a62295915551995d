"""Variance-invariance-covariance regularisation (Bardes et al. 2022, eq. 6): alignment that cannot collapse.

The invariance term is the alignment loss. The variance term keeps every coordinate's standard deviation above one,
the covariance term keeps coordinates from being redundant. No negatives, so other matches play no part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field
from torch import Tensor, nn

from ..config import PartConfig
from ..matches import BatchMatches, ModalityPair
from . import PAIRS, aligned, total, weighted_mean


class Config(PartConfig):
    """Weights of the three terms; the defaults are the paper's (section 4.2)."""

    invariance: float = Field(default=25.0, ge=0)
    """Weight of the term that pulls pairs together."""
    variance: float = Field(default=25.0, ge=0)
    """Weight of the term that keeps every coordinate's standard deviation above one."""
    covariance: float = Field(default=1.0, ge=0)
    """Weight of the term that keeps coordinates uncorrelated."""

    def build(self, pairs: Sequence[ModalityPair] = PAIRS) -> VICReg:
        return VICReg(self)


class VICReg(nn.Module):
    """Weighted sum of the three terms on embeddings as they are, not normalised."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, embeddings: Mapping[str, Tensor], matches: BatchMatches) -> Tensor:
        losses, config = [], self.config
        for pair in aligned(embeddings, matches):
            invariance = weighted_mean((pair.left_KE - pair.right_KE).square().mean(-1), pair.weight_K)
            variance = spread(pair.left_KE) + spread(pair.right_KE)
            covariance = redundancy(pair.left_KE) + redundancy(pair.right_KE)
            losses.append(config.invariance * invariance + config.variance * variance + config.covariance * covariance)
        return total(losses, embeddings)


def spread(embeddings_BE: Tensor) -> Tensor:
    """How far the coordinates' standard deviations fall short of one (eq. 1)."""
    return (1 - (embeddings_BE.var(0) + 1e-4).sqrt()).relu().mean()


def redundancy(embeddings_BE: Tensor) -> Tensor:
    """Sum of squared off-diagonal covariances over the width (eq. 4)."""
    batch, width = embeddings_BE.shape
    centred_BE = embeddings_BE - embeddings_BE.mean(0)
    covariance_EE = centred_BE.T @ centred_BE / max(1, batch - 1)
    return (covariance_EE.square().sum() - covariance_EE.diagonal().square().sum()) / width

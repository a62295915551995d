"""The alignment loss: the squared distance of paired embeddings, ``L = ||f_image(I) - f_text(T)||^2``.

It pulls pairs together and pushes nothing apart, so a constant is a perfect solution: a plain run can collapse, and
the training loop says so when it does. ``vicreg`` is the same loss with terms that forbid it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ..config import PartConfig
from ..matches import BatchMatches, ModalityPair
from . import PAIRS, aligned, total, weighted_mean


class Config(PartConfig):
    """No settings."""

    def build(self, pairs: Sequence[ModalityPair] = PAIRS) -> MSE:
        return MSE()


class MSE(nn.Module):
    """Mean over the batch of the squared Euclidean distance of paired rows, not normalised."""

    def forward(self, embeddings: Mapping[str, Tensor], matches: BatchMatches) -> Tensor:
        losses = [
            weighted_mean((pair.left_KE - pair.right_KE).square().sum(-1), pair.weight_K)
            for pair in aligned(embeddings, matches)
        ]
        return total(losses, embeddings)

"""The alignment loss: the squared distance of paired embeddings, ``L = ||f_image(I) - f_text(T)||^2``.

It pulls pairs together and pushes nothing apart, so a constant is a perfect solution: a plain run can collapse, and
the training loop says so when it does. ``vicreg`` is the same loss with terms that forbid it.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..config import PartConfig
from . import average, modality_pairs


class Config(PartConfig):
    """No settings."""

    def build(self) -> MSE:
        return MSE()


class MSE(nn.Module):
    """Mean over the batch of the squared Euclidean distance of paired rows, not normalised."""

    def forward(self, embeddings: Mapping[str, Tensor], groups: Tensor) -> Tensor:
        return average([(left - right).square().sum(-1).mean() for left, right in modality_pairs(embeddings)])

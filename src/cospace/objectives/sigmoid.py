"""The pairwise sigmoid loss of SigLIP (Zhai et al. 2023): every pair of rows is its own yes-or-no question.

Rows of one group are matches. The learned bias starts where the loss expects the batch's share of matches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from ..config import PartConfig
from . import average, cosine, modality_pairs, same_group


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
        sign_BB = same_group(groups).float() * 2 - 1
        scale = self.log_scale.clamp(0.0, self.max_log_scale).exp()
        losses = [
            -logsigmoid(sign_BB * (scale * cosine(left_BE, right_BE) + self.bias)).sum(1).mean()
            for left_BE, right_BE in modality_pairs(embeddings)
        ]
        return average(losses)

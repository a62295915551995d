"""Symmetric InfoNCE with a learned temperature: the loss of CLIP (Radford et al. 2021) and ALIGN (Jia et al. 2021).

Rows of one group are matches: they are never counted as negatives of each other. Each match is classified against
the other groups alone, ``log(1 + sum over other groups of the group's mean exp(s_row - s_match))``, and a row's matches
are averaged (the form of Khosla et al. 2020 with other positives kept out of the denominator). A group counts once
however many rows it has: with one row per group this is InfoNCE exactly, with classes as captions it is cross-entropy
over the classes, and a perfect space has loss 0 however often a caption repeats, where the plain form has a floor of
``ln d`` for ``d`` copies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..config import PartConfig
from . import average, cosine, modality_pairs, same_group


class Config(PartConfig):
    """``scale`` is the inverse temperature to start from; it is learned and kept within ``[1, max_scale]``."""

    scale: float = Field(default=1 / 0.07, gt=0)
    max_scale: float = Field(default=100.0, ge=1)

    def build(self) -> Softmax:
        return Softmax(self)


class Softmax(nn.Module):
    """Contrast every row with all rows of other groups, in both directions."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale)))
        self.max_log_scale = math.log(config.max_scale)

    def forward(self, embeddings: Mapping[str, Tensor], groups: Tensor) -> Tensor:
        match_BB = same_group(groups)
        scale = self.log_scale.clamp(0.0, self.max_log_scale).exp()
        losses = []
        for left_BE, right_BE in modality_pairs(embeddings):
            logits_BB = scale * cosine(left_BE, right_BE)
            losses += [classify(logits_BB, match_BB), classify(logits_BB.T, match_BB)]
        return average(losses)


def classify(logits_BB: Tensor, match_BB: Tensor) -> Tensor:
    """Mean over rows of the mean over a row's matches of the loss of telling the match from the other groups."""
    matches_B = match_BB.sum(1)
    others_BB = (logits_BB - matches_B.log()).masked_fill(match_BB, float("-inf"))
    loss_BB = softplus(others_BB.logsumexp(1, keepdim=True).nan_to_num(neginf=-1e4) - logits_BB)
    return (loss_BB * match_BB / matches_B[:, None]).sum(1).mean()

"""The head that leads frozen features into the shared space, where it was fitted in closed form and not by gradients.

It has three parts, each of which the fit may leave out: a linear map (canonical correlations, ridge regression or an
orthogonal rotation), the class names that an image tower was trained to recognise, and a correction of hubs. The fit
itself is in :mod:`cospace.training.closed_form`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..config import Config
from ..types import UserError

HUB_DIMS = 4
"""Coordinates that the correction of hubs takes: two for the two sides' corrections, two that make norms equal."""


class HeadConfig(Config):
    """The shape of one of the two heads, and the numbers that both share."""

    side: Literal[0, 1]
    """The first or the second of the two modalities."""
    rank: int = Field(gt=0)
    """Dimensions of the linear part."""
    class_width: int = Field(default=0, ge=0)
    """Dimensions of the part that holds class names, 0 where there is none."""
    classes: int = Field(default=0, ge=0)
    """Classes of the tower's own classifier; 0 on the side of the texts."""
    class_weight: float = Field(default=0.0, ge=0)
    """Norm of the part that holds class names; that of the linear part is 1."""
    temperature: float = Field(default=2.0, gt=0)
    """What the classifier's logits are divided by before the softmax."""
    bank: int = Field(default=0, ge=0)
    """Training vectors of the other modality, against which hubs are found; 0 corrects none."""
    hub_scale: float = Field(default=10.0, gt=0)
    """Inverse temperature of the sum over the bank."""
    hub_factor: float = Field(default=0.3, gt=0)
    """What a correction is multiplied with on the other side; small, since it is a part of every vector."""
    hub_limit: float = Field(default=0.1, gt=0)
    """The largest correction that norms are made equal for."""

    @property
    def width(self) -> int:
        """Dimensions of the space."""
        return self.rank + self.class_width + (HUB_DIMS if self.bank else 0)


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """What a fit gives a head. Shapes: ``D`` features, ``R`` rank, ``C`` classes, ``K`` class width.

    ``classifier_CD``, ``bias_C`` and ``names_CK`` (the class names as the text tower pools them) are there on the side
    of a tower with a classifier.
    """

    center_D: Tensor
    map_DR: Tensor
    classifier_CD: Tensor | None = None
    bias_C: Tensor | None = None
    names_CK: Tensor | None = None


class ClosedFormHead(nn.Module):
    """Pooled features ``(B, D)`` to vectors ``(B, E)`` of one norm.

    Features are normalised first, so that their scale does not matter. The part of class names is the mean of the
    names' vectors under the classifier's softmax (ConSE, Norouzi et al. 2014), beside a text's own vector on the other
    side. The correction of hubs takes from a similarity the log-mean-exp of each side's similarities with the
    training vectors of the other one (inverted softmax, Smith et al. 2017; query-bank normalisation, Bogolin et al.
    2022). It stands in coordinates of its own, so that a plain product of two vectors holds it.
    """

    map_DR: nn.Parameter
    center_D: Tensor
    class_center_K: Tensor
    classifier_CD: Tensor
    bias_C: Tensor
    names_CK: Tensor
    bank_MZ: Tensor
    offset: Tensor

    def __init__(self, config: HeadConfig, features: int) -> None:
        super().__init__()
        self.config = config
        self.map_DR = nn.Parameter(torch.zeros(features, config.rank))
        classes, width = config.classes, config.class_width
        shapes = {
            "center_D": (features,),
            "class_center_K": (width,),
            "classifier_CD": (classes, features),
            "bias_C": (classes,),
            "names_CK": (classes, width),
            "bank_MZ": (config.bank, config.rank + width),
            "offset": (),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    def set(self, weights: HeadWeights) -> None:
        """Take over what was fitted."""
        with torch.no_grad():
            self.map_DR.copy_(weights.map_DR)
        for name in ("center_D", "classifier_CD", "bias_C", "names_CK"):
            fitted = getattr(weights, name)
            if fitted is not None and getattr(self, name).numel():
                getattr(self, name).copy_(fitted)

    def forward(self, pooled_BD: Tensor) -> Tensor:
        aligned_BZ = self.aligned(pooled_BD)
        return self._corrected(aligned_BZ) if self.config.bank else aligned_BZ

    def aligned(self, pooled_BD: Tensor) -> Tensor:
        """The vectors ``(B, Z)`` without the correction of hubs."""
        unit_BD = normalize(pooled_BD, dim=-1)
        linear_BR = normalize((unit_BD - self.center_D) @ self.map_DR, dim=-1)
        if not self.config.class_width:
            return linear_BR
        named_BK = normalize(self._named(pooled_BD, unit_BD) - self.class_center_K, dim=-1)
        return torch.cat([linear_BR, self.config.class_weight * named_BK], dim=-1)

    def _named(self, pooled_BD: Tensor, unit_BD: Tensor) -> Tensor:
        if not self.config.classes:
            return unit_BD
        logits_BC = pooled_BD @ self.classifier_CD.T + self.bias_C
        named_BK: Tensor = (logits_BC / self.config.temperature).softmax(-1) @ self.names_CK
        return named_BK

    def hubness(self, aligned_BZ: Tensor) -> Tensor:
        """How near a vector is to the other modality's training vectors ``(B,)``, less the mean of its own side."""
        near_B = torch.logsumexp(self.config.hub_scale * (aligned_BZ @ self.bank_MZ.T), dim=-1)
        return (near_B - math.log(len(self.bank_MZ))) / self.config.hub_scale - self.offset

    def _corrected(self, aligned_BZ: Tensor) -> Tensor:
        config = self.config
        correction_B = self.hubness(aligned_BZ).clamp(-config.hub_limit, config.hub_limit)
        own_B, other_B = -correction_B / config.hub_factor, torch.full_like(correction_B, config.hub_factor)
        fill_B = ((config.hub_limit / config.hub_factor) ** 2 - own_B**2).clamp_min(0).sqrt()
        extra = [own_B, other_B, fill_B, torch.zeros_like(fill_B)]
        order = (0, 1, 2, 3) if config.side == 0 else (1, 0, 3, 2)
        return torch.cat([aligned_BZ, torch.stack([extra[place] for place in order], dim=-1)], dim=-1)


def projection(encoder: nn.Module, width: int, head: HeadConfig | None = None) -> nn.Module:
    """From an encoder into the space: a linear map, a head that was fitted, or nothing where the encoder's own head
    leads there.
    """
    own = cast("int", encoder.width)
    if head is not None:
        return ClosedFormHead(head, own)
    if not getattr(encoder, "in_space", False):
        return nn.Linear(own, width, bias=False)
    if own != width:
        raise UserError(
            f"this encoder leads into a space of {own} dimensions, not {width}; set embed_dim={own}, or the encoder's "
            "projection_dim"
        )
    return nn.Identity()

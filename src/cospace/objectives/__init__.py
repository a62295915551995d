"""Losses on embeddings. One objective per file.

The contract of a file here: a frozen ``Config`` with ``build(pairs)``, which returns a module for these pairs of
modalities. Its ``forward`` takes ``embeddings`` (modality to ``(B_m, E)``, of any length, one for each row of the batch
that has the modality) and ``matches`` (:class:`cospace.matches.BatchMatches`: which rows have two modalities, and which
of them match) and returns a scalar, the sum over the pairs of modalities that the batch has. An objective never sees
the model, the rank or the configuration; it normalises where its paper does, and owns a learned scale and bias for
every pair of modalities in float32.

An objective made of another one names that one's settings ``of``; ``objective=matryoshka`` then is about the recipe's
own. Where a setting depends on the width of the embeddings, ``Config.fitted(width)`` fills it in, or refuses it. What
is trained for shorter vectors says for which by ``widths``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..config import PartConfig, lookup, names, part, plain
from ..matches import BatchMatches, ModalityPair, Relation
from ._division import divided

__all__ = [
    "FEWEST", "PAIRS", "Aligned", "OfAnother", "aligned", "average", "cosine", "divided", "fitted_to", "is_made_of",
    "per_pair_parameter", "small_loss_rows", "total", "trained_widths", "weighted_mean",
]  # fmt: skip

PAIRS: Sequence[ModalityPair] = (("image", "text"),)
"""The pairs of modalities that an objective is for where nothing else is said."""

FEWEST = 2
"""Rows that a pair of modalities needs in a batch; with fewer nothing can be contrasted, and the pair is left out."""

REGISTRY = "objectives"
"""Where objectives are registered."""


class BuildsObjective(Protocol):
    """The ``Config`` of an objective."""

    def build(self, pairs: Sequence[ModalityPair]) -> nn.Module:
        """The module for some pairs of modalities."""


class OfAnother(PartConfig):
    """Base of the settings of an objective that is made of another one."""

    of: dict[str, Any] = Field(default_factory=lambda: {"name": "softmax"}, validate_default=True)
    """The objective that it is made of, by name, with its settings; left open, the recipe's."""

    @field_validator("of", mode="before")
    @classmethod
    def _complete(cls, given: Any) -> dict[str, Any]:
        return plain(part(REGISTRY, given))

    def build_inner(self, pairs: Sequence[ModalityPair]) -> nn.Module:
        """The module of that objective."""
        inner: BuildsObjective = part(REGISTRY, self.of)  # type: ignore[assignment]
        return inner.build(pairs)


def is_made_of(name: str) -> bool:
    """Whether an objective of our own is made of another one."""
    return name in names(REGISTRY) and "of" in lookup(REGISTRY, name).model_fields


def fitted_to(settings: Mapping[str, Any], width: int) -> dict[str, Any]:
    """An objective's settings for embeddings of ``width`` numbers. Raises :class:`UserError` where they do not fit."""
    config: Any = part(REGISTRY, settings)
    return plain(config.fitted(width) if hasattr(config, "fitted") else config)


def trained_widths(objective: nn.Module) -> list[int]:
    """The lengths of shorter vectors that an objective trains for, ascending."""
    return sorted({width for module in objective.modules() for width in getattr(module, "widths", ())})


@dataclass(frozen=True, slots=True)
class Aligned:
    """Two modalities of a batch: the ``K`` rows that have both, in float32 or better, and what matches among them.

    ``weight_K`` is how much each counts, nothing where all count alike. ``teacher`` are the vectors of both sides,
    ``(K, D)`` each, in the space of a teacher that has both.
    """

    left: str
    right: str
    left_KE: Tensor
    right_KE: Tensor
    relation: Relation
    weight_K: Tensor | None = None
    teacher: tuple[Tensor, Tensor] | None = None

    @property
    def name(self) -> str:
        """What the learned numbers of these two are kept under."""
        return pair_name(self.left, self.right)


def aligned(embeddings: Mapping[str, Tensor], matches: BatchMatches) -> Iterator[Aligned]:
    """Every two modalities of a batch, in an order that does not depend on the mapping's."""
    full = {name: rows_BE.to(torch.promote_types(rows_BE.dtype, torch.float32)) for name, rows_BE in embeddings.items()}
    for left, right in sorted(matches.pairs):
        if left in full and right in full:
            together = matches.pairs[left, right]
            left_KE, right_KE = _some(full[left], together.left_K), _some(full[right], together.right_K)
            assert len(left_KE) == len(right_KE), f"{len(left_KE)} rows of {left}, {len(right_KE)} of {right}"
            if len(left_KE) >= FEWEST:
                weight_K = None if together.weight_K is None else together.weight_K.to(left_KE.dtype)
                yield Aligned(
                    left, right, left_KE, right_KE, together.relation, weight_K, _teacher(matches, left, right)
                )


def _teacher(matches: BatchMatches, left: str, right: str) -> tuple[Tensor, Tensor] | None:
    """The teacher's vectors of the rows that have two modalities."""
    if not {left, right} <= matches.teacher.keys():
        return None
    together = matches.pairs[left, right]
    return _some(matches.teacher[left], together.left_K), _some(matches.teacher[right], together.right_K)


def _some(rows_BE: Tensor, places_K: Tensor | None) -> Tensor:
    return rows_BE if places_K is None else rows_BE[places_K]


def pair_name(first: str, second: str) -> str:
    """What the numbers of two modalities are kept under, whichever is named first: ``image_text``."""
    return "_".join(sorted((first, second)))


def per_pair_parameter(value: float, pairs: Sequence[ModalityPair]) -> nn.ParameterDict:
    """A learned number for every pair of modalities, which starts at ``value``."""
    return nn.ParameterDict({pair_name(*pair): nn.Parameter(torch.tensor(value)) for pair in pairs})


def cosine(left_BE: Tensor, right_BE: Tensor) -> Tensor:
    """Cosine of every left row with every right row, ``(B, B)``."""
    return normalize(left_BE, dim=-1) @ normalize(right_BE, dim=-1).T


def weighted_mean(rows_B: Tensor, weight_B: Tensor | None) -> Tensor:
    """Mean over rows, each times its weight; these are 1 on average over a data set, not over a batch."""
    return rows_B.mean() if weight_B is None else (rows_B * weight_B).mean()


def average(losses: list[Tensor]) -> Tensor:
    """Mean of some losses."""
    return torch.stack(losses).mean(0)


def total(losses: list[Tensor], embeddings: Mapping[str, Tensor]) -> Tensor:
    """Sum over pairs of modalities; zero where a batch has none, with a gradient of zero."""
    if losses:
        return torch.stack(losses).sum(0)
    return torch.stack([rows_BE.float().sum() for rows_BE in embeddings.values()]).sum() * 0.0


DOUBTFUL = 2.0
"""Standard deviations above the cosine of non-matching rows from which on a pair is trusted."""


@torch.no_grad()
def small_loss_rows(left_BE: Tensor, right_BE: Tensor, share: float) -> Tensor:
    """The rows ``(K,)`` of a batch that are worth learning from; at most ``share`` of them are left out.

    Trimmed loss (Shen and Sanghavi 2019): a pair that the model, which learns what is common before what is odd
    (Arpit et al. 2017), finds among the least alike is probably wrong. Left out are those of the lowest ``share`` that
    are no more alike than rows that do not match, so pairs that are plainly right stay even where nothing is wrong.
    """
    own_B, other_B = (_alike(left_BE, right_BE.roll(shift, 0)) for shift in (0, 1))
    low_B = own_B.argsort().argsort() < int(share * len(own_B))
    return torch.nonzero(~(low_B & (own_B < other_B.mean() + DOUBTFUL * other_B.std())))[:, 0]


def _alike(left_BE: Tensor, right_BE: Tensor) -> Tensor:
    """Cosine of each row of one side with the same row of the other."""
    alike_B: Tensor = torch.linalg.vecdot(normalize(left_BE, dim=-1), normalize(right_BE, dim=-1))
    return alike_B

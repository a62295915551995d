"""Matryoshka (Kusupati et al. 2022): another objective, summed over the first numbers of the embeddings, so many each.

What the first numbers say alone is learned beside what all of them say, so vectors can be cut, for a smaller index and
a quicker search: ``cospace index RUN PAIRS --dimensions 64``. Each width is the whole objective on shorter embeddings
(equation 1 of the paper with all weights 1), normalised where that normalises, and all share its learned temperature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..matches import BatchMatches, ModalityPair
from ..types import SHORTEST, UserError
from . import PAIRS, OfAnother, fitted_to

HALVINGS = 3
"""Widths where none are chosen: a half, a quarter and an eighth of the embedding, as far as they are long enough."""


class Config(OfAnother):
    """The objective at each width, and the widths beside that of the whole embedding."""

    widths: tuple[int, ...] = ()
    """Lengths of shorter vectors that are trained for, 8 or more; left open, a half, a quarter and an eighth of
    ``embed_dim``."""

    def fitted(self, width: int) -> Config:
        """With the widths of an embedding of ``width`` numbers. Raises :class:`UserError` for those it cannot have."""
        widths = tuple(sorted(set(self.widths or halved(width))))
        if not widths:
            raise UserError(
                f"objective=matryoshka trains for shorter vectors, of {SHORTEST} numbers or more, and these have "
                f"embed_dim={width}; choose a larger one, or another objective"
            )
        if not SHORTEST <= widths[0] <= widths[-1] < width:
            raise UserError(
                f"objective.widths={list(widths)}: vectors have embed_dim={width} numbers, so shorter ones have "
                f"{SHORTEST} to {width - 1}"
            )
        return Config(of=fitted_to(self.of, width), widths=widths)

    def build(self, pairs: Sequence[ModalityPair] = PAIRS) -> Matryoshka:
        return Matryoshka(self.build_inner(pairs), self.widths)


class Matryoshka(nn.Module):
    """The sum of an objective's losses at some widths and at the whole one."""

    def __init__(self, of: nn.Module, widths: Sequence[int]) -> None:
        super().__init__()
        self.of, self.widths = of, tuple(widths)

    def forward(self, embeddings: Mapping[str, Tensor], matches: BatchMatches) -> Tensor:
        width = min(rows_BE.shape[1] for rows_BE in embeddings.values())
        losses = [
            self.of({name: rows_BE[:, :shorter] for name, rows_BE in embeddings.items()}, matches)
            for shorter in (*(self.widths or halved(width)), width)
        ]
        return torch.stack(losses).sum(0)


def halved(width: int) -> tuple[int, ...]:
    """What is left of a width after one, two and three halvings, in ascending order, where that is enough."""
    return tuple(width >> times for times in range(HALVINGS, 0, -1) if width >> times >= SHORTEST)

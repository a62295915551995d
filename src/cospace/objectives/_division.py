"""One objective computed by several ranks, which have the same embeddings: each reads some rows of the tiles.

The rows of a batch are leaves of a binary tree, as its micro-batches are (``data/batches.py``), and a rank computes a
run of leaves. What leaves find is put together along the tree, first within a rank and then across ranks, so the
result is the same, bit for bit, however many ranks hold the leaves. An objective hears nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ranks import ALONE, Ranks

Found = tuple[Tensor, ...]
"""What some rows of tiles give: tensors whose shapes do not depend on which rows they are."""


@dataclass(frozen=True, slots=True)
class Division:
    """Who computes which rows: ``leaves`` runs of rows, spread evenly over the ranks."""

    ranks: Ranks = ALONE
    leaves: int = 1

    def together(
        self, of_rows: Callable[[Sequence[slice]], Found], blocks: Sequence[slice], add: Callable[..., Tensor]
    ) -> Found:
        """What all blocks of rows give, put together by ``add``, which is ``torch.add`` or ``torch.logaddexp``."""
        leaf_of_block = [place * self.leaves // len(blocks) for place in range(len(blocks))]
        leaves = [
            [block for block, here in zip(blocks, leaf_of_block, strict=True) if here == leaf] for leaf in self._own()
        ]
        found = _in_tree(leaves, of_rows, add)
        return found if self.ranks.size == 1 else self._over_ranks(found, add)

    def _own(self) -> range:
        """The leaves of this rank."""
        rank, size = self.ranks.rank, self.ranks.size
        return range(-(-rank * self.leaves // size), -(-(rank + 1) * self.leaves // size))

    def _over_ranks(self, found: Found, add: Callable[..., Tensor]) -> Found:
        vector = torch.cat([part.flatten() for part in found])
        if add is torch.add:
            vector = self.ranks.tree_sum(vector)
        else:
            rows = self.ranks.gather(vector[None], [1] * self.ranks.size)
            (vector,) = _in_tree(list(rows), lambda row: (row,), add)
        parts = torch.split(vector, [part.numel() for part in found])
        return tuple(part.view(one.shape) for part, one in zip(parts, found, strict=True))


def _in_tree(
    leaves: Sequence[Sequence[slice] | Tensor], of_leaf: Callable[..., Found], add: Callable[..., Tensor]
) -> Found:
    if len(leaves) <= 1:
        return of_leaf(*leaves) if leaves else of_leaf(())
    half = len(leaves) // 2
    first, second = (_in_tree(part, of_leaf, add) for part in (leaves[:half], leaves[half:]))
    return tuple(add(one, other, out=one) for one, other in zip(first, second, strict=True))


WHOLE = Division()
"""One process computes everything."""

_CURRENT: ContextVar[Division] = ContextVar("division", default=WHOLE)


def current() -> Division:
    """How the objective that is being computed is divided; as a rule it is not."""
    return _CURRENT.get()


@contextmanager
def divided(ranks: Ranks, leaves: int) -> Iterator[None]:
    """A block whose objectives are computed by these ranks together; every one of them gets the whole result."""
    before = _CURRENT.set(Division(ranks, leaves))
    try:
        yield
    finally:
        _CURRENT.reset(before)

"""What matches between two lists of items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._codes import connected, distinct, places_among, ranges

if TYPE_CHECKING:  # reading pairs needs no torch, so it is imported where a relation is made or read
    import torch
    from torch import Tensor

    Index = Tensor | slice | None
    """Which rows or columns of a table; nothing stands for all of them."""


@dataclass(frozen=True, slots=True)
class Relation:
    """Which of ``N`` left items match which of ``M`` right ones.

    Codes number from 0 without gaps. ``left_N`` and ``right_M`` are the items' codes, ``pairs_P2`` the codes that match
    (sorted, each once). ``component_L`` and ``component_R`` give the connected component of every code; ``complete``
    says that within every component each left item matches each right one, so that matches are groups.
    """

    left_N: Tensor
    right_M: Tensor
    pairs_P2: Tensor
    component_L: Tensor
    component_R: Tensor
    complete: bool

    @classmethod
    def of(cls, left_N: np.ndarray, right_M: np.ndarray, pairs_P2: np.ndarray) -> Relation:
        """From codes of any numbering. Pairs of codes that do not occur are dropped."""
        left_L, left_N = np.unique(left_N, return_inverse=True)
        right_R, right_M = np.unique(right_M, return_inverse=True)
        (left_P, left_here_P), (right_P, right_here_P) = (
            places_among(codes, pairs_P2[:, side]) for side, codes in enumerate((left_L, right_R))
        )
        here_P = left_here_P & right_here_P
        key_P = distinct(left_P[here_P] * max(1, len(right_R)) + right_P[here_P])
        pairs_P2 = np.stack(np.divmod(key_P, max(1, len(right_R))), axis=1)
        component_C = connected(len(left_L) + len(right_R), pairs_P2 + np.array([0, len(left_L)]))
        component_L, component_R = np.split(component_C, [len(left_L)])
        most = int(component_C.max(initial=-1)) + 1
        full = int(np.bincount(component_L, minlength=most) @ np.bincount(component_R, minlength=most))
        left, right, pairs, *components = as_tensors([left_N, right_M, pairs_P2, component_L, component_R])
        return cls(left, right, pairs, components[0], components[1], full == len(pairs_P2))

    @classmethod
    def of_groups(cls, left_N: np.ndarray | Tensor, right_M: np.ndarray | Tensor | None = None) -> Relation:
        """From group ids: equal ids match. With one list of ids it serves both sides."""
        left, right = (_array(ids) for ids in (left_N, left_N if right_M is None else right_M))
        shared = np.intersect1d(left, right)
        made = cls.of(left, right, np.stack([shared, shared], axis=1))
        return made if isinstance(left_N, np.ndarray) else made.to(left_N.device)

    def by_component(self) -> Relation:
        """A complete relation with its connected components as items, which says the same in fewer codes."""
        import torch

        ids_C = torch.unique(torch.cat([self.component_L, self.component_R]))
        left_N, right_M = self.component_L[self.left_N], self.component_R[self.right_M]
        return Relation(left_N, right_M, torch.stack([ids_C, ids_C], dim=1), ids_C, ids_C, complete=True)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of left and right items."""
        return len(self.left_N), len(self.right_M)

    @property
    def T(self) -> Relation:
        """The same from right to left."""
        flipped_P2 = self.pairs_P2.flip(1)
        flipped_P2 = flipped_P2[flipped_P2[:, 0].argsort(stable=True)]
        return Relation(self.right_M, self.left_N, flipped_P2, self.component_R, self.component_L, self.complete)

    def to(self, where: torch.device | str) -> Relation:
        """The same on another device."""
        left_N, right_M, pairs_P2 = (part.to(where) for part in (self.left_N, self.right_M, self.pairs_P2))
        return Relation(
            left_N, right_M, pairs_P2, self.component_L.to(where), self.component_R.to(where), self.complete
        )

    def dense(self, rows: Index = None, columns: Index = None) -> Tensor:
        """``(n, m)``, true where an item of ``rows`` matches one of ``columns``."""
        import torch

        left_n, left_L, height = _picked(self.left_N, rows, len(self.component_L))
        right_m, right_R, width = _picked(self.right_M, columns, len(self.component_R))
        left_P, right_P = left_L[self.pairs_P2[:, 0]], right_R[self.pairs_P2[:, 1]]
        table_lr = torch.zeros(height + 1, width + 1, dtype=torch.bool, device=left_n.device)
        table_lr[left_P, right_P] = True  # what is not picked goes to the last row or column, for which nobody asks
        return table_lr.index_select(0, left_n).index_select(1, right_m)

    def matched(self, rows: Tensor, columns: Tensor) -> Tensor:
        """For each of ``n`` left items whether it matches the right one at the same place, ``(n,)``."""
        import torch

        width = len(self.component_R)
        key_P = self.pairs_P2[:, 0] * width + self.pairs_P2[:, 1]
        key_n = self.left_N[rows] * width + self.right_M[columns]
        if not len(key_P):
            return key_n != key_n
        return key_P[torch.searchsorted(key_P, key_n).clamp(max=len(key_P) - 1)] == key_n

    def counts(self) -> tuple[Tensor, Tensor]:
        """How many right items match each left one, ``(N,)``, and how many left ones each right one, ``(M,)``."""
        left_P, right_P = self.pairs_P2[:, 0], self.pairs_P2[:, 1]
        items_L = self.left_N.bincount(minlength=len(self.component_L))
        items_R = self.right_M.bincount(minlength=len(self.component_R))
        matches_L = items_L.new_zeros(len(items_L)).index_add_(0, left_P, items_R[right_P])
        matches_R = items_R.new_zeros(len(items_R)).index_add_(0, right_P, items_L[left_P])
        return matches_L[self.left_N], matches_R[self.right_M]

    def select(self, left_rows: Index = None, right_rows: Index = None) -> Relation:
        """The relation among some of the items."""
        sides = ((self.left_N, left_rows), (self.right_M, right_rows))
        chosen = [codes if rows is None else codes[rows] for codes, rows in sides]
        made = Relation.of(*map(_array, (*chosen, self.pairs_P2)))
        return made.to(self.left_N.device)

    def partners(self, order_M: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lists of right items, and where each left item's partners begin and end in them: ``first_N, last_N, item_Q``.

        Item ``i`` matches ``item_Q[first_N[i] : last_N[i]]``, listed in the order of ``order_M`` (a permutation of the
        right items). Left items of one code share a list.
        """
        left_N, right_M, pairs_P2 = map(_array, (self.left_N, self.right_M, self.pairs_P2))
        order_M = np.arange(len(right_M)) if order_M is None else order_M
        place_M = np.empty(len(right_M), np.int64)
        place_M[order_M] = np.arange(len(right_M))
        by_code_M = np.argsort(right_M, kind="stable")
        items_R = np.bincount(right_M, minlength=len(self.component_R))
        start_P = (items_R.cumsum() - items_R)[pairs_P2[:, 1]]
        item_Q = by_code_M[ranges(start_P, items_R[pairs_P2[:, 1]])]
        left_Q = np.repeat(pairs_P2[:, 0], items_R[pairs_P2[:, 1]])
        item_Q = item_Q[np.lexsort((place_M[item_Q], left_Q))]
        last_L = np.bincount(left_Q, minlength=len(self.component_L)).cumsum()
        first_L = np.concatenate([[0], last_L[:-1]]) if len(last_L) else last_L
        return first_L[left_N], last_L[left_N], item_Q


def _array(values: np.ndarray | Tensor) -> np.ndarray:
    return values if isinstance(values, np.ndarray) else np.asarray(values.cpu())


def as_tensors(parts: Sequence[np.ndarray]) -> list[Tensor]:
    """Arrays as tensors that share their memory where they can."""
    import torch

    return [torch.from_numpy(np.ascontiguousarray(part)) for part in parts]


def _picked(codes_N: Tensor, index: Index, count: int) -> tuple[Tensor, Tensor, int]:
    """Some items' places among their own codes ``(n,)``, the place of every code, and how many codes these are.

    A code that is not picked has the place after the last.
    """
    if index is None:
        return codes_N, codes_N.new_ones(count).cumsum(0) - 1, count
    import torch

    picked, place_n = torch.unique(codes_N[index], return_inverse=True)
    place_C = codes_N.new_full((count,), len(picked))
    place_C[picked] = torch.arange(len(picked), device=codes_N.device)
    return place_n, place_C, len(picked)

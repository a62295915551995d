"""The order in which both sides of a batch are read so that matches stand side by side, and what matches in it.

Rows stand by connected component and, within one, by item. What matches a cut of the columns so lies in one run of
rows: where matches are groups it is theirs, and in a component of many items that do not all match it is shorter than
the component.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..matches import Relation


class Order:
    """A relation with its items in order: ``left_B`` and ``right_B`` say which row of a side stands where.

    Where things stand is known on the CPU, so that no step waits for a GPU; what matches is looked up on its device.
    """

    def __init__(self, relation: Relation) -> None:
        where = relation.left_N.device
        if relation.complete:  # then a component is as good as an item, and its rows keep their order
            relation = relation.by_component()
        left_B, self._left_code_B, left_L = _sorted(relation.left_N, relation.component_L)
        right_B, self._right_code_B, right_R = _sorted(relation.right_M, relation.component_R)
        pairs_P2 = np.asarray(relation.pairs_P2.cpu())
        left_P, right_P = left_L[pairs_P2[:, 0]], right_R[pairs_P2[:, 1]]
        order_P = np.lexsort((right_P, left_P))
        left_P, right_P = left_P[order_P], right_P[order_P]
        self._start_L = np.searchsorted(left_P, np.arange(len(left_L) + 1))
        first_R, last_R = np.full(len(right_R), len(left_L)), np.full(len(right_R), -1)
        np.minimum.at(first_R, right_P, left_P)
        np.maximum.at(last_R, right_P, left_P)
        self._first_B, self._last_B = first_R[self._right_code_B], last_R[self._right_code_B]
        self.left_B, self.right_B, self._left_P, self._right_P, self._left, self._right = (
            torch.from_numpy(part).to(where)
            for part in (left_B, right_B, left_P, right_P, self._left_code_B, self._right_code_B)
        )

    def near(self, columns: slice) -> slice:
        """The run of rows that holds every match of these columns."""
        first, last = int(self._first_B[columns].min()), int(self._last_B[columns].max())
        start, stop = np.searchsorted(self._left_code_B, (first, last + 1)).tolist()
        return slice(start, max(start, stop))

    def matches(self, rows: slice, columns: slice) -> Tensor:
        """``(K, C)``, true where a row matches a column, by way of a table of their items."""
        if rows.stop <= rows.start:
            return self._left.new_zeros(0, columns.stop - columns.start, dtype=torch.bool)
        left, height = _span(self._left_code_B, rows)
        right, width = _span(self._right_code_B, columns)
        some = slice(int(self._start_L[left]), int(self._start_L[left + height]))
        right_P = self._right_P[some] - right
        right_P = torch.where((right_P >= 0) & (right_P < width), right_P, width)  # to a column for which nobody asks
        table_LR = torch.zeros(height, width + 1, dtype=torch.bool, device=right_P.device)
        table_LR[self._left_P[some] - left, right_P] = True
        return table_LR.index_select(0, self._left[rows] - left).index_select(1, self._right[columns] - right)


def _sorted(codes_N: Tensor, component_C: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items by component and code: which stands where ``(N,)``, the new codes of those, and of every old code."""
    codes_N, component_C = codes_N.cpu(), component_C.cpu()
    order_C = np.argsort(np.asarray(component_C), kind="stable")
    new_C = np.empty(len(order_C), np.int64)
    new_C[order_C] = np.arange(len(order_C))
    code_N = new_C[np.asarray(codes_N)]
    order_N = np.argsort(code_N, kind="stable")
    return order_N, code_N[order_N], new_C


def _span(code_B: np.ndarray, places: slice) -> tuple[int, int]:
    """The first code of a run, and how many codes it may have."""
    first, last = int(code_B[places.start]), int(code_B[places.stop - 1])
    return first, last - first + 1


def cuts(start: int, stop: int, step: int) -> Iterator[slice]:
    """The range from ``start`` to ``stop`` in pieces of ``step``."""
    return (slice(at, min(at + step, stop)) for at in range(start, stop, step))

"""Contrastive losses a tile at a time: every cosine of a batch, never a ``(B, B)`` matrix (as in Cheng et al. 2024).

:class:`Tiles` cuts the matrix of logits into tiles that fit a processor's cache. A loss reads them one by one and hands
back its gradient with respect to each, and the embeddings' gradients add up on the way. Loss and gradients are thus
known together, and :func:`with_gradients` makes them one node of autograd, whose backward pass only multiplies. Held
beyond the embeddings are their gradients, a few tiles, and a few numbers per row.

Each side is read in the order of its connected components and, within them, of its items (``_order.py``), so matches
stand side by side: those of a tile lie in one run of its rows, and most tiles have none.

Shapes: ``R`` rows and ``C`` columns of a tile, ``K`` rows of a tile that may have a match in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..matches import Relation
from ._division import current
from ._order import Order, cuts

SMALL = 512
"""Up to this many rows the plain ``(B, B)`` form is no slower than tiles, and its matrices are a few MiB."""

EPSILON = 1e-12
"""Least length of a row, as in :func:`torch.nn.functional.normalize`."""

Gradients = tuple[Tensor, ...]


def is_small(rows_BE: Tensor) -> bool:
    """Whether a loss on so many rows takes its plain form; the one place that decides."""
    return len(rows_BE) <= SMALL


def with_gradients(solve: Callable[..., tuple[Tensor, Gradients]], *inputs: Tensor) -> Tensor:
    """The loss of ``solve(*inputs)``, which returns it with its gradient for each input.

    The gradients are handed over, not copied: a second backward pass through the same loss raises ``RuntimeError``,
    and so does a first one with ``create_graph=True``, since there is no second derivative.
    """
    loss: Tensor = _Known.apply(solve, *inputs)  # type: ignore[no-untyped-call]
    return loss


class _Known(torch.autograd.Function):
    """A scalar whose gradients are known as soon as it is."""

    @staticmethod
    def forward(ctx: Any, solve: Callable[..., tuple[Tensor, Gradients]], *inputs: Tensor) -> Tensor:
        loss, gradients = solve(*inputs)
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("a tiled loss has no second derivative; use its dense form, or no create_graph")
        # In place, so that no second copy exists; autograd notices when a changed tensor is asked for again.
        return None, *(gradient.mul_(upstream) for gradient in ctx.saved_tensors)


@dataclass(frozen=True, slots=True)
class Tile:
    """``scale * cosine`` of some left rows with some right rows; overwritten when the next tile is asked for."""

    rows: slice
    """Where its rows stand in the order of the left side, and its columns in that of the right side."""
    columns: slice
    logits_RC: Tensor
    near: slice
    """Those of its rows that may have a match in it; often none."""
    match_KC: Tensor
    left_RE: Tensor
    right_CE: Tensor


class Tiles:
    """The logits of a batch's two sides, ``(B, E)`` each, and the way back from their gradient to the embeddings'."""

    def __init__(
        self, left_BE: Tensor, right_BE: Tensor, relation: Relation, scale: float, weight_B: Tensor | None = None
    ) -> None:
        self.order, self.scale, self.division = Order(relation), scale, current()
        self.height, self.width = tile_shape(left_BE)
        left_B, right_B = (matches_B.to(left_BE.dtype) for matches_B in relation.counts())
        self.left = Side(left_BE, self.order.left_B, left_B, self.height, weight_B)
        self.right = Side(right_BE, self.order.right_B, right_B, self.width, weight_B)
        self.buffer = left_BE.new_empty(self.height * self.width)
        self.blocks = list(cuts(0, len(left_BE), self.height))
        self.columns = [(columns, self.order.near(columns)) for columns in cuts(0, len(left_BE), self.width)]

    def together(
        self, of_rows: Callable[[Sequence[slice]], Gradients], add: Callable[..., Tensor] = torch.add
    ) -> Gradients:
        """What ``of_rows`` finds in all blocks of rows; where ranks share the objective, each asks it for some."""
        return self.division.together(of_rows, self.blocks, add)

    def of(self, blocks: Sequence[slice]) -> Iterator[Tile]:
        """Every tile of some blocks of rows."""
        for rows in blocks:
            left_RE = self.left.unit(rows)
            for columns, near in self.columns:
                yield self._tile(rows, columns, overlap(rows, near), left_RE, self.right.unit(columns))

    def matching(self, blocks: Sequence[slice]) -> Iterator[Tile]:
        """Tiles that hold every match in some blocks of rows once, and little else."""
        for columns, near in self.columns:
            right_CE = self.right.unit(columns)
            for rows in _within(near, blocks, self.height):
                yield self._tile(rows, columns, overlap(rows, near), self.left.unit(rows), right_CE)

    def add_gradient(self, tile: Tile, gradient_RC: Tensor) -> None:
        """Take the loss's gradient with respect to a tile's logits."""
        self.left.gradient_BE[tile.rows].addmm_(gradient_RC, tile.right_CE)
        self.right.gradient_BE[tile.columns].addmm_(gradient_RC.T, tile.left_RE)

    def take_gradients(self) -> Gradients:
        """What was added so far, with respect to unit vectors; what is added from here on begins at zero."""
        return self.left.take_gradient(), self.right.take_gradient()

    def give_gradients(self, left_BE: Tensor, right_BE: Tensor) -> None:
        """The gradients of all blocks of rows, before :meth:`gradients`."""
        self.left.gradient_BE, self.right.gradient_BE = left_BE, right_BE

    def gradients(self, weight: float) -> Gradients:
        """``weight`` times the gradient for the left rows, the right rows and the scale. Call it once, at the end."""
        scale = weight * self.left.finish(weight * self.scale)
        self.right.finish(weight * self.scale)
        return self.left.gradient_BE, self.right.gradient_BE, scale

    def _tile(self, rows: slice, columns: slice, near: slice, left_RE: Tensor, right_CE: Tensor) -> Tile:
        logits_RC = self.buffer[: len(left_RE) * len(right_CE)].view(len(left_RE), len(right_CE))
        logits_RC.addmm_(left_RE, right_CE.T, beta=0, alpha=self.scale)
        match_KC = self.order.matches(slice(rows.start + near.start, rows.start + near.stop), columns)
        return Tile(rows, columns, logits_RC, near, match_KC, left_RE, right_CE)


class Side:
    """One side's rows in an order of its own: unit vectors on the way out, gradients on the way back.

    ``matches_B`` and ``weight_B``, how much each row counts, are as the rows came, and in the order from then on.
    """

    def __init__(
        self, rows_BE: Tensor, order_B: Tensor, matches_B: Tensor, most: int, weight_B: Tensor | None = None
    ) -> None:
        self.rows_BE, self.order_B, self.most = rows_BE, order_B, most
        self.matches_B = matches_B[order_B]
        self.weight_B = None if weight_B is None else weight_B[order_B]
        self.divisor_B = self.matches_B if self.weight_B is None else self.matches_B / self.weight_B
        """What divides the sum over a row's matches into its mean times its weight; infinite for a weight of 0."""
        self.log_matches_B = self.matches_B.log()
        self.length_B = torch.linalg.vector_norm(rows_BE, dim=1).clamp(min=EPSILON)[order_B]
        self._gradient_BE: Tensor | None = None
        self.buffer_RE = torch.empty(rows_BE[:most].shape, dtype=rows_BE.dtype, device=rows_BE.device)

    @property
    def gradient_BE(self) -> Tensor:
        """With respect to the unit vectors, until :meth:`finish`."""
        if self._gradient_BE is None:
            rows_BE = self.rows_BE
            self._gradient_BE = torch.zeros(rows_BE.shape, dtype=rows_BE.dtype, device=rows_BE.device)
        return self._gradient_BE

    @gradient_BE.setter
    def gradient_BE(self, gradient_BE: Tensor) -> None:
        self._gradient_BE = gradient_BE

    def take_gradient(self) -> Tensor:
        """The gradient, which is no longer here."""
        taken, self._gradient_BE = self.gradient_BE, None
        return taken

    def unit(self, rows: slice) -> Tensor:
        """Some rows, at most ``most``, brought to unit length; overwritten by the next call."""
        order_R = self.order_B[rows]
        unit_RE = torch.index_select(self.rows_BE, 0, order_R, out=self.buffer_RE[: len(order_R)])
        return unit_RE.div_(self.length_B[rows, None])

    def finish(self, weight: float) -> Tensor:
        """Turn the gradient into ``weight`` times that of the rows as they came, in place.

        Returns the sum over all logits of gradient times cosine, which is a by-product.
        """
        along_B1 = torch.empty_like(self.length_B)[:, None]
        for rows in cuts(0, len(self.order_B), self.most):
            unit_RE, gradient_RE = self.unit(rows), self.gradient_BE[rows]
            along_R1 = torch.linalg.vecdot(unit_RE, gradient_RE)[:, None]
            gradient_RE.sub_(unit_RE.mul_(along_R1)).mul_(weight / self.length_B[rows, None])
            along_B1[rows] = along_R1
        place_B = self.order_B.argsort()
        for some_columns in self.gradient_BE.tensor_split(32, dim=1):  # the copy of all at once would be large
            some_columns.copy_(some_columns[place_B])
        return along_B1.sum()


def tile_shape(rows_BE: Tensor) -> tuple[int, int]:
    """Rows and columns of a tile: within a cache's reach on a CPU, a few hundredths of the embeddings on a GPU."""
    if rows_BE.device.type == "cpu":
        return 1024, 512
    side = max(256, math.isqrt(rows_BE.numel() // 16) // 128 * 128)
    return side, side


def _within(near: slice, blocks: Sequence[slice], height: int) -> Iterator[slice]:
    """A run of rows as far as it lies in some neighbouring blocks, at most ``height`` rows at a time."""
    if blocks:
        yield from cuts(max(near.start, blocks[0].start), min(near.stop, blocks[-1].stop), height)


def overlap(rows: slice, near: slice) -> slice:
    """The part of ``rows`` that is also in ``near``, counted from the start of ``rows``."""
    return slice(max(near.start - rows.start, 0), max(min(near.stop, rows.stop) - rows.start, 0))

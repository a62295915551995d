"""One step on several ranks: embeddings gathered, gradients added up, running statistics kept in step.

Every rank encodes its share of a batch's micro-batches (:class:`cospace.data.batches.Share`). The embeddings of all are
gathered, each rank computes the whole objective from them, and so knows the complete gradient of its own ones. What
the micro-batches give to the parameters is added along one binary tree, first within each rank and then across ranks,
so the sum is the same, bit for bit, however many ranks (a power of two that divides the leaves) hold its leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..data.batches import Share
from ..ranks import Ranks
from .shards import is_sharded

Gradients = list[Tensor | None]
"""What some parameters get; nothing for one that a loss does not depend on."""


def pieces(parallel: str, ranks: Ranks) -> int | None:
    """The least number of micro-batches that ranks share; nothing for a process that shares with nobody."""
    return None if ranks.size == 1 and parallel in ("auto", "none") else 1 << (ranks.size - 1).bit_length()


class Gathered(torch.autograd.Function):
    """The rows of all ranks, made from this rank's own.

    Each rank goes on to compute the same loss from all rows, so the gradient of its own rows is complete there, and
    nothing has to travel back.
    """

    @staticmethod
    def forward(context: Any, own_UE: Tensor, ranks: Ranks, counts: Sequence[int]) -> Tensor:
        first = sum(counts[: ranks.rank])
        context.own = slice(first, first + len(own_UE))
        rows = ranks.gather(own_UE, counts)
        return rows.view_as(rows)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[context.own], None, None


def gathered(own_UE: Tensor, ranks: Ranks, counts: Sequence[int]) -> Tensor:
    """The rows of all ranks, one rank after the other; differentiable for this rank's own."""
    rows: Tensor = Gathered.apply(own_UE, ranks, counts)  # type: ignore[no-untyped-call]
    return rows


def seed(step_seed: int, *of: int) -> None:
    """Let all generators begin anew for a part of a step, whichever rank computes it."""
    mixed = np.random.SeedSequence([step_seed & (2**64 - 1), *of]).generate_state(1, np.uint64)
    torch.manual_seed(int(mixed[0] >> 1))


# ------------------------------------------------------------------------------------------------ sums of gradients


def added_in_tree(leaves: range, gradients_of: Callable[[int], Gradients | None]) -> Gradients | None:
    """The gradients of a run of leaves, added pairwise; later leaves are asked first, and few are held at a time."""
    if len(leaves) <= 1:
        return gradients_of(leaves[0]) if leaves else None
    half = len(leaves) // 2
    later = added_in_tree(leaves[half:], gradients_of)
    return added(added_in_tree(leaves[:half], gradients_of), later)


def added(left: Gradients | None, right: Gradients | None) -> Gradients | None:
    """The sum of two; what only one of them has is taken as it is."""
    if left is None or right is None:
        return right if left is None else left
    return [b if a is None else a if b is None else a.add_(b) for a, b in zip(left, right, strict=True)]


def held_whole(*modules: nn.Module | None) -> list[nn.Parameter]:
    """The parameters that every rank holds whole."""
    found = [parameter for module in modules if module is not None for parameter in module.parameters()]
    return [parameter for parameter in found if not is_sharded(parameter)]


def taken(parameters: Sequence[nn.Parameter]) -> Gradients:
    """The gradients that have arrived in parameters, in float32 or better; the parameters have none afterwards."""
    found: Gradients = []
    for parameter in parameters:
        gradient, parameter.grad = parameter.grad, None
        found.append(None if gradient is None else gradient.to(torch.promote_types(gradient.dtype, torch.float32)))
    return found


def reduced(
    ranks: Ranks, parameters: Sequence[nn.Parameter], own: Gradients, objective: nn.Module, losses: Mapping[str, Tensor]
) -> tuple[Gradients, dict[str, Tensor]]:
    """Gradients and losses summed over ranks, in one exchange.

    The objective's parameters get the gradient that the first rank computed. ``losses`` are vectors, zero at the places
    of other ranks.
    """
    learned = [p for p in objective.parameters() if p.requires_grad]
    there = torch.tensor([float(gradient is not None) for gradient in own])
    where = next((p.device for p in parameters), torch.device("cpu"))
    parts = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, own, strict=True)]
    parts += [there.to(where), *losses.values()]
    for parameter in learned:
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parts.append(gradient if ranks.first else torch.zeros_like(gradient))
    summed = _summed(ranks, parts)
    gradients, (found, *rest) = summed[: len(own)], summed[len(own) :]
    for parameter, gradient in zip(learned, rest[len(losses) :], strict=True):
        parameter.grad = None if parameter.grad is None else gradient.to(parameter.dtype)
    arrived = (found > 0).tolist()
    kept: Gradients = [gradient if here else None for gradient, here in zip(gradients, arrived, strict=True)]
    return kept, dict(zip(losses, rest, strict=False))


def _summed(ranks: Ranks, parts: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of one device summed over ranks as one vector, of the widest of their formats and at least float32."""
    wide = torch.float64 if any(part.dtype == torch.float64 for part in parts) else torch.float32
    vector = ranks.tree_sum(torch.cat([part.detach().flatten().to(wide) for part in parts]))
    pieces = torch.split(vector, [part.numel() for part in parts])
    return [piece.view(part.shape) for piece, part in zip(pieces, parts, strict=True)]


# ------------------------------------------------------------------------------------------------ running statistics


class RunningStatistics:
    """Batch norms' running statistics over the micro-batches of all ranks, in the order of the micro-batches.

    An update is linear, ``running = (1 - momentum) * running + momentum * found``, so what each micro-batch adds can be
    found alone, gathered, and applied by every rank alike.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.norms: list[Any] = [module for module in encoder.modules() if _gathers(module)]
        self.start = [buffer.clone() for _, buffer in self._running()]
        self.found: list[Tensor] = []

    @contextmanager
    def of_micro_batch(self) -> Iterator[None]:
        """A first pass of one micro-batch, which finds what it adds."""
        for _, buffer in self._running():
            buffer.zero_()
        yield
        if self.norms:
            self.found.append(torch.cat([buffer for _, buffer in self._running()]))

    def gather(self, ranks: Ranks, share: Share, micro_batches: int) -> None:
        """Bring the statistics up to date with all micro-batches of the step."""
        if not self.norms:
            return
        width = sum(buffer.numel() for _, buffer in self._running())
        own_MS = torch.stack(self.found) if self.found else self.start[0].new_zeros(0, width)
        found_MS = ranks.gather(own_MS, share.counts([1] * micro_batches))
        for (norm, buffer), start, added_M in zip(
            self._running(), self.start, torch.split(found_MS, [len(one) for one in self.start], dim=1), strict=True
        ):
            buffer.copy_(start)
            for row in added_M:
                buffer.mul_(1 - norm.momentum).add_(row)
        for norm in self.norms:
            norm.num_batches_tracked += micro_batches - len(self.found)

    def _running(self) -> list[tuple[Any, Tensor]]:
        return [(norm, buffer) for norm in self.norms for buffer in (norm.running_mean, norm.running_var)]


def _gathers(module: nn.Module) -> bool:
    """Whether a module is a batch norm that gathers running statistics now."""
    is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
    return is_norm and module.training and module.running_mean is not None and module.momentum is not None

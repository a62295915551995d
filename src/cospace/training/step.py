"""The gradients of one step, in memory that does not grow with the batch.

The objective needs the embeddings of the whole batch at once; the towers do not. So the batch is encoded in
micro-batches, the objective gives the gradient of every embedding, and each micro-batch carries its own into the tower
(GradCache, Gao et al. 2021, section 3). What autograd keeps for that is held for the latest micro-batches, as far as
the memory goes; the others are encoded a second time, from the random state of the first. A batch that fits is encoded
once: the plain step is the case in which nothing has to be repeated.

Micro-batches are the same however many are repeated, and their gradients are added up in autograd's order, the latest
first; so the memory decides how long a step takes, not what it gives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.random import fork_rng

from ..batches import Batch
from ..runtime import memory_of
from ..space import Space

SHARE = 0.25
"""Part of the device's memory that activations may take where nothing else is said."""


def room_for_graphs(gigabytes: float | None, where: torch.device) -> int:
    """Bytes that may be kept between forward and backward pass; a function of the machine, not of what is free now."""
    return int(SHARE * memory_of(where) if gigabytes is None else gigabytes * 1e9)


def forward_backward(
    tower: Space, objective: nn.Module, batch: Batch, where: torch.device, room: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Embeddings of the whole batch, the objective on them, gradients in the tower's own parameters.

    At most ``room`` bytes of activations, and those of one micro-batch on top, exist at a time.
    """
    tower.train()
    for module in (tower, objective):
        module.zero_grad(set_to_none=True)
    encoded = encode(tower, batch, where, room)
    embeddings = {
        name: torch.cat([part.items_UE for part in parts])[batch.chunks[name].item_B.to(where)]
        for name, parts in encoded.items()
    }
    loss: Tensor = objective(embeddings, batch.groups_B.to(where))
    loss.backward()  # type: ignore[no-untyped-call]
    repeat([part for parts in encoded.values() for part in parts if part.waits], tower)
    return loss.detach(), {name: rows.detach() for name, rows in embeddings.items()}


def encode(tower: Space, batch: Batch, where: torch.device, room: int) -> dict[str, list[MicroBatch]]:
    """Every micro-batch encoded; the latest keep their graphs, as many as ``room`` bytes hold."""
    encoded = {
        name: [MicroBatch(tower, name, inputs, where) for inputs in chunks.inputs]
        for name, chunks in batch.chunks.items()
    }
    kept: deque[MicroBatch] = deque()
    for parts in encoded.values():
        size = 0
        for place, part in enumerate(parts):
            later = size * (len(parts) - 1 - place)  # their graphs push this one out, so it need not be built
            part.encode(graph=later <= room)
            size = max(size, part.size)
            kept.append(part)
            while sum(one.size for one in kept) > room:
                kept.popleft().forget()
    return encoded


def repeat(waiting: Sequence[MicroBatch], tower: nn.Module) -> None:
    """The second pass, the latest micro-batch first, as autograd does it."""
    with unchanged_buffers(tower):
        for part in reversed(waiting):
            part.backward()


class MicroBatch:
    """Some items of one modality: their embeddings ``items_UE``, and what it takes to compute these once more."""

    items_UE: Tensor
    size: int
    """Bytes of the graph behind the embeddings, 0 where there is none."""

    def __init__(self, tower: Space, modality: str, inputs: Any, where: torch.device) -> None:
        self.tower, self.modality, self.inputs, self.where = tower, modality, inputs, where

    def encode(self, graph: bool) -> None:
        """The first pass. Without a graph, the embeddings are where a gradient arrives and waits."""
        self.random = RandomState(self.where)
        counter = SavedBytes(self.tower)
        with torch.set_grad_enabled(graph), counter:
            items_UE = self._embeddings()
        self.items_UE, self.size = items_UE if graph else items_UE.requires_grad_(), counter.total

    def forget(self) -> None:
        """Give up the graph; a tower that is frozen stays so."""
        self.items_UE, self.size = self.items_UE.detach().requires_grad_(self.items_UE.requires_grad), 0

    @property
    def waits(self) -> bool:
        """Whether the objective's gradient has arrived but not reached the tower."""
        return self.items_UE.is_leaf and self.items_UE.grad is not None

    def backward(self) -> None:
        """The second pass: the same embeddings again, and their gradient into the tower."""
        with self.random.restored():
            items_UE = self._embeddings()
        items_UE.backward(self.items_UE.grad)  # type: ignore[no-untyped-call]

    def _embeddings(self) -> Tensor:
        return self.tower.encode(self.modality, self.inputs.to(self.where))


class RandomState:
    """The state of the generators that a forward pass on a device draws from (dropout, left out patches)."""

    def __init__(self, where: torch.device) -> None:
        self.cards = [where] if where.type == "cuda" else []
        self.states = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, self.cards)]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """A block that draws what was drawn from here on the first time; the generators do not notice it."""
        with fork_rng(self.cards):
            torch.set_rng_state(self.states[0])
            for card, state in zip(self.cards, self.states[1:], strict=True):
                torch.cuda.set_rng_state(state, card)
            yield


class SavedBytes(saved_tensors_hooks):
    """Counts the bytes that autograd keeps of what a block computes; the parameters are there anyway."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(self._count, _as_it_is)
        self.seen = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
        self.total = 0

    def _count(self, saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in self.seen:
            self.seen.add(storage.data_ptr())
            self.total += storage.nbytes()
        return saved.detach()  # returned as it is, it would hold the graph that holds it


def _as_it_is(saved: Tensor) -> Tensor:
    return saved


@contextmanager
def unchanged_buffers(module: nn.Module) -> Iterator[None]:
    """A block that leaves running statistics as they were, so that no item counts in them twice."""
    before = [buffer.clone() for buffer in module.buffers()]
    yield
    for buffer, value in zip(module.buffers(), before, strict=True):
        buffer.copy_(value)

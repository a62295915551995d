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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

from ..data.batches import Batch, Share
from ..matches import BatchMatches
from ..models.generation.decoder import Decoder
from ..models.space import Space, dtype_of, learns
from ..objectives import divided
from ..ranks import ALONE, Ranks
from ..runtime import memory_of, random_state, set_random_state
from ..types import Features
from .decoder_tasks import DecoderTasks, decoder_tasks
from .distributed import Gradients, RunningStatistics, added, added_in_tree, gathered, held_whole, reduced, seed, taken
from .shards import is_sharded, local

SHARE = 0.25
"""Part of the device's memory that activations may take where nothing else is said."""

NOTHING = -1
"""Less room than any graph takes: all is encoded twice, so that ranks which hold parts of the weights keep step."""


def room_for_graphs(gigabytes: float | None, where: torch.device) -> int:
    """Bytes that may be kept between forward and backward pass; a function of the machine, not of what is free now."""
    return int(SHARE * memory_of(where) if gigabytes is None else gigabytes * 1e9)


ALIGNMENT = "alignment"
"""Name of the objective's loss beside those of a decoder's tasks."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Every loss of a step by name, and the batch's embeddings by modality; the gradients are in the parameters.

    Where ranks share the batch, ``gradients`` are those of the tower's and the decoder's parameters that every rank
    holds whole, in their order.
    """

    losses: Mapping[str, Tensor]
    embeddings: Mapping[str, Tensor]
    gradients: Gradients | None = None

    @property
    def loss(self) -> Tensor:
        """All of them together."""
        return torch.stack(list(self.losses.values())).sum()


def forward_backward(
    tower: Space,
    objective: nn.Module,
    batch: Batch,
    where: torch.device,
    room: int,
    decoder: Decoder | None = None,
    ranks: Ranks = ALONE,
) -> Outcome:
    """Embeddings of the whole batch, the objective on them, the decoder's tasks, gradients in all parameters.

    At most ``room`` bytes of the towers' activations, and those of one micro-batch on top, exist at a time. A space
    of a single modality, or one that is locked as a whole, has nothing to align. Where ``ranks`` share the batch, each
    encodes its own micro-batches; see :mod:`.distributed`.
    """
    for module in (tower, objective, decoder):
        if module is not None:
            module.train().zero_grad(set_to_none=True)
    rest_locked(tower)
    step = Step(tower, batch, where, ranks)
    encoded = step.encode(room)
    embeddings = {name: step.items(name, parts)[batch.parts[name].item_B.to(where)] for name, parts in encoded.items()}
    with nullcontext() if batch.share is None else divided(ranks, batch.share.pieces):
        losses = align(objective, embeddings, batch.matches.to(where))
    sizes = {name: batch.parts[name].sizes or [len(one.items_UE) for one in parts] for name, parts in encoded.items()}
    tasks = None if decoder is None else decoder_tasks(decoder, batch, embeddings, sizes, where)
    detached = {name: rows.detach() for name, rows in embeddings.items()}
    with unchanged_buffers(tower):
        if batch.share is None:
            step.backward(encoded, tasks)
            return Outcome(losses | ({} if tasks is None else tasks.losses), detached)
        parameters = held_whole(tower, decoder)
        own = step.backward_in_tree(encoded, tasks, parameters, batch.share)
    by_place = {name: loss if ranks.first else torch.zeros_like(loss) for name, loss in losses.items()}
    by_place |= {} if tasks is None else tasks.by_place
    gradients, summed = reduced(ranks, parameters, own, objective, by_place)
    return Outcome({name: loss.sum() for name, loss in summed.items()}, detached, gradients)


def align(objective: nn.Module, embeddings: Mapping[str, Tensor], matches: BatchMatches) -> dict[str, Tensor]:
    """The objective's loss, if there is something to align; its gradients wait at the embeddings."""
    if len(embeddings) < 2 or not any(rows.requires_grad for rows in embeddings.values()):
        return {}
    loss = objective(embeddings, matches)
    if loss.requires_grad:  # not where no two modalities have rows in common
        loss.backward()
    return {ALIGNMENT: loss.detach()}


class Step:
    """One batch on its way through the towers, alone or beside other ranks."""

    def __init__(self, tower: Space, batch: Batch, where: torch.device, ranks: Ranks) -> None:
        self.tower, self.batch, self.where, self.ranks = tower, batch, where, ranks
        self.seed = torch.initial_seed()
        self.nothing: dict[str, Tensor] = {}

    def encode(self, room: int) -> dict[str, list[MicroBatch]]:
        """Every micro-batch of this rank encoded, see :func:`encode`; running statistics are those of all ranks."""
        share = self.batch.share
        if share is None:
            return encode(self.tower, self.batch, self.where, room)
        statistics = {name: RunningStatistics(self.tower.encoders[name]) for name in self.batch.parts}

        @contextmanager
        def around(part: MicroBatch) -> Iterator[None]:
            self.begin(part, 0)
            with statistics[part.modality].of_micro_batch():
                yield

        @contextmanager
        def idle(name: str) -> Iterator[None]:
            yield
            with torch.no_grad(), unchanged_buffers(self.tower):
                for _ in range(self.missing(name)):
                    self.tower.encode(name, self.spare(name))

        encoded = encode(self.tower, self.batch, self.where, room, around, idle)
        for name, gathering in statistics.items():
            gathering.gather(self.ranks, share, len(self.batch.parts[name].sizes))
        return encoded

    def begin(self, part: MicroBatch, phase: int) -> None:
        """Let what a micro-batch draws depend on the step and its own place alone, not on who encodes it."""
        seed(self.seed, list(self.batch.parts).index(part.modality), part.place, phase)

    def items(self, name: str, parts: Sequence[MicroBatch]) -> Tensor:
        """The embeddings of all items of a modality ``(U, E)``, those of other ranks without a gradient."""
        share = self.batch.share
        if share is None:
            return torch.cat([part.items_UE for part in parts])
        learns = learning(self.tower, name)
        nothing_UE = torch.zeros(0, self.tower.width, dtype=dtype_of(self.tower.projections[name]), device=self.where)
        self.nothing[name] = nothing_UE.requires_grad_(learns)
        own_UE = torch.cat([part.items_UE for part in parts]) if parts else nothing_UE
        return gathered(own_UE, self.ranks, share.counts(self.batch.parts[name].sizes))

    def missing(self, name: str) -> int:
        """How many micro-batches of a modality fewer than another rank this one has, where all have to keep step."""
        share, count = self.batch.share, len(self.batch.parts[name].sizes)
        if share is None or not any(map(is_sharded, self.tower.encoders[name].parameters())):
            return 0
        return max(sum(share.own(count, rank)) for rank in range(share.ranks)) - sum(share.own(count))

    def spare(self, name: str) -> Any:
        """Inputs to compute for nothing: of the last micro-batch here, or of the first of all."""
        here = [inputs for inputs in self.batch.parts[name].inputs if inputs is not None]
        return (here[-1] if here else self.batch.parts[name].spare).to(self.where)

    def idle_backward(self, name: str) -> None:
        """Backward passes that change nothing, for the sake of the ranks that have more."""
        for _ in range(self.missing(name)):
            made_UE = self.tower.encode(name, self.spare(name))
            HandOver.apply(made_UE, torch.zeros_like(made_UE)).backward()  # type: ignore[no-untyped-call]

    def reached(self, name: str, parts: Sequence[MicroBatch]) -> bool:
        """Whether a modality's embeddings got a gradient."""
        return (parts[0].items_UE if parts else self.nothing[name]).grad is not None

    def backward(self, encoded: Mapping[str, Sequence[MicroBatch]], tasks: DecoderTasks | None) -> None:
        """Every micro-batch's gradients into the parameters, the latest first."""
        for name, parts in reversed(list(encoded.items())):
            for part in reversed(parts):
                part.backward(tasks if tasks is not None and tasks.modality == name else None)

    def backward_in_tree(
        self,
        encoded: Mapping[str, Sequence[MicroBatch]],
        tasks: DecoderTasks | None,
        parameters: Sequence[nn.Parameter],
        share: Share,
    ) -> Gradients:
        """The sum of this rank's micro-batches' gradients, in the order of the tree; none stay in the parameters."""
        total: Gradients | None = [None for _ in parameters]
        for name, parts in encoded.items():
            count = len(self.batch.parts[name].sizes)
            at_leaf = {share.leaf(part.place, count): part for part in parts}
            about = tasks if tasks is not None and tasks.modality == name else None

            def gradients_of(
                leaf: int, at_leaf: Mapping[int, MicroBatch] = at_leaf, about: DecoderTasks | None = about
            ) -> Gradients | None:
                if leaf not in at_leaf:
                    return None
                self.begin(at_leaf[leaf], 1)
                at_leaf[leaf].backward(about)
                return taken(parameters)

            total = added(total, added_in_tree(share.run(count), gradients_of))
            if self.reached(name, parts):
                self.idle_backward(name)
                taken(parameters)
        torch.manual_seed(self.seed)
        assert total is not None
        return total


def learning(tower: Space, modality: str) -> bool:
    """Whether a parameter on the way from items of a modality to their embeddings learns."""
    return learns(tower.encoders[modality], tower.projections[modality])


def rest_locked(tower: Space) -> None:
    """Encoders without a parameter that learns drop nothing and gather no statistics."""
    for encoder in tower.encoders.values():
        encoder.train(learns(encoder))


def encode(
    tower: Space,
    batch: Batch,
    where: torch.device,
    room: int,
    around: Callable[[MicroBatch], AbstractContextManager[Any]] = nullcontext,
    during: Callable[[str], AbstractContextManager[Any]] = nullcontext,
) -> dict[str, list[MicroBatch]]:
    """Every micro-batch that is here encoded; the latest keep their graphs, as many as ``room`` bytes hold.

    Each is encoded inside of ``around``, all those of a modality inside of ``during``.
    """
    encoded = {
        name: [
            MicroBatch(tower, name, inputs, where, place)
            for place, inputs in enumerate(parts.inputs)
            if inputs is not None
        ]
        for name, parts in batch.parts.items()
    }
    kept: deque[MicroBatch] = deque()
    for name, parts in encoded.items():
        size = 0
        with during(name):
            for place, part in enumerate(parts):
                later = size * (len(parts) - 1 - place)  # their graphs push this one out, so it need not be built
                with around(part):
                    part.encode(keep=later <= room)
                size = max(size, part.size)
                kept.append(part)
                while kept and sum(one.size for one in kept) > room:
                    kept.popleft().forget()
    return encoded


class MicroBatch:
    """Some items of one modality: their embeddings ``items_UE``, and what it takes to compute these once more."""

    items_UE: Tensor
    """Cut off from the graph behind them: this is where the objective's gradient arrives and waits."""
    size: int
    """Bytes of that graph, 0 where it was not kept."""

    def __init__(self, tower: Space, modality: str, inputs: Any, where: torch.device, place: int = 0) -> None:
        self.tower, self.modality, self.inputs, self.where, self.place = tower, modality, inputs, where, place
        self.graph: tuple[Tensor, Features] | None = None

    def encode(self, keep: bool) -> None:
        """The first pass, whose graph is kept or never built."""
        self.random = RandomState(self.where)
        counter = SavedBytes(self.tower)
        with torch.set_grad_enabled(keep), counter:
            made = self._made()
        self.graph, self.size = (made, counter.total) if keep else (None, 0)
        self.items_UE = made[0].detach().requires_grad_(learning(self.tower, self.modality))

    def forget(self) -> None:
        """Give up the graph."""
        self.graph, self.size = None, 0

    def backward(self, tasks: DecoderTasks | None) -> None:
        """All gradients of this micro-batch into the tower; what has no graph is computed once more."""
        if self.items_UE.grad is None and tasks is None:
            return
        embeddings_UE, features = self._again() if self.graph is None else self.graph
        self.forget()
        arrived = [(embeddings_UE, self.items_UE.grad)]
        if tasks is not None:
            arrived.append((features.tokens_BTD, tasks.gradient(features, self.place)))
        arrived = [(made, gradient) for made, gradient in arrived if made.requires_grad and gradient is not None]
        if arrived:  # not where the tower is frozen
            ends: list[Tensor] = [HandOver.apply(*pair) for pair in arrived]  # type: ignore[no-untyped-call]
            torch.stack(ends).sum().backward()  # type: ignore[no-untyped-call]

    def _again(self) -> tuple[Tensor, Features]:
        with self.random.restored():
            return self._made()

    def _made(self) -> tuple[Tensor, Features]:
        features = self.tower.features(self.modality, self.inputs.to(self.where))
        return self.tower.project(self.modality, features), features


class HandOver(torch.autograd.Function):
    """A number whose gradient with respect to what was made is the one given.

    ``torch.autograd.backward`` takes gradients too, but to compare their shapes it imports sympy: a quarter second.
    """

    @staticmethod
    def forward(context: Any, made: Tensor, gradient: Tensor) -> Tensor:
        context.save_for_backward(gradient)
        return gradient.new_zeros((), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(context: Any, one: Tensor) -> tuple[Tensor, None]:
        return context.saved_tensors[0], None


class RandomState:
    """The state of the generators that a forward pass on a device draws from (dropout, left out patches)."""

    def __init__(self, where: torch.device) -> None:
        self.where, self.states = where, random_state(where)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """A block that draws what was drawn from here on the first time; the generators do not notice it."""
        now = random_state(self.where)
        set_random_state(self.where, self.states)
        try:
            yield
        finally:
            set_random_state(self.where, now)


class SavedBytes(saved_tensors_hooks):
    """Counts the bytes that autograd keeps of what a block computes; parameters and buffers are there anyway."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(self._count, _as_it_is)
        kept = map(local, (*module.parameters(), *module.buffers()))
        self.seen = {weight.untyped_storage().data_ptr() for weight in kept}
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

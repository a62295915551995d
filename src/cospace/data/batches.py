"""The batches of a run, by step number.

Every item is encoded once per batch however many rows share it, and ragged items are sorted by length and cut into
micro-batches so that they are padded to their neighbours, not to a fixed context.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..matches import BatchMatches, Matches
from ..modalities import Batcher, Wanted, everything
from ..modalities.text.sequences import SequenceBatch
from ..ranks import ALONE, Ranks
from ..runtime import allow_open_files
from ..stopping import ignore, unheard
from ..types import BadItem, PooledFeatures
from .crash_safe import PATIENCE
from .on_demand import OnDemandRows
from .sampler import Sampler
from .targets import TaskTargets, filling

AHEAD = 4
"""Batches that a thread makes in advance."""


@dataclass(frozen=True, slots=True)
class MicroBatches:
    """One modality of a batch: encoder inputs in micro-batches, and where each row finds its item among them.

    ``inputs[i].to(device)`` is what the encoder reads, nothing where another rank does. ``item_B`` is of the batch's
    rows that have this modality, ``sizes`` are the numbers of items in all micro-batches.
    """

    inputs: list[Any]
    item_B: Tensor
    sizes: Sequence[int] = ()
    spare: Any = None
    """Inputs that a rank without any of its own may compute to keep step with the others."""


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of every batch a rank encodes.

    The micro-batches of a modality are leaves of a binary tree, spread evenly, and a rank encodes a run of leaves. What
    is cut, and where it stands in the tree, depends on ``pieces`` alone, the least number of micro-batches, a power of
    two: so ranks whose number divides it, whatever it is, add up the same sums.
    """

    rank: int
    ranks: int
    pieces: int

    def cut(self, items: int, most: int) -> int:
        """Items of a micro-batch where a step has so many, and ``most`` are encoded at a time."""
        pieces = self.pieces
        while pieces * most < items:
            pieces *= 2
        return max(1, -(-items // pieces))

    def leaves(self, micro_batches: int) -> int:
        """Leaves of the tree for so many micro-batches."""
        return max(self.pieces, 1 << max(0, micro_batches - 1).bit_length())

    def leaf(self, place: int, micro_batches: int) -> int:
        """Where a micro-batch stands in the tree."""
        return place * self.leaves(micro_batches) // micro_batches

    def run(self, micro_batches: int, rank: int | None = None) -> range:
        """The leaves of this rank, or of another one."""
        leaves, rank = self.leaves(micro_batches), self.rank if rank is None else rank
        return range(-(-rank * leaves // self.ranks), -(-(rank + 1) * leaves // self.ranks))

    def own(self, micro_batches: int, rank: int | None = None) -> list[bool]:
        """Which micro-batches this rank encodes, or another one."""
        run = self.run(micro_batches, rank)
        return [self.leaf(place, micro_batches) in run for place in range(micro_batches)]

    def counts(self, sizes: Sequence[int]) -> list[int]:
        """How many of so many rows in each micro-batch every rank has."""
        return [
            sum(size for size, here in zip(sizes, self.own(len(sizes), rank), strict=True) if here)
            for rank in range(self.ranks)
        ]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step sees; ``matches`` says which of its items are true matches of each other."""

    step: int
    parts: Mapping[str, MicroBatches]
    matches: BatchMatches
    row_B: np.ndarray
    targets: Mapping[str, Sequence[SequenceBatch | None]] = field(default_factory=dict)
    """By task what a decoder learns to write about each micro-batch of the modality that it describes."""
    captions: Sequence[Tensor] = ()
    """Token ids of the captions of rows that have an item and a caption, where a decoder learns ITM."""
    share: Share | None = None
    """Which micro-batches are this rank's, where several ranks share the batch."""
    set_aside: Mapping[int, BadItem] = field(default_factory=dict)
    """Rows of the data set that belong here and cannot be used; others are in their places."""


class PooledBatcher:
    """Items of a frozen encoder, encoded once: a step costs the other tower alone (Zhai et al. 2022, LiT)."""

    in_order = True

    def __init__(self, pooled_ND: Tensor, item_of_row: np.ndarray) -> None:
        self.pooled_ND, self.item_of_row = pooled_ND, item_of_row
        self.identity_N: np.ndarray | None = None

    def micro_batches(
        self, step: int, items: np.ndarray, epochs: np.ndarray, size: int, wanted: Wanted = everything
    ) -> tuple[list[Any], np.ndarray]:
        """See :class:`cospace.modalities.Batcher`."""
        parts = torch.split(self.pooled_ND[torch.from_numpy(items)], size)
        made = wanted([len(part) for part in parts])
        inputs = [PooledFeatures(part) if here else None for part, here in zip(parts, made, strict=True)]
        return inputs, np.arange(len(items))


@dataclass(frozen=True, slots=True)
class DecoderTargets:
    """What a decoder learns from the batches: its targets by task, about one modality.

    From the step ``itm_from`` on, a batch brings true and false captions for image-text matching.
    """

    modality: str
    targets: Mapping[str, TaskTargets]
    itm_from: int | None = None


class Batches(Protocol):
    """What a training takes its batches from: of pairs that are read before, or that are streamed."""

    on_demand: OnDemandRows | None
    """The rows whose items are prepared on demand, where there are any."""

    def shared(self, share: Share, ranks: Ranks = ALONE) -> Batches:
        """The same batches, of which a rank makes its part."""

    def stream(self, start: int, stop: int, workers: int) -> Iterator[Batch]:
        """The batches of steps ``start`` to ``stop``, made in advance by ``workers`` processes."""


class TrainingBatches(torch.utils.data.Dataset[Batch]):
    """Batches by step number: a map-style data set, so that worker processes and restarts need no state."""

    def __init__(
        self,
        batchers: Mapping[str, Batcher],
        matches: Matches,
        sampler: Sampler,
        micro_batch_size: int,
        decoder_targets: DecoderTargets | None = None,
        on_demand: OnDemandRows | None = None,
    ) -> None:
        self.batchers, self.matches, self.sampler = dict(batchers), matches, sampler
        self.micro_batch_size, self.decoder_targets, self.on_demand = micro_batch_size, decoder_targets, on_demand
        self.share: Share | None = None
        self.ranks = ALONE

    def shared(self, share: Share, ranks: Ranks = ALONE) -> TrainingBatches:
        """The same batches, of which a rank makes its part."""
        made = copy.copy(self)
        made.share, made.ranks = share, ranks
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Without the other ranks, whom worker processes do not meet."""
        return {**self.__dict__, "ranks": ALONE}

    def __getitem__(self, step: int) -> Batch:
        rows, epochs = self.sampler.step(step)
        if self.on_demand is None:
            return self._batch(step, rows, epochs, {})
        here = {name: self._items_here(self.batchers[name], rows) for name in self.on_demand.items}
        bad = self.on_demand.problems(rows, here)
        if bad and self.share is not None:  # what is to be in their places depends on what other ranks found
            return Batch(step, {}, self.matches.batch(rows[:0]), rows[:0], set_aside=bad)
        return self._batch(step, rows, epochs, bad)

    def prepare(self, step: int) -> None:
        """Prepare the items that a step will read here, where they are prepared on demand."""
        if self.on_demand is not None:
            rows, _ = self.sampler.step(step)
            here = {name: self._items_here(self.batchers[name], rows) for name in self.on_demand.items}
            self.on_demand.problems(rows, here)

    def _batch(self, step: int, rows: np.ndarray, epochs: np.ndarray, bad: Mapping[int, BadItem]) -> Batch:
        if self.on_demand is not None:
            rows, epochs = self.on_demand.replaced(rows, epochs, bad)
        parts = {
            name: self._micro_batches(batcher, step, rows, epochs)
            for name, batcher in self.batchers.items()
            if (batcher.item_of_row[rows] >= 0).any()
        }
        targets, captions = self._targets(step, rows, parts)
        return Batch(step, parts, self.matches.batch(rows), rows, targets, captions, self.share, bad)

    def _agreed(self, batch: Batch) -> Batch:
        """The batch of which all ranks know which of its rows are of no use."""
        if self.on_demand is None or self.share is None or not self.ranks.any(bool(batch.set_aside)):
            return batch
        found = self.ranks.from_each({row: [bad.kind, bad.reason] for row, bad in batch.set_aside.items()})
        merged = {int(row): BadItem(*why) for one in found for row, why in one.items()}
        return self._batch(batch.step, *self.sampler.step(batch.step), merged)

    def _targets(
        self, step: int, rows: np.ndarray, parts: Mapping[str, MicroBatches]
    ) -> tuple[dict[str, list[SequenceBatch | None]], Sequence[Tensor]]:
        learned = self.decoder_targets
        if learned is None or learned.modality not in parts:
            return {}, ()
        items = parts[learned.modality]
        described = rows[self.batchers[learned.modality].item_of_row[rows] >= 0]
        targets = {
            name: task.about(described, items.item_B.numpy(), items.sizes) for name, task in learned.targets.items()
        }
        if learned.itm_from is None or step < learned.itm_from:
            return targets, ()
        captions = learned.targets["caption"]
        return targets, captions.target_ids(described[captions.target_of_row[described] >= 0])

    def _filled(self, items: np.ndarray) -> tuple[np.ndarray, int]:
        """Places of items, some of them several times so that shapes repeat, and how many go together."""
        filled = np.pad(np.arange(len(items)), (0, filling(len(items))), mode="edge")
        size = self.micro_batch_size
        return filled, size if self.share is None else self.share.cut(len(filled), size)

    def _wanted(self, sizes: Sequence[int]) -> Sequence[bool]:
        """Which micro-batches are made here; a rank that encodes none of them makes one, which nothing depends on."""
        if self.share is None:
            return everything(sizes)
        own = self.share.own(len(sizes))
        return own if any(own) else [True, *own[1:]]

    def _items_here(self, batcher: Batcher, rows: np.ndarray) -> np.ndarray:
        """The items of some rows that are read here, as far as that is known before they are prepared."""
        items = np.unique(batcher.item_of_row[rows])
        items = items[items >= 0]
        if self.share is None or not batcher.in_order or not len(items):
            return items
        filled, size = self._filled(items)
        cuts = np.split(filled, range(size, len(filled), size))
        here = [cut for cut, wanted in zip(cuts, self._wanted(list(map(len, cuts))), strict=True) if wanted]
        return np.asarray(items[np.unique(np.concatenate(here))])

    def _micro_batches(self, batcher: Batcher, step: int, rows: np.ndarray, epochs: np.ndarray) -> MicroBatches:
        here = batcher.item_of_row[rows] >= 0
        rows, epochs = rows[here], epochs[here]
        items, first, inverse = np.unique(batcher.item_of_row[rows], return_index=True, return_inverse=True)
        filled, size = self._filled(items)
        sizes: list[int] = []

        def wanted(cut: Sequence[int]) -> Sequence[bool]:
            sizes.extend(cut)
            return self._wanted(cut)

        inputs, order = batcher.micro_batches(step, items[filled], epochs[first][filled], size, wanted)
        place = np.empty(len(filled), dtype=np.int64)
        place[order] = np.arange(len(filled))
        item_B = torch.from_numpy(place[inverse])
        if self.share is None or any(self.share.own(len(sizes))):
            return MicroBatches(inputs, item_B, sizes)
        return MicroBatches([None] * len(sizes), item_B, sizes, spare=inputs[0])

    def stream(self, start: int, stop: int, workers: int) -> Iterator[Batch]:
        """The batches of steps ``start`` to ``stop``, made in advance by ``workers`` processes.

        Items that are prepared on demand are prepared in advance by threads where there are no workers. Raises
        :class:`~cospace.types.UserError` where too many of them cannot be used.
        """
        for made in self._made(start, stop, workers):
            batch = self._agreed(made)
            if self.on_demand is not None:
                self.on_demand.note(batch.set_aside)
            yield batch

    def _made(self, start: int, stop: int, workers: int) -> Iterator[Batch]:
        if self.on_demand is not None and not workers:
            yield from self._by_a_thread(range(start, stop))
        elif workers:
            yield from self._by_workers(start, stop, workers)
        else:
            yield from map(self.__getitem__, range(start, stop))

    def _by_workers(self, start: int, stop: int, workers: int) -> Iterator[Batch]:
        """Batches by processes. Where one ends or hangs at an item, that item is set aside and others go on."""
        allow_open_files()
        while start < stop:
            if self.on_demand is not None:
                self.on_demand.close()  # every worker opens the cache for itself
            loader: Any = torch.utils.data.DataLoader(
                self,
                batch_size=None,
                sampler=range(start, stop),
                num_workers=workers,
                prefetch_factor=2,
                timeout=0 if self.on_demand is None else PATIENCE,
                worker_init_fn=_one_thread,
            )
            with unheard():
                batches = iter(loader)
            try:
                while start < stop:
                    if (batch := self._next(batches)) is not None:
                        yield batch
                        start = batch.step + 1
            except RuntimeError as error:
                for worker in batches._workers:
                    worker.kill()
                    worker.join()
                if self.on_demand is None or "DataLoader" not in str(error) or not self.on_demand.recover():
                    raise

    def _next(self, batches: Iterator[Batch]) -> Batch | None:
        """The next batch; nothing where it takes long, though no item does."""
        try:
            return next(batches)
        except RuntimeError as error:
            if "timed out" not in str(error) or self.on_demand is None or self.on_demand.overdue():
                raise
            return None

    def _by_a_thread(self, steps: range) -> Iterator[Batch]:
        """Batches that are made while the caller computes with those before them."""
        pool, rest, waiting = ThreadPoolExecutor(1), iter(steps), deque[Future[Batch]]()
        try:
            waiting.extend(pool.submit(self.__getitem__, step) for step in islice(rest, AHEAD))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(self.__getitem__, step) for step in islice(rest, 1))
        finally:  # the caller may have stopped early
            hangs = self.on_demand is not None and self.on_demand.overdue()
            pool.shutdown(wait=not hangs, cancel_futures=True)


def _one_thread(worker: int) -> None:
    ignore()  # torchrun and terminals send signals to all; the training then ends its workers
    torch.set_num_threads(1)

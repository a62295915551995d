"""The batches of a run, by step number.

Every item is encoded once per batch however many rows share it, and ragged items are sorted by length and cut into
micro-batches so that they are padded to their neighbours, not to a fixed context.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..matches import BatchMatches, Matches
from ..modalities import Batcher, Wanted, everything
from ..modalities.text.sequences import SequenceBatch
from ..runtime import allow_open_files
from ..types import PooledFeatures
from .sampler import Sampler
from .targets import TaskTargets, filling


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


class PooledBatcher:
    """Items of a frozen encoder, encoded once: a step costs the other tower alone (Zhai et al. 2022, LiT)."""

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

    def shared(self, share: Share) -> Batches:
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
        share: Share | None = None,
    ) -> None:
        self.batchers, self.matches, self.sampler = dict(batchers), matches, sampler
        self.micro_batch_size, self.decoder_targets, self.share = micro_batch_size, decoder_targets, share

    def shared(self, share: Share) -> TrainingBatches:
        """The same batches, of which a rank makes its part."""
        size = self.micro_batch_size
        return TrainingBatches(self.batchers, self.matches, self.sampler, size, self.decoder_targets, share)

    def __getitem__(self, step: int) -> Batch:
        rows, epochs = self.sampler.step(step)
        parts = {
            name: self._micro_batches(batcher, step, rows, epochs)
            for name, batcher in self.batchers.items()
            if (batcher.item_of_row[rows] >= 0).any()
        }
        targets, captions = self._targets(step, rows, parts)
        return Batch(step, parts, self.matches.batch(rows), rows, targets, captions, self.share)

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

    def _micro_batches(self, batcher: Batcher, step: int, rows: np.ndarray, epochs: np.ndarray) -> MicroBatches:
        here = batcher.item_of_row[rows] >= 0
        rows, epochs = rows[here], epochs[here]
        items, first, inverse = np.unique(batcher.item_of_row[rows], return_index=True, return_inverse=True)
        filled = np.pad(np.arange(len(items)), (0, filling(len(items))), mode="edge")
        size = self.micro_batch_size
        sizes: list[int] = []
        if self.share is not None:
            size = self.share.cut(len(filled), size)

        def wanted(cut: Sequence[int]) -> Sequence[bool]:
            sizes.extend(cut)
            if self.share is None:
                return everything(cut)
            own = self.share.own(len(cut))
            return own if any(own) else [True, *own[1:]]

        inputs, order = batcher.micro_batches(step, items[filled], epochs[first][filled], size, wanted)
        place = np.empty(len(filled), dtype=np.int64)
        place[order] = np.arange(len(filled))
        item_B = torch.from_numpy(place[inverse])
        if self.share is None or any(self.share.own(len(sizes))):
            return MicroBatches(inputs, item_B, sizes)
        return MicroBatches([None] * len(sizes), item_B, sizes, spare=inputs[0])

    def stream(self, start: int, stop: int, workers: int) -> Iterator[Batch]:
        """The batches of steps ``start`` to ``stop``, made in advance by ``workers`` processes."""
        if workers:
            allow_open_files()
        loader: Any = torch.utils.data.DataLoader(
            self,
            batch_size=None,
            sampler=range(start, stop),
            num_workers=workers,
            prefetch_factor=2 if workers else None,
            worker_init_fn=_one_thread if workers else None,
        )
        yield from loader


def _one_thread(worker: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it to all; the training then ends its workers
    torch.set_num_threads(1)

"""The batches of a run, by step number.

Every item is encoded once per batch however many rows share it, and ragged items are sorted by length and cut into
micro-batches so that they are padded to their neighbours, not to a fixed context.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..matches import BatchMatches, Matches
from ..modalities import Batcher
from ..modalities.text.sequences import SequenceBatch
from ..runtime import allow_open_files
from ..types import PooledFeatures
from .sampler import BatchSampler
from .targets import TaskTargets, filling


@dataclass(frozen=True, slots=True)
class MicroBatches:
    """One modality of a batch: encoder inputs in micro-batches, and where each row finds its item among them.

    ``inputs[i].to(device)`` is what the encoder reads. ``item_B`` is of the batch's rows that have this modality.
    """

    inputs: list[Any]
    item_B: Tensor


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


class PooledBatcher:
    """Items of a frozen encoder, encoded once: a step costs the other tower alone (Zhai et al. 2022, LiT)."""

    def __init__(self, pooled_ND: Tensor, item_of_row: np.ndarray) -> None:
        self.pooled_ND, self.item_of_row = pooled_ND, item_of_row

    def micro_batches(
        self, step: int, items: np.ndarray, epochs: np.ndarray, size: int
    ) -> tuple[list[Any], np.ndarray]:
        """See :class:`cospace.modalities.Batcher`."""
        parts = torch.split(self.pooled_ND[torch.from_numpy(items)], size)
        return [PooledFeatures(part) for part in parts], np.arange(len(items))


@dataclass(frozen=True, slots=True)
class DecoderTargets:
    """What a decoder learns from the batches: its targets by task, about one modality.

    From the step ``itm_from`` on, a batch brings true and false captions for image-text matching.
    """

    modality: str
    targets: Mapping[str, TaskTargets]
    itm_from: int | None = None


class TrainingBatches(torch.utils.data.Dataset[Batch]):
    """Batches by step number: a map-style data set, so that worker processes and restarts need no state."""

    def __init__(
        self,
        batchers: Mapping[str, Batcher],
        matches: Matches,
        sampler: BatchSampler,
        micro_batch_size: int,
        decoder_targets: DecoderTargets | None = None,
    ) -> None:
        self.batchers, self.matches, self.sampler = dict(batchers), matches, sampler
        self.micro_batch_size, self.decoder_targets = micro_batch_size, decoder_targets

    def __getitem__(self, step: int) -> Batch:
        rows, epochs = self.sampler.step(step)
        parts = {
            name: self._micro_batches(batcher, step, rows, epochs)
            for name, batcher in self.batchers.items()
            if (batcher.item_of_row[rows] >= 0).any()
        }
        targets, captions = self._targets(step, rows, parts)
        return Batch(step, parts, self.matches.batch(rows), rows, targets, captions)

    def _targets(
        self, step: int, rows: np.ndarray, parts: Mapping[str, MicroBatches]
    ) -> tuple[dict[str, list[SequenceBatch | None]], Sequence[Tensor]]:
        learned = self.decoder_targets
        if learned is None or learned.modality not in parts:
            return {}, ()
        items, size = parts[learned.modality], self.micro_batch_size
        described = rows[self.batchers[learned.modality].item_of_row[rows] >= 0]
        targets = {
            name: task.about(described, items.item_B.numpy(), size, len(items.inputs))
            for name, task in learned.targets.items()
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
        inputs, order = batcher.micro_batches(step, items[filled], epochs[first][filled], self.micro_batch_size)
        place = np.empty(len(filled), dtype=np.int64)
        place[order] = np.arange(len(filled))
        return MicroBatches(inputs, torch.from_numpy(place[inverse]))

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
    torch.set_num_threads(1)

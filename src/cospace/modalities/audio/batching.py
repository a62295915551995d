"""Prepared sounds end to end in one array, and micro-batches cut from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from ...types import BadItem, Progress
from .. import KnownItems, Prepared, Wanted, everything
from .._draws import drawing
from .._prepared import Preparation
from .augmenting import WARP, Augment, Draws, Timing, Warp, masks, noise_table, noisy, response, stretched, warped
from .processor import STRIDE, AudioBatch, AudioProcessor, normalised

IN_MEMORY = 1 << 30
"""Bytes of prepared sounds that are kept in memory; beyond, they go to a file, which is mapped."""

SMALL = 16
"""Sounds that a micro-batch has at least, however different in length, where so many are left."""

WHOLE = Augment(vtlp=0, time_stretch=0, pad_fraction=0, max_noise_db=0, eq_std_db=0, time_mask=0, freq_mask=0)
"""Sounds as they are."""


class Packed(Sequence[Tensor]):
    """Spectrograms of any lengths: ``store_RF`` holds their frames one after the other, ``offset_N`` where each starts.

    ``offset_N`` has one more entry, the number of rows; ``frames_N`` are the lengths.
    """

    def __init__(self, store_RF: Tensor, offset_N: np.ndarray) -> None:
        self.store_RF, self.offset_N, self.frames_N = store_RF, offset_N, np.diff(offset_N)

    @classmethod
    def of(cls, items: Iterable[Tensor], bins: int, spill: Path | None = None, in_memory: int = IN_MEMORY) -> Packed:
        """Packed as they come; more than ``in_memory`` bytes go to the file ``spill``, where one is given."""
        waiting: list[Tensor] = []
        lengths, held, spilled = [0], 0, False
        for item in items:
            waiting.append(item)
            lengths.append(len(item))
            held += item.numel()
            if spill is not None and held > in_memory:
                _append(spill, waiting, anew=not spilled)
                waiting, held, spilled = [], 0, True
        offset_N = np.cumsum(lengths)
        if not spilled or spill is None:
            return cls(torch.cat(waiting) if waiting else torch.zeros(0, bins, dtype=torch.uint8), offset_N)
        _append(spill, waiting, anew=False)
        mapped = np.memmap(spill, np.uint8, "r+", shape=(int(offset_N[-1]), bins))
        return cls(torch.from_numpy(mapped), offset_N)

    def __len__(self) -> int:
        return len(self.offset_N) - 1

    @overload
    def __getitem__(self, place: int) -> Tensor: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, place: int | slice) -> Tensor | Sequence[Tensor]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        return self.store_RF[self.offset_N[place] : self.offset_N[place + 1]]


def _append(path: Path, items: Sequence[Tensor], anew: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb" if anew else "ab") as file:
        for item in items:
            file.write(item.contiguous().numpy().data)


def prepare_all(
    raws: Sequence[Any],
    processor: AudioProcessor,
    progress: Progress,
    spill: Path | None,
    known: KnownItems | None = None,
) -> Prepared:
    """Every sound prepared; bad ones have no frames."""
    bad: dict[int, BadItem] = {}

    def prepared() -> Iterator[Tensor]:
        for number, result in Preparation(processor, "sounds", known).in_order(raws, progress):
            if isinstance(result, BadItem):
                bad[number] = result
                result = torch.zeros(0, processor.mel_bins, dtype=torch.uint8)
            yield result

    return Prepared(Packed.of(prepared(), processor.mel_bins, spill), bad)


def cut_sizes(lengths: Sequence[int], size: int) -> list[int]:
    """How many of these sounds, the shortest first, go together: at most ``size``, and little of them padding.

    A micro-batch ends where the next sound would be half as long again as its first, unless it would be tiny.
    """
    sizes, start = [], 0
    for place, length in enumerate(lengths):
        held = place - start
        if held >= size or (held >= SMALL and length > 1.5 * max(lengths[start], STRIDE)):
            sizes.append(held)
            start = place
    return [*sizes, len(lengths) - start]


class AudioBatcher:
    """Micro-batches of prepared sounds, augmented when a step asks for them and sorted by length.

    A sound is padded to the longest of its micro-batch, so neighbours are of about one length.
    """

    in_order = False

    def __init__(
        self,
        prepared: Sequence[Tensor],
        item_of_row: np.ndarray,
        processor: AudioProcessor,
        augment: Augment,
        seed: int,
    ) -> None:
        bins = processor.mel_bins
        self.prepared, self.bins = prepared, bins
        self.item_of_row, self.augment, self.seed = item_of_row, augment, seed + 2
        self.identity_N: np.ndarray | None = None
        self.warp = Warp.of(bins, processor.f_min, processor.top)
        self.table_RF = noise_table(self.seed, bins)

    def micro_batches(
        self, step: int, items: np.ndarray, epochs: np.ndarray, size: int, wanted: Wanted = everything
    ) -> tuple[list[AudioBatch | None], np.ndarray]:
        """Encoder inputs of at most ``size`` sounds each, and the order in which ``items`` appear in them."""
        made = Draws.of(self.seed, epochs, drawing(items, self.identity_N))
        packed, at = self._packed(items)
        timing = Timing.drawn(self.augment, made, torch.from_numpy(packed.frames_N)[at])
        order = torch.argsort(timing.length_B, stable=True)
        sizes = cut_sizes(timing.length_B[order].tolist(), size)
        batches = [
            self._batch(packed, at[cut], Draws(made.numbers[cut]), timing.rows(cut)) if here else None
            for cut, here in zip(torch.split(order, sizes), wanted(sizes), strict=True)
        ]
        return batches, order.numpy()

    def _packed(self, items: np.ndarray) -> tuple[Packed, Tensor]:
        """Sounds end to end, and the places of these items among them."""
        if isinstance(self.prepared, Packed):
            return self.prepared, torch.from_numpy(items)
        return Packed.of((self.prepared[item] for item in items.tolist()), self.bins), torch.arange(len(items))

    def _batch(self, packed: Packed, items: Tensor, made: Draws, timing: Timing) -> AudioBatch:
        augment = self.augment
        first_B, frames_B = (torch.from_numpy(column)[items] for column in (packed.offset_N[:-1], packed.frames_N))
        mels_BTF = stretched(packed.store_RF, first_B, frames_B, timing)
        if augment.vtlp:
            factor_B = torch.exp(np.log1p(augment.vtlp) * made.signed(WARP))
            mels_BTF = warped(mels_BTF, self.warp.places(factor_B))
        if augment.eq_std_db:
            mels_BTF += response(augment, made, mels_BTF.shape[2])[:, None]
        if augment.max_noise_db:
            mels_BTF = noisy(mels_BTF, augment, made, self.table_RF)
        batch = normalised(mels_BTF, timing.length_B)
        if augment.time_mask or augment.freq_mask:
            shape = (batch.mels_BTF.shape[1], batch.mels_BTF.shape[2])
            time_BT, bands_BF = masks(augment, made, timing.length_B, shape)
            batch.mels_BTF.masked_fill_(time_BT[..., None], 0.0).masked_fill_(bands_BF[:, None], 0.0)
        return batch

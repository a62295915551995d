"""Items prepared in order, and those of one fixed shape: in memory, or in a file where they would take too much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..prefetch import Prefetcher
from ..types import BadItem, Progress
from . import KnownItems, Prepared

if TYPE_CHECKING:
    from torch import Tensor

TOGETHER = 512
"""Items that are looked up at a time among those that are known."""

MEMORY = 4 << 30
"""Bytes of prepared items that are kept in memory; more go to a file that is mapped into memory."""


@dataclass(slots=True)
class Preparation:
    """The way items are prepared, time after time: by which processor, and what is known of before."""

    processor: Any
    plural: str
    known: KnownItems | None = None
    _prefetcher: Prefetcher[Any] = field(init=False)

    def __post_init__(self) -> None:
        self._prefetcher = Prefetcher(self._prepared)

    def _prepared(self, asked: tuple[int, Any]) -> Tensor:
        number, raw = asked
        with nullcontext() if self.known is None else self.known.making(number):
            made: Tensor = self.processor.prepare(raw)
        return made

    def in_order(
        self, raws: Sequence[Any], progress: Progress, numbers: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Tensor | BadItem]]:
        """Items with their numbers, prepared or with the reason why not, by a thread a core while the caller works.

        All of them, or those of some numbers.
        """
        asked = range(len(raws)) if numbers is None else numbers
        together = len(asked) if self.known is None else TOGETHER
        for start in range(0, len(asked), max(1, together)):
            block = asked[start : start + together]
            found = {} if self.known is None else self.known.get(block)
            made = self._prefetcher((number, raws[number]) for number in block if number not in found)
            for place, number in enumerate(block, start):
                yield number, found[number] if number in found else self._kept(number, next(made))
                if place % 64 == 63 or place + 1 == len(asked):
                    progress(f"preparing {self.plural}", place + 1, len(asked))

    def _kept(self, number: int, made: Tensor | BadItem) -> Tensor | BadItem:
        if self.known is not None and not isinstance(made, BadItem):
            self.known.keep(number, made)
        return made


def prepare_fixed(
    raws: Sequence[Any], preparation: Preparation, shape: tuple[int, ...], progress: Progress, spill: Path | None
) -> Prepared:
    """Every item as ``uint8`` of one ``shape``."""
    items = _room((len(raws), *shape), spill)
    bad: dict[int, BadItem] = {}
    for number, result in preparation.in_order(raws, progress):
        if isinstance(result, BadItem):
            bad[number] = result
        else:
            items[number] = result
    return Prepared(items, bad)  # type: ignore[arg-type]


def _room(shape: tuple[int, ...], spill: Path | None) -> Tensor:
    import numpy as np
    import torch

    size = int(np.prod(shape, dtype=np.int64))
    if spill is None or size <= MEMORY:
        return torch.empty(shape, dtype=torch.uint8)
    spill.parent.mkdir(parents=True, exist_ok=True)
    return torch.from_numpy(np.lib.format.open_memmap(spill, mode="w+", dtype=np.uint8, shape=shape))

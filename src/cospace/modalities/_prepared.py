"""Items prepared in order, and those of one fixed shape: in memory, or in a file where they would take too much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..prefetch import prefetch
from ..types import BadItem, Progress
from . import Prepared

if TYPE_CHECKING:
    from torch import Tensor

MEMORY = 4 << 30
"""Bytes of prepared items that are kept in memory; more go to a file that is mapped into memory."""


def prepare_fixed(
    raws: Sequence[Any], processor: Any, shape: tuple[int, ...], what: str, progress: Progress, spill: Path | None
) -> Prepared:
    """Every item as ``uint8`` of one ``shape``; ``what`` is the plural of the modality, for the progress bar."""
    items = _room((len(raws), *shape), spill)
    bad: dict[int, BadItem] = {}
    for number, result in prepared_in_order(raws, processor, what, progress):
        if isinstance(result, BadItem):
            bad[number] = result
        else:
            items[number] = result
    return Prepared(items, bad)  # type: ignore[arg-type]


def prepared_in_order(
    raws: Sequence[Any], processor: Any, what: str, progress: Progress
) -> Iterator[tuple[int, Tensor | BadItem]]:
    """Every item with its number, prepared or with the reason why not, by a thread a core while the caller works."""
    for number, result in enumerate(prefetch(raws, processor.prepare)):
        yield number, result
        if number % 64 == 63 or number + 1 == len(raws):
            progress(f"preparing {what}", number + 1, len(raws))


def _room(shape: tuple[int, ...], spill: Path | None) -> Tensor:
    import numpy as np
    import torch

    size = int(np.prod(shape, dtype=np.int64))
    if spill is None or size <= MEMORY:
        return torch.empty(shape, dtype=torch.uint8)
    spill.parent.mkdir(parents=True, exist_ok=True)
    return torch.from_numpy(np.lib.format.open_memmap(spill, mode="w+", dtype=np.uint8, shape=shape))

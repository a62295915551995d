"""Steps whose loss or gradient is not finite: left out, named by their rows, and after several in a row the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..data.batches import Batch
from ..types import UserError
from .optim import OptimConfig

MOST_FAILURES = 3
"""Steps in a row with a loss or gradient that is not finite before the run stops."""


class Failures:
    """Steps in a row that were left out; ``say`` hears of each."""

    def __init__(self, config: OptimConfig, say: Callable[[str], None]) -> None:
        self._config, self._say, self._count = config, say, 0

    def end(self) -> None:
        """A step was finite."""
        self._count = 0

    def add(self, batch: Batch, embeddings: Mapping[str, Tensor]) -> None:
        """Say that a step was left out; raise :class:`UserError` when it keeps happening."""
        self._count += 1
        broken = broken_rows(batch, embeddings)
        rows = ", ".join(map(str, (broken or batch.row_B.tolist())[:8])) + ("" if broken else ", ...")
        rows += " with embeddings that are not finite" if broken else ""
        rates = ("lr", "muon_lr") if self._config.name == "muon" else ("lr",)
        lower = " and ".join(f"training.optim.{rate}" for rate in rates)
        if self._count >= MOST_FAILURES:
            raise UserError(
                f"the loss was not finite in {self._count} steps in a row "
                f"(last: step {batch.step + 1}, rows {rows}); lower {lower}, or run `cospace check` on these pairs"
            )
        self._say(f"step {batch.step + 1} gave a loss or gradient that is not finite and was left out (rows {rows})")


def broken_rows(batch: Batch, embeddings: Mapping[str, Tensor]) -> list[int]:
    """The rows of a batch with an embedding that is not finite."""
    found: set[int] = set()
    for name, rows_BE in embeddings.items():
        places = batch.matches.rows[name]
        row_B = batch.row_B if places is None else batch.row_B[places.cpu().numpy()]
        found |= set(row_B[(~torch.isfinite(rows_BE).all(1)).cpu().numpy()].tolist())
    return sorted(found)

"""The log of a run for TensorBoard, an optional extra."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..types import UserError


def tensorboard(folder: Path) -> Callable[[dict[str, Any]], None]:
    """A function that adds one row of ``metrics.jsonl`` to the event files in ``folder``."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("TensorBoard is not installed; pip install 'cospace[tensorboard]'") from error
    writer = SummaryWriter(str(folder))

    def write(row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name != "step":
                writer.add_scalar(name, value, row["step"])
        if any(name.startswith("val/") for name in row):
            writer.flush()

    return write

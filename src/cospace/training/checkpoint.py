"""The exact state of a run on disk, so that a killed run goes on as if nothing had happened.

Batches are a function of the step and every step seeds its own randomness, so the state is small: weights, the
objective's parameters, the optimizers' state, the step and the time spent. Checkpoints are sealed folders (see
``files``): one that was cut short or altered is not a checkpoint, and the newest whole one is taken.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .. import files, tensors
from ..reading import read_object, understood
from ..types import UserError
from .optim import Optimizer

_NAME = re.compile(r"step-(\d{8})")


class Checkpoints:
    """The checkpoints of one run, in ``folder``; at least the two newest are kept."""

    def __init__(
        self, folder: Path, modules: dict[str, nn.Module], optimizers: Sequence[Optimizer], keep: int = 2
    ) -> None:
        self.folder, self.modules, self.optimizers = folder, modules, list(optimizers)
        self.keep = max(2, keep)

    def save(self, step: int, facts: dict[str, Any]) -> Path:
        """Write the state after ``step`` steps, verify it, and only then drop the oldest."""
        target = self.folder / f"step-{step:08d}"
        state = json.dumps({"step": step, **facts}).encode()
        files.write_folder(target, {"state.json": state, "state.safetensors": tensors.writer(self._tensors())})
        files.verify(target)
        for old in self.found()[self.keep :]:
            shutil.rmtree(old)
        return target

    def found(self) -> list[Path]:
        """Checkpoint folders, newest first, whole or not."""
        if not self.folder.is_dir():
            return []
        return sorted((p for p in self.folder.iterdir() if _NAME.fullmatch(p.name)), reverse=True)

    def resume(self) -> tuple[dict[str, Any] | None, list[str]]:
        """Load the newest whole checkpoint; return its facts, and a sentence for every broken one passed over."""
        complaints: list[str] = []
        self._settle()
        for folder in self.found():
            try:
                files.verify(folder)
            except UserError as error:
                complaints.append(f"checkpoint {folder.name} is damaged and was passed over: {error}")
                continue
            facts = read_object(folder / "state.json")
            saved = tensors.read(folder / "state.safetensors")
            with understood(folder / "state.safetensors", "remove this checkpoint"):
                self._restore(saved)
            return facts, complaints
        return None, complaints

    def clear(self) -> None:
        """Remove all checkpoints; called once the finished model is on disk."""
        if self.folder.is_dir():
            shutil.rmtree(self.folder)

    def _settle(self) -> None:
        """Clear what killed runs left half written, and put back a checkpoint that was being replaced."""
        if self.folder.is_dir():
            for name in sorted({path.name.partition(".")[0] for path in self.folder.iterdir()}):
                files.settle(self.folder / name)

    def _tensors(self) -> dict[str, Tensor]:
        state = {f"{name}/{key}": v for name, m in self.modules.items() for key, v in m.state_dict().items()}
        for place, optimizer in enumerate(self.optimizers):
            for index, entries in optimizer.state_dict()["state"].items():
                state |= {f"optimizer/{place}/{index}/{key}": v for key, v in entries.items()}
        return state

    def _restore(self, saved: dict[str, Tensor]) -> None:
        for name, module in self.modules.items():
            prefix = f"{name}/"
            module.load_state_dict({k[len(prefix) :]: v for k, v in saved.items() if k.startswith(prefix)})
        for place, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in saved.items():
                parts = key.split("/")
                if parts[:2] == ["optimizer", str(place)]:
                    state.setdefault(int(parts[2]), {})[parts[3]] = value
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

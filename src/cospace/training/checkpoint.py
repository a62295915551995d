"""The exact state of a run on disk, so that a killed run goes on as if nothing had happened.

Batches are a function of the step and every step seeds its own randomness, so the state is small: weights, the
objective's parameters, the optimizers' state, the step and the time spent. Checkpoints are sealed folders (see
``files``): one that was cut short or altered is not a checkpoint, and the newest whole one is taken.

Beside them are the weights of the best evaluations, in folders of their own. A checkpoint goes with the newest of them
that is not younger than itself; a younger one belongs to steps that will be taken again.

Each carries the identity of its run (see ``runs/identity.py``): one of another run, put into its place, is passed over.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import files, tensors
from ..ranks import Ranks
from ..reading import read_object, understood
from ..types import UserError
from .optim import Optimizer

_NAME = re.compile(r"step-(\d{8})")
_BEST = re.compile(r"best-(\d{8})")


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """Where a run keeps its checkpoints, and what it is known by, so that those of another run are passed over."""

    path: Path
    identity: str | None = None


class Checkpoints:
    """The checkpoints of one run, in ``folder``; at least the two newest are kept."""

    def __init__(
        self,
        folder: Path,
        modules: dict[str, nn.Module],
        optimizers: Sequence[Optimizer],
        keep: int = 2,
        identity: str | None = None,
    ) -> None:
        self.folder, self.modules, self.optimizers = folder, modules, list(optimizers)
        self.keep, self.identity = max(2, keep), identity
        self._passed_over: list[Path] = []
        self._loaded: dict[str, Tensor] = {}

    def save(self, step: int, facts: dict[str, Any], state_tensors: dict[str, Tensor] | None = None) -> Path:
        """Write the state after ``step`` steps, verify it, and only then drop the oldest.

        ``state_tensors`` are those of :meth:`gathered`, where no rank has them all.
        """
        target = self.folder / f"step-{step:08d}"
        state = self._state(step, facts)
        written = self._tensors() if state_tensors is None else state_tensors
        files.write_folder(target, {"state.json": state, "state.safetensors": tensors.writer(written)})
        files.verify(target)
        self._drop_passed_over(target)
        for old in self.found()[self.keep :]:
            shutil.rmtree(old)
        self._drop_superseded()
        return target

    def found(self) -> list[Path]:
        """Checkpoint folders, newest first, whole or not."""
        return self._folders(_NAME)

    def save_best(self, step: int) -> None:
        """Write the weights after ``step`` steps, without the optimizers' state, and verify them."""
        target = self._best(step)
        state = self._state(step, {})
        files.write_folder(target, {"state.json": state, "weights.safetensors": tensors.writer(self._weights())})
        files.verify(target)

    def load_best(self, step: int) -> None:
        """Give the modules the weights after that step. Raises :class:`UserError` where they are damaged."""
        folder = self._best(step)
        self._verified(folder)
        saved = tensors.read(folder / "weights.safetensors")
        with understood(folder / "weights.safetensors", "remove the run and train again"):
            self._restore_weights(saved)

    def resume(self) -> tuple[dict[str, Any] | None, list[str]]:
        """Load the newest whole checkpoint; return its facts, and a sentence for every broken one passed over."""
        complaints: list[str] = []
        self._settle()
        for folder in self.found():
            try:
                facts = self._verified(folder)
            except UserError as error:
                complaints.append(f"checkpoint {folder.name} is damaged and was passed over: {error}")
                self._passed_over.append(folder)
                continue
            saved = tensors.read(folder / "state.safetensors")
            with understood(folder / "state.safetensors", "remove this checkpoint"):
                self._restore(saved)
            self._loaded = saved
            self._drop_best_after(int(facts["step"]))
            return facts, complaints
        self._drop_best_after(-1)
        return None, complaints

    def spread(self, ranks: Ranks, where: torch.device) -> None:
        """Give every rank the weights and the optimizers' state of the first one, bit for bit."""
        received = ranks.tensors_from_first(self._loaded or self._tensors(), where)
        self._loaded = {}
        if not ranks.first:
            self._restore(received)

    def gathered(self) -> dict[str, Tensor]:
        """Weights and optimizer state, parts of which other ranks hold; all have to ask for them."""
        return self._tensors()

    def clear(self) -> None:
        """Remove all checkpoints, at one stroke as others see it; called once the finished model is on disk."""
        files.remove(self.folder)

    def _state(self, step: int, facts: dict[str, Any]) -> bytes:
        own = {} if self.identity is None else {"run": self.identity}
        return json.dumps({"step": step, **own, **facts}).encode()

    def _verified(self, folder: Path) -> dict[str, Any]:
        """What a checkpoint says of itself. Raises :class:`UserError` where it is not whole, or not what it is for."""
        files.verify(folder)
        facts = read_object(folder / "state.json")
        with understood(folder / "state.json", "remove this checkpoint"):
            if self.identity is not None and facts["run"] != self.identity:
                raise UserError(f"{folder} is of another run")
            if int(facts["step"]) != int(folder.name.rpartition("-")[2]):
                raise UserError(f"{folder} is of step {facts['step']}")
        return facts

    def _drop_passed_over(self, successor: Path) -> None:
        """Remove what could not be gone on from, now that there is a whole checkpoint in its stead."""
        for folder in self._passed_over:
            if folder != successor:
                shutil.rmtree(folder, ignore_errors=True)
        self._passed_over = []

    def _settle(self) -> None:
        """Clear what killed runs left half written, and put back a checkpoint that was being replaced."""
        if self.folder.is_dir():
            for name in sorted({path.name.partition(".")[0] for path in self.folder.iterdir()}):
                files.settle(self.folder / name)

    def _folders(self, name: re.Pattern[str]) -> list[Path]:
        """Folders with such names, newest first."""
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if name.fullmatch(path.name)), reverse=True)

    def _best(self, step: int) -> Path:
        return self.folder / f"best-{step:08d}"

    def _drop_superseded(self) -> None:
        """Remove best weights that no checkpoint goes with any more."""
        oldest = self.found()[-1].name.removeprefix("step-")
        not_younger = [path for path in self._folders(_BEST) if path.name.removeprefix("best-") <= oldest]
        for path in not_younger[1:]:
            shutil.rmtree(path)

    def _drop_best_after(self, step: int) -> None:
        """Remove best weights of steps that will be taken again."""
        for path in self._folders(_BEST):
            if int(path.name.removeprefix("best-")) > step:
                shutil.rmtree(path)

    def _weights(self) -> dict[str, Tensor]:
        return {f"{name}/{key}": v for name, m in self.modules.items() for key, v in m.state_dict().items()}

    def _tensors(self) -> dict[str, Tensor]:
        state = self._weights()
        for place, optimizer in enumerate(self.optimizers):
            for index, entries in optimizer.state_dict()["state"].items():
                state |= {f"optimizer/{place}/{index}/{key}": v for key, v in entries.items()}
        return state

    def _restore_weights(self, saved: dict[str, Tensor]) -> None:
        for name, module in self.modules.items():
            prefix = f"{name}/"
            module.load_state_dict({k[len(prefix) :]: v for k, v in saved.items() if k.startswith(prefix)})

    def _restore(self, saved: dict[str, Tensor]) -> None:
        self._restore_weights(saved)
        for place, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in saved.items():
                parts = key.split("/")
                if parts[:2] == ["optimizer", str(place)]:
                    state.setdefault(int(parts[2]), {})[parts[3]] = value
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

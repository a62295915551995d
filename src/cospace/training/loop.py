"""The loop: batch, embeddings, objective, update, and now and then a look at how it goes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ..batches import Batch, Batches
from ..config import Config
from ..fusion.decoder import Decoder
from ..runtime import Precision, compute_dtype, keep_freed_memory
from ..space import Space, compute_copy
from ..types import Metrics, UserError
from .checkpoint import Checkpoints
from .optim import OptimConfig, Optimizer, learning_rate, optimizers
from .step import forward_backward, room_for_graphs

PATIENCE = 3
"""Steps in a row with a loss or gradient that is not finite before the run stops."""

LOOK = 10
"""Steps between two looks at the health of the batch's embeddings."""


class TrainingConfig(Config):
    """How long, how much at a time, and how often to look; ``None`` is filled in from the data."""

    steps: int | None = Field(default=None, ge=1)
    batch: int | None = Field(default=None, ge=2)
    micro: int | None = Field(default=None, ge=1)
    """Items that a tower sees at a time; left open, 64 on a CPU and the whole batch on a GPU."""
    memory: float | None = Field(default=None, ge=0)
    """Gigabytes of activations kept for the backward pass; left open, a quarter of the machine's or the GPU's memory.

    What exceeds it is computed twice, so that a batch of any size fits; the result is the same.
    """
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=0, ge=0)
    precision: Precision = "auto"
    evaluations: int = Field(default=4, ge=0)
    """How often to evaluate on the way; the end is always evaluated."""
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    """Least time between two checkpoints; 0 writes one after every step."""
    optim: OptimConfig = OptimConfig()


@dataclass(slots=True)
class Observers:
    """Whom the loop tells; each may be left out. ``watch`` returns numbers about the batch's embeddings."""

    begin: Callable[[int], None] = lambda step: None
    """Called once, with the number of steps that an earlier run of the same command has done."""
    row: Callable[[dict[str, Any]], None] = lambda row: None
    evaluate: Callable[[Space, bool], Metrics] = lambda space, last: {}
    """Measures the space; the second argument is true after the last step."""
    watch: Callable[[Mapping[str, Tensor]], Metrics] = lambda embeddings: {}
    say: Callable[[str], None] = lambda sentence: None


class Learner(nn.Module):
    """What learns beside the objective: the space and, where there is one, a decoder.

    ``paces`` are shares of the learning rate, for parameters that have learned something already.
    """

    def __init__(
        self, space: Space, decoder: Decoder | None = None, paces: Mapping[nn.Parameter, float] | None = None
    ) -> None:
        super().__init__()
        self.space, self.decoder, self.paces = space, decoder, paces or {}

    def named(self) -> dict[str, nn.Module]:
        """The modules by the names that checkpoints know."""
        return {"space": self.space} | ({} if self.decoder is None else {"decoder": self.decoder})

    def compute_copy(self, dtype: torch.dtype) -> Learner:
        """A copy that computes in ``dtype``; this very one for float32."""
        if dtype == torch.float32:
            return self
        return Learner(compute_copy(self.space, dtype), None if self.decoder is None else in_dtype(self.decoder, dtype))


class Trainer:
    """Trains a space in place, going on from the newest checkpoint if there is one.

    The towers compute in a copy whose format the hardware is fast at; masters, optimizer state, similarities and the
    objective stay float32.
    """

    def __init__(
        self,
        learner: Learner,
        objective: nn.Module,
        config: TrainingConfig,
        checkpoints: Path,
        tell: Observers,
    ) -> None:
        keep_freed_memory()
        self.learner, self.objective, self.config, self.tell = learner, objective, config, tell
        self.space = learner.space
        self.where = next(self.space.parameters()).device
        self.room = room_for_graphs(config.memory, self.where)
        dtype = compute_dtype(config.precision, self.where)
        self.optimizers = optimizers(config.optim, self.space, objective, dtype, learner.decoder, learner.paces)
        self.peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        modules = {"objective": objective, **self.learner.named()}
        self.checkpoints = Checkpoints(checkpoints, modules, self.optimizers)
        self.start, spent = self._resume()
        self.clock = Clock(spent)
        self.twin = self.learner.compute_copy(dtype)
        self.failures = 0

    def fit(self, batches: Batches) -> None:
        """The loop."""
        steps = self.config.steps or 0
        due = evaluation_steps(steps, self.config.evaluations)
        saved = time.monotonic()
        self.tell.begin(self.start)
        for batch in batches.stream(self.start, steps, self.config.workers):
            row, embeddings = self.step(batch, steps)
            done = batch.step + 1
            if done in due or done % LOOK == 0:
                row |= self.tell.watch(embeddings)
            if done in due:
                row |= self._evaluate(done == steps)
            self.tell.row(row)
            if done == steps or time.monotonic() - saved >= self.config.checkpoint_seconds:
                self.checkpoints.save(done, {"minutes": self.clock.minutes})
                saved = time.monotonic()

    def step(self, batch: Batch, steps: int) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
        """One update; returns what to log and the batch's embeddings. A step that is not finite changes nothing."""
        factor = learning_rate(batch.step, steps, self.config.optim.warmup or 0)
        set_rates(self.optimizers, self.peaks, factor)
        torch.manual_seed(self.config.seed * 1_000_003 + batch.step)
        twin = self.twin
        done = forward_backward(twin.space, self.objective, batch, self.where, self.room, twin.decoder)
        collect_gradients(self.learner, twin)
        if is_finite(done.loss, [*self.learner.parameters(), *self.objective.parameters()]):
            self.failures = 0
            for optimizer in self.optimizers:
                optimizer.step()
            refresh(self.learner, twin)
        else:
            self._refuse(batch)
        row = {"step": batch.step + 1, "loss": done.loss.item(), "minutes": self.clock.minutes}
        row |= {f"loss/{name}": loss.item() for name, loss in done.losses.items()} if len(done.losses) > 1 else {}
        speed = {"samples_per_second": self.clock.rate(len(batch.row_B))}
        return row | speed | learned_numbers(self.objective), done.embeddings

    def _resume(self) -> tuple[int, float]:
        """Steps done and minutes spent so far."""
        facts, complaints = self.checkpoints.resume()
        for complaint in complaints:
            self.tell.say(complaint)
        if facts is None:
            return 0, 0.0
        self.tell.say(f"going on after step {facts['step']}")
        return int(facts["step"]), float(facts["minutes"])

    def _evaluate(self, last: bool) -> Metrics:
        """Evaluate off the clock; the space is back in training mode afterwards."""
        with self.clock.paused():
            metrics = self.tell.evaluate(self.space, last)
        self.space.train()
        return {f"val/{name}": value for name, value in metrics.items()}

    def _refuse(self, batch: Batch) -> None:
        """Say that a step was left out; stop when it keeps happening."""
        self.failures += 1
        rows = ", ".join(map(str, batch.row_B[:8]))
        if self.failures >= PATIENCE:
            raise UserError(
                f"the loss was not finite in {self.failures} steps in a row (last: step {batch.step + 1}, rows {rows}, "
                "...); lower training.optim.rate and training.optim.matrix_rate, or run `cospace check` on these pairs"
            )
        self.tell.say(
            f"step {batch.step + 1} gave a loss or gradient that is not finite and was left out (rows {rows})"
        )


def in_dtype(decoder: Decoder, dtype: torch.dtype) -> Decoder:
    """A copy of the decoder that computes in ``dtype``; its norms' statistics and its logits stay float32."""
    return copy.deepcopy(decoder).to(dtype)


def collect_gradients(masters: nn.Module, twins: nn.Module) -> None:
    """Hand the compute copy's gradients to the float32 masters."""
    for master, twin in zip(masters.parameters(), twins.parameters(), strict=True):
        if master is not twin:
            master.grad = None if twin.grad is None else twin.grad.float()


@torch.no_grad()
def refresh(masters: nn.Module, twins: nn.Module) -> None:
    """Copy the updated masters into the compute copy."""
    for master, twin in zip(masters.parameters(), twins.parameters(), strict=True):
        if master is not twin:
            twin.copy_(master)


def is_finite(loss: Tensor, parameters: Iterable[nn.Parameter]) -> bool:
    """Whether the loss and every gradient are finite; one number tells, since NaN and infinity survive sums."""
    sums = [p.grad.float().sum() for p in parameters if p.grad is not None]
    return bool(torch.isfinite(torch.stack([loss.float(), *sums])).all())


def learned_numbers(objective: nn.Module) -> dict[str, float]:
    """The objective's learned temperature and bias, for the log."""
    numbers = {name: p.item() for name, p in objective.named_parameters() if p.numel() == 1}
    return {
        name.removeprefix("log_"): math.exp(value) if name.startswith("log_") else value
        for name, value in numbers.items()
    }


def set_rates(groups: Iterable[Optimizer], peaks: list[list[float]], factor: float) -> None:
    """Every parameter group's peak rate times the schedule's factor."""
    for optimizer, peak_rates in zip(groups, peaks, strict=True):
        for group, peak in zip(optimizer.param_groups, peak_rates, strict=True):
            group["lr"] = peak * factor


def evaluation_steps(steps: int, evaluations: int) -> set[int]:
    """Steps after which to evaluate: evenly spaced, always the last."""
    return {max(1, round(steps * (i + 1) / (evaluations + 1))) for i in range(evaluations)} | {steps}


class Clock:
    """Minutes of training so far, pauses left out, and the speed since the last question."""

    def __init__(self, minutes: float) -> None:
        self._before, self._start = minutes, time.monotonic()
        self._last = self._start

    @property
    def minutes(self) -> float:
        """Minutes spent training, earlier runs of the same command included."""
        return self._before + (time.monotonic() - self._start) / 60

    def rate(self, samples: int) -> float:
        """Samples per second since the last call."""
        now = time.monotonic()
        elapsed, self._last = now - self._last, now
        return samples / max(elapsed, 1e-9)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A block whose time does not count."""
        begin = time.monotonic()
        yield
        self._start += time.monotonic() - begin
        self._last += time.monotonic() - begin

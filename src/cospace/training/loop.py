"""The loop: batch, embeddings, objective, update, and now and then an evaluation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ..config import Config
from ..data.batches import Batch, Batches, Share
from ..matches import BatchMatches
from ..models.generation.decoder import Decoder
from ..models.precision import compute_copy
from ..models.space import Space
from ..ranks import ALONE, Ranks
from ..runtime import Precision, compute_dtype, keep_freed_memory, limits
from ..stopping import Stopped, current
from ..types import Metrics, UserError
from .checkpoint import CheckpointFolder, Checkpoints
from .clock import Clock
from .distributed import pieces
from .failures import Failures
from .masters import assign_gradients, collect_gradients, in_dtype, is_finite, refresh
from .optim import OptimConfig, Optimizer, learning_rate, optimizers
from .selection import Evaluation, Keep, Outcome, Selection
from .sharded import gather_weights, scatter_weights, sharded_copy
from .step import NOTHING, forward_backward, room_for_graphs

B = TypeVar("B", bound=Batches)

FEWEST_EVALUATIONS, MOST_EVALUATIONS = 4, 10
"""How often a run is evaluated on the way where nothing is said, and where that costs little."""

EVALUATION_SHARE = 0.05
"""Largest part of the work of the training that :data:`MOST_EVALUATIONS` may cost."""

MOST_MINUTES = 7 * 24 * 60
"""A week: longer budgets are mistakes for other units."""

HEALTH_EVERY = 10
"""Steps between two measurements of the health of the batch's embeddings."""


class TrainingConfig(Config):
    """How long, how much at a time, and how often to evaluate; ``None`` is filled in from the data."""

    steps: int | None = Field(default=None, ge=0)
    """Optimizer steps; from the data: so many that the pairs are seen often enough. 0 is for heads in closed form."""
    minutes: float | None = Field(default=None, gt=0, le=MOST_MINUTES)
    """Minutes that the whole command may take, evaluation and report included: the steps, and where time is short the
    size of images, are chosen to fit into them before the first step (what `--minutes` sets)."""
    batch_size: int | None = Field(default=None, ge=2)
    """Pairs per optimizer step, all of them in-batch negatives of each other; from the data: 64 to 256."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Items per forward pass of an encoder (GradCache), which changes no result; left open, 128 on a CPU and the batch
    on a GPU."""
    activation_memory_gb: float | None = Field(default=None, ge=0)
    """Gigabytes of activations kept for the backward pass; left open, a quarter of the machine's or the GPU's memory.
    What exceeds it is computed twice (GradCache), so that a batch of any size fits; the result is the same."""
    seed: int = Field(default=0, ge=0)
    """Random seed for initial weights, order, augmentation, hold-out."""
    workers: int = Field(default=0, ge=0)
    """Processes that make batches in advance."""
    parallel: Literal["auto", "none", "ddp", "fsdp"] = "auto"
    """How the ranks that `torchrun` starts share the work: ``ddp``, each with all weights and a part of every batch,
    ``fsdp``, each with a part of the encoders' weights as well, or ``none``; ``auto`` is ``ddp`` where there are
    several ranks, otherwise ``none``."""
    rank_timeout_seconds: float = Field(default=600.0, gt=0)
    """How long ranks wait for one of them within a step before the run ends, to be started again."""
    precision: Precision = "auto"
    """Number format of the towers: ``float32``, ``bfloat16``, or what is fast on the hardware."""
    evaluations: int | None = Field(default=None, ge=0)
    """How often to evaluate on the way; the end is always evaluated. Left open, 4 times, or 10 times where validation
    items are few beside the pairs of the training."""
    keep: Keep = "best"
    """Weights to end with: ``best``, those of the evaluation with the highest score (mean reciprocal rank of retrieval,
    accuracy of captions and answers), or ``last``. The last is kept unless it is worse by two standard errors."""
    patience: int | None = Field(default=None, ge=1)
    """Evaluations in a row without a better score after which the run stops early; left open, it never does."""
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    """Least time between two checkpoints; 0 writes one after every step."""
    optim: OptimConfig = OptimConfig()


@dataclass(slots=True)
class Observers:
    """What the loop calls; each may be left out. ``watch`` measures a batch's embeddings."""

    begin: Callable[[int], None] = lambda step: None
    """Called once, with the number of steps that an earlier run of the same command has done."""
    row: Callable[[dict[str, Any]], None] = lambda row: None
    sync: Callable[[], None] = lambda: None
    """Called before each checkpoint: every row so far is on disk afterwards."""
    evaluate: Callable[[Space], Evaluation] = lambda space: Evaluation()
    """Measures and scores the space."""
    watch: Callable[[Mapping[str, Tensor], BatchMatches], Metrics] = lambda embeddings, matches: {}
    say: Callable[[str], None] = lambda sentence: None


class Learner(nn.Module):
    """What learns beside the objective: the space and, where there is one, a decoder.

    ``lr_scales`` are learning-rate multipliers of pretrained parameters.
    """

    def __init__(
        self, space: Space, decoder: Decoder | None = None, lr_scales: Mapping[nn.Parameter, float] | None = None
    ) -> None:
        super().__init__()
        self.space, self.decoder, self.lr_scales = space, decoder, lr_scales or {}

    def named(self) -> dict[str, nn.Module]:
        """The modules by the names that checkpoints know."""
        return {"space": self.space} | ({} if self.decoder is None else {"decoder": self.decoder})

    def sharded(self, ranks: Ranks, dtype: torch.dtype) -> Learner:
        """A copy of which every rank holds a part."""
        if self.decoder is not None:
            raise UserError(
                "training.parallel=fsdp shards encoders and trains no decoder yet; use training.parallel=ddp"
            )
        made = sharded_copy(self.space, ranks, dtype)
        pairs = zip(self.space.parameters(), made.parameters(), strict=True)
        return Learner(made, None, {new: self.lr_scales[old] for old, new in pairs if old in self.lr_scales})

    def compute_copy(self, dtype: torch.dtype) -> Learner:
        """A copy that computes in ``dtype``; this very one for float32."""
        if dtype == torch.float32:
            return self
        return Learner(compute_copy(self.space, dtype), None if self.decoder is None else in_dtype(self.decoder, dtype))


class Trainer:
    """Trains a space in place, going on from the newest checkpoint if there is one.

    The towers compute in a copy whose format the hardware is fast at; masters, optimizer state, similarities and the
    objective stay float32. ``selection`` has the best and the last evaluation.
    """

    def __init__(
        self,
        learner: Learner,
        objective: nn.Module,
        config: TrainingConfig,
        checkpoints: CheckpointFolder,
        observers: Observers,
        ranks: Ranks = ALONE,
    ) -> None:
        keep_freed_memory()
        self.learner, self.objective, self.config, self.observers = learner, objective, config, observers
        self.space, self.ranks = learner.space, ranks
        self.where = self.space.device
        for sentence in limits(self.where, config.precision):
            observers.say(sentence)
        self.sharded = config.parallel == "fsdp" and ranks.size > 1
        self.room = NOTHING if self.sharded else room_for_graphs(config.activation_memory_gb, self.where)
        dtype = compute_dtype(config.precision, self.where)
        # What the optimizers change: the learner, or what the ranks hold parts of, from which the learner is gathered.
        self.updated = learner.sharded(ranks, dtype) if self.sharded else learner
        up, self.failures = self.updated, Failures(config.optim, observers.say)
        self.optimizers = optimizers(config.optim, up.space, objective, dtype, up.decoder, up.lr_scales)
        self.peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        modules = {"objective": objective, **self.learner.named()}
        self.checkpoints = Checkpoints(checkpoints.path, modules, self.optimizers, identity=checkpoints.identity)
        self.selection = Selection(config.keep, config.patience)
        self.pieces, self.stopping = pieces(config.parallel, ranks), current()
        evaluations = FEWEST_EVALUATIONS if config.evaluations is None else config.evaluations
        self.due, self.saved = evaluation_steps(config.steps or 0, evaluations), time.monotonic()
        self.unevaluated: dict[str, Any] | None = None
        self.start, *spent = self._resume()
        self.clock = Clock(*spent)
        if self.sharded:
            scatter_weights(self.space, self.updated.space)
            if not ranks.first:  # which alone needs the whole, to evaluate and to save it
                learner.to("meta")
        self.low_precision = self.updated if self.sharded else self.learner.compute_copy(dtype)

    def fit(self, batches: Batches, evaluate_start: bool = False) -> Outcome:
        """The loop; the learner has the kept evaluation's weights at the end.

        ``evaluate_start``: before the first step too, as step 0; pretrained weights may be better than what follows.
        """
        steps = self.config.steps or 0
        self.observers.begin(self.start)
        with self.stopping.finishing():
            if evaluate_start and not self.start:
                found = self._evaluate(0, steps)
                if found is None:
                    self.stopping.end()
                self.observers.row({"step": 0, "minutes": self.clock.minutes} | found)
            if not self.selection.stops:
                self._steps(batches, steps)
        last = self.selection.last
        if last is not None and last.step < steps:
            self.observers.say(
                f"stopped early after step {last.step} of {steps}: {self.selection.without_improvement} evaluations in "
                f"a row without a better score (training.patience={self.config.patience})"
            )
        return self._restore_kept(steps)

    def _steps(self, batches: Batches, steps: int) -> None:
        """Every step that is left, until the last or until patience is at an end."""
        batches = self.own_part(batches)
        if self.unevaluated is not None and self._concluded(self.start, self.unevaluated, steps):
            return
        for batch in self.clock.waiting(batches.stream(self.start, steps, self.config.workers)):
            row, embeddings = self.step(batch, steps)
            done = batch.step + 1
            if done in self.due or done % HEALTH_EVERY == 0:
                row |= self.observers.watch(embeddings, batch.matches)
            if self._concluded(done, row, steps):
                return

    def own_part(self, batches: B) -> B:
        """What this rank makes of batches that ranks share."""
        if self.pieces is None:
            return batches
        return batches.shared(Share(self.ranks.rank, self.ranks.size, self.pieces), self.ranks)  # type: ignore[return-value]

    def _concluded(self, done: int, row: dict[str, Any], steps: int) -> bool:
        """Evaluate, log and save after a step, as far as each is due; whether it was the last.

        A signal that comes while the step is evaluated does not lose it: the same command goes on with its evaluation.
        """
        found = self._evaluate(done, steps) if done in self.due else {}
        if found is not None:
            self.observers.row(row | found)
        ends = done == steps or (done in self.due and self.selection.stops)
        asked = found is None or self.ranks.any(self.stopping.asked)
        late = time.monotonic() - self.saved >= self.config.checkpoint_seconds
        if ends or asked or (self.ranks.any(self.ranks.first and late) if self.sharded else late):
            self.save(done, row if found is None else None)
            self.stopping.reached(f"after step {done}")
        if asked and (found is None or not ends):
            self.stopping.end()
        return ends

    def step(self, batch: Batch, steps: int) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
        """One update; returns what to log and the batch's embeddings. A step that is not finite changes nothing."""
        factor = learning_rate(batch.step, steps, self.config.optim.warmup_steps or 0)
        set_learning_rates(self.optimizers, self.peaks, factor)
        torch.manual_seed(self.config.seed * 1_000_003 + batch.step)
        low_precision = self.low_precision
        done = forward_backward(
            low_precision.space, self.objective, batch, self.where, self.room, low_precision.decoder, self.ranks
        )
        if done.gradients is None:
            collect_gradients(self.learner, low_precision)
        else:
            assign_gradients(self.updated, done.gradients)
        finite = is_finite(done.loss, [*self.updated.parameters(), *self.objective.parameters()])
        if not (self.ranks.any(not finite) if self.sharded else not finite):
            self.failures.end()
            for optimizer in self.optimizers:
                optimizer.step()
            refresh(self.updated, low_precision)
        else:
            self.failures.add(batch, done.embeddings)
        row = {"step": batch.step + 1, "loss": done.loss.item(), "minutes": self.clock.minutes}
        row |= {f"loss/{name}": loss.item() for name, loss in done.losses.items()} if len(done.losses) > 1 else {}
        speed = self.clock.lap(len(batch.row_B))
        return row | speed | learned_numbers(self.objective), done.embeddings

    def _resume(self) -> tuple[int, float, float]:
        """Steps done, minutes spent, and minutes of these waited for data.

        All ranks go on from the newest whole checkpoint of the first one.
        """
        facts, complaints = self.checkpoints.resume() if self.ranks.first else (None, [])
        for complaint in complaints:
            self.observers.say(complaint)
        facts = self.ranks.from_first(facts)
        self.checkpoints.spread(self.ranks, self.where)
        if facts is None:
            return 0, 0.0, 0.0
        self.observers.say(f"resuming after step {facts['step']}")
        self.selection.restore(facts["selection"])
        if "pieces" in facts:
            self.pieces = max(int(facts["pieces"]), self.pieces or 1)
        self.unevaluated = facts.get("unevaluated")
        self.stopping.reached(f"before its next step, with the checkpoint of step {facts['step']}")
        return int(facts["step"]), float(facts["minutes"]), float(facts.get("waited", 0.0))

    def save(self, done: int, unevaluated: dict[str, Any] | None = None) -> None:
        """A checkpoint, which the first rank writes; the others meet it at the next step."""
        self._gather()
        facts = {"minutes": self.clock.minutes, "waited": self.clock.waited, "selection": self.selection.state()}
        facts |= {} if unevaluated is None else {"unevaluated": unevaluated}
        facts |= {} if self.pieces is None else {"pieces": self.pieces}
        gathered = [self.checkpoints.gathered()] if self.sharded else []
        if self.ranks.first:
            self.observers.sync()
            self.checkpoints.save(done, facts, *gathered)
        self.saved = time.monotonic()

    def _gather(self) -> None:
        """Bring the learner of the first rank up to date, where ranks hold parts of it."""
        if self.sharded:
            gather_weights(self.updated.space, self.space, self.ranks)

    def _evaluate(self, done: int, steps: int) -> Metrics | None:
        """Evaluate off the clock and keep the best weights; the space is back in training mode afterwards.

        The first rank does it, and the others wait for what it decides; nothing where a signal has cut it short.
        """
        evaluation: Evaluation | None = Evaluation()
        self._gather()
        with self.clock.paused():
            if self.ranks.first:
                evaluation = self._evaluation()
                if evaluation and self.selection.add(done, evaluation) and self.config.keep == "best" and done < steps:
                    self.checkpoints.save_best(done)
            state = self.ranks.from_first(evaluation and self.selection.state())
        self.space.train()
        if evaluation is None or state is None:
            return None
        if self.ranks.size > 1:
            self.selection.restore(state)
        found = {f"val/{name}": value for name, value in evaluation.metrics.items()}
        if self.selection.best is None:
            return found
        return {
            **found,
            "val/score": evaluation.score,
            "best/step": self.selection.best.step,
            "best/score": self.selection.best.score,
            "evaluations_without_improvement": self.selection.without_improvement,
        }

    def _evaluation(self) -> Evaluation | None:
        try:
            with self.stopping.interruptible():
                return self.observers.evaluate(self.space)
        except Stopped:
            return None

    def _restore_kept(self, steps: int) -> Outcome:
        """Give the learner the weights that are kept."""
        kept, best, last = self.selection.kept(steps), self.selection.best, self.selection.last
        if kept is not None and kept is not last and self.ranks.first:
            try:
                self.checkpoints.load_best(kept.step)
            except UserError as error:
                self.observers.say(f"the weights of step {kept.step} are lost and those of the last one kept: {error}")
                kept = last
        waits = self.clock.wait_share, 60 * self.clock.waited
        return Outcome(steps, kept, best, last, self.selection.least_difference, *waits)


def learned_numbers(objective: nn.Module) -> dict[str, float]:
    """The objective's learned temperatures and biases, for the log: ``logit_scale``, ``logit_bias``.

    Where there are several pairs of modalities, ``logit_scale/audio_text`` for each.
    """
    numbers = {
        tuple(part for part in name.split(".") if part != "of"): p.item()
        for name, p in objective.named_parameters()
        if p.numel() == 1
    }
    several = len({part for _, *parts in numbers for part in parts}) > 1
    found = {}
    for (kind, *of), value in numbers.items():
        key = f"logit_{kind.removeprefix('log_')}" + "".join(f"/{part}" for part in of if several)
        found[key] = math.exp(value) if kind.startswith("log_") else value
    return found


def set_learning_rates(groups: Iterable[Optimizer], peaks: list[list[float]], factor: float) -> None:
    """Every parameter group's peak rate times the schedule's factor."""
    for optimizer, peak_rates in zip(groups, peaks, strict=True):
        for group, peak in zip(optimizer.param_groups, peak_rates, strict=True):
            group["lr"] = peak * factor


def affordable_evaluations(items: float, pairs: int) -> int:
    """How often to evaluate so many validation items of a modality in a training that sees so many pairs.

    A backward pass costs twice a forward pass, so an item that is embedded costs a third of one that is learned from.
    """
    affordable = MOST_EVALUATIONS * items / 3 <= EVALUATION_SHARE * pairs
    return MOST_EVALUATIONS if affordable else FEWEST_EVALUATIONS


def evaluation_steps(steps: int, evaluations: int) -> set[int]:
    """Steps after which to evaluate: evenly spaced, always the last."""
    return {max(1, round(steps * (i + 1) / (evaluations + 1))) for i in range(evaluations)} | {steps}

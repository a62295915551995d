"""From pairs to a trained, evaluated run that describes itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from .. import __version__, files, locks
from ..config import part
from ..data.batches import Batches, PooledBatcher, TrainingBatches
from ..data.counting import Counts
from ..data.pairs import Pairs
from ..data.prepared import different_items
from ..evaluation.advice import Setup, describe_kept
from ..evaluation.zero_shot import templates_for
from ..evaluators.embedded import EmbeddedPairs
from ..evaluators.forgetting import OWN, REFERENCE, ForgettingBaseline
from ..evaluators.generation import GenerationResults
from ..evaluators.measures import diagnosis, intervals, measure, watch
from ..evaluators.relevance import reliability_of
from ..modalities import Batcher, text_modality
from ..models.space import Space, learns
from ..objectives import trained_widths
from ..ranks import Ranks
from ..runs.datasets import training_batches
from ..runs.heads import as_facts, describe_fit, fit_heads
from ..runs.held_out import held_out_content
from ..runs.identity import BUDGET, FILE, check_identity, unfinished
from ..runs.initialization import initialize, stretch
from ..runs.metrics_log import MetricsLog
from ..runs.overrides import named_modules
from ..runs.pretrained import config_from_source, is_whole
from ..runs.run import Run
from ..runs.settings import RunConfig, facts_of, resolve
from ..runs.source import open_source
from ..runs.streaming import StreamBatches
from ..runs.tensorboard import tensorboard
from ..runs.towers import JoinedTowers
from ..runs.trained_on import write_trained_on
from ..runs.wise_ft import best, interpolate, sweep
from ..runtime import describe, device
from ..stopping import current
from ..training.adapters import merge_adapters
from ..training.checkpoint import CheckpointFolder
from ..training.loop import Learner, Observers, Trainer, learned_numbers
from ..training.selection import Evaluation, Outcome
from ..trust import trusting
from ..types import Metrics, UserError
from .budget import Budget, open_budget
from .pilot import Laps
from .streaming import check_stream, first_pairs, open_stream, say_streamed, streamed_batches, streamed_facts
from .training_evaluation import RunEvaluation
from .training_items import RunItems
from .training_request import (
    Listener,
    Models,
    TrainArguments,
    TrainingData,
    cache_of,
    check_source,
    from_nothing_where_better,
    joined_ranks,
    lasting,
    open_data,
    quiet,
    say_what_learns,
    say_what_towers_give,
    source_of,
    taught,
)

__all__ = ["Listener", "TrainArguments", "Trained", "lasting", "train", "train_on_ranks"]


@dataclass(frozen=True, slots=True)
class Trained:
    """A run that was trained just now, with its embedded validation pairs and the decoder's predictions on them."""

    run: Run
    validation: EmbeddedPairs
    generated: GenerationResults
    counts: Counts
    """What was read for training, and what became of it."""
    most_generated: int | None = None
    """Items that were captioned, and questions that were answered, at most, where a budget decided that."""


def train(request: TrainArguments) -> Trained:
    """Train as asked, in one process; the same request again goes on where a killed run stopped."""
    trained = train_on_ranks(request)
    if trained is None:
        raise UserError("torchrun started this command several times over; it runs in one process")
    return trained


def train_on_ranks(request: TrainArguments) -> Trained | None:
    """The same by all the processes that `torchrun` started, or by this one alone.

    The first rank has the run in the end. The others have nothing; they return once it is on disk.
    """
    with trusting((*request.trust, *named_modules(request.overrides))), joined_ranks(request) as ranks:
        trained = _train(request if ranks.first else quiet(request), ranks)
        ranks.from_first()
        return trained


def _train(request: TrainArguments, ranks: Ranks) -> Trained | None:
    open_config = resolve(request.recipe, request.overrides)
    out = request.out
    if ranks.first:
        files.settle(out / "model")
    if (out / "model" / "space.json").exists() and not unfinished(out, ranks.first):
        raise UserError(
            f"{out} already holds a finished run; measure it with `cospace eval`, choose another --out, or remove it"
        )
    with locks.Lock(out) if ranks.first else nullcontext():
        data = open_stream(request, open_config) or open_data(request, open_config)
        open_config, source = from_nothing_where_better(request, open_config, data, source_of(request, open_config))
        config = config_from_source(open_config.fitted(data.train), source, request.overrides, data.train)
        teacher, config = taught(request, config, data)
        models = Models(source, teacher)
        say_what_learns(request, config, source)
        check_source(config, data, source)
        budget = open_budget(request, (open_config, config), data, models, ranks)
        config, identity = config if budget is None else budget.begin(config), ""
        if ranks.first:
            check_stream(out, data)
            if config.training.minutes is None:
                identity = check_identity(
                    out, config, (data.train, data.val), models.fingerprints, request.listener.say
                )
        say_what_towers_give(request, data, source)
        return _Session(request, config, data, models, ranks, budget).go(identity)


class _Session:
    """One run from prepared items to the finished folder."""

    def __init__(
        self,
        request: TrainArguments,
        config: RunConfig,
        data: TrainingData,
        models: Models,
        ranks: Ranks,
        budget: Budget | None = None,
    ) -> None:
        source, self.teacher = models
        self.request, self.config, self.listener, self.ranks = request, config, request.listener, ranks
        self.out, self.fitted, self.budget = request.out, config, budget
        self.cache = cache_of(self.out, ranks)
        self.source = None if source is None else {"run": str(source.path), "fingerprint": source.space.fingerprint}
        initial = initialize(config, data.train, source)
        self.space, self.generator, self.tokenizer = initial.space, initial.generator, initial.tokenizer
        self.lr_scales = initial.lr_scales
        self.items = RunItems(
            replace(data, train=first_pairs(data, config)), self.space, config.data, self.listener, self.cache
        )
        self.read, self.held_out = data.read, data.train is not data.read
        if self.teacher is not None:
            self.items.train = self.teacher.teach(self.items.train, self.space, self.listener.progress)
        self.streamed: StreamBatches | None = None
        self._stream: Callable[[], StreamBatches | None] = lambda: streamed_batches(
            data, self.config, initial, self.out, self.cache / "windows", ranks
        )
        self.log = MetricsLog(self.out / "metrics.jsonl")
        self.tensorboard = tensorboard(self.out / "tensorboard") if config.tensorboard and ranks.first else None
        self._collapsed = 0
        self._since = 0, time.monotonic()
        self.paired = self.items.paired()
        self.objective = part("objectives", config.objective).build(list(self.paired)).to(device())  # type: ignore[attr-defined]
        self.towers = source if isinstance(source, JoinedTowers) else None
        self.head_facts: dict[str, Any] = {}
        whole = source is not None and is_whole(config, source)
        self.forgetting = self._forgetting_baseline(data.reference) if whole else None
        self.evaluation = RunEvaluation(self.space, self.generator, self.objective, self.items, self.listener)
        self._complete()

    def _complete(self) -> None:
        """What depends on the number of steps, once that is known."""
        data_facts = facts_of(self.items.train.pairs).plain()
        self.setup = Setup.of(self.config.model_dump(), data_facts, pretrained=self.source is not None)
        if self.budget is not None and self.budget.plan is not None:
            self.evaluation.generated = self.budget.plan.generated
        self.evaluation.widths = trained_widths(self.objective) if self.config.training.steps else ()
        training = self.config.training
        if training.steps is not None and training.evaluations is None:
            changed = training.model_copy(update={"evaluations": self.evaluation.how_often(training)(training.steps)})
            self.config = self.config.model_copy(update={"training": changed})

    def _forgetting_baseline(self, reference: Pairs | None) -> ForgettingBaseline:
        sets = {OWN: self.items.val} if len(self.items.open_val.items) > 1 else {}
        if reference is not None:
            sets[REFERENCE] = self.items.prepared(reference, "reference")
        return ForgettingBaseline(self.out / "pretrained.json", sets)

    def go(self, identity: str) -> Trained | None:
        """All of it; what is removed last says that the run is finished."""
        self.items.say_what_is_hardly_used(self.paired, self.config.training.batch_size)
        if self.config.heads == "closed_form":
            self._fit_heads()
        with current().finishing():
            if self.config.training.steps != 0:
                trained = self._train_steps(identity)
            else:
                trained = self._finish(Outcome(0, None, None, None)) if self.ranks.first else None
            files.remove_up_to(self.cache, self.out)  # where a rank shares no disk with the first, all of it
            if self.ranks.first:
                for left in ("pretrained.json", BUDGET):
                    (self.out / left).unlink(missing_ok=True)
                (self.out / FILE).unlink()
            return trained

    def _train_steps(self, identity: str) -> Trained | None:
        """The steps of the optimizer, from the newest checkpoint on."""
        laps, frozen = Laps(), None
        if self.forgetting is not None and self.ranks.first:
            self.forgetting.record(self.space)
        compared = laps.lap()
        if self.budget is not None and self.budget.plan is None:
            frozen = self._frozen()
            identity = self._choose_steps(compared)
        self.streamed = self._stream()
        batches: Batches = self.streamed or self._batches(frozen)
        every = self._begin, self._row, self.log.sync, self._evaluate, watch, self.listener.say
        observers = Observers(*every) if self.ranks.first else Observers()
        learner = Learner(self.space, None if self.generator is None else self.generator.decoder, self.lr_scales)
        training, checkpoints = self.config.training, CheckpointFolder(self.out / "checkpoints", identity)
        trainer = Trainer(learner, self.objective, training, checkpoints, observers, self.ranks)
        with closing(self.streamed) if self.streamed else nullcontext():
            outcome = trainer.fit(batches, evaluate_start=self._evaluates_start)
        if not self.ranks.first:
            return None
        stepping = time.monotonic() - self._since[1]
        self.items.settle_training(batches.on_demand)
        merge_adapters(self.space)
        trained = self._finish(outcome)
        trainer.checkpoints.clear()
        if self.budget is not None:
            self.budget.say_late(stepping)
        return trained

    @property
    def _evaluates_start(self) -> bool:
        """Whether there is something to measure before the first step; a decoder from nothing has nothing to say."""
        return (self.forgetting is not None or bool(self.head_facts)) and self.generator is None

    def _batches(self, pooled: Mapping[str, Batcher] | None = None) -> TrainingBatches:
        record = self.cache / "set_aside.json"
        return training_batches(self.items.train, self.space, self.config, self.tokenizer, record=record, pooled=pooled)

    def _frozen(self) -> dict[str, Batcher]:
        """The items of frozen encoders, encoded; no step changes anything of them."""
        if self.items.streamed or all(map(learns, self.space.encoders.values())):
            return {}
        return {name: one for name, one in self._batches().batchers.items() if isinstance(one, PooledBatcher)}

    def _choose_steps(self, compared: float) -> str:
        """The steps that fit into the budget; returns what checkpoints are known by.

        ``compared`` are the seconds of comparing with the pretrained weights, which is done once more at the end.
        """
        assert self.budget is not None
        rehearsal = None
        if self.ranks.first:
            with current().interruptible():
                rehearsal = self.evaluation.rehearsed(self.config.training.batch_size, self.budget.item_seconds)
            extra = compared + (rehearsal.evaluation if self._evaluates_start else 0.0)
            rehearsal = replace(rehearsal, last=rehearsal.last + extra)
        self.config = self.budget.choose(
            self.config, rehearsal, self.evaluation.how_often(self.config.training), self.items.prepared_before
        )
        self.fitted = self.budget.fixed(self.fitted)
        self._complete()
        return self.budget.identity(self.fitted)

    def _begin(self, step: int) -> None:
        self.log.begin(step, say=self.listener.say)
        self._since = step, time.monotonic()

    def _fit_heads(self) -> None:
        """Lead the frozen features into the space in closed form; the space has the width that the fit gave."""
        assert self.towers is not None
        seed = self.config.training.seed
        fit, names = fit_heads(self.space, self.items.train, self.towers, seed, self.listener.progress)
        describe_fit(fit, names, self.listener.say)
        self.head_facts = {"heads": as_facts(fit)}
        self.config = self.config.model_copy(update={"embed_dim": self.space.width})

    def _row(self, row: dict[str, Any]) -> None:
        self.log.write(row)
        if self.tensorboard is not None:
            self.tensorboard(row)
        self.listener.row(row | self._left(row["step"]), self.config)
        self._warn(row)

    def _left(self, step: int) -> dict[str, float]:
        """``minutes_left`` to the end of the command, where a budget knows what is still to come."""
        plan, (start, since) = None if self.budget is None else self.budget.plan, self._since
        return {} if plan is None else {"minutes_left": plan.left(start, step, time.monotonic() - since) / 60}

    def _warn(self, row: dict[str, Any]) -> None:
        """Speak up when the space is sick for the third time in a row, and then every tenth time."""
        sentence = diagnosis(row, self.config.embed_dim, self.space.modalities, self.setup)
        if "space/effective_rank" in row:
            self._collapsed = self._collapsed + 1 if sentence else 0
        if sentence and self._collapsed % 10 == 3:
            self.listener.say(f"step {row['step']}: {sentence}")

    def _evaluate(self, space: Space) -> Evaluation:
        return self.evaluation.on_the_way(space, self.config.training.batch_size)

    def _interpolate(self) -> Metrics:
        """Interpolate with the pretrained weights (WiSE-FT), where that was asked for."""
        share, source = self.config.wise_ft_alpha, self.request.source
        if self.forgetting is None or share == 1 or source is None:
            return {}
        pretrained = open_source(source).space
        if text_modality() in pretrained.modalities:
            stretch(pretrained, self.config.data.of(text_modality()).max_length)
        old = pretrained.state_dict()
        swept = sweep(self.space, old, self.forgetting) if share == "auto" else {}
        share = best(swept) if share == "auto" else share
        interpolate(self.space, old, dict(self.space.state_dict()), share)
        return {**swept, "wise_ft/alpha": share}

    def _finish(self, outcome: Outcome) -> Trained:
        """Evaluate and save the model, and everything that says where it came from."""
        with current().interruptible():
            swept = self._interpolate()
            embedded, generated = self.evaluation.finished()
        metrics = measure(embedded) | generated.metrics
        metrics |= outcome.metrics() | swept | self.items.leaks
        metrics |= {} if self.forgetting is None else self.forgetting.compared(self.space)
        selected = outcome.plain()
        if kept := describe_kept(selected):
            self.listener.say(kept)
        if outcome.wait_share is not None:
            selected["wait_share"] = outcome.wait_share
            if self.streamed is not None or outcome.waited_long:
                self.listener.say(f"waited for data {100 * outcome.wait_share:.1f} % of the time")
        facts = {
            "config.json": self.config.model_dump(mode="json"),
            "metrics.json": metrics,
            "intervals.json": intervals(embedded),
            "reliability.json": reliability_of(self.evaluation.trials),
            "run.json": self._facts() | selected | self.head_facts | {"logits": learned_numbers(self.objective)},
        }
        for name, content in facts.items():
            files.write_json(self.out / name, content)
        # Beside the weights too: wherever the model is copied to, e.g. into an index, it says how good it is.
        beside: dict[str, files.Content] = {f"run/{name}": files.as_json(content) for name, content in facts.items()}
        beside |= held_out_content(embedded)
        beside |= {} if self.generator is None else self.generator.content()
        if self.streamed is None:
            write_trained_on(self.out, self.items.train.pairs, self.items.signatures)
        self.space.save(self.out / "model", self.items.golden(), beside)
        current().reached("with the run finished")
        limit = None if self.budget is None else self.evaluation.generated
        return Trained(Run.load(self.out), embedded, generated, self._counts(), limit)

    def _counts(self) -> Counts:
        """What was named for training: rows that could not be decoded are set aside, held out ones are used."""
        if self.streamed is not None:
            say_streamed(self.streamed, self.listener.say)
            return self.streamed.counts()[0]
        parts = [self.items.train.pairs, *([self.items.val.pairs] if self.held_out else [])]
        used, kept = sum(part.counts().used for part in parts), sum(map(len, parts))
        read = self.read.counts()
        return Counts(used, kept - used, read.rows - kept, read.left_alone)

    def _facts(self) -> dict[str, Any]:
        train, val = self.items.train.pairs, self.items.val.pairs
        text = text_modality()
        captions = different_items(train, text)[0] if text in train.items else ()
        return {
            "cospace": __version__,
            "torch": torch.__version__,
            "machine": describe(device()),
            "command": self.request.command,
            "from": self.source,
            **({} if self.teacher is None else {"teacher": self.teacher.plain()}),
            "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
            "data": {"name": train.name, "fingerprint": train.fingerprint, **facts_of(train).plain()},
            "validation": {"name": val.name, "fingerprint": val.fingerprint, "rows": len(val)},
            "set_aside": self.items.set_aside(),
            **({} if self.streamed is None else streamed_facts(self.streamed)),
            **({} if self.budget is None or self.budget.plan is None else {"budget": self.budget.plan.plain()}),
            "bare_names": templates_for(captions) == ("{}",),
        }

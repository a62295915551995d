"""From pairs to a trained, evaluated run that describes itself."""

from __future__ import annotations

import shutil
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import __version__, files
from ..config import part
from ..data.batches import Batches
from ..data.counting import Counts
from ..data.pairs import Pairs
from ..data.prepared import PreparedPairs, different_items, without_encoder
from ..evaluation.advice import Setup, describe_kept
from ..evaluation.zero_shot import templates_for
from ..evaluators.embedded import EmbeddedPairs, embed_pairs
from ..evaluators.forgetting import OWN, REFERENCE, ForgettingBaseline
from ..evaluators.generation import GenerationResults, complaint, generate_predictions
from ..evaluators.measures import calibrate, diagnosis, intervals, measure, watch
from ..evaluators.relevance import Trial, calibrate_search, reliability_of, trials
from ..evaluators.reranking import rerank
from ..evaluators.retrieval_baseline import retrieval_baselines
from ..evaluators.selection import items_per_modality, score_by_group, validation_loss
from ..evaluators.widths import calibrate_widths
from ..matches import ModalityPair, modality_pairs
from ..modalities import text_modality
from ..models.space import Space, learns
from ..objectives import trained_widths
from ..ranks import Ranks
from ..runs.datasets import training_batches
from ..runs.heads import as_facts, describe_fit, fit_heads
from ..runs.held_out import held_out_content
from ..runs.identity import FILE, check_identity, unfinished
from ..runs.initialization import initialize, stretch
from ..runs.metrics_log import MetricsLog
from ..runs.pretrained import config_from_source, is_whole
from ..runs.run import Run
from ..runs.settings import RunConfig, facts_of, named_modules, resolve
from ..runs.source import open_source
from ..runs.teacher import Teacher
from ..runs.tensorboard import tensorboard
from ..runs.towers import JoinedTowers
from ..runs.trained_on import write_trained_on
from ..runs.wise_ft import best, interpolate, sweep
from ..runtime import describe, device
from ..stopping import current
from ..training.adapters import merge_adapters
from ..training.checkpoint import CheckpointFolder
from ..training.loop import FEWEST_EVALUATIONS, Learner, Observers, Trainer, affordable_evaluations, learned_numbers
from ..training.selection import Evaluation, Outcome
from ..training.step import ALIGNMENT
from ..trust import trusting
from ..types import Metrics, Progress, UserError, silent
from .streaming import check_stream, first_pairs, open_stream, say_streamed, streamed_batches, streamed_facts
from .training_items import RunItems
from .training_request import (
    Listener,
    TrainArguments,
    TrainingData,
    check_source,
    from_nothing_where_better,
    joined_ranks,
    open_data,
    quiet,
    say_what_is_hardly_used,
    say_what_learns,
    say_what_towers_give,
    source_of,
    taught,
)

__all__ = ["Listener", "TrainArguments", "Trained", "train", "train_on_ranks"]

GENERATED, GENERATED_LAST = 200, 2000
"""Most items captioned, and questions answered, by an evaluation during training and by that of the finished run."""


WAITS, WAITED = 0.05, 10.0
"""Share of a training's time, and seconds of it, from which on it is said that it waited for data."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A run that was trained just now, with its embedded validation pairs and the decoder's predictions on them."""

    run: Run
    validation: EmbeddedPairs
    generated: GenerationResults
    counts: Counts
    """What was read for training, and what became of it."""


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
    with files.Lock(out) if ranks.first else nullcontext():
        data = open_stream(request, open_config) or open_data(request, open_config)
        open_config, source = from_nothing_where_better(request, open_config, data, source_of(request, open_config))
        config = config_from_source(open_config.fitted(data.train), source, request.overrides, data.train)
        teacher, config = taught(request, config, data)
        say_what_learns(request, config, source)
        check_source(config, data, source)
        identity = ""
        if ranks.first:
            check_stream(out, data)
            known = None if teacher is None else teacher.fingerprint
            identity = check_identity(out, config, (data.train, data.val), source, request.listener.say, known)
        say_what_towers_give(request, data, source)
        return _Session(request, config, data, (source, teacher), ranks).go(identity)


class _Session:
    """One run from prepared items to the finished folder."""

    def __init__(
        self,
        request: TrainArguments,
        config: RunConfig,
        data: TrainingData,
        models: tuple[Run | None, Teacher | None],
        ranks: Ranks,
    ) -> None:
        source, self.teacher = models
        self.request, self.config, self.listener, self.ranks = request, config, request.listener, ranks
        self.out = request.out
        self.source = None if source is None else {"run": str(source.path), "fingerprint": source.space.fingerprint}
        initial = initialize(config, data.train, source)
        self.space, self.generator, self.tokenizer = initial.space, initial.generator, initial.tokenizer
        self.lr_scales = initial.lr_scales
        self.items = RunItems(
            replace(data, train=first_pairs(data, config)), self.space, config.data, self.listener, self.cache
        )
        self.config = self._with_evaluations(config)
        self.read, self.held_out = data.read, data.train is not data.read
        if self.teacher is not None:
            self.items.train = self.teacher.teach(self.items.train, self.space, self.listener.progress)
        self.streamed = streamed_batches(data, self.config, initial, self.out, self.cache / "windows", ranks)
        self.log = MetricsLog(self.out / "metrics.jsonl")
        self.tensorboard = tensorboard(self.out / "tensorboard") if config.tensorboard and ranks.first else None
        data_facts = facts_of(self.items.train.pairs).plain()
        self.setup = Setup.of(config.model_dump(), data_facts, pretrained=source is not None)
        self._collapsed = 0
        self.trials: list[Trial] = []
        self.paired = self._paired()
        self.objective = part("objectives", config.objective).build(list(self.paired)).to(device())  # type: ignore[attr-defined]
        self.towers = source if isinstance(source, JoinedTowers) else None
        self.head_facts: dict[str, Any] = {}
        whole = source is not None and is_whole(config, source)
        self.forgetting = self._forgetting_baseline(data.reference) if whole else None

    def _with_evaluations(self, config: RunConfig) -> RunConfig:
        """The number of evaluations chosen by what they cost, where it was left open; writing texts costs much."""
        training = config.training
        if training.evaluations is not None:
            return config
        items, seen = (
            items_per_modality(self.items.evaluated),
            (training.steps or 0) * (training.batch_size or 0),
        )
        chosen = FEWEST_EVALUATIONS if self.generator else affordable_evaluations(items, seen)
        return config.model_copy(update={"training": training.model_copy(update={"evaluations": chosen})})

    def _forgetting_baseline(self, reference: Pairs | None) -> ForgettingBaseline:
        sets = {OWN: self.items.val} if len(self.items.open_val.items) > 1 else {}
        if reference is not None:
            sets[REFERENCE] = self.items.prepared(reference, "reference")
        return ForgettingBaseline(self.out / "pretrained.json", sets)

    @property
    def cache(self) -> Path:
        """Where prepared items go that are too many for the memory; every rank has its own."""
        return self.out / "cache" / (f"rank-{self.ranks.rank}" if self.ranks.rank else "")

    def go(self, identity: str) -> Trained | None:
        """All of it; what is removed last says that the run is finished."""
        say_what_is_hardly_used(self.listener, self.items.train.pairs, self.paired, self.config)
        self._say_what_is_not_used()
        if self.config.heads == "closed_form":
            self._fit_heads()
        with current().finishing():
            if self.config.training.steps:
                trained = self._train_steps(identity)
            else:
                trained = self._finish(Outcome(0, None, None, None)) if self.ranks.first else None
            shutil.rmtree(self.cache, ignore_errors=True)
            if self.ranks.first:
                (self.out / "pretrained.json").unlink(missing_ok=True)
                (self.out / FILE).unlink()
            return trained

    def _train_steps(self, identity: str) -> Trained | None:
        """The steps of the optimizer, from the newest checkpoint on."""
        batches: Batches = self.streamed or training_batches(
            self.items.train, self.space, self.config, self.tokenizer, record=self.cache / "set_aside.json"
        )
        observers = Observers()
        if self.ranks.first:
            say = self.listener.say
            observers = Observers(
                partial(self.log.begin, say=say), self._row, self.log.sync, self._evaluate, watch, say
            )
        if self.forgetting is not None and self.ranks.first:
            self.forgetting.record(self.space)
        learner = Learner(self.space, None if self.generator is None else self.generator.decoder, self.lr_scales)
        # A decoder that starts from nothing has nothing to say before the first step.
        start = (self.forgetting is not None or bool(self.head_facts)) and self.generator is None
        training, checkpoints = self.config.training, CheckpointFolder(self.out / "checkpoints", identity)
        trainer = Trainer(learner, self.objective, training, checkpoints, observers, self.ranks)
        with closing(self.streamed) if self.streamed else nullcontext():
            outcome = trainer.fit(batches, evaluate_start=start)
        if not self.ranks.first:
            return None
        self.items.settle_training(batches.on_demand)
        merge_adapters(self.space)
        trained = self._finish(outcome)
        trainer.checkpoints.clear()
        return trained

    def _fit_heads(self) -> None:
        """Lead the frozen features into the space in closed form; the space has the width that the fit gave."""
        assert self.towers is not None
        seed = self.config.training.seed
        fit, names = fit_heads(self.space, self.items.train, self.towers, seed, self.listener.progress)
        describe_fit(fit, names, self.listener.say)
        self.head_facts = {"heads": as_facts(fit)}
        self.config = self.config.model_copy(update={"embed_dim": self.space.width})

    def _paired(self) -> dict[ModalityPair, int]:
        """How many training rows pair two modalities, where some do."""
        keys = self.items.train.pairs.keys
        pairs = modality_pairs([name for name in self.space.modalities if name in keys])
        counts = {pair: int(((keys[pair[0]] >= 0) & (keys[pair[1]] >= 0)).sum()) for pair in pairs}
        return {pair: count for pair, count in counts.items() if count}

    def _say_what_is_not_used(self) -> None:
        """Validation items that no encoder reads."""
        if unread := without_encoder(self.items.open_val.pairs, self.space.modalities):
            self.listener.say(f"{len(unread):,} validation items are not used: {unread[0].reason}")

    def _row(self, row: dict[str, Any]) -> None:
        self.log.write(row)
        if self.tensorboard is not None:
            self.tensorboard(row)
        self.listener.row(row, self.config)
        self._warn(row)

    def _warn(self, row: dict[str, Any]) -> None:
        """Speak up when the space is sick for the third time in a row, and then every tenth time."""
        sentence = diagnosis(row, self.config.embed_dim, self.space.modalities, self.setup)
        if "space/effective_rank" in row:
            self._collapsed = self._collapsed + 1 if sentence else 0
        if sentence and self._collapsed % 10 == 3:
            self.listener.say(f"step {row['step']}: {sentence}")

    def _evaluate(self, space: Space) -> Evaluation:
        """Loss, retrieval and health on some of the validation items, and the score that decides what is kept."""
        embedded = embed_pairs(space, self.items.validated)
        generated = self._generate(self.items.validated, False, silent)
        metrics = measure(embedded) | generated.metrics
        if learns(space):
            rows = self.config.training.batch_size or len(self.items.train.pairs)
            loss = validation_loss(self.objective, embedded, rows)
            metrics |= {key if self.generator is None else f"{key}/{ALIGNMENT}": value for key, value in loss.items()}
        return Evaluation(metrics, score_by_group(embedded, generated))

    def _evaluate_finished(self) -> tuple[EmbeddedPairs, GenerationResults]:
        """Everything on all validation items, which calibrate the space."""
        space, progress = self.space, self.listener.progress
        embedded = embed_pairs(space, self.items.val, progress)
        generated = self._generate(self.items.val, True, progress)
        if embedded.both():
            self.trials = trials(space, embedded)
            space.calibration, space.relevance = calibrate(embedded), calibrate_search(self.trials)
        if self.config.training.steps:
            generated.metrics |= calibrate_widths(space, embedded, trained_widths(self.objective))
        generated.metrics |= retrieval_baselines(self.generator, space, embedded, generated)
        generated.metrics |= rerank(self.generator, space, embedded)
        return embedded, generated

    def _generate(self, val: PreparedPairs, last: bool, progress: Progress) -> GenerationResults:
        most = GENERATED_LAST if last else GENERATED
        results = generate_predictions(self.generator, self.space, val, most, greedy=not last, progress=progress)
        if sentence := complaint(results):
            self.listener.say(sentence)
        return results

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
            embedded, generated = self._evaluate_finished()
        metrics = measure(embedded) | generated.metrics
        metrics |= outcome.metrics() | swept | self.items.leaks
        metrics |= {} if self.forgetting is None else self.forgetting.compared(self.space)
        selected = outcome.plain()
        if kept := describe_kept(selected):
            self.listener.say(kept)
        if outcome.wait_share is not None:
            selected["wait_share"] = outcome.wait_share
            if self.streamed is not None or (outcome.wait_share > WAITS and outcome.waited > WAITED):
                self.listener.say(f"waited for data {100 * outcome.wait_share:.1f} % of the time")
        facts = {
            "config.json": self.config.model_dump(mode="json"),
            "metrics.json": metrics,
            "intervals.json": intervals(embedded),
            "reliability.json": reliability_of(self.trials),
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
        return Trained(Run.load(self.out), embedded, generated, self._counts())

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
        kinds: dict[str, int] = {}
        for problem in (*train.problems, *val.problems, *without_encoder(val, self.space.modalities)):
            kinds[problem.kind] = kinds.get(problem.kind, 0) + 1
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
            "set_aside": kinds,
            **({} if self.streamed is None else streamed_facts(self.streamed)),
            "bare_names": templates_for(captions) == ("{}",),
        }

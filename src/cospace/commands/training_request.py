"""What a person asked to train on and from: pairs, validation pairs, and published towers or a model to start from."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..data.leakage import contents_of, describe_leaks, leaked
from ..data.pairs import Pairs, Spec, open_pairs
from ..data.sources import AS_FOUND, WEIGHT, ReadOptions
from ..data.splits import hold_out
from ..data.stream.pair_stream import PairStream
from ..matches import ModalityPair, modality_pairs
from ..ranks import ALONE, Ranks, joined, launched
from ..runs.advice import TOWERS
from ..runs.datasets import can_train
from ..runs.pretrained import START_FROM, is_whole
from ..runs.run import Run
from ..runs.settings import RunConfig, resolve
from ..runs.source import open_source
from ..runs.teacher import Teacher
from ..runs.towers import JoinedTowers, open_towers
from ..runtime import device
from ..training.loop import MOST_MINUTES
from ..types import Metrics, Progress, UserError, silent
from .check import CheckArguments, check_pairs
from .estimate import advise_from_nothing, compare, estimate_towers


@dataclass(slots=True)
class Listener:
    """Who watches a run: long work, every logged row, plain sentences."""

    progress: Progress = silent
    row: Callable[[dict[str, Any], RunConfig], None] = lambda row, config: None
    say: Callable[[str], None] = lambda sentence: None


@dataclass(slots=True)
class TrainArguments:
    """What a person asked for."""

    pairs: Spec | Sequence[Spec]
    out: Path
    recipe: str = "small"
    val: Spec | Sequence[Spec] | None = None
    overrides: Sequence[str] = ()
    options: ReadOptions = AS_FOUND
    """How the pairs are read."""
    clean: bool = False
    """Whether rows that ``cospace check`` would leave out are left out."""
    source: str | None = None
    """A run or a published model to start from: a folder, ``hf:NAME`` or ``openclip:FOLDER``."""
    reference: Spec | None = None
    """Pairs of another kind, on which a fine-tuned model shows what it has forgotten."""
    estimate: bool = False
    """Whether to say, before a run from nothing begins, what published towers would give."""
    trust: Sequence[str] = ()
    """Modules that a recipe's file or the source may name as parts; those in ``overrides`` the person has named."""
    command: str = ""
    listener: Listener = field(default_factory=Listener)
    began: float = field(default_factory=time.monotonic)
    """When the command began, by ``time.monotonic``: from there the minutes of a budget count."""
    most_steps: int | None = None
    """Steps beyond which a budget is not used up."""
    afterwards: Sequence[Pairs] = ()
    """Pairs that are evaluated after the run is finished, within the same budget."""


def lasting(minutes: float | None) -> tuple[str, ...]:
    """The setting that gives a run so many minutes, where some were given. Raises :class:`UserError` for nonsense."""
    if minutes is None:
        return ()
    if not 0 < minutes <= MOST_MINUTES:
        raise UserError(
            f"--minutes is the time that training may take, above 0 and at most {MOST_MINUTES:,} (a week), e.g. "
            f"--minutes 5; {minutes:g} was given"
        )
    return (f"training.minutes={float(minutes)!r}",)


@contextmanager
def joined_ranks(request: TrainArguments) -> Iterator[Ranks]:
    """The processes that share the training: those that `torchrun` started, or this one alone."""
    training = resolve(request.recipe, request.overrides).training
    started = launched()
    if started > 1 and training.parallel == "none":
        raise UserError(
            f"torchrun started {started} processes, and training.parallel=none trains in one; leave the setting out"
        )
    if not started and training.parallel != "auto" and training.parallel != "none":
        request.listener.say(
            f"training.parallel={training.parallel} in one process; start several with `torchrun --nproc-per-node N -m "
            "cospace train ...`"
        )
    ranks = joined(device(), training.rank_timeout_seconds) if started else ALONE
    try:
        yield ranks
    finally:
        ranks.close()


def quiet(request: TrainArguments) -> TrainArguments:
    """The same request of a rank that says nothing, and leaves to the first one what is only said."""
    return replace(request, listener=Listener(), estimate=False)


def source_of(request: TrainArguments, config: RunConfig) -> Run | None:
    """What the run starts from: one model, or towers of several publishers."""
    if request.source is not None:
        return open_source(request.source)
    if config.towers:
        return open_towers(config.towers, config.embed_dim, config.tta)
    if config.heads == "closed_form":
        raise UserError("heads=closed_form fits heads on the features of published towers; name them with --from")
    return None


def say_what_learns(request: TrainArguments, config: RunConfig, source: Run | None) -> None:
    """Which towers were brought, under which licence, and whether they learn."""
    if not isinstance(source, JoinedTowers):
        return
    frozen = config.locked.split(",")
    for name, tower in source.towers.items():
        mult = f"{config.training.optim.pretrained_lr_mult:g} of the learning rate"
        how = "frozen" if "all" in frozen or name in frozen else f"learns at {mult}"
        how = f"learns low-rank adapters of rank {config.lora_rank}" if config.lora_rank and how != "frozen" else how
        request.listener.say(f"{tower.describe(name)}, {how}")


FORCED = ("towers", "tta", "heads", "locked", "lora_rank", "wise_ft_alpha", "training.steps")
"""Settings with which a person says that the recipe's towers are wanted, whatever the images are."""


def from_nothing_where_better(
    request: TrainArguments, config: RunConfig, data: TrainingData, source: Run | None
) -> tuple[RunConfig, Run | None]:
    """The recipe ``towers`` on images that its towers know little of gives way to learning from nothing, and says so.

    Drawings, glyphs or charts are found better by a space of their own (:mod:`.estimate`). Any of the settings
    :data:`FORCED` keeps the towers.
    """
    chosen = any(
        text.partition("=")[0] == name or text.startswith(f"{name}.") for text in request.overrides for name in FORCED
    )
    if request.recipe != TOWERS or chosen or not isinstance(source, JoinedTowers):
        return config, source
    if set(data.train.modalities) != set(source.towers):
        return config, source
    found = compare(data.train, data.val, source, request.listener.progress)
    if not found.from_nothing:
        return config, source
    request.listener.say(advise_from_nothing(found))
    return resolve("small", request.overrides), None


class Models(NamedTuple):
    """What a run starts from, and what it learns from beside its pairs."""

    source: Run | None
    teacher: Teacher | None = None

    @property
    def fingerprints(self) -> dict[str, str | None]:
        """Those of their spaces, for a run's identity."""
        start = None if self.source is None else self.source.space.fingerprint
        return {"from": start, **({} if self.teacher is None else {"teacher": self.teacher.fingerprint})}


def paired_rows(pairs: Pairs, modalities: Iterable[str]) -> dict[ModalityPair, int]:
    """How many rows pair two of these modalities, where some do."""
    keys = pairs.keys
    both = modality_pairs([name for name in modalities if name in keys])
    counts = {pair: int(((keys[pair[0]] >= 0) & (keys[pair[1]] >= 0)).sum()) for pair in both}
    return {pair: count for pair, count in counts.items() if count}


def cache_of(out: Path, ranks: Ranks) -> Path:
    """Where prepared items of a run go that are too many for the memory; every rank has its own folder."""
    return out / "cache" / (f"rank-{ranks.rank}" if ranks.rank else "")


def taught(request: TrainArguments, config: RunConfig, data: TrainingData) -> tuple[Teacher | None, RunConfig]:
    """The teacher, if there is one, and the configuration with all that the objective's settings left open."""
    teacher, config = Teacher.of(config), config.with_fitted_objective()
    if teacher is None:
        return None, config
    if data.stream is not None:
        raise UserError(
            "a teacher embeds every item once, before the first step, and these pairs are streamed; add "
            "data.stream=false, or leave out --teacher"
        )
    config = teacher.configured(config)
    request.listener.say(f"teacher: {teacher.source} ({', '.join(teacher.run.space.modalities)})")
    return teacher, config


def say_what_towers_give(request: TrainArguments, data: TrainingData, source: Run | None) -> None:
    """An estimate in seconds, where nobody chose how to learn, by no setting either; not where a run goes on."""
    chosen = source is not None or bool(request.overrides)
    if request.estimate and not chosen and not any((request.out / "checkpoints").glob("step-*")):
        sentence = estimate_towers(data.train, data.val, request.listener.progress)
        if sentence is not None:
            request.listener.say(sentence)


def check_source(config: RunConfig, data: TrainingData, source: Run | None) -> None:
    """Refuse what only a run that starts from a pretrained model can do."""
    asked = {"--reference": data.reference is not None, "wise_ft_alpha": config.wise_ft_alpha != 1}
    for name in (name for name, given in asked.items() if given):
        if source is None or not is_whole(config, source):
            raise UserError(f"{name} compares with a whole pretrained model; {START_FROM}")
    if data.stream is not None and WEIGHT in data.train.extras:
        raise UserError(
            "weights are relative to their mean over all rows, and these are streamed; add data.stream=false"
        )
    if config.lora_rank and source is None:
        raise UserError(f"lora_rank adapts pretrained weights; {START_FROM}")


@dataclass(slots=True)
class TrainingData:
    """What a run learns from, and what it is measured on."""

    train: Pairs
    val: Pairs
    reference: Pairs | None
    read: Pairs
    """What was named for training; where ``val`` is held out, both are parts of it."""
    leaks: Metrics
    """What validation shares with training."""
    stream: PairStream | None = None
    """Where pairs are streamed: what ``train`` is a sample of."""


def read_and_say(request: TrainArguments, spec: Spec | Sequence[Spec]) -> Pairs:
    """Pairs, with how they were understood said in a sentence."""
    return _said(request, open_pairs(spec, options=request.options))


def _training_pairs(request: TrainArguments) -> Pairs:
    """What was named for training, without the rows that ``check`` would leave out where that was asked for."""
    if not request.clean:
        return read_and_say(request, request.pairs)
    asked = CheckArguments(request.pairs, request.val, request.options)
    pairs = check_pairs(asked, request.listener.progress).clean()
    left_out = Counter(problem.kind for problem in pairs.problems if problem.asked)
    said = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in left_out.most_common())
    request.listener.say(f"{pairs.name}: --clean leaves out {left_out.total():,} rows{': ' if said else ''}{said}")
    return _said(request, pairs)


def _said(request: TrainArguments, pairs: Pairs) -> Pairs:
    for line in pairs.summary():
        request.listener.say(line)
    return pairs


def open_data(request: TrainArguments, config: RunConfig) -> TrainingData:
    """Read everything that was named; without validation pairs a part is held out.

    Raises :class:`UserError` where nothing can be learned, or measured.
    """
    fraction = config.data.max_bad_fraction
    pairs = can_train(_training_pairs(request)).stop_above(fraction)
    reference = open_reference(request)
    if request.val is None:
        train, val = hold_out(pairs, config.training.seed)
        request.listener.say(f"no validation pairs were given: {len(val):,} of {len(pairs):,} are held out for it")
        return TrainingData(train, val, reference, pairs, {})
    val = check_validation(read_and_say(request, request.val), pairs, fraction)
    leaks = leaked(contents_of(pairs), val)
    for sentence in describe_leaks(leaks):
        request.listener.say(f"{val.name}: {sentence}")
    return TrainingData(pairs, val, reference, pairs, leaks)


def open_reference(request: TrainArguments) -> Pairs | None:
    """The pairs on which forgetting is measured, where some were named."""
    return None if request.reference is None else can_train(_said(request, open_pairs(request.reference)))


def check_validation(val: Pairs, train: Pairs, fraction: float) -> Pairs:
    """Validation pairs on which something can be measured. Raises :class:`UserError` for others."""
    can_train(val).stop_above(fraction)
    if lacking := sorted(train.items.keys() - val.items.keys()):
        raise UserError(
            f"{val.name} has no {' and no '.join(lacking)}, which {train.name} has; validate on the same kind"
        )
    if val.matches.all_match():
        raise UserError(f"all pairs of {val.name} match each other; validation needs at least two that do not")
    return val

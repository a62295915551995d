"""What a person can do about a run's figures. Advice knows the run: it never names what is set already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..modalities import all_modalities
from ..types import Metrics
from .geometry import CURE
from .quality import Level

CONTRASTIVE = ("softmax", "sigmoid")
"""Objectives that push apart what does not match."""

SMALL_BATCH = 64
"""Pairs below which a batch has few negatives."""

FEW_FILES = 5_000
"""Images (or sounds) below which an encoder that starts from nothing mostly learns them by heart."""

LOW_RECALL = 0.25
"""Mean R@1 below which a search of the validation items is of little use."""

OVERFITTED = 1.5
"""How many times the training loss a validation loss is where pairs were learned by heart."""

SHRUNK = 3.0
"""How many times smaller images are read than they are where detail is lost."""

SHARES = {"val/caption/accuracy": "the share of true captions", "val/vqa/accuracy": "the share of right answers"}
"""What an evaluation of a decoder logs, in words."""

FAST, REMAINING = 0.05, 0.02
"""What a share has to gain from the last evaluation but one to the last, and to lack then, for more steps to be worth
their time."""

RECENT = 10
"""Steps over which the training loss is averaged."""


USUAL_RATES = {"training.optim.lr": 2e-3, "training.optim.muon_lr": 0.02}
"""Learning rates that recipes begin with."""

FAR_TOO_HIGH = 30.0
"""Times the usual rate from which on nothing else is the cause of a collapse: ten already diverges as a rule."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How a run was trained, as far as advice depends on it.

    ``files`` counts the different items of each modality that is not typed, by their plural: ``{"images": 700}``.
    """

    objective: str
    batch_size: int
    rows: int
    files: Mapping[str, int]
    learning_rates: Mapping[str, float]
    pretrained: bool
    steps: int = 0
    """Optimizer steps that were planned; none where heads were fitted in closed form."""
    generates: bool = False
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Pixels a side at which files are read, by the plural of a modality that has such a size."""

    @property
    def items(self) -> int:
        """Different items that are files; of texts alone, rows."""
        return sum(self.files.values()) or self.rows

    @classmethod
    def of(cls, config: Mapping[str, Any], data: Mapping[str, Any], pretrained: bool) -> Setup | None:
        """From a run's ``config.json`` and the ``data`` of its ``run.json``; nothing of a model without them."""
        if not config or "rows" not in data:
            return None
        training, optim = config["training"], config["training"]["optim"]
        rates = ("lr", "muon_lr") if optim["name"] == "muon" else ("lr",)
        plurals = [one.plural for one in all_modalities() if not one.is_text]
        return cls(
            objective=_contrasted_by(config["objective"]),
            batch_size=int(training["batch_size"] or data["rows"]),
            rows=int(data["rows"]),
            files={plural: int(data[plural]) for plural in plurals if plural in data},
            learning_rates={f"training.optim.{name}": optim[name] for name in rates},
            pretrained=pretrained,
            steps=int(training["steps"] or 0),
            generates=config.get("tasks", "none") not in ("none", "auto"),
            sizes=_sizes(config["data"], data),
        )


def _sizes(settings: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, int]:
    found = {one.plural: settings.get(one.name, {}).get("size") for one in all_modalities() if one.plural in data}
    return {plural: int(size) for plural, size in found.items() if size}


@dataclass(frozen=True, slots=True)
class Deed:
    """The one thing to do about a run: a sentence, and the command that does it where there is one."""

    sentence: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What a deed may build on: how the run was trained, its ``run.json``, and what the layers above know.

    ``usual_steps`` are those that data of this size take, ``towers`` the command that starts from published ones.
    """

    setup: Setup | None
    facts: Mapping[str, Any]
    usual_steps: int
    towers: str


def deed(level: Level, known: Known) -> Deed:
    """What to do next. It is never what was done already, and nothing where the space is good."""
    setup = known.setup
    if level == "good":
        return Deed("Nothing needs to be done.")
    if level == "unmeasured":
        return Deed("Measure it on pairs that it has not seen.", "cospace eval RUN pairs.csv")
    if level == "collapsed":
        return Deed(f"What helps: {cure(setup)}.", f"cospace train ... {_against_collapse(setup)}")
    if setup is None:
        return Deed("Train it further on pairs like those that it will search.", "cospace train pairs.csv --from RUN")
    return _train_better(setup, known)


def _train_better(setup: Setup, known: Known) -> Deed:
    """What helps a run that learned something else than it was meant to, or too little."""
    fewest = min(setup.files.items(), key=lambda item: item[1]) if setup.files else None
    if setup.steps == 0:
        what = "" if fewest is None else f": the heads of its towers were fitted on {fewest[1]:,} {fewest[0]}"
        return Deed(f"Train on more pairs{what}.", "cospace train MORE_PAIRS ...")
    if setup.steps < known.usual_steps:
        what = f"{setup.steps:,} steps were run, and data of this size usually take {known.usual_steps:,}"
        return Deed(f"Train longer: {what}.", f"cospace train ... training.steps={known.usual_steps}")
    if fewest is not None and fewest[1] < FEW_FILES and not setup.pretrained:
        what, count = fewest
        return Deed(
            f"Start from published towers: {count:,} {what} are few to learn {what} from nothing.", known.towers
        )
    best, last = known.facts.get("best"), known.facts.get("last")
    if best and last and best["step"] < last["step"]:
        when = f"its evaluations were best at step {best['step']:,} of {last['step']:,}, so more steps do not help"
        return Deed(f"Train on more pairs: {when}.", "cospace train MORE_PAIRS ...")
    return Deed(
        f"Train longer: {setup.steps:,} steps were run, and its evaluations still rose.",
        f"cospace train ... training.steps={2 * setup.steps}",
    )


def _against_collapse(setup: Setup | None) -> str:
    """The settings that :func:`cure` names, as they are written."""
    if setup is None or setup.objective not in CONTRASTIVE:
        return "objective=softmax"
    lower = [f"{name}={rate / 4:g}" for name, rate in setup.learning_rates.items()]
    larger = setup.batch_size < SMALL_BATCH <= setup.rows
    return " ".join([f"training.batch_size={min(setup.rows, 2 * SMALL_BATCH)}"] * larger + lower)


def cure(setup: Setup | None) -> str:
    """What helps a run against a collapse of its space."""
    if setup is None:
        return CURE
    if setup.objective == "vicreg":
        return "objective=softmax, or a larger objective.variance"
    if setup.objective not in CONTRASTIVE:
        return CURE
    rates = " and ".join(f"{name} (now {rate:g})" for name, rate in setup.learning_rates.items())
    most = max(setup.learning_rates, key=lambda name: setup.learning_rates[name] / USUAL_RATES[name])
    times = setup.learning_rates[most] / USUAL_RATES[most]
    if times >= FAR_TOO_HIGH:
        return f"a lower {rates}: {most} is {times:,.0f} times its usual value, {USUAL_RATES[most]:g}"
    return f"{_more_negatives(setup)}a lower {rates}, or more steps"


def _more_negatives(setup: Setup) -> str:
    if setup.rows < SMALL_BATCH:
        return f"more pairs (there are {setup.rows:,}), "
    if setup.batch_size < SMALL_BATCH:
        return f"training.batch_size={min(setup.rows, 2 * SMALL_BATCH)} (now {setup.batch_size}), "
    return ""


def too_few_files(metrics: Metrics, rows: Sequence[Mapping[str, float]], setup: Setup | None, start: str) -> str | None:
    """That the run learned few files by heart, and what gives more; nothing where that is not what happened.

    ``rows`` are those of the run's log, ``metrics`` what its end was measured at; ``start`` is the command that starts
    from published towers.
    """
    evaluated = [row for row in rows if "val/loss" in row and "loss" in row]
    recalls = [value for name, value in metrics.items() if name.endswith("/R@1") and name.count("/") == 1]
    if setup is None or setup.pretrained or not setup.files or not evaluated or not recalls:
        return None
    what, count = min(setup.files.items(), key=lambda item: item[1])
    last = evaluated[-1]
    recent = [row["loss"] for row in rows if "loss" in row and row["step"] <= last["step"]][-RECENT:]
    training, validation = sum(recent) / len(recent), last["val/loss"]
    if count >= FEW_FILES or sum(recalls) / len(recalls) >= LOW_RECALL or validation < OVERFITTED * training:
        return None
    return (
        f"{count:,} {what} are too few to learn {what} from nothing (training loss {training:.1f}, validation loss "
        f"{validation:.1f}); published towers usually give several times more: {start}"
    )


def still_rising(rows: Sequence[Mapping[str, float]], setup: Setup | None) -> str | None:
    """That the run ended while what it is evaluated by rose fast; nothing where it did not, or was stopped early.

    ``rows`` are those of its log.
    """
    evaluated = [row for row in rows if _shares(row)]
    if setup is None or len(evaluated) < 2 or evaluated[-1]["step"] < setup.steps:
        return None
    before, last = ({**_shares(row), "step": row["step"]} for row in evaluated[-2:])
    gains = {name: last[name] - before[name] for name in last if name in before and name != "step"}
    rising = {name: gain for name, gain in gains.items() if gain >= FAST and 1 - last[name] >= REMAINING}
    if not rising:
        return None
    what = max(rising, key=rising.__getitem__)
    return (
        f"{what} still rose fast at the end, from {100 * before[what]:.1f} to {100 * last[what]:.1f} % in the last "
        f"{last['step'] - before['step']:,.0f} of {setup.steps:,} steps; more steps give more: "
        f"cospace train ... training.steps={2 * setup.steps}"
    )


def _shares(row: Mapping[str, float]) -> dict[str, float]:
    """Shares that an evaluation measured, by their names for people."""
    found = {words: row[name] for name, words in SHARES.items() if name in row}
    recalls = _recalls(row)
    return found | ({"mean R@1": sum(recalls) / len(recalls)} if recalls else {})


def _recalls(row: Mapping[str, float]) -> list[float]:
    return [
        value
        for name, value in row.items()
        if name.startswith("val/") and name.endswith("/R@1") and name.count("/") == 2
    ]


def read_small(setup: Setup | None, pixels: Mapping[str, float], start: str) -> str | None:
    """That files lost their detail as they were read; ``pixels`` are medians of their own longer sides, by plural.

    Nothing where they were not shrunk much, or where published towers are in use already.
    """
    if setup is None or setup.pretrained:
        return None
    for what, size in setup.sizes.items():
        if pixels.get(what, 0.0) >= SHRUNK * size:
            return (
                f"{what} of {pixels[what]:,.0f} pixels were read at {size}, where photographs lose their detail; "
                f"published towers read them at 224 or more: {start}"
            )
    return None


def describe_kept(facts: Mapping[str, Any]) -> str | None:
    """Which evaluation's weights a run has, from its ``run.json``; nothing where the last was also the best."""
    best, last, kept = facts.get("best"), facts.get("last"), facts.get("kept_step")
    if not best or not last or best["step"] == last["step"]:
        return None
    if kept == best["step"]:
        return (
            f"kept step {kept:,} of {facts['steps']:,} ({_figures(best)}; the last step, {last['step']:,}, had "
            f"{_figures(last)})"
        )
    why = "as training.keep=last asks"
    if best["score"] - last["score"] <= facts["least_difference"]:
        why = f"not better by the {facts['least_difference']:.3f} that are more than luck"
    return f"kept the last step, {last['step']:,} ({_figures(last)}); step {best['step']:,} had {_figures(best)}, {why}"


def _figures(evaluation: Mapping[str, Any]) -> str:
    """Mean R@1, where there is one, and the score."""
    recalls = [value for name, value in evaluation.items() if name.endswith("/R@1") and name.count("/") == 1]
    recall = f"mean R@1 {100 * sum(recalls) / len(recalls):.1f} %, " if recalls else ""
    return f"{recall}score {evaluation['score']:.3f}"


def _contrasted_by(objective: Mapping[str, Any]) -> str:
    """The name of an objective or, where it is made of another one, of that."""
    return _contrasted_by(objective["of"]) if "of" in objective else str(objective["name"])

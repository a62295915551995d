"""What a person can do about a run's figures. Advice knows the run: it never names what is set already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..modalities import all_modalities
from ..types import Metrics
from .geometry import CURE

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

RECENT = 10
"""Steps over which the training loss is averaged."""


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

    @classmethod
    def of(cls, config: Mapping[str, Any], data: Mapping[str, Any], pretrained: bool) -> Setup | None:
        """From a run's ``config.json`` and the ``data`` of its ``run.json``; nothing of a model without them."""
        if not config or "rows" not in data:
            return None
        training, optim = config["training"], config["training"]["optim"]
        rates = ("lr", "muon_lr") if optim["name"] == "muon" else ("lr",)
        plurals = [one.plural for one in all_modalities() if not one.is_text]
        return cls(
            objective=str(config["objective"]["name"]),
            batch_size=int(training["batch_size"] or data["rows"]),
            rows=int(data["rows"]),
            files={plural: int(data[plural]) for plural in plurals if plural in data},
            learning_rates={f"training.optim.{name}": optim[name] for name in rates},
            pretrained=pretrained,
        )


def cure(setup: Setup | None) -> str:
    """What helps a run against a collapse of its space."""
    if setup is None:
        return CURE
    if setup.objective == "vicreg":
        return "objective=softmax, or a larger objective.variance"
    if setup.objective not in CONTRASTIVE:
        return CURE
    rates = " and ".join(f"{name} (now {rate:g})" for name, rate in setup.learning_rates.items())
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

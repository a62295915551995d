"""What a person can do about a finished run's figures, from everything that the run says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..evaluation.advice import Deed, Known, Setup, deed, describe_kept, read_small, still_rising, too_few_files
from ..evaluation.quality import Level
from ..types import Metrics
from .metrics_log import MetricsLog
from .run import Run
from .settings import usual_steps

TOWERS = "towers"
"""The recipe that joins published towers."""


def setup_of(run: Run) -> Setup | None:
    """How a run was trained; nothing of a model that was not trained here."""
    return Setup.of(run.config(), run.facts.get("data", {}), pretrained=run.facts.get("from") is not None)


def advice(run: Run, metrics: Metrics, pixels: Mapping[str, float] | None = None) -> list[str]:
    """Sentences on the run, measured at ``metrics``: too few data or steps, images read too small.

    ``pixels`` are medians of the files' own longer sides by the plural of their modality, where they are known.
    """
    rows, setup, start = MetricsLog(run.path / "metrics.jsonl").rows(), setup_of(run), start_from_towers()
    found = [
        too_few_files(metrics, rows, setup, start),
        still_rising(rows, setup),
        read_small(setup, pixels or {}, start),
    ]
    return [sentence for sentence in found if sentence is not None]


def next_deed(level: Level, config: Mapping[str, Any], facts: Mapping[str, Any]) -> Deed:
    """The one thing to do about a run of this quality, from its ``config.json`` and ``run.json``."""
    setup = Setup.of(config, facts.get("data", {}), pretrained=facts.get("from") is not None)
    usual = usual_steps(max(1, setup.items), setup.batch_size, setup.generates) if setup else 0
    return deed(level, Known(setup, facts, usual, start_from_towers()))


def start_from_towers() -> str:
    """The command that trains on published towers."""
    return f"cospace train ... --recipe {TOWERS}"


def kept(run: Run) -> str | None:
    """Which evaluation's weights the run has, where the last was not the best."""
    return describe_kept(run.facts)

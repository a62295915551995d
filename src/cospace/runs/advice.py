"""What a person can do about a finished run's figures, from everything that the run says of itself."""

from __future__ import annotations

from ..evaluation.advice import Setup, describe_kept, too_few_files
from ..types import Metrics
from .metrics_log import MetricsLog
from .run import Run

TOWERS = "towers"
"""The recipe that joins published towers."""


def setup_of(run: Run) -> Setup | None:
    """How a run was trained; nothing of a model that was not trained here."""
    return Setup.of(run.config(), run.facts.get("data", {}), pretrained=run.facts.get("from") is not None)


def advice(run: Run, metrics: Metrics) -> list[str]:
    """Sentences on the run, measured at ``metrics``: that its data are too few to start from nothing."""
    rows = MetricsLog(run.path / "metrics.jsonl").rows()
    sentence = too_few_files(metrics, rows, setup_of(run), start_from_towers())
    return [] if sentence is None else [sentence]


def start_from_towers() -> str:
    """The command that trains on published towers."""
    return f"cospace train ... --recipe {TOWERS}"


def kept(run: Run) -> str | None:
    """Which evaluation's weights the run has, where the last was not the best."""
    return describe_kept(run.facts)

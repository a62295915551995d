"""Which evaluation's weights a run keeps, and when it stops early.

As elsewhere (Keras' ``restore_best_weights``, Hugging Face's ``load_best_model_at_end``) the best evaluation is kept;
with two differences. Evaluations are compared on the same queries, so their difference has a standard error that can be
computed, and where a run has ended as planned, its rate decayed to nothing, an earlier evaluation must be better by
more than two of them (decision 28; with one it is the rule of Breiman et al. 1984, section 3.4.3): the maximum of
several equal ones is above the last by luck alone. A run that was stopped early has no such end, and keeps its best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from ..types import Metrics

ERRORS = 2.0
"""Standard errors by which an earlier evaluation must be better than the last one: 95 % of a normal distribution."""

WAITS, WAITED = 0.05, 10.0
"""Share of a training's time, and seconds of it, from which on it is said that it waited for data."""

Keep = Literal["best", "last"]
"""Which weights a run ends with."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation measured.

    ``score_G`` has a number for each of ``G`` independent groups of validation items; their sum is the score, higher is
    better. An evaluation that scores nothing has none, and then the last one is kept.
    """

    metrics: Metrics = field(default_factory=dict)
    score_G: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def score(self) -> float:
        """The number that evaluations are compared by."""
        return float(self.score_G.sum())


@dataclass(frozen=True, slots=True)
class Candidate:
    """An evaluation after a step; plain data, since checkpoints hold it."""

    step: int
    score: float
    metrics: Metrics
    score_G: list[float]

    def plain(self) -> dict[str, Any]:
        """What people are shown of it: the step, the score and the metrics."""
        return {"step": self.step, "score": self.score, **self.metrics}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of so many planned ``steps`` kept; all nothing where it was never evaluated."""

    steps: int
    kept: Candidate | None
    best: Candidate | None
    last: Candidate | None
    least_difference: float = 0.0
    """How much better than the last score an earlier one had to be."""
    wait_share: float | None = None
    """The share of the training's time, 0 to 1, that was spent waiting for data."""
    waited: float = 0.0
    """That time in seconds."""

    @property
    def waited_long(self) -> bool:
        """Whether so much of the time was spent waiting for data that people should know."""
        return (self.wait_share or 0.0) > WAITS and self.waited > WAITED

    def plain(self) -> dict[str, Any]:
        """As JSON data, for ``run.json``."""
        if self.kept is None or self.last is None:
            return {}
        best = None if self.best is None else self.best.plain()
        found = {"steps": self.steps, "kept_step": self.kept.step, "best": best, "last": self.last.plain()}
        return {**found, "least_difference": self.least_difference}

    def metrics(self) -> Metrics:
        """The numbers among ``metrics.json``."""
        found: Metrics = {} if self.kept is None else {"kept_step": float(self.kept.step)}
        for name, one in (("best", self.best), ("last", self.last)):
            found |= {} if one is None else {f"{name}/step": float(one.step), f"{name}/score": one.score}
        return found


class Selection:
    """The best and the last evaluation so far, and how many have brought no improvement since.

    ``patience`` is how many such evaluations in a row stop the run; ``None`` never stops it.
    """

    def __init__(self, keep: Keep = "best", patience: int | None = None) -> None:
        self.keep, self.patience = keep, patience
        self.best: Candidate | None = None
        self.last: Candidate | None = None
        self.without_improvement = 0

    def add(self, step: int, evaluation: Evaluation) -> bool:
        """Take note of an evaluation; true where it is the best so far, of equals the latest."""
        self.last = now = Candidate(step, evaluation.score, dict(evaluation.metrics), evaluation.score_G.tolist())
        if not now.score_G:
            return False
        improved = self.best is None or now.score > self.best.score
        self.without_improvement = 0 if improved else self.without_improvement + 1
        if self.best is not None and now.score < self.best.score:
            return False
        self.best = now
        return True

    @property
    def stops(self) -> bool:
        """Whether ``patience`` evaluations in a row have brought no improvement."""
        return self.patience is not None and self.without_improvement >= self.patience

    def kept(self, steps: int) -> Candidate | None:
        """The evaluation whose weights a run of so many planned steps keeps; nothing before the first one."""
        best, last = self.best, self.last
        if best is None or last is None or self.keep == "last" or best.step == last.step:
            return last
        if last.step < steps:
            return best
        return best if best.score - last.score > self.least_difference else last

    @property
    def least_difference(self) -> float:
        """How much better than the last score the best one must be to be kept after all planned steps."""
        return ERRORS * standard_error(self.best.score_G, self.last.score_G) if self.best and self.last else 0.0

    def state(self) -> dict[str, Any]:
        """Everything as JSON data, for a checkpoint."""
        found = {name: one and asdict(one) for name, one in (("best", self.best), ("last", self.last))}
        return {**found, "without_improvement": self.without_improvement}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        self.best, self.last = (state[name] and Candidate(**state[name]) for name in ("best", "last"))
        self.without_improvement = int(state["without_improvement"])


def standard_error(one_G: list[float], other_G: list[float]) -> float:
    """Standard error of the difference of two sums over the same independent groups; 0 where there are not two."""
    if len(one_G) != len(other_G) or len(one_G) < 2:
        return 0.0
    difference_G = np.array(one_G) - np.array(other_G)
    return float(np.sqrt(len(one_G)) * difference_G.std(ddof=1))

"""How many steps fit into a time: what a training costs in seconds, and the most steps that stay within a budget.

Pure functions of what was measured, so that a budget is decided the same way by hand, in a test and in a run.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

AIM = 0.96
"""Share of the minutes that an estimate may fill: a step takes longer among many than it did alone, and other work
comes in between, more often than the opposite."""

FEWEST = 20
"""Steps that are trained however short the time is: fewer leave a space as it began."""

MOST = 10_000_000
"""Steps that no budget exceeds."""

ENOUGH = 0.5
"""Share of the usual steps below which images are made smaller, so that more fit: a space that has taken fewer is still
far from what it comes to, and details matter less to it than steps."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a training whose steps cost the same: its share of the steps, 0 to 1, and the seconds of one."""

    share: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What is still to come of a training, in seconds."""

    phases: tuple[Phase, ...]
    """Its steps, in their order; the shares add up to 1."""
    batch_size: int = 1
    new_item: float = 0.0
    """Once for every item that is prepared while the training runs."""
    new_items: int = 0
    """How many such items there are at most."""
    evaluation: float = 0.0
    """An evaluation on the way."""
    save: float = 0.0
    """A checkpoint."""
    save_every: float = 30.0
    """Least time between two checkpoints."""
    last: float = 0.0
    """All that comes after the last step: the evaluation of the finished run, saving it, the report."""

    @property
    def step(self) -> float:
        """A step, on average over the phases."""
        return sum(phase.share * phase.seconds for phase in self.phases)

    def training(self, done: int, steps: int, evaluations: int) -> float:
        """The first ``done`` of so many steps, with the evaluations and checkpoints among them."""
        stepping, begins = self.new_item * min(self.new_items, done * self.batch_size), 0.0
        for phase in self.phases:
            stepping += phase.seconds * max(0.0, min(done, steps * (begins + phase.share)) - steps * begins)
            begins += phase.share
        evaluated = evaluations * done / max(1, steps)
        saves = evaluated + (min(done, stepping / self.save_every) if self.save_every else done)
        return stepping + evaluated * self.evaluation + saves * self.save

    def total(self, steps: int, evaluations: int) -> float:
        """All of it."""
        return self.training(steps, steps, evaluations) + self.last

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Costs:
        """The inverse of ``dataclasses.asdict``."""
        return cls(**{**plain, "phases": tuple(Phase(**phase) for phase in plain["phases"])})


def most_steps(costs: Costs, seconds: float, evaluations: Callable[[int], int], most: int | None = None) -> int:
    """The most steps that end within so many seconds, at least :data:`FEWEST` and at most ``most``.

    ``evaluations`` says how often a run of so many steps is evaluated on the way, never less often where it has more.
    """
    highest = max(FEWEST, MOST if most is None else most)
    fitting = bisect_right(range(highest + 1), seconds, key=lambda steps: costs.total(steps, evaluations(steps)))
    return max(FEWEST, fitting - 1)


def too_few(steps: float, usual: int) -> bool:
    """Whether so many steps are so few beside the usual ones that smaller images, and more steps, teach more."""
    return steps < ENOUGH * usual


@dataclass(frozen=True, slots=True)
class Plan:
    """What a budget of minutes has chosen, and what it was chosen by; fixed before the first step."""

    minutes: float
    steps: int
    smaller: bool
    """Whether items are read at a smaller size than usual."""
    generated: int
    """Most items that the evaluation of the finished run captions, and questions that it answers."""
    evaluations: int
    costs: Costs
    spent: float
    """Seconds that were over when it was chosen."""

    @property
    def seconds(self) -> float:
        """About how long the whole command takes."""
        return self.spent + self.costs.total(self.steps, self.evaluations)

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Plan:
        """The inverse of :meth:`plain`."""
        return cls(**{**plain, "costs": Costs.of(plain["costs"])})

    def left(self, start: int, done: int, elapsed: float) -> float:
        """Seconds to the end of the command, ``elapsed`` seconds after step ``start``, with ``done`` steps done.

        What is left is as much slower or faster than planned as what was done since.
        """
        planned = self._until(done) - self._until(start)
        ratio = elapsed / planned if planned > 0 else 1.0
        return max(0.0, ratio * (self.costs.total(self.steps, self.evaluations) - self._until(done)))

    def _until(self, done: int) -> float:
        return self.costs.training(done, self.steps, self.evaluations)


def mean(seconds: Sequence[float]) -> float:
    """The average; 0 of nothing."""
    return sum(seconds) / len(seconds) if seconds else 0.0

"""Minutes in place of steps: a pilot measures what the training will cost, and the steps follow.

They are chosen once, recorded before the first step, and fixed from then on. So the run is that of the same steps
given by hand, bit for bit, and a killed one goes on with them. Rank 0 decides for all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .. import files
from ..modalities import is_text
from ..ranks import Ranks
from ..runs.identity import BUDGET, check_identity, digest_of, recorded_steps
from ..runs.settings import RunConfig, facts_of, usual_steps
from ..training.budget import AIM, FEWEST, Costs, Plan, most_steps, too_few
from ..types import StorageError, UserError
from .pilot import Pilot
from .training_evaluation import GENERATED_LAST, Rehearsal
from .training_request import Models, TrainArguments, TrainingData, cache_of

PILOT_SHARE, PILOT_SECONDS = 0.04, 15.0
"""Part of the budget, and seconds at most, for the steps that are timed."""

USED = 0.9
"""Part of the time that the steps get, where the evaluations are not measured yet."""

GENERATING = 0.1
"""Part of the budget in which the evaluation of the finished run captions, answers and ranks anew, of fewer items than
usual where all would take longer."""

FEWEST_GENERATED = 50
"""Items that it captions, and so on, at least: a share of fewer says nothing."""

REPORT = 3.0
"""Seconds to save the run and to write its report, on two slow cores."""

LATE = 1.1
"""Times its minutes a command takes before it says why."""


def open_budget(
    request: TrainArguments,
    asked_fitted: tuple[RunConfig, RunConfig],
    data: TrainingData,
    models: Models,
    ranks: Ranks,
) -> Budget | None:
    """The budget of a run that has minutes, not steps; its configurations are the one asked for and the fitted one."""
    asked, fitted = asked_fitted
    if fitted.training.minutes is not None:
        return Budget(request, asked, data, models, ranks)
    if asked.training.minutes is not None:
        request.listener.say("heads in closed form take no steps, so minutes change nothing (--minutes)")
    return None


class Budget:
    """The minutes of one run, and what they became: ``plan``, once it is fixed."""

    def __init__(
        self, request: TrainArguments, asked: RunConfig, data: TrainingData, models: Models, ranks: Ranks
    ) -> None:
        """``asked`` is the configuration before it was fitted, which says what a person left open."""
        assert asked.training.minutes is not None
        self.minutes, self.request, self.asked = asked.training.minutes, request, asked
        self.data, self.models, self.ranks, self.out = data, models, ranks, request.out
        self.plan: Plan | None = None
        self.resumed = self.smaller = False
        self.item_seconds = 0.0
        self._digest = ""
        self._costs: Costs | None = None

    @property
    def seconds(self) -> float:
        """All of it."""
        return 60 * self.minutes

    def elapsed(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self.request.began

    def begin(self, config: RunConfig) -> RunConfig:
        """The fitted configuration with the recorded choice of an unfinished run, or with steps left open.

        In the latter case steps are timed, and images are made smaller where the time is short.
        """
        self._digest = digest_of(config, (self.data.train, self.data.val), self.models.fingerprints)
        recorded = self._recorded() if self.ranks.first else None
        plan = self.ranks.from_first(None if recorded is None else recorded.plain())
        if plan is None:
            return self._measured(config)
        self.plan, self.resumed = Plan.of(plan), True
        self.smaller = self.plan.smaller
        self.request.listener.say(
            f"keeps the {self.plan.steps:,} steps that were chosen for {_minutes(self.minutes)} when this run began"
        )
        return self.fixed(config)

    def identity(self, config: RunConfig) -> str:
        """What the checkpoints of a configuration whose steps are fixed are known by."""
        if not self.ranks.first:
            return ""
        data = self.data.train, self.data.val
        return check_identity(self.out, config, data, self.models.fingerprints, self.request.listener.say)

    def fixed(self, config: RunConfig) -> RunConfig:
        """A fitted configuration with what was chosen, as if a person had given it."""
        assert self.plan is not None
        shrunk = self._smaller(config) if self.resumed and self.smaller else None
        return (shrunk or config).with_steps(self.plan.steps)

    def _recorded(self) -> Plan | None:
        """What an earlier start of the same command has chosen. Raises :class:`UserError` where another one did."""
        path, unfinished = self.out / BUDGET, any((self.out / "checkpoints").glob("step-*"))
        if not path.exists():
            if unfinished:
                raise UserError(f"{self.out} holds an unfinished run without --minutes; {_by_hand(self.out)}")
            return None
        try:
            known = files.read_sealed(path)
        except StorageError as error:
            if not unfinished:
                return None
            raise UserError(f"{error}: it held what --minutes had chosen; {_by_hand(self.out)}") from error
        if known.get("asked") == self._digest:
            return Plan.of(known["plan"])
        if unfinished:
            raise UserError(
                f"{self.out} holds an unfinished run of other settings, data or minutes; choose another --out, or go "
                "on with the command that began it"
            )
        return None

    def _measured(self, config: RunConfig) -> RunConfig:
        """Time steps at the usual size and, where too few of them fit, at a smaller one."""
        training, facts = config.training, facts_of(self.data.train)
        usual = usual_steps(facts.n_items, training.batch_size or 2, bool(config.decoder_tasks))
        limit = min(PILOT_SHARE * self.seconds, PILOT_SECONDS)
        with self._pilot(config.with_steps(usual)) as pilot:
            costs, smaller = pilot.costs(0.0), self._smaller(config)
            fitting = USED * (AIM * self.seconds - self.elapsed()) / max(costs.step, 1e-9)
            shrinks = self.ranks.from_first(smaller is not None and too_few(fitting, usual))
            self._costs = costs if shrinks else pilot.costs(limit, fewest=2)
            self.item_seconds = pilot.item_seconds
        if not shrinks or smaller is None:
            return config
        self.smaller = True
        del pilot  # its weights and the optimizer's would be held beside those of the next
        with self._pilot(smaller.with_steps(usual)) as pilot:
            self._costs, self.item_seconds = pilot.costs(limit, fewest=2), pilot.item_seconds
        return smaller

    def _pilot(self, config: RunConfig) -> Pilot:
        return Pilot(config, self.data.train, self.models, self.ranks, cache_of(self.out, self.ranks) / "pilot")

    def _smaller(self, config: RunConfig) -> RunConfig | None:
        """With items read at a smaller size, where a person left that open, no tower and no decoder has decided it."""
        if self.models.source is not None or config.decoder_tasks:
            return None
        return config.smaller(self.asked)

    def choose(
        self, config: RunConfig, rehearsal: Rehearsal | None, evaluations: Callable[[int], int], prepared: bool
    ) -> RunConfig:
        """Choose the steps, record them and say so; ``prepared``: whether all items were before the first step.

        ``rehearsal`` is known to the first rank, whose word counts.
        """
        chosen = None if rehearsal is None else self._chosen(config, rehearsal, evaluations, prepared)
        self.plan = Plan.of(self.ranks.from_first(None if chosen is None else chosen.plain()))
        if self.ranks.first:
            files.write_sealed(self.out / BUDGET, {"asked": self._digest, "plan": self.plan.plain()})
        self._say(config)
        return self.fixed(config)

    def _chosen(
        self, config: RunConfig, rehearsal: Rehearsal, evaluations: Callable[[int], int], prepared: bool
    ) -> Plan:
        assert self._costs is not None
        generated = GENERATED_LAST
        if rehearsal.generated:
            fitting = int(GENERATING * self.seconds / rehearsal.generated)
            generated = max(FEWEST_GENERATED, min(GENERATED_LAST, fitting))
        further = sum(map(len, self.request.afterwards)) / max(1, len(self.data.val))
        last = rehearsal.last + rehearsal.generated * min(generated, len(self.data.val))
        costs = replace(
            self._costs,
            new_item=0.0 if prepared else self.item_seconds,
            new_items=0 if prepared else self._items_to_prepare(config),
            evaluation=rehearsal.evaluation,
            last=(1 + further) * last + REPORT,
        )
        spent = self.elapsed()
        steps = most_steps(costs, AIM * self.seconds - spent, evaluations, self.request.most_steps)
        return Plan(self.minutes, steps, self.smaller, generated, evaluations(steps), costs, spent)

    def _items_to_prepare(self, config: RunConfig) -> int:
        """Items that are decoded while the training runs; of a stream every item is, every time."""
        if self.data.stream is not None:
            return 1 << 60
        return sum(count for name, count in facts_of(self.data.train).counts.items() if not is_text(name))

    def _say(self, config: RunConfig) -> None:
        """What was chosen, in one line."""
        plan, batch, rows = self.plan, config.training.batch_size or 2, facts_of(self.data.train).rows
        assert plan is not None
        epochs = plan.steps * batch / max(1, rows)
        sizes = [getattr(config.data.of(name), "size", None) for name in config.encoders]
        at = "".join(f" at {size} px" for size in sizes if size)
        small = ", smaller than usual, since the time is short for so many" if plan.smaller else ""
        self.request.listener.say(
            f"{_minutes(self.minutes)}: {plan.steps:,} steps of {batch:,} pairs{at}{small}, about "
            f"{epochs:{'.0f' if epochs >= 10 else '.1f'}} epochs"
        )
        if plan.seconds > LATE * self.seconds:
            self.request.listener.say(
                f"{self.minutes:g} minutes are too few for these pairs: {FEWEST} steps are trained all the same, and "
                f"all takes about {plan.seconds / 60:.1f} minutes"
            )

    def say_late(self, stepping: float) -> None:
        """Where the command took much longer, how long, and why it can; ``stepping``: seconds since the first step."""
        plan, took = self.plan, self.elapsed()
        if plan is None or self.resumed or took <= LATE * self.seconds or plan.seconds > LATE * self.seconds:
            return
        planned = plan.costs.training(plan.steps, plan.steps, plan.evaluations)
        self.request.listener.say(
            f"took {took / 60:.1f} minutes, {self.minutes:g} were given: the steps took "
            f"{stepping / max(planned, 1e-9):.1f} times as long as those that were timed before the first. Other work "
            "on the machine does that, or a processor that slows down; steps stay as they were chosen, so that a run "
            "can be repeated"
        )


def _minutes(number: float) -> str:
    return f"{number:g} minute{'' if number == 1 else 's'}"


def _by_hand(out: Path) -> str:
    """How to go on with an unfinished run whose choice of steps is not known."""
    steps = recorded_steps(out)
    return "remove the run" if steps is None else f"give training.steps={steps} in place of --minutes to go on"

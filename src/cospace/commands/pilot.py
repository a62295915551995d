"""Some steps of a training that is thrown away, to find out what a step costs before the first one that counts.

The pilot has modules, optimizers and prepared items of its own, made from some of the pairs, so that nothing of it is
left in the run. Its steps are real ones: forward, backward and optimizer, at every size that the run goes through.
"""

from __future__ import annotations

import copy
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ..config import part
from ..data.pairs import Pairs
from ..data.prepared import prepare_pairs
from ..data.weights import weighted
from ..evaluators.measures import watch
from ..ranks import Ranks
from ..runs.datasets import training_batches
from ..runs.initialization import initialize
from ..runs.settings import RunConfig
from ..runtime import device
from ..training.budget import Costs, Phase, mean
from ..training.checkpoint import CheckpointFolder
from ..training.loop import HEALTH_EVERY, Learner, Observers, Trainer
from ..types import silent
from .training_request import Models, paired_rows

BATCHES = 2
"""Batches whose pairs are prepared for the pilot."""

MOST_TIMED = 20
"""Steps of each phase that are timed at most: their mean is then known better than the machine keeps its speed."""


class Laps:
    """Seconds between two moments."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last call."""
        before, self._last = self._last, time.monotonic()
        return self._last - before


class Pilot:
    """A training with a fitted configuration on some of the pairs; a context, since it writes into ``folder``.

    All ranks take part in everything.
    """

    def __init__(self, config: RunConfig, pairs: Pairs, models: Models, ranks: Ranks, folder: Path) -> None:
        self.config, self.ranks, self.folder = config, ranks, folder
        self.batch_size = config.training.batch_size or len(pairs)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # of a pilot that was killed
        # Towers that learn would be changed, and the run's own start from what was published.
        initial = initialize(config, pairs, copy.deepcopy(models.source))
        chosen = np.linspace(0, len(pairs) - 1, min(len(pairs), BATCHES * self.batch_size)).astype(int)
        laps = Laps()
        some = weighted(pairs).select(chosen)
        prepared, preparing = prepare_pairs(some, initial.space.processors, spill=folder / "pairs"), laps.lap()
        if models.teacher is not None:  # whose vectors of all items have been computed by then
            prepared = models.teacher.teach(prepared, initial.space, silent)
            laps.lap()
        batches = training_batches(prepared, initial.space, config, initial.tokenizer)
        self.item_seconds = (preparing + laps.lap()) / len(chosen)
        """What an item takes that is prepared, and encoded where its encoder is frozen, while the training runs."""
        paired = list(paired_rows(prepared.pairs, initial.space.modalities))
        objective = part("objectives", config.objective).build(paired).to(device())  # type: ignore[attr-defined]
        decoder = None if initial.generator is None else initial.generator.decoder
        learner = Learner(initial.space, decoder, initial.lr_scales)
        self.trainer = Trainer(
            learner, objective, config.training, CheckpointFolder(folder / "checkpoints"), Observers(), ranks
        )
        self.batches = self.trainer.own_part(batches)
        self.timed: dict[tuple[float, float], list[float]] = {phase: [] for phase in config.phases()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def costs(self, seconds: float, fewest: int = 1) -> Costs:
        """What a step and a checkpoint cost; ``seconds`` may be spent on it, and ``fewest`` steps a phase are timed."""
        for (begin, end), timed in self.timed.items():
            self._time(begin, end, timed, fewest, seconds / len(self.timed))
        phases = tuple(Phase(end - begin, mean(timed)) for (begin, end), timed in self.timed.items())
        laps = Laps()
        self.trainer.save(1)
        training = self.config.training
        return Costs(phases, self.batch_size, save=laps.lap(), save_every=training.checkpoint_seconds)

    def _time(self, begin: float, end: float, timed: list[float], fewest: int, seconds: float) -> None:
        """Time steps of one phase; before the first a step that allocates and chooses what all later ones use."""
        steps = self.config.training.steps or 0
        first, last = round(begin * steps), max(round(begin * steps), round(end * steps) - 1)
        if not timed:
            self._step(first, steps)
        while self.ranks.from_first(_goes_on(timed, fewest, seconds)):
            timed.append(self._step(min(last, first + 1 + len(timed)), steps))

    def _step(self, number: int, steps: int) -> float:
        """Seconds of a step, the making of its batch included unless other processes will do that."""
        laps = Laps()
        batch = self.batches[number]
        if self.config.training.workers:
            laps.lap()
        _, embeddings = self.trainer.step(batch, steps)
        if not number % HEALTH_EVERY:
            watch(embeddings, batch.matches)
        return laps.lap()


def _goes_on(timed: list[float], fewest: int, seconds: float) -> bool:
    return len(timed) < fewest or (len(timed) < MOST_TIMED and sum(timed) + mean(timed) < seconds)

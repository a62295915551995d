"""What a run is measured by: now and then on its way, at its end, and before its first step to know what that takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..data import near_duplicates
from ..data.prepared import PreparedPairs
from ..evaluators.embedded import EmbeddedPairs, embed_pairs
from ..evaluators.generation import GenerationResults, complaint, generate_predictions
from ..evaluators.measures import calibrate, intervals, measure
from ..evaluators.relevance import Trial, calibrate_search, reliability_of, trials
from ..evaluators.reranking import QUERIES, rerank
from ..evaluators.retrieval_baseline import retrieval_baselines
from ..evaluators.selection import items_per_modality, score_by_group, validation_loss
from ..evaluators.widths import calibrate_widths
from ..models.generation.generator import TextGenerator
from ..models.space import Space, learns
from ..training.loop import FEWEST_EVALUATIONS, TrainingConfig, affordable_evaluations
from ..training.selection import Evaluation
from ..training.step import ALIGNMENT
from ..types import Progress, silent
from .pilot import Laps
from .training_items import RunItems
from .training_request import Listener

GENERATED, GENERATED_LAST = 200, 2000
"""Most items captioned, and questions answered, by an evaluation during training and by that of the finished run."""

REHEARSED = 32
"""Items that are captioned, questions that are answered and queries that are ranked anew to know what one costs."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Seconds, measured before the first step: an evaluation on the way, and the one of the finished run.

    ``generated`` is what each item adds to the latter that is captioned, asked about and ranked anew.
    """

    evaluation: float
    last: float
    generated: float = 0.0


class RunEvaluation:
    """The evaluations of one run; ``trials`` are those of the finished one."""

    def __init__(
        self, space: Space, generator: TextGenerator | None, objective: nn.Module, items: RunItems, listener: Listener
    ) -> None:
        self.space, self.generator, self.objective = space, generator, objective
        self.items, self.listener = items, listener
        self.generated = GENERATED_LAST
        self.trials: list[Trial] = []
        self.widths: Sequence[int] = ()
        """Those that the vectors of the finished run are measured at, beside their own."""

    def how_often(self, training: TrainingConfig) -> Callable[[int], int]:
        """How often so many steps are evaluated; left open, by what it costs, and writing texts costs much."""
        items = items_per_modality(self.items.evaluated)

        def chosen(steps: int) -> int:
            if training.evaluations is not None:
                return training.evaluations
            seen = steps * (training.batch_size or 0)
            return FEWEST_EVALUATIONS if self.generator else affordable_evaluations(items, seen)

        return chosen

    def on_the_way(self, space: Space, batch_size: int | None, rehearsed: bool = False) -> Evaluation:
        """Loss, retrieval and health on some of the validation items, and the score that decides what is kept."""
        embedded = embed_pairs(space, self.items.validated)
        generated = self._generate(self.items.validated, GENERATED, silent, greedy=True, rehearsed=rehearsed)
        metrics = measure(embedded) | generated.metrics
        if learns(space):
            loss = validation_loss(self.objective, embedded, batch_size or len(self.items.train.pairs))
            metrics |= {key if self.generator is None else f"{key}/{ALIGNMENT}": value for key, value in loss.items()}
        return Evaluation(metrics, score_by_group(embedded, generated))

    def finished(self) -> tuple[EmbeddedPairs, GenerationResults]:
        """Everything on all validation items, which calibrate the space."""
        space, progress = self.space, self.listener.progress
        embedded = embed_pairs(space, self.items.val, progress)
        generated = self._generate(self.items.val, self.generated, progress)
        if embedded.both():
            self.trials = trials(space, embedded)
            space.calibration, space.relevance = calibrate(embedded), calibrate_search(self.trials)
        generated.metrics |= calibrate_widths(space, embedded, self.widths)
        generated.metrics |= retrieval_baselines(self.generator, space, embedded, generated)
        generated.metrics |= rerank(self.generator, space, embedded, min(QUERIES, self.generated))
        return embedded, generated

    def _generate(self, val: PreparedPairs, most: int, progress: Progress, **how: Any) -> GenerationResults:
        results = generate_predictions(self.generator, self.space, val, most, progress=progress, **how)
        if not how.get("rehearsed") and (sentence := complaint(results)):
            self.listener.say(sentence)
        return results

    def rehearsed(self, batch_size: int | None, item_seconds: float) -> Rehearsal:
        """Do each part once, on some items, and reckon what all of them take; nothing of it is kept.

        A decoder that has learned nothing writes on and on, so here its texts end where the longest true one does.
        """
        of_some = self.items.validated
        laps = Laps()
        self.on_the_way(self.space, batch_size, rehearsed=True)
        evaluation = laps.lap()
        embedded = embed_pairs(self.space, of_some)
        measure(embedded)
        if embedded.both():
            made = trials(self.space, embedded)
            calibrate(embedded), calibrate_search(made), reliability_of(made), intervals(embedded)
        last = laps.lap() * self._times(self.items.open_val) + self._comparing(of_some)
        if self.items.on_demand:
            last += item_seconds * (len(self.items.open_val.pairs) - len(of_some.pairs))
        if self.generator is None:
            return Rehearsal(evaluation, last)
        laps.lap()
        generated = self._generate(of_some, REHEARSED, silent, rehearsed=True)
        rerank(self.generator, self.space, embedded, REHEARSED)
        each = laps.lap() / min(REHEARSED, len(of_some.pairs))
        retrieval_baselines(self.generator, self.space, embedded, generated)  # embeds all captions of training
        return Rehearsal(evaluation, last + laps.lap(), each)

    def _comparing(self, of_some: PreparedPairs) -> float:
        """Seconds for the search of near-duplicates, where it comes last, after items were prepared on demand."""
        if not self.items.on_demand:
            return 0.0
        laps = Laps()
        found = near_duplicates.signatures(of_some)
        near_duplicates.shares(found, found, {})
        return laps.lap() * self._times(self.items.train)

    def _times(self, pairs: PreparedPairs) -> float:
        """How many times the rows that evaluations on the way use others have."""
        return len(pairs.pairs) / max(1, len(self.items.validated.pairs))

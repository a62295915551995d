"""The items that a run learns from and is measured on, prepared before its first step or on demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..data import near_duplicates
from ..data.leakage import describe_leaks
from ..data.on_demand import OnDemandRows
from ..data.pairs import Pairs
from ..data.prepared import (
    PreparedPairs,
    different_items,
    in_memory,
    prepare_on_demand,
    prepare_pairs,
    settled,
    without_encoder,
)
from ..data.weights import weighted
from ..evaluators.selection import thinned
from ..matches import ModalityPair
from ..modalities import modality
from ..models.space import Space, learns
from ..objectives import FEWEST
from .training_request import Listener, TrainingData, paired_rows

VALIDATED = 1000
"""Most items of a modality that an evaluation during training uses, evenly spaced; a finished run uses all."""


class RunItems:
    """Training and validation pairs with their prepared items, and what the two have in common.

    On demand, validation items are prepared when they are first evaluated, and training items when a step asks for
    them; not where an encoder is frozen, which sees all of them before the first step.
    """

    def __init__(self, data: TrainingData, space: Space, settings: Any, listener: Listener, spill: Path) -> None:
        self._space, self._listener, self._spill = space, listener, spill
        self._most: float = settings.max_bad_fraction
        frozen = not all(map(learns, space.encoders.values()))
        self.streamed = data.stream is not None
        self.on_demand = bool(settings.on_demand) and not frozen and not self.streamed
        self.train, self.open_val = (
            self._prepared(weighted(pairs), name) for pairs, name in ((data.train, "train"), (data.val, "val"))
        )
        self.leaks, self.signatures = dict(data.leaks), dict[str, np.ndarray]()
        if self.prepared_before:
            self._compare(self.train)

    @property
    def prepared_before(self) -> bool:
        """Whether all items that are learned from are prepared before the first step."""
        return not self.on_demand and not self.streamed

    def _prepared(self, pairs: Pairs, name: str) -> PreparedPairs:
        progress, processors = self._listener.progress, self._space.processors
        if self.on_demand:
            return prepare_on_demand(pairs, processors, progress, self._spill / name)
        prepared = prepare_pairs(pairs, processors, progress, self._spill / name)
        sampled = pairs.rows_in_all is not None  # which says little; the windows of a stream are judged together
        prepared.pairs.stop_above(1.0 if sampled else self._most)
        return prepared

    def prepared(self, pairs: Pairs, name: str) -> PreparedPairs:
        """Further pairs, all of them prepared."""
        return self._settled(self._prepared(pairs, name))

    @cached_property
    def val(self) -> PreparedPairs:
        """The validation pairs, all of them prepared."""
        return self._settled(self.open_val)

    @property
    def evaluated(self) -> PreparedPairs:
        """The validation pairs that are evaluated on the way, perhaps not prepared yet."""
        return thinned(self.open_val, VALIDATED)

    @cached_property
    def validated(self) -> PreparedPairs:
        """The same, prepared."""
        return self._settled(self.evaluated)

    def _settled(self, pairs: PreparedPairs) -> PreparedPairs:
        made = settled(pairs, self._listener.progress)
        made.pairs.stop_above(self._most)
        return made

    def paired(self) -> dict[ModalityPair, int]:
        """How many training rows pair two modalities of the space, where some do."""
        return paired_rows(self.train.pairs, self._space.modalities)

    def say_what_is_hardly_used(self, paired: Mapping[ModalityPair, int], batch_size: int | None) -> None:
        """Rows too rare for a batch to contrast them, and validation items that no encoder reads."""
        total = len(self.train.pairs)
        for (first, second), rows in paired.items():
            if rows * (batch_size or total) < FEWEST * total:
                self._listener.say(
                    f"only {rows:,} of {total:,} rows pair {first} with {second}, less than {FEWEST} a batch: little "
                    "is learned from them. Raise training.batch_size, or name their table several times"
                )
        unread = without_encoder(self.open_val.pairs, self._space.modalities)
        if unread:
            self._listener.say(f"{len(unread):,} validation items are not used: {unread[0].reason}")

    def _compare(self, train: PreparedPairs) -> None:
        """What validation shares with training but for its bytes, said once."""
        self.signatures = near_duplicates.signatures(train)
        found = near_duplicates.shares(self.signatures, near_duplicates.signatures(self.val), self.leaks)
        for sentence in describe_leaks(found):
            self._listener.say(f"{self.val.pairs.name}: {sentence}")
        self.leaks |= found

    def set_aside(self) -> dict[str, int]:
        """How many rows and items were of no use, by the kind of problem."""
        train, val = self.train.pairs, self.val.pairs
        problems = (*train.problems, *val.problems, *without_encoder(val, self._space.modalities))
        return dict(Counter(problem.kind for problem in problems))

    def settle_training(self, rows: OnDemandRows | None) -> None:
        """After the last step: set rows aside that turned out to be of no use, and compare what is in memory."""
        if rows is not None:
            self.train = self.train.without(rows.set_aside)
            self._compare(self.train.select(in_memory(self.train)))
            rows.close()

    def golden(self) -> dict[str, Sequence[Any]]:
        """A few small items of each modality that the space embeds."""
        found: dict[str, Sequence[Any]] = {}
        for name in (name for name in self._space.modalities if name in self.train.items):
            raws, _ = different_items(self.train.pairs, name)
            found[name] = modality(name).golden(raws, self.train.items[name])
        return found

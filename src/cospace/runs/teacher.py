"""A teacher: a space whose similarities a run learns to agree with, and its vectors, each item's computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..columns import taken
from ..data.prepared import PreparedPairs
from ..matches import RowVectors
from ..modalities import modality
from ..models.space import Space
from ..objectives.distillation import USUAL_SCALE
from ..types import Progress, UserError
from .features import embedded_raws
from .run import Run
from .settings import RunConfig
from .source import open_source

DISTILLATION = "distillation"
"""The objective that learns from a teacher."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """An earlier run or a published model, as it was named, and the inverse temperature of its cosines."""

    source: str
    run: Run
    scale: float

    @classmethod
    def of(cls, config: RunConfig) -> Teacher | None:
        """The teacher of a run, where it has one. Raises :class:`UserError` where one is missing, or of no use."""
        learns = _distills(config.objective)
        if config.teacher is None:
            if learns:
                raise UserError("objective=distillation learns from a teacher; name it: --teacher RUN, or hf:NAME")
            return None
        if not learns:
            raise UserError("a teacher is learned from by objective=distillation; leave out the other objective")
        run = open_source(config.teacher)
        known = run.logit_scale()
        return cls(config.teacher, run, USUAL_SCALE if known is None else known.scale)

    @property
    def fingerprint(self) -> str:
        """Of its space."""
        return str(self.run.space.fingerprint)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"source": self.source, "fingerprint": self.fingerprint, "logit_scale": self.scale}

    def configured(self, config: RunConfig) -> RunConfig:
        """With the teacher's own temperature in the objective, where that was left open."""
        return config.model_copy(update={"objective": _with_scale(config.objective, self.scale)})

    def teach(self, prepared: PreparedPairs, space: Space, progress: Progress) -> PreparedPairs:
        """The same pairs, whose batches bring the teacher's vectors of every modality that both spaces embed.

        They are computed once and kept by content (:mod:`.features`), float32. Raises :class:`UserError` where fewer
        than two modalities have any: there would be no similarities to agree with.
        """
        own, pairs = self.run.space, prepared.pairs
        names = [name for name in own.modalities if name in space.modalities and name in prepared.item_of_row]
        if len(names) < 2:
            has = ", ".join(own.modalities)
            raise UserError(
                f"the teacher {self.source} embeds {has}, and {pairs.name} has {', '.join(pairs.modalities)}: it takes "
                "two modalities that both have to learn from its similarities"
            )
        vectors = {name: _vectors(own, name, prepared, progress) for name in names}
        return replace(prepared, pairs=replace(pairs, matches=replace(pairs.matches, teacher=vectors)))


def _vectors(space: Space, name: str, prepared: PreparedPairs, progress: Progress) -> RowVectors:
    item_of_row, pairs = prepared.item_of_row[name], prepared.pairs
    present = np.flatnonzero(item_of_row >= 0)
    _, first, place = np.unique(item_of_row[present], return_index=True, return_inverse=True)
    rows = present[first]

    def said(what: str, done: int, total: int) -> None:
        progress(f"the teacher embeds {modality(name).plural}", done, total)

    vectors_ND = embedded_raws(space, name, taken(pairs.items[name], rows), taken(pairs.contents[name], rows), said)
    of_row = np.full(len(item_of_row), -1, np.int64)
    of_row[present] = place
    return RowVectors(vectors_ND, of_row)


def _distills(objective: Mapping[str, Any]) -> bool:
    """Whether an objective is a distillation, or is made of one."""
    return objective["name"] == DISTILLATION or ("of" in objective and _distills(objective["of"]))


def _with_scale(objective: Mapping[str, Any], scale: float) -> dict[str, Any]:
    made = dict(objective)
    if made["name"] == DISTILLATION and made["teacher_logit_scale"] is None:
        made["teacher_logit_scale"] = scale
    elif "of" in made:
        made["of"] = _with_scale(made["of"], scale)
    return made

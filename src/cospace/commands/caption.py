"""Captions by a run's decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..evaluators.generation import CAPTIONS
from ..models.generation.decoding import Generation
from ..runs.run import Run
from ..types import BadItem, Progress, UserError, attempted, silent
from .decoder_inputs import DecoderInputs


def caption(run: Run, items: Sequence[Any], how: Generation = CAPTIONS) -> list[str]:
    """A sentence about each item of the modality that the run's decoder describes."""
    generator = run.need_generator("captions")
    prepared = [prepared_item(run, item) for item in items]
    return [texts[0].text for texts in generator.captions(run.space, iter(prepared), how)]


@dataclass(frozen=True, slots=True)
class JudgedCaption:
    """A caption, and the decoder's own image-text matching score of it (Li et al. 2021); none without such a task.

    The score is between 0 and 1 and no probability: of a demo's captions of 300 unseen scenes 85 % were true, at a
    mean score of 0.98.
    """

    text: str
    itm_score: float | None


def judged_caption(run: Run, item: Any, how: Generation = CAPTIONS) -> JudgedCaption:
    """Of the captions that the decoder finds for an item, the one that it judges to fit best (image-text matching)."""
    generator = run.need_generator("captions")
    prepared = [prepared_item(run, item)]
    found = [answer.text for answer in generator.captions(run.space, iter(prepared), how)[0]]
    if "itm" not in generator.tasks:
        return JudgedCaption(found[0], None)
    pair_P2 = np.stack([np.zeros(len(found), np.int64), np.arange(len(found))], axis=1)
    odds_P = generator.match(run.space, prepared, found, pair_P2)
    best = int(odds_P.argmax())
    return JudgedCaption(found[best], float(1 / (1 + np.exp(-odds_P[best]))))


def caption_inputs(
    run: Run, found: DecoderInputs, how: Generation = CAPTIONS, progress: Progress = silent
) -> list[tuple[str, str]]:
    """Ids and captions of the items that can be read; the others are added to the problems of ``found``."""
    generator = run.need_generator("captions")
    report = partial(progress, "writing captions")
    written = generator.captions(run.space, found.prepared(run), how, report, len(found.entries))
    return [(name, texts[0].text) for name, texts in found.by_id(written)]


def prepared_item(run: Run, raw: Any) -> Tensor:
    """An item as the decoder's encoder reads it; a broken one is the caller's mistake."""
    name = run.need_generator("captions").modality
    prepared = attempted(run.space.processors[name].prepare, raw)
    if isinstance(prepared, BadItem):
        called = raw if isinstance(raw, str | Path) else f"the {name}"
        raise UserError(f"{called} cannot be read: {prepared}") from prepared
    return prepared

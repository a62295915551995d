"""Answers to questions, and whether a text matches, by a run's decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..evaluators.generation import ANSWERS
from ..models.generation.decoding import Generation
from ..models.generation.generator import Answer
from ..runs.run import Run
from ..types import UserError
from .caption import prepared_item


def ask(run: Run, item: Any, question: str, how: Generation = ANSWERS) -> list[Answer]:
    """The likeliest answers to a question about an item, best first, each with its probability.

    A run that learned captions and no answers says whether a text describes the item: yes or no.
    """
    generator = run.need_generator("answers")
    if not question.strip():
        raise UserError(f"the question is empty; ask something about the {generator.modality}")
    if "itm" in generator.tasks and "vqa" not in generator.tasks:
        chance = float(match(run, [item], [question])[0, 0])
        return sorted([Answer("yes", chance), Answer("no", 1 - chance)], key=lambda answer: -answer.confidence)
    return generator.answers(run.space, iter([(prepared_item(run, item), question)]), how)[0]


def match(run: Run, items: Sequence[Any], texts: Sequence[str]) -> np.ndarray:
    """Probabilities ``(n, m)`` that each text describes each item, by the decoder, which reads both together."""
    prepared = [prepared_item(run, one) for one in items]
    pair_P2 = np.stack(np.meshgrid(range(len(prepared)), range(len(texts)), indexing="ij"), axis=-1).reshape(-1, 2)
    odds_P = run.need_generator("image-text matching").match(run.space, prepared, texts, pair_P2)
    chance_NM: np.ndarray = 1 / (1 + np.exp(-odds_P.reshape(len(prepared), len(texts))))
    return chance_NM

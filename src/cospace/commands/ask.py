"""Answers to questions, and whether a text matches, by a run's decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from ..evaluators.generation import ANSWERS
from ..models.generation.decoding import Generation
from ..models.generation.generator import Answer
from ..runs.run import Run
from ..types import Progress, UserError, silent
from .caption import prepared_item
from .decoder_inputs import DecoderInputs


def ask(run: Run, item: Any, question: str, how: Generation = ANSWERS) -> list[Answer]:
    """The likeliest answers to a question about an item, best first, each with its probability.

    A run that learned captions and no answers says whether a text describes the item: yes or no.
    """
    check_question(run, question)
    return _answers(run, iter([prepared_item(run, item)]), question, how, 1)[0]


def ask_inputs(
    run: Run, found: DecoderInputs, question: str, how: Generation = ANSWERS, progress: Progress = silent
) -> list[tuple[str, list[Answer]]]:
    """The same for every item that can be read, by its id; the others are added to the problems of ``found``."""
    check_question(run, question)
    answers = _answers(run, found.prepared(run), question, how, len(found.entries), progress)
    return found.by_id(answers)


def check_question(run: Run, question: str) -> None:
    """Refuse a run that gives no answers, and a question that asks nothing."""
    generator = run.need_generator("answers")
    if not question.strip():
        raise UserError(f"the question is empty; ask something about the {generator.modality}")


def _answers(
    run: Run, items: Iterator[Tensor], question: str, how: Generation, total: int, progress: Progress = silent
) -> list[list[Answer]]:
    generator = run.need_generator("answers")
    if "itm" not in generator.tasks or "vqa" in generator.tasks:
        report = partial(progress, "answering questions")
        return generator.answers(run.space, ((item, question) for item in items), how, report, total)
    prepared = list(items)
    pair_P2 = np.stack([np.arange(len(prepared)), np.zeros(len(prepared), np.int64)], axis=1)
    chances = [float(chance) for chance in _chances(generator.match(run.space, prepared, [question], pair_P2))]
    both = [[Answer("yes", chance), Answer("no", 1 - chance)] for chance in chances]
    return [sorted(pair, key=lambda answer: -answer.confidence) for pair in both]


def _chances(odds_P: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-odds_P)))


def match(run: Run, items: Sequence[Any], texts: Sequence[str]) -> np.ndarray:
    """Probabilities ``(n, m)`` that each text describes each item, by the decoder, which reads both together."""
    prepared = [prepared_item(run, one) for one in items]
    pair_P2 = np.stack(np.meshgrid(range(len(prepared)), range(len(texts)), indexing="ij"), axis=-1).reshape(-1, 2)
    odds_P = run.need_generator("image-text matching").match(run.space, prepared, texts, pair_P2)
    return _chances(odds_P.reshape(len(prepared), len(texts)))

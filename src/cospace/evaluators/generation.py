"""What a decoder writes about the items of some pairs, and how much of it is right."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..config import validate
from ..data.pairs import Pairs
from ..data.prepared import PreparedPairs
from ..evaluation.generation import answer_accuracy, caption_metrics, cider_d, normal_answer, words
from ..modalities import FIELDS, text_modality
from ..models.generation.decoding import Generation
from ..models.generation.generator import Answer, TextGenerator
from ..models.space import Space
from ..types import Metrics, Progress, silent

CAPTIONS = Generation(beams=3, length_penalty=1.0)
"""How captions are made where nothing else is asked for."""

ANSWERS = Generation(beams=5, max_length=16)
"""How answers are found: the five likeliest, with the probability of each."""

CONSTANT = 0.1
"""Where fewer than this share of the captions differ, though the items do, the decoder writes the same for all."""

KINDS = ("kind", "question_type", "type")
"""Columns that name the kind of a question."""

MOST_KINDS = 24
"""Kinds beyond these get no figure of their own."""

QUESTION, ANSWER = FIELDS


@runtime_checkable
class Judge(Protocol):
    """A raw item that knows what it shows, and so whether a caption is true: a generated one."""

    def holds(self, caption: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Prediction:
    """The best caption or answer, one that is true, and whether it is correct (open where that is not known).

    ``score`` is 1 or 0 where it is known, of answers the share of annotators; of other captions their CIDEr-D.
    """

    answer: Answer
    truth: str
    correct: bool | None
    question: str = ""
    score: float = 0.0


@dataclass(slots=True)
class GenerationResults:
    """Predictions by a row of the pairs that shows the item, with their figures."""

    metrics: Metrics = field(default_factory=dict)
    captions: dict[int, Prediction] = field(default_factory=dict)
    answers: dict[int, Prediction] = field(default_factory=dict)


def generate_predictions(
    generator: TextGenerator | None,
    space: Space,
    prepared: PreparedPairs,
    most: int | None = None,
    greedy: bool = False,
    progress: Progress = silent,
    rehearsed: bool = False,
) -> GenerationResults:
    """Caption and answer whatever the decoder was trained for, at most ``most`` items and as many questions.

    ``rehearsed``: to see what it costs, texts end where the longest true one does, as those of a trained decoder do.
    """
    results = GenerationResults()
    if generator is None or generator.modality not in prepared.items:
        return results
    session = _Session(generator, space, prepared, greedy, rehearsed, progress)
    item_of_row = prepared.item_of_row[generator.modality]
    captioned, asked = (_rows_with(prepared, generator.modality, column) for column in (text_modality(), QUESTION))
    if "caption" in generator.tasks and len(captioned):
        results.captions, metrics = session.captions(some(np.unique(item_of_row[captioned]), most))
        results.metrics |= metrics
    if "vqa" in generator.tasks and len(asked):
        results.answers, metrics = session.answers(some(asked, most))
        results.metrics |= metrics
    return results


def _rows_with(prepared: PreparedPairs, described: str, column: str) -> np.ndarray:
    """The rows that have an item to describe and a text in a column; some sets have none, and some rows."""
    if column not in prepared.pairs.items:
        return np.zeros(0, np.int64)
    return np.flatnonzero((prepared.item_of_row[described] >= 0) & (prepared.pairs.keys[column] >= 0))


@dataclass(frozen=True, slots=True)
class _Session:
    """A decoder and the pairs whose items it describes; predictions come with their figures."""

    generator: TextGenerator
    space: Space
    prepared: PreparedPairs
    greedy: bool
    rehearsed: bool
    progress: Progress

    def captions(self, items: np.ndarray) -> tuple[dict[int, Prediction], Metrics]:
        """Captions of items, given by their numbers."""
        name, pairs = self.generator.modality, self.prepared.pairs
        described = (self.prepared.items[name][item] for item in items)
        references, first = true_captions(pairs, self.prepared.item_of_row[name], items)
        how, report = self._how(CAPTIONS, references), self._named("writing captions")
        found = self.generator.captions(self.space, described, how, report, len(items))
        best = {row: texts[0] for row, texts in zip(first, found, strict=True)}
        correct, metrics = judged(pairs, name, {row: answer.text for row, answer in best.items()}, references)
        scores = cider_d([words(best[row].text) for row in first], [[*map(words, truths)] for truths in references])
        predictions = {
            row: Prediction(best[row], truths[0], known, score=score if known is None else float(known))
            for row, truths, score in zip(first, references, scores, strict=True)
            for known in (correct[row],)
        }
        return predictions, metrics

    def answers(self, rows: np.ndarray) -> tuple[dict[int, Prediction], Metrics]:
        """Answers to the questions of some rows; beside their figures those of answering from the question alone."""
        pairs, name = self.prepared.pairs, self.generator.modality
        questions = [pairs.items[QUESTION][row] for row in rows]
        truths = [annotators(pairs, row) for row in rows]
        item_B = self.prepared.item_of_row[name][rows]
        items = {int(item): self.prepared.items[name][item] for item in np.unique(item_B)}
        asked = ((items[int(item)], question) for item, question in zip(item_B, questions, strict=True))
        how, report = self._how(ANSWERS, truths), self._named("answering questions")
        found = self.generator.answers(self.space, asked, how, report, len(rows))
        correct = np.array([answer_accuracy(best[0].text, truth) for best, truth in zip(found, truths, strict=True)])
        predictions = {
            row: Prediction(best[0], Counter(truth).most_common(1)[0][0], bool(share >= 0.5), question, share)
            for row, best, truth, share, question in zip(
                rows.tolist(), found, truths, correct.tolist(), questions, strict=True
            )
        }
        return predictions, self._vqa_metrics(rows, questions, truths, correct)

    def _vqa_metrics(
        self, rows: np.ndarray, questions: Sequence[str], truths: Sequence[list[str]], correct: np.ndarray
    ) -> Metrics:
        metrics = {"vqa/accuracy": float(correct.mean())}
        for kind, of_kind in _kinds(self.prepared.pairs, rows).items():
            metrics[f"vqa/accuracy/{kind}"] = float(correct[of_kind].mean())
        guesses = [self.generator.prior.answer(normal_answer(question)) for question in questions]
        blind = [answer_accuracy(guess, truth) for guess, truth in zip(guesses, truths, strict=True)]
        metrics["vqa/question_only"] = float(np.mean(blind))
        return metrics

    def _how(self, how: Generation, truths: Sequence[Sequence[str]]) -> Generation:
        if self.rehearsed:
            longest = max(len(self.generator.tokenizer.prepare(text)) for texts in truths for text in texts)
            how = changed(how, max_length=max(1, min(how.max_length, longest - 1)))  # the first token is given
        return changed(how, beams=1) if self.greedy else how

    def _named(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.progress(what, done, total)


def judged(
    pairs: Pairs, modality: str, captions: Mapping[int, str], references: Sequence[Sequence[str]]
) -> tuple[dict[int, bool | None], Metrics]:
    """Whether each caption of a row's item is true, where the item knows, and the figures of all of them."""
    correct: dict[int, bool | None] = {}
    for row, caption in captions.items():
        raw = pairs.items[modality][row]
        correct[row] = raw.holds(caption) if isinstance(raw, Judge) else None
    figures = caption_metrics(list(captions.values()), references)
    known = [one for one in correct.values() if one is not None]
    if known:
        figures["accuracy"] = float(np.mean(known))
    return correct, {f"caption/{name}": value for name, value in figures.items()}


def annotators(pairs: Pairs, row: int) -> list[str]:
    """The answers that count as right: those of several annotators where the source has them, or the one there is."""
    try:
        several = json.loads(pairs.extras["answers"][row]) if "answers" in pairs.extras else None
    except json.JSONDecodeError:  # a table's own column of that name, of another form
        several = None
    one = [pairs.items[ANSWER][row]]
    return several if isinstance(several, list) and several and all(isinstance(s, str) for s in several) else one


def changed(how: Generation, **settings: Any) -> Generation:
    """The same with other settings. Raises :class:`UserError` where one is out of range."""
    return validate(Generation, {**how.model_dump(), **settings}, where="generation")


def some(rows: np.ndarray, most: int | None) -> np.ndarray:
    """At most ``most`` of them, evenly spaced."""
    return rows if most is None or len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def true_captions(pairs: Pairs, item_of_row: np.ndarray, items: np.ndarray) -> tuple[list[list[str]], list[int]]:
    """The different captions of each item, and the first row that shows it with one."""
    texts: dict[int, dict[str, None]] = defaultdict(dict)
    first: dict[int, int] = {}
    for row, (item, caption) in enumerate(zip(item_of_row.tolist(), pairs.items[text_modality()], strict=True)):
        if caption is not None:
            texts[item][caption] = None
            first.setdefault(item, row)
    return [list(texts[item]) for item in items.tolist()], [first[item] for item in items.tolist()]


def complaint(results: GenerationResults) -> str | None:
    """What is wrong with the captions, in plain words, or nothing."""
    share = results.metrics.get("caption/distinct", 1.0)
    if len(results.captions) < 20 or share >= CONSTANT:
        return None
    written = Counter(prediction.answer.text for prediction in results.captions.values())
    most, count = written.most_common(1)[0]
    return (
        f"the decoder writes almost the same caption for every item ({count:,} of {len(results.captions):,} times "
        f"{most!r}); train longer, or check that the items are what the captions describe"
    )


def _kinds(pairs: Pairs, rows: np.ndarray) -> dict[str, np.ndarray]:
    column = next((pairs.extras[name] for name in KINDS if name in pairs.extras), None)
    if column is None:
        return {}
    kinds = np.array([column[row] for row in rows])
    named = [kind for kind in np.unique(kinds).tolist() if kind]
    return {kind: kinds == kind for kind in named} if len(named) <= MOST_KINDS else {}

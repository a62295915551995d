"""What a decoder says about the pictures of some pairs, and how much of it is right."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..config import validate
from ..evaluation.generation import answer_accuracy, caption_metrics, normal_answer
from ..fusion.generate import Generation
from ..fusion.teller import Answer, Teller
from ..pairs import Pairs
from ..space import Space
from ..types import Metrics, Progress, silent
from .prepare import Store

CAPTIONS = Generation(beams=3, length_power=1.0)
"""How captions are made where nothing else is asked for."""

ANSWERS = Generation(beams=5, longest=16)
"""How answers are found: the five likeliest, with the probability of each."""

CONSTANT = 0.1
"""Where fewer than this share of the captions differ, though the pictures do, the decoder says the same of all."""

KINDS = ("kind", "question_type", "type")
"""Columns that name the kind of a question."""

MOST_KINDS = 24
"""Kinds beyond these get no figure of their own."""


@runtime_checkable
class Judge(Protocol):
    """A raw picture that knows what it shows, and so whether a caption is true: a generated one."""

    def holds(self, caption: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Remark:
    """The best caption or answer found, one that is true, and whether it is right (open where nobody can tell)."""

    said: Answer
    truth: str
    right: bool | None
    question: str = ""


@dataclass(slots=True)
class Told:
    """What was said, by a row of the pairs that shows the picture, with its figures."""

    metrics: Metrics = field(default_factory=dict)
    captions: dict[int, Remark] = field(default_factory=dict)
    answers: dict[int, Remark] = field(default_factory=dict)


def tell(
    teller: Teller,
    space: Space,
    pairs: Pairs,
    store: Store,
    most: int | None = None,
    greedy: bool = False,
    progress: Progress = silent,
) -> Told:
    """Caption and answer whatever the decoder was taught, of at most ``most`` pictures and as many questions."""
    session = _Session(teller, space, pairs, store, greedy, progress)
    told = Told()
    if "caption" in teller.lessons and "text" in pairs.items:
        told.captions, metrics = session.captions(some(np.unique(store.item_of_row), most))
        told.metrics |= metrics
    if "answer" in teller.lessons and "question" in pairs.items:
        told.answers, metrics = session.answers(some(np.arange(len(pairs)), most))
        told.metrics |= metrics
    return told


@dataclass(frozen=True, slots=True)
class _Session:
    """A decoder and the pairs it is to speak of; what it says comes with its figures."""

    teller: Teller
    space: Space
    pairs: Pairs
    store: Store
    greedy: bool
    progress: Progress

    def captions(self, items: np.ndarray) -> tuple[dict[int, Remark], Metrics]:
        """Captions of pictures, given by their items."""
        pictures = (self.store.images_N3SS[item] for item in items)
        how, tell = self._how(CAPTIONS), self._named("writing captions")
        found = self.teller.captions(self.space, pictures, how, tell, len(items))
        references, first = true_captions(self.pairs, self.store.item_of_row, items)
        best = {row: texts[0] for row, texts in zip(first, found, strict=True)}
        right, metrics = judged(self.pairs, {row: said.text for row, said in best.items()}, references)
        remarks = {row: Remark(best[row], truths[0], right[row]) for row, truths in zip(first, references, strict=True)}
        return remarks, metrics

    def answers(self, rows: np.ndarray) -> tuple[dict[int, Remark], Metrics]:
        """Answers to the questions of some rows, and beside their figures those of guessing without the pictures."""
        questions = [self.pairs.items["question"][row] for row in rows]
        truths = [annotators(self.pairs, row) for row in rows]
        item_B = self.store.item_of_row[rows]
        pictures = {int(item): self.store.images_N3SS[item] for item in np.unique(item_B)}
        asked = ((pictures[int(item)], question) for item, question in zip(item_B, questions, strict=True))
        how, tell = self._how(ANSWERS), self._named("answering questions")
        found = self.teller.answers(self.space, asked, how, tell, len(rows))
        right = np.array([answer_accuracy(best[0].text, truth) for best, truth in zip(found, truths, strict=True)])
        metrics = {"vqa/accuracy": float(right.mean())}
        for kind, of_kind in _kinds(self.pairs, rows).items():
            metrics[f"vqa/accuracy/{kind}"] = float(right[of_kind].mean())
        guesses = [self.teller.prior.answer(normal_answer(question)) for question in questions]
        blind = [answer_accuracy(guess, truth) for guess, truth in zip(guesses, truths, strict=True)]
        metrics["vqa/question_only"] = float(np.mean(blind))
        remarks = {
            row: Remark(best[0], Counter(truth).most_common(1)[0][0], bool(share >= 0.5), question)
            for row, best, truth, share, question in zip(rows.tolist(), found, truths, right, questions, strict=True)
        }
        return remarks, metrics

    def _how(self, how: Generation) -> Generation:
        return changed(how, beams=1) if self.greedy else how

    def _named(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.progress(what, done, total)


def judged(
    pairs: Pairs, captions: Mapping[int, str], references: Sequence[Sequence[str]]
) -> tuple[dict[int, bool | None], Metrics]:
    """Whether each caption of a row's picture is true, where the picture knows, and the figures of all of them."""
    right: dict[int, bool | None] = {}
    for row, caption in captions.items():
        raw = pairs.items["image"][row]
        right[row] = raw.holds(caption) if isinstance(raw, Judge) else None
    figures = caption_metrics(list(captions.values()), references)
    known = [one for one in right.values() if one is not None]
    if known:
        figures["true"] = float(np.mean(known))
    return right, {f"caption/{name}": value for name, value in figures.items()}


def annotators(pairs: Pairs, row: int) -> list[str]:
    """The answers that count as right: those of several annotators where the source has them, or the one there is."""
    try:
        several = json.loads(pairs.extras["answers"][row]) if "answers" in pairs.extras else None
    except json.JSONDecodeError:  # a table's own column of that name, of another form
        several = None
    one = [pairs.items["answer"][row]]
    return several if isinstance(several, list) and several and all(isinstance(s, str) for s in several) else one


def changed(how: Generation, **settings: Any) -> Generation:
    """The same with other settings. Raises :class:`UserError` where one is out of range."""
    return validate(Generation, {**how.model_dump(), **settings}, where="generation")


def some(rows: np.ndarray, most: int | None) -> np.ndarray:
    """At most ``most`` of them, evenly spaced."""
    return rows if most is None or len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def true_captions(pairs: Pairs, item_of_row: np.ndarray, items: np.ndarray) -> tuple[list[list[str]], list[int]]:
    """The different captions of each picture, and the first row that shows it."""
    texts: dict[int, dict[str, None]] = defaultdict(dict)
    first: dict[int, int] = {}
    for row, item in enumerate(item_of_row.tolist()):
        texts[item][pairs.items["text"][row]] = None
        first.setdefault(item, row)
    return [list(texts[item]) for item in items.tolist()], [first[item] for item in items.tolist()]


def complaint(told: Told) -> str | None:
    """What is wrong with the captions, in plain words, or nothing."""
    share = told.metrics.get("caption/distinct", 1.0)
    if len(told.captions) < 20 or share >= CONSTANT:
        return None
    most, count = Counter(remark.said.text for remark in told.captions.values()).most_common(1)[0]
    return (
        f"the decoder says almost the same of every picture ({count:,} of {len(told.captions):,} times {most!r}); "
        "train longer, or check that the pictures are what the captions speak of"
    )


def _kinds(pairs: Pairs, rows: np.ndarray) -> dict[str, np.ndarray]:
    column = next((pairs.extras[name] for name in KINDS if name in pairs.extras), None)
    if column is None:
        return {}
    kinds = np.array([column[row] for row in rows])
    named = [kind for kind in np.unique(kinds).tolist() if kind]
    return {kind: kinds == kind for kind in named} if len(named) <= MOST_KINDS else {}

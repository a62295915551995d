"""What a decoder writes is measured where there is something to compare it with, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import pytest

from cospace.data.pairs import Pairs, build, join_pairs
from cospace.data.prepared import PreparedPairs, different_items, prepare_pairs
from cospace.data.sources import Rows
from cospace.evaluators.generation import generate_predictions, true_captions
from cospace.modalities.image.processing import ImageProcessor
from cospace.models.generation.generator import Answer
from cospace.models.generation.prior import FrequencyBaseline


class Constant:
    """A decoder that writes the same about everything, and keeps what it was asked."""

    modality = "image"
    tasks = ("caption", "vqa", "itm")
    prior = FrequencyBaseline.of([], [])

    def __init__(self) -> None:
        self.described = 0
        self.questions: list[str] = []

    def captions(self, space: Any, items: Iterable[Any], *how: Any) -> list[list[Answer]]:
        self.described = len(list(items))
        return [[Answer("a cat", 0.5)]] * self.described

    def answers(self, space: Any, asked: Iterable[tuple[Any, str]], *how: Any) -> list[list[Answer]]:
        self.questions += [question for _, question in asked]
        return [[Answer("yes", 0.5)]] * len(self.questions)


def image(number: int) -> np.ndarray:
    return np.full((4, 4, 3), number, np.uint8)


@pytest.fixture
def joined() -> Pairs:
    """Two images with captions, of which one has two; and questions about one of them and about another one."""
    captioned = {"image": [image(0), image(0), image(1)], "text": ["a cat", "one cat", "a dog"]}
    asked = {"image": [image(0), image(2)], "question": ["is it a cat?", "is it red?"], "answer": ["yes", "no"]}
    parts = (captioned, asked)
    return join_pairs([build(f"p{n}", Rows([f"{n}{row}" for row in "abc"[: len(part["image"])]], part))
                       for n, part in enumerate(parts)])  # fmt: skip


def prepared(pairs: Pairs) -> PreparedPairs:
    return prepare_pairs(pairs, {"image": ImageProcessor(size=8)})


def test_images_without_captions_and_questions_that_nobody_asked_are_left_out(joined: Pairs) -> None:
    decoder = Constant()
    results = generate_predictions(cast(Any, decoder), cast(Any, None), prepared(joined))
    assert decoder.described == 2
    assert decoder.questions == ["is it a cat?", "is it red?"]
    assert [prediction.truth for prediction in results.captions.values()] == ["a cat", "a dog"]
    assert [prediction.truth for prediction in results.answers.values()] == ["yes", "no"]
    assert results.metrics["vqa/accuracy"] == 0.5
    assert 0 < results.metrics["caption/BLEU-1"] < 1


def test_a_set_without_either_has_no_such_figures(joined: Pairs) -> None:
    for rows, column in (([0, 1, 2], "vqa"), ([3, 4], "caption")):
        results = generate_predictions(cast(Any, Constant()), cast(Any, None), prepared(joined.select(rows)))
        assert results.metrics
        assert not [key for key in results.metrics if key.startswith(f"{column}/")]


def test_true_captions_are_those_of_all_rows_of_an_item(joined: Pairs) -> None:
    _, item_of_row = different_items(joined, "image")
    references, first = true_captions(joined, item_of_row, np.array([1, 0]))
    assert references == [["a dog"], ["a cat", "one cat"]]
    assert first == [2, 0]

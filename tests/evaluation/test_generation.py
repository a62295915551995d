"""Caption and answer metrics: worked by hand, beside the COCO evaluation where that is installed, and their limits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cospace.evaluation.generation import (
    answer_accuracy,
    bleu,
    caption_metrics,
    cider_d,
    common_length,
    normal_answer,
    rouge_l,
    words,
)

PREDICTED = ["a man rides a horse", "two dogs play", "a red bus on the road", "the the the the"]
TRUE = [
    ["a man is riding a horse", "man on a horse in a field"],
    ["two dogs play in the snow", "dogs running", "two dogs play"],
    ["a bus drives down a street"],
    ["the cat sat on the mat", "there is a cat on the mat"],
]
TOKENS, REFERENCES = [words(text) for text in PREDICTED], [[words(text) for text in texts] for texts in TRUE]


def test_bleu_by_hand() -> None:
    """Four words, three of them right; the reference is one word longer, so the penalty is exp(1 - 5 / 4)."""
    found = bleu([words("a red bus stops")], [[words("a red bus is there")]])
    penalty = math.exp(1 - 5 / 4)
    assert found[0] == pytest.approx(3 / 4 * penalty, rel=1e-6)
    assert found[1] == pytest.approx(math.sqrt(3 / 4 * 2 / 3) * penalty, rel=1e-6)


def test_repeating_a_right_word_is_no_gain() -> None:
    """Two of the seven are counted: the most that any reference has (the example of Papineni et al. 2002)."""
    predicted = words("the the the the the the the")
    true = [words("the cat is on the mat"), words("there is a cat on the mat")]
    assert bleu([predicted], [true])[0] == pytest.approx(2 / 7)


def test_rouge_l_by_hand() -> None:
    """Common: police ... the gunman; 3 of 4 words both ways (the example of Lin 2004)."""
    assert rouge_l([words("police kill the gunman")], [[words("police killed the gunman")]]) == [pytest.approx(0.75)]


def test_cider_d_of_the_only_reference_is_ten() -> None:
    found = cider_d([texts[0] for texts in REFERENCES], [[texts[0]] for texts in REFERENCES])
    assert found == [pytest.approx(10.0)] * 4


def test_a_caption_that_is_true_of_another_picture_gains_nothing() -> None:
    turned = [REFERENCES[(place + 1) % 3][0] for place in range(3)]
    assert max(cider_d(turned, REFERENCES[:3])) < 1.0


def test_values_of_the_coco_evaluation() -> None:
    """The same definitions on the same tokens agree to rounding."""
    bleu_scorer = pytest.importorskip("pycocoevalcap.bleu.bleu")
    cider_scorer = pytest.importorskip("pycocoevalcap.cider.cider")
    rouge_scorer = pytest.importorskip("pycocoevalcap.rouge.rouge")
    predicted = {place: [" ".join(tokens)] for place, tokens in enumerate(TOKENS)}
    true = {place: [" ".join(tokens) for tokens in texts] for place, texts in enumerate(REFERENCES)}
    assert bleu(TOKENS, REFERENCES) == pytest.approx(bleu_scorer.Bleu(4).compute_score(true, predicted)[0], abs=1e-6)
    theirs = list(rouge_scorer.Rouge().compute_score(true, predicted)[1])
    assert rouge_l(TOKENS, REFERENCES) == pytest.approx(theirs, abs=1e-6)
    # theirs is CIDEr-D by another name: clipped counts and a penalty on length
    assert cider_d(TOKENS, REFERENCES) == pytest.approx(
        list(cider_scorer.Cider().compute_score(true, predicted)[1]), abs=1e-6
    )


SENTENCES = st.lists(st.sampled_from(["a", "red", "bus", "dog", "runs"]), max_size=8)


@given(predicted=SENTENCES, true=st.lists(SENTENCES, min_size=1, max_size=3))
def test_scores_stay_within_their_bounds(predicted: list[str], true: list[list[str]]) -> None:
    metrics = caption_metrics([" ".join(predicted), "a dog"], [[" ".join(text) for text in true], ["a dog runs"]])
    for name, value in metrics.items():
        assert 0 <= value <= (10 if name == "CIDEr-D" else 1) + 1e-6, name


@given(SENTENCES, SENTENCES)
def test_a_common_subsequence_is_symmetric_and_no_longer_than_either(a: list[str], b: list[str]) -> None:
    assert common_length(a, b) == common_length(b, a) <= min(len(a), len(b))
    assert common_length(a, a + b) == len(a)


def test_words_keep_what_is_inside_them() -> None:
    assert words("A man's T-shirt, isn't it? — 3.") == ["a", "man's", "t-shirt", "isn't", "it", "3"]


@pytest.mark.parametrize(
    ("given_answer", "normal"),
    [("The dog.", "dog"), ("two", "2"), ("None", "0"), ("1,000", "1000"), ("ice-cream", "ice cream"), ("3.5", "3.5")],
)
def test_answers_are_compared_in_their_normal_form(given_answer: str, normal: str) -> None:
    assert normal_answer(given_answer) == normal


def test_one_annotator_is_right_or_wrong_and_ten_are_averaged() -> None:
    assert answer_accuracy("A circle", ["circle"]) == 1.0
    assert answer_accuracy("square", ["circle"]) == 0.0
    # three of ten agree: leaving one of the three out leaves two (2/3), leaving another out leaves three (1)
    assert answer_accuracy("dog", ["dog"] * 3 + ["cat"] * 7) == pytest.approx((3 * 2 / 3 + 7 * 1) / 10)
    assert answer_accuracy("dog", ["dog"] * 4 + ["cat"] * 6) == 1.0

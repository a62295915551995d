"""What a search says of its results: probabilities that come true, in a collection of any size, and words for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cospace.evaluation.relevance import (
    expected_calibration_error,
    fit,
    holding,
    kind_of,
    probabilities_of,
    reliability,
    short_queries,
    shown,
)
from cospace.models.calibration import (
    DOUBT,
    GUESS,
    LIKELY,
    MAYBE,
    SHORT,
    STRONG,
    WHOLE,
    Asked,
    Fit,
    Relevance,
    by_neighbours,
    falling,
    judge,
    match,
    outstanding,
    probabilities,
)

WORDS = ("red", "blue", "green", "small", "large", "circle", "square", "star", "moon", "boat", "left", "right")


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def collection(items: int, noise: float, seed: int) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Items of four words each: vectors that are the sum of their words' seen through noise, and those of words."""
    dice = np.random.default_rng(seed)
    word_WE = unit(np.random.default_rng(0).standard_normal((len(WORDS), 32)))
    chosen = np.stack([dice.permutation(len(WORDS))[:4] for _ in range(items)])
    vectors = unit(word_WE[chosen].sum(1) + noise * dice.standard_normal((items, 32)))
    return vectors, [" ".join(WORDS[word] for word in row) for row in chosen], word_WE


def asked(queries: list[str], word_WE: np.ndarray) -> np.ndarray:
    return unit(np.stack([sum(word_WE[WORDS.index(word)] for word in query.split()) for query in queries]))


@pytest.mark.parametrize("noise", [0.1, 0.25])
def test_probabilities_come_true_for_a_few_words_also_in_a_collection_eight_times_as_large(noise: float) -> None:
    held, captions, word_WE = collection(300, noise, 1)
    queries = short_queries(captions)
    fitted = fit(asked(queries, word_WE) @ held.T, holding(queries, captions), np.ones(len(queries), bool))
    assert fitted is not None
    relevance = Relevance({"text_to_image": {SHORT: fitted}})
    for items in (300, 2400):
        vectors, captions, _ = collection(items, noise, 2)
        queries = short_queries(captions, seed=3)[:200]
        is_match = holding(queries, captions)
        chance = probabilities_of(relevance, "text_to_image", asked(queries, word_WE) @ vectors.T, queries, captions)
        assert chance is not None
        listed = shown(chance, is_match)
        assert len(listed[0]) > 500
        assert expected_calibration_error(*listed) < 0.08  # words in sums of vectors are no softmax
        assert (chance.max(1) >= MAYBE)[is_match.any(1)].mean() >= 0.95


def test_whole_captions_are_calibrated_by_their_pairs_in_a_larger_collection_too() -> None:
    def space_of(queries: int, items: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        dice = np.random.default_rng(seed)
        gallery = unit(dice.standard_normal((items, 64)))
        return unit(gallery[:queries] + 0.3 * dice.standard_normal((queries, 64))), gallery

    query, gallery = space_of(400, 400, 0)
    fitted = fit(query @ gallery.T, np.eye(400, dtype=bool))
    assert fitted is not None
    assert fitted.expected == 1
    for items in (400, 4000):
        query, gallery = space_of(400, items, 1)
        chance = probabilities_of(Relevance({"image_to_text": {WHOLE: fitted}}), "image_to_text", query @ gallery.T)
        assert chance is not None
        # 400 answers in ten bins are off by 0.05 by chance alone
        assert expected_calibration_error(*shown(chance, np.eye(400, items, dtype=bool))) < 0.1
        assert chance.max(1).mean() == pytest.approx((chance.argmax(1) == np.arange(400)).mean(), abs=0.1)


def test_a_space_that_says_nothing_calls_nothing_strong() -> None:
    dice = np.random.default_rng(0)
    scores = unit(dice.standard_normal((300, 64))) @ unit(dice.standard_normal((300, 64))).T
    fitted = fit(scores, np.eye(300, dtype=bool))
    assert fitted is not None
    chance = probabilities_of(Relevance({"image_to_text": {WHOLE: fitted}}), "image_to_text", scores)
    assert chance is not None
    assert chance.max() < MAYBE


def test_the_probabilities_of_a_query_add_up_to_what_can_be_right() -> None:
    cosine = -np.sort(-np.random.default_rng(0).uniform(-0.2, 0.9, (5, 2000)), 1)
    expected = np.array([0.5, 1, 7, 300, 1999.0])
    np.testing.assert_allclose(probabilities(cosine, expected, 0.05).sum(1), expected, rtol=1e-6)
    head, rest = cosine[:, :500], cosine[:, 500::15]
    sampled = probabilities(head, expected, 0.05, (rest, 1500 / rest.shape[1]))
    np.testing.assert_allclose(sampled, probabilities(cosine, expected, 0.05)[:, :500], atol=0.02)


def test_too_few_queries_are_fitted_to_nothing_and_other_directions_have_no_probabilities() -> None:
    scores = np.random.default_rng(0).uniform(size=(99, 200))
    assert fit(scores, np.eye(99, 200, dtype=bool)) is None
    assert fit(np.tile(scores, (3, 1)), np.zeros((297, 200), bool)) is None
    fits = Relevance({"text_to_image": {SHORT: Fit(0.1, 2.0, 100)}})
    assert probabilities_of(fits, "image_to_image", scores) is None
    assert probabilities_of(fits, "text_to_image", scores[:1], ["a b c d e f"]) is None, "only short ones were fitted"
    assert probabilities_of(fits, "text_to_image", scores[:1], ["a b"]) is not None


def test_nothing_is_likely_where_a_word_is_unknown_and_nothing_is_shown_where_all_are() -> None:
    fitted, cosine = Fit(0.01, 1.0, 100), np.linspace(0.9, -0.2, 100)
    assert judge(fitted, Asked(SHORT, 5, 1, 0), cosine)[0] > STRONG
    assert MAYBE < judge(fitted, Asked(SHORT, 0, 1, 1), cosine)[0] <= DOUBT < LIKELY
    assert judge(fitted, Asked(SHORT, 0, 0, 2), cosine)[0] <= GUESS < MAYBE


def test_neighbours_correct_a_score_and_an_item_has_no_say_about_itself() -> None:
    holds = np.repeat([True, False], [40, 160])
    moved = by_neighbours(np.full(200, 0.3), holds)
    assert moved[:20].min() > 0.6
    assert moved[80:].max() < 0.2
    alone = np.zeros(200, bool)
    alone[50] = True
    assert by_neighbours(np.full(200, 0.3), alone)[50] <= 0.3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_what_falls_is_left_and_what_rises_is_levelled(values: list[float]) -> None:
    made = falling(np.array(values))
    assert (np.diff(made) <= 1e-12).all()
    assert made.mean() == pytest.approx(np.mean(values))
    np.testing.assert_allclose(falling(np.sort(values)[::-1]), np.sort(values)[::-1])


def test_words_stand_for_probabilities_and_for_standing_out() -> None:
    assert [match(one) for one in (0.7, 0.69, 0.5, 0.2, 0.19)] == ["strong", "likely", "likely", "maybe", "weak"]
    assert outstanding(np.array([6.0, 4.5, 3.5, 1.0]), 3_000) == ["strong", "likely", "maybe", "weak"]


def test_reliability_is_that_of_the_results_given() -> None:
    chance, right = np.array([0.95, 0.95, 0.25, 0.21]), np.array([True, True, True, False])
    assert [(one.count, one.observed) for one in reliability(chance, right)] == [(2, 0.5), (2, 1.0)]
    assert expected_calibration_error(chance, right) == pytest.approx((2 * 0.05 + 2 * 0.27) / 4)
    assert len(shown(np.array([0.1, 0.2, 0.9]), np.array([True, True, False]))[0]) == 2


def test_short_queries_are_words_of_captions_and_the_same_for_a_seed() -> None:
    captions = [f"a {colour} {shape} on the left of a boat" for colour in WORDS[:5] for shape in WORDS[5:9]]
    queries = short_queries(captions, seed=1)
    assert queries == short_queries(captions, seed=1) != short_queries(captions, seed=2)
    assert {len(query.split()) for query in queries} == {1, 2, 3, 4}
    assert holding(queries, captions).any(1).all()
    assert [kind_of(one) for one in ("a dog", "one two three four", "one two three four five", "???")] == [
        SHORT, SHORT, WHOLE, WHOLE,
    ]  # fmt: skip
    assert [kind_of(one) for one in ("a dog in the grass", "is it of the", "a red star above a blue one on a box")] == [
        SHORT, SHORT, WHOLE,
    ]  # fmt: skip


def test_the_order_of_words_counts_in_whole_captions_and_not_in_short_queries() -> None:
    captions = [
        "a red square above a blue circle",
        "a blue circle above\na red square above",
        "A red square, above a blue CIRCLE!",
    ]
    queries = ["a red square above a blue circle", "circle red square blue", "red square above a blue circle"]
    assert holding(queries, captions).tolist() == [[True, False, True], [True, True, True], [True, False, True]]


def test_how_many_match_is_counted_of_short_queries_alone() -> None:
    """Of others the mean is taken, as a search knows no more."""
    dice = np.random.default_rng(0)
    is_match = np.zeros((200, 400), bool)
    for row in range(200):
        is_match[row, dice.permutation(400)[: 1 + row % 3]] = True
    scores = is_match * 0.5 + 0.1 * dice.standard_normal(is_match.shape)
    counted = np.arange(200) % 2 == 0
    fits = [fit(scores, is_match, which) for which in (None, ~counted & False, counted, counted | True)]
    assert None not in fits
    assert fits[0] == fits[1]
    assert len({one.temperature for one in fits[1:] if one is not None}) == 3


def test_relevance_survives_saving_and_nonsense_is_refused() -> None:
    made = Relevance({"text_to_image": {SHORT: Fit(0.1, 2.0, 100), WHOLE: Fit(0.02, 1.0, 378)}})
    assert Relevance.from_plain(made.plain()) == made
    assert not Relevance.from_plain({})
    for wrong in ({"temperature": 0, "expected": 1, "gallery": 1}, {"temperature": "x", "expected": 1, "gallery": 1}):
        with pytest.raises(ValueError, match=r"."):
            Relevance.from_plain({"text_to_image": {WHOLE: wrong}})

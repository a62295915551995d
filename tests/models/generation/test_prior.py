"""The most frequent answers and captions."""

from __future__ import annotations

from cospace.models.generation.prior import FrequencyBaseline


def test_a_question_has_its_most_frequent_answer_and_any_other_that_of_all() -> None:
    asked = [("what shape", "circle"), ("what shape", "square"), ("what shape", "square"), ("is it red", "yes")]
    prior = FrequencyBaseline.of([], [*asked, ("is it green", "yes"), ("is it blue", "yes")])
    assert prior.answer("what shape") == "square"
    assert prior.answer("is it red") == "yes"
    assert prior.answer("how many") == "yes"
    assert FrequencyBaseline().answer("how many") == ""


def test_captions_are_counted_and_all_of_the_most_frequent_are_given() -> None:
    prior = FrequencyBaseline.of(["a dog", "a cat", "a dog", "a cow", "a cow"], [])
    assert prior.captions == {"a dog": 2, "a cow": 2, "a cat": 1}
    assert prior.most_frequent() == ["a dog", "a cow"]
    assert FrequencyBaseline().most_frequent() == []

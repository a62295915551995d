"""Which questions a decoder says that it was taught."""

from __future__ import annotations

from cospace.data.pairs import built_in
from cospace.evaluation.generation import normal_answer
from cospace.models.generation.prior import suggestions
from cospace.models.generation.questions import FEW, TaughtQuestions

COLOURS = ("red", "green", "blue", "pink", "black", "white", "brown", "grey", "gold", "teal", "cyan", "mauve", "lime")
SHAPES = ("square", "circle", "star", "heart", "cross", "moon", "ring", "cube", "cone", "ball")
PATTERNS = [f"is there {colour} {shape}" for colour in COLOURS for shape in SHAPES]
OLD = ("What is in the image?", "How many are there?", "What colour is it?", "Where was it taken?")
"""What the page suggested to every run."""


def test_a_few_patterns_are_known_and_nothing_else() -> None:
    assert len(PATTERNS) >= FEW
    held_out = PATTERNS[::7]
    taught = TaughtQuestions([question for question in PATTERNS if question not in held_out])
    assert all(taught.knows(question) for question in held_out)
    for question in ("is there red dog", "where is it", "is it red", "how many", "red circle is there", ""):
        assert not taught.knows(question), question


def test_free_questions_that_vary_set_a_lower_bar() -> None:
    """Of questions that hold pairs of words that no other holds, not all pairs can be asked for."""
    free = [
        f"{opening} {thing} {place}"
        for opening in ("who holds", "where is", "what is on", "why is")
        for thing in ("dog", "man", "train", "cup", "bus", "horse")
        for place in ("today", "outside", "in picture")
    ]
    odd = [f"{question} {number}th x{number}" for number, question in enumerate(free * 2)]
    taught = TaughtQuestions(odd)
    assert len(odd) >= FEW
    assert taught.least < 1
    assert taught.knows("where is horse today 200th x200")
    assert not taught.knows("how many colours do you count")


def test_few_questions_must_be_met_in_all_their_words() -> None:
    taught = TaughtQuestions(["what is this", "what is that", ""])
    assert taught.knows("what is this?")
    assert not taught.knows("what was this")


def test_a_run_that_kept_no_questions_refuses_none() -> None:
    assert TaughtQuestions([]).knows("anything at all")


def test_the_demo_knows_its_held_out_questions_and_not_the_old_suggestions() -> None:
    taught = TaughtQuestions({normal_answer(text) for text in built_in("scenes").items["question"][:30_000]})
    held_out = {normal_answer(text) for text in built_in("scenes/heldout").items["question"]}
    assert sum(map(taught.knows, held_out)) >= 0.98 * len(held_out)
    assert not any(taught.knows(normal_answer(question)) for question in OLD)


def test_one_question_of_every_kind_is_suggested_before_the_second_of_any() -> None:
    asked = ["what colour is the cat?"] * 9 + ["what colour is the dog?"] * 8 + ["how many are here?"] * 3 + ["why?"]
    assert suggestions(asked, 3) == ["what colour is the cat?", "how many are here?", "what colour is the dog?"]
    assert suggestions(asked, 99) == suggestions(asked, 4)
    assert suggestions([]) == []

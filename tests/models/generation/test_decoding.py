"""Generated texts: the search finds what it should find, and batches change nothing."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cospace.modalities.text.tokenizer import BEGIN_ID, END_ID, PAD_ID
from cospace.models.generation.decoder import Decoder
from cospace.models.generation.decoding import Generation, Hypothesis, generate, nucleus
from cospace.types import Features, UserError
from models.generation.test_decoder import decoder, images

EMPTY = torch.tensor([BEGIN_ID, END_ID])


def log_p_next(made: Decoder, seen: Features, item: int, prompt: list[int], written: list[int]) -> Tensor:
    """Without a cache: the whole text again for every token; something must be said."""
    logits_V = made.logits(made(torch.tensor([prompt + written]), seen, torch.tensor([item]))[:, -1])[0]
    logits_V[[PAD_ID, BEGIN_ID]] = float("-inf")
    if not written:
        logits_V[END_ID] = float("-inf")
    return logits_V.log_softmax(-1).detach()


def greedy(made: Decoder, seen: Features, item: int, prompt: list[int], longest: int) -> Hypothesis:
    ids: list[int] = []
    total = 0.0
    for _ in range(longest):
        log_p_V = log_p_next(made, seen, item, prompt, ids)
        token = int(log_p_V.argmax())
        total += log_p_V[token].item()
        if token == END_ID:
            break
        ids.append(token)
    return Hypothesis(tuple(ids), total)


@pytest.mark.parametrize("seed", range(4))
def test_one_beam_is_greedy_and_a_batch_is_its_parts(seed: int) -> None:
    made, seen = decoder(seed), images()
    prompts = [EMPTY, torch.tensor([1, 7, 8, 2]), EMPTY, torch.tensor([1, 9, 4, 2]), torch.tensor([1, 5, 2])]
    items = [0, 2, 1, 1, 0]
    found = generate(made, seen, torch.tensor(items), prompts, Generation(max_length=7))
    for prompt, item, texts in zip(prompts, items, found, strict=True):
        expected = greedy(made, seen, item, prompt.tolist(), 7)
        assert len(texts) == 1
        assert texts[0].ids == expected.ids
        assert texts[0].log_probability == pytest.approx(expected.log_probability, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_wide_beams_find_the_likeliest_texts_of_all(seed: int) -> None:
    """Six tokens, three places: every text can be tried."""
    made, seen = decoder(seed, vocabulary=6), images()
    every: dict[tuple[int, ...], float] = {}
    for length in range(1, 4):
        for ids in itertools.product([3, 4, 5], repeat=length):
            total = sum(float(log_p_next(made, seen, 1, [1, 2], list(ids[:i]))[ids[i]]) for i in range(length))
            ending = float(log_p_next(made, seen, 1, [1, 2], list(ids))[END_ID]) if length < 3 else 0.0
            every[ids] = total + ending
    found = generate(made, seen, torch.tensor([1]), [EMPTY], Generation(beams=40, max_length=3))[0]
    expected = sorted(every, key=lambda ids: -every[ids])
    assert [text.ids for text in found] == expected[:40]
    for text in found:
        assert text.log_probability == pytest.approx(every[text.ids], abs=1e-5)
    assert sum(math.exp(text.log_probability) for text in found) == pytest.approx(1.0, abs=1e-5)


def test_longer_texts_are_not_punished_where_length_is_divided_out() -> None:
    made, seen = decoder(3, vocabulary=6), images()
    found = generate(made, seen, torch.tensor([1]), [EMPTY], Generation(beams=40, max_length=3, length_penalty=1.0))[0]
    per_token = [text.log_probability / (len(text.ids) + (len(text.ids) < 3)) for text in found]
    assert per_token == sorted(per_token, reverse=True)


@given(
    logits=st.lists(st.floats(-5, 5), min_size=2, max_size=9),
    top_p=st.floats(0.01, 1.0),
)
def test_a_nucleus_is_the_fewest_likeliest_tokens_that_suffice(logits: list[float], top_p: float) -> None:
    given_BV = torch.tensor([logits], dtype=torch.float64)
    whole_V, cut_V = given_BV.softmax(-1)[0], nucleus(given_BV, top_p)[0]
    kept = cut_V > 0
    assert cut_V.sum().item() == pytest.approx(1.0)
    assert float(whole_V[kept].sum()) >= top_p - 1e-9
    assert float(whole_V[kept].sum() - whole_V[kept].min()) < top_p + 1e-9  # one fewer would not do
    assert not bool((whole_V[~kept] > whole_V[kept].min() + 1e-12).any())
    assert torch.allclose(cut_V[kept], whole_V[kept] / whole_V[kept].sum())


def test_drawn_texts_follow_the_decoders_own_probabilities() -> None:
    made, seen = decoder(2, vocabulary=6), images()
    many = 2_000
    how = Generation(temperature=1.0, max_length=1)
    found = generate(made, seen, torch.ones(many, dtype=torch.long), [EMPTY] * many, how)
    expected_V = log_p_next(made, seen, 1, EMPTY.tolist(), []).exp()
    for token in (3, 4, 5):
        share = sum(texts[0].ids == (token,) for texts in found) / many
        assert share == pytest.approx(float(expected_V[token]), abs=0.045)  # four standard errors of a half
    again = generate(made, seen, torch.ones(many, dtype=torch.long), [EMPTY] * many, how)
    assert found == again


def test_a_little_temperature_is_nearly_greedy() -> None:
    made, seen = decoder(), images()
    cold = generate(made, seen, torch.tensor([0, 1]), [EMPTY] * 2, Generation(temperature=1e-4, max_length=6))
    best = generate(made, seen, torch.tensor([0, 1]), [EMPTY] * 2, Generation(max_length=6))
    assert [texts[0].ids for texts in cold] == [texts[0].ids for texts in best]


def test_settings_out_of_range_are_refused() -> None:
    from cospace.evaluators.generation import CAPTIONS, changed

    with pytest.raises(UserError, match="beams"):
        changed(CAPTIONS, beams=0)

"""Matryoshka: an objective at several widths, how it is configured, and vectors that are cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cospace.objectives import _tiled, fitted_to, matryoshka, sigmoid, softmax, trained_widths
from cospace.runs.settings import resolve
from cospace.training.loop import learned_numbers
from cospace.types import UserError
from test_objectives import pair, same

INNER = {"softmax": softmax.Config(label_smoothing=0.1), "sigmoid": sigmoid.Config()}


@pytest.mark.parametrize("name", INNER)
@pytest.mark.parametrize("small", [0, 100])
def test_it_is_the_sum_over_prefixes_and_so_are_its_gradients(
    name: str, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tiled, "SMALL", small)
    results, groups = [], same(torch.arange(12) // 2)
    of = {"name": name, **INNER[name].model_dump()}
    whole, plain = matryoshka.Config(of=of, widths=(2, 5)).build(), INNER[name].build()
    for objective in (whole, lambda given, matches: sum(plain(cut(given, width), matches) for width in (2, 5, 8))):
        embeddings = {key: rows.double().requires_grad_() for key, rows in pair().items()}
        learned = [*(whole if objective is whole else plain).parameters()]
        loss = objective(embeddings, groups)
        results.append([loss, *torch.autograd.grad(loss, [*embeddings.values(), *learned])])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def cut(embeddings: dict[str, torch.Tensor], width: int) -> dict[str, torch.Tensor]:
    return {name: rows[:, :width] for name, rows in embeddings.items()}


def test_widths_are_recorded_and_one_temperature_is_learned() -> None:
    objective = matryoshka.Config().fitted(64).build()
    assert trained_widths(objective) == [8, 16, 32]
    assert list(learned_numbers(objective)) == ["logit_scale"]
    inside = fitted_to({"name": "distillation", "of": {"name": "matryoshka", "of": "mse"}}, 32)
    assert inside["of"]["widths"] == [8, 16], "an eighth would be too short"


@pytest.mark.parametrize("widths", [(0,), (7, 16), (64,), (8, 100)])
def test_widths_that_vectors_cannot_have_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="embed_dim=64 numbers, so shorter ones have 8 to 63"):
        matryoshka.Config(widths=widths).fitted(64)


def test_vectors_that_are_too_short_to_be_cut_are_refused() -> None:
    with pytest.raises(UserError, match="of 8 numbers or more, and these have embed_dim=15"):
        matryoshka.Config().fitted(15)


def resolved(*overrides: str) -> dict[str, Any]:
    return resolve("small", overrides).objective


def test_it_is_made_of_the_objective_that_there_was() -> None:
    usual = resolved()
    assert usual["label_smoothing"] == 0.1
    assert resolved("objective=matryoshka")["of"] == usual
    assert resolved("objective=matryoshka", "objective.of.label_smoothing=0.3")["of"]["label_smoothing"] == 0.3
    assert resolved("objective=matryoshka", "objective.of=sigmoid")["of"]["name"] == "sigmoid"
    assert resolved("objective=sigmoid", "objective=matryoshka")["of"]["name"] == "sigmoid"
    assert resolved("objective=matryoshka", "objective=matryoshka")["of"] == usual, "not twice"
    assert resolved("objective=matryoshka", "objective=softmax")["name"] == "softmax"
    with pytest.raises(UserError, match="there is no|has no 'sigmoi'|did you mean 'sigmoid'"):
        resolved("objective=matryoshka", "objective.of=sigmoi")


def test_a_teacher_is_learned_from_beside_the_objective_that_there_was() -> None:
    usual = resolved()
    made = resolved("teacher=run")
    assert (made["name"], made["of"], made["weight"]) == ("distillation", usual, 0.5)
    assert resolved("teacher=run", "objective=sigmoid")["of"]["name"] == "sigmoid"
    assert resolved("teacher=run", "objective.weight=0.9")["weight"] == 0.9
    both = resolved("teacher=run", "objective=matryoshka")
    assert (both["name"], both["of"]["name"], both["of"]["of"]) == ("distillation", "matryoshka", usual)
    other = resolved("objective=distillation", "objective=matryoshka", "teacher=run")
    assert (other["name"], other["of"]["name"]) == ("matryoshka", "distillation")

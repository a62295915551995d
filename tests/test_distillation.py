"""Distillation: the divergence from a teacher's similarities, plain and in tiles, and what it is mixed with."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from cospace.matches import BatchMatches, Relation
from cospace.objectives import _tiled, distillation, divided, softmax
from cospace.ranks import ALONE
from test_objectives import Largest, pair, same, sides

TEACHER_WIDTH = 5


def taught(rows: int, seed: int = 9) -> tuple[Tensor, Tensor, float]:
    dice = torch.Generator().manual_seed(seed)
    left, right = torch.randn(2, rows, TEACHER_WIDTH, generator=dice, dtype=torch.float64)
    return left, right, 7.0


def with_teacher(matches: BatchMatches, teacher: tuple[Tensor, Tensor, float]) -> BatchMatches:
    return replace(matches, teacher=dict(zip(("image", "text"), teacher[:2], strict=True)))


def solve(form: str, teacher: tuple[Tensor, Tensor, float], embeddings: list[Tensor], scale: float) -> list[Tensor]:
    """The loss of one form, and its gradients for both sides and the scale."""
    learned = torch.tensor(scale, dtype=embeddings[0].dtype)
    inputs = [values.detach().clone().requires_grad_() for values in [*embeddings, learned]]
    relation = Relation.of_groups(torch.arange(len(embeddings[0])) // 2)
    loss = getattr(distillation, form)(teacher, relation, *inputs)
    return [loss.detach(), *torch.autograd.grad(3 * loss, inputs)]


def test_it_is_the_divergence_of_every_row_and_every_column() -> None:
    embeddings, teacher = sides(6, 4), taught(6)
    ours = 3 * normalize(embeddings[0], dim=1) @ normalize(embeddings[1], dim=1).T
    theirs = 7 * normalize(teacher[0], dim=1) @ normalize(teacher[1], dim=1).T
    losses = []
    for known, found in ((theirs, ours), (theirs.T, ours.T)):
        for i in range(6):
            p = [math.exp(value) / sum(math.exp(v) for v in known[i]) for value in known[i]]
            q = [math.exp(value) / sum(math.exp(v) for v in found[i]) for value in found[i]]
            losses.append(sum(one * math.log(one / other) for one, other in zip(p, q, strict=True)))
    loss = solve("dense", teacher, embeddings, 3.0)[0]
    assert float(loss) == pytest.approx(sum(losses) / 12, rel=1e-9)


def test_who_agrees_with_the_teacher_has_no_loss_and_nothing_to_learn() -> None:
    embeddings = sides(7, 4)
    loss, *gradients = solve("dense", (*(3 * side for side in embeddings), 5.0), embeddings, 5.0)
    assert float(loss) == pytest.approx(0, abs=1e-12)
    assert max(float(one.abs().max()) for one in gradients) < 1e-12


@given(
    rows=st.integers(1, 13),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    leaves=st.sampled_from([1, 2, 8]),
    scale=st.sampled_from([1.0, 30.0]),
)
def test_tiles_in_leaves_of_a_tree_give_the_dense_loss(
    rows: int, height: int, width: int, leaves: int, scale: float
) -> None:
    embeddings, teacher = sides(rows, 4), taught(rows)
    expected = solve("dense", teacher, embeddings, scale)
    with pytest.MonkeyPatch.context() as patch, divided(ALONE, leaves):
        patch.setattr(_tiled, "tile_shape", lambda rows: (height, width))
        for value, reference in zip(solve("tiled", teacher, embeddings, scale), expected, strict=True):
            torch.testing.assert_close(value, reference, rtol=1e-10, atol=1e-10)


def test_a_large_batch_never_holds_a_square_matrix() -> None:
    batch = 2000
    embeddings = {name: rows.requires_grad_() for name, rows in pair(batch, 16).items()}
    matches = with_teacher(same(torch.arange(batch)), taught(batch))
    objective = distillation.Config(of={"name": "softmax"}).build()
    with Largest() as largest:
        objective(embeddings, matches).backward()
    height, width = _tiled.tile_shape(embeddings["image"])
    assert largest.numbers <= height * width


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_a_mixture_and_the_temperature_is_one(weight: float) -> None:
    embeddings, matches, teacher = pair(), same(torch.arange(12)), taught(12)
    objective = distillation.Config(weight=weight, teacher_logit_scale=7.0).build()
    with torch.no_grad():
        objective.of.log_scale["image_text"].fill_(math.log(4.0))
    assert [name for name, _ in objective.named_parameters()] == ["of.log_scale.image_text"]
    plain = softmax.Config(init_logit_scale=4.0).build()(embeddings, matches)
    agreed = partial(distillation.dense, (*(one.float() for one in teacher[:2]), 7.0))
    relation = matches.relation("image", "text")
    expected = (1 - weight) * plain + weight * agreed(relation, *embeddings.values(), torch.tensor(4.0))
    torch.testing.assert_close(objective(embeddings, with_teacher(matches, teacher)), expected)
    torch.testing.assert_close(objective(embeddings, matches), plain, msg="without a teacher it is the objective alone")


def test_modalities_that_the_teacher_does_not_know_have_the_objective_alone() -> None:
    embeddings = {**pair(), "audio": pair(seed=1)["text"]}
    matches, teacher = same(torch.arange(12), "audio"), taught(12)
    pairs = sorted(matches.pairs)
    objective = distillation.Config(weight=1.0).build(pairs)
    plain = softmax.Config().build(pairs)
    unknown = plain(embeddings, matches.only([one for one in pairs if "audio" in one]))
    known = distillation.Config(weight=1.0).build()(
        {name: embeddings[name] for name in ("image", "text")}, with_teacher(same(torch.arange(12)), teacher)
    )
    torch.testing.assert_close(objective(embeddings, with_teacher(matches, teacher)), unknown + known)


def test_an_objective_without_a_temperature_gets_one() -> None:
    objective = distillation.Config(of={"name": "mse"}).build()
    assert [name for name, _ in objective.named_parameters()] == ["log_scale.image_text"]
    objective(pair(), with_teacher(same(torch.arange(12)), taught(12))).backward()
    assert float(objective.log_scale["image_text"].grad.abs()) > 0

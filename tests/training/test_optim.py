"""Optimizers: Muon against a plain reference and torch's own, decay where it belongs, the schedule's shape."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cospace.objectives import softmax
from cospace.training.optim import (
    AdamW,
    Muon,
    OptimConfig,
    _iterate,
    _iterate_gram,
    learning_rate,
    optimizers,
    orthogonalise,
    split,
)


@pytest.mark.parametrize("shape", [(8, 8), (8, 20), (20, 8)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    stack = torch.randn(3, *shape)
    singular = torch.linalg.svdvals(orthogonalise(stack))
    assert singular.min() > 0.5  # the quintic's own band is 0.68 to 1.13 for inputs that are not nearly singular
    assert singular.max() < 1.25


def test_orthogonalising_keeps_the_singular_vectors() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(6, 6, dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrix)
    aligned = u.T @ orthogonalise(matrix[None])[0] @ v.T
    assert (aligned - aligned.diagonal().diag()).abs().max() < 1e-6


@pytest.mark.parametrize("rank", [6, 3])
def test_iterating_on_the_gram_matrix_gives_the_plain_iteration(rank: int) -> None:
    torch.manual_seed(0)
    stack = torch.randn(2, 6, rank, dtype=torch.float64) @ torch.randn(2, rank, 40, dtype=torch.float64)
    stack /= stack.flatten(1).norm(dim=1)[:, None, None]
    plain = _iterate(stack, 5)
    assert torch.allclose(_iterate_gram(stack, 5), plain, atol=1e-12)
    # float32 keeps six digits; the growth of small values (3.4 a step) costs three of them
    assert torch.allclose(_iterate_gram(stack.float(), 5).double(), plain, atol=2e-3)


def test_a_stack_gives_what_single_matrices_give() -> None:
    torch.manual_seed(0)
    stack = torch.randn(4, 6, 10, dtype=torch.float64)
    single = torch.stack([orthogonalise(matrix[None])[0] for matrix in stack])
    assert torch.allclose(orthogonalise(stack), single, atol=1e-12)


def test_adamw_takes_the_steps_of_torchs_adamw() -> None:
    torch.manual_seed(0)
    ours, theirs = ([nn.Parameter(torch.ones(12, 7)), nn.Parameter(torch.ones(5))] for _ in range(2))
    settings = {"lr": 0.1, "betas": (0.9, 0.98), "weight_decay": 0.1}
    mine = AdamW([{"params": ours[:1]}, {"params": ours[1:], "lr": 0.3}], **settings)  # type: ignore[arg-type]
    reference = torch.optim.AdamW([{"params": theirs[:1]}, {"params": theirs[1:], "lr": 0.3}], **settings)  # type: ignore[arg-type]
    for step in range(6):
        if step == 3:  # a state that was saved and read goes on as if nothing had happened
            saved = mine.state_dict()
            mine = AdamW([{"params": ours[:1]}, {"params": ours[1:]}], **settings)  # type: ignore[arg-type]
            mine.load_state_dict(saved)
        for mine_p, their_p in zip(ours, theirs, strict=True):
            mine_p.grad = None if step == 4 and mine_p.ndim == 1 else torch.randn_like(mine_p)
            their_p.grad = mine_p.grad
        mine.step()
        reference.step()
        for mine_p, their_p in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine_p, their_p, rtol=1e-5, atol=1e-6)


def test_muon_takes_the_steps_of_torchs_muon() -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(12, 7)) for _ in range(2))
    mine = Muon([ours], lr=0.1, momentum=0.9, weight_decay=0.1, dtype=torch.bfloat16)
    reference = torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0.1, adjust_lr_fn="original")
    for _ in range(3):
        gradient = torch.randn(12, 7)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        reference.step()
    assert (ours - theirs).abs().max() < 0.02  # three bfloat16 steps of size 0.1: one percent of each


def test_convolutions_are_stepped_as_matrices() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(4, 3, 2, 2))
    kernel.grad = torch.randn_like(kernel)
    gradient = kernel.grad.clone()
    Muon([kernel], lr=1.0, momentum=0.0, weight_decay=0.0, dtype=torch.float32).step()
    assert torch.allclose(kernel.detach().flatten(1), -orthogonalise(gradient.flatten(1)[None])[0], atol=1e-5)


def test_a_fixed_norm_stays_and_zeros_are_free() -> None:
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(6, 4)), torch.nn.Parameter(torch.zeros(6, 4))]
    optimizer = Muon(weights, lr=0.3, momentum=0.9, weight_decay=0.0, dtype=torch.float32, fixed_norm=True)
    norm, before = weights[0].norm().item(), weights[0].detach().clone()
    for step in range(5):
        for weight in weights:
            weight.grad = torch.randn(6, 4)
        optimizer.step()
        assert weights[0].norm().item() == pytest.approx(norm, rel=1e-6), step
    assert not torch.allclose(weights[0], before, atol=0.1)
    assert weights[1].norm() > 0.3

    again = Muon(weights, lr=0.3, momentum=0.9, weight_decay=0.0, dtype=torch.float32, fixed_norm=True)
    again.load_state_dict(optimizer.state_dict())
    weights[0].grad = torch.randn(6, 4)
    again.step()
    assert weights[0].norm().item() == pytest.approx(norm, rel=1e-6)  # remembered, not measured anew


def test_one_row_is_no_matrix() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 1))
    matrices, rest = split(model)
    assert [tuple(p.shape) for p in matrices] == [(3, 4)]
    assert len(rest) == 3


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.map = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.projections = nn.ModuleDict({"text": nn.Linear(4, 2, bias=False)})


def test_matrices_exclude_embeddings_norms_biases_and_projections() -> None:
    module = Small()
    matrices, rest = split(module)
    assert [id(p) for p in matrices] == [id(module.map.weight)]
    assert len(matrices) + len(rest) == len(list(module.parameters()))


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_only_matrices_decay_and_scales_learn_faster(name: str) -> None:
    module, objective = Small(), softmax.Config().build()
    made = optimizers(OptimConfig(name=name, weight_decay=0.3, lr=1e-3), module, objective, torch.float32)  # type: ignore[arg-type]
    adamw = made[-1]
    assert isinstance(adamw, AdamW)
    decayed = [p for group in adamw.param_groups if group["weight_decay"] for p in group["params"]]
    assert [id(p) for p in decayed] == ([] if name == "muon" else [id(module.map.weight)])
    rates = {id(p): group["lr"] for group in adamw.param_groups for p in group["params"]}
    assert rates[id(objective.log_scale["image_text"])] == pytest.approx(1e-2)


def test_the_schedule_warms_up_peaks_and_ends_at_zero() -> None:
    rates = [learning_rate(step, 100, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == max(rates) == 1
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert learning_rate(100, 100, 10) == pytest.approx(0)
    assert learning_rate(55, 100, 10) == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_a_decoder_learns_at_a_rate_of_its_own(name: str) -> None:
    space, decoder, objective = Small(), Small(), softmax.Config().build()
    config = OptimConfig(name=name, decoder_lr_mult=3.0, lr=1e-3, muon_lr=0.02)  # type: ignore[arg-type]
    made = optimizers(config, space, objective, torch.float32, decoder)
    rates = {id(p): group["lr"] for optimizer in made for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == sum(len([*module.parameters()]) for module in (space, decoder, objective))
    for ours, its in zip(space.parameters(), decoder.parameters(), strict=True):
        assert rates[id(its)] == pytest.approx(3 * rates[id(ours)])

"""Objectives against plain references and their papers' limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from cospace.objectives import mse, sigmoid, softmax, vicreg
from cospace.types import Metrics


def pair(batch: int = 12, width: int = 8, seed: int = 0) -> dict[str, torch.Tensor]:
    dice = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, width, generator=dice) for name in ("image", "text")}


def test_softmax_with_one_match_per_row_is_symmetric_infonce() -> None:
    embeddings = pair()
    objective = softmax.Config(scale=7.0).build()
    logits = 7 * normalize(embeddings["image"], dim=1) @ normalize(embeddings["text"], dim=1).T
    labels = torch.arange(12)
    expected = (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
    assert objective(embeddings, labels).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("copies", [2, 8, 64])
def test_a_perfect_space_has_no_softmax_loss_however_often_a_caption_repeats(copies: int) -> None:
    embeddings = {name: torch.eye(4).repeat(copies, 1) for name in ("image", "text")}
    groups = torch.arange(4).repeat(copies)
    objective = softmax.Config(scale=100.0).build()
    assert objective(embeddings, groups).item() <= 1e-3  # the plain form has a floor of ln(copies)
    apart = objective(embeddings, torch.arange(4 * copies)).item()
    assert apart == pytest.approx(math.log(copies), abs=1e-3)


def test_softmax_with_groups_equals_a_plain_loop() -> None:
    embeddings, groups = pair(), torch.arange(12) // 3
    objective = softmax.Config(scale=5.0).build()
    logits = 5 * normalize(embeddings["image"], dim=1) @ normalize(embeddings["text"], dim=1).T
    losses = []
    for table in (logits, logits.T):
        for i in range(12):
            others = [g for g in groups.unique() if g != groups[i]]
            negatives = [table[i, groups == g].exp().mean() for g in others]
            matches = [j for j in range(12) if groups[j] == groups[i]]
            terms = [-(table[i, j].exp() / (table[i, j].exp() + sum(negatives))).log() for j in matches]
            losses.append(sum(terms) / len(terms))
    assert objective(embeddings, groups).item() == pytest.approx(float(sum(losses) / 24), rel=1e-5)


def test_softmax_with_classes_as_captions_is_cross_entropy_over_the_classes() -> None:
    classes, labels = torch.randn(3, 8), torch.arange(12) % 3
    images = torch.randn(12, 8)
    objective = softmax.Config(scale=5.0).build()
    logits = 5 * normalize(images, dim=1) @ normalize(classes, dim=1).T
    rows = 5 * normalize(images, dim=1) @ normalize(classes[labels], dim=1).T
    loss = softmax.classify(rows, labels[:, None] == labels[None, :])
    assert loss.item() == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-5)
    assert torch.isfinite(objective({"image": images, "text": classes[labels]}, labels))


def test_a_batch_of_one_group_has_no_softmax_loss_and_no_nan() -> None:
    embeddings = pair()
    embeddings["image"].requires_grad_()
    loss = softmax.Config().build()(embeddings, torch.zeros(12, dtype=torch.long))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(embeddings["image"].grad).all()


def test_sigmoid_equals_a_plain_loop() -> None:
    embeddings, groups = pair(), torch.arange(12) // 2
    objective = sigmoid.Config(scale=4.0, bias=-2.0).build()
    cosine = normalize(embeddings["image"], dim=1) @ normalize(embeddings["text"], dim=1).T
    total = 0.0
    for i in range(12):
        for j in range(12):
            sign = 1 if groups[i] == groups[j] else -1
            total += math.log1p(math.exp(-sign * (4 * cosine[i, j].item() - 2)))
    assert objective(embeddings, groups).item() == pytest.approx(total / 12, rel=1e-5)


def test_mse_is_the_mean_squared_distance_of_pairs() -> None:
    embeddings = pair()
    expected = (embeddings["image"] - embeddings["text"]).pow(2).sum(1).mean()
    assert mse.Config().build()(embeddings, torch.arange(12)).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_constant_is_perfect_for_mse_and_terrible_for_vicreg() -> None:
    constant = {name: torch.ones(12, 8) for name in ("image", "text")}
    groups = torch.arange(12)
    assert mse.Config().build()(constant, groups).item() == 0
    assert vicreg.Config().build()(constant, groups).item() > vicreg.Config().build()(pair(), groups).item() / 4
    spread_only = vicreg.Config(invariance=0, covariance=0).build()
    assert spread_only(constant, groups).item() == pytest.approx(2 * 25 * (1 - 0.01), rel=1e-4)


def test_vicreg_covariance_is_zero_for_decorrelated_coordinates_only() -> None:
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert vicreg.redundancy(signs).item() == pytest.approx(0, abs=1e-6)
    assert vicreg.redundancy(signs[:, :1].repeat(1, 2)).item() > 1


@pytest.mark.parametrize("config", [softmax.Config(scale=90.0), sigmoid.Config(scale=90.0)])
def test_the_scale_never_exceeds_its_clamp(config: softmax.Config | sigmoid.Config) -> None:
    objective = config.build()
    with torch.no_grad():
        objective.log_scale.fill_(20.0)
    capped = objective(pair(), torch.arange(12))
    with torch.no_grad():
        objective.log_scale.fill_(math.log(100.0))
    assert capped.item() == pytest.approx(objective(pair(), torch.arange(12)).item(), rel=1e-5)


def test_three_modalities_are_averaged_over_their_pairs() -> None:
    both = pair()
    three = {**both, "audio": both["image"]}
    metrics: Metrics = {
        name: mse.Config().build()({k: three[k] for k in keys}, torch.arange(12)).item()
        for name, keys in {"ia": ("image", "audio"), "it": ("image", "text"), "at": ("audio", "text")}.items()
    }
    assert mse.Config().build()(three, torch.arange(12)).item() == pytest.approx(sum(metrics.values()) / 3, rel=1e-6)

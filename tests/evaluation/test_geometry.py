"""The space's health on spaces whose health is known."""

from __future__ import annotations

import time

import pytest
import torch

from cospace.evaluation.geometry import alignment, diagnose, effective_rank, geometry, hubness, uniformity, verdicts
from cospace.evaluation.vectors import unit
from cospace.types import UserError

B, E = 256, 64


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def healthy() -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.randn(B, E)
    return image, image + 0.3 * torch.randn(B, E)


def test_a_healthy_space() -> None:
    metrics = geometry(*healthy())
    assert metrics["space/effective_rank"] > 0.8 * E
    assert metrics["space/uniformity"] < -3
    assert metrics["space/alignment"] < 0.2
    assert abs(metrics["space/mean_cosine"]) < 0.05
    assert metrics["space/modality_gap"] < 0.1
    assert diagnose(metrics, E) is None
    assert {verdict.word for verdict in verdicts(metrics, E)} == {"good"}


@pytest.mark.parametrize("noise", [0.0, 1e-5, 1e-2])
def test_a_constant_space_is_called_collapsed(noise: float) -> None:
    image, text = healthy()
    metrics = geometry(torch.ones(B, E) + noise * torch.randn(B, E), text)
    sentence = diagnose(metrics, E)
    assert sentence is not None
    assert "all images land almost on one point" in sentence
    assert "objective=" in sentence
    assert metrics["space/effective_rank"] == metrics["space/image/effective_rank"]
    assert diagnose(geometry(image, torch.ones(B, E) + noise * torch.randn(B, E)), E).count("all texts") == 1  # type: ignore[union-attr]


def test_a_constant_has_rank_one_in_float32() -> None:
    assert effective_rank(unit(torch.ones(500, 256))) == pytest.approx(1, abs=1e-3)


def test_one_dimension_is_called_a_line() -> None:
    line = torch.randn(B, 1) * torch.randn(1, E)
    metrics = geometry(line, line)
    assert metrics["space/effective_rank"] == pytest.approx(1, abs=1e-3)
    assert "one line" in (diagnose(metrics, E) or "")


def test_ten_classes_are_not_a_collapse() -> None:
    points = torch.randn(10, E)[torch.arange(B) % 10]
    assert diagnose(geometry(points, points + 0.01 * torch.randn(B, E)), E) is None


def test_two_modalities_apart() -> None:
    image, text = healthy()
    towards = torch.zeros(E)
    towards[0] = 8
    sentence = diagnose(geometry(image + towards, text - towards), E)
    assert sentence is not None
    assert "split" in sentence


def test_the_papers_formulas_on_points_known_by_hand() -> None:
    square = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert alignment(square, square.flip(0)) == pytest.approx(4)
    assert uniformity(square @ square.T) == pytest.approx(-8)
    assert effective_rank(torch.eye(5)) == pytest.approx(5)


def test_hubness_sees_one_item_in_every_list() -> None:
    scores = torch.rand(B, B)
    assert abs(hubness(scores)) < 1
    scores[:, 0] = 2
    assert hubness(scores) > 5


def test_errors() -> None:
    image, text = healthy()
    with pytest.raises(UserError, match="at least two"):
        geometry(image[:1], text[:1])
    image[3] = float("nan")
    with pytest.raises(UserError, match="1 of 256 image"):
        geometry(image, text)


def test_it_is_cheap_enough_to_run_while_training() -> None:
    image, text = torch.randn(512, 256), torch.randn(512, 256)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        geometry(image, text)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3  # 20 to 30 ms on an idle core; the margin is for busy machines

"""Retrieval against a plain full-matrix reference, and the ways in which other tools overstate it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospace.evaluation.intervals import interval, intervals, wilson
from cospace.evaluation.retrieval import both_ways, metric_intervals, nearest, ranks, retrieval
from cospace.matches import Matches, Relation
from cospace.types import UserError


def plain_ranks(
    query: np.ndarray, gallery: np.ndarray, qg: np.ndarray, gg: np.ndarray
) -> tuple[list[int], list[float]]:
    """The definition, item by item: a match at place k stands behind every non-match that scores as high."""
    unit = [
        v.astype(np.float64) / np.linalg.norm(v.astype(np.float64), axis=1, keepdims=True) for v in (query, gallery)
    ]
    scores = unit[0] @ unit[1].T
    best, precision = [], []
    for row, group in zip(scores, qg, strict=True):
        places = []
        for k, match in enumerate(sorted(row[gg == group], reverse=True), start=1):
            places.append(k + sum(score >= match - 1e-6 for score in row[gg != group]))
        best.append(places[0])
        precision.append(float(np.mean([k / place for k, place in enumerate(places, start=1)])))
    return best, precision


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    queries=st.integers(1, 12),
    items=st.integers(1, 15),
    groups=st.integers(1, 6),
    tile=st.sampled_from([1, 2, 3, 1024]),
)
def test_ranks_and_precision_equal_the_definition(seed: int, queries: int, items: int, groups: int, tile: int) -> None:
    generator = np.random.default_rng(seed)
    # Small whole numbers make exact ties common.
    query = generator.integers(1, 4, (queries, 3)).astype(np.float32)
    gallery = generator.integers(1, 4, (items + groups, 3)).astype(np.float32)
    qg = generator.integers(0, groups, queries)
    gg = np.concatenate([generator.integers(0, groups, items), np.arange(groups)])
    result = ranks(torch.tensor(query), torch.tensor(gallery), Relation.of_groups(qg, gg), tile=tile)
    best, precision = plain_ranks(query, gallery, qg, gg)
    assert result.rank_N.tolist() == best
    assert result.precision_N.tolist() == pytest.approx(precision, abs=1e-6)
    assert result.matches_N.tolist() == [(gg == g).sum() for g in qg]


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    torch.manual_seed(seed)
    image, text, groups = torch.randn(20, 8), torch.randn(20, 8), torch.arange(20) // 2
    left, right = torch.randperm(20), torch.randperm(20)
    straight = retrieval(image, text, Relation.of_groups(groups))
    assert retrieval(image[left], text[right], Relation.of_groups(groups[left], groups[right])) == pytest.approx(
        straight
    )


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12),
    tile=st.sampled_from([1, 3, 99]),
)
def test_ranks_go_by_what_matches_and_not_by_what_hangs_together(rows: list[tuple[int, int]], tile: int) -> None:
    images, texts = (np.array(column) for column in zip(*rows, strict=True))
    relation = Matches.of({"image": images, "text": texts}).batch(np.arange(len(rows))).relation("image", "text")
    generator = np.random.default_rng(len(rows))
    image, text = (generator.integers(1, 4, (len(rows), 3)).astype(np.float32) for _ in range(2))
    result = ranks(torch.tensor(image), torch.tensor(text), relation, tile=tile)
    match = np.array([[(i, t) in set(rows) for t in texts.tolist()] for i in images.tolist()])
    for row in range(len(rows)):
        best, precision = plain_ranks(image[row : row + 1], text, np.array([True]), match[row])
        assert result.rank_N[row] == best[0]
        assert result.precision_N[row] == pytest.approx(precision[0], abs=1e-6)
    assert result.matches_N.tolist() == match.sum(1).tolist()


def test_a_caption_is_not_credited_for_a_picture_that_never_had_it() -> None:
    """Pictures 1 and 2 are said to be A, 2 and 3 to be B: A finds 1 and 2, never 3."""
    matches = Matches.of({"image": np.array([0, 1, 1, 2]), "text": np.array([0, 0, 1, 1])})
    relation = matches.between("text", "image", np.array([0, 2]), np.array([0, 1, 3]))
    toward_third = torch.tensor([[0.0, 0.0, 1.0]])
    found = ranks(toward_third, torch.eye(3), relation.select(torch.tensor([0])))
    assert found.rank_N.tolist() == [2]
    assert found.matches_N.tolist() == [2]


def test_one_image_in_two_classes_does_not_make_every_answer_right() -> None:
    """Ten cats, ten dogs, one image filed under both, and a space that says cat to everything."""
    images, texts = np.array([*range(20), 3]), np.array([0] * 10 + [1] * 10 + [1])
    matches = Matches.of({"image": images, "text": texts})
    relation = matches.between("image", "text", np.arange(20), np.array([0, 10]))
    says_cat = torch.tensor([[1.0, 0.1]]).repeat(20, 1)
    metrics = retrieval(says_cat, torch.eye(2), relation)
    assert metrics["image_to_text/R@1"] == 10 / 20
    assert metrics["chance/image_to_text/R@1"] == pytest.approx(21 / 40)


def test_known_answer_with_five_captions_a_picture() -> None:
    image = torch.eye(4)
    text = image.repeat_interleave(5, 0)
    text[0] = image[1]
    metrics = retrieval(image, text, Relation.of_groups(torch.arange(4), torch.arange(4).repeat_interleave(5)))
    assert metrics["n_images"] == 4
    assert metrics["n_texts"] == 20
    assert metrics["text_to_image/R@1"] == pytest.approx(19 / 20)
    assert metrics["text_to_image/R@5"] == 1
    assert metrics["image_to_text/median_rank"] == 1
    # Picture 1 has five captions at cosine 1 and one stranger that ties with them and therefore stands before them.
    assert metrics["image_to_text/R@1"] == pytest.approx(3 / 4)
    assert metrics["chance/text_to_image/R@1"] == pytest.approx(1 / 4)
    assert metrics["chance/image_to_text/R@1"] == pytest.approx(5 / 20)


@pytest.mark.parametrize("noise", [0.0, 1e-8])
def test_a_collapsed_space_is_not_better_than_chance(noise: float) -> None:
    vectors = torch.ones(300, 64) + noise * torch.randn(300, 64)
    metrics = retrieval(vectors, vectors.clone(), Relation.of_groups(torch.arange(300)))
    for direction in ("text_to_image", "image_to_text"):
        assert metrics[f"{direction}/R@1"] <= metrics[f"chance/{direction}/R@1"]


def test_a_duplicate_counts_for_its_group_and_against_another() -> None:
    image = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    text = torch.tensor([[1.0, 0.0]])
    assert ranks(text, image, Relation.of_groups(np.array([0]), np.array([0, 0, 1]))).rank_N.tolist() == [1]
    assert ranks(text, image, Relation.of_groups(np.array([0]), np.array([0, 2, 1]))).rank_N.tolist() == [2]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0])
def test_a_broken_row_is_an_error_with_its_count(bad: float) -> None:
    image, text = torch.randn(10, 4), torch.randn(10, 4)
    text[[2, 7]] = bad
    with pytest.raises(UserError, match="2 of 10"):
        retrieval(image, text, Relation.of_groups(torch.arange(10)))


def test_large_and_half_precision_rows_are_scored() -> None:
    vectors = torch.randn(10, 4)
    for scaled in (vectors * 1e30, vectors * 1e-30, vectors.bfloat16()):
        assert retrieval(scaled, scaled, Relation.of_groups(torch.arange(10)))["text_to_image/R@1"] == 1


def test_a_query_without_a_match_is_an_error() -> None:
    with pytest.raises(UserError, match="1 of 2 queries"):
        ranks(torch.eye(2), torch.eye(2), Relation.of_groups(np.array([0, 9]), np.array([0, 1])))


def test_nearest_is_the_sorted_full_matrix() -> None:
    torch.manual_seed(0)
    query, gallery = torch.randn(7, 5), torch.randn(9, 5)
    cosine, place = nearest(query, gallery, k=3, tile=2)
    full = torch.nn.functional.normalize(query) @ torch.nn.functional.normalize(gallery).T
    expected = full.topk(3)
    assert torch.equal(place, expected.indices)
    assert torch.allclose(cosine, expected.values, atol=1e-6)


def test_intervals_hold_the_mean_and_are_seeded() -> None:
    torch.manual_seed(0)
    image = torch.randn(300, 16)
    text = image.repeat_interleave(2, 0) + 1.5 * torch.randn(600, 16)
    groups = torch.arange(300).repeat_interleave(2)
    relation = Relation.of_groups(torch.arange(300), groups)
    rankings = both_ways(image, text, relation)
    bounds = metric_intervals("text_to_image", rankings["text_to_image"], groups)
    metrics = retrieval(image, text, relation)
    for key, (low, high) in bounds.items():
        assert low < metrics[key] < high
    assert bounds == metric_intervals("text_to_image", rankings["text_to_image"], groups)


def test_interval_width_follows_groups_not_rows() -> None:
    hits = np.random.default_rng(0).integers(0, 2, 400).astype(float)
    alone = interval(hits, np.arange(400))
    copied = interval(np.repeat(hits, 5), np.repeat(np.arange(400), 5))
    assert copied[1] - copied[0] == pytest.approx(alone[1] - alone[0], rel=0.1)
    width = 2 * 1.96 * np.sqrt(hits.mean() * (1 - hits.mean()) / 400)
    assert alone[1] - alone[0] == pytest.approx(width, rel=0.1)


def test_certainty_is_never_claimed() -> None:
    assert interval(np.ones(10), np.arange(10)) == wilson(1.0, 10)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-3)
    assert intervals(np.ones((500, 2)), np.arange(500))[:, 0].max() < 1

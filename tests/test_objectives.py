"""Objectives against plain references and their papers' limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cospace.matches import BatchMatches, Matches, Relation, modality_pairs
from cospace.objectives import _tiled, divided, mse, sigmoid, small_loss_rows, softmax, vicreg
from cospace.ranks import ALONE
from cospace.runtime import can_compute, device
from cospace.types import Metrics


def pair(batch: int = 12, width: int = 8, seed: int = 0) -> dict[str, torch.Tensor]:
    dice = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, width, generator=dice) for name in ("image", "text")}


def same(groups: torch.Tensor, *more: str) -> BatchMatches:
    """Rows that match where their groups are equal."""
    return BatchMatches.of_groups(groups, ("image", "text", *more))


def test_softmax_with_one_match_per_row_is_symmetric_infonce() -> None:
    embeddings = pair()
    objective = softmax.Config(init_logit_scale=7.0).build()
    logits = 7 * normalize(embeddings["image"], dim=1) @ normalize(embeddings["text"], dim=1).T
    labels = torch.arange(12)
    expected = (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
    assert objective(embeddings, same(labels)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_smoothing_is_cross_entropy_with_smoothed_targets() -> None:
    embeddings, labels = pair(), torch.arange(12)
    objective = softmax.Config(init_logit_scale=7.0, label_smoothing=0.2).build()
    logits = 7 * normalize(embeddings["image"], dim=1) @ normalize(embeddings["text"], dim=1).T
    expected = sum(cross_entropy(table, labels, label_smoothing=0.2) for table in (logits, logits.T)) / 2
    assert objective(embeddings, same(labels)).item() == pytest.approx(float(expected), rel=1e-5)


def test_smoothing_spreads_over_groups_not_over_rows() -> None:
    classes, labels = torch.randn(3, 8), torch.tensor([0] * 9 + [1, 1, 2])
    images, texts = torch.randn(12, 8), classes[labels]
    logits = 5 * normalize(images, dim=1) @ normalize(classes, dim=1).T
    smooth, plain = (cross_entropy(logits, labels, label_smoothing=share) for share in (0.3, 0.0))
    from_images = (logits.gather(1, labels[:, None])[:, 0] - logits.mean(1)).mean()
    assert (smooth - plain).item() == pytest.approx(0.3 * from_images.item(), rel=1e-4)
    means = torch.stack([normalize(images, dim=1)[labels == k].mean(0) for k in range(3)])
    from_texts = (5 * normalize(texts, dim=1) * (means - means.mean(0))[labels]).sum(1).mean()
    expected = (from_images + from_texts).item() / 2
    assert 5 * softmax.smoothing_term(Relation.of_groups(labels), images, texts).item() == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.parametrize("copies", [2, 8, 64])
def test_a_perfect_space_has_no_softmax_loss_however_often_a_caption_repeats(copies: int) -> None:
    embeddings = {name: torch.eye(4).repeat(copies, 1) for name in ("image", "text")}
    groups = torch.arange(4).repeat(copies)
    objective = softmax.Config(init_logit_scale=100.0).build()
    assert objective(embeddings, same(groups)).item() <= 1e-3  # the plain form has a floor of ln(copies)
    apart = objective(embeddings, same(torch.arange(4 * copies))).item()
    assert apart == pytest.approx(math.log(copies), abs=1e-3)


def test_softmax_with_groups_equals_a_plain_loop() -> None:
    embeddings, groups = pair(), torch.arange(12) // 3
    objective = softmax.Config(init_logit_scale=5.0).build()
    logits = 5 * normalize(embeddings["image"], dim=1) @ normalize(embeddings["text"], dim=1).T
    losses = []
    for table in (logits, logits.T):
        for i in range(12):
            others = [g for g in groups.unique() if g != groups[i]]
            negatives = [table[i, groups == g].exp().mean() for g in others]
            matches = [j for j in range(12) if groups[j] == groups[i]]
            terms = [-(table[i, j].exp() / (table[i, j].exp() + sum(negatives))).log() for j in matches]
            losses.append(sum(terms) / len(terms))
    assert objective(embeddings, same(groups)).item() == pytest.approx(float(sum(losses) / 24), rel=1e-5)


def test_softmax_with_classes_as_captions_is_cross_entropy_over_the_classes() -> None:
    classes, labels = torch.randn(3, 8), torch.arange(12) % 3
    images = torch.randn(12, 8)
    objective = softmax.Config(init_logit_scale=5.0).build()
    logits = 5 * normalize(images, dim=1) @ normalize(classes, dim=1).T
    rows = 5 * normalize(images, dim=1) @ normalize(classes[labels], dim=1).T
    loss = softmax.classify(rows, labels[:, None] == labels[None, :])
    assert loss.item() == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-5)
    assert torch.isfinite(objective({"image": images, "text": classes[labels]}, same(labels)))


def test_a_batch_of_one_group_has_no_softmax_loss_and_no_nan() -> None:
    embeddings = pair()
    embeddings["image"].requires_grad_()
    loss = softmax.Config().build()(embeddings, same(torch.zeros(12, dtype=torch.long)))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(embeddings["image"].grad).all()


def test_sigmoid_equals_a_plain_loop() -> None:
    embeddings, groups = pair(), torch.arange(12) // 2
    objective = sigmoid.Config(init_logit_scale=4.0, init_logit_bias=-2.0).build()
    cosine = normalize(embeddings["image"], dim=1) @ normalize(embeddings["text"], dim=1).T
    total = 0.0
    for i in range(12):
        for j in range(12):
            sign = 1 if groups[i] == groups[j] else -1
            total += math.log1p(math.exp(-sign * (4 * cosine[i, j].item() - 2)))
    assert objective(embeddings, same(groups)).item() == pytest.approx(total / 12, rel=1e-5)


def test_mse_is_the_mean_squared_distance_of_pairs() -> None:
    embeddings = pair()
    expected = (embeddings["image"] - embeddings["text"]).pow(2).sum(1).mean()
    assert mse.Config().build()(embeddings, same(torch.arange(12))).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_constant_is_perfect_for_mse_and_terrible_for_vicreg() -> None:
    constant = {name: torch.ones(12, 8) for name in ("image", "text")}
    groups = torch.arange(12)
    assert mse.Config().build()(constant, same(groups)).item() == 0
    assert (
        vicreg.Config().build()(constant, same(groups)).item()
        > vicreg.Config().build()(pair(), same(groups)).item() / 4
    )
    spread_only = vicreg.Config(invariance=0, covariance=0).build()
    assert spread_only(constant, same(groups)).item() == pytest.approx(2 * 25 * (1 - 0.01), rel=1e-4)


def test_vicreg_covariance_is_zero_for_decorrelated_coordinates_only() -> None:
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert vicreg.redundancy(signs).item() == pytest.approx(0, abs=1e-6)
    assert vicreg.redundancy(signs[:, :1].repeat(1, 2)).item() > 1


@pytest.mark.parametrize("config", [softmax.Config(init_logit_scale=90.0), sigmoid.Config(init_logit_scale=90.0)])
def test_the_scale_never_exceeds_its_clamp(config: softmax.Config | sigmoid.Config) -> None:
    objective = config.build()
    with torch.no_grad():
        objective.log_scale["image_text"].fill_(20.0)
    capped = objective(pair(), same(torch.arange(12)))
    with torch.no_grad():
        objective.log_scale["image_text"].fill_(math.log(100.0))
    assert capped.item() == pytest.approx(objective(pair(), same(torch.arange(12))).item(), rel=1e-5)


def test_three_modalities_are_summed_over_their_pairs() -> None:
    both = pair()
    three = {**both, "audio": both["image"]}
    metrics: Metrics = {
        name: mse.Config().build()({k: three[k] for k in keys}, same(torch.arange(12), "audio")).item()
        for name, keys in {"ia": ("image", "audio"), "it": ("image", "text"), "at": ("audio", "text")}.items()
    }
    assert mse.Config().build()(three, same(torch.arange(12), "audio")).item() == pytest.approx(
        sum(metrics.values()), rel=1e-6
    )


# --- the tiled form against the plain one -----------------------------------------------------------------------------

CONTRASTIVE = {"softmax": softmax, "sigmoid": sigmoid}
contrastive = pytest.mark.parametrize("name", CONTRASTIVE)


def solve(
    name: str, form: str, embeddings: list[torch.Tensor], matches: torch.Tensor | Relation, scale: float
) -> list[torch.Tensor]:
    """The loss of one form, and its gradients for both sides, the scale and, where there is one, the bias."""
    numbers = [scale] if name == "softmax" else [scale, -3.0]
    learned = [torch.tensor(number, dtype=embeddings[0].dtype, device=embeddings[0].device) for number in numbers]
    inputs = [values.detach().clone().requires_grad_() for values in [*embeddings, *learned]]
    relation = matches if isinstance(matches, Relation) else Relation.of_groups(matches)
    loss = getattr(CONTRASTIVE[name], form)(relation, *inputs)
    return [loss.detach(), *torch.autograd.grad(3 * loss, inputs)]


def sides(batch: int, width: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Rows of all lengths; the right ones lean towards the left ones."""
    dice = torch.Generator().manual_seed(batch)
    left, noise = torch.randn(2, batch, width, generator=dice, dtype=dtype)
    return [left * torch.rand(batch, 1, generator=dice, dtype=dtype).exp(), left + noise]


GROUPS = {
    "unique": torch.randperm(37, generator=torch.Generator().manual_seed(0)) * 7 - 100,
    "some repeated": torch.randint(25, (37,), generator=torch.Generator().manual_seed(0)),
    "few classes": torch.arange(37) % 3,
    "one": torch.zeros(37, dtype=torch.long),
}


@contrastive
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("scale", [1.0, 14.0, 100.0])
@pytest.mark.parametrize("shape", [(5, 8), (16, 3), (64, 64)])
def test_tiles_give_the_dense_loss_and_gradients(
    name: str, groups: str, scale: float, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tiled, "tile_shape", lambda rows: shape)
    embeddings = sides(37, 6)
    expected = solve(name, "dense", embeddings, GROUPS[groups], scale)
    for value, reference in zip(solve(name, "tiled", embeddings, GROUPS[groups], scale), expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-10, atol=1e-10)


@contrastive
@pytest.mark.skipif(device().type == "cpu" or not can_compute(device(), torch.float64), reason="no such accelerator")
def test_tiles_on_an_accelerator_give_the_dense_loss_and_gradients(name: str) -> None:
    where = device()
    embeddings, groups = [side.to(where) for side in sides(2000, 64)], (torch.randperm(2000) // 2).to(where)
    expected = solve(name, "dense", embeddings, groups, 20.0)
    for value, reference in zip(solve(name, "tiled", embeddings, groups, 20.0), expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-10, atol=1e-10)


@contrastive
@given(numbers=st.lists(st.integers(-3, 3), min_size=1, max_size=12), height=st.integers(1, 5), width=st.integers(1, 5))
def test_any_batch_cut_in_any_way_gives_the_dense_loss(name: str, numbers: list[int], height: int, width: int) -> None:
    embeddings, groups = sides(len(numbers), 4), torch.tensor(numbers)
    expected = solve(name, "dense", embeddings, groups, 20.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tiled, "tile_shape", lambda rows: (height, width))
        for value, reference in zip(solve(name, "tiled", embeddings, groups, 20.0), expected, strict=True):
            torch.testing.assert_close(value, reference, rtol=1e-10, atol=1e-10)


ITEMS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=14)


def of_rows(rows: list[tuple[int, int]], shown: int | None = None) -> Relation:
    """What matches among the first rows of some data, by their numbers of picture and caption."""
    left, right = np.array(rows).T
    matches = Matches.of({"image": left, "text": right})
    return matches.batch(np.arange(len(rows))[:shown]).relation("image", "text")


@contrastive
@given(rows=ITEMS, height=st.integers(1, 5), width=st.integers(1, 5), leaves=st.sampled_from([1, 2, 4, 8]))
def test_rows_in_leaves_of_a_tree_give_the_dense_loss(
    name: str, rows: list[tuple[int, int]], height: int, width: int, leaves: int
) -> None:
    relation = of_rows(rows)
    embeddings = sides(relation.shape[0], 4)
    expected = solve(name, "dense", embeddings, relation, 20.0)
    with pytest.MonkeyPatch.context() as patch, divided(ALONE, leaves):
        patch.setattr(_tiled, "tile_shape", lambda rows: (height, width))
        for value, reference in zip(solve(name, "tiled", embeddings, relation, 20.0), expected, strict=True):
            torch.testing.assert_close(value, reference, rtol=1e-10, atol=1e-10)


@contrastive
def test_tiles_in_float32_are_as_exact_as_the_dense_form(name: str) -> None:
    embeddings, groups = sides(700, 16), torch.arange(700) // 2
    truth = solve(name, "dense", embeddings, groups, 100.0)
    rough = [side.float() for side in embeddings]
    forms = {form: solve(name, form, rough, groups, 100.0) for form in ("dense", "tiled")}
    error = {form: [float((a - b).abs().max()) for a, b in zip(truth, forms[form], strict=True)] for form in forms}
    for own, reference, value in zip(error["tiled"], error["dense"], truth, strict=True):
        assert own <= 2 * reference + 1e-6 * float(value.abs().max())


@contrastive
@pytest.mark.parametrize("form", ["dense", "tiled"])
def test_rows_of_zeros_have_a_loss_and_a_broken_row_is_not_hidden(name: str, form: str) -> None:
    embeddings, groups = sides(6, 4), torch.arange(6) // 2
    embeddings[0][1] = 0
    assert all(value.isfinite().all() for value in solve(name, form, embeddings, groups, 20.0))
    embeddings[0][1] = math.nan
    assert solve(name, form, embeddings, groups, 20.0)[0].isnan()


@contrastive
@given(rows=ITEMS, shown=st.integers(1, 14), height=st.integers(1, 5), width=st.integers(1, 5))
def test_matches_that_are_no_groups_are_cut_into_tiles_as_well(
    name: str, rows: list[tuple[int, int]], shown: int, height: int, width: int
) -> None:
    relation = of_rows(rows, shown)
    embeddings = sides(relation.shape[0], 4)
    expected = solve(name, "dense", embeddings, relation, 20.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tiled, "tile_shape", lambda rows: (height, width))
        for value, reference in zip(solve(name, "tiled", embeddings, relation, 20.0), expected, strict=True):
            torch.testing.assert_close(value, reference, rtol=1e-10, atol=1e-10)


@contrastive
@pytest.mark.parametrize("items", [3, 40, 700])
def test_a_large_component_is_cut_into_tiles_as_well(name: str, items: int) -> None:
    dice = np.random.default_rng(items)
    relation = of_rows(dice.integers(0, items, (3000, 2)).tolist(), 1500)
    embeddings = sides(1500, 6)
    expected = solve(name, "dense", embeddings, relation, 20.0)
    for value, reference in zip(solve(name, "tiled", embeddings, relation, 20.0), expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-10, atol=1e-10)


@given(rows=ITEMS, shown=st.integers(2, 14), smoothing=st.sampled_from([0.0, 0.2]))
def test_softmax_equals_a_plain_loop_over_what_matches(
    rows: list[tuple[int, int]], shown: int, smoothing: float
) -> None:
    known, seen = set(rows), rows[:shown]
    count = len(seen)
    left, right = sides(count, 4)
    match = [[(i, t) in known for _, t in seen] for i, _ in seen]
    cosine = normalize(left, dim=1) @ normalize(right, dim=1).T
    relation = of_rows(rows, shown)
    assert relation.dense().tolist() == match
    losses, leads = [], []
    for table, matched in ((5 * cosine, match), (5 * cosine.T, [list(column) for column in zip(*match, strict=True)])):
        share = [1 / sum(row[j] for row in matched) for j in range(count)]
        for i in range(count):
            mine = [j for j in range(count) if matched[i][j]]
            others = sum(share[j] * math.exp(table[i, j]) for j in range(count) if not matched[i][j])
            losses.append(sum(math.log1p(others / math.exp(table[i, j])) for j in mine) / len(mine))
            mean = sum(share[j] * float(table[i, j]) for j in range(count)) / sum(share)
            leads.append(sum(float(table[i, j]) for j in mine) / len(mine) - mean)
    expected = (sum(losses) + smoothing * sum(leads)) / (2 * count)
    scale = torch.tensor(5.0, dtype=torch.float64)
    loss = softmax.dense(relation, left, right, scale) + smoothing * scale * softmax.smoothing_term(
        relation, left, right
    )
    assert float(loss) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(rows=st.lists(st.integers(0, 5), min_size=2, max_size=20))
def test_smoothing_of_groups_is_the_same_by_way_of_matches(rows: list[int]) -> None:
    relation, (left, right) = Relation.of_groups(np.array(rows)), sides(len(rows), 4)
    assert relation.complete
    left, right = normalize(left, dim=1), normalize(right, dim=1)
    plain = softmax._lead_of_own(torch.unique(torch.tensor(rows), return_inverse=True)[1], left, right)
    torch.testing.assert_close(softmax._lead_of_matches(relation, left, right), plain, rtol=1e-12, atol=1e-12)


def test_a_picture_filed_under_two_classes_leaves_the_classes_apart() -> None:
    """Cats, dogs, and one picture that is filed under both: a constant space must not be free of loss."""
    rows = [(n, 0) for n in range(5)] + [(n, 1) for n in range(5, 10)] + [(4, 1)]
    relation = of_rows(rows)
    match = relation.dense()
    assert not match[0, 5]
    assert match[4].all()
    constant = [torch.ones(11, 4, dtype=torch.float64)] * 2
    assert solve("softmax", "dense", constant, relation, 10.0)[0] > 0.3
    perfect = [torch.eye(2, dtype=torch.float64)[[0] * 5 + [1] * 5 + [1]]] * 2
    assert (
        solve("softmax", "dense", perfect, relation, 100.0)[0]
        < 0.1
        < solve("softmax", "dense", constant, relation, 100.0)[0]
    )


class Largest(TorchDispatchMode):
    """Notes the most numbers that any tensor of a computation has."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [
            leaf.untyped_storage().nbytes() // leaf.itemsize for leaf in tree_leaves(result) if torch.is_tensor(leaf)
        ]
        self.numbers = max([self.numbers, *sizes])
        return result


@contrastive
def test_a_large_batch_never_holds_a_square_matrix(name: str) -> None:
    batch = 2000
    embeddings = {key: value.requires_grad_() for key, value in pair(batch, 16).items()}
    objective = CONTRASTIVE[name].Config().build()
    with Largest() as largest:
        objective(embeddings, same(torch.arange(batch))).backward()
    height, width = _tiled.tile_shape(embeddings["image"])
    assert largest.numbers <= height * width
    assert height * width * 4 < batch * batch
    with Largest() as largest:
        solve(name, "dense", list(embeddings.values()), torch.arange(batch), 10.0)
    assert largest.numbers >= batch * batch, "the measure sees what it should"


@contrastive
def test_both_forms_are_one_objective_with_three_modalities(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = CONTRASTIVE[name].Config().build(modality_pairs(("image", "text", "audio")))
    groups, results = torch.arange(12) // 2, []
    for small in (0, 100):
        monkeypatch.setattr(_tiled, "SMALL", small)
        embeddings = {**pair(), "audio": pair(seed=1)["text"]}
        inputs = [*(value.requires_grad_() for value in embeddings.values()), *objective.parameters()]
        loss = objective(embeddings, same(groups, "audio"))
        results.append([loss, *torch.autograd.grad(loss, inputs)])
    for tiled, dense in zip(*results, strict=True):
        torch.testing.assert_close(tiled, dense, rtol=1e-4, atol=1e-6)


@contrastive
def test_gradients_that_were_handed_over_are_not_handed_over_again(name: str) -> None:
    left, right = (side.requires_grad_() for side in sides(6, 4))
    numbers = [torch.tensor(10.0)] if name == "softmax" else [torch.tensor(10.0), torch.tensor(-3.0)]
    loss = CONTRASTIVE[name].tiled(Relation.of_groups(torch.arange(6)), left, right, *numbers)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    loss = CONTRASTIVE[name].tiled(Relation.of_groups(torch.arange(6)), left, right, *numbers)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, left, create_graph=True)


# ------------------------------------------------------------------------------------------------- doubtful pairs


def noisy_batch(wrong: int, rows: int = 64, width: int = 32) -> dict[str, torch.Tensor]:
    """Pairs that lie close together, and the last ``wrong`` of them with their texts passed round."""
    dice = torch.Generator().manual_seed(7)
    image = torch.randn(rows, width, generator=dice)
    text = image + 0.5 * torch.randn(rows, width, generator=dice)
    text[rows - wrong :] = text[rows - wrong :].roll(1, 0)
    return {"image": image, "text": text}


@pytest.mark.parametrize("wrong", [0, 8, 16])
def test_wrong_pairs_are_left_out_and_right_ones_are_not(wrong: int) -> None:
    kept = small_loss_rows(*noisy_batch(wrong).values(), 0.25).tolist()
    assert kept == list(range(64 - wrong))


@given(share=st.floats(0, 0.9), rows=st.integers(4, 40))
def test_no_more_than_the_share_is_left_out(share: float, rows: int) -> None:
    dice = torch.Generator().manual_seed(rows)
    noise = {name: torch.randn(rows, 8, generator=dice) for name in ("image", "text")}
    kept = small_loss_rows(*noise.values(), share)
    assert len(kept) >= rows - int(share * rows)
    assert kept.tolist() == sorted(set(kept.tolist()))


def test_a_truncated_loss_is_the_loss_of_the_trusted_rows_while_training() -> None:
    batch, groups = noisy_batch(16), torch.arange(64)
    truncated, plain = softmax.Config(loss_truncation=0.25).build(), softmax.Config().build()
    right = {name: rows[:48] for name, rows in batch.items()}
    torch.testing.assert_close(truncated.train()(batch, same(groups)), plain(right, same(groups[:48])))
    torch.testing.assert_close(truncated.eval()(batch, same(groups)), plain(batch, same(groups)))

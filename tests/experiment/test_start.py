"""A run that starts from a published model: whole, or one tower of it beside a fresh one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import published
import pytest
import torch

from conftest import TINY, Cospace, Shell
from cospace.batches import PooledFeed, TextFeed
from cospace.experiment.adopting import adopted
from cospace.experiment.blending import SHARES
from cospace.experiment.model import Model
from cospace.experiment.prepare import decode_all, training_batches
from cospace.experiment.publishing import opened
from cospace.experiment.settings import experiment, facts_of
from cospace.experiment.start import KEPT, start
from cospace.pairs import open_pairs
from cospace.types import UserError

FAST = ("training.steps=6", "training.batch=16", "training.evaluations=1")
IMAGE = tuple(setting for setting in TINY if "encoders.image" in setting)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.clip(tmp_path_factory.mktemp("clip"))


def weights(model: Model, modality: str) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.space.encoders[modality].state_dict().items()}


def test_a_locked_text_tower_beside_a_fresh_picture_tower(
    bert: Path, shapes: Path, tmp_path: Path, shell: Shell
) -> None:
    before = weights(opened(str(bert)), "text")
    settings = ("locked=text", *IMAGE, *FAST)
    metrics = shell.json("train", shapes, "--out", tmp_path / "run", "--from", bert, *settings)
    assert np.isfinite(metrics["text_to_image/R@1"])
    model = Model.load(tmp_path / "run")
    assert model.space.modalities == ["image", "text"]
    after = weights(model, "text")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.facts["from"]["run"] == str(bert)
    assert model.embed(text=["a red circle"]).shape == (1, model.space.width)


def test_both_towers_go_on_gently(clip: Path, shapes: Path, tmp_path: Path, shell: Shell) -> None:
    before = opened(str(clip))
    metrics = shell.json("train", shapes, "--out", tmp_path / "run", "--from", clip, *FAST)
    after = Model.load(tmp_path / "run")
    assert {"before/text_to_image/R@1", "before/image_to_text/R@1"} <= metrics.keys()
    assert after.space.width == before.space.width
    assert after.config()["data"]["coarse"] == 0
    for modality in ("image", "text"):
        pairs = zip(weights(before, modality).values(), weights(after, modality).values(), strict=True)
        moved = [float((new - old).abs().max()) for old, new in pairs]
        assert 0 < max(moved) < 6 * 2e-3 * 0.01 * 3  # six steps of AdamW at a hundredth of the rate


def test_the_same_again_after_a_kill_needs_the_same_source(
    clip: Path, bert: Path, shapes: Path, tmp_path: Path
) -> None:
    assert opened(str(clip)).space.fingerprint == opened(str(clip)).space.fingerprint
    assert opened(str(clip)).space.fingerprint != opened(str(bert)).space.fingerprint


def begun(source: Path, pairs: Path, *overrides: str):
    opened_pairs, model = open_pairs(pairs), opened(str(source))
    settings = experiment("small", overrides).fitted(facts_of(opened_pairs))
    settings = adopted(settings, model, overrides, opened_pairs)
    return settings, opened_pairs, start(settings, opened_pairs, model)


@pytest.mark.parametrize("locked", ["text", "nothing"])
def test_what_is_locked_is_encoded_once(bert: Path, shapes: Path, locked: str) -> None:
    settings, pairs, made = begun(bert, shapes, f"locked={locked}", *IMAGE, *FAST)
    kept, store = decode_all(pairs, made.space.preparers["image"])  # type: ignore[arg-type]
    batches = training_batches(kept, store, made.space, settings, made.tokenizer)
    assert isinstance(batches.feeds["text"], PooledFeed if locked == "text" else TextFeed)
    batch = batches[0]
    space = made.space.eval()
    with torch.inference_mode():
        seen = torch.cat([space.encode("text", inputs) for inputs in batch.chunks["text"].inputs])
        rows = seen[batch.chunks["text"].item_B]
        plain = space.embed(text=[str(pairs.items["text"][row]) for row in batch.row_B])
    made_unit = torch.nn.functional.normalize(rows, dim=-1)
    assert float((made_unit * torch.from_numpy(plain)).sum(1).min()) > 0.999  # bfloat16 where that is fast


def test_fresh_parts_learn_and_locked_ones_do_not(bert: Path, shapes: Path) -> None:
    _, _, made = begun(bert, shapes, "locked=text", *IMAGE, *FAST)
    learns = {name: parameter.requires_grad for name, parameter in made.space.named_parameters()}
    assert not any(flag for name, flag in learns.items() if name.startswith("encoders.text"))
    assert all(flag for name, flag in learns.items() if not name.startswith("encoders.text"))
    assert set(made.paces) == set(made.space.encoders["text"].parameters())


@pytest.mark.parametrize("setting", ["encoders.text=rnn", "data.vocabulary=400"])
def test_what_the_source_decides_cannot_be_set(bert: Path, shapes: Path, setting: str) -> None:
    with pytest.raises(UserError, match="is decided by the space of"):
        begun(bert, shapes, setting)


def test_a_decoder_beside_a_published_space_has_its_own_tokenizer(
    clip: Path, shapes: Path, tmp_path: Path, shell: Shell
) -> None:
    decoder = ("decoder.width=16", "decoder.depth=1", "decoder.heads=2")
    shell.json("train", shapes, "--out", tmp_path / "run", "--from", clip, "tell=caption", *decoder, *FAST)
    model = Model.load(tmp_path / "run")
    assert model.teller is not None
    assert model.teller.tokenizer.encode([""]) == [[1, 2]]
    assert isinstance(model.caption([str(next((shapes.parent / "images").iterdir()))])[0], str)


def test_a_source_that_is_neither(shapes: Path, tmp_path: Path, cospace: Cospace) -> None:
    (tmp_path / "empty").mkdir()
    said = cospace("train", shapes, "--out", tmp_path / "run", "--from", tmp_path / "empty").refusal()
    assert "no trained space" in said


def test_the_first_blocks_learn_slowest(clip: Path, shapes: Path) -> None:
    _, _, made = begun(clip, shapes, "training.optim.layer_decay=0.5", *FAST)
    text = dict(made.space.encoders["text"].named_parameters())
    rates = {name: made.paces[text[name]] / 0.01 for name in ("embed.weight", "norm.weight")}
    rates |= {place: made.paces[text[f"blocks.{place}.mlp.up.weight"]] / 0.01 for place in ("0", "1")}
    assert rates == pytest.approx({"embed.weight": 0.25, "0": 0.5, "1": 1.0, "norm.weight": 1.0})
    assert made.paces[made.space.projections["text"].weight] == pytest.approx(0.01)


def test_adapters_learn_in_place_of_the_weights_and_are_merged(
    clip: Path, shapes: Path, tmp_path: Path, shell: Shell
) -> None:
    before = weights(opened(str(clip)), "text")
    shell.json("train", shapes, "--out", tmp_path / "run", "--from", clip, "lora=2", *FAST)
    after = weights(Model.load(tmp_path / "run"), "text")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.endswith("weight") and "norm" not in name and "blocks" in name}


def test_a_reference_shows_what_was_forgotten(
    clip: Path, shapes: Path, tmp_path: Path, shell: Shell, cospace: Cospace
) -> None:
    settings = ("--reference", shapes, *FAST)
    said = shell.text("train", shapes, "--out", tmp_path / "run", "--from", clip, "training.optim.rate=0.3", *settings)
    assert "the reference before:  R@1" in said
    metrics = Model.load(tmp_path / "run").metrics()
    for way in ("text_to_image/R@1", "image_to_text/R@1"):
        expected = opened(str(clip)).evaluate(str(shapes))[way]
        assert metrics[f"reference/before/{way}"] == pytest.approx(expected)
        assert metrics[f"reference/{way}"] == pytest.approx(Model.load(tmp_path / "run").evaluate(str(shapes))[way])
    refused = cospace("train", shapes, "--out", tmp_path / "other", *settings).refusal()
    assert "name the one to start from" in refused


def test_a_blend_lies_between_old_and_new(clip: Path, shapes: Path, tmp_path: Path, shell: Shell) -> None:
    settings = ("training.optim.rate=0.1", *FAST)
    shell.json("train", shapes, "--out", tmp_path / "new", "--from", clip, *settings)
    shell.json("train", shapes, "--out", tmp_path / "half", "--from", clip, "blend=0.5", *settings)
    old, new = opened(str(clip)), Model.load(tmp_path / "new")
    half = Model.load(tmp_path / "half").space.state_dict()
    for name, tensor in new.space.state_dict().items():
        torch.testing.assert_close(half[name], (tensor + old.space.state_dict()[name]) / 2)


def test_a_sweep_takes_the_best_share(clip: Path, shapes: Path, tmp_path: Path, shell: Shell) -> None:
    metrics = shell.json("train", shapes, "--out", tmp_path / "run", "--from", clip, "blend=auto", *FAST)
    ways = ("text_to_image/R@1", "image_to_text/R@1")
    means = {share: sum(metrics[f"blend/{share:g}/{way}"] for way in ways) for share in SHARES}
    assert means[metrics["blend/share"]] == max(means.values())
    assert sum(metrics[way] for way in ways) == pytest.approx(means[metrics["blend/share"]])
    assert sum(metrics[f"before/{way}"] for way in ways) == pytest.approx(means[0])


def test_longer_texts_by_stretched_positions(clip: Path, shapes: Path, tmp_path: Path, shell: Shell) -> None:
    before = opened(str(clip)).space.encoders["text"].positions.weight.detach()
    _, _, made = begun(clip, shapes, "data.length=40", *FAST)
    after = made.space.encoders["text"].positions.weight.detach()
    assert after.shape == (40, before.shape[1])
    kept = min(KEPT, len(before) - 2)
    torch.testing.assert_close(after[:kept], before[:kept])
    torch.testing.assert_close(after[-1], before[-1])
    shell.json("train", shapes, "--out", tmp_path / "run", "--from", clip, "data.length=40", *FAST)
    model = Model.load(tmp_path / "run")
    long = "one two three four five"
    assert 20 < len(model.space.preparers["text"].prepare(long)) < 36
    assert not np.allclose(model.embed(text=[long]), model.embed(text=[long + " cat"]))
    with pytest.raises(UserError, match="that can only grow"):
        begun(clip, shapes, "data.length=10", *FAST)


@pytest.mark.parametrize("setting", ["blend=0.5", "lora=2"])
def test_what_looks_back_needs_something_to_look_at(
    setting: str, shapes: Path, tmp_path: Path, cospace: Cospace
) -> None:
    assert "with --from" in cospace("train", shapes, "--out", tmp_path / "run", setting).refusal()


def test_the_loss_goes_on_from_the_logits_that_were_published(
    clip: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings, _, _ = begun(clip, shapes, *FAST)
    assert settings.objective["name"] == "softmax"
    assert settings.objective["scale"] == pytest.approx(opened(str(clip)).facts["published"]["scale"])
    assert begun(clip, shapes, "objective.scale=5.0", *FAST)[0].objective["scale"] == 5
    siglip = published.siglip(tmp_path_factory.mktemp("siglip"))
    settings, _, _ = begun(siglip, shapes, *FAST)
    known = opened(str(siglip)).space.calibration
    assert known is not None
    assert settings.objective["name"] == "sigmoid"
    assert (settings.objective["scale"], settings.objective["bias"]) == pytest.approx((known.slope, known.offset))
    assert settings.objective["max_scale"] >= known.slope
    assert begun(siglip, shapes, "objective=mse", *FAST)[0].objective["name"] == "mse"

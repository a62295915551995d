"""A run that starts from a published model: whole, or one tower of it beside a fresh one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import published
import pytest
import torch

from conftest import TINY, Cospace, Shell
from cospace.api import Model
from cospace.commands.evaluate import evaluate
from cospace.data.batches import PooledBatcher
from cospace.data.pairs import Pairs, open_pairs
from cospace.data.prepared import prepare_pairs
from cospace.modalities.text.batching import TextBatcher
from cospace.runs.datasets import training_batches
from cospace.runs.initialization import KEPT, Initial, initialize
from cospace.runs.pretrained import config_from_source
from cospace.runs.run import Run
from cospace.runs.settings import RunConfig, resolve
from cospace.runs.source import open_source
from cospace.runs.wise_ft import SHARES
from cospace.types import UserError

FAST = ("training.steps=6", "training.batch_size=16", "training.evaluations=1")
IMAGE = tuple(setting for setting in TINY if "encoders.image" in setting)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.clip(tmp_path_factory.mktemp("clip"))


def weights(model: Run, modality: str) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.space.encoders[modality].state_dict().items()}


def test_a_locked_text_encoder_beside_a_fresh_image_encoder(
    bert: Path, shapes: Path, tmp_path: Path, shell: Shell
) -> None:
    before = weights(open_source(str(bert)), "text")
    settings = ("locked=text", *IMAGE, *FAST)
    metrics = shell.json("train", shapes, "--out", tmp_path / "run", "--from", bert, *settings)
    assert np.isfinite(metrics["text_to_image/R@1"])
    model = Model.load(tmp_path / "run")
    assert model.space.modalities == ["image", "text"]
    after = weights(model, "text")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.facts["from"]["run"] == str(bert)
    assert model.embed(text=["a red circle"]).shape == (1, model.space.width)


def test_both_encoders_go_on_gently(clip: Path, shapes: Path, tmp_path: Path, shell: Shell) -> None:
    before = open_source(str(clip))
    metrics = shell.json("train", shapes, "--out", tmp_path / "run", "--from", clip, *FAST)
    after = Model.load(tmp_path / "run")
    assert {"pretrained/text_to_image/R@1", "pretrained/image_to_text/R@1"} <= metrics.keys()
    assert after.space.width == before.space.width
    assert after.config()["data"]["image"]["progressive_resizing"] == 0
    for modality in ("image", "text"):
        pairs = zip(weights(before, modality).values(), weights(after, modality).values(), strict=True)
        moved = [float((new - old).abs().max()) for old, new in pairs]
        assert 0 < max(moved) < 6 * 2e-3 * 0.01 * 3  # six steps of AdamW at a hundredth of the learning rate


def test_the_same_again_after_a_kill_needs_the_same_source(
    clip: Path, bert: Path, shapes: Path, tmp_path: Path
) -> None:
    assert open_source(str(clip)).space.fingerprint == open_source(str(clip)).space.fingerprint
    assert open_source(str(clip)).space.fingerprint != open_source(str(bert)).space.fingerprint


def begun(source: Path, table: Path, *overrides: str) -> tuple[RunConfig, Pairs, Initial]:
    pairs, model = open_pairs(table), open_source(str(source))
    config = config_from_source(resolve("small", overrides).fitted(pairs), model, overrides, pairs)
    return config, pairs, initialize(config, pairs, model)


@pytest.mark.parametrize("locked", ["text", "none"])
def test_what_is_locked_is_encoded_once(bert: Path, shapes: Path, locked: str) -> None:
    config, pairs, made = begun(bert, shapes, f"locked={locked}", *IMAGE, *FAST)
    prepared = prepare_pairs(pairs, made.space.processors)
    batches = training_batches(prepared, made.space, config, made.tokenizer)
    assert isinstance(batches.batchers["text"], PooledBatcher if locked == "text" else TextBatcher)
    batch = batches[0]
    space = made.space.eval()
    with torch.inference_mode():
        seen = torch.cat([space.encode("text", inputs) for inputs in batch.parts["text"].inputs])
        rows = seen[batch.parts["text"].item_B]
        plain = space.embed(text=[str(pairs.items["text"][row]) for row in batch.row_B])
    made_unit = torch.nn.functional.normalize(rows, dim=-1)
    assert float((made_unit * torch.from_numpy(plain)).sum(1).min()) > 0.999  # bfloat16 where that is fast


def test_fresh_parts_learn_and_locked_ones_do_not(bert: Path, shapes: Path) -> None:
    _, _, made = begun(bert, shapes, "locked=text", *IMAGE, *FAST)
    learns = {name: parameter.requires_grad for name, parameter in made.space.named_parameters()}
    assert not any(flag for name, flag in learns.items() if name.startswith("encoders.text"))
    assert all(flag for name, flag in learns.items() if not name.startswith("encoders.text"))
    assert set(made.lr_scales) == set(made.space.encoders["text"].parameters())


@pytest.mark.parametrize("setting", ["encoders.text=rnn", "data.text.vocab_size=400"])
def test_what_the_source_decides_cannot_be_set(bert: Path, shapes: Path, setting: str) -> None:
    with pytest.raises(UserError, match="is decided by the model in"):
        begun(bert, shapes, setting)


def test_a_decoder_beside_a_published_space_has_its_own_tokenizer(
    clip: Path, shapes: Path, tmp_path: Path, shell: Shell
) -> None:
    decoder = ("decoder.width=16", "decoder.depth=1", "decoder.heads=2")
    shell.json("train", shapes, "--out", tmp_path / "run", "--from", clip, "tasks=caption", *decoder, *FAST)
    model = Model.load(tmp_path / "run")
    assert model.generator is not None
    assert model.generator.tokenizer.encode([""]) == [[1, 2]]
    assert isinstance(model.caption([str(next((shapes.parent / "images").iterdir()))])[0], str)


def test_a_source_that_is_neither(shapes: Path, tmp_path: Path, cospace: Cospace) -> None:
    (tmp_path / "empty").mkdir()
    refusal = cospace("train", shapes, "--out", tmp_path / "run", "--from", tmp_path / "empty").refusal()
    assert "no trained space" in refusal


def test_the_first_blocks_learn_slowest(clip: Path, shapes: Path) -> None:
    _, _, made = begun(clip, shapes, "training.optim.layer_decay=0.5", *FAST)
    text = dict(made.space.encoders["text"].named_parameters())
    rates = {name: made.lr_scales[text[name]] / 0.01 for name in ("embed.weight", "norm.weight")}
    rates |= {place: made.lr_scales[text[f"blocks.{place}.mlp.up.weight"]] / 0.01 for place in ("0", "1")}
    assert rates == pytest.approx({"embed.weight": 0.25, "0": 0.5, "1": 1.0, "norm.weight": 1.0})
    assert made.lr_scales[made.space.projections["text"].weight] == pytest.approx(0.01)


def test_adapters_learn_in_place_of_the_weights_and_are_merged(
    clip: Path, shapes: Path, tmp_path: Path, shell: Shell
) -> None:
    before = weights(open_source(str(clip)), "text")
    shell.json("train", shapes, "--out", tmp_path / "run", "--from", clip, "lora_rank=2", *FAST)
    after = weights(Model.load(tmp_path / "run"), "text")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.endswith("weight") and "norm" not in name and "blocks" in name}


def test_a_reference_shows_what_was_forgotten(
    clip: Path, shapes: Path, tmp_path: Path, shell: Shell, cospace: Cospace
) -> None:
    settings = ("--reference", shapes, *FAST)
    printed = shell.text("train", shapes, "--out", tmp_path / "run", "--from", clip, "training.optim.lr=0.3", *settings)
    assert "the reference before:  R@1" in printed
    metrics = Model.load(tmp_path / "run").metrics()
    for way in ("text_to_image/R@1", "image_to_text/R@1"):
        expected = evaluate(open_source(str(clip)), open_pairs(shapes)).metrics[way]
        assert metrics[f"reference/pretrained/{way}"] == pytest.approx(expected)
        assert metrics[f"reference/{way}"] == pytest.approx(Model.load(tmp_path / "run").evaluate(str(shapes))[way])
    refused = cospace("train", shapes, "--out", tmp_path / "other", *settings).refusal()
    assert "name the one to start from" in refused


def test_a_fine_tune_that_only_makes_it_worse_keeps_its_start(
    trained: Path, shapes: Path, tmp_path: Path, cospace: Cospace
) -> None:
    out = tmp_path / "run"
    spoilt = ("training.steps=6", "training.optim.lr=1", "training.optim.pretrained_lr_mult=1")
    result = cospace("train", shapes, "--val", shapes, "--out", out, "--from", trained, *spoilt)
    assert result.code == 0, result.err
    run = Model.load(out)
    assert run.facts["kept_step"] == run.facts["best"]["step"] == run.metrics()["kept_step"] == 0
    assert run.facts["last"]["score"] < run.facts["best"]["score"]
    assert "kept step 0 of 6 (mean R@1" in result.err
    assert "step 0 of 6  (validation loss" in result.err, "the start is evaluated like any other step"
    assert "Kept step 0 of 6" in (out / "report.html").read_text("utf-8")
    before, after = weights(Model.load(trained), "image"), weights(run, "image")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert run.config()["training"]["evaluations"] == 4, "64 pairs are many beside six steps"


def test_wise_ft_lies_between_old_and_new(clip: Path, shapes: Path, tmp_path: Path, shell: Shell) -> None:
    settings = ("training.optim.lr=0.1", *FAST)
    shell.json("train", shapes, "--out", tmp_path / "new", "--from", clip, *settings)
    shell.json("train", shapes, "--out", tmp_path / "half", "--from", clip, "wise_ft_alpha=0.5", *settings)
    old, new = open_source(str(clip)), Model.load(tmp_path / "new")
    half = Model.load(tmp_path / "half").space.state_dict()
    for name, tensor in new.space.state_dict().items():
        torch.testing.assert_close(half[name], (tensor + old.space.state_dict()[name]) / 2)


def test_a_sweep_takes_the_best_share(clip: Path, shapes: Path, tmp_path: Path, shell: Shell) -> None:
    metrics = shell.json("train", shapes, "--out", tmp_path / "run", "--from", clip, "wise_ft_alpha=auto", *FAST)
    ways = ("text_to_image/R@1", "image_to_text/R@1")
    means = {share: sum(metrics[f"wise_ft/{share:g}/{way}"] for way in ways) for share in SHARES}
    assert means[metrics["wise_ft/alpha"]] == max(means.values())
    assert sum(metrics[way] for way in ways) == pytest.approx(means[metrics["wise_ft/alpha"]])
    assert sum(metrics[f"pretrained/{way}"] for way in ways) == pytest.approx(means[0])


def test_longer_texts_by_stretched_positions(clip: Path, shapes: Path, tmp_path: Path, shell: Shell) -> None:
    before = open_source(str(clip)).space.encoders["text"].positions.weight.detach()
    _, _, made = begun(clip, shapes, "data.text.max_length=40", *FAST)
    after = made.space.encoders["text"].positions.weight.detach()
    assert after.shape == (40, before.shape[1])
    kept = min(KEPT, len(before) - 2)
    torch.testing.assert_close(after[:kept], before[:kept])
    torch.testing.assert_close(after[-1], before[-1])
    shell.json("train", shapes, "--out", tmp_path / "run", "--from", clip, "data.text.max_length=40", *FAST)
    model = Model.load(tmp_path / "run")
    long = "one two three four five"
    assert 20 < len(model.space.processors["text"].prepare(long)) < 36
    assert not np.allclose(model.embed(text=[long]), model.embed(text=[long + " cat"]))
    with pytest.raises(UserError, match="that can only grow"):
        begun(clip, shapes, "data.text.max_length=10", *FAST)


@pytest.mark.parametrize("setting", ["wise_ft_alpha=0.5", "lora_rank=2"])
def test_what_looks_back_needs_something_to_look_at(
    setting: str, shapes: Path, tmp_path: Path, cospace: Cospace
) -> None:
    assert "--from MODEL" in cospace("train", shapes, "--out", tmp_path / "run", setting).refusal()


def test_the_loss_goes_on_from_the_logits_that_were_published(
    clip: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config, _, _ = begun(clip, shapes, *FAST)
    assert config.objective["name"] == "softmax"
    assert config.objective["init_logit_scale"] == pytest.approx(open_source(str(clip)).facts["published"]["scale"])
    assert begun(clip, shapes, "objective.init_logit_scale=5.0", *FAST)[0].objective["init_logit_scale"] == 5
    siglip = published.siglip(tmp_path_factory.mktemp("siglip"))
    config, _, _ = begun(siglip, shapes, *FAST)
    known = open_source(str(siglip)).space.calibration
    assert known is not None
    assert config.objective["name"] == "sigmoid"
    assert (config.objective["init_logit_scale"], config.objective["init_logit_bias"]) == pytest.approx(
        (known.slope, known.offset)
    )
    assert config.objective["max_logit_scale"] >= known.slope
    assert begun(siglip, shapes, "objective=mse", *FAST)[0].objective["name"] == "mse"

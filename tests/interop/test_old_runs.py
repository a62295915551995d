"""Runs of version 0.1: converted with every vector, text and figure as it was, and refused everywhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import Cospace
from cospace import files, tensors
from cospace.commands.import_model import import_model
from cospace.config import lookup
from cospace.interop import old_runs
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.models.encoders import bag, cnn, vit
from cospace.models.generation.decoder import Config as DecoderConfig
from cospace.models.generation.decoding import Generation
from cospace.models.generation.generator import TextGenerator
from cospace.models.space import Space
from cospace.objectives import softmax
from cospace.runs.metrics_log import MetricsLog
from cospace.runs.run import Run
from cospace.runs.settings import RunConfig
from cospace.types import UserError

CAPTIONS = ["a red bus", "two dogs on the beach", "night over the town", "an old map of the harbour"]
IMAGES = [np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8) for seed in range(2)]
TEXT = {"name": "bag", "width": 16}

OLD_CNN = {"name": "cnn", "widths": [8, 16], "depth": 1, "mixers": 1, "heads": 2, "start": 8}
OLD_VIT = {"name": "vit", "patch": 4, "width": 16, "depth": 1, "heads": 2, "keep": 0.75}
OLD_CONFIG: dict[str, Any] = {
    "recipe": "small",
    "encoders": {"image": OLD_CNN, "text": TEXT},
    "objective": {"name": "softmax", "scale": 20.0, "max_scale": 50.0, "smoothing": 0.1, "trim": 0.3},
    "width": 8,
    "locked": "nothing",
    "lora": 0,
    "blend": 1.0,
    "tell": "both",
    "decoder": {"width": 16, "depth": 1, "heads": 2, "drop": 0.1, "smoothing": 0.05, "match": 0.5},
    "data": {
        "size": 16,
        "augment": {"shift": 0.05, "zoom": 0.02, "flip": True},
        "coarse": 0.25,
        "captions": 4,
        "questions": 5,
        "word_drop": 0.2,
        "vocabulary": 300,
        "length": 32,
        "bad_share": 0.02,
    },
    "training": {
        "steps": 6,
        "batch": 12,
        "micro": 4,
        "memory": 1.5,
        "seed": 3,
        "workers": 0,
        "precision": "auto",
        "evaluations": 0,
        "checkpoint_seconds": 30.0,
        "optim": {
            "name": "muon",
            "rate": 0.003,
            "matrix_rate": 0.03,
            "scale_rate": 9.0,
            "decoder_rate": 2.0,
            "begun_rate": 0.02,
            "adapter_rate": 0.3,
            "layer_decay": 0.9,
            "momentum": 0.8,
            "fixed_norm": False,
            "betas": [0.8, 0.9],
            "decay": 0.04,
            "warmup": 2,
        },
    },
    "tensorboard": False,
}
"""A ``config.json`` of version 0.1 in which no value is what it is by default today."""

PRESENT = {
    "embed_dim": 8, "locked": "none", "lora_rank": 0, "wise_ft_alpha": 1.0, "tasks": "caption,vqa",
    "objective.init_logit_scale": 20.0, "objective.max_logit_scale": 50.0, "objective.label_smoothing": 0.1,
    "objective.loss_truncation": 0.3, "encoders.image.transformer_blocks": 1, "encoders.image.stem_grid": 8,
    "decoder.modality": "image", "decoder.dropout": 0.1, "decoder.label_smoothing": 0.05, "decoder.itm_fraction": 0.5,
    "decoder.captions_per_item": 4, "decoder.questions_per_item": 5, "data.image.size": 16,
    "data.image.augment.translate": 0.05, "data.image.augment.scale": 0.02, "data.image.augment.hflip": True,
    "data.image.progressive_resizing": 0.25, "data.text.token_dropout": 0.2, "data.text.vocab_size": 300,
    "data.text.max_length": 32, "data.max_bad_fraction": 0.02, "training.batch_size": 12,
    "training.micro_batch_size": 4, "training.activation_memory_gb": 1.5, "training.seed": 3,
    "training.optim.lr": 0.003, "training.optim.muon_lr": 0.03, "training.optim.logit_scale_lr_mult": 9.0,
    "training.optim.decoder_lr_mult": 2.0, "training.optim.pretrained_lr_mult": 0.02,
    "training.optim.lora_lr_mult": 0.3, "training.optim.layer_decay": 0.9, "training.optim.muon_momentum": 0.8,
    "training.optim.muon_fixed_norm": False, "training.optim.betas": [0.8, 0.9],
    "training.optim.weight_decay": 0.04, "training.optim.warmup_steps": 2,
}  # fmt: skip
"""The same under the present names."""

OLD_METRICS = {
    "text_to_image/R@1": 0.5, "caption/true": 0.75, "caption/CIDEr-D": 0.1, "caption/nearest/true": 0.25,
    "caption/commonest/BLEU-4": 0.2, "before/text_to_image/R@1": 0.3, "reference/before/image_to_text/R@1": 0.4,
    "blend/0.25/reference/text_to_image/R@1": 0.6, "blend/share": 0.25, "vqa/accuracy": 0.9,
}  # fmt: skip
METRICS = {
    "text_to_image/R@1": 0.5, "caption/accuracy": 0.75, "caption/CIDEr-D": 0.1,
    "caption/retrieval_baseline/accuracy": 0.25, "caption/most_frequent_baseline/BLEU-4": 0.2,
    "pretrained/text_to_image/R@1": 0.3, "reference/pretrained/image_to_text/R@1": 0.4,
    "wise_ft/0.25/reference/text_to_image/R@1": 0.6, "wise_ft/alpha": 0.25, "vqa/accuracy": 0.9,
}  # fmt: skip

OLD_ROWS = [
    {"step": 1, "loss": 3.0, "loss/alignment": 1.0, "loss/answer": 1.5, "loss/match": 0.5, "scale": 14.0},
    {"step": 2, "loss": 2.0, "scale": 13.5, "bias": -9.0, "space/image/hubness": 1.0, "val/caption/true": 0.5},
]
ROWS = [
    {"step": 1, "loss": 3.0, "loss/alignment": 1.0, "loss/vqa": 1.5, "loss/itm": 0.5, "logit_scale": 14.0},
    {
        "step": 2, "loss": 2.0, "logit_scale": 13.5, "logit_bias": -9.0, "space/image/hubness": 1.0,
        "val/caption/accuracy": 0.5,
    },
]  # fmt: skip

OLD_FACTS = {
    "cospace": "0.1.0",
    "command": "cospace train pairs.csv",
    "data": {"name": "pairs.csv", "rows": 9, "images": 8, "texts": 4, "groups": 3, "side": 64, "names_sides": False},
    "set_aside": {"missing picture": 2, "bomb": 1},
}


def trained(image: Any) -> tuple[Space, TextGenerator]:
    """A space and its decoder with no weight at a special value."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(CAPTIONS, 300)
    configs = {"image": image, "text": bag.Config(width=16)}
    space = Space.build(configs, {"image": ImageProcessor(size=16), "text": tokenizer}, 8)
    config = DecoderConfig(modality="image", width=16, depth=1, heads=2)
    generator = TextGenerator.build(config, tokenizer, space, ["caption", "vqa", "itm"])
    with torch.no_grad():
        for tensor in (*space.state_dict().values(), *generator.decoder.state_dict().values()):
            tensor.add_(0.1 * torch.rand_like(tensor))
    return space.eval(), generator


def old_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As version 0.1 named its modules."""
    return {
        name.replace("transformer_blocks.", "mixers.").replace("itm_head.", "judge."): tensor
        for name, tensor in weights.items()
    }


def golden(space: Space) -> dict[str, Tensor]:
    stored: dict[str, Tensor] = {}
    for place, image in enumerate(IMAGES):
        stored[f"image.{place}.raw"] = torch.from_numpy(image)
        stored[f"image.{place}.vector"] = exact(space, "image", image)
    stored["text.0.raw"] = torch.tensor(list(CAPTIONS[0].encode()), dtype=torch.uint8)
    stored["text.0.vector"] = exact(space, "text", CAPTIONS[0])
    return stored


def exact(space: Space, modality: str, raw: Any) -> Tensor:
    processor = space.processors[modality]
    with torch.inference_mode():
        return torch.nn.functional.normalize(
            space.encode(modality, processor.batch([processor.prepare(raw)]))[0], dim=0
        )


def write_old(folder: Path, image: Any, old_image: Mapping[str, Any], decoder: bool = True) -> tuple[Space, Any]:
    """A run folder as version 0.1 wrote it."""
    space, generator = trained(image)
    tokenizer = space.processors["text"].state()
    facts = {"config.json": OLD_CONFIG, "metrics.json": OLD_METRICS, "run.json": OLD_FACTS}
    facts |= {"intervals.json": {"text_to_image/R@1": [0.4, 0.6]}, "reliability.json": {"error": 0.01, "bins": []}}
    content: dict[str, files.Content] = {
        "space.json": files.as_json(
            {
                "format": 1,
                "width": 8,
                "encoders": {"image": old_image, "text": TEXT},
                "calibration": [2.5, -1.0],
                "matching": {"text_to_image": {"cosine": 3.0, "z": 0.5, "offset": -1.0, "gallery": 10}},
            }
        ),
        "weights.safetensors": tensors.writer(old_names(space.state_dict())),
        "golden.safetensors": tensors.writer(golden(space)),
        "image.json": files.as_json(space.processors["image"].state()),
        "text.json": files.as_json(tokenizer),
        **{f"run/{name}": files.as_json(data) for name, data in facts.items()},
    }
    if decoder:
        settings = {"format": 3, "lessons": ["caption", "answer", "match"], "decoder": OLD_CONFIG["decoder"]}
        content |= {
            "fusion/fusion.json": files.as_json(settings),
            "fusion/tokenizer.json": files.as_json(tokenizer),
            "fusion/prior.json": files.as_json({"answers": {"": "yes"}, "captions": {"a red bus": 3}}),
            "fusion/decoder.safetensors": tensors.writer(old_names(generator.decoder.state_dict())),
        }
    files.write_folder(folder / "model", content)
    for name, data in facts.items():
        files.write_json(folder / name, data)
    rows = [json.dumps(row) for row in OLD_ROWS]
    (folder / "metrics.jsonl").write_text("\n".join(rows) + '\n{"step": 3, "lo')
    (folder / "report.html").write_text("<p>a report")
    return space, generator


@pytest.fixture
def old(tmp_path: Path) -> Path:
    write_old(tmp_path / "old", cnn.Config(widths=(8, 16), transformer_blocks=1, heads=2, stem_grid=8), OLD_CNN)
    return tmp_path / "old"


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


TOWERS = {
    "cnn": (cnn.Config(widths=(8, 16), transformer_blocks=1, heads=2, stem_grid=8), OLD_CNN),
    "vit": (vit.Config(patch_size=4, width=16, depth=1, heads=2, patch_dropout=0.25), OLD_VIT),
}


@pytest.mark.parametrize("tower", TOWERS)
def test_a_converted_model_gives_the_same_vectors_and_texts(tower: str, tmp_path: Path) -> None:
    space, generator = write_old(tmp_path / "old", *TOWERS[tower])
    made = import_model(str(tmp_path / "old"), tmp_path / "new")
    assert made.compared.differences == {"image": 0.0, "text": 0.0}
    run = Run.load(tmp_path / "new")
    assert run.space.configs == space.configs
    for name, tensor in space.state_dict().items():
        assert torch.equal(run.space.state_dict()[name].cpu(), tensor), name
    assert run.space.calibration is not None
    assert (run.space.calibration.slope, run.space.calibration.offset) == (2.5, -1.0)
    assert not run.space.relevance, "what it kept for percentages answered another question: none are shown"
    assert run.generator is not None
    assert run.generator.tasks == ("caption", "vqa", "itm")
    assert run.generator.modality == "image"
    assert run.generator.prior.captions == {"a red bus": 3}
    expected = flat({"decoder": run.generator.decoder.config.model_dump(mode="json")})
    assert {
        key: PRESENT[key] for key in ("decoder.dropout", "decoder.label_smoothing", "decoder.itm_fraction")
    }.items() <= (expected.items())
    prepared = [space.processors["image"].prepare(image) for image in IMAGES]
    how = Generation(beams=2, max_length=5)
    assert run.generator.captions(run.space, iter(prepared), how) == generator.captions(space, iter(prepared), how)


def test_settings_figures_and_facts_have_their_present_names(old: Path, tmp_path: Path) -> None:
    import_model(str(old), tmp_path / "new")
    run = Run.load(tmp_path / "new")
    config = flat(run.config())
    assert {key: config[key] for key in PRESENT} == PRESENT
    assert RunConfig(**run.config()).model_dump(mode="json") == run.config()
    assert run.metrics() == METRICS
    assert MetricsLog(tmp_path / "new" / "metrics.jsonl").rows() == ROWS
    scale = run.logit_scale()
    assert scale is not None
    assert (scale.scale, scale.bias) == (13.5, -9.0)
    assert run.facts["data"] == {"name": "pairs.csv", "rows": 9, "images": 8, "texts": 4}
    assert run.facts["set_aside"] == {"missing file": 2, "bomb": 1}
    assert run.facts["cospace"] == "0.1.0"
    assert run.facts["converted"]["run"] == str(old)
    assert (tmp_path / "new" / "report.html").read_text() == "<p>a report"
    for name in ("config.json", "metrics.json", "run.json", "intervals.json", "reliability.json"):
        beside, copy = tmp_path / "new" / name, tmp_path / "new" / "model" / "run" / name
        assert beside.read_bytes() == copy.read_bytes(), name
    files.verify(tmp_path / "new" / "model")


def test_every_old_setting_is_known(old: Path) -> None:
    """And none of the tables names a setting that there never was, or is no more."""
    renamed = flat(old_runs.config(OLD_CONFIG, old))
    assert renamed.keys() <= flat(RunConfig(**old_runs.config(OLD_CONFIG, old)).model_dump(mode="json")).keys()
    assert old_runs.SETTINGS.keys() <= flat(OLD_CONFIG).keys()
    assert set(old_runs.SETTINGS.values()) <= renamed.keys()
    for name, table in old_runs.ENCODERS.items():
        fields = lookup("models.encoders", name).model_fields
        assert set(table.values()) <= fields.keys(), name
        assert not table.keys() & fields.keys() - set(table.values()), name
    assert set(old_runs.OBJECTIVES["softmax"].values()) == softmax.Config.model_fields.keys()


def test_a_model_folder_alone_and_a_run_without_a_decoder(tmp_path: Path) -> None:
    write_old(tmp_path / "old", *TOWERS["cnn"], decoder=False)
    import_model(str(tmp_path / "old" / "model"), tmp_path / "new")
    run = Run.load(tmp_path / "new")
    assert run.generator is None
    assert run.metrics() == METRICS
    assert not (tmp_path / "new" / "metrics.jsonl").exists()


def test_an_old_run_is_refused_with_the_command_that_converts_it(old: Path, tmp_path: Path, cospace: Cospace) -> None:
    sentence = f"{old} was written by cospace 0.1; convert it with: cospace import {old} --out NEW"
    for load in (lambda: Space.load(old / "model"), lambda: Run.load(old), lambda: Run.load(old / "model")):
        with pytest.raises(UserError) as error:
            load()
        assert str(error.value) == sentence
    space, _ = trained(TOWERS["cnn"][0])
    with pytest.raises(UserError, match=r"written by cospace 0\.1"):
        TextGenerator.load(old / "model", space)
    assert cospace("caption", old, "a.jpg").refusal() == sentence
    converted = cospace("import", old, "--out", tmp_path / "new")
    assert converted.code == 0, converted.err
    assert "largest difference to cospace 0.1: image 0.0e+00, text 0.0e+00" in converted.out
    again = cospace("import", tmp_path / "new", "--out", tmp_path / "other").refusal()
    assert again.endswith("is no run of version 0.1, so there is nothing to convert; use it as it is")
    assert "already holds a finished run" in cospace("import", old, "--out", tmp_path / "new").refusal()


@pytest.mark.parametrize("name", ["weights.safetensors", "fusion/decoder.safetensors", "text.json"])
def test_a_flipped_bit_is_refused_and_nothing_is_written(name: str, old: Path, tmp_path: Path) -> None:
    path = old / "model" / name
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match=path.name):
        import_model(str(old), tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_weights_that_do_not_give_the_golden_vectors_are_refused(old: Path, tmp_path: Path) -> None:
    other, _ = trained(TOWERS["cnn"][0])
    with torch.no_grad():
        other.state_dict()["encoders.image.norm.weight"].mul_(torch.linspace(-3, 3, 16))
    tensors.writer(old_names(other.state_dict()))(old / "model" / "weights.safetensors")
    files.seal(old / "model")
    with pytest.raises(UserError, match="golden image vector"):
        import_model(str(old), tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("where", ["encoders", "objective"])
def test_code_from_outside_is_never_imported(
    where: str, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    if where == "encoders":
        settings = json.loads((old / "model" / "space.json").read_text())
        settings["encoders"]["text"] = {"name": "theirs.encoder"}
        files.write_json(old / "model" / "space.json", settings)
        files.seal(old / "model")
    else:
        files.write_json(old / "config.json", {**OLD_CONFIG, "objective": {"name": "theirs.loss"}})
    with pytest.raises(UserError, match=r"uses theirs\.\w+, which is no part of cospace"):
        import_model(str(old), tmp_path / "new")
    assert not (tmp_path / "new").exists()

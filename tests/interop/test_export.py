"""What is written for another library is loaded back by it, with the same vectors, and by us."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import published
import pytest
import torch

from conftest import Cospace, Shell
from cospace.commands.export_model import export_model
from cospace.commands.import_model import import_model
from cospace.interop import sources
from cospace.interop.parity import TEXTS
from cospace.runs.run import Run
from cospace.types import UserError

CLOSE = 1e-5

WAYS = {
    "CLIP": (published.clip, "hf"),
    "CLIP, GELU": (lambda folder: published.clip(folder, "gelu"), "openclip"),
    "SigLIP": (published.siglip, "hf"),
    "BERT": (published.bert, "hf"),
    "CLIP of OpenCLIP": (published.openclip, "openclip"),
    "CLIP of OpenCLIP for transformers": (published.openclip, "hf"),
    "CLIP ResNet of OpenCLIP": (lambda folder: published.openclip(folder, images=published.RESNET), "openclip"),
    "CLIP of OpenAI for OpenCLIP": (published.openai, "openclip"),
    "DistilBERT as BERT": (lambda folder: published.bert(folder, "DistilBert"), "hf"),
    "SigLIP of OpenCLIP for transformers": (published.siglip_of_openclip, "hf"),
    "ALIGN": (published.align, "hf"),
}


SIMILAR = {"CLIP of OpenCLIP for transformers", "SigLIP of OpenCLIP for transformers", "CLIP, GELU"}
"""Ways whose halves are those of others."""


@pytest.mark.parametrize("way", [pytest.param(way, marks=[pytest.mark.slow] * (way in SIMILAR)) for way in WAYS])
def test_another_library_loads_what_was_written(way: str, tmp_path: Path) -> None:
    write, name = WAYS[way]
    folder = tmp_path / "published"
    folder.mkdir()
    run = import_model(str(write(folder)), tmp_path / "run").run
    made = export_model(tmp_path / "run", name, tmp_path / "out")
    assert not made.compared.left_out
    assert list(made.compared.differences) == run.space.modalities
    assert max(made.compared.differences.values()) <= CLOSE
    again = sources.read(str(tmp_path / "out"))
    mine, theirs = run.space.state_dict(), again.space.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key].cpu(), theirs[key]) for key in mine)
    assert again.scale == pytest.approx(run.facts["published"]["scale"], rel=1e-6)
    ours, theirs_too = run.space.processors["text"], again.space.processors["text"]
    assert theirs_too.encode([*TEXTS, "low_line"]) == ours.encode([*TEXTS, "low_line"])
    assert (again.space.calibration is None) == (run.space.calibration is None)


def test_a_fine_tuned_run_goes_back(tmp_path: Path, shapes: Path, shell: Shell) -> None:
    source = tmp_path / "clip"
    source.mkdir()
    published.clip(source)
    fast = ("training.steps=4", "training.batch_size=16", "training.evaluations=0")
    shell.json("train", shapes, "--out", tmp_path / "run", "--from", source, *fast)
    shown = shell.json("export", tmp_path / "run", "--format", "hf", "--out", tmp_path / "out")
    assert max(shown["differences"].values()) <= CLOSE
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Started from" in card
    assert "text_to_image/R@1" in card
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert sources.read(str(tmp_path / "out")).scale == pytest.approx(rows[-1]["logit_scale"], rel=1e-6)
    image = str(next((shapes.parent / "images").iterdir()))
    ours = Run.load(tmp_path / "run").space.embed(image=[image])
    np.testing.assert_allclose(ours @ ours.T, 1, rtol=1e-5)


def test_towers_of_our_own_have_no_other_layout(trained: Path, tmp_path: Path, cospace: Cospace) -> None:
    for name in ("hf", "openclip"):
        refusal = cospace("export", trained, "--format", name, "--out", tmp_path / "out").refusal()
        assert "has no model made of cnn and transformer" in refusal
    assert not (tmp_path / "out").exists()
    assert "did you mean 'hf'" in cospace("export", trained, "--format", "hg", "--out", tmp_path / "out").refusal()
    (tmp_path / "out").mkdir()
    assert "exists" in cospace("export", trained, "--format", "hf", "--out", tmp_path / "out").refusal()


def test_nothing_is_written_where_the_vectors_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    import_model(str(published.clip(folder)), tmp_path / "run")
    monkeypatch.setattr("cospace.interop.writing.ACTIVATIONS", {"quick_gelu": "gelu"})
    with pytest.raises(UserError, match="differ from transformers's by"):
        export_model(tmp_path / "run", "hf", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.name not in ("published", "run")]


ONNX = {"CLIP": published.clip, "SigLIP": published.siglip, "BERT": published.bert}


@pytest.mark.slow
@pytest.mark.parametrize("name", ONNX)
def test_onnxruntime_gives_the_same_vectors(name: str, tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    import_model(str(ONNX[name](tmp_path / "published")), tmp_path / "run")
    is_exported(tmp_path / "run", tmp_path / "out")


def is_exported(run: Path, out: Path) -> None:
    made = export_model(run, "onnx", out)
    assert not made.compared.left_out
    assert max(made.compared.differences.values()) <= CLOSE
    written = {path.name for path in out.iterdir()}
    for modality in made.compared.differences:
        assert {f"{modality}.onnx", f"{modality}.json"} <= written


def test_a_graph_of_towers_of_our_own_reads_texts_of_any_length(trained: Path, tmp_path: Path) -> None:
    import onnxruntime

    is_exported(trained, tmp_path / "out")
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "text.onnx"))
    space = Run.load(trained).space
    for text in ("red", "a large red circle on the left of a small blue square and of many other things"):
        batch = space.processors["text"].batch([space.processors["text"].prepare(text)])
        inputs = {"ids": batch.ids_BT.numpy(), "mask": batch.mask_BT.numpy()}
        (vectors,) = session.run(None, inputs)
        assert float((vectors @ space.embed(text=[text]).T)[0, 0]) > 0.9995  # ours is bfloat16 where that is fast

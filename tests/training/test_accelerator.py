"""Computing on something else than a CPU, as far as a machine without it can show: no step mixes devices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from accelerator import WHERE, Accelerator, MixedDevices
from cospace import runtime
from cospace.evaluators.measures import watch
from cospace.models.encoders import transformer
from cospace.models.generation.decoder import Config as DecoderConfig
from cospace.models.space import Space
from cospace.objectives import softmax
from cospace.training.checkpoint import CheckpointFolder
from cospace.training.loop import Learner, Observers, Trainer, TrainingConfig
from cospace.training.optim import OptimConfig
from cospace.types import TextSpec
from tiny_training import CONVOLUTIONS, CPU, WORDS, batch_of, decoder_and_targets, space


def learner(where: torch.device) -> Learner:
    tower = space(CONVOLUTIONS, transformer.Config.tiny(), kind=Space).to(where)
    torch.manual_seed(4)
    decoder = DecoderConfig(modality="image", width=16, heads=2).build(TextSpec(210, 12), 16)
    return Learner(tower, decoder.to(where))


def losses(where: torch.device, folder: Path, **settings: Any) -> list[dict[str, Any]]:
    """What some steps log: towers, a decoder with every task, both optimizers, the health of the batch."""
    made = learner(where)
    config = TrainingConfig(steps=2, optim=OptimConfig(warmup_steps=1), **settings)
    trainer = Trainer(made, softmax.Config().build().to(where), config, CheckpointFolder(folder), Observers())
    _, batch = decoder_and_targets(batch_of(dtype=torch.float32))
    rows = []
    for step in range(2):
        row, embeddings = trainer.step(replace(batch, step=step), 2)
        rows.append(row | watch(embeddings, batch.matches))
    return rows


def test_training_on_an_accelerator_mixes_no_tensors(tmp_path: Path) -> None:
    expected = losses(CPU, tmp_path / "cpu", precision="float32")
    with Accelerator():
        found = losses(WHERE, tmp_path / "there", precision="float32", activation_memory_gb=0.0)
        rough = losses(WHERE, tmp_path / "rough", precision="bfloat16", activation_memory_gb=1.0)
    for own, other, rounded in zip(expected, found, rough, strict=True):
        assert own.keys() == other.keys() == rounded.keys()
        for name in own.keys() - {"minutes", "samples_per_second"}:
            assert other[name] == pytest.approx(own[name], rel=1e-4, abs=1e-5), name
        assert rounded["loss"] == pytest.approx(own["loss"], rel=0.05)


def test_embedding_on_an_accelerator_mixes_no_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    made = space(CONVOLUTIONS, transformer.Config.tiny(), kind=Space).eval()
    images = [np.full((20, 20, 3), value, np.uint8) for value in (10, 200)]
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)  # of which tensors that wrap others know nothing
    expected = made.embed(text=WORDS), made.embed(image=images)
    with Accelerator():
        there = made.to(WHERE)
        there.precision = "float32"
        found = there.embed(text=WORDS), there.embed(image=images)
    for own, other in zip(expected, found, strict=True):
        assert np.einsum("ne,ne->n", own, other).min() > 0.999


def test_the_pretended_accelerator_notices_what_a_gpu_would() -> None:
    with Accelerator():
        there = torch.randn(3, 4).to(WHERE)
        for mistake in (lambda: there + torch.ones(4), lambda: torch.cat([there, torch.ones(1, 4)])):
            with pytest.raises(MixedDevices):
                mistake()
        assert torch.equal((there * 2).cpu(), there.cpu() * 2)
        assert (there + torch.tensor(1.0)).device == WHERE, "bare numbers go along with any device"


# ------------------------------------------------------------------------------------------------ other accelerators


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device that computes neither in bfloat16 nor in float64, and says nothing of its memory."""
    where = torch.device("mps")
    real = torch.ones

    def ones(*shape: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        if device.type == "mps" and dtype in (torch.bfloat16, torch.float64):
            raise TypeError("this format is not supported")
        return real(*shape, dtype=dtype)

    monkeypatch.setattr(torch, "ones", ones)
    monkeypatch.setattr(torch, "mps", SimpleNamespace())
    return where


def test_what_a_device_cannot_do_falls_back_with_a_sentence(apple: torch.device) -> None:
    assert runtime.compute_dtype("bfloat16", apple) == runtime.compute_dtype("auto", apple) == torch.float32
    assert runtime.memory_of(apple) == runtime.memory_of(CPU)
    said = runtime.limits(apple, "bfloat16")
    assert [sentence.split(":")[0] for sentence in said] == [
        "mps does not compute in bfloat16",
        "mps does not say how much memory it has",
    ]
    assert runtime.limits(CPU, "bfloat16") == []
    assert "mps" in runtime.describe(apple)


def test_any_accelerator_that_torch_finds_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("xpu"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert runtime.device() == torch.device("xpu")
    monkeypatch.setenv("LOCAL_RANK", "6")
    assert runtime.device() == torch.device("xpu", 2)
    known = SimpleNamespace(get_device_properties=lambda where: SimpleNamespace(total_memory=7), get_device_name=str)
    monkeypatch.setattr(torch, "xpu", known)
    assert runtime.memory_of(torch.device("xpu", 2)) == 7
    assert runtime.limits(torch.device("xpu", 2)) == []
    assert runtime.describe(torch.device("xpu", 2)).startswith("xpu:2, torch")
    assert not runtime.has_fast_bfloat16(torch.device("xpu", 2))


def test_each_device_keeps_the_state_of_its_own_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    where, states = torch.device("xpu", 1), {torch.device("xpu", 1): torch.tensor([3])}
    known = SimpleNamespace(
        get_rng_state=states.__getitem__, set_rng_state=lambda state, at: states.update({at: state})
    )
    monkeypatch.setattr(torch, "xpu", known)
    before = runtime.random_state(where)
    states[where] = torch.tensor([9])
    first = torch.rand(3)
    runtime.set_random_state(where, before)
    assert states[where].item() == 3
    assert torch.equal(torch.rand(3), first)

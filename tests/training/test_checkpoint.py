"""Checkpoints: exact, whole or not at all, and never fewer than one that can be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from cospace.training.checkpoint import Checkpoints
from cospace.training.optim import AdamW, Muon, Optimizer
from cospace.types import UserError


def parts(seed: int) -> tuple[nn.Module, list[Optimizer]]:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    optimizers = [Muon([module[0].weight], 0.1, 0.9, 0.0, torch.float32), AdamW(module[1].parameters(), lr=0.1)]
    return module, optimizers


def steps(module: nn.Module, optimizers: list[Optimizer], count: int, seed: int) -> None:
    torch.manual_seed(seed)
    for _ in range(count):
        module.zero_grad()
        module(torch.randn(8, 4)).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()


def test_a_restored_run_takes_bitwise_the_same_steps(tmp_path: Path) -> None:
    module, optimizers = parts(0)
    steps(module, optimizers, 3, 1)
    Checkpoints(tmp_path, {"m": module}, optimizers).save(3, {"minutes": 1.5})
    steps(module, optimizers, 3, 2)
    other, theirs = parts(9)
    facts, complaints = Checkpoints(tmp_path, {"m": other}, theirs).resume()
    assert facts == {"step": 3, "minutes": 1.5}
    assert not complaints
    steps(other, theirs, 3, 2)
    for key, value in module.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    module, optimizers = parts(0)
    keeper = Checkpoints(tmp_path, {"m": module}, optimizers, keep=1)
    for step in (1, 2, 3, 10):
        keeper.save(step, {})
    assert [folder.name for folder in keeper.found()] == ["step-00000010", "step-00000003"]


def test_a_damaged_checkpoint_is_passed_over_with_a_sentence(tmp_path: Path) -> None:
    module, optimizers = parts(0)
    keeper = Checkpoints(tmp_path, {"m": module}, optimizers)
    keeper.save(1, {})
    steps(module, optimizers, 1, 1)
    newest = keeper.save(2, {}) / "state.safetensors"
    data = bytearray(newest.read_bytes())
    data[-5] ^= 1
    newest.write_bytes(bytes(data))
    facts, complaints = keeper.resume()
    assert facts is not None
    assert facts["step"] == 1
    assert len(complaints) == 1
    assert "step-00000002" in complaints[0]


def test_best_weights_are_kept_as_long_as_a_checkpoint_goes_with_them(tmp_path: Path) -> None:
    module, optimizers = parts(0)
    keeper = Checkpoints(tmp_path, {"m": module}, optimizers)
    there = {}
    for step in range(1, 8):
        steps(module, optimizers, 1, step)
        if step in (1, 3, 6):
            keeper.save_best(step)
        if step > 1:
            keeper.save(step, {})
        there[step] = sorted(path.name for path in tmp_path.glob("best-*"))
    assert there[2] == ["best-00000001"]
    assert there[3] == ["best-00000001", "best-00000003"], "the checkpoint of step 2 goes with the first"
    assert there[5] == ["best-00000003"]
    assert there[6] == ["best-00000003", "best-00000006"]
    assert there[7] == ["best-00000006"]


def test_best_weights_come_back_bitwise_and_younger_ones_are_dropped(tmp_path: Path) -> None:
    module, optimizers = parts(0)
    keeper = Checkpoints(tmp_path, {"m": module}, optimizers)
    steps(module, optimizers, 1, 1)
    keeper.save_best(1)
    best = {key: value.clone() for key, value in module.state_dict().items()}
    keeper.save(2, {})
    steps(module, optimizers, 1, 2)
    keeper.save_best(3)
    assert keeper.resume()[0] == {"step": 2}
    assert [path.name for path in tmp_path.glob("best-*")] == ["best-00000001"]
    steps(module, optimizers, 1, 3)
    keeper.load_best(1)
    assert all(torch.equal(value, best[key]) for key, value in module.state_dict().items())
    weights = tmp_path / "best-00000001" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match="weights.safetensors is damaged"):
        keeper.load_best(1)


def test_without_a_checkpoint_best_weights_of_a_killed_run_are_dropped(tmp_path: Path) -> None:
    module, optimizers = parts(0)
    keeper = Checkpoints(tmp_path, {"m": module}, optimizers)
    keeper.save_best(0)
    assert keeper.resume() == (None, [])
    assert not list(tmp_path.iterdir())


def test_nothing_to_resume_from(tmp_path: Path) -> None:
    module, optimizers = parts(0)
    assert Checkpoints(tmp_path / "none", {"m": module}, optimizers).resume() == (None, [])

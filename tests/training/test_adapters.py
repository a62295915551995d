"""Low-rank adapters: nothing at the start, alone in learning, and gone when they are merged."""

from __future__ import annotations

import copy

import pytest
import torch

from cospace.models.encoders import clip_vit
from cospace.training import adapters
from cospace.training.adapters import add_adapters, merge_adapters
from cospace.types import ImageSpec, UserError


def tower() -> torch.nn.Module:
    torch.manual_seed(0)
    return clip_vit.Config.tiny().build(ImageSpec(16)).eval()


def test_adapters_start_at_nothing_and_learn_alone() -> None:
    module, images = tower(), torch.randn(2, 3, 16, 16)
    before = module(images).pooled_BD
    learning = add_adapters(module, 2)
    torch.testing.assert_close(module(images).pooled_BD, before)
    assert {id(p) for p in module.parameters() if p.requires_grad} == {id(p) for p in learning}
    assert len(learning) == 2 * 2 * 4  # two blocks of four maps, two matrices each
    module(images).pooled_BD.square().sum().backward()
    assert all(p.grad is not None for p in learning)


def test_merged_they_are_part_of_the_weights() -> None:
    module, images = tower(), torch.randn(2, 3, 16, 16)
    names = set(module.state_dict())
    for parameter in add_adapters(module, 2):
        torch.nn.init.normal_(parameter, std=0.1)
    learned = module(images).pooled_BD
    merge_adapters(module)
    assert set(module.state_dict()) == names
    torch.testing.assert_close(module(images).pooled_BD, learned, rtol=1e-4, atol=1e-5)
    plain = copy.deepcopy(module)
    merge_adapters(module)
    torch.testing.assert_close(module(images).pooled_BD, plain(images).pooled_BD)


def test_a_tower_without_linear_layers_is_refused_and_one_without_parameters_left_alone() -> None:
    with pytest.raises(UserError, match="lora_rank adapts linear layers, of which Conv2d has none"):
        add_adapters(torch.nn.Conv2d(3, 4, 3), 2)
    assert add_adapters(torch.nn.ReLU(), 2) == []


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(adapters.importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"pip install 'cospace\[lora\]'"):
        add_adapters(tower(), 2)

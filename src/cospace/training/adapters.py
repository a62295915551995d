"""Low-rank adapters (Hu et al. 2021, LoRA) in place of training a tower's own weights, by the library peft."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from torch import nn

from ..types import UserError


def add_adapters(tower: nn.Module, rank: int) -> list[nn.Parameter]:
    """Give every linear layer inside ``tower`` an adapter of this rank; they start at zero, and they alone learn.

    A tower without parameters has nothing to adapt.
    """
    if next(tower.parameters(), None) is None:
        return []
    names = [name for name, module in tower.named_modules() if type(module) is nn.Linear]
    if not names:
        raise UserError(f"lora_rank adapts linear layers, of which {type(tower).__name__} has none; set lora_rank=0")
    peft = _library()
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names)
    peft.inject_adapter_in_model(config, tower)
    return [parameter for parameter in tower.parameters() if parameter.requires_grad]


def merge_adapters(tower: nn.Module) -> None:
    """Add what the adapters have learned to the weights, and leave no trace of them."""
    for parent, name, layer in list(_adapted(tower)):
        layer.merge()
        setattr(parent, name, layer.get_base_layer())


def _adapted(tower: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    for parent in tower.modules():
        for name, child in parent.named_children():
            if hasattr(child, "lora_A") and hasattr(child, "get_base_layer"):
                yield parent, name, child


def _library() -> Any:
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise UserError(f"low-rank adapters need the library peft ({error}); pip install 'cospace[lora]'") from error

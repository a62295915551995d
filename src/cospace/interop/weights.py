"""Tensors from the files that models are published in: safetensors, whole or sharded, and pickles of tensors alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import tensors
from ..reading import MALFORMED, opened, read_json
from ..types import UserError

INDEX = "model.safetensors.index.json"
"""Which shard holds which tensor, where there are several files."""

NAMES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")
"""Where libraries keep the weights of a model's folder; the first that is there is read, safetensors before pickles."""


def weights_in(folder: Path) -> tuple[str, dict[str, Tensor]]:
    """What to call the file with the weights of a published folder, and its tensors."""
    if (folder / INDEX).is_file():
        return str(folder / INDEX), _shards(folder)
    for name in NAMES:
        if (folder / name).is_file():
            return str(folder / name), read_tensors(folder / name)
    raise UserError(f"{folder} holds no weights; one of these files was expected: {', '.join([*NAMES, INDEX])}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of one file by name; what a training program wrapped around them is taken off."""
    if path.suffix == ".safetensors":
        return tensors.read(path)
    return _unwrapped(_unpickled(path), path)


def _unpickled(path: Path) -> Any:
    """A pickle of tensors and plain containers; one that names any other class is refused before anything runs."""
    from pickle import UnpicklingError

    try:
        opened(path).close()
        return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, EOFError, OSError, *MALFORMED) as error:
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{path} cannot be read as tensors alone ({first}); pickles that hold code are never run: convert it to "
            "safetensors with the program that wrote it"
        ) from error


def _unwrapped(loaded: Any, path: Path) -> dict[str, Tensor]:
    for name in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"{path} holds no table of tensors by name; give the file with a model's weights")
    return {str(name).removeprefix("module."): value for name, value in loaded.items()}


def _shards(folder: Path) -> dict[str, Tensor]:
    where = read_json(folder / INDEX).get("weight_map")
    if not isinstance(where, Mapping):
        raise UserError(f"{folder / INDEX} has no weight_map; it is not an index of shards")
    found: dict[str, Tensor] = {}
    for name in sorted({str(name) for name in where.values()}):
        if Path(name).name != name:
            raise UserError(f"{folder / INDEX} names {name!r}, which is not a file beside it")
        found |= read_tensors(folder / name)
    if lacking := sorted(where.keys() - found.keys()):
        raise UserError(f"{folder / INDEX} lists {lacking[0]}, which none of its files holds")
    return found

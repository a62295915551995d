"""Named tensors to and from safetensors files: errors of the system as what they are, damage as a sentence."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from .filenames import as_utf8
from .reading import MALFORMED, opened
from .types import UserError

SLACK = 50_000_000
"""Numbers that a model may compute when it is built, e.g. tables of positions, and so does not keep in its file."""


def writer(tensors: Mapping[str, Tensor]) -> Callable[[Path], None]:
    """A function that writes ``tensors``, as they are when it is called, to the path it is given.

    transformers asks a file for the note that its tensors are torch's. A full disk raises ``OSError`` like any
    other file's would; safetensors itself raises an error of its own.
    """

    def write(path: Path) -> None:
        plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        try:
            with as_utf8(path) as name:
                save_file(plain, name, metadata={"format": "pt"})
        except SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error

    return write


def read(path: Path) -> dict[str, Tensor]:
    """All tensors of a file by name. Raises :class:`UserError` that names a file which is damaged or something else."""
    with _explained(path), as_utf8(path) as name:
        return load_file(name)


@contextmanager
def no_more_than(path: Path) -> Iterator[None]:
    """Let modules be built in the block only as long as they could be filled from the weights in ``path``.

    Settings that somebody else wrote may ask for a model of any size; what is never filled must not use up the memory.
    Raises ``ValueError`` at the first weight too many, before it is filled.
    """
    with _explained(path), as_utf8(path) as name, safe_open(name, framework="pt") as file:
        left = SLACK + 2 * sum(prod(file.get_slice(name).get_shape()) for name in list(file.keys()))

    def count(module: nn.Module, name: str, made: Any) -> None:
        nonlocal left
        left -= made.numel() if isinstance(made, Tensor) else 0
        if left < 0:
            raise ValueError("the settings describe a far larger model than its weights are")

    handles = [
        hooks.register_module_parameter_registration_hook(count),
        hooks.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        opened(path).close()
        yield
    except (SafetensorError, OSError, *MALFORMED) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error}); it was cut, or is another format") from error

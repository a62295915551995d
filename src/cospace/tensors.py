"""Named tensors to a safetensors file, with the operating system's errors as what they are."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def writer(tensors: Mapping[str, Tensor]) -> Callable[[Path], None]:
    """A function that writes ``tensors``, as they are when it is called, to the path it is given.

    transformers asks a file for the note that its tensors are torch's. A full disk raises ``OSError`` like any
    other file's would; safetensors itself raises an error of its own.
    """

    def write(path: Path) -> None:
        plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        try:
            save_file(plain, path, metadata={"format": "pt"})
        except SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error

    return write

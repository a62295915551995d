"""A space as ONNX: one graph a tower, any batch and any length of text, and what its inputs need.

``image.onnx`` reads ``images`` (float32 ``(B, 3, S, S)``, normalised), ``text.onnx`` reads ``ids`` (int64 ``(B, T)``)
and ``mask`` (bool ``(B, T)``, true where a token is real); both give ``vectors``, float32 ``(B, E)`` of length one.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from .. import files
from ..modalities.text.tokenizer import TokenBatch
from ..models.space import Space
from ..types import UserError
from .parity import Compared, check, exactly, examples, read_by

INPUTS = {"image": ["images"], "text": ["ids", "mask"]}


class Tower(nn.Module):
    """One modality of a space from plain tensors to unit vectors."""

    def __init__(self, space: Space, modality: str) -> None:
        super().__init__()
        self.space, self.modality = space, modality

    def forward(self, *inputs: Tensor) -> Tensor:
        given: Any = inputs[0] if self.modality == "image" else TokenBatch(*inputs)
        return normalize(self.space.encode(self.modality, given), dim=-1)


def onnx_folder(space: Space) -> dict[str, files.Content]:
    """Graphs, and the preparation of each modality as ``image.json`` and ``text.json``."""
    for name in ("onnx", "onnxscript"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise UserError(f"ONNX needs the library {name}; pip install 'cospace[onnx]'") from error
    plain = copy.deepcopy(space).cpu().eval()
    content: dict[str, files.Content] = {
        f"{modality}.json": files.as_json(processor.state()) for modality, processor in space.processors.items()
    }
    return content | {f"{modality}.onnx": graph(plain, modality) for modality in space.modalities}


def graph(space: Space, modality: str) -> Callable[[Path], None]:
    """A function that writes the graph of one tower to a file."""
    inputs = example_inputs(space, modality)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    shapes = [{0: batch}] if modality == "image" else [{0: batch, 1: length}] * 2

    def write(path: Path) -> None:
        tower = Tower(space, modality)
        try:
            with torch.no_grad():
                program = torch.onnx.export(
                    tower,
                    inputs,
                    input_names=INPUTS[modality],
                    output_names=["vectors"],
                    dynamic_shapes={"inputs": tuple(shapes)},
                    dynamo=True,
                    verbose=False,
                )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            first = str(error).strip().partition("\n")[0]
            raise UserError(f"the {modality} tower cannot be written as ONNX: {first}") from error
        assert program is not None
        program.save(str(path), external_data=False)

    return write


def example_inputs(space: Space, modality: str) -> tuple[Tensor, ...]:
    """Inputs of a tower as plain tensors."""
    given = read_by(space, examples(space))[modality]
    return (given.ids_BT, given.mask_BT) if isinstance(given, TokenBatch) else (given,)


def compare_onnx(folder: Path, space: Space) -> Compared:
    """Run the graphs with onnxruntime, each with another batch than it was traced with."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        return Compared("onnxruntime", {}, f"it cannot be imported here ({error})")
    plain, differences = copy.deepcopy(space).cpu().eval(), {}
    for modality, ours in exactly(plain).items():
        session = runtime.InferenceSession(str(folder / f"{modality}.onnx"), providers=["CPUExecutionProvider"])
        inputs = [tensor.numpy() for tensor in example_inputs(plain, modality)]
        made = [session.run(None, dict(zip(INPUTS[modality], [a[:n] for a in inputs], strict=True)))[0] for n in (1, 2)]
        theirs = np.concatenate([made[0], made[1][1:]])
        differences[modality] = float(np.abs(theirs - ours[:2].numpy()).max())
    return check(Compared("onnxruntime", differences), folder.name)

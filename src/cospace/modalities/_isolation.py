"""Prepare items in a process of its own, so that one that crashes or hangs the decoder costs that item alone.

Slower by a process start and a copy of every item, so it is what a job falls back on, not what it begins with. What
the process answers is read as plain bytes: a decoder that a hostile file has taken over gets nothing run here.
"""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..stopping import unheard
from ..types import BadItem, attempted
from . import Processor
from . import modality as modality_of

START = 300.0
"""Seconds that the process may take to begin: it imports torch, on a machine that may be busy."""


def prepare_isolated(
    modality: str, raws: Sequence[Any], processor: Processor, patience: float
) -> list[Tensor | BadItem]:
    """Prepared items in order; one that ends the process, or takes longer than ``patience`` seconds, is a bad one."""
    made: list[Tensor | BadItem] = []
    while len(made) < len(raws):
        made += _by_one_process(modality, raws[len(made) :], processor, patience)
    return made


def _by_one_process(
    modality: str, raws: Sequence[Any], processor: Processor, patience: float
) -> list[Tensor | BadItem]:
    """As far as one process comes."""
    context = get_context("spawn")  # a fork would inherit threads of torch, and hang
    ours, theirs = context.Pipe()
    arguments = (theirs, modality, processor.state(), patience)
    process = context.Process(target=_serve, args=arguments, daemon=True)
    with unheard():
        process.start()
    theirs.close()
    made: list[Tensor | BadItem] = []
    try:
        if not ours.poll(START):
            raise RuntimeError("the process that decodes on its own did not begin")
        ours.recv_bytes()
        for raw in raws:
            ours.send(raw)
            if not ours.poll(patience):
                return [*made, BadItem("hang", f"the decoder did not finish in {patience:g} seconds")]
            made.append(_read(ours.recv_bytes()))
    except (EOFError, ConnectionError):
        process.join(5)
        return [*made, BadItem("crash", f"the decoder crashed (exit code {process.exitcode})")]
    finally:
        process.kill()
        process.join()
        ours.close()
    return made


def _serve(pipe: Connection, modality: str, state: dict[str, Any], patience: float) -> None:
    """What the process does: answer each item until nobody asks. The alarm ends it should nobody be left to."""
    torch.set_num_threads(1)
    processor: Processor = modality_of(modality).processor_class().from_state(state)
    pipe.send_bytes(b"ready")
    while True:
        try:
            raw = pipe.recv()
        except EOFError:
            return
        signal.alarm(math.ceil(patience) + 5)
        pipe.send_bytes(_answer(processor, raw))
        signal.alarm(0)


def _answer(processor: Processor, raw: Any) -> bytes:
    prepared = attempted(processor.prepare, raw)
    if isinstance(prepared, BadItem):
        return json.dumps({"kind": prepared.kind, "reason": prepared.reason}).encode()
    array = np.ascontiguousarray(prepared.numpy())
    header = json.dumps({"dtype": array.dtype.str, "shape": array.shape}).encode()
    return header + b"\n" + array.tobytes()


def _read(answer: bytes) -> Tensor | BadItem:
    header, _, content = answer.partition(b"\n")
    reply = json.loads(header)
    if "kind" in reply:
        return BadItem(reply["kind"], reply["reason"])
    return torch.from_numpy(np.frombuffer(content, np.dtype(reply["dtype"])).reshape(reply["shape"]).copy())

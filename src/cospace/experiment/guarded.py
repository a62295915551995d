"""Prepare items in a process of its own, so that one that crashes or hangs the decoder costs that item alone.

Slower by a process start and a copy of every item, so it is what a job falls back on, not what it begins with. What
the process answers is read as plain bytes: a decoder that a hostile picture has taken over gets nothing run here.
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

from ..preprocess import BadImage
from ..space import PREPARERS, Preparer

START = 300.0
"""Seconds that the process may take to begin: it imports torch, on a machine that may be busy."""


def prepare_guarded(modality: str, raws: Sequence[Any], preparer: Preparer, patience: float) -> list[Tensor | BadImage]:
    """Prepared items in order; one that ends the process, or takes longer than ``patience`` seconds, is a bad one."""
    made: list[Tensor | BadImage] = []
    while len(made) < len(raws):
        made += _by_one_process(modality, raws[len(made) :], preparer, patience)
    return made


def _by_one_process(modality: str, raws: Sequence[Any], preparer: Preparer, patience: float) -> list[Tensor | BadImage]:
    """As far as one process comes."""
    context = get_context("spawn")  # a fork would inherit threads of torch, and hang
    ours, theirs = context.Pipe()
    arguments = (theirs, modality, preparer.state(), patience)
    process = context.Process(target=_serve, args=arguments, daemon=True)
    process.start()
    theirs.close()
    made: list[Tensor | BadImage] = []
    try:
        if not ours.poll(START):
            raise RuntimeError("the process that decodes on its own did not begin")
        ours.recv_bytes()
        for raw in raws:
            ours.send(raw)
            if not ours.poll(patience):
                return [*made, BadImage("hang", f"the decoder did not finish in {patience:g} seconds")]
            made.append(_read(ours.recv_bytes()))
    except (EOFError, ConnectionError):
        process.join(5)
        return [*made, BadImage("crash", f"the decoder crashed (exit code {process.exitcode})")]
    finally:
        process.kill()
        process.join()
        ours.close()
    return made


def _serve(pipe: Connection, modality: str, state: dict[str, Any], patience: float) -> None:
    """What the process does: answer each item until nobody asks. The alarm ends it should nobody be left to."""
    torch.set_num_threads(1)
    preparer: Preparer = PREPARERS[modality].from_state(state)
    pipe.send_bytes(b"ready")
    while True:
        try:
            raw = pipe.recv()
        except EOFError:
            return
        signal.alarm(math.ceil(patience) + 5)
        pipe.send_bytes(_answer(preparer, raw))
        signal.alarm(0)


def _answer(preparer: Preparer, raw: Any) -> bytes:
    try:
        array = np.ascontiguousarray(preparer.prepare(raw).numpy())
    except BadImage as error:
        return json.dumps({"kind": error.kind, "reason": error.reason}).encode()
    header = json.dumps({"dtype": array.dtype.str, "shape": array.shape}).encode()
    return header + b"\n" + array.tobytes()


def _read(answer: bytes) -> Tensor | BadImage:
    header, _, content = answer.partition(b"\n")
    told = json.loads(header)
    if "kind" in told:
        return BadImage(told["kind"], told["reason"])
    return torch.from_numpy(np.frombuffer(content, np.dtype(told["dtype"])).reshape(told["shape"]).copy())

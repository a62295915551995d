"""The demo: built-in pairs, trained, evaluated, reported and indexed, with nothing to download and nothing to set."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ..config import unknown
from ..pairs import open_pairs
from ..types import Metrics, UserError
from .evaluate import embed_pairs, measure
from .report import run_report
from .search import build_index
from .train import Listener, Request, run

SETS = {"scenes": ("scenes/val", ("scenes/heldout",)), "glyphs": ("glyphs/characters", ("glyphs/faces",))}
"""Built-in sets: what they are validated on, and the harder splits that are measured at the end."""


@dataclass(frozen=True, slots=True)
class Demo:
    """How it went; ``more`` holds the harder splits' metrics."""

    out: Path
    metrics: Metrics
    more: dict[str, Metrics]
    minutes: float
    example: str


def run_demo(data: str, out: Path | None, command: str, listener: Listener) -> Demo:
    """Train on a built-in set into ``out`` (``demo-scenes`` or ``demo-glyphs`` by default)."""
    if data not in SETS:
        raise UserError(unknown(data, SETS, "there is no built-in set"))
    began = time.monotonic()
    out = out or Path(f"demo-{data}")
    validation, harder = SETS[data]
    model = run(Request(data, out, val=validation, command=command, listener=listener))
    more = {}
    for name in harder:
        more[name] = measure(model.space, embed_pairs(model.space, open_pairs(name), progress=listener.progress))
    run_report(model, more)
    pairs = open_pairs(validation)
    build_index(model, pairs, out / "index", progress=listener.progress)
    return Demo(out, model.metrics(), more, (time.monotonic() - began) / 60, str(pairs.items["text"][0]))

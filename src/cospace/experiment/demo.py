"""The demo: built-in pairs, trained, evaluated, reported and indexed, with nothing to download and nothing to set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..config import unknown
from ..pairs import built_in
from ..preprocess import decode
from ..types import Metrics, UserError
from .evaluate import measure
from .indexing import build_index
from .model import Model, embed_and_tell
from .report import png, run_report
from .train import Listener, Request, run


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A built-in set: what it is validated on, the splits that are measured at the end as well, its steps."""

    validation: str
    more: tuple[str, ...]
    steps: int


SETS = {
    "scenes": BuiltIn("scenes/val", ("scenes/heldout",), steps=300),
    "glyphs": BuiltIn("glyphs/characters", ("glyphs/faces",), steps=450),
}


@dataclass(frozen=True, slots=True)
class Demo:
    """How it went; ``more`` holds the harder splits' metrics."""

    out: Path
    metrics: Metrics
    more: dict[str, Metrics]
    minutes: float
    example: str
    picture: Path
    """One of the pictures, as a file."""
    question: str | None
    """A question about it, where the run answers questions."""


def run_demo(data: str, out: Path | None, command: str, listener: Listener, overrides: Sequence[str] = ()) -> Demo:
    """Train on a built-in set into ``out`` (``demo-scenes`` or ``demo-glyphs`` by default).

    A demo that is finished already is measured again, not trained again.
    """
    if data not in SETS:
        raise UserError(unknown(data, SETS, "there is no built-in set"))
    began = time.monotonic()
    out = out or Path(f"demo-{data}")
    chosen = SETS[data]
    if (out / "model" / "space.json").exists():
        listener.say(f"{out} is trained already; remove it to train again")
        model = Model.load(out)
    else:
        settings = (f"training.steps={chosen.steps}", *overrides)
        train, val = built_in(data), built_in(chosen.validation)
        model = run(Request(train, out, val=val, overrides=settings, command=command, listener=listener))
    more = {}
    for name in chosen.more:
        embedded, told = embed_and_tell(model, built_in(name), progress=listener.progress)
        more[name] = measure(model.space, embedded) | told.metrics
    if model.validation is not None:
        run_report(model, more)
    pairs = built_in(chosen.validation)
    build_index(model, pairs, out / "index", progress=listener.progress)
    picture = write_picture(pairs.items["image"][0], out / "pictures" / "000000.png")
    question = None if model.teller is None else str(pairs.items["question"][0])
    minutes = (time.monotonic() - began) / 60
    return Demo(out, model.metrics(), more, minutes, str(pairs.items["text"][0]), picture, question)


def write_picture(raw: Any, path: Path) -> Path:
    """A built-in picture as a file, so that a command can name it."""
    files.atomic_write(path, png(decode(raw)))
    return path

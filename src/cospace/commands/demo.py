"""The demo: built-in pairs, trained, evaluated, reported and indexed, with nothing to download and nothing to set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import files
from ..config import unknown
from ..data.pairs import Pairs, built_in
from ..modalities import FIELDS, is_text, modality, text_modality
from ..runs.overrides import LENGTHS, named_modules
from ..runs.run import Run
from ..stopping import current
from ..types import Metrics, UserError
from .evaluate import evaluate, report_run
from .index import build_index
from .train import Listener, TrainArguments, train

MINUTES = 4.5
"""What training and evaluating may take, so that all of it is over within five on any two cores: making the index, and
what the machine does besides, are the rest."""


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A built-in set: what it is validated on, the splits that are measured at the end as well, its steps at most."""

    validation: str
    more: tuple[str, ...]
    steps: int
    """Half as many again as two cores with AMX train in that time: more gain little, and a fast machine ends sooner."""


SETS = {
    "scenes": BuiltIn("scenes/val", ("scenes/heldout",), steps=600),
    "glyphs": BuiltIn("glyphs/characters", ("glyphs/faces",), steps=900),
}


@dataclass(frozen=True, slots=True)
class Demo:
    """How it went; ``more`` holds the harder splits' metrics."""

    out: Path
    metrics: Metrics
    more: dict[str, Metrics]
    minutes: float
    example: str
    item: Path
    """One of the items, as a file."""
    question: str | None
    """A question about it, where the run answers questions."""


def run_demo(data: str, out: Path | None, command: str, listener: Listener, overrides: Sequence[str] = ()) -> Demo:
    """Train on a built-in set into ``out`` (``demo-scenes`` or ``demo-glyphs`` by default), within :data:`MINUTES`.

    Steps or other minutes among ``overrides`` are the last word. A demo that is finished already is measured again, not
    trained again.
    """
    if data not in SETS:
        raise UserError(unknown(data, SETS, "there is no built-in set"))
    began = time.monotonic()
    out = out or Path(f"demo-{data}")
    chosen, trained = SETS[data], None
    splits = {name: built_in(name) for name in chosen.more}
    if (out / "model" / "space.json").exists():
        listener.say(f"{out} is trained already; remove it to train again")
        run = Run.load(out, named_modules(overrides))
    else:
        request = TrainArguments(built_in(data), out, val=built_in(chosen.validation), command=command)
        request = replace(request, overrides=overrides, began=began, afterwards=tuple(splits.values()))
        if not _says_how_long(overrides):
            minutes = f"training.minutes={MINUTES}"
            request = replace(request, overrides=(minutes, *overrides), most_steps=chosen.steps)
        trained = train(replace(request, listener=listener))
        run = trained.run
    most = None if trained is None else trained.most_generated
    more = {name: evaluate(run, pairs, progress=listener.progress, most=most).metrics for name, pairs in splits.items()}
    if trained is not None:
        with current().finishing():  # the same command would measure again, and write no report
            report_run(trained, more)
    shown = built_in(chosen.validation)
    build_index(run, shown, out / "index", progress=listener.progress)
    asks = run.generator is not None and FIELDS[0] in shown.items
    question = str(shown.items[FIELDS[0]][0]) if asks else None
    took = (time.monotonic() - began) / 60
    return Demo(out, run.metrics(), more, took, str(shown.items[text_modality()][0]), _example(shown, out), question)


def _says_how_long(overrides: Sequence[str]) -> bool:
    """Whether a person has chosen steps or minutes."""
    given = {text.partition("=")[0] for text in overrides}
    return not given.isdisjoint(f"training.{name}" for name in LENGTHS)


def _example(pairs: Pairs, out: Path) -> Path:
    """The first item as a file, so that a command can name it."""
    name = next(name for name in pairs.modalities if not is_text(name))
    data, suffix = modality(name).export(pairs.items[name][0])
    path = out / modality(name).plural / f"000000.{suffix}"
    files.atomic_write(path, data)
    return path

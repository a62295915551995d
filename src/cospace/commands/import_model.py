"""Make a run of a published model, or of a run that an earlier version wrote."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from .. import __version__, files, locks
from ..config import validate
from ..interop import old_runs, parity, sources
from ..interop.old_runs import OldRun
from ..interop.sentence_transformers import prompts_in
from ..runs.metrics_log import as_log
from ..runs.run import Run
from ..runs.settings import RunConfig
from ..runtime import Precision, describe, device
from ..types import UserError


@dataclass(frozen=True, slots=True)
class Imported:
    """A run made of a published model or an old run, and how near its vectors are to those that it had there.

    ``prompts`` are openings that the model's makers put before texts, by what a text is for. They are put before none
    here: whoever wants them writes them.
    """

    run: Run
    family: str
    compared: parity.Compared
    license: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)

    def summary(self) -> dict[str, object]:
        """As JSON data."""
        space = self.run.space
        return {
            "out": str(self.run.path),
            "family": self.family,
            "peer": self.compared.peer,
            "differences": self.compared.differences,
            "differences_of_files": self.compared.from_files,
            "license": self.license,
            "prompts": dict(self.prompts),
            "embed_dim": space.width,
            "parameters": sum(parameter.numel() for parameter in space.parameters()),
        }


def import_model(source: str, out: Path, command: str = "", precision: Precision = "float32") -> Imported:
    """Read a published model (see :func:`cospace.interop.sources.read`) or a run of version 0.1 into the run ``out``.

    A published model embeds in ``precision``: float32 gives the vectors of its own library, auto is faster on hardware
    with bfloat16, for cosines of about 0.999 to them. It is compared with its own library, an old run with its golden
    vectors. Nothing is written where a
    tensor is missing or left over, or where the vectors differ.
    """
    if (out / "model" / "space.json").exists():
        raise UserError(f"{out} already holds a finished run; choose another --out, or remove it")
    if old_runs.is_run(Path(source)):
        return _convert(Path(source), out)
    published = sources.read(source)
    compared = parity.compare(published)
    published.space.precision = precision
    facts = files.as_json({**_facts(command), "published": published.facts()})
    with locks.Lock(out):
        files.atomic_write(out / "run.json", facts)
        published.space.save(out / "model", parity.golden(published.space), {"run/run.json": facts})
    prompts = prompts_in(published.folder)
    return Imported(Run.load(out), published.plan.family, compared, published.license, prompts)


def _convert(source: Path, out: Path) -> Imported:
    """A run of version 0.1 under the present names, loaded once before it appears in its place."""
    old = old_runs.read(source)
    _complete(old, source)
    beside = {f"run/{name}": files.as_json(data) for name, data in old.facts.items()} if old.copied else {}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as place:
        trial = Path(place) / "model"
        files.write_folder(trial, {**old.model, **beside})
        differences = Run.load(trial).space.golden_differences(old.golden)
        with locks.Lock(out):
            for name, data in old.facts.items():
                files.write_json(out / name, data)
            if old.log:
                files.atomic_write(out / "metrics.jsonl", as_log(old.log))
            if old.report is not None:
                files.atomic_write(out / "report.html", old.report)
            trial.rename(out / "model")
    return Imported(Run.load(out), "run of cospace 0.1", parity.Compared("cospace 0.1", differences))


def _complete(old: OldRun, source: Path) -> None:
    """Fill in the settings that version 0.1 did not have, and say where the run comes from."""
    if "config.json" in old.facts:
        settings = validate(RunConfig, old.facts["config.json"], where=str(source / "config.json"))
        old.facts["config.json"] = settings.model_dump(mode="json")
    converted = {"run": str(source), "cospace": __version__}
    old.facts["run.json"] = {**old.facts.get("run.json", {}), "converted": converted}


def _facts(command: str) -> dict[str, object]:
    return {
        "cospace": __version__,
        "torch": torch.__version__,
        "machine": describe(device()),
        "command": command,
        "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
    }

"""Published models become runs, and runs become what other libraries read."""

from __future__ import annotations

import copy
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import files
from ..config import plain, unknown
from ..interop import onnx, parity, sources, writing
from ..runtime import describe, device
from ..space import Space
from ..types import UserError
from .log import Log
from .model import Model


@dataclass(frozen=True, slots=True)
class Imported:
    """A run made of a published model, and how near its vectors are to those of the library it comes from."""

    model: Model
    family: str
    compared: parity.Compared

    def summary(self) -> dict[str, object]:
        """As JSON data."""
        space = self.model.space
        return {
            "out": str(self.model.run),
            "family": self.family,
            "peer": self.compared.peer,
            "differences": self.compared.differences,
            "width": space.width,
            "parameters": sum(parameter.numel() for parameter in space.parameters()),
        }


def import_model(source: str, out: Path, command: str = "") -> Imported:
    """Read ``hf:NAME``, ``openclip:FOLDER`` or a folder into the run ``out``, compared with its own library.

    Nothing is written where a tensor is missing or left over, or where the vectors differ.
    """
    if (out / "model" / "space.json").exists():
        raise UserError(f"{out} already holds a finished run; choose another --out, or remove it")
    published = sources.read(source)
    compared = parity.compare(published)
    with files.Lock(out):
        shown: dict[str, Sequence[Any]] = {"image": parity.pictures(64, 2), "text": list(parity.TEXTS[:2])}
        golden = {modality: shown[modality] for modality in published.space.modalities}
        files.write_json(out / "run.json", {**_facts(command), "published": published.facts()})
        published.space.save(out / "model", golden)
    return Imported(Model.load(out), published.plan.family, compared)


def opened(source: str) -> Model:
    """What a run may start from: an earlier run, or a published model, compared with its own library where that is."""
    folder = Path(source)
    if (folder / "model").is_dir() or (folder / "space.json").is_file() or not sources.is_published(source):
        return Model.load(folder)
    published = sources.read(source)
    parity.compare(published)
    return Model(published.space.to(device()), folder, published.folder, {"published": published.facts()})


def _facts(command: str) -> dict[str, object]:
    from .. import __version__

    return {
        "cospace": __version__,
        "torch": torch.__version__,
        "machine": describe(device()),
        "command": command,
        "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


FORMATS = ("hf", "onnx", "openclip")
"""How a space can be written for other libraries, by the command line's names."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A folder for another library, and how near that library's vectors are to ours."""

    out: Path
    compared: parity.Compared


def export_model(run: Path, name: str, out: Path) -> Exported:
    """Write a run for transformers (``hf``) or OpenCLIP (``openclip``), and compare what that library makes of it.

    Nothing is left behind where its vectors differ from ours.
    """
    if name not in FORMATS:
        raise UserError(unknown(name, FORMATS, "there is no format"))
    if out.exists():
        raise UserError(f"{out} exists; choose another --out, or remove it")
    model = Model.load(run)
    content = written(model, name) | {"README.md": card(model, name).encode("utf-8")}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as place:
        trial = Path(place) / out.name
        files.write_folder(trial, content)
        compared = compared_as(name, trial, model.space)
        trial.rename(out)
    return Exported(out, compared)


def written(model: Model, name: str) -> dict[str, files.Content]:
    """The files of a format."""
    if name == "onnx":
        return onnx.onnx_folder(model.space)
    return {"hf": writing.transformers_folder, "openclip": writing.openclip_folder}[name](
        model.space, judgement(model) or writing.Judged()
    )


def compared_as(name: str, folder: Path, space: Space) -> parity.Compared:
    """What the library behind a format makes of a folder, beside the space that was written there."""
    if name == "onnx":
        return onnx.compare_onnx(folder, space)
    return parity.compare(sources.read(str(folder)), copy.deepcopy(space).cpu())


def judgement(model: Model) -> writing.Judged | None:
    """The scale and bias of the logits: what a run's last step had learned, or what the model was published with."""
    rows = Log(model.run / "metrics.jsonl").rows() if (model.run / "metrics.jsonl").is_file() else []
    learned: dict[str, float] = next((row for row in reversed(rows) if "scale" in row), {})
    if learned:
        return writing.Judged(learned["scale"], learned.get("bias", 0.0))
    published = model.facts.get("published")
    if published is None:
        return None
    bias = 0.0 if model.space.calibration is None else model.space.calibration.offset
    return writing.Judged(published["scale"], bias)


def card(model: Model, name: str) -> str:
    """A model card: what it is, where it came from, how it was measured."""
    space = model.space
    metrics = model.metrics() if (model.run / "metrics.json").is_file() else {}
    towers = "\n".join(f"| {modality} | {plain(config)['name']} |" for modality, config in space.configs.items())
    shown = [key for key in ("text_to_image/R@1", "image_to_text/R@1", "n_images", "n_texts") if key in metrics]
    figures = "\n".join(f"| {key} | {metrics[key]:.4g} |" for key in shown)
    data = model.facts.get("data", {})
    origin = model.facts.get("from") or model.facts.get("published") or {}
    lines = [
        "---", "library_name: " + {"hf": "transformers", "openclip": "open_clip"}.get(name, "onnx"), "---", "",
        "# A space of " + " and ".join(space.modalities), "",
        f"Vectors of {space.width} numbers; written by cospace {model.facts.get('cospace', '')}.", "",
        "| tower | architecture |", "|---|---|", towers, "",
        *([f"Trained on {data['name']} ({data['rows']:,} pairs).", ""] if data else []),
        *([f"Started from: {json.dumps(origin, ensure_ascii=False)}", ""] if origin else []),
        *(["| on its validation pairs | |", "|---|---|", figures, ""] if shown else []),
    ]  # fmt: skip
    return "\n".join(lines)

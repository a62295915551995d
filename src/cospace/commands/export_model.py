"""Write a run for another library, and compare what that library makes of it."""

from __future__ import annotations

import copy
import json
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..config import plain, unknown
from ..interop import onnx, parity, sources, writing
from ..models.space import Space
from ..runs.run import Run
from ..types import UserError

FORMATS = ("hf", "onnx", "openclip")
"""How a space can be written for other libraries, by the command line's names."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A folder for another library, and how near that library's vectors are to ours."""

    out: Path
    compared: parity.Compared


def export_model(folder: Path, name: str, out: Path, trust: Iterable[str] = ()) -> Exported:
    """Write a run for transformers (``hf``) or OpenCLIP (``openclip``), and compare what that library makes of it.

    Nothing is left behind where its vectors differ from ours. ``trust``: see :meth:`cospace.runs.run.Run.load`.
    """
    if name not in FORMATS:
        raise UserError(unknown(name, FORMATS, "there is no format"))
    if out.exists():
        raise UserError(f"{out} exists; choose another --out, or remove it")
    opened = Run.load(folder, trust)
    content = written(opened, name) | {"README.md": card(opened, name).encode("utf-8")}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as place:
        trial = Path(place) / out.name
        files.write_folder(trial, content)
        compared = compared_as(name, trial, opened.space)
        trial.rename(out)
    return Exported(out, compared)


def written(run: Run, name: str) -> dict[str, files.Content]:
    """The files of a format."""
    if name == "onnx":
        return onnx.onnx_folder(run.space)
    return {"hf": writing.transformers_folder, "openclip": writing.openclip_folder}[name](
        run.space, run.logit_scale() or writing.LogitScale()
    )


def compared_as(name: str, folder: Path, space: Space) -> parity.Compared:
    """What the library behind a format makes of a folder, beside the space that was written there."""
    if name == "onnx":
        return onnx.compare_onnx(folder, space)
    return parity.compare(sources.read(str(folder)), copy.deepcopy(space).cpu())


def card(run: Run, name: str) -> str:
    """A model card: what it is, where it came from, how it was measured."""
    space = run.space
    metrics = run.metrics()
    towers = "\n".join(f"| {modality} | {plain(config)['name']} |" for modality, config in space.configs.items())
    counts = {f"n_{modality}s" for modality in space.modalities}
    shown = [key for key in metrics if key in counts or re.fullmatch(r"\w+_to_\w+/R@1", key)]
    figures = "\n".join(f"| {key} | {metrics[key]:.4g} |" for key in shown)
    data = run.facts.get("data", {})
    origin = run.facts.get("from") or run.facts.get("published") or {}
    lines = [
        "---", "library_name: " + {"hf": "transformers", "openclip": "open_clip"}.get(name, "onnx"), "---", "",
        "# A space of " + " and ".join(space.modalities), "",
        f"Vectors of {space.width} numbers; written by cospace {run.facts.get('cospace', '')}.", "",
        "| tower | architecture |", "|---|---|", towers, "",
        *([f"Trained on {data['name']} ({data['rows']:,} pairs).", ""] if data else []),
        *([f"Started from: {json.dumps(origin, ensure_ascii=False)}", ""] if origin else []),
        *(["| on its validation pairs | |", "|---|---|", figures, ""] if shown else []),
    ]  # fmt: skip
    return "\n".join(lines)

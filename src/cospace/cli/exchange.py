"""Commands that take models from other libraries, and give them back: import, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ._app import Json, app, command, show


@app.command(name="import")
def import_(source: str, /, *, out: Path, json: Json = False) -> None:
    """Make a run of a published model: CLIP or SigLIP, in the layout of transformers or of OpenCLIP.

    The source is a folder, hf:OWNER/NAME, or openclip:FOLDER. Where the library that wrote it is installed, its vectors
    are compared with ours.

    Example: cospace import hf:openai/clip-vit-base-patch32 --out clip
    """
    from ..experiment.publishing import import_model

    made = import_model(source, out, command())
    summary = made.summary()
    lines = [
        f"{made.family}, {summary['parameters']:,} weights, vectors of {summary['width']} numbers: {out}",
        made.compared.sentence(),
        f"make pictures searchable: cospace index {out} PICTURES --out idx",
    ]
    show(summary, "\n".join(lines), json)


@app.command
def export(
    run: Path,
    /,
    *,
    format: Annotated[str, Parameter(help="hf (transformers), openclip or onnx.")],
    out: Path,
    json: Json = False,
) -> None:
    """Write a run for another library, which loads it back. Its vectors are compared with ours where it is installed.

    Example: cospace export clip --format hf --out clip-hf
    """
    from ..experiment.publishing import export_model

    made = export_model(run, format, out)
    show(
        {"out": str(out), "peer": made.compared.peer, "differences": made.compared.differences},
        f"{out}: {made.compared.sentence()}",
        json,
    )

"""Commands that take models from other libraries, and give them back: import, export."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

from cyclopts import Parameter

from ..runtime import Precision
from ._app import RUN, Json, Trust, command, show, verb


@verb("SOURCE --out RUN", name="import")
def import_(
    source: Annotated[str, Parameter(help="A folder, hf:OWNER/NAME, openclip:FOLDER, or a run of an earlier version.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder of the run.")],
    precision: Annotated[
        Precision, Parameter(help="What it embeds in: float32 as its own library, auto faster where there is bfloat16.")
    ] = "float32",
    json: Json = False,
) -> None:
    """Make a run of a published model: CLIP or SigLIP, in the layout of transformers or of OpenCLIP.

    The source is a folder, hf:OWNER/NAME, or openclip:FOLDER. Where the library that wrote it is installed, its vectors
    are compared with ours.

    Example: cospace import hf:openai/clip-vit-base-patch32 --out clip
    """
    from ..commands.import_model import import_model

    made = import_model(source, out, command(), precision)
    summary = made.summary()
    lines = [
        f"{made.family}, {summary['parameters']:,} parameters, {summary['embed_dim']} dimensions: {out}",
        made.compared.sentence(),
        f"make a folder searchable: cospace index {quote(str(out))} FOLDER --out idx",
    ]
    show(summary, "\n".join(lines), json)


@verb("RUN --format hf|openclip|onnx --out FOLDER")
def export(
    run: Annotated[Path, Parameter(help=RUN)],
    /,
    *,
    format: Annotated[str, Parameter(help="hf (transformers), openclip or onnx.")],
    out: Annotated[Path, Parameter(help="Folder to write.")],
    trust: Trust = None,
    json: Json = False,
) -> None:
    """Write a run for another library, which loads it back. Its vectors are compared with ours where it is installed.

    Example: cospace export clip --format hf --out clip-hf
    """
    from ..commands.export_model import export_model

    made = export_model(run, format, out, trust or ())
    show(
        {"out": str(out), "peer": made.compared.peer, "differences": made.compared.differences},
        f"{out}: {made.compared.sentence()}",
        json,
    )

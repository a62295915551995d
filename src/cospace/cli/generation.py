"""Commands of a run's decoder: caption, ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..types import UserError
from ._app import RUN, Json, show, verb


@verb("RUN FILES... [OPTIONS]")
def caption(
    run: Annotated[Path, Parameter(help=RUN)],
    /,
    *files: Annotated[Path, Parameter(help="Images, or files of the modality that the run describes.")],
    beams: Annotated[int, Parameter(help="Beam width; the most likely caption is returned.")] = 3,
    temperature: Annotated[float, Parameter(help="Sampling temperature; 0 uses beam search.")] = 0.0,
    top_p: Annotated[
        float, Parameter(help="Nucleus sampling: sample from the smallest set of tokens with this total probability.")
    ] = 1.0,
    json: Json = False,
) -> None:
    """Write a caption for each file, by a run whose decoder was trained on captions.

    Example: cospace caption run a.jpg b.jpg
    """
    from ..commands.caption import caption as write
    from ..evaluators.generation import CAPTIONS, changed
    from ..runs.run import Run

    if not files:
        raise UserError("no file was given; name one or more, e.g. cospace caption run a.jpg")
    how = changed(CAPTIONS, beams=beams, temperature=temperature, top_p=top_p)
    captions = write(Run.load(run), files, how)
    results = [{"id": str(file), "caption": text} for file, text in zip(files, captions, strict=True)]
    show({"results": results}, "\n".join(f"{row['id']}  {row['caption']}" for row in results), json)


@verb('RUN FILE "QUESTION" [OPTIONS]')
def ask(
    run: Annotated[Path, Parameter(help=RUN)],
    file: Annotated[Path, Parameter(help="An image, or a file of the modality that the run describes.")],
    question: Annotated[str, Parameter(help="The question.")],
    /,
    *,
    k: Annotated[int, Parameter(name=["-k", "--k"], help="Answers to show.")] = 3,
    json: Json = False,
) -> None:
    """Answer a question about a file, by a run whose decoder was trained on questions with answers.

    Example: cospace ask run photo.jpg "how many buses are there?"
    """
    from ..commands.ask import ask as answer
    from ..runs.run import Run

    answers = answer(Run.load(run), file, question)[: max(1, k)]
    top = [{"answer": one.text, "confidence": one.confidence} for one in answers]
    lines = [f"{one.text}  {100 * one.confidence:.1f} %" for one in answers]
    show({**top[0], "top": top}, "\n".join(lines), json)

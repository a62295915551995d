"""Commands of a run's decoder: caption, ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..types import UserError
from ._app import Json, app, show


@app.command
def caption(
    run: Path,
    /,
    *images: Path,
    beams: Annotated[int, Parameter(help="Captions tried side by side; the likeliest is given.")] = 3,
    temperature: Annotated[float, Parameter(help="Draw at random instead, the more freely the higher.")] = 0.0,
    top_p: Annotated[float, Parameter(help="Draw from the likeliest words of this probability together.")] = 1.0,
    json: Json = False,
) -> None:
    """Write a caption for each picture, by a run whose decoder was taught captions.

    Example: cospace caption run a.jpg b.jpg
    """
    from ..experiment.model import Model
    from ..experiment.telling import CAPTIONS, changed

    if not images:
        raise UserError("no picture was given; name one or more, e.g. cospace caption run a.jpg")
    how = changed(CAPTIONS, beams=beams, temperature=temperature, top_p=top_p)
    captions = Model.load(run).caption(images, how)
    results = [{"id": str(image), "caption": text} for image, text in zip(images, captions, strict=True)]
    show({"results": results}, "\n".join(f"{row['id']}  {row['caption']}" for row in results), json)


@app.command
def ask(
    run: Path,
    image: Path,
    question: str,
    /,
    *,
    k: Annotated[int, Parameter(name=["-k", "--k"], help="Answers to show.")] = 3,
    json: Json = False,
) -> None:
    """Answer a question about a picture, by a run whose decoder was taught answers.

    Example: cospace ask run photo.jpg "how many buses are there?"
    """
    from ..experiment.model import Model

    answers = Model.load(run).ask(image, question)[: max(1, k)]
    top = [{"answer": answer.text, "confidence": answer.confidence} for answer in answers]
    lines = [f"{answer.text}  {100 * answer.confidence:.1f} %" for answer in answers]
    show({**top[0], "top": top}, "\n".join(lines), json)

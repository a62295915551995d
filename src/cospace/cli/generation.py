"""Commands of a run's decoder: caption, ask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ..types import UserError
from ._app import AS_FOUND, RUN, Json, ReadingOptions, Trust, set_aside, show, verb

if TYPE_CHECKING:
    from ..commands.decoder_inputs import DecoderInputs
    from .terminal import Progress

DESCRIBED = "Images (or files of the modality that the run describes), folders of them, tables, tar shards or hf:NAME."
"""Help of the arguments that name what the decoder writes about."""


@verb("RUN SOURCE... [OPTIONS]")
def caption(
    run: Annotated[Path, Parameter(help=RUN)],
    /,
    *sources: Annotated[str, Parameter(help=DESCRIBED)],
    beams: Annotated[int, Parameter(help="Beam width; the most likely caption is returned.")] = 3,
    temperature: Annotated[float, Parameter(help="Sampling temperature; 0 uses beam search.")] = 0.0,
    top_p: Annotated[
        float, Parameter(help="Nucleus sampling: sample from the smallest set of tokens with this total probability.")
    ] = 1.0,
    reading: ReadingOptions = AS_FOUND,
    trust: Trust = None,
    json: Json = False,
) -> None:
    """Write a caption for each file, by a run whose decoder was trained on captions.

    What cannot be read is set aside and counted.

    Example: cospace caption run a.jpg b.jpg
    """
    from ..commands.caption import caption_inputs
    from ..commands.decoder_inputs import read_inputs
    from ..evaluators.generation import CAPTIONS, changed
    from ..runs.run import Run
    from .terminal import Progress

    if not sources:
        raise UserError("no file was given; name one or more, e.g. cospace caption run a.jpg")
    how = changed(CAPTIONS, beams=beams, temperature=temperature, top_p=top_p)
    with Progress() as progress:
        loaded = Run.load(run, trust or ())
        found = read_inputs(loaded, "captions", sources, reading.options(pairs=False), progress.long_work)
        written = caption_inputs(loaded, found, how, progress.long_work)
        _say_read(progress, found)
    results = [{"id": id_, "caption": text} for id_, text in written]
    lines = [f"{row['id']}  {row['caption']}" for row in results]
    show({"results": results, **_counted(found)}, "\n".join(lines), json)


@verb('RUN SOURCE... "QUESTION" [OPTIONS]')
def ask(
    run: Annotated[Path, Parameter(help=RUN)],
    /,
    *sources: Annotated[str, Parameter(help=f"{DESCRIBED} The last argument is the question.")],
    k: Annotated[int, Parameter(name=["-k", "--k"], help="Answers to show.")] = 3,
    reading: ReadingOptions = AS_FOUND,
    trust: Trust = None,
    json: Json = False,
) -> None:
    """Answer a question about a file, or about each of several, by a run whose decoder was trained on questions.

    What cannot be read is set aside and counted.

    Example: cospace ask run photo.jpg "how many buses are there?"
    """
    from ..commands.ask import ask_inputs, check_question
    from ..commands.decoder_inputs import read_inputs
    from ..runs.run import Run
    from .terminal import Progress

    if len(sources) < 2:
        raise UserError('give a file and a question about it, e.g. cospace ask run photo.jpg "how many buses?"')
    *named, question = sources
    with Progress() as progress:
        loaded = Run.load(run, trust or ())
        check_question(loaded, question)
        found = read_inputs(loaded, "answers", named, reading.options(pairs=False), progress.long_work)
        answered = ask_inputs(loaded, found, question, progress=progress.long_work)
        _say_read(progress, found)
    results: list[dict[str, Any]] = []
    for id_, answers in answered:
        top = [{"answer": one.text, "confidence": one.confidence} for one in answers[: max(1, k)]]
        results.append({"id": id_, **top[0], "top": top})
    if len(found.entries) == 1 and not found.sources:  # one file by its name: its answers alone
        ((_, answers),) = answered
        lines = [f"{one.text}  {100 * one.confidence:.1f} %" for one in answers[: max(1, k)]]
        show({name: results[0][name] for name in ("answer", "confidence", "top")}, "\n".join(lines), json)
        return
    lines = [f"{row['id']}  {row['answer']}  {100 * row['confidence']:.1f} %" for row in results]
    show({"results": results, **_counted(found)}, "\n".join(lines), json)


def _say_read(progress: Progress, found: DecoderInputs) -> None:
    """What was read, and what was set aside, beside the results."""
    progress.say(*found.summary())
    if found.problems:
        progress.say(set_aside(found.problems).removeprefix("; "))


def _counted(found: DecoderInputs) -> dict[str, Any]:
    """The same as JSON."""
    problems = [{"id": one.id, "kind": one.kind, "reason": one.reason} for one in found.problems]
    return {**found.counts().to_json(), "problems": problems}

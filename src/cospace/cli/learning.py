"""Commands that look at pairs, learn from them and measure: check, train, eval, demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ._app import AS_FOUND, NOTHING, Json, LayoutOptions, OriginOptions, app, command, show
from .serving import serve as page


@app.command
def check(pairs: str, /, *, out: Path | None = None, layout: LayoutOptions = AS_FOUND, json: Json = False) -> None:
    """Look at pairs before anyone trains on them: missing and broken pictures, empty captions, duplicates.

    Example: cospace check pairs.csv --out clean
    """
    from ..check import check as look
    from ..terminal import Progress

    with Progress() as progress:
        checked = look(layout.open(pairs), progress=progress.counter("checking"))
    if out is not None:
        checked.write(out)
    show(checked.to_json(), checked.to_text(), json)


@app.command
def train(
    pairs: str,
    /,
    *overrides: str,
    out: Path,
    recipe: str = "small",
    val: str | None = None,
    origin: OriginOptions = NOTHING,
    layout: LayoutOptions = AS_FOUND,
    report: Annotated[bool, Parameter(help="Write report.html into the run.")] = True,
    json: Json = False,
) -> None:
    """Train a space on pairs. The same command again goes on where a killed one stopped.

    Settings are given as path=value, e.g. objective=sigmoid encoders.image=vit training.steps=500.
    Recipes: small (default), coca, clip, siglip, joint-mse. --from goes on from an earlier run, or from a published
    model (a folder, hf:OWNER/NAME); a tower that it lacks is made anew. locked=image, text or all leaves what it brings
    as it is, e.g. --from minilm locked=text, or to teach a decoder --from RUN locked=all tell=both.

    Example: cospace train pairs.csv --val val.csv --out run
    """
    from ..experiment.train import Request
    from ..experiment.train import run as train_run
    from ..terminal import TrainingView

    with TrainingView() as view:
        how = (layout.by_modality(), layout.separator, origin.source, origin.reference)
        request = Request(pairs, out, recipe, val, overrides, *how, command(), view.listener)
        model = train_run(request)
    if report:
        from ..experiment.report import run_report

        run_report(model)
    metrics = model.metrics()
    show(metrics, view.summary(metrics, out), json)


@app.command(name="eval")
def evaluate(
    run: Path,
    pairs: str,
    /,
    *,
    classes: Annotated[Path | None, Parameter(help="Class names, one a line: adds zero-shot accuracy.")] = None,
    templates: Annotated[Path | None, Parameter(help="Prompt templates with {} for the name, one a line.")] = None,
    report: Annotated[Path | None, Parameter(help="Write a self-contained HTML report.")] = None,
    layout: LayoutOptions = AS_FOUND,
    json: Json = False,
) -> None:
    """Measure a trained space on pairs: retrieval both ways, zero-shot classification, the space's health.

    Example: cospace eval run val.csv --classes names.txt --report report.html
    """
    from ..experiment.model import Model
    from ..experiment.report import evaluate_and_report
    from ..terminal import Progress, metrics_table

    with Progress() as progress:
        opened = layout.open(pairs)
        model = Model.load(run)
        metrics = evaluate_and_report(model, opened, classes, templates, report, command(), progress.long_work)
    show(metrics, metrics_table(metrics), json)


@app.command
def demo(
    data: str = "scenes",
    /,
    *overrides: str,
    out: Path | None = None,
    serve: Annotated[bool | None, Parameter(help="Show the result's web page; asked at the end if left out.")] = None,
    json: Json = False,
) -> None:
    """Train on built-in data (scenes or glyphs), evaluate, write a report and an index. No download, no flags.

    In a terminal it ends with an offer to show the web page of what it made.

    Example: cospace demo
    """
    from ..experiment.demo import run_demo
    from ..terminal import TrainingView, demo_summary

    with TrainingView() as view:
        result = run_demo(data, out, command(), view.listener, overrides)
    show(result.metrics, demo_summary(result), json)
    if serve or (serve is None and not json and _offered()):
        page(str(result.out / "index"), port=0)


def _offered() -> bool:
    """Whether a person at a terminal wants to see the page; nobody else is asked."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input("show its web page now? [Y/n] ").strip().lower() in ("", "y", "yes")
    except EOFError:
        return False

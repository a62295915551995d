"""Commands that train on pairs and measure: train, eval, recipes, demo."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ..stopping import current
from ..trust import trusting
from ..types import UserError
from ._app import (
    AS_FOUND,
    FROM_SCRATCH,
    PAIRS,
    RUN,
    Dimensions,
    Json,
    OriginOptions,
    ReadingOptions,
    Trust,
    command,
    given_pairs,
    set_aside,
    show,
    verb,
)
from .serving import serve as page

if TYPE_CHECKING:
    from ..commands.train import TrainArguments

THROUGH = "Count items as matching if they share an item of this modality, e.g. text for sounds and images."
"""Help of ``--through``."""


@dataclass(frozen=True, slots=True)
class Training:
    """What is measured on, what of the pairs is learned from, and for how long."""

    val: Annotated[
        list[str] | None,
        Parameter(negative="", help="Validation pairs. Default: a part of PAIRS is held out. May be repeated."),
    ] = None
    clean: Annotated[
        bool, Parameter(negative="", help="Leave out the rows that cospace check would leave out, and say which.")
    ] = False
    minutes: Annotated[
        float | None,
        Parameter(
            negative="",
            help="Minutes that all of it may take, evaluation and report included: as many steps as fit are trained.",
        ),
    ] = None


ALL_PAIRS = Training()
"""A part is held out, everything else is learned from, and the data decide for how long."""


@verb("PAIRS... --out RUN [PATH=VALUE ...] [OPTIONS]")
def train(
    *pairs: Annotated[str, Parameter(help=f"{PAIRS} Settings are path=value, e.g. objective=sigmoid.")],
    out: Annotated[Path | None, Parameter(help="Folder of the run.")] = None,
    using: Annotated[Training, Parameter(name="*")] = ALL_PAIRS,
    origin: OriginOptions = FROM_SCRATCH,
    reading: ReadingOptions = AS_FOUND,
    report: Annotated[bool, Parameter(help="Write report.html into the run.")] = True,
    help_settings: Annotated[
        bool,
        Parameter(negative="", help="List a recipe's settings and exit; PAIRS are prefixes then, e.g. training.optim."),
    ] = False,
    json: Json = False,
) -> None:
    """Train a space on pairs. Run the same command again to resume an interrupted run.

    Settings are given as path=value, e.g. objective=sigmoid training.steps=500; --help-settings lists them. --from
    fine-tunes an earlier run or a published model (a folder, hf:OWNER/NAME); missing encoders start from scratch.
    --from image=timm:NAME --from text=hf:OWNER/NAME joins two published towers, as --recipe towers does by default.
    locked=NAME or locked=all freezes what it brings, e.g. --from minilm locked=text, or to train a decoder --from RUN
    locked=all tasks=caption. Each of several PAIRS may have other modalities. Tar shards and parquet files stream from
    object storage, and where they are large: 's3://BUCKET/shard-{0000..0999}.tar'.

    Example: cospace train pairs.csv --val val.csv --out run
    """
    began = time.monotonic()
    inputs, overrides = _without_settings(pairs)
    trust = origin.trust or ()
    if help_settings:
        with trusting(trust):
            _show_settings(origin.settings, overrides, inputs, json)
        return
    if out is None:
        raise UserError("name the folder of the run with --out, e.g. cospace train pairs.csv --out run")
    with trusting(trust):
        _refuse_settings_without_value(inputs, origin.settings)
    from ..commands.train import TrainArguments, lasting

    changes = [*origin.changes, *lasting(using.minutes), *overrides]
    how = TrainArguments(given_pairs(inputs), out, origin.settings, using.val, changes, reading.options(), using.clean)
    _train(replace(how, **origin.start(), command=command(), began=began), report, json)


def _without_settings(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Inputs, and settings (``path=value``) that stand among them."""
    inputs = [text for text in given if "=" not in text or Path(text).exists()]
    return inputs, [text for text in given if text not in inputs]


def _train(request: TrainArguments, report: bool, json: bool) -> None:
    from ..commands.evaluate import report_run
    from ..commands.train import train_on_ranks
    from ..runs.advice import advice
    from ..runtime import rank
    from .terminal import TrainingView

    with TrainingView() if rank() == 0 else nullcontext() as view:
        trained = train_on_ranks(request if view is None else replace(request, listener=view.listener))
    if trained is None or view is None:  # another rank has the run, and says so
        return
    with current().finishing():  # the run is finished, and the same command would do nothing
        if report:
            report_run(trained)
    metrics = trained.run.metrics()
    show(
        {**metrics, **trained.counts.to_json()}, view.summary(metrics, request.out, advice(trained.run, metrics)), json
    )


def _refuse_settings_without_value(inputs: list[str], recipe: str) -> None:
    from ..commands.recipes import is_setting

    for text in inputs:
        if not Path(text).exists() and is_setting(text, recipe):
            raise UserError(f"{text} is a setting without a value; write it as path=value, e.g. training.steps=500")


def _show_settings(recipe: str, overrides: list[str], prefixes: list[str], json: bool) -> None:
    from ..commands.recipes import list_settings
    from .terminal import settings_table

    settings = list_settings(recipe, overrides, prefixes)
    show({"settings": [setting.to_json() for setting in settings]}, settings_table(settings), json)


@verb("[OPTIONS]")
def recipes(*, json: Json = False) -> None:
    """List the recipes: what each is for, and its measured result.

    Example: cospace recipes
    """
    from ..commands.recipes import list_recipes
    from .terminal import recipes_table

    found = list_recipes()
    show({"recipes": [recipe.to_json() for recipe in found]}, recipes_table(found), json)


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """What is classified into, and how it is put into words."""

    classes: Annotated[
        str | None,
        Parameter(
            help="Class names, as for classify: adds zero-shot accuracy. FOLDER = NAME where the data has another name."
        ),
    ] = None
    templates: Annotated[Path | None, Parameter(help="Prompt templates with {} for the name, one per line.")] = None


NO_CLASSES = ZeroShot()
"""Retrieval alone."""


@verb("RUN PAIRS... [OPTIONS]", name="eval")
def evaluate(
    run: Annotated[Path, Parameter(help=RUN)],
    /,
    *pairs: Annotated[str, Parameter(help=PAIRS)],
    zero_shot: Annotated[ZeroShot, Parameter(name="*")] = NO_CLASSES,
    through: Annotated[str | None, Parameter(help=THROUGH)] = None,
    dimensions: Dimensions = None,
    report: Annotated[Path | None, Parameter(help="Write a self-contained HTML report.")] = None,
    reading: ReadingOptions = AS_FOUND,
    trust: Trust = None,
    json: Json = False,
) -> None:
    """Measure a trained space on pairs: retrieval both ways, zero-shot classification, embedding diagnostics.

    Example: cospace eval run val.csv --classes names.txt --report report.html
    """
    from ..commands.evaluate import evaluate_and_report, read_templates
    from ..evaluation.classes import read_classes
    from ..models.truncation import describe_untrained
    from ..runs.run import Run
    from .terminal import Progress, metrics_table

    with Progress() as progress:
        names = None if zero_shot.classes is None else read_classes(zero_shot.classes)
        prompts = None if zero_shot.templates is None else read_templates(zero_shot.templates)
        opened = reading.open(given_pairs(pairs))
        progress.say(*opened.summary())
        opened = opened if through is None else opened.matched_through(through)
        loaded = Run.load(run, trust or ()).truncated(dimensions)
        measured = evaluate_and_report(loaded, opened, names, prompts, report, command(), progress.long_work)
        progress.say(*describe_untrained(loaded.space), *measured.notes)
        if measured.problems:
            progress.say(set_aside(measured.problems).removeprefix("; "))
    show({**measured.metrics, **measured.counts.to_json()}, metrics_table(measured.metrics), json)


@verb("[scenes|glyphs] [PATH=VALUE ...] [OPTIONS]")
def demo(
    data: Annotated[str, Parameter(help="The built-in set: scenes or glyphs.")] = "scenes",
    /,
    *settings: Annotated[str, Parameter(help="Settings as path=value, e.g. training.steps=500.")],
    out: Annotated[Path | None, Parameter(help="Folder of the run; demo-scenes or demo-glyphs if left out.")] = None,
    serve: Annotated[
        bool | None, Parameter(help="Open the web page at the end; prompts in a terminal if omitted.")
    ] = None,
    json: Json = False,
) -> None:
    """Train on built-in data (scenes or glyphs), evaluate, write a report and an index. No download, no flags.

    Training takes some five minutes on two cores: as many steps are trained as fit. training.minutes=15, or steps as in
    training.steps=300, give it other ones.

    In a terminal it ends with an offer to show the web page of what it made.

    Example: cospace demo
    """
    from ..commands.demo import run_demo
    from .terminal import TrainingView, demo_summary

    with TrainingView() as view:
        result = run_demo(data, out, command(), view.listener, settings)
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

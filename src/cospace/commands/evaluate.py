"""Measure a run on pairs: retrieval, zero-shot classification, health, captions and answers; and report it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..data import near_duplicates
from ..data.counting import Counts
from ..data.leakage import describe_leaks, leaked
from ..data.pairs import Pairs
from ..data.prepared import PreparedPairs, without_encoder
from ..evaluation.classes import Classes
from ..evaluators.embedded import embed_pairs, prepare_for
from ..evaluators.generation import generate_predictions
from ..evaluators.measures import classification_metrics, classify, measure
from ..evaluators.reranking import QUERIES, rerank
from ..evaluators.retrieval_baseline import retrieval_baselines
from ..modalities import FIELDS
from ..reading import lines, read_text
from ..runs.datasets import need
from ..runs.report import Measured, report
from ..runs.run import Run
from ..runs.trained_on import SIGNATURES, read_trained_on
from ..types import Metrics, Problem, Progress, UserError, silent
from .train import Trained


def evaluate(
    run: Run,
    pairs: Pairs,
    classes: Classes | None = None,
    templates: Sequence[str] | None = None,
    progress: Progress = silent,
    most: int | None = None,
) -> Measured:
    """Every different item embedded once, and all that there is to measure of it; ``most`` items are captioned."""
    _check(run, pairs, classes is not None)
    prepared = prepare_for(run.space, pairs, progress=progress)
    generated = generate_predictions(run.generator, run.space, prepared, most, progress=progress)
    embedded = embed_pairs(run.space, prepared, progress)
    generated.metrics |= retrieval_baselines(run.generator, run.space, embedded, generated)
    generated.metrics |= rerank(run.generator, run.space, embedded, min(QUERIES, most or QUERIES))
    metrics = measure(embedded) | generated.metrics | _leaks(run, prepared)
    classified = []
    if classes is not None:
        classified = classify(run.space, embedded, classes, templates, run.facts.get("bare_names"))
        metrics |= classification_metrics(classified)
    return Measured(embedded, metrics, generated, classified)


def _leaks(run: Run, prepared: PreparedPairs) -> Metrics:
    """Which of the measured files the run was trained on, byte by byte or as near-duplicates."""
    known = read_trained_on(run.path)
    exact = leaked(known, prepared.pairs)
    signatures = {name.removesuffix(SIGNATURES): rows for name, rows in known.items() if name.endswith(SIGNATURES)}
    return exact | near_duplicates.shares(signatures, near_duplicates.signatures(prepared), exact)


def _check(run: Run, pairs: Pairs, classifies: bool) -> None:
    """Refuse pairs that this run cannot be measured on."""
    generator = run.generator
    if generator is not None and {generator.modality, *FIELDS} <= pairs.items.keys():
        return
    known = [name for name in run.space.modalities if name in pairs.items]
    if len(known) < 2 and not (known and classifies):
        need(pairs, *run.space.modalities)


class Evaluated(NamedTuple):
    """What ``cospace eval`` measured, what could not be measured, notes for people, and what was read."""

    metrics: Metrics
    problems: list[Problem]
    notes: list[str]
    counts: Counts


def evaluate_and_report(
    run: Run,
    pairs: Pairs,
    classes: Classes | None,
    templates: Sequence[str] | None,
    path: Path | None,
    command: str,
    progress: Progress = silent,
) -> Evaluated:
    """Everything ``cospace eval`` measures, written as a page where asked."""
    measured = evaluate(run, pairs, classes, templates, progress)
    if path is not None:
        report(path, run, measured, {}, command)
    pairs = measured.embedded.pairs
    problems = [*pairs.problems, *without_encoder(pairs, run.space.modalities)]
    notes = [f"zero-shot: {one.note}" for one in measured.classified if one.note]
    return Evaluated(measured.metrics, problems, [*notes, *describe_leaks(measured.metrics)], pairs.counts())


def report_run(trained: Trained, more: dict[str, Metrics] | None = None) -> None:
    """Write ``report.html`` into a run that was trained just now, about its own validation pairs."""
    run = trained.run
    measured = Measured(trained.validation, run.metrics(), trained.generated)
    report(run.path / "report.html", run, measured, more or {})


def read_templates(path: Path) -> list[str]:
    """Prompt templates from a text file, one per line."""
    try:
        text = read_text(path)
    except UserError as error:
        raise UserError(f"cannot read the templates: {error}") from error
    templates = [line.strip() for line in lines(text) if line.strip()]
    if not templates:
        raise UserError(f"{path} holds no templates; write one per line, with {{}} where the class name belongs")
    return templates

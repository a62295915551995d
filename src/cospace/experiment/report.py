"""The report of a run or an evaluation, from what was measured."""

from __future__ import annotations

import io
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import __version__
from ..evaluation import zero_shot
from ..evaluation.examples import Item, Side, build_examples
from ..evaluation.geometry import verdicts
from ..evaluation.maps import pca_map
from ..evaluation.platt import reliability, sample_scores
from ..evaluation.report import Confusion, Report, Saying, cautions, map_view, recall_curve, verdict, write_report
from ..evaluation.retrieval import metric_intervals
from ..pairs import Pairs
from ..runtime import describe, device
from ..types import Metrics, Progress, UserError, silent
from .evaluate import Classified, Embedded, classify, complaint, measure
from .log import Log
from .model import Model, embed_and_tell
from .telling import Told

SHOWN = 12
"""Pairs drawn at random for the data card."""

SAID = 8
"""Answers, and captions, of each kind (right, wrong) that the page shows."""

CONFUSED = 40
"""Most classes drawn as a confusion matrix."""


def run_report(model: Model, more: Mapping[str, Metrics] | None = None) -> None:
    """Write ``report.html`` into a finished run, about its own validation pairs."""
    if model.validation is None:
        raise ValueError("only a model that was trained just now holds its validation pairs")
    about = About(model.validation, model.metrics(), model.told)
    write(model.run / "report.html", model, about, more or {})


def evaluate_and_report(
    model: Model,
    pairs: Pairs,
    classes: Path | None,
    templates: Path | None,
    report: Path | None,
    command: str,
    progress: Progress = silent,
) -> Metrics:
    """Everything ``cospace eval`` measures, written as a page where asked."""
    names = None if classes is None else zero_shot.read_names(classes)
    embedded, told = embed_and_tell(model, pairs, progress=progress)
    metrics = measure(model.space, embedded) | told.metrics
    classified = None
    if names is not None:
        chosen = None if templates is None else _templates(templates)
        classified = classify(model.space, embedded, names, chosen, model.facts.get("bare_names"))
        metrics |= classified.metrics
    if report is not None:
        write(report, model, About(embedded, metrics, told, classified), {}, command)
    return metrics


@dataclass(frozen=True, slots=True)
class About:
    """What was measured: embedded pairs, their figures, what was said of them, how they were classified."""

    embedded: Embedded
    metrics: Metrics
    told: Told
    classified: Classified | None = None


def write(path: Path, model: Model, about: About, more: Mapping[str, Metrics], command: str | None = None) -> None:
    """Gather every part of the page and write it."""
    facts, embedded, metrics = model.facts, about.embedded, about.metrics
    shown = _items(embedded)
    confusion = None if about.classified is None else _confusion(embedded, about.classified)
    aligned = _aligned_parts(model, embedded, shown) if len(embedded.text_NE) else {}
    report = Report(
        name=model.run.name,
        date=str(facts.get("finished", time.strftime("%Y-%m-%d"))),
        verdict=verdict(metrics),
        command=command or str(facts.get("command", "")),
        version=__version__,
        metrics=metrics,
        data=_data_card(embedded, facts, more),
        curves=_curves(model.run / "metrics.jsonl"),
        confusion=confusion,
        sayings=sayings(embedded, about.told),
        health=verdicts(metrics, model.space.width) if "space/effective_rank" in metrics else (),
        pairs=_sample(embedded, shown),
        config=model.config(),
        machine={"machine": describe(device())},
        warnings=cautions(metrics, complaint(metrics, model.space.width)),
        **aligned,
    )
    write_report(path, replace(report, pictures=_pictures(embedded, report)))


def _aligned_parts(model: Model, embedded: Embedded, shown: Mapping[str, Sequence[Item]]) -> dict[str, Any]:
    """What there is to say of a space that aligns pictures with texts: scores, calibration, a map, retrieval."""
    calibration = model.space.calibration
    matched, unmatched = sample_scores(
        embedded.text_NE, embedded.image_NE, (embedded.text_groups, embedded.image_groups)
    )
    scores = np.concatenate([matched, unmatched])
    is_match = np.arange(len(scores)) < len(matched)
    drawn = pca_map({"image": embedded.image_NE, "text": embedded.text_NE})
    return {
        "matched": matched,
        "unmatched": unmatched,
        "reliability": () if calibration is None else reliability(calibration.probability(scores), is_match),
        "map": map_view(drawn, "image", shown["image"]),
        **_retrieval_parts(model, embedded, shown),
    }


def _retrieval_parts(model: Model, embedded: Embedded, shown: Mapping[str, Sequence[Item]]) -> dict[str, Any]:
    """Intervals, recall curves and examples of both directions."""
    groups = {"image": embedded.image_groups, "text": embedded.text_groups}
    vectors = {"image": embedded.image_NE, "text": embedded.text_NE}
    sides = {name: Side(shown[name], vectors[name], groups[name]) for name in shown}
    parts: dict[str, Any] = {"intervals": {}, "recall": [], "examples": []}
    for direction, ranking in embedded.rankings().items():
        query, gallery = direction.split("_to_")
        parts["intervals"] |= metric_intervals(direction, ranking, groups[query])
        parts["recall"].append(recall_curve(direction, ranking, groups[query]))
        parts["examples"] += build_examples(direction, ranking, (sides[query], sides[gallery]), model.space.calibration)
    return parts


def _items(embedded: Embedded) -> dict[str, list[Item]]:
    """What to show of every different picture and text; a picture's words are its first caption."""
    captions = embedded.pairs.items.get("text", [""] * len(embedded.pairs))
    first_image = np.unique(embedded.image_of_row, return_index=True)[1]
    first_text = np.unique(embedded.text_of_row, return_index=True)[1]
    return {
        "image": [Item(captions[row], f"p{number}") for number, row in enumerate(first_image)],
        "text": [Item(captions[row]) for row in first_text],
    }


def _sample(embedded: Embedded, shown: Mapping[str, Sequence[Item]]) -> list[Item]:
    """A few pairs drawn at random, for the data card."""
    rows = np.random.default_rng(0).permutation(len(embedded.pairs))[:SHOWN]
    pairs, pictures = embedded.pairs, shown["image"]
    words = pairs.items.get("text", pairs.items.get("question", ()))
    return [Item(words[row], pictures[embedded.image_of_row[row]].picture) for row in rows]


def sayings(embedded: Embedded, told: Told, seed: int = 0) -> list[Saying]:
    """Some answers and captions, right ones and wrong ones, drawn at random."""
    made = [
        Saying(
            Item(remark.truth, f"p{embedded.image_of_row[row]}"),
            remark.said.text,
            remark.question,
            remark.right,
            100 * remark.said.confidence if remark.question else None,
        )
        for remarks in (told.answers, told.captions)
        for row, remark in remarks.items()
    ]
    order = np.random.default_rng(seed).permutation(len(made))
    kept: dict[tuple[bool, bool | None], list[Saying]] = defaultdict(list)
    for place in order:
        saying = made[place]
        kept[bool(saying.question), saying.right].append(saying)
    return [saying for kind in kept.values() for saying in kind[:SAID]]


def _confusion(embedded: Embedded, classified: Classified) -> Confusion | None:
    if len(classified.names) > CONFUSED:
        return None
    arguments = (embedded.image_NE, classified.class_CE, classified.labels_N)
    cells = zero_shot.confused(*arguments)
    samples = {cell: [f"p{row}" for row in rows] for cell, rows in cells.items()}
    return Confusion(zero_shot.confusion(*arguments), classified.names, samples)


def _pictures(embedded: Embedded, report: Report) -> dict[str, bytes]:
    """Encoded pictures that some part of the page shows, and no others."""
    keys = {item.picture for item in report.pairs} | {saying.item.picture for saying in report.sayings}
    for example in report.examples:
        keys |= {example.query.picture, *(result.item.picture for result in example.results)}
    if report.map is not None:
        keys |= {item.picture for _, _, item in report.map.hung}
    if report.confusion is not None:
        keys |= {key for row in report.confusion.samples.values() for key in row}
    images = embedded.images.permute(0, 2, 3, 1)
    return {key: png(images[int(key[1:])].numpy()) for key in sorted(k for k in keys if k is not None)}


def png(pixels: np.ndarray) -> bytes:
    """A ``uint8`` picture ``(H, W, 3)`` as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _curves(path: Path) -> list[dict[str, float]]:
    """The rows of ``metrics.jsonl`` that the curves are drawn from."""
    return Log(path).rows()


def _data_card(embedded: Embedded, facts: Mapping[str, Any], more: Mapping[str, Metrics]) -> dict[str, str | float]:
    card: dict[str, str | float] = {f"training {key}": value for key, value in facts.get("data", {}).items()}
    pairs = embedded.pairs
    card |= {
        "evaluated on": pairs.name,
        "evaluated pairs": len(pairs),
        "evaluated groups": len(np.unique(pairs.groups)),
    }
    card |= {f"set aside: {kind}": count for kind, count in facts.get("set_aside", {}).items()}
    for name, metrics in more.items():
        card |= {f"{name}: {key}": value for key, value in metrics.items() if key.endswith("R@1")}
    return card


def _templates(path: Path) -> list[str]:
    """Prompt templates from a text file."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the templates in {path}: {error}") from error
    if not lines:
        raise UserError(f"{path} holds no templates; write one a line, with {{}} where the class name belongs")
    return lines

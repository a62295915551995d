"""The report of a run or an evaluation, gathered from what was measured."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .. import __version__
from ..data.pairs import Pairs
from ..evaluation import zero_shot
from ..evaluation.geometry import verdicts
from ..evaluation.intervals import Interval, interval
from ..evaluation.maps import flat_map
from ..evaluation.platt import sample_scores
from ..evaluation.quality import Quality, judge
from ..evaluation.relevance import expected_calibration_error, probabilities_of, reliability, shown
from ..evaluation.report import cautions, map_view, recall_curve, verdict, write_report
from ..evaluation.report.examples import Item, Side, build_examples
from ..evaluation.report.parts import Confusion, GeneratedExample, Report
from ..evaluation.retrieval import metric_intervals
from ..evaluation.shown import Shown
from ..evaluators.embedded import EmbeddedPairs
from ..evaluators.generation import GenerationResults
from ..evaluators.measures import Classified, diagnosis, query_components
from ..evaluators.relevance import captions_by_item, trials
from ..modalities import FIELDS, Media, is_text, modality, text_modality
from ..runtime import describe, device
from ..types import Metrics, attempted
from .advice import advice, kept, next_deed, setup_of
from .metrics_log import MetricsLog
from .run import Run

SHOWN = 12
"""Pairs drawn at random for the data card."""

SHOWN_PREDICTIONS = 8
"""Answers, and captions, of each kind (correct, wrong) that the page shows."""

CONFUSED = 40
"""Most classes drawn as a confusion matrix."""

SEEN = 20
"""Files whose own size is looked at, to see how much smaller they are read."""

PLAYED = 400_000
"""Bytes of encoded media that the page carries at most."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a report is about: embedded pairs, their figures, predictions of the decoder, classifications."""

    embedded: EmbeddedPairs
    metrics: Metrics
    generated: GenerationResults
    classified: Sequence[Classified] = ()


def report(path: Path, run: Run, measured: Measured, more: Mapping[str, Metrics], command: str | None = None) -> None:
    """Gather every part of the page and write it; ``more`` are figures of further splits, by name."""
    facts, embedded, metrics = run.facts, measured.embedded, measured.metrics
    shown = _items(embedded)
    modalities = list(embedded.vectors)
    parts = _aligned_parts(run, embedded, shown) if embedded.both() else {"intervals": {}}
    counts, bounds = _written_figures(embedded, measured.generated)
    parts["intervals"] |= bounds
    quality = judge(metrics, parts["intervals"], modalities or run.space.modalities, run.space.width)
    whole = Report(
        name=run.path.name,
        date=str(facts.get("finished", time.strftime("%Y-%m-%d"))),
        verdict=verdict(metrics, modalities, quality),
        quality=quality,
        deed=None if quality.level == "unmeasured" else next_deed(quality.level, run.config(), facts),
        counts=counts,
        command=command or str(facts.get("command", "")),
        version=__version__,
        metrics=metrics,
        data=_data_card(embedded.pairs, facts, more),
        curves=MetricsLog(run.path / "metrics.jsonl").rows(),
        kept=kept(run) or "",
        confusion=next((_confusion(embedded, one) for one in measured.classified), None),
        generated_examples=generated_examples(embedded, measured.generated, run),
        health=verdicts(metrics, run.space.width) if "space/effective_rank" in metrics else (),
        pairs=_sample(embedded, shown),
        config=run.config(),
        machine={"machine": describe(device())},
        warnings=_warnings(run, measured, quality),
        **parts,
    )
    whole = replace(whole, images=_images(embedded, run, whole))
    write_report(path, replace(whole, media=_media(embedded, whole)))


def _warnings(run: Run, measured: Measured, quality: Quality) -> list[str]:
    """What a reader must know; the deed that stands above them is not said again."""
    metrics, embedded = measured.metrics, measured.embedded
    sick = diagnosis(metrics, run.space.width, list(embedded.vectors), setup_of(run))
    deed = next_deed(quality.level, run.config(), run.facts)
    advised = [] if quality.level == "good" else advice(run, metrics, _pixels(embedded))
    advised = [one for one in advised if not (deed.command and deed.command in one)]
    return cautions(metrics, None if quality.level == "collapsed" else sick, advised)


def _pixels(embedded: EmbeddedPairs) -> dict[str, float]:
    """Medians of the longer sides of some files as they are, by the plural of the modalities that have sides."""
    found: dict[str, float] = {}
    for name, first_row in embedded.first_row.items():
        raws = [embedded.pairs.items[name][row] for row in first_row[:SEEN].tolist()]
        inspected = [facts for raw in raws if isinstance(facts := attempted(modality(name).inspect, raw), dict)]
        sides = [max(facts["width"], facts["height"]) for facts in inspected if {"width", "height"} <= facts.keys()]
        found |= {modality(name).plural: float(np.median(sides))} if sides else {}
    return found


def _written_figures(
    embedded: EmbeddedPairs, results: GenerationResults
) -> tuple[dict[str, float], dict[str, Interval]]:
    """How many captions and answers there are, and 95 % intervals of the shares that are correct."""
    counts: dict[str, float] = {}
    bounds: dict[str, Interval] = {}
    for group, predictions in (("caption", results.captions), ("vqa", results.answers)):
        known = {row: one for row, one in predictions.items() if one.correct is not None}
        if known:
            counts[group] = len(known)
            values, rows = [one.score for one in known.values()], list(known)
            bounds[f"{group}/accuracy"] = interval(np.array(values), embedded.pairs.groups[rows])
    return counts, bounds


def _aligned_parts(run: Run, embedded: EmbeddedPairs, shown: Mapping[str, Sequence[Item]]) -> dict[str, Any]:
    """What there is to report of a space that aligns modalities: scores, calibration, a map, retrieval."""
    right, wrong = [np.zeros(0)], [np.zeros(0)]
    for first, second in embedded.both():
        of_pair = embedded.among_matched(second, first)
        scores = sample_scores(of_pair.first_NE, of_pair.second_ME, of_pair.relation)
        right.append(scores[0])
        wrong.append(scores[1])
    pictured = next(name for name in embedded.vectors if not is_text(name) or len(embedded.vectors) == 1)
    return {
        "matched": np.concatenate(right),
        "unmatched": np.concatenate(wrong),
        "map": map_view(flat_map(embedded.vectors), pictured, shown[pictured]),
        "shown": _shown(run, embedded),
        **_retrieval_parts(run, embedded, shown),
    }


def _shown(run: Run, embedded: EmbeddedPairs) -> Shown | None:
    """What the page shows against what is true: as the run kept it of its own held-out pairs, of others measured."""
    held_out = run.facts.get("validation", {}).get("fingerprint") == embedded.pairs.fingerprint
    if held_out and (kept := run.reliability()):
        return Shown.read(kept)
    judged, queries = [], 0
    for trial in trials(run.space, embedded):
        chance = probabilities_of(run.space.relevance, trial.direction, trial.scores_QG, trial.texts, trial.captions)
        if chance is not None:
            judged.append(shown(chance, trial.is_match_QG))
            queries += len(chance)
    if not any(len(chance_S) for chance_S, _ in judged):
        return None
    chance_S, is_match_S = (np.concatenate(parts) for parts in zip(*judged, strict=True))
    error = expected_calibration_error(chance_S, is_match_S)
    return Shown(reliability(chance_S, is_match_S), error, len(chance_S), queries)


def _retrieval_parts(run: Run, embedded: EmbeddedPairs, shown: Mapping[str, Sequence[Item]]) -> dict[str, Any]:
    """Intervals, recall curves and examples of every direction."""
    parts: dict[str, Any] = {"intervals": {}, "recall": [], "examples": []}
    for direction, ranking in embedded.rankings().items():
        query, gallery = direction.split("_to_")
        matched, components = embedded.among_matched(query, gallery), query_components(embedded, direction)
        sides = (
            _side(embedded, query, (matched.kept[0], matched.first_NE), shown),
            _side(embedded, gallery, (matched.kept[1], matched.second_ME), shown),
        )
        parts["intervals"] |= metric_intervals(direction, ranking, components)
        parts["recall"].append(recall_curve(direction, ranking, components))
        says = partial(probabilities_of, run.space.relevance, direction)
        parts["examples"] += build_examples(direction, ranking, sides, matched.relation, says)
    return parts


def _side(embedded: EmbeddedPairs, name: str, kept: tuple[Tensor, Tensor], shown: Mapping[str, Sequence[Item]]) -> Side:
    """The items of a modality that some other one matches, as examples need them."""
    rows, vectors_NE = kept
    captions = captions_by_item(embedded, name)
    chosen = rows.tolist()
    return Side([shown[name][row] for row in chosen], vectors_NE, [captions[row] for row in chosen], is_text(name))


def _items(embedded: EmbeddedPairs) -> dict[str, list[Item]]:
    """What to show of every different item; a file's words are its first caption."""
    captions = embedded.pairs.items.get(text_modality(), [""] * len(embedded.pairs))
    return {
        name: [
            Item(captions[row] or "", None if is_text(name) else f"{name}/{number}")
            for number, row in enumerate(rows.tolist())
        ]
        for name, rows in embedded.first_row.items()
    }


def _sample(embedded: EmbeddedPairs, shown: Mapping[str, Sequence[Item]]) -> list[Item]:
    """A few pairs drawn at random, for the data card."""
    pairs = embedded.pairs
    rows = np.random.default_rng(0).permutation(len(pairs))[:SHOWN].tolist()
    words = pairs.items.get(text_modality(), pairs.items.get(FIELDS[0], [""] * len(pairs)))
    files = [name for name in embedded.vectors if not is_text(name)]
    sample = []
    for row in rows:
        places = [(name, embedded.vector_of_row[name][row]) for name in files]
        key = next((shown[name][place].image for name, place in places if place >= 0), None)
        sample.append(Item(words[row] or "", key))
    return sample


def generated_examples(
    embedded: EmbeddedPairs, results: GenerationResults, run: Run, seed: int = 0
) -> list[GeneratedExample]:
    """Some answers and captions, correct ones and wrong ones, drawn at random."""
    if run.generator is None:
        return []
    name = run.generator.modality
    made = [
        GeneratedExample(
            Item(prediction.truth, f"{name}/{embedded.vector_of_row[name][row]}"),
            prediction.answer.text,
            prediction.question,
            prediction.correct,
            100 * prediction.answer.confidence if prediction.question else None,
        )
        for predictions in (results.answers, results.captions)
        for row, prediction in predictions.items()
    ]
    order = np.random.default_rng(seed).permutation(len(made))
    kept: dict[tuple[bool, bool | None], list[GeneratedExample]] = defaultdict(list)
    for place in order:
        example = made[place]
        kept[bool(example.question), example.correct].append(example)
    return [example for kind in kept.values() for example in kind[:SHOWN_PREDICTIONS]]


def _confusion(embedded: EmbeddedPairs, classified: Classified) -> Confusion | None:
    if len(classified.names) > CONFUSED:
        return None
    arguments = (embedded.vectors[classified.modality], classified.class_CE, classified.labels_N)
    cells = zero_shot.confused(*arguments)
    samples = {cell: [f"{classified.modality}/{row}" for row in rows] for cell, rows in cells.items()}
    return Confusion(zero_shot.confusion(*arguments), classified.names, samples)


def _images(embedded: EmbeddedPairs, run: Run, whole: Report) -> dict[str, bytes]:
    """Encoded images that some part of the page shows, and no others."""
    keys = {item.image for item in whole.pairs} | {example.item.image for example in whole.generated_examples}
    for example in whole.examples:
        keys |= {example.query.image, *(result.item.image for result in example.results)}
    if whole.map is not None:
        keys |= {item.image for _, _, item in whole.map.hung}
    if whole.confusion is not None:
        keys |= {key for row in whole.confusion.samples.values() for key in row}
    made = {}
    for key in sorted(key for key in keys if key is not None):
        name, number = _parsed(key)
        prepared = embedded.prepared.items[name][int(embedded.item[name][number])]
        image = modality(name).prepared_preview(prepared, run.space.processors[name])
        if image is not None:
            made[key] = image
    return made


def _media(embedded: EmbeddedPairs, whole: Report) -> dict[str, tuple[bytes, str]]:
    """Media that a reader can play: of the drawn pairs and of the examples' queries, as far as the budget goes."""
    keys = [item.image for item in (*whole.pairs, *(example.query for example in whole.examples))]
    made: dict[str, tuple[bytes, str]] = {}
    room = PLAYED
    for key in dict.fromkeys(key for key in keys if key is not None):
        name, number = _parsed(key)
        raw = embedded.pairs.items[name][int(embedded.first_row[name][number])]
        excerpt = attempted(modality(name).excerpt, raw)
        if isinstance(excerpt, Media) and len(excerpt.data) <= room:
            made[key] = (excerpt.data, excerpt.type)
            room -= len(excerpt.data)
    return made


def _parsed(key: str) -> tuple[str, int]:
    name, _, number = key.partition("/")
    return name, int(number)


def _data_card(pairs: Pairs, facts: Mapping[str, Any], more: Mapping[str, Metrics]) -> dict[str, str | float]:
    card: dict[str, str | float] = {f"training {key}": value for key, value in facts.get("data", {}).items()}
    card |= {
        "evaluated on": pairs.name,
        "evaluated pairs": len(pairs),
        "evaluated groups": len(np.unique(pairs.groups)),
    }
    card |= {f"set aside: {kind}": count for kind, count in facts.get("set_aside", {}).items()}
    for name, metrics in more.items():
        card |= {f"{name}: {key}": value for key, value in metrics.items() if key.endswith("R@1")}
    return card

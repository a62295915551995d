"""One self-contained HTML file about a run: no scripts, no requests, readable on a phone, in the dark and on paper.

The page is written from :class:`Report`, plain data; the functions here make its parts from rankings and metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ...data.leakage import describe_leaks
from ...files import atomic_write
from ...types import Metrics, UserError
from ..geometry import plural
from ..intervals import intervals
from ..maps import Map, spread_out
from ..quality import Quality, describe, directions
from ..retrieval import Ranking
from ..vectors import Groups
from ._images import Sheet
from ._page import page
from .examples import Example, Item
from .parts import Confusion, GeneratedExample, MapView, RecallCurve, Report

__all__ = [
    "Confusion",
    "GeneratedExample",
    "MapView",
    "RecallCurve",
    "Report",
    "cautions",
    "map_view",
    "recall_curve",
    "verdict",
    "write_report",
]

BUDGET = 2_000_000
"""Bytes: what mail gateways pass and phones open at once."""

_DEPTHS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63, 79, 100)
_SMALL = 200


def write_report(path: Path, report: Report) -> int:
    """Write the page atomically and return its size in bytes.

    Where it would exceed the budget, images shrink and examples are thinned once, and the page says so; a page that
    is still too large is a ``UserError``.
    """
    content = page(report, Sheet(report, size=112, quality=70)).encode("utf-8", "backslashreplace")
    if len(content) > BUDGET:
        note = "To stay below 2 MB this page shows smaller images and half of the examples."
        content = page(_thinned(report), Sheet(report, size=96, quality=60), note).encode("utf-8", "backslashreplace")
    if len(content) > BUDGET:
        raise UserError(
            f"the report would take {len(content):,} bytes and the limit is {BUDGET:,}; "
            "give it fewer examples, pairs or curves"
        )
    atomic_write(path, content)
    return len(content)


def verdict(metrics: Metrics, modalities: Sequence[str], quality: Quality) -> tuple[str, ...]:
    """What a newcomer understands: a sentence on search, then on captions and on answers, each beside its chance."""
    searches = [] if quality.level == "unmeasured" else [quality.sentence, *_others(metrics, modalities)]
    sentences = (*(searches or _classified(metrics)), _described(metrics), _answered(metrics))
    return tuple(sentence for sentence in sentences if sentence) or ("Nothing was scored.",)


def _others(metrics: Metrics, modalities: Sequence[str]) -> list[str]:
    """The other way, and all other directions where there are more than two modalities."""
    main, *others = directions(metrics, {}, modalities)
    back = [one for one in others if (one.asked, one.found) == (main.found, main.asked)]
    return [f"{'The other way it' if one in back else 'It also'} finds {describe(one)}." for one in others]


def _classified(metrics: Metrics) -> list[str]:
    if "zero_shot/top1" not in metrics:
        return []
    return [
        f"Names the right one of {metrics['n_classes']:,.0f} classes for {100 * metrics['zero_shot/top1']:.0f} % "
        f"of {metrics['zero_shot/n']:,.0f} items (chance {100 * metrics['chance/zero_shot/top1']:.2g} %)."
    ]


def _percent(share: float) -> str:
    """A whole percent, which is 100 only where nothing is missing."""
    return f"{100 * share:.1f}" if 0.995 <= share < 1 else f"{100 * share:.0f}"


def _described(metrics: Metrics) -> str:
    """How good the captions are, beside the nearest and the most frequent caption of training for the same items."""
    figure = next((name for name in ("accuracy", "CIDEr-D") if f"caption/{name}" in metrics), None)
    if figure is None:
        return ""
    what = {"accuracy": "Its captions are correct for {} of the items", "CIDEr-D": "Its captions reach CIDEr-D {}"}
    names = [f"caption/{name}{figure}" for name in ("", "retrieval_baseline/", "most_frequent_baseline/")]
    own, *baselines = (
        f"{_percent(metrics[name])} %" if figure == "accuracy" else f"{metrics[name]:.2f}"
        for name in names
        if name in metrics
    )
    sentence = what[figure].format(own)
    if len(baselines) == 2:
        near, common = baselines
        sentence += f" (the nearest caption of training: {near}, the most frequent one: {common})"
    return sentence + "."


def _answered(metrics: Metrics) -> str:
    if "vqa/accuracy" not in metrics:
        return ""
    right, blind = _percent(metrics["vqa/accuracy"]), _percent(metrics.get("vqa/question_only", 0.0))
    return f"Answers {right} % of the questions correctly (from the question alone: {blind} %)."


def cautions(metrics: Metrics, diagnosis: str | None = None, advice: Sequence[str] = ()) -> list[str]:
    """What a reader must know before the numbers: a sick space, advice on the run, too few items, rows left out."""
    warnings = [] if diagnosis is None else [diagnosis[:1].upper() + diagnosis[1:]]
    counts = {key: value for key, value in metrics.items() if key.startswith("n_") and key != "n_classes"}
    if counts and min(counts.values()) < _SMALL:
        key, count = min(counts.items(), key=lambda pair: pair[1])
        warnings.append(f"Small set: {count:,.0f} {plural(key[2:-1])}. Read the intervals, not the digits.")
    left_out = metrics.get("zero_shot/n_without_class", 0)
    if left_out:
        warnings.append(f"{left_out:,.0f} rows have none of the named classes and were left out of classification.")
    warnings += [f"{sentence[:1].upper()}{sentence[1:]}." for sentence in advice]
    return [*warnings, *(f"{sentence}." for sentence in describe_leaks(metrics))]


def recall_curve(direction: str, ranking: Ranking, query_groups: Groups, seed: int = 0) -> RecallCurve:
    """R@k of a direction for k up to 100 or the gallery's size, with bounds over groups."""
    ranks_N = ranking.rank_N.cpu().numpy()
    depths_K = np.array([k for k in _DEPTHS if k <= ranking.gallery])
    hits_NK = (ranks_N[:, None] <= depths_K).astype(np.float64)
    bounds_K2 = intervals(hits_NK, torch.as_tensor(query_groups).cpu(), seed)
    return RecallCurve(direction, depths_K.astype(np.float64), hits_NK.mean(0), bounds_K2[:, 0], bounds_K2[:, 1])


def map_view(drawn: tuple[Map, Mapping[str, np.ndarray]], modality: str, items: Sequence[Item]) -> MapView:
    """The result of ``flat_map`` with images hung on 24 points of ``modality`` that lie far from each other."""
    flat, rows = drawn
    points_N2 = flat.points[modality]
    hung = [(*map(float, points_N2[at]), items[rows[modality][at]]) for at in spread_out(points_N2)]
    return MapView(flat, [(x, y, item) for x, y, item in hung])


def _thinned(report: Report) -> Report:
    """Half of the examples of every stratum and half of the other images, in their order."""
    kept: list[Example] = []
    seen: dict[tuple[str, str], int] = {}
    for example in report.examples:
        key = (example.direction, example.stratum)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] % 2:
            kept.append(example)
    view = None if report.map is None else replace(report.map, hung=report.map.hung[::2])
    return replace(
        report, examples=kept, map=view, pairs=report.pairs[::2], generated_examples=report.generated_examples[::2]
    )

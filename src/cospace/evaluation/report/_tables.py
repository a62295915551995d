"""The report's sections that are tables: retrieval, the space's geometry, the data, the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...types import Metrics
from ..quality import shown_chance
from . import _plots
from ._images import Sheet
from ._svg import number
from ._words import caption, direction_words, nothing, plain
from .parts import Report

_MEASURES = ("R@1", "R@5", "R@10", "MRR", "mAP", "median_rank")


def directions(metrics: Metrics) -> list[str]:
    """The directions of retrieval that were measured: ``text_to_image`` and the like."""
    return [key.removesuffix("/R@1") for key in metrics if key.endswith("/R@1") and key.count("/") == 1]


def retrieval(report: Report) -> str:
    """Every measure of every direction with its interval, and R@k for many k."""
    measured = directions(report.metrics)
    if not measured:
        return nothing("Retrieval was not measured: it needs pairs with both modalities.")
    rows = []
    for measure in _MEASURES:
        cells = "".join(f"<td>{_cell(report, f'{direction}/{measure}')}</td>" for direction in measured)
        rows.append(f'<tr><th scope="row">{measure.replace("_", " ")}</th>{cells}</tr>')
    chances = "".join(f"<td>{shown_chance(report.metrics.get(f'chance/{d}/R@1', 0.0))}</td>" for d in measured)
    rows.append(f'<tr class="rule"><th scope="row">chance R@1</th>{chances}</tr>')
    for label, side in (("queries", 0), ("gallery", 1)):
        counts = [report.metrics.get(f"n_{direction.split('_to_')[side]}s") for direction in measured]
        cells = "".join("<td></td>" if count is None else f"<td>{count:,.0f}</td>" for count in counts)
        rows.append(f'<tr><th scope="row">{label}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{plain(direction_words(direction))}</th>' for direction in measured)
    return (
        f'<div class="plates"><div class="wide"><table class="results"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{_plots.recall(report.recall)}</div>"
        '<p class="note">Percent, except the rank. R@k: a true match is among the first k results. In brackets the '
        "95 % interval: whole groups (an item with all of its captions) drawn again 2,000 times, seed 0; "
        "Wilson's where there are few groups or no spread. Ties count against the model."
        f"{_reranked(report.metrics)}</p>"
    )


def _reranked(metrics: Metrics) -> str:
    """What re-ranking does to R@1, and on which queries, where the run has a decoder that learned to match."""
    changes = []
    for direction in directions(metrics):
        key = f"rerank/{direction}/R@1"
        if key in metrics:
            before, after, n = metrics[f"{key}_before"], metrics[key], metrics.get(f"rerank/{direction}/n")
            asked = "" if n is None else f" for {n:,.0f} of the queries, evenly spaced"
            changes.append(f"{direction_words(direction)} from {100 * before:.1f} to {100 * after:.1f}{asked}")
    return f" Re-ranking by the decoder (--rerank) takes R@1 {'; '.join(changes)}." if changes else ""


def _cell(report: Report, key: str) -> str:
    if key not in report.metrics:
        return ""
    value = report.metrics[key]
    if key.endswith("median_rank"):
        return number(value)
    if key not in report.intervals:
        return f"{100 * value:.1f}"
    low, high = report.intervals[key]
    return f'<b>{100 * value:.1f}</b> <span class="soft range">[{100 * low:.1f}, {100 * high:.1f}]</span>'


def geometry(report: Report) -> str:
    """The figures of the space's shape; nothing is called good in a run that is not."""
    if not report.health:
        return nothing("The space's geometry was not measured.")
    icons = {"good": "✓", "look": "△", "bad": "✕"}
    well = report.quality is None or report.quality.level in ("good", "unmeasured")
    rows = "".join(
        f'<tr><th scope="row">{plain(v.name)}</th><td>{v.value:.2f}</td>'
        + (f'<td class="{v.word}">{icons[v.word]} {v.word}</td>' if well or v.word != "good" else "<td></td>")
        + f'<td class="words">{plain(v.sentence)}</td></tr>'
        for v in report.health
    )
    return f'<div class="wide"><table class="health"><tbody>{rows}</tbody></table></div>'


def data(report: Report, sheet: Sheet) -> str:
    """What the run was trained and evaluated on, and a few of the pairs."""
    tiles = "".join(f"<li>{sheet.show(pair)}<span>{caption(pair.text)}</span></li>" for pair in report.pairs)
    drawn = f'<h3>Pairs drawn at random</h3><ul class="pairs">{tiles}</ul>' if tiles else ""
    return _listing(report.data) + drawn


def settings(report: Report) -> str:
    """The command, the machine and the whole configuration."""
    return (
        f"<h3>Command</h3><pre><code>{plain(report.command)}</code></pre>"
        f"<h3>Machine</h3>{_listing({'cospace': report.version, **report.machine})}"
        f"<h3>Configuration</h3>{_listing(dict(_flat(report.config)), 'columns')}"
    )


def _listing(facts: Mapping[str, object], kind: str = "") -> str:
    if not facts:
        return nothing("Nothing was recorded.")
    rows = "".join(f"<div><dt>{plain(k)}</dt><dd>{plain(v)}</dd></div>" for k, v in facts.items())
    return f'<dl class="listing {kind}">{rows}</dl>'


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for key, value in config.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return rows

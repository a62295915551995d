"""The report's ten sections as HTML. Everything that came from outside is escaped here and nowhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from ...types import Metrics
from . import _plots
from ._images import Sheet
from ._svg import number
from .examples import RULE, Example, Result
from .parts import GeneratedExample, Report

_POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
_STRATA = {"random": "Drawn at random", "best": "Among the best", "worst": "The worst"}
_MEASURES = ("R@1", "R@5", "R@10", "MRR", "mAP", "median_rank")
_TITLES = {
    "zero_shot/top1": ("zero-shot classes", "top-1"),
    "caption/accuracy": ("captions", "accuracy"),
    "vqa/accuracy": ("answers", "accuracy"),
}
_LONGEST = 300
_ROOT = r"(?:~|[A-Za-z]:)?[/\\]"
_PATH = re.compile(rf"""\w+://\S+|'{_ROOT}[^']+'|"{_ROOT}[^"]+"|(?<![\w.:/\\<]){_ROOT}[^\s'",;)\]}}]+""")


def page(report: Report, sheet: Sheet, note: str = "") -> str:
    """The whole file. ``note`` says what was left out to keep it small."""
    sections = [
        ("retrieval", "Retrieval", _retrieval(report), True),
        ("curves", "Training curves", _plots.curves(report.curves, report.kept), True),
        ("scores", "Scores", _plots.scores(report), True),
        ("examples", "Examples", _examples(report.examples, sheet), True),
        *(
            [("generation", "Captions and answers", _generated_examples(report, sheet), True)]
            if report.generated_examples
            else []
        ),
        ("confusion", "Classes", _plots.classes(report.metrics, report.intervals, report.confusion, sheet), True),
        ("map", "Map", _plots.space_map(report.map, sheet), True),
        ("health", "Health of the space", _health(report), False),
        ("data", "Data", _data(report, sheet), False),
        ("settings", "Settings and reproduction", _settings(report), False),
    ]
    body = "".join(_section(place, *section) for place, section in enumerate(sections, start=2))
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _, _ in sections)
    style = files(__package__).joinpath("_report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
        f"<title>{plain(report.name)} · cospace report</title><style>{style}</style></head><body>"
        f'{_masthead(report, note)}<nav aria-label="Sections">{links}</nav><main>{body}</main>'
        f"{sheet.definitions()}{_numbers(report)}</body></html>\n"
    )


def plain(value: object) -> str:
    """A value as escaped text without folders, hosts or people in it: of a path, only the last name stays."""
    return escape(_PATH.sub(_last_name, _number_or_text(value)), quote=True)


def caption(text: str) -> str:
    """Someone's caption as escaped text, shortened where it would fill the page."""
    return escape(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…", quote=True)


def direction_words(direction: str) -> str:
    """``text_to_image`` as people say it."""
    return " → ".join(direction.split("_to_"))


def _section(place: int, key: str, title: str, content: str, is_open: bool) -> str:
    heading = f'<h2><span class="place">{place}</span>{title}</h2>'
    if is_open:
        return f'<section id="{key}">{heading}{content}</section>'
    return f'<section id="{key}"><details class="fold"><summary>{heading}</summary>{content}</details></section>'


def _masthead(report: Report, note: str) -> str:
    warnings = "".join(f"<li>{plain(text)}</li>" for text in report.warnings)
    warned = f'<ul class="warnings" aria-label="Warnings">{warnings}</ul>' if warnings else ""
    small = f'<p class="note">{plain(note)}</p>' if note else ""
    fingerprint = f" · data {plain(report.data['fingerprint'])}" if "fingerprint" in report.data else ""
    return (
        f'<header class="masthead"><p class="kicker">cospace report · {plain(report.date)}</p>'
        f"<h1>{plain(report.name)}</h1>{_verdict(report.verdict)}{warned}"
        f'<div class="cards">{_cards(report)}</div>'
        f'<p class="facts"><code>{plain(report.command)}</code><br>cospace {plain(report.version)}{fingerprint}</p>'
        f"{small}</header>"
    )


def _verdict(sentences: Sequence[str]) -> str:
    """The first sentence as the page's headline, the others under it."""
    first, *others = (plain(sentence).replace(" %", "&nbsp;%") for sentence in sentences)
    more = f'<p class="more">{" ".join(others)}</p>' if others else ""
    return f'<p class="verdict">{first}</p>{more}'


def _cards(report: Report) -> str:
    """Up to four headline numbers, each with its interval, the number of queries and chance."""
    found = [f"{direction}/R@1" for direction in _directions(report.metrics)]
    found += [key for key in _TITLES if key in report.metrics]
    found += [f"{direction}/mAP" for direction in _directions(report.metrics)]
    cards = []
    for key in found[:4]:
        group, measure = key.rsplit("/", 1)
        name, words = _TITLES.get(key, (direction_words(group), measure))
        under = [_bounds(report, key), _queries(report, group), _chance(report, key)]
        cards.append(
            f'<div class="card"><p class="what">{plain(name)} · {words}</p>'
            f'<p class="big">{100 * report.metrics[key]:.1f}<small>%</small></p>'
            f'<p class="under">{"<br>".join(text for text in under if text)}</p></div>'
        )
    return "".join(cards)


def _bounds(report: Report, key: str) -> str:
    if key not in report.intervals:
        return ""
    low, high = report.intervals[key]
    return f"95 % interval [{100 * low:.1f}, {100 * high:.1f}]"


def _queries(report: Report, group: str) -> str:
    count = report.metrics.get(f"n_{group.split('_to_')[0]}s", report.metrics.get(f"{group}/n"))
    return "" if count is None else f"n = {count:,.0f} queries"


def _chance(report: Report, key: str) -> str:
    if key == "vqa/accuracy" and "vqa/question_only" in report.metrics:
        return f"from the question alone {100 * report.metrics['vqa/question_only']:.1f} %"
    chance = report.metrics.get(f"chance/{key}")
    return "" if chance is None else f"chance {100 * chance:.2g} %"


def _directions(metrics: Metrics) -> list[str]:
    """The directions of retrieval that were measured: ``text_to_image`` and the like."""
    return [key.removesuffix("/R@1") for key in metrics if key.endswith("/R@1") and key.count("/") == 1]


def _retrieval(report: Report) -> str:
    directions = _directions(report.metrics)
    if not directions:
        return _none("Retrieval was not measured: it needs pairs with both modalities.")
    rows = []
    for measure in _MEASURES:
        cells = "".join(f"<td>{_cell(report, f'{direction}/{measure}')}</td>" for direction in directions)
        rows.append(f'<tr><th scope="row">{measure.replace("_", " ")}</th>{cells}</tr>')
    chances = "".join(f"<td>{100 * report.metrics.get(f'chance/{d}/R@1', 0):.2f}</td>" for d in directions)
    rows.append(f'<tr class="rule"><th scope="row">chance R@1</th>{chances}</tr>')
    for label, side in (("queries", 0), ("gallery", 1)):
        counts = [report.metrics.get(f"n_{direction.split('_to_')[side]}s") for direction in directions]
        cells = "".join("<td></td>" if count is None else f"<td>{count:,.0f}</td>" for count in counts)
        rows.append(f'<tr><th scope="row">{label}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{plain(direction_words(direction))}</th>' for direction in directions)
    return (
        f'<div class="plates"><div class="wide"><table class="results"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{_plots.recall(report.recall)}</div>"
        '<p class="note">Percent, except the rank. R@k: a true match is among the first k results. In brackets the '
        "95 % interval: whole groups (an item with all of its captions) drawn again 2,000 times, seed 0; "
        "Wilson's where there are few groups or no spread. Ties count against the model."
        f"{_reranked(report.metrics)}</p>"
    )


def _reranked(metrics: Metrics) -> str:
    """What re-ranking does to R@1, where the run has a decoder that learned image-text matching."""
    changes = [
        f"{direction_words(direction)} {100 * metrics[f'rerank/{direction}/R@1_before']:.1f} to "
        f"{100 * metrics[f'rerank/{direction}/R@1']:.1f}"
        for direction in _directions(metrics)
        if f"rerank/{direction}/R@1" in metrics
    ]
    return f" Re-ranking by the decoder (--rerank) takes R@1 from {', '.join(changes)}." if changes else ""


def _cell(report: Report, key: str) -> str:
    if key not in report.metrics:
        return ""
    value = report.metrics[key]
    if key.endswith("median_rank"):
        return number(value)
    if key not in report.intervals:
        return f"{100 * value:.1f}"
    low, high = report.intervals[key]
    return f'<b>{100 * value:.1f}</b> <span class="soft">[{100 * low:.1f}, {100 * high:.1f}]</span>'


def _examples(examples: Sequence[Example], sheet: Sheet) -> str:
    if not examples:
        return _none("No examples were kept.")
    parts = [
        f'<p class="note">{RULE}. <b class="tick">✓</b> marks what is paired with the query; a hit without it is not '
        "called wrong, it is only not the paired one. Percent: how likely an item of this collection with this score "
        "is a match.</p>"
    ]
    for direction in dict.fromkeys(example.direction for example in examples):
        parts.append(f"<h3>{plain(direction_words(direction))}</h3>")
        for stratum, title in _STRATA.items():
            members = [e for e in examples if e.direction == direction and e.stratum == stratum]
            if members:
                rows = "".join(_example(example, sheet) for example in members)
                parts.append(f'<h4>{title}</h4><div class="examples">{rows}</div>')
    return "".join(parts)


def _example(example: Example, sheet: Sheet) -> str:
    query = example.query
    shown = sheet.show(query) if query.image else f"<q>{caption(query.text)}</q>"
    found = "found first" if example.rank == 1 else f"found at rank {example.rank:,}"
    kind = "images" if any(result.item.image for result in example.results) else "texts"
    hits = "".join(_hit(result, place, sheet) for place, result in enumerate(example.results, start=1))
    return (
        f'<article class="example"><div class="query">{shown}<span class="rank">{found}</span></div>'
        f'<ol class="hits {kind}">{hits}</ol></article>'
    )


def _hit(result: Result, place: int, sheet: Sheet) -> str:
    words = ['<b class="tick" aria-label="paired">✓</b>'] if result.is_match else []
    words += [] if result.percent is None else [_whole(result.percent)]
    words += [f"rank {result.rank:,}"] if result.rank != place or result.percent is None else []
    item = result.item
    shown = sheet.show(item) if item.image else f"<span>{caption(item.text)}</span>"
    kind = ' class="match"' if result.is_match else ""
    return f'<li{kind}>{shown}<span class="score">{" ".join(words)}</span></li>'


def _whole(percent: float) -> str:
    """A whole percent that is never 0 or 100."""
    return "&gt; 99 %" if percent > 99 else "&lt; 1 %" if percent < 1 else f"{percent:.0f} %"


def _generated_examples(report: Report, sheet: Sheet) -> str:
    """Figures of what a decoder wrote, and examples of it: correct ones and wrong ones."""
    rows = "".join(
        f'<tr><th scope="row">{plain(key)}</th><td>{_share(key, value)}</td></tr>'
        for key, value in report.metrics.items()
        if key.startswith(("caption/", "vqa/"))
    )
    parts = [f'<div class="wide"><table class="listing"><tbody>{rows}</tbody></table></div>']
    titles = (("Answers", True), ("Captions", False))
    for title, asked in titles:
        members = [generated for generated in report.generated_examples if bool(generated.question) == asked]
        for correct, words in ((True, "correct"), (False, "wrong"), (None, "drawn at random")):
            tiles = "".join(_generated_example(one, sheet) for one in members if one.correct is correct)
            if tiles:
                parts.append(f'<h3>{title}, {words}</h3><ul class="pairs">{tiles}</ul>')
    return "".join(parts)


def _generated_example(generated: GeneratedExample, sheet: Sheet) -> str:
    mark = {True: '<b class="tick">✓</b> ', False: '<b class="cross">✕</b> ', None: ""}[generated.correct]
    asked = f"<i>{caption(generated.question)}</i><br>" if generated.question else ""
    sure = "" if generated.percent is None else f' <span class="score">{_whole(generated.percent)}</span>'
    truth = "" if generated.correct else f'<br><span class="soft">true: {caption(generated.item.text)}</span>'
    return f"<li>{sheet.show(generated.item)}<span>{asked}{mark}{caption(generated.predicted)}{sure}{truth}</span></li>"


def _share(key: str, value: float) -> str:
    """Scores of words as they are, shares in percent."""
    return f"{value:.3f}" if key.startswith("caption/") and key != "caption/accuracy" else f"{100 * value:.1f} %"


def _health(report: Report) -> str:
    if not report.health:
        return _none("The space's health was not measured.")
    icons = {"good": "✓", "look": "△", "bad": "✕"}
    rows = "".join(
        f'<tr><th scope="row">{plain(v.name)}</th><td>{number(round(v.value, 2))}</td>'
        f'<td class="{v.word}">{icons[v.word]} {v.word}</td><td class="words">{plain(v.sentence)}</td></tr>'
        for v in report.health
    )
    return f'<div class="wide"><table class="health"><tbody>{rows}</tbody></table></div>'


def _data(report: Report, sheet: Sheet) -> str:
    tiles = "".join(f"<li>{sheet.show(pair)}<span>{caption(pair.text)}</span></li>" for pair in report.pairs)
    drawn = f'<h3>Pairs drawn at random</h3><ul class="pairs">{tiles}</ul>' if tiles else ""
    return _listing(report.data) + drawn


def _settings(report: Report) -> str:
    return (
        f"<h3>Command</h3><pre><code>{plain(report.command)}</code></pre>"
        f"<h3>Machine</h3>{_listing({'cospace': report.version, **report.machine})}"
        f"<h3>Configuration</h3>{_listing(dict(_flat(report.config)))}"
    )


def _listing(facts: Mapping[str, object]) -> str:
    if not facts:
        return _none("Nothing was recorded.")
    rows = "".join(f'<tr><th scope="row">{plain(k)}</th><td>{plain(v)}</td></tr>' for k, v in facts.items())
    return f'<div class="wide"><table class="listing"><tbody>{rows}</tbody></table></div>'


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for key, value in config.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return rows


def _numbers(report: Report) -> str:
    """The figures for other programs: a data block, which no browser executes, with ``<`` out of the way."""
    finite = {key: value for key, value in report.metrics.items() if np.isfinite(value)}
    value = {"name": plain(report.name), "date": report.date, "metrics": finite, "intervals": dict(report.intervals)}
    text = json.dumps(value, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="numbers">{text}</script>'


def _none(sentence: str) -> str:
    return f'<p class="none">{sentence}</p>'


def _last_name(match: re.Match[str]) -> str:
    """What may be shown of a path or an address: its last name, unless that is a person's folder or a host."""
    parts = re.split(r"[/\\]+", match[0].strip("'\"").rstrip("/\\"))
    personal = len(parts) == 3 and parts[1] in ("home", "Users")
    return "…" if "://" in match[0] or personal else parts[-1]


def _number_or_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return number(value)

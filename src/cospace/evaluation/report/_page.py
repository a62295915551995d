"""The report as one HTML file: its masthead, then its sections in order."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np

from ..quality import shown_chance
from . import _examples, _plots, _tables
from ._images import Sheet
from ._words import direction_words, plain
from .parts import Report

_POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
_TITLES = {
    "zero_shot/top1": ("zero-shot classes", "top-1"),
    "caption/accuracy": ("captions", "correct"),
    "vqa/accuracy": ("answers", "correct"),
}


def page(report: Report, sheet: Sheet, note: str = "") -> str:
    """The whole file. ``note`` says what was left out to keep it small."""
    sections = [
        ("retrieval", "Retrieval", _tables.retrieval(report), True),
        ("curves", "Training curves", _plots.curves(report.curves, report.kept), True),
        ("scores", "Scores and percentages", _plots.scores(report), True),
        ("examples", "Examples", _examples.searches(report.examples, sheet), True),
        *(
            [("generation", "Captions and answers", _examples.written(report, sheet), True)]
            if report.generated_examples
            else []
        ),
        ("confusion", "Classes", _plots.classes(report.metrics, report.intervals, report.confusion, sheet), True),
        ("map", "Map", _plots.space_map(report.map, sheet), True),
        ("health", "Geometry, for specialists", _tables.geometry(report), False),
        ("data", "Data", _tables.data(report, sheet), False),
        ("settings", "Settings and reproduction", _tables.settings(report), False),
    ]
    body = "".join(_section(place, *section) for place, section in enumerate(sections, start=1))
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


def _section(place: int, key: str, title: str, content: str, is_open: bool) -> str:
    heading = f'<h2><span class="place">{place}</span>{title}</h2>'
    if is_open:
        return f'<section id="{key}">{heading}{content}</section>'
    return f'<section id="{key}"><details class="fold"><summary>{heading}</summary>{content}</details></section>'


def _masthead(report: Report, note: str) -> str:
    warnings = "".join(f"<li>{plain(text)}</li>" for text in report.warnings)
    warned = f'<ul class="warnings" aria-label="Warnings">{warnings}</ul>' if warnings else ""
    small = f'<p class="note">{plain(note)}</p>' if note else ""
    fingerprint = f"<br>data {plain(report.data['fingerprint'])}" if "fingerprint" in report.data else ""
    return (
        f'<header class="masthead"><p class="kicker"><b>{plain(report.name)}</b> · cospace report · '
        f"{plain(report.date)}</p>{_verdict(report)}{warned}"
        f'<div class="cards">{_cards(report)}</div>'
        f'<p class="facts"><code>{plain(report.command)}</code><br>cospace {plain(report.version)}{fingerprint}</p>'
        f"{small}</header>"
    )


def _verdict(report: Report) -> str:
    """The first sentence as the page's heading, the deed, and the other sentences under it."""
    first, *others = (_unbroken(plain(sentence)) for sentence in report.verdict)
    level = "unmeasured" if report.quality is None else report.quality.level
    heading = f"<h1>{first}</h1>"
    if report.deed is not None and level != "good":
        command = f" <code>{plain(report.deed.command)}</code>" if report.deed.command else ""
        heading += f'<p class="deed"><span>{plain(report.deed.sentence)}</span>{command}</p>'
    return heading + (f'<p class="rest">{" ".join(others)}</p>' if others else "")


def _unbroken(text: str) -> str:
    """A number and its percent sign stay on one line."""
    return text.replace(" %", "&nbsp;%")


def _cards(report: Report) -> str:
    """Up to four headline numbers, each with its interval, the number of queries and chance."""
    measured = _tables.directions(report.metrics)
    found = [f"{direction}/R@1" for direction in measured]
    found += [key for key in _TITLES if key in report.metrics]
    found += [f"{direction}/R@10" for direction in measured]
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
    counts = (report.counts, report.metrics)
    names = (group, f"n_{group.split('_to_')[0]}s", f"{group}/n")
    count = next((found[name] for found in counts for name in names if name in found), None)
    what = {"caption": "items", "vqa": "questions"}.get(group, "queries")
    return "" if count is None else f"n = {count:,.0f} {what}"


def _chance(report: Report, key: str) -> str:
    beside = {
        "vqa/accuracy": ("vqa/question_only", "from the question alone"),
        "caption/accuracy": ("caption/most_frequent_baseline/accuracy", "the most frequent caption"),
    }
    if key in beside and beside[key][0] in report.metrics:
        return f"{beside[key][1]} {100 * report.metrics[beside[key][0]]:.1f} %"
    first = key.replace("/R@10", "/R@1")
    chance = report.metrics.get(f"chance/{first}")
    return "" if chance is None else f"chance {shown_chance(min(1.0, (1 if first == key else 10) * chance))} %"


def _numbers(report: Report) -> str:
    """The figures for other programs: a data block, which no browser executes, with ``<`` out of the way."""
    finite = {key: value for key, value in report.metrics.items() if np.isfinite(value)}
    value = {"name": plain(report.name), "date": report.date, "metrics": finite, "intervals": dict(report.intervals)}
    text = json.dumps(value, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="numbers">{text}</script>'

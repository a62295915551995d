"""The report's examples: what searches found, and what a decoder wrote; a few in sight and the others folded."""

from __future__ import annotations

from collections.abc import Sequence

from ...types import Metrics
from ._images import Sheet
from ._words import caption, direction_words, nothing, plain, whole_percent
from .examples import RULE, Example, Result
from .parts import GeneratedExample, Report

_STRATA = {"random": ("Drawn at random", 3), "best": ("Among the best", 2), "worst": ("The worst", 4)}
"""Titles of the strata, and how many examples of each are in sight."""
_WRITTEN = 6
"""Answers, and captions, of each kind that are in sight."""
_LEAST_PERCENT = 10.0
"""Below it a percentage says no more than its word."""


def searches(examples: Sequence[Example], sheet: Sheet) -> str:
    """Queries with their best results, by direction and stratum."""
    if not examples:
        return nothing("No examples were kept.")
    parts = [
        f'<p class="note">{RULE}. <b class="tick">✓</b> marks what is paired with the query; a result without it is '
        "not called wrong, it is only not the paired one. Words and percentages are those that a search of these items "
        "shows.</p>"
    ]
    for direction in dict.fromkeys(example.direction for example in examples):
        own = [example for example in examples if example.direction == direction]
        parts.append(f"<h3>{plain(direction_words(direction))}</h3>")
        folded, count = [], 0
        for stratum, (title, most) in _STRATA.items():
            members = [example for example in own if example.stratum == stratum]
            parts.append(_group(title, members[:most], sheet))
            folded.append(_group(title, members[most:], sheet))
            count += len(members[most:])
        parts.append(_more(count, "searches", "".join(folded)))
    return "".join(parts)


def _more(count: int, what: str, content: str) -> str:
    return f'<details class="more"><summary>{count} more {what}</summary>{content}</details>' if count else ""


def _group(title: str, examples: Sequence[Example], sheet: Sheet) -> str:
    rows = "".join(_example(example, sheet) for example in examples)
    return f'<h4>{title}</h4><div class="examples">{rows}</div>' if rows else ""


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
    words += [result.match] if result.match else []
    if result.percent is not None and result.percent >= _LEAST_PERCENT:
        words.append(whole_percent(result.percent))
    words += [f"rank {result.rank:,}"] if result.rank != place or not result.match else []
    item = result.item
    shown = sheet.show(item) if item.image else f"<span>{caption(item.text)}</span>"
    kind = ' class="match"' if result.is_match else ""
    return f'<li{kind}>{shown}<span class="score">{" ".join(words)}</span></li>'


def written(report: Report, sheet: Sheet) -> str:
    """Figures of what a decoder wrote, and examples of it: correct ones and wrong ones."""
    parts = [_figures(report.metrics)]
    for title, asked in (("Answers", True), ("Captions", False)):
        members = [generated for generated in report.generated_examples if bool(generated.question) == asked]
        folded, count = [], 0
        for correct, words in ((True, "correct"), (False, "wrong"), (None, "drawn at random")):
            tiles = [_generated_example(one, sheet) for one in members if one.correct is correct]
            parts.append(_tiles(f"{title}, {words}", tiles[:_WRITTEN]))
            folded.append(_tiles(f"{title}, {words}", tiles[_WRITTEN:]))
            count += len(tiles[_WRITTEN:])
        parts.append(_more(count, title.lower(), "".join(folded)))
    return "".join(parts)


def _tiles(title: str, tiles: Sequence[str]) -> str:
    return f'<h3>{title}</h3><ul class="pairs">{"".join(tiles)}</ul>' if tiles else ""


def _generated_example(generated: GeneratedExample, sheet: Sheet) -> str:
    mark = {True: '<b class="tick">✓</b> ', False: '<b class="cross">✕</b> ', None: ""}[generated.correct]
    asked = f"<i>{caption(generated.question)}</i><br>" if generated.question else ""
    sure = "" if generated.percent is None else f' <span class="score">{whole_percent(generated.percent)}</span>'
    truth = "" if generated.correct else f'<br><span class="soft">true: {caption(generated.item.text)}</span>'
    return f"<li>{sheet.show(generated.item)}<span>{asked}{mark}{caption(generated.predicted)}{sure}{truth}</span></li>"


def _figures(metrics: Metrics) -> str:
    """Up to four figures with what they are compared with; all others folded."""
    main = "caption/accuracy" if "caption/accuracy" in metrics else "caption/CIDEr-D"
    rows = [
        ("Captions that are correct" if main.endswith("accuracy") else "Captions like people's own (CIDEr-D)", main,
         _compared(metrics, main.partition("/")[2])),
        ("Captions that differ from each other", "caption/distinct", ""),
        ("Answers that are correct", "vqa/accuracy", ""),
        ("Answers guessed from the question alone", "vqa/question_only", "what an answer must be better than"),
    ]  # fmt: skip
    shown = "".join(
        f'<tr><th scope="row">{words}</th><td><b>{_figure(key, metrics[key])}</b></td>'
        f'<td class="words">{beside}</td></tr>'
        for words, key, beside in rows
        if key in metrics
    )
    taken = {key for _, key, _ in rows}
    rest = [key for key in metrics if key.startswith(("caption/", "vqa/")) and key not in taken]
    others = "".join(f"<div><dt>{plain(_named(k))}</dt><dd>{_figure(k, metrics[k])}</dd></div>" for k in rest)
    table = f'<dl class="listing columns">{others}</dl>'
    return f'<div class="wide"><table class="results"><tbody>{shown}</tbody></table></div>' + _more(
        len(rest), "figures", table
    )


def _compared(metrics: Metrics, figure: str) -> str:
    near, common = (metrics.get(f"caption/{name}_baseline/{figure}") for name in ("retrieval", "most_frequent"))
    if near is None or common is None:
        return ""
    key = f"caption/{figure}"
    return f"the nearest caption of training: {_figure(key, near)}, the most frequent one: {_figure(key, common)}"


def _named(key: str) -> str:
    """A figure's key in words: ``vqa/accuracy/count`` is ``Answers of kind “count” that are correct``."""
    group, *middle, figure = key.split("/")
    if group == "vqa":
        return f"Answers of kind “{figure}” that are correct"
    whose = {"retrieval_baseline": "Nearest captions of training", "most_frequent_baseline": "Most frequent caption"}
    name = whose.get(middle[0], middle[0].replace("_", " ")) if middle else "Captions"
    return f"{name}: {'correct' if figure == 'accuracy' else figure.replace('_', ' ')}"


def _figure(key: str, value: float) -> str:
    """CIDEr-D, which has no upper end, as it is; all others in percent."""
    return f"{value:.2f}" if key.endswith("CIDEr-D") else f"{100 * value:.1f} %"

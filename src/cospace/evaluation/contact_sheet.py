"""A contact sheet for each class, as one HTML file: no script, no request, below two megabytes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ..types import UserError

BUDGET = 1_900_000
"""Bytes of the whole page."""

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1d21;--soft:#5c636e;--line:#dfe2e7;--paper:#fff;--bar:#3b6fd4}
@media(prefers-color-scheme:dark){:root{--ink:#e9ebee;--soft:#a1a8b3;--line:#333840;--paper:#16181c;--bar:#7ea6f5}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1.5rem 1rem 4rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0 0 .3rem}h2{font-size:1.15rem;margin:2.2rem 0 .2rem;overflow-wrap:anywhere}
p{margin:.2rem 0 .8rem}.soft{color:var(--soft)}
table{border-collapse:collapse;width:100%;max-width:44rem}
th,td{padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:middle;
overflow-wrap:anywhere}
th{font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.track{min-width:4rem;width:40%}.bar{display:block;height:.7rem;border-radius:.2rem;background:var(--bar)}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(96px,1fr));gap:.6rem;padding:0;margin:0;
list-style:none}
.sheet img,.sheet .none{width:100%;aspect-ratio:1;object-fit:contain;display:block;border:1px solid var(--line);
border-radius:.3rem}
.sheet small{display:block;color:var(--soft);white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
a{color:inherit}
@media print{h2{break-after:avoid}li{break-inside:avoid}}
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """An item of a class: what it is called, how probable the class is, and its preview as encoded image, if any."""

    name: str
    probability: float
    runner_up: str
    image: bytes | None


@dataclass(frozen=True, slots=True)
class ClassSheet:
    """A class with the number of its items, their mean probability, and those that are shown."""

    name: str
    count: int
    mean: float
    surest: Sequence[Shown]
    least_sure: Sequence[Shown]


def contact_sheet(title: str, facts: Sequence[str], sheets: Sequence[ClassSheet]) -> bytes:
    """The page; where it would be too large, the last items of every class go.

    Raises :class:`UserError` where even the counts alone are too many.
    """
    for keep in (1.0, 0.5, 0.25, 0.1, 0.0):
        thinned = [_thinned(sheet, keep) for sheet in sheets]
        page = _page(title, facts, thinned).encode("utf-8", "backslashreplace")
        if len(page) <= BUDGET:
            return page
    raise UserError(
        f"a report of {len(sheets):,} classes would exceed two megabytes; write the table with --out instead"
    )


def _thinned(sheet: ClassSheet, keep: float) -> ClassSheet:
    some = [shown[: round(keep * len(shown))] for shown in (sheet.surest, sheet.least_sure)]
    return ClassSheet(sheet.name, sheet.count, sheet.mean, *some)


def _page(title: str, facts: Sequence[str], sheets: Sequence[ClassSheet]) -> str:
    said = "".join(f'<p class="soft">{_text(fact)}</p>' for fact in facts)
    there = [sheet for sheet in sheets if sheet.count]
    body = "".join(_section(place, sheet) for place, sheet in enumerate(there, 1))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; style-src '
        f"'unsafe-inline'\"><title>{_text(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{_text(title)}</h1>{said}{_overview(sheets)}{body}</main></body></html>\n"
    )


def _overview(sheets: Sequence[ClassSheet]) -> str:
    """Every class with its count and mean probability; those with items lead to their sheet."""
    most = max((sheet.count for sheet in sheets), default=1) or 1
    place, rows = 0, []
    for sheet in sheets:
        place += bool(sheet.count)
        name = f'<a href="#class-{place}">{_text(sheet.name)}</a>' if sheet.count else _text(sheet.name)
        mean = f"{100 * sheet.mean:.0f} %" if sheet.count else ""
        bar = f'<span class="bar" style="width:{100 * sheet.count / most:.1f}%"></span>' if sheet.count else ""
        rows.append(
            f'<tr><td>{name}</td><td class="n">{sheet.count:,}</td><td class="track">{bar}</td>'
            f'<td class="n">{mean}</td></tr>'
        )
    heading = '<tr><th>class</th><th class="n">items</th><th></th><th class="n">mean probability</th></tr>'
    return f"<table><thead>{heading}</thead><tbody>{''.join(rows)}</tbody></table>"


def _section(place: int, sheet: ClassSheet) -> str:
    plural = "item" if sheet.count == 1 else "items"
    head = f'<section><h2 id="class-{place}">{_text(sheet.name)}</h2><p class="soft">{sheet.count:,} {plural}</p>'
    parts = [("most probable", sheet.surest), ("least probable", sheet.least_sure)]
    lists = "".join(
        f'<p>{words}</p><ul class="sheet">{"".join(map(_item, shown))}</ul>' for words, shown in parts if shown
    )
    return f"{head}{lists}</section>"


def _item(shown: Shown) -> str:
    """A picture with its probability, what else it may be in its tooltip."""
    said = f"{shown.name}: {100 * shown.probability:.0f} %"
    more = f"; next: {shown.runner_up}" if shown.runner_up else ""
    picture = '<span class="none"></span>'
    if shown.image is not None:
        kind = "png" if shown.image[:4] == b"\x89PNG" else "webp"
        data = b64encode(shown.image).decode("ascii")
        picture = f'<img alt="{_text(shown.name)}" src="data:image/{kind};base64,{data}">'
    label = f"<small>{100 * shown.probability:.0f} % · {_text(shown.name)}</small>"
    return f'<li title="{_text(said + more)}">{picture}{label}</li>'


def _text(value: str) -> str:
    return escape(value, quote=True)

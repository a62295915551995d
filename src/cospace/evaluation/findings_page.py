"""What a look at a data set found, as one HTML file: the worst of each kind as pictures, and what to do about them.

No script, no request; below two megabytes, however much was found.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from importlib.resources import files

from .contact_sheet import BUDGET


@dataclass(frozen=True, slots=True)
class Picture:
    """An item of a finding: what it is called, its preview as an encoded image if it has one, and its caption."""

    name: str
    image: bytes | None
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """One thing that was found: an item, or copies side by side; how sure it is, what was measured, what fits better.

    ``certainty`` is ``None`` where nothing was estimated.
    """

    pictures: Sequence[Picture]
    certainty: float | None = None
    note: str = ""
    better: str = ""


@dataclass(frozen=True, slots=True)
class FindingSection:
    """One kind: how many there are, a sentence, what to do, the command that removes them, and the surest of them."""

    kind: str
    count: int
    sentence: str
    advice: str
    commands: Sequence[tuple[str, str]]
    """What each is for, and the command."""
    cards: Sequence[Card]
    stops: bool = False


@dataclass(frozen=True, slots=True)
class FindingsPage:
    """The whole page. ``set_aside`` has, for each kind of row that cannot be used, its count, advice and examples."""

    title: str
    verdict: str
    ready: bool
    facts: Sequence[str]
    sections: Sequence[FindingSection]
    set_aside: Sequence[tuple[str, int, str, Sequence[str]]]


def findings_page(page: FindingsPage) -> bytes:
    """The file. Where it would be too large, the less sure cards of every kind go."""
    for keep in (1.0, 0.5, 0.25, 0.1, 0.0):
        sections = [replace(one, cards=one.cards[: round(keep * len(one.cards))]) for one in page.sections]
        made = _whole(replace(page, sections=sections)).encode("utf-8", "backslashreplace")
        if len(made) <= BUDGET:
            break
    return made


def _whole(page: FindingsPage) -> str:
    style = files(__package__).joinpath("findings_page.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    facts = "".join(f"<p class=soft>{_text(fact)}</p>" for fact in page.facts)
    there = [section for section in page.sections if section.count]
    anchors = _anchors(there)
    body = _overview(there, anchors) + "".join(map(_section, there, anchors)) + _set_aside(page.set_aside)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{_text(page.title)} · cospace check</title><style>{style}</style></head><body><main>"
        f"<header><p class=kicker><b>{_text(page.title)}</b> · cospace check</p>"
        f'<h1 class="{"ready" if page.ready else "stop"}">{_text(page.verdict)}</h1>{facts}</header>'
        f"{body}</main></body></html>\n"
    )


def _anchors(sections: Sequence[FindingSection]) -> list[str]:
    """What the links of the page name: the kind, with a number where it has several sections."""
    kinds = [one.kind for one in sections]
    before = [kinds[:place].count(kind) for place, kind in enumerate(kinds)]
    return [f"{kind}-{many + 1}" if many else kind for kind, many in zip(kinds, before, strict=True)]


def _overview(sections: Sequence[FindingSection], anchors: Sequence[str]) -> str:
    """Every kind with its count, leading to its pictures."""
    if not sections:
        return "<p>Nothing was found that is wrong with whole rows.</p>"
    items = "".join(
        f'<li{" class=stop" if one.stops else ""}><a href="#{_text(anchor)}"><b>{one.count:,}</b> '
        f"<span>{_text(words(one.kind))}</span></a></li>"
        for one, anchor in zip(sections, anchors, strict=True)
    )
    return f'<nav aria-label="Findings"><ul class=kinds>{items}</ul></nav>'


def _section(section: FindingSection, anchor: str) -> str:
    commands = "".join(
        f"<dt>{_text(what)}</dt><dd><code>{_text(typed)}</code></dd>" for what, typed in section.commands
    )
    more = section.count - sum(max(1, len(card.pictures) - 1) for card in section.cards)
    rest = f"<p class=soft>… and {more:,} more, in findings.csv of --out.</p>" if more > 0 else ""
    sentence = section.sentence[:1].upper() + section.sentence[1:]
    advice = f"<p>{_text(section.advice[:1].upper() + section.advice[1:])}.</p>" if section.advice else ""
    cards = "".join(map(_card, section.cards))
    return (
        f'<section id="{_text(anchor)}"><h2>{_text(sentence)}.</h2>{advice}<dl class=do>{commands}</dl>'
        f"<ul class=cards>{cards}</ul>{rest}</section>"
    )


def _card(card: Card) -> str:
    pictures = "".join(map(_picture, card.pictures))
    sure = "" if card.certainty is None else f"<b>{_sure(card.certainty)} sure</b>"
    said = " · ".join(part for part in (sure, _text(card.note)) if part)
    better = f"<p class=better>fits better: “{_text(card.better)}”</p>" if card.better else ""
    note = f"<p class=note>{said}</p>" if said else ""
    wide = " class=group" if len(card.pictures) > 1 else ""
    return f"<li{wide}><div class=pictures>{pictures}</div>{note}{better}</li>"


def _sure(certainty: float) -> str:
    """In per cent; nothing is certain that was estimated."""
    return "over 99 %" if 0.995 <= certainty < 1 else f"{100 * certainty:.0f} %"


def _picture(picture: Picture) -> str:
    shown = ""
    if picture.image is not None:
        kind = "png" if picture.image[:4] == b"\x89PNG" else "webp"
        data = b64encode(picture.image).decode("ascii")
        shown = f'<img alt="" src="data:image/{kind};base64,{data}">'
    caption = f"<q>{_text(picture.caption)}</q>" if picture.caption else ""
    return f"<figure>{shown}<figcaption>{caption}<small>{_text(picture.name)}</small></figcaption></figure>"


def _set_aside(kinds: Sequence[tuple[str, int, str, Sequence[str]]]) -> str:
    """Rows that cannot be used, in a table."""
    if not kinds:
        return ""
    rows = "".join(
        f"<tr><td>{_text(kind)}</td><td class=n>{count:,}</td><td>{_text(advice)}"
        f"{''.join(f'<br><small>{_text(one)}</small>' for one in examples)}</td></tr>"
        for kind, count, advice, examples in kinds
    )
    head = "<tr><th>why</th><th class=n>rows</th><th>what to do</th></tr>"
    return (
        f"<section><h2>Rows that cannot be used</h2><table><thead>{head}</thead><tbody>{rows}</tbody></table></section>"
    )


def words(kind: str) -> str:
    """A kind as people read it: ``near duplicates``."""
    return kind.replace("_", " ")


def _text(value: str) -> str:
    return escape(value, quote=True)

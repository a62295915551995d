"""What ``check --report`` shows: the worst of every kind as pictures, with the commands that remove them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from .. import files
from ..data.check import Checked, advice_about
from ..data.findings import Finding, called
from ..data.pairs import Pairs
from ..evaluation.findings_page import Card, FindingSection, FindingsPage, Picture, findings_page
from ..filenames import without_surrogates
from ..modalities import PREVIEW_SIZES, Preview, modality, text_modality
from ..types import attempted

EACH = 24
"""Cards of a kind, at most."""

TOGETHER = 6
"""Items of a group of copies that are shown."""

EXAMPLES = 5
"""Rows that cannot be used that are named, of each kind."""


def report(path: Path, checked: Checked, typed: Sequence[str]) -> None:
    """Write the page, all or nothing. ``typed`` are the inputs as they were named, for the commands on the page."""
    named = " ".join(quote(one) for one in typed)
    facts = [checked.pairs.counts().sentence(), *checked.pairs.understood.split("\n")[:1], checked.leaves_out()]
    set_aside = [
        (kind, len(problems), advice_about(kind), [f"{one.id}: {one.reason}" for one in problems[:EXAMPLES]])
        for kind, problems in checked.problems.items()
    ]
    sections = [_section(checked, finding, named) for finding in checked.findings if finding.count]
    page = FindingsPage(
        without_surrogates(checked.pairs.name), checked.verdict, not checked.stops,
        [fact for fact in facts if fact], sections, set_aside,
    )  # fmt: skip
    files.atomic_write(path, findings_page(page))


def _section(checked: Checked, finding: Finding, named: str) -> FindingSection:
    commands = []
    if finding.rows:
        flag = "" if finding.leave_out else f" --leave-out {finding.kind}"
        commands = [("leave them out", f"cospace check {named} --out clean{flag}")]
    if finding.groups:
        row = finding.groups[0][0]
        name = called(checked.pairs, row) if finding.about else checked.pairs.place(row)
        example = quote(f"{finding.kind}={name}")
        commands.append(("call one fine", f"cospace check {named} --fine {example}"))
    cards = [_card(checked, finding, place) for place in range(min(EACH, len(finding.groups)))]
    return FindingSection(finding.kind, finding.count, finding.sentence, finding.advice, commands, cards, finding.stops)


def _card(checked: Checked, finding: Finding, place: int) -> Card:
    pictures = [_picture(checked.pairs, row) for row in finding.groups[place][:TOGETHER]]
    if place < len(finding.beside) and checked.val is not None:
        other = _picture(checked.val, finding.beside[place])
        pictures.append(Picture(f"validation: {other.name}", other.image, other.caption))
    certainty = finding.certainty[place] if place < len(finding.certainty) else None
    note = finding.notes[place] if place < len(finding.notes) and not finding.better else ""  # the caption is shown
    fits = finding.better[place] if place < len(finding.better) else -1
    better = "" if fits < 0 else str(checked.pairs.items[text_modality()][fits] or "")
    return Card(pictures, certainty, without_surrogates(note), without_surrogates(better))


def _picture(pairs: Pairs, row: int) -> Picture:
    """A row as people see it: a preview where its file has one, what it is called, and its caption."""
    shown = next((name for name in pairs.modalities if modality(name).has_preview and pairs.items[name][row]), None)
    preview = None if shown is None else attempted(modality(shown).preview, pairs.items[shown][row])
    image = None
    if isinstance(preview, Preview):
        image = next((preview.webp[size] for size in PREVIEW_SIZES[::-1] if size in preview.webp), None)
    text = text_modality()
    caption = pairs.items[text][row] if text in pairs.items else None
    return Picture(without_surrogates(called(pairs, row)), image, without_surrogates(str(caption or "")))

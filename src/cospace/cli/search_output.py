"""What a search shows in the terminal: words first, percentages beside them, and what captions say of the query."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..modalities import all_modalities
from .terminal import printable

if TYPE_CHECKING:
    from ..commands.search import Answer, Result

FEW = 0.10
"""Probability below which no percentage is shown: 2 % and 4 % are the same to everyone."""

UNCALIBRATED = (
    "No percentages: nothing calibrates this search. To calibrate it on the captions of the index: "
    "cospace index --calibrate --out INDEX"
)


def results_table(
    answer: Answer, listed: Sequence[Result], hybrid: bool = False, console: Console | None = None
) -> str:
    """Search results, best first, and what is to be known of them: a table with a heading over each column."""
    if not answer.total:
        return "nothing found: no item satisfies this search"
    console = console or Console()
    with console.capture() as capture:
        if console.is_terminal:
            console.print(_table(answer, listed))
        else:
            console.print(_lines(answer, listed), soft_wrap=True, highlight=False, markup=False)
    said = [printable(answer.unknown_sentence), _counted(answer, listed), _literally(answer, hybrid)]
    said += [UNCALIBRATED] if not answer.judged.calibrated and not hybrid and _single(answer) else []
    return "\n".join(filter(None, [capture.get().rstrip("\n") if listed else "", *said]))


def _table(answer: Answer, listed: Sequence[Result]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("rank", justify="right", style="dim")
    table.add_column("fits", style="bold")
    table.add_column("%" if answer.judged.calibrated else "cosine", justify="right")
    table.add_column("what", overflow="fold")
    for place, result in enumerate(listed, 1):
        what, where = _description(result)
        summary = Text(what)
        if where:
            summary.append(f"\n{where}", style="dim")
        table.add_row(str(place), result.match, _figure(answer, result), summary)
    return table


def _lines(answer: Answer, listed: Sequence[Result]) -> str:
    """A line each, where a program reads."""
    head = f"rank  fits    {'%' if answer.judged.calibrated else 'cosine':>6}  what"
    rows = [
        f"{place:>4}  {result.match:<6}  {_figure(answer, result):>6}  {'  '.join(filter(None, _description(result)))}"
        for place, result in enumerate(listed, 1)
    ]
    return "\n".join([head, *rows])


def _figure(answer: Answer, result: Result) -> str:
    """A whole percentage, or the cosine where nothing is calibrated."""
    if not answer.judged.calibrated or result.probability is None:
        return f"{result.score:.3f}"
    return f"{100 * result.probability:.0f}" if result.probability >= FEW else "-"


def _counted(answer: Answer, listed: Sequence[Result]) -> str:
    """``7 likely matches, 24 more that may fit; of 3,182 in all``, and how to see what is not listed."""
    likely, maybe = answer.judged.likely, answer.judged.maybe - answer.judged.likely
    found = f"{likely:,} likely {'match' if likely == 1 else 'matches'}" if likely else "No likely match"
    found += f", {maybe:,} more that may fit" if maybe else ""
    if len(listed) >= min(answer.judged.maybe, len(answer.results)) and len(listed) < answer.judged.maybe:
        return f"{found}; {len(listed)} of them are listed, more with -k {min(answer.judged.maybe, 1000)}"
    rest = answer.total - answer.judged.maybe
    return f"{found}; the other {rest:,} with --all" if rest and len(listed) <= answer.judged.maybe else found


def _literally(answer: Answer, hybrid: bool) -> str:
    held = len(answer.wording.holding_L)
    if not held or hybrid or answer.judged.by_caption:
        return ""
    have = "item has a caption that holds" if held == 1 else "items have captions that hold"
    return f"{held:,} {have} all the words; --hybrid puts them first"


def _single(answer: Answer) -> bool:
    """Whether the query is one that a calibration could be for."""
    asked, _, found = answer.direction.partition("_to_")
    return asked != found and asked in {one.name for one in all_modalities()}


def _description(result: Result) -> tuple[str, str]:
    """What an item is, and its file, if it is one of its own."""
    file = result.path if os.path.isabs(result.path) else ""
    return printable(result.text or result.id), printable(file)

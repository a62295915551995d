"""The command that examines a data set before anyone trains on it: check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ._app import AS_FOUND, PAIRS, Json, Reading, ReadingOptions, given_pairs, kinds, show, verb

if TYPE_CHECKING:
    from ..data.check import Checked


@dataclass(frozen=True, slots=True)
class FindingOptions:
    """What becomes of what is found, and who finds it."""

    leave_out: Annotated[
        str | None,
        Parameter(help="Kinds of findings that the clean table is without as well, e.g. near_duplicates,blurred."),
    ] = None
    keep: Annotated[str | None, Parameter(help="Kinds that it keeps, e.g. near_leaked.")] = None
    fine: Annotated[
        list[str] | None,
        Parameter(negative="", help="Call findings fine from now on: KIND, or KIND=ROW for one. May be repeated."),
    ] = None
    judge: Annotated[
        str | None,
        Parameter(
            help="Who says which pairs look wrong: auto (fitted on the spot, unasked up to 5,000 files), none, a run, "
            "or a published model."
        ),
    ] = None
    ray: Annotated[
        str | None, Parameter(help="A Ray cluster does the work: auto, HOST:PORT, or local, which starts one.")
    ] = None


AS_IT_IS = FindingOptions()
"""What nothing can be learned from is left out."""


@verb("PAIRS... [OPTIONS]")
def check(
    *pairs: Annotated[str, Parameter(help=PAIRS)],
    out: Annotated[Path | None, Parameter(help="Folder for a clean table and the lists of bad rows.")] = None,
    val: Annotated[
        list[str] | None,
        Parameter(negative="", help="Validation pairs, whose files must not be trained on. May be repeated."),
    ] = None,
    report: Annotated[
        Path | None, Parameter(help="Write a self-contained HTML page with the worst of each kind as pictures.")
    ] = None,
    findings: Annotated[FindingOptions, Parameter(name="*")] = AS_IT_IS,
    reading: ReadingOptions = AS_FOUND,
    json: Json = False,
) -> int:
    """Find what is wrong with pairs before training: broken files, copies, leaks, captions that say nothing.

    Nothing is passed over: what was read is shown as a sum. Nothing is deleted: --out writes a table without the rows
    that nothing can be learned from, and lists of them. The exit code is 2 where training would stop or should not be
    done. A second look reads only files that have changed.

    Example: cospace check pairs.csv --val val.csv --out clean --report check.html
    """
    checked = _checked(pairs, val, reading, findings)
    data, text = checked.to_json(), checked.to_text() + _unasked(checked, findings.judge)
    if out is not None:
        text += _written(checked, out, data)
    if report is not None:
        from ..commands.check_report import report as write_report

        write_report(report, checked, pairs)
        data["report"] = str(report)
        text += f"\n\nlook at it: {report}"
    show(data, text, json)
    return 2 if checked.stops else 0


def _checked(pairs: tuple[str, ...], val: list[str] | None, reading: Reading, findings: FindingOptions) -> Checked:
    """What is found of what was named."""
    from ..commands.check import CheckArguments, check_pairs
    from .terminal import Progress

    ways = kinds(findings.leave_out), kinds(findings.keep), findings.fine or (), findings.judge, findings.ray
    with Progress() as progress:
        asked = CheckArguments(given_pairs(pairs), val or None, reading.options(), *ways)
        return check_pairs(asked, progress.long_work, processes=True)


def _unasked(checked: Checked, judge: str | None) -> str:
    """That nobody has judged the pairs, where nobody was asked to and there are enough of them."""
    from ..commands.check import FEWEST

    if checked.judged is not None or judge or len(checked.pairs.modalities) < 2 or len(checked.pairs) < FEWEST:
        return ""
    return "\n\nWhich pairs are probably wrong was not asked, since that takes a while: add --judge auto."


def _written(checked: Checked, out: Path, data: dict[str, object]) -> str:
    """Write the clean table, and what was written in words; ``data`` gets its path."""
    table = checked.write(out)
    data["clean"] = str(table)
    typed = quote(str(table))
    train_on = f"train on it: cospace train {typed} --out run"
    index = f"make it searchable: cospace index RUN {typed} --out idx"
    advice = train_on if len(checked.pairs.modalities) > 1 else index
    lists = ["quarantine.csv", "findings.csv", *(["wrong_pairs.csv"] if checked.judged is not None else [])]
    return f"\n\nwritten: {table} ({advice}), {', '.join(str(out / name) for name in lists)}"

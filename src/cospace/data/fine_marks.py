"""Findings that a person has looked at and called fine: kept beside the data, and not counted again.

A csv with a line for each: its kind, what the item was called, and a hash of its content, so that a file that is
renamed stays fine and one that changes does not. Deleting a line makes it a finding again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..config import unknown
from ..files import atomic_write
from ..reading import read_text
from ..types import UserError
from .check import Checked
from .clean_table import as_csv
from .contents import digest
from .findings import Finding, called
from .pairs import Pairs

SUFFIX = ".fine.csv"
MOST = 256 << 20
"""Bytes of the file that are read."""


def beside(spec: str) -> Path:
    """Where the marks of an input are kept: beside a file or folder; of what is neither, in the working folder."""
    path = Path(spec)
    if path.exists():
        return path.absolute().parent / f"{path.absolute().name}{SUFFIX}"
    return Path("".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in spec) + SUFFIX)


class FineMarks:
    """The marks of one input."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._marks: dict[tuple[str, str], str] = {}
        if path.exists():
            for line in csv.DictReader(io.StringIO(read_text(path, MOST), newline="")):
                self._marks[line.get("kind") or "", line.get("content") or ""] = line.get("id") or ""

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, pairs: Pairs, findings: Sequence[Finding], wanted: Sequence[str]) -> int:
        """Mark what is wanted, ``KIND`` or ``KIND=ID``, and write the file; how many groups are marked by it.

        Raises :class:`UserError` where there is no such finding.
        """
        before = len(self)
        for text in wanted:
            kind, _, name = text.partition("=")
            found = [finding for finding in findings if finding.kind == kind]
            if not found:
                known = {one.kind for one in findings if one.count}
                raise UserError(unknown(kind, known, "no finding is called"))
            groups = [(one, group) for one in found for group in one.groups if _is_meant(pairs, group, name)]
            if name and not groups:
                raise UserError(f"no finding {kind} concerns {name}; name a row or a file as `cospace check` shows it")
            for finding, group in groups:
                self._marks[kind, _content(pairs, finding, group)] = called(pairs, group[0])
        rows = [(kind, name, content) for (kind, content), name in self._marks.items()]
        atomic_write(self.path, as_csv([("kind", "id", "content"), *rows]))
        return len(self) - before

    def of(self, checked: Checked) -> Checked:
        """The same, where findings are without what is fine, and its rows not among those that are left out."""
        if not self._marks:
            return checked
        return replace(checked, findings=[self._applied(checked.pairs, finding) for finding in checked.findings])

    def _applied(self, pairs: Pairs, finding: Finding) -> Finding:
        fine = [(finding.kind, _content(pairs, finding, group)) in self._marks for group in finding.groups]
        if not any(fine):
            return finding
        marked = {row for group, is_fine in zip(finding.groups, fine, strict=True) if is_fine for row in group}
        return replace(finding.without(fine), rows=_others(pairs, finding, marked))


def _others(pairs: Pairs, finding: Finding, marked: set[int]) -> list[int]:
    """Rows of a finding but for the marked ones, and those with the same items."""
    if not finding.about:
        return [row for row in finding.rows if row not in marked]
    keys = pairs.keys[finding.about]
    gone = {int(keys[row]) for row in marked}
    return [row for row in finding.rows if int(keys[row]) not in gone]


def _is_meant(pairs: Pairs, group: Sequence[int], name: str) -> bool:
    return not name or any(name in (pairs.place(row), pairs.ids[row], called(pairs, row)) for row in group)


def _content(pairs: Pairs, finding: Finding, group: Sequence[int]) -> str:
    """A hash of what a group's items contain, in any order: of the modality that the finding is about, or of all."""
    about = [finding.about] if finding.about else pairs.modalities
    parts = sorted("\n".join(str(pairs.contents[name][row]) for name in about) for row in group)
    return digest([part.encode("utf-8", "surrogateescape") for part in parts])

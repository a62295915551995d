"""Look at pairs before anyone trains on them: what is there, what cannot be used, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..columns import column_of, taken
from ..config import unknown
from ..files import atomic_write
from ..modalities import all_modalities, is_text, modality
from ..types import BadItem, Problem, Progress, UserError, silent
from . import caption_findings, findings
from .clean_table import as_csv, write_clean_table
from .counting import describe_left_alone
from .examining import ItemsSeen, look_at
from .findings import Finding
from .known_files import KnownFiles
from .pairs import Pairs
from .wrong_pairs import Judged

_SHORT = 60
"""Characters of an item in the report's example rows."""
_EXAMPLES = 3
"""Problems of each kind that the report quotes."""

_ADVICE = {
    "address": "download these files, for example with img2dataset, and name the files",
    "not a file": "name regular files",
    "ambiguous": "write the folder and the suffix of these files, or name their folder with --images",
    "missing": "check these paths; relative ones are relative to the table's own folder",
    "empty": "copy these files again",
    "undecodable": "open these files and save them again in a common format",
    "truncated": "copy or download these files again",
    "unsupported": "save these files in a common format",
    "empty caption": "write captions for these rows, or leave the rows out",
    "not a text": "write these captions as texts",
    "invalid utf-8": "save the file as UTF-8",
    "invalid json": "write one JSON object on each line",
    "wrong weight": "write a number of 0 or more there, or name another column: --columns weight=COLUMN",
    "unbalanced quote": "close these quotes; inside a quoted field, double each quote that is text",
    "wrong number of fields": "put quotes around fields that hold the separator",
    "missing caption": "add captions beside these files, or move the files away",
    "missing file": "add files beside these captions, or move the captions away",
    "missing partner": "add a file of the other kind with the same name, or move these away",
    "duplicate name": "give each pair a name of its own",
}
_ALWAYS = ("missing", "undecodable", "empty_text")
"""Kinds of problems that the JSON counts even where there are none."""
_READY = "Ready to train on."


@dataclass(frozen=True, slots=True)
class Checked:
    """What :func:`check` found: the pairs that can be used, with the others in their ``problems``, and counts."""

    pairs: Pairs
    counts: dict[str, int | float]
    findings: Sequence[Finding] = ()
    val: Pairs | None = None
    """The validation pairs that it was compared with, without those that cannot be decoded."""
    seen: Mapping[str, ItemsSeen] = field(default_factory=dict)
    """What was seen of the items, with the rows of ``pairs``."""
    judged: Judged | None = None
    """What a judge says of the pairs, if one was asked."""

    @property
    def verdict(self) -> str:
        """Whether one can train on this."""
        stopping = [finding.sentence for finding in self.findings if finding.stops and finding.count]
        ready = _verdict(self.pairs)
        return f"Not ready to train on: {'; '.join(stopping)}." if ready == _READY and stopping else ready

    @property
    def stops(self) -> bool:
        """Whether training would stop at once, or should not be done: too little can be used, or figures would lie."""
        return self.verdict != _READY

    @property
    def examples(self) -> list[str]:
        """The first two rows, as they were understood."""
        rows = [self.pairs[row] for row in range(min(2, len(self.pairs)))]
        return [", ".join(f"{name} = {_short(item)}" for name, item in row.items.items()) for row in rows]

    @property
    def problems(self) -> dict[str, list[Problem]]:
        """The rows that were set aside, by kind, the most frequent first."""
        kinds: dict[str, list[Problem]] = {}
        for problem in self.pairs.problems:
            kinds.setdefault(problem.kind, []).append(problem)
        return dict(sorted(kinds.items(), key=lambda item: -len(item[1])))

    def leaving(self, kinds: Sequence[str] = (), keep: Sequence[str] = ()) -> Checked:
        """The same, where the clean table leaves out these kinds of findings too, or keeps those.

        Raises :class:`UserError` for a kind that there is not.
        """
        known = {finding.kind for finding in self.findings}
        for kind in (*kinds, *keep):
            if kind not in known:
                raise UserError(unknown(kind, known, "no finding is called"))
        changed = [
            replace(one, leave_out=(one.leave_out or one.kind in kinds) and one.kind not in keep)
            for one in self.findings
        ]
        return replace(self, findings=changed)

    def clean(self, only: Sequence[str] | None = None) -> Pairs:
        """The pairs without the rows that are left out, which are among its problems; ``only`` of these kinds."""
        left_out = {
            row: Problem(self.pairs.place(row), one.kind, one.reason, asked=True)
            for one in reversed(self.findings)  # the first finding of a row says why
            if (one.leave_out if only is None else one.kind in only)
            for row in one.rows
        }
        return self.pairs.without([left_out[row] for row in sorted(left_out)]) if left_out else self.pairs

    def to_json(self) -> dict[str, Any]:
        """One flat object: counts, and ``problems/KIND`` for each kind of problem."""
        found = {f"problems/{kind}": len(problems) for kind, problems in self.problems.items()}
        flat = dict.fromkeys(_ALWAYS, 0) | {_flat(kind): len(problems) for kind, problems in self.problems.items()}
        for finding in self.findings:
            flat[finding.kind] = flat.get(finding.kind, 0) + finding.count
        fine = {f"fine/{kind}": many for kind, many in self._fine().items()}
        joined = next((one for one in self.findings if one.kind == "contradictory_labels"), None)
        joins = {"joined/examples": list(joined.notes[:_EXAMPLES])} if joined is not None and joined.count else {}
        return {
            "name": self.pairs.name, **self.counts, **joins, **flat, **fine, **found, **self._of_val(),
            **({} if self.judged is None else self.judged.counts()),
            "fingerprint": self.pairs.fingerprint,
        }  # fmt: skip

    def _fine(self) -> dict[str, int]:
        """What was called fine before, by kind."""
        fine: Counter[str] = Counter()
        for finding in self.findings:
            fine[finding.kind] += finding.fine
        return {kind: many for kind, many in fine.items() if many}

    def _of_val(self) -> dict[str, int]:
        """What was read of the validation pairs: ``val/items``, ``val/used`` ..."""
        return {} if self.val is None else {f"val/{name}": n for name, n in self.val.counts().to_json().items()}

    def to_text(self) -> str:
        """The same for people: counts in a table, then each kind of problem with examples and advice."""
        width = max(map(len, self.counts))
        lines = [f"{self.pairs.name}: {self.pairs.understood}" if self.pairs.understood else self.pairs.name]
        lines += [f"  {example}" for example in self.examples]
        lines += [f"  {name:<{width}}  {value:>10,g}" for name, value in self.counts.items()]
        lines += [self.pairs.counts().sentence(), *describe_left_alone(self.pairs.left_alone)]
        lines += [f"validation: {line}" for line in self.val.summary()] if self.val is not None else []
        for kind, problems in self.problems.items():
            lines += ["", f"{len(problems):,} {kind}: {advice_about(kind)}."]
            lines += _some([f"{problem.id}  {problem.reason}" for problem in problems[:_EXAMPLES]], len(problems))
        for finding in (finding for finding in self.findings if finding.count):
            named = [finding.names(self.pairs, group) for group in range(min(_EXAMPLES, len(finding.groups)))]
            lines += ["", f"{finding.sentence}{': ' if finding.advice else ''}{finding.advice}."]
            lines += _some(named, len(finding.groups))
        fine = self._fine()
        if fine:
            said = ", ".join(f"{many:,} {kind}" for kind, many in fine.items())
            lines += ["", f"called fine before, and not counted: {said}"]
        if self.judged is not None and (unjudged := self.judged.counts()["not_judged"]):
            lines += ["", f"{unjudged:,} pairs were not judged: they lack an item, or there are too few to judge by."]
        left_out = self.leaves_out()
        lines += ["", left_out] if left_out else []
        return "\n".join([*lines, "", self.verdict])

    def leaves_out(self) -> str:
        """A sentence on what the clean table is without; nothing where it has all rows that can be used."""
        counts = Counter(problem.kind for problem in self.clean().problems if problem.asked)
        said = ", ".join(f"{many:,} {kind}" for kind, many in counts.most_common())
        return f"--out leaves out {counts.total():,} rows that can be read: {said}." if counts else ""

    def write(self, folder: Path) -> Path:
        """Write the clean table, ``quarantine.csv`` and ``findings.csv`` to a folder; the clean table's path.

        See :func:`~cospace.data.clean_table.write_clean_table`; ``findings.csv`` has every row of every finding, with
        how sure it is; where pairs were judged, ``wrong_pairs.csv`` ranks all of them.
        """
        path = write_clean_table(self.clean(), folder)
        rows = [
            (finding.kind, self.pairs.place(row), f"{certainty:.3f}", note)
            for finding in self.findings
            for group, certainty, note in finding.each(self.pairs)
            for row in group
        ]
        atomic_write(folder / "findings.csv", as_csv([("kind", "id", "certainty", "note"), *rows]))
        if self.judged is None:
            (folder / "wrong_pairs.csv").unlink(missing_ok=True)  # of an earlier check
        else:
            atomic_write(folder / "wrong_pairs.csv", self.judged.table(self.pairs))
        return path

    def judged_by(self, judged: Judged) -> Checked:
        """The same, with pairs that look wrong among the findings."""
        return replace(self, judged=judged, findings=[*self.findings, judged.finding(self.pairs)])


def check(
    pairs: Pairs,
    decode: bool = True,
    progress: Progress = silent,
    val: Pairs | None = None,
    known: KnownFiles | None = None,
    processes: bool = False,
    processors: Mapping[str, Any] | None = None,
) -> Checked:
    """Count what is there, set aside every item that cannot be decoded, and find what else is wrong with the others.

    Each different item is decoded once, in full, since only that shows whether it is whole; with ``decode`` off, texts
    alone are looked at. ``val`` are the pairs to validate on, whose files must not be trained on. ``known`` remembers
    what was seen of files that have not changed; ``processes`` says whether some may be started; ``processors`` are
    those of the model that will read the items, by modality, where it is known.
    """
    whole = _read([name for name in pairs.modalities if decode or is_text(name)], pairs, progress, known, processes)
    kept, measured, near = whole.kept, dict[str, int | float](), dict[str, list[list[int]]]()
    of_items: list[Finding] = []
    for name, seen in whole.seen.items():
        measured |= _extent(seen)
        faults = modality(name).find(_raws(kept, seen), seen.measures, (processors or {}).get(name))
        of_items += findings.items_found(kept, seen, faults)
        empty = {item for fault in faults if fault.leave_out for item in fault.items_F}  # all of these are alike
        groups = [[item for item in group if item not in empty] for group in findings.near_groups(seen, known)]
        near[name] = [group for group in groups if len(group) > 1]
    found = [*findings.copies(kept, whole.seen, near), *of_items]
    found += caption_findings.of_rows(kept, whole.seen, near)
    held_out = None
    if val is not None:
        signed = [name for name, seen in whole.seen.items() if not is_text(name) and name in val.modalities]
        other = _read(signed, val, progress, known, processes)
        held_out = other.kept
        found += findings.leaks(kept, held_out, whole.seen, other.seen)
    joined = next(one.count for one in found if one.kind == "contradictory_labels")
    return Checked(kept, {**_counts(kept), "joined": joined, **measured}, found, held_out, whole.seen)


def _raws(pairs: Pairs, seen: ItemsSeen) -> Sequence[Any]:
    """The different items of a modality; nothing for those that no row has any more."""
    column, rows = pairs.items[seen.name], seen.first_row
    if (rows >= 0).all():
        return taken(column, rows)
    return column_of(column[row] if row >= 0 else None for row in rows.tolist())


@dataclass(frozen=True, slots=True)
class _Read:
    """Pairs without the rows that cannot be decoded, and what was seen of their items."""

    kept: Pairs
    seen: Mapping[str, ItemsSeen]


def _read(names: Sequence[str], pairs: Pairs, progress: Progress, known: KnownFiles | None, processes: bool) -> _Read:
    """Look at each different item of some modalities once, and set aside the rows of those that cannot be decoded."""
    bad: dict[int, BadItem] = {}
    seen = {name: look_at(pairs, name, progress, known, processes) for name in names}
    for one in seen.values():
        for row in np.flatnonzero(np.isin(one.item_of_row, list(one.faults))).tolist():
            bad.setdefault(row, one.faults[int(one.item_of_row[row])])
    if not bad:
        return _Read(pairs, seen)
    problems = [Problem(pairs.place(row), fault.kind, fault.reason) for row, fault in sorted(bad.items())]
    rows_N = np.setdiff1d(np.arange(len(pairs)), np.array(list(bad)), assume_unique=True)
    return _Read(pairs.without(problems), {name: one.select(rows_N) for name, one in seen.items()})


def _extent(seen: ItemsSeen) -> dict[str, int | float]:
    """Smallest, median and largest of what a modality shows: ``image_width/min``, ``text_words/max``."""
    result: dict[str, int | float] = {}
    for key in (key for key in modality(seen.name).extents if key in seen.measures):
        values = seen.measures[key][~np.isnan(seen.measures[key])]
        if len(values):
            name = f"{seen.name}_{key}"
            result |= {f"{name}/min": float(values.min()), f"{name}/median": float(np.median(values))}
            result[f"{name}/max"] = float(values.max())
    return result


def _counts(pairs: Pairs) -> dict[str, int | float]:
    counts: dict[str, int | float] = dict(pairs.counts().to_json())
    counts |= {f"unique_{name}s": len(np.unique(keys[keys >= 0])) for name, keys in pairs.keys.items()}
    counts["groups"] = len(np.unique(pairs.groups))
    counts["largest_component"] = pairs.matches.largest_component()
    return counts


def _verdict(pairs: Pairs) -> str:
    if not len(pairs):
        return "No row can be used."
    if len(pairs.modalities) < 2 and len(pairs.items) < 2:
        what = modality(pairs.modalities[0]).plural
        return f"There are no captions: these {what} can be embedded and searched, not trained on."
    try:
        pairs.stop_above()
    except UserError:
        return (
            "More than 1 % of the rows cannot be used, so training would stop; fix them, or train on the clean table."
        )
    return _READY


def _flat(kind: str) -> str:
    """A kind of problem as a key of the JSON: ``empty_text`` of an empty caption."""
    return "empty_text" if kind in ("empty caption", "empty text") else kind.replace(" ", "_").replace("-", "_")


def _short(item: Any) -> str:
    """An item in a few characters: a file's name, the beginning of a text."""
    text = item.name if isinstance(item, Path) else item if isinstance(item, str) else type(item).__name__
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."


def advice_about(kind: str) -> str:
    """What to do about a kind of problem, to follow a colon."""
    own = [one.advice[kind] for one in all_modalities() if kind in one.advice]
    return own[-1] if own else _ADVICE.get(kind, "fix these rows or leave them out")


def _some(lines: Sequence[str], of: int) -> list[str]:
    """The first lines, indented, and how many more there are."""
    more = [f"  ... and {of - len(lines):,} more"] if of > len(lines) else []
    return [*(f"  {line}" for line in lines), *more]

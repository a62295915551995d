"""Look at pairs before anyone trains on them: what is there, what cannot be used, and what to do about it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..files import atomic_write
from ..modalities import all_modalities, is_text, modality
from ..types import BadItem, Problem, Progress, UserError, attempted, silent
from .counting import describe_left_alone
from .joins import describe_join, joining
from .pairs import Pairs
from .prepared import different_items

_THREADS = 2
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
    "unbalanced quote": "close these quotes; inside a quoted field, double each quote that is text",
    "wrong number of fields": "put quotes around fields that hold the separator",
    "missing caption": "add captions beside these files, or move the files away",
    "missing file": "add files beside these captions, or move the captions away",
    "missing partner": "add a file of the other kind with the same name, or move these away",
    "duplicate name": "give each pair a name of its own",
}
_READY = "Ready to train on."
_JOINED = "leave out the rows that are wrong; where all are right, nothing needs to be done"


@dataclass(frozen=True, slots=True)
class Checked:
    """What :func:`check` found: the pairs that can be used, with the others in their ``problems``, and counts."""

    pairs: Pairs
    counts: dict[str, int | float]
    joined: Sequence[str] = ()
    """A sentence for each of the first items that are filed under captions which are otherwise apart."""

    @property
    def stops(self) -> bool:
        """Whether training would stop at once: nothing can be used, or too little, or there are no pairs."""
        return _verdict(self.pairs) != _READY

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

    def to_json(self) -> dict[str, Any]:
        """One flat object: counts, and ``problems/KIND`` for each kind of problem."""
        found = {f"problems/{kind}": len(problems) for kind, problems in self.problems.items()}
        joined = {"joined/examples": list(self.joined)} if self.joined else {}
        return {"name": self.pairs.name, **self.counts, **joined, **found, "fingerprint": self.pairs.fingerprint}

    def to_text(self) -> str:
        """The same for people: counts in a table, then each kind of problem with examples and advice."""
        width = max(map(len, self.counts))
        lines = [f"{self.pairs.name}: {self.pairs.understood}" if self.pairs.understood else self.pairs.name]
        lines += [f"  {example}" for example in self.examples]
        lines += [f"  {name:<{width}}  {value:>10,g}" for name, value in self.counts.items()]
        lines += [self.pairs.counts().sentence(), *describe_left_alone(self.pairs.left_alone)]
        advice = dict(_ADVICE)
        for one in all_modalities():
            advice |= one.advice
        for kind, problems in self.problems.items():
            lines += ["", f"{len(problems):,} {kind}: {advice.get(kind, 'fix these rows or leave them out')}."]
            lines += [f"  {problem.id}  {problem.reason}" for problem in problems[:_EXAMPLES]]
            if len(problems) > _EXAMPLES:
                lines.append(f"  ... and {len(problems) - _EXAMPLES:,} more")
        if self.joined:
            count = self.counts["joined"]
            lines += [
                "",
                f"{count:,} have captions that otherwise describe different items (possible label errors): {_JOINED}.",
            ]
            lines += [f"  {sentence}" for sentence in self.joined]
            if count > len(self.joined):
                lines.append(f"  ... and {count - len(self.joined):,} more")
        lines += ["", _verdict(self.pairs)]
        return "\n".join(lines)

    def write(self, folder: Path) -> Path:
        """Write ``quarantine.csv`` and the clean table to a folder and return the table's path.

        The table is ``clean.csv``, or ``clean.jsonl`` where a value holds a line end, with the modalities and then
        the other columns; its paths are relative to the folder. Items that are no files of their own, such as members
        of a tar, are written to folders named by modality (``images/``).
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"{folder} is not a folder; name a folder for the clean table") from error
        set_aside = [(problem.id, problem.kind, problem.reason) for problem in self.pairs.problems]
        atomic_write(folder / "quarantine.csv", _csv([("id", "kind", "reason"), *set_aside]))
        table = _table(self.pairs, folder)
        plain = all(map(_fits_a_line, (value for row in table for value in row)))
        path = folder / ("clean.csv" if plain else "clean.jsonl")
        atomic_write(path, _csv(table) if plain else _jsonl(table))
        (folder / ("clean.jsonl" if plain else "clean.csv")).unlink(missing_ok=True)  # of an earlier check
        return path


def check(pairs: Pairs, decode: bool = True, progress: Progress = silent) -> Checked:
    """Count what is there and set aside every item that cannot be decoded.

    Each different item is decoded once, in full, since only that shows whether it is whole; with ``decode`` off, texts
    alone are looked at.
    """
    measured: dict[str, int | float] = {}
    bad: dict[int, BadItem] = {}
    for name in pairs.modalities:
        if not (decode or is_text(name)):
            continue
        found, item_of_row = _inspected(pairs, name, progress)
        measured |= _extent(name, [one for one in found if not isinstance(one, BadItem)])
        faults = {number: one for number, one in enumerate(found) if isinstance(one, BadItem)}
        for row in np.flatnonzero(np.isin(item_of_row, list(faults))).tolist():
            bad.setdefault(row, faults[int(item_of_row[row])])
    problems = [Problem(pairs.place(row), fault.kind, fault.reason) for row, fault in sorted(bad.items())]
    pairs = pairs.without(problems) if problems else pairs
    joins = joining(pairs)
    counts = {**_counts(pairs), "joined": len(joins), **measured}
    return Checked(pairs, counts, [describe_join(pairs, join) for join in joins[:_EXAMPLES]])


def _inspected(pairs: Pairs, name: str, progress: Progress) -> tuple[list[dict[str, float] | BadItem], np.ndarray]:
    """What each different item of a modality measures, or what is wrong with it; and the item of every row."""
    raws, item_of_row = different_items(pairs, name)
    found: list[dict[str, float] | BadItem] = []
    for one in _by_threads(name, raws):
        found.append(one)
        if not is_text(name):
            progress(f"checking {modality(name).plural}", len(found), len(raws))
    return found, item_of_row


def _by_threads(name: str, raws: Sequence[Any]) -> Iterator[dict[str, float] | BadItem]:
    """Decode in a few threads, which works because decoders release the interpreter's lock."""
    pending = iter(raws)

    def measure(raw: Any) -> dict[str, float] | BadItem:
        return attempted(modality(name).inspect, raw)

    with ThreadPoolExecutor(_THREADS) as pool:
        while chunk := list(islice(pending, 64)):  # in chunks: an interrupt must not wait for all of them
            yield from pool.map(measure, chunk)


def _extent(name: str, measured: Sequence[dict[str, float]]) -> dict[str, int | float]:
    """Smallest, median and largest of whatever a modality measures: ``image_width/min``, ``text_words/max``."""
    result: dict[str, int | float] = {}
    for key in dict.fromkeys(key for one in measured for key in one):
        values = [one[key] for one in measured if key in one]
        result |= {f"{name}_{key}/min": min(values), f"{name}_{key}/median": float(np.median(values))}
        result[f"{name}_{key}/max"] = max(values)
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


def _short(item: Any) -> str:
    """An item in a few characters: a file's name, the beginning of a text."""
    text = item.name if isinstance(item, Path) else item if isinstance(item, str) else type(item).__name__
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."


def _table(pairs: Pairs, folder: Path) -> list[tuple[str, ...]]:
    """A header and the rows as texts; an extra that is called like a modality gets an underscore."""
    columns: dict[str, list[str]] = {}
    for name, items in pairs.items.items():
        columns[name] = [item or "" for item in items] if is_text(name) else _paths(pairs, name, folder)
    for name, values in pairs.extras.items():
        columns[f"{name}_" if name in pairs.items else name] = list(values)
    return [tuple(columns), *zip(*columns.values(), strict=True)]


def _paths(pairs: Pairs, name: str, folder: Path) -> list[str]:
    """What to call each item in a table that lies in ``folder``; items that are no files become some."""
    here, known = folder.resolve(), dict[int, str]()
    for key, item in zip(pairs.keys[name].tolist(), pairs.items[name], strict=True):
        if item is not None and key not in known and not isinstance(item, str | Path):
            known[key] = _export(item, name, folder, f"{key:07d}")
    return [
        ""
        if item is None
        else os.path.relpath(Path(item).resolve(), here)
        if isinstance(item, str | Path)
        else known[key]
        for key, item in zip(pairs.keys[name].tolist(), pairs.items[name], strict=True)
    ]


def _export(item: Any, name: str, folder: Path, stem: str) -> str:
    """Write one item and return its path from the folder. Encoded items keep their bytes."""
    data, suffix = modality(name).export(item)
    inner = folder / f"{name}s"
    inner.mkdir(exist_ok=True)
    path = inner / f"{stem}.{suffix}"
    path.write_bytes(data)  # not synced one by one: the table that names it is written after all of them
    return f"{inner.name}/{path.name}"


def _fits_a_line(value: str) -> bool:
    """Whether a csv file can hold the value on one line; undecodable bytes pass through as they came."""
    return "\n" not in value and "\r" not in value and not any("\ud800" <= c < "\udc80" for c in value)


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogateescape")


def _jsonl(table: Sequence[Sequence[str]]) -> bytes:
    header, *rows = table
    return "".join(json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in rows).encode()

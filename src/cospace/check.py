"""Look at pairs before anyone trains on them: what is there, what cannot be used, and what to do about it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from .files import atomic_write
from .pairs import Pairs
from .preprocess import FORMATS, BadImage, decode
from .types import WORDS, Lazy, Problem, UserError

_THREADS = 2
_EXAMPLES = 3
"""Problems of each kind that the report quotes."""

_ADVICE = {
    "missing": "check these paths; relative ones are relative to the table's own folder",
    "empty": "copy these files again",
    "undecodable": "open these pictures and save them again as JPEG or PNG",
    "truncated": "copy or download these files again",
    "bomb": "make these pictures smaller",
    "unsupported": "save these pictures as 8-bit JPEG or PNG",
    "empty caption": "write captions for these rows, or leave the rows out",
    "not a text": "write these captions as texts",
    "invalid utf-8": "save the file as UTF-8",
    "invalid json": "write one JSON object on each line",
    "unbalanced quote": "close these quotes; inside a quoted field, double each quote that is text",
    "wrong number of fields": "put quotes around fields that hold the separator",
    "missing caption": "add captions beside these pictures, or move the pictures away",
    "missing picture": "add pictures beside these captions, or move the captions away",
    "duplicate name": "give each pair a name of its own",
}


@dataclass(frozen=True, slots=True)
class Checked:
    """What :func:`check` found: the pairs that can be used, with the others in their ``problems``, and counts."""

    pairs: Pairs
    counts: dict[str, int | float]

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
        return {"name": self.pairs.name, **self.counts, **found, "fingerprint": self.pairs.fingerprint}

    def to_text(self) -> str:
        """The same for people: counts in a table, then each kind of problem with examples and advice."""
        width = max(map(len, self.counts))
        lines = [self.pairs.name, *(f"  {name:<{width}}  {value:>10,g}" for name, value in self.counts.items())]
        for kind, problems in self.problems.items():
            lines += ["", f"{len(problems):,} {kind}: {_ADVICE.get(kind, 'mend these rows or leave them out')}."]
            lines += [f"  {problem.id}  {problem.reason}" for problem in problems[:_EXAMPLES]]
            if len(problems) > _EXAMPLES:
                lines.append(f"  ... and {len(problems) - _EXAMPLES:,} more")
        lines += ["", _verdict(self.pairs)]
        return "\n".join(lines)

    def write(self, folder: Path) -> Path:
        """Write ``quarantine.csv`` and the clean table to a folder and return the table's path.

        The table is ``clean.csv``, or ``clean.jsonl`` where a value holds a line end, with the modalities and then
        the other columns; its paths are relative to the folder. Pictures that are no files of their own, such as
        members of a tar, are written to ``images/``.
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


def check(pairs: Pairs, decode_images: bool = True, progress: Callable[[int, int], None] | None = None) -> Checked:
    """Count what is there and set aside every picture that cannot be decoded.

    Each distinct picture is decoded once, at full size, since only that shows whether it is whole. ``progress`` is
    called with the number of pictures done and of all pictures.
    """
    sizes: list[tuple[int, int]] = []
    if decode_images and "image" in pairs.items:
        keys, first = np.unique(pairs.keys["image"], return_index=True)
        column = pairs.items["image"]
        bad: dict[int, BadImage] = {}
        seen = _look_at([column[row] for row in first.tolist()])
        for done, (key, found) in enumerate(zip(keys.tolist(), seen, strict=True), start=1):
            if isinstance(found, BadImage):
                bad[key] = found
            else:
                sizes.append(found)
            if progress:
                progress(done, len(keys))
        per_row = zip(pairs.ids, map(bad.get, pairs.keys["image"].tolist()), strict=True)
        problems = [Problem(name, fault.kind, fault.reason) for name, fault in per_row if fault]
        pairs = pairs.without(problems) if problems else pairs
    return Checked(pairs, {**_counts(pairs), **_image_sizes(sizes)})


def _look_at(images: Sequence[Any]) -> Iterator[tuple[int, int] | BadImage]:
    """Decode in a few threads, which works because decoders release the interpreter's lock."""
    pending = iter(images)
    with ThreadPoolExecutor(_THREADS) as pool:
        while chunk := list(islice(pending, 64)):  # in chunks: an interrupt must not wait for all of them
            yield from pool.map(_size, chunk)


def _size(image: Any) -> tuple[int, int] | BadImage:
    try:
        height, width, _ = decode(image).shape
    except BadImage as error:
        return error
    return width, height


def _counts(pairs: Pairs) -> dict[str, int | float]:
    counts: dict[str, int | float] = {"rows": len(pairs), "set_aside": len(pairs.problems)}
    counts |= {f"unique_{modality}s": len(np.unique(keys)) for modality, keys in pairs.keys.items()}
    distinct = len(np.unique(np.stack(list(pairs.keys.values()), axis=1), axis=0))
    counts |= {"groups": len(np.unique(pairs.groups)), "duplicate_rows": len(pairs) - distinct}
    words = [len(text.split()) for text in pairs.items.get("text", ())]
    if words:
        middle, long = np.percentile(words, [50, 95])
        counts |= {
            "caption_words/p50": float(middle),
            "caption_words/p95": float(long),
            "caption_words/max": max(words),
        }
    return counts


def _image_sizes(sizes: Sequence[tuple[int, int]]) -> dict[str, int | float]:
    """Smallest, median and largest width and height, in pixels."""
    result: dict[str, int | float] = {}
    for name, side in zip(("width", "height"), zip(*sizes, strict=True), strict=False):
        result |= {f"image_{name}/min": min(side), f"image_{name}/median": float(np.median(side))}
        result[f"image_{name}/max"] = max(side)
    return result


def _verdict(pairs: Pairs) -> str:
    if not len(pairs):
        return "No row can be used."
    if "text" not in pairs.items:
        return "There are no captions: these pictures can be embedded and searched, not trained on."
    try:
        pairs.stop_above()
    except UserError:
        return (
            "More than 1 % of the rows cannot be used, so training would stop; mend them, or train on the clean table."
        )
    return "Ready to train on."


def _table(pairs: Pairs, folder: Path) -> list[tuple[str, ...]]:
    """A header and the rows as texts; an extra that is called like a modality gets an underscore."""
    columns: dict[str, list[str]] = {}
    for modality, items in pairs.items.items():
        columns[modality] = list(items) if modality in WORDS else _paths(pairs, modality, folder)
    for name, values in pairs.extras.items():
        columns[f"{name}_" if name in pairs.items else name] = list(values)
    return [tuple(columns), *zip(*columns.values(), strict=True)]


def _paths(pairs: Pairs, modality: str, folder: Path) -> list[str]:
    """What to call each item in a table that lies in ``folder``; items that are no files become some."""
    here, known = folder.resolve(), dict[int, str]()
    for key, item in zip(pairs.keys[modality].tolist(), pairs.items[modality], strict=True):
        if key not in known and not isinstance(item, str | Path):
            known[key] = _export(item, folder / f"{modality}s", f"{key:07d}")
    return [
        os.path.relpath(Path(item).resolve(), here) if isinstance(item, str | Path) else known[key]
        for key, item in zip(pairs.keys[modality].tolist(), pairs.items[modality], strict=True)
    ]


def _export(item: Any, folder: Path, stem: str) -> str:
    """Write one item and return its path from the folder above. Encoded pictures keep their bytes."""
    data = item.load() if isinstance(item, Lazy) else item
    if isinstance(data, bytes):
        suffix = _suffix(data)
    else:
        buffer = io.BytesIO()
        Image.fromarray(decode(data)).save(buffer, "PNG")
        data, suffix = buffer.getvalue(), "png"
    folder.mkdir(exist_ok=True)
    path = folder / f"{stem}.{suffix}"
    path.write_bytes(data)  # not synced one by one: the table that names it is written after all of them
    return f"{folder.name}/{path.name}"


def _suffix(data: bytes) -> str:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return str(picture.format).lower()
    except (UnidentifiedImageError, Image.DecompressionBombError):  # pictures that nobody asked to decode
        return "bin"


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

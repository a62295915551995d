"""What is embedded: every different item of some input, with what an index remembers of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..data.contents import digest
from ..data.counting import Counts
from ..data.pairs import Pairs, open_pairs
from ..data.prepared import different_items
from ..data.sources import ReadOptions
from ..data.sources.table import is_text_table
from ..modalities import is_text, names, text_modality
from ..types import Lazy, Progress, UserError, silent
from . import Item

AS_ITEMS = ReadOptions(pairs=False)
"""Everything is found out, and a file without a caption is an item."""

_HASH = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Entry:
    """An item, as far as it is known without decoding it, and its raw form."""

    item: Item
    raw: Any


@dataclass(frozen=True, slots=True)
class Input:
    """An input, and how it is read."""

    spec: str | Path
    options: ReadOptions = AS_ITEMS


def read_input(source: str | Path | Pairs | Input, progress: Progress = silent) -> Pairs | list[str]:
    """What to embed: pairs or files from any source, or the lines of a ``.txt`` file as texts."""
    if isinstance(source, Pairs):
        return source
    spec, options = (source.spec, source.options) if isinstance(source, Input) else (source, AS_ITEMS)
    path = Path(spec)
    if path.suffix.lower() == ".txt" and path.is_file() and not is_text_table(path):
        options.only(str(spec))
        try:
            texts = [line.removesuffix("\r") for line in path.read_bytes().decode("utf-8-sig").split("\n")]
            texts = [line for line in texts if line.strip()]
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text; save it as UTF-8 with one text to a line") from error
        if not texts:
            raise UserError(f"{path} holds no text; write one text to a line")
        return texts
    return open_pairs(spec, progress=progress, options=options)


def entries(source: Pairs | list[str], modalities: Sequence[str]) -> dict[str, list[Entry]]:
    """By modality, every different item of pairs, or every one of some texts, in order."""
    if isinstance(source, list):
        name = text_modality()
        texts = enumerate(source, 1)
        return (
            {name: [_text_entry(name, str(number), text, {}) for number, text in texts]} if name in modalities else {}
        )
    return {name: _of_pairs(source, name) for name in modalities if name in source.items}


def count_entries(source: Pairs | list[str], modalities: Sequence[str], set_aside: int, failed: int) -> Counts:
    """What of an input is embedded: every different item once, further copies of it are duplicates.

    ``set_aside`` counts whatever cannot be used; ``failed`` those of them that were read and could not be decoded.
    """
    if isinstance(source, list):
        return Counts(len(source) - failed, 0, set_aside)
    present = [keys[keys >= 0] for name, keys in source.keys.items() if name in modalities]
    different = sum(len(np.unique(keys)) for keys in present)
    return Counts(different - failed, sum(map(len, present)) - different, set_aside, len(source.left_alone))


def summary_of(source: Pairs | list[str], counts: Counts) -> list[str]:
    """How an input was read and what became of it, in lines for people."""
    return source.summary(counts) if isinstance(source, Pairs) else [counts.sentence()]


def content_hash(modality: str, content: str) -> str:
    """32 hex digits for an item of :attr:`~cospace.data.pairs.Pairs.contents`; a file's are the hash of its bytes."""
    if not is_text(modality) and _HASH.fullmatch(content):
        return content
    return digest([modality.encode(), content.encode()])


def item_id(modality: str, row_id: str, primary: bool) -> str:
    """A row's id for its first file; its other items have their modality before it: ``text/a.jpg``."""
    return row_id if primary else f"{modality}/{row_id}"


def without_modality(name: str) -> tuple[str, str]:
    """An id as the modality before it, with its slash, and the row's own id."""
    first, slash, rest = name.partition("/")
    return (first + slash, rest) if slash and first in names() else ("", name)


def _text_entry(modality: str, row_id: str, text: str, extras: Mapping[str, str]) -> Entry:
    name = item_id(modality, row_id, primary=False)
    return Entry(Item(name, modality, text=text, hash=content_hash(modality, text), extras=extras), text)


def _of_pairs(pairs: Pairs, modality: str) -> list[Entry]:
    """The first row in which each different item occurs speaks for it."""
    raws, item_of_row = different_items(pairs, modality)
    present = np.flatnonzero(item_of_row >= 0)
    rows = present[np.unique(item_of_row[present], return_index=True)[1]].tolist()
    contents, texts = pairs.contents[modality], pairs.items.get(text_modality())
    files = [name for name in pairs.modalities if not is_text(name)]
    found = []
    for raw, row in zip(raws, rows, strict=True):
        extras = {name: values[row] for name, values in pairs.extras.items() if values[row]}
        if is_text(modality):
            found.append(_text_entry(modality, pairs.ids[row], raw, extras))
            continue
        text = str((texts[row] if texts is not None else None) or "")
        path = _path(raw) if isinstance(raw, Path) else contents[row] if isinstance(raw, Lazy) else ""
        hash_ = content_hash(modality, contents[row])
        primary = next(name for name in files if pairs.items[name][row] is not None) == modality
        name = item_id(modality, pairs.ids[row], primary)
        found.append(Entry(Item(name, modality, path, text, hash_, extras=extras), raw))
    return found


def _path(file: Path) -> str:
    return f"{_folder(file.parent)}/{file.name}"


@cache
def _folder(path: Path) -> str:
    return str(path.resolve()).rstrip("/")

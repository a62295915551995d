"""What is embedded: every different picture and text of some input, with what an index remembers of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..pairs import Pairs, digest, open_pairs
from ..stores import Item
from ..types import Lazy, Progress, UserError, silent
from .settings import unique_items

_HASH = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Entry:
    """An item, as far as it is known without decoding it, and its raw form."""

    item: Item
    raw: Any


def read_input(spec: str | Path | Pairs, progress: Progress = silent) -> Pairs | list[str]:
    """What to embed: pairs or pictures from any source, or the lines of a ``.txt`` file as texts."""
    if isinstance(spec, Pairs):
        return spec
    path = Path(spec)
    if path.suffix.lower() == ".txt" and path.is_file():
        try:
            texts = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text; save it as UTF-8 with one text to a line") from error
        if not texts:
            raise UserError(f"{path} holds no text; write one text to a line")
        return texts
    return open_pairs(spec, progress=progress)


def entries(source: Pairs | list[str], modalities: Sequence[str]) -> dict[str, list[Entry]]:
    """By modality, every different item of pairs, or every one of some texts, in order."""
    if isinstance(source, list):
        return {"text": [_of_text(str(number), text, {}) for number, text in enumerate(source, 1)]}
    return {modality: _of_pairs(source, modality) for modality in modalities if modality in source.items}


def content_hash(modality: str, content: str) -> str:
    """32 hex digits for what :attr:`~cospace.pairs.Pairs.contents` says of an item; a file's are its bytes' hash."""
    if modality != "text" and _HASH.fullmatch(content):
        return content
    return digest([modality.encode(), content.encode()])


def _of_text(row_id: str, text: str, extras: Mapping[str, str]) -> Entry:
    return Entry(Item(f"text/{row_id}", "text", text=text, hash=content_hash("text", text), extras=extras), text)


def _of_pairs(pairs: Pairs, modality: str) -> list[Entry]:
    """The first row in which each different item occurs speaks for it."""
    raws, _, item_of_row = unique_items(pairs, modality)
    rows = np.unique(item_of_row, return_index=True)[1].tolist()
    contents, texts = pairs.contents[modality], pairs.items.get("text")
    found = []
    for raw, row in zip(raws, rows, strict=True):
        extras = {name: values[row] for name, values in pairs.extras.items() if values[row]}
        if modality == "text":
            found.append(_of_text(pairs.ids[row], raw, extras))
            continue
        text = str(texts[row]) if texts is not None else ""
        path = _path(raw) if isinstance(raw, Path) else contents[row] if isinstance(raw, Lazy) else ""
        hash_ = content_hash(modality, contents[row])
        found.append(Entry(Item(pairs.ids[row], modality, path, text, hash_, extras=extras), raw))
    return found


def _path(file: Path) -> str:
    return f"{_folder(file.parent)}/{file.name}"


@cache
def _folder(path: Path) -> str:
    return str(path.resolve()).rstrip("/")

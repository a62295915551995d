"""What is embedded: every different item of some input, with what an index remembers of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..data.check import check
from ..data.contents import digest
from ..data.counting import Counts
from ..data.fine_marks import FineMarks, beside
from ..data.known_files import KnownFiles
from ..data.pairs import Pairs, build, open_pairs
from ..data.sources import ReadOptions, Rows
from ..data.sources.table import is_text_table
from ..filenames import escaped, without_surrogates
from ..modalities import is_text, names, text_modality
from ..reading import lines, read_text
from ..types import Lazy, Problem, Progress, UserError, silent
from . import SEVERAL, Condition, Index, Item
from ._columns import own_field

AS_ITEMS = ReadOptions(pairs=False)
"""Everything is found out, and a file without a caption is an item."""

SOURCE = "@source"
"""The extra that names the input an item came from, so that another input's items are not taken for missing."""

ROW = "@row"
"""The extra that names the first row in which an item occurs: items of one row belong together."""

CAPTIONS = "@captions"
"""The extra that holds the captions of a file beyond the first, a line each."""

ROWS = "@rows"
"""The extra that names all rows of an item that occurs in several, with :data:`SEVERAL` between them."""

OURS = (SOURCE, ROW, ROWS, CAPTIONS)
"""The extras that an index adds for itself."""

MOST_VALUES = 100
"""Different values of a column that are remembered of one item."""

T = TypeVar("T")

_HASH = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Entry:
    """An item, as far as it is known without decoding it, and its raw form."""

    item: Item
    raw: Any
    copies: Sequence[Item] = ()
    """The same content under other ids."""

    @property
    def items(self) -> list[Item]:
        """The item and its copies."""
        return [self.item, *self.copies]


@dataclass(frozen=True, slots=True)
class Input:
    """An input, and how it is read."""

    spec: str | Path
    options: ReadOptions = AS_ITEMS
    leave_out: Sequence[str] = ()
    """Kinds of findings of :func:`~cospace.data.check.check` whose items are left out, such as near_duplicates."""


def read_input(source: str | Path | Pairs | Input, progress: Progress = silent) -> Pairs:
    """What to embed: pairs or files from any source, or the lines of a ``.txt`` file as texts."""
    if isinstance(source, Pairs):
        return source
    given = source if isinstance(source, Input) else Input(source)
    if not given.leave_out:
        return _opened(given, progress)
    with KnownFiles() as known:
        checked = check(_opened(given, progress, known), progress=progress, known=known).leaving(given.leave_out)
    return FineMarks(beside(str(given.spec))).of(checked).clean(given.leave_out)


def _opened(given: Input, progress: Progress, known: KnownFiles | None = None) -> Pairs:
    """Everything that an input holds."""
    path = Path(given.spec)
    if path.suffix.lower() == ".txt" and path.is_file() and not is_text_table(path):
        given.options.only(str(given.spec))
        return _lines(path)
    return open_pairs(given.spec, progress=progress, options=given.options, known=known)


def _lines(path: Path) -> Pairs:
    """The lines of a text file as texts, each called by its number; blank lines are counted and are none."""
    texts = {str(number): line for number, line in enumerate(lines(read_text(path)), 1) if line.strip()}
    if not texts:
        raise UserError(f"{path} holds no text; write one text to a line")
    return build(escaped(path.name), Rows(list(texts), {text_modality(): list(texts.values())}))


def entries(pairs: Pairs, modalities: Sequence[str]) -> dict[str, list[Entry]]:
    """By modality, every different item of pairs, in order, with the ids of all rows that have it."""
    return {name: _of_pairs(pairs, name) for name in modalities if name in pairs.items}


def count_entries(
    pairs: Pairs, found: Mapping[str, Sequence[Entry]], listed: Sequence[Problem], failed: Sequence[Problem]
) -> Counts:
    """What of an input is embedded: every different item once, further rows that have it are duplicates.

    ``listed`` is what was set aside before anything was decoded, ``failed`` what could not be decoded.
    """
    bad = {problem.id for problem in failed}
    used = sum(entry.item.id not in bad for group in found.values() for entry in group)
    rows = sum(int(np.sum(pairs.keys[name] >= 0)) for name in found)
    return Counts(used, rows - used - len(failed), len(listed) + len(failed), len(pairs.left_alone))


def content_hash(modality: str, content: str) -> str:
    """32 hex digits for an item of :attr:`~cospace.data.pairs.Pairs.contents`; a file's are the hash of its bytes."""
    if not is_text(modality) and _HASH.fullmatch(content):
        return content
    return digest([modality.encode(), content.encode()])


def item_id(modality: str, row_id: str, primary: bool) -> str:
    """A row's id for its first file; its other items have their modality before it: ``text/a.jpg``.

    A file in a folder called ``text`` is ``./text/a.jpg``, and so not the caption of ``a.jpg``.
    """
    if not primary:
        return f"{modality}/{row_id}"
    return f"./{row_id}" if row_id.startswith(f"{text_modality()}/") else row_id


def without_modality(name: str) -> tuple[str, str]:
    """An id as the modality before it, with its slash, and the row's own id."""
    first, slash, rest = name.partition("/")
    return (first + slash, rest) if slash and first in names() else ("", name)


def _of_pairs(pairs: Pairs, modality: str) -> list[Entry]:
    """Every different item, in order, with the ids of all rows that have it."""
    called = _names(pairs, modality)
    rows_of: dict[int, dict[str, list[int]]] = {}
    for row, key in enumerate(pairs.keys[modality].tolist()):
        if key >= 0:
            rows_of.setdefault(key, {}).setdefault(called[row], []).append(row)
    found = []
    for by_name in rows_of.values():
        every = [row for rows in by_name.values() for row in rows]
        items = [_item(pairs, modality, name, every if is_text(modality) else rows) for name, rows in by_name.items()]
        found.append(Entry(items[0], pairs.items[modality][every[0]], items[1:]))
    return found


def _names(pairs: Pairs, modality: str) -> list[str]:
    """What the item of every row is called; files without names of their own as the first row that has them."""
    if is_text(modality):
        return [item_id(modality, name, primary=False) for name in pairs.ids]
    files = [name for name in pairs.modalities if not is_text(name)]
    named = pairs.names.get(modality, [""] * len(pairs))
    first_row: dict[int, int] = {}
    called = []
    for row, key in enumerate(pairs.keys[modality].tolist()):
        speaking = row if named[row] else first_row.setdefault(key, row)
        primary = next((name for name in files if pairs.items[name][speaking] is not None), "") == modality
        called.append(item_id(modality, named[row] or pairs.ids[speaking], primary or bool(named[row])))
    return called


def _item(pairs: Pairs, modality: str, name: str, rows: Sequence[int]) -> Item:
    """What an index remembers of an item that some rows have; the first of them speaks for it."""
    row = rows[0]
    raw, content, texts = pairs.items[modality][row], pairs.contents[modality][row], pairs.items.get(text_modality())
    extras = {_column(column): value for column, values in pairs.extras.items() if (value := _merged(values, rows))}
    extras[ROW] = pairs.ids[row]
    if len(rows) > 1:
        extras[ROWS] = _merged(pairs.ids, rows)
    if is_text(modality):
        return Item(name, modality, text=raw, hash=content_hash(modality, raw), extras=extras)
    text = str((texts[row] if texts is not None else None) or "")
    more = _further_captions(text, [] if texts is None else [texts[one] or "" for one in rows[1:]])
    extras |= {CAPTIONS: more} if more else {}
    path = _path(raw) if isinstance(raw, Path) else content if isinstance(raw, Lazy) else ""
    return Item(name, modality, path, text, content_hash(modality, content), extras=extras)


def captions_of(item: Item) -> list[str]:
    """All captions of an item, the first one first; a text is its own."""
    further = item.extras.get(CAPTIONS, "")
    return [*filter(None, [item.text]), *(further.split("\n") if further else ())]


def _further_captions(first: str, others: Sequence[str]) -> str:
    """Different captions beyond the first, a line each, in order; at most :data:`MOST_VALUES`."""
    different = dict.fromkeys(" ".join(text.split()) for text in others)
    kept = [text for text in different if text and text != " ".join(first.split())]
    return without_surrogates("\n".join(kept[:MOST_VALUES]))


def _merged(values: Sequence[str], rows: Sequence[int]) -> str:
    """What a column says of an item that several rows have: every different value; nothing where these are too many."""
    different = dict.fromkeys(values[row] for row in rows if values[row])
    return SEVERAL.join(map(without_surrogates, different)) if len(different) <= MOST_VALUES else ""


def _column(name: str) -> str:
    """A person's column by a name that is none of ours."""
    return f"@{name}" if name in OURS or own_field(name) else name


def row_keys(item: Item) -> set[tuple[str, str]]:
    """The rows that an item occurs in, each with the input it belongs to."""
    rows = item.extras.get(ROWS) or item.extras.get(ROW, "")
    return {(item.extras.get(SOURCE, ""), row) for row in rows.split(SEVERAL) if row}


def of_rows(store: Index, keys: AbstractSet[tuple[str, str]]) -> list[int]:
    """Numbers, ascending, of the items that occur in rows of these names; those of other inputs are among them."""
    asked = tuple(sorted({row for _, row in keys}))
    columns = [name for name in (ROW, ROWS) if asked and name in store.columns()]
    return sorted({number for name in columns for number in store.select([Condition(name, "=", asked)]).tolist()})


def own_columns(extras: Mapping[str, T]) -> dict[str, T]:
    """The person's own columns: all but the ones that an index adds."""
    return {name: value for name, value in extras.items() if name not in OURS}


def _path(file: Path) -> str:
    return escaped(f"{_folder(file.parent)}/{file.name}")


@cache
def _folder(path: Path) -> str:
    return str(path.resolve()).rstrip("/")

"""The inputs of an index: what each is called, what came from it, and under which ids that lies beside others."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

from ..data.contents import digest
from ..data.pairs import Pairs
from ..filenames import escaped, unescaped
from ..models.space import chunks
from ..stores import Condition, Index, Item
from ..stores.entries import SOURCE, Entry, Input, without_modality

PART = 1024
"""Items that are read, embedded and stored at a time: what a killed process has to do again at most."""


def name_of(source: str | Path | Pairs | Input) -> str:
    """What an index calls an input: the whole path of a file or folder, anything else as it was given."""
    if isinstance(source, Pairs):
        return source.name
    spec = source.spec if isinstance(source, Input) else source
    return escaped(str(Path(spec).resolve()) if Path(spec).exists() else str(spec))


def items_of_source(store: Index, source: str) -> dict[str, Item]:
    """By id, the items that came from an input."""
    if SOURCE not in store.columns():
        return {}
    numbers = store.select([Condition(SOURCE, "=", (source,))])
    return {item.id: item for item in store.items([int(number) for number in numbers])}


def sources_of(store: Index) -> dict[str, dict[str, Item]]:
    """By the name of an input, in order, the items that came from it."""
    found: dict[str, dict[str, Item]] = {}
    numbers = store.select()
    for part in chunks(iter(numbers.tolist()), PART):
        for item in store.items(part):
            found.setdefault(item.extras.get(SOURCE, ""), {})[item.id] = item
    return dict(sorted(found.items()))


def is_missing(source: str) -> bool:
    """Whether an input was a file or folder on this machine, and is none now."""
    path = Path(unescaped(source))
    return path.is_absolute() and not path.exists()


def marked_entries(
    listed: Sequence[Entry], mine: AbstractSet[str], taken: AbstractSet[str], source: str
) -> list[Entry]:
    """Entries with the input they come from, under ids that no other input's items have.

    Two folders may hold an ``a.jpg`` each. The second to come is called ``FOLDER/a.jpg``, and stays it.
    """
    given = {item.id for entry in listed for item in entry.items}

    def marked(item: Item) -> Item:
        names = [item.id, _under(Path(source).name, item.id), _under(digest([source.encode()])[:8], item.id)]
        free = [name for name in names if name not in taken and (name == item.id or name not in given)]
        chosen = next((name for name in free if name in mine), free[0])
        return replace(item, id=chosen, extras={**item.extras, SOURCE: source})

    return [replace(e, item=marked(e.item), copies=[marked(copy) for copy in e.copies]) for e in listed]


def _under(name: str, item_id: str) -> str:
    """``a.jpg`` as ``name/a.jpg``, and ``text/a.jpg`` as ``text/name/a.jpg``."""
    prefix, own = without_modality(item_id)
    return f"{prefix}{name}/{own}"

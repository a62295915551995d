"""What an index was made of: its inputs by name, and how to forget one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import unknown
from ..stores.locations import location_of
from ..stores.thumbnails import keep_only
from ..types import UserError
from .index_sources import is_missing, name_of, sources_of


@dataclass(frozen=True, slots=True)
class IndexedSource:
    """An input of an index: the whole path of a file or folder, or as it was given; ``missing`` if it is gone."""

    name: str
    items: int
    missing: bool


def list_sources(out: str | Path) -> list[IndexedSource]:
    """The inputs whose items an index holds, by name."""
    found = sources_of(location_of(out).open())
    return [IndexedSource(name, len(items), is_missing(name)) for name, items in found.items()]


def forget_source(out: str | Path, source: str) -> IndexedSource:
    """Remove the items of one input, and previews that nothing else shows.

    Raises :class:`UserError` where no item came from an input of that name, or from two whose last parts are that.
    """
    location = location_of(out)
    store, thumbnails = location.open(), location.thumbnails()
    try:
        store.checkpoint()
        found = sources_of(store)
        name = _named(source, list(found), location.name)
        store.delete(sorted(found[name]))
        keep_only(thumbnails, store.hashes().values())
        location.forget_lexicon(store)
        store.finish()
    finally:
        store.close()
    return IndexedSource(name, len(found[name]), is_missing(name))


def _named(source: str, names: Sequence[str], index: str) -> str:
    """The input that a person means: by its name in the index, by its path here, or by the last part of its path."""
    for way in (source, name_of(source), str(Path(source).absolute())):
        if way in names:
            return way
    ending = [name for name in names if Path(name).name == Path(source).name]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise UserError(f"several inputs of {index} are called {source}: {', '.join(ending)}; give the whole path")
    raise UserError(unknown(source, names, f"{index} was not made of"))

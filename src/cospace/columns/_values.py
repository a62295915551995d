"""How the values of a column are stored: a kind and bytes each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..types import Fault

if TYPE_CHECKING:
    import pyarrow as pa

NONE, TEXT, PATH, BYTES, JSON, FAULT, FIELDS, KEPT = range(8)
"""How a value is stored; what no file can hold is kept in memory."""

PATHS = type(Path())
"""The class that every path here is of."""


def stored(value: Any, classes: list[type]) -> tuple[int, bytes]:
    """How a value is stored, and its bytes; ``classes`` gets the class of an object that is stored by its fields."""
    kind = type(value)
    if kind is str:
        return TEXT, value.encode("utf-8", "surrogatepass")
    if value is None:
        return NONE, b""
    if kind is PATHS:
        return PATH, str(value).encode("utf-8", "surrogatepass")
    if kind is bytes:
        return BYTES, value
    if kind is Fault:
        return FAULT, json.dumps(value).encode()
    if _is_plain(value):
        return JSON, json.dumps(value).encode()
    if (fields := _plain_fields(value)) is not None:
        classes += [] if kind in classes else [kind]
        return FIELDS, json.dumps([classes.index(kind), *fields]).encode()
    return KEPT, b""


def all_texts(values: Sequence[Any]) -> tuple[pa.Array, pa.Array] | None:
    """A block of texts, or of paths, as Arrow writes them by itself; nothing where it holds anything else."""
    import pyarrow as pa

    first: type = type(values[0])
    if first not in (str, PATHS) or not all(type(value) is first for value in values):
        return None
    kind = TEXT if first is str else PATH
    try:
        texts = pa.array(values if kind == TEXT else list(map(str, values)), pa.large_string())
    except (UnicodeError, pa.ArrowInvalid):  # halves of characters, which stand for bytes that were no UTF-8
        return None
    return pa.array(np.full(len(values), kind, np.uint8)), texts.cast(pa.large_binary())


_MOST_PATHS = 1 << 14
"""Paths that are kept while a column is read: making one takes as long as reading ten texts."""


def as_paths(texts: Sequence[str], known: dict[str, Path]) -> Iterator[Path]:
    """The texts as paths; the same object for the same text, up to very many."""
    if len(known) > _MOST_PATHS:
        known.clear()
    for text in texts:
        path = known.get(text)
        if path is None:
            path = known[text] = Path(text)
        yield path


def texts_of(values: pa.Array) -> list[str]:
    import pyarrow as pa

    try:
        return list(values.cast(pa.large_string()).to_pylist())
    except pa.ArrowInvalid:
        return [value.decode("utf-8", "surrogatepass") for value in values.to_pylist()]


def _plain_fields(value: Any) -> list[Any] | None:
    """The fields of a small frozen object, such as a member of a tar; nothing of what they cannot make again."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return None
    fields = dataclasses.fields(value)
    found = [getattr(value, field.name) for field in fields]
    return found if all(field.init for field in fields) and all(map(_is_plain, found)) else None


def _is_plain(value: Any) -> bool:
    """Whether JSON gives back exactly this."""
    if type(value) is list:
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(type(name) is str for name in value) and all(map(_is_plain, value.values()))
    return value is None or type(value) in (str, int, float, bool)


READ: Mapping[int, Callable[[bytes], Any]] = {
    NONE: lambda _: None,
    TEXT: lambda stored: stored.decode("utf-8", "surrogatepass"),
    PATH: lambda stored: Path(stored.decode("utf-8", "surrogatepass")),
    BYTES: bytes,
    JSON: json.loads,
    FAULT: lambda stored: Fault(*json.loads(stored)),
}


def columns_of(batch: pa.RecordBatch) -> tuple[np.ndarray, pa.Array]:
    return batch.column(0).to_numpy(), batch.column(1)

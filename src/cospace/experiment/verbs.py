"""The verbs of ``import cospace``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..pairs import Pairs
from .indexing import build_index
from .model import Model
from .search import SearchableIndex
from .train import Request, run


def train(
    pairs: str | Path | Pairs,
    out: str | Path,
    *,
    val: str | Path | Pairs | None = None,
    recipe: str = "small",
    overrides: Iterable[str] = (),
    source: str | Path | None = None,
) -> Model:
    """Train a space on ``pairs`` into the folder ``out``; ``overrides`` are ``dotted.path=value`` texts.

    ``source`` is what to start from: the folder of a run or of a published model, or ``hf:NAME``.

    The same call again goes on where a killed one stopped.
    """
    begin = None if source is None else str(source)
    return run(Request(pairs, Path(out), recipe=recipe, val=val, overrides=tuple(overrides), source=begin))


def load(folder: str | Path) -> Model:
    """A trained model from a run's folder."""
    return Model.load(folder)


def index(
    model: Model,
    source: str | Path | Pairs,
    out: str | Path,
    *,
    precision: str | None = None,
    keep_missing: bool = False,
    bad_share: float = 0.01,
) -> SearchableIndex:
    """Make pictures (or pairs) searchable: ``index(space, "photos/", out="idx").search(text="a red bus", k=10)``.

    ``out`` is a folder or ``postgresql://USER@HOST/DATABASE``. Where it is an index already, only what is new or
    changed in ``source`` is embedded, and what ``source`` no longer holds is removed, unless ``keep_missing``; items of
    other sources stay. ``precision`` of the stored vectors (float32, bfloat16 or int8) is chosen when an index is made.
    Pictures that cannot be read are left out; more than the share ``bad_share`` of them is a :class:`UserError`.
    """
    made = build_index(model, source, out, precision=precision, keep_missing=keep_missing, bad_share=bad_share)
    return made.index


def open_index(target: str | Path) -> SearchableIndex:
    """An index made by :func:`index` or ``cospace index``, by its folder or its address; no run is needed."""
    return SearchableIndex.open(target)

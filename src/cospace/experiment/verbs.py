"""The verbs of ``import cospace``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..pairs import Pairs
from .model import Model
from .search import SearchableIndex, build_index
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


def index(model: Model, source: str | Path | Pairs, out: str | Path) -> SearchableIndex:
    """Embed a collection of pictures (or pairs) into a searchable folder."""
    return build_index(model, source, out)[0]


def open_index(folder: str | Path) -> SearchableIndex:
    """A searchable folder made by :func:`index` or ``cospace index``."""
    return SearchableIndex.open(folder)

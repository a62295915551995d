"""Where pairs come from. One source per file; each turns what a person has into rows.

The contract of a source is a ``Config`` with ``accepts(spec)`` (does this text name something of mine?),
``from_spec`` and ``read() -> Rows``. Sources decode nothing: they list. Whoever decodes items later sets bad ones aside
through :meth:`cospace.data.pairs.Pairs.without`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Protocol

from ...modalities import Modality, all_modalities
from ...types import Problem


@dataclass(slots=True)
class Rows:
    """What a source reads: columns of equal length, and the rows it had to set aside.

    ``items`` holds ``str`` for text (undecodable bytes as lone surrogates) and a ``Path``, ``bytes``, array or
    ``Lazy`` for the rest; ``None`` where a row names nothing.
    """

    ids: list[str]
    items: dict[str, list[Any]]
    extras: dict[str, list[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    least: int | None = None
    """How many modalities a row needs where rows may lack some; a question about a file, with its answer, counts as
    one more. Where nothing is said, every row needs all columns, and ``None`` is a problem."""


class Source(Protocol):
    """What every ``Config`` in this folder offers."""

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """Whether this text names something that this source can read; at most a glance at the disk."""

    @classmethod
    def from_spec(cls, spec: str, columns: Mapping[str, str] | None = None, separator: str | None = None) -> Source:
        """The configuration for this text. Raises :class:`UserError` for settings that make no sense here."""

    def read(self) -> Rows:
        """List the rows; what cannot be used becomes a problem. Raises :class:`UserError` if nothing can be read."""


def file_modalities() -> list[Modality]:
    """The modalities whose items are files."""
    return [one for one in all_modalities() if not one.typed]


def file_kinds() -> str:
    """What people may have in files: ``images or sounds``."""
    return " or ".join(sorted(one.plural for one in file_modalities()))


def modality_of_file(name: str | PurePath) -> str | None:
    """The modality of a file by its suffix, if it is one of ours."""
    return modality_of_suffix(PurePath(name).suffix)


def modality_of_suffix(suffix: str) -> str | None:
    """The modality of files with this suffix, dot included; ``.seg.png`` is none of ours."""
    suffix = suffix.lower()
    return next((one.name for one in file_modalities() if suffix in one.suffixes), None)

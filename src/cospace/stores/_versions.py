"""The versions of a local index: small sealed files, of which the newest says what the index is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import numpy as np

from ..files import check, read_sealed, write_sealed
from ..reading import MALFORMED, understood
from ..types import StorageError, UserError
from . import Condition
from ._columns import own_field, resolved
from ._segment import Segment
from ._units import check_format, replaced

FORMAT = 4
"""Raised where what an older version wrote cannot be read, or an older one could not read what this one writes.

Format 3 differs in its graphs alone, which are not asked: it opens, and becomes the newest with its next change."""
READ = (3, FORMAT)

NEWEST = "newest.json"
"""The file beside the versions' folder that has the number of the last one, or, after a crash, of the one before."""

DRAFT = "draft.json"
"""The file beside it that has what an unfinished update has come to: a version that only its writer reads."""

Used = TypeVar("Used")


@dataclass(frozen=True, eq=False)
class State:
    """A version of the index and its open segments: what a search reads, whatever changes meanwhile."""

    version: Mapping[str, Any]
    segments: tuple[Segment, ...]

    @property
    def number(self) -> int:
        """Of the version."""
        return int(self.version["version"])

    @cached_property
    def starts(self) -> np.ndarray:
        """The number of each segment's first row, and one past the last row of all."""
        return np.cumsum([0, *(len(segment) for segment in self.segments)])

    @cached_property
    def alive(self) -> int:
        """Items there are."""
        return sum(segment.alive for segment in self.segments)

    @cached_property
    def extras(self) -> dict[str, int]:
        """Names of extras with the number of live items that have them."""
        counts: Counter[str] = Counter()
        for segment in self.segments:
            counts.update(segment.extras())
        return {name: counts[name] for name in sorted(counts) if counts[name]}

    @cached_property
    def _living(self) -> list[np.ndarray | None]:
        return [segment.chosen(()) for segment in self.segments]

    def by_segment(self, numbers: np.ndarray) -> list[tuple[Segment, np.ndarray, np.ndarray]]:
        """Segments with the places in ``numbers`` that are theirs, and the rows these are in them."""
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < self.starts[-1]):
            raise UserError(f"numbers of this version are 0 to {self.starts[-1] - 1}; search again")
        at = np.searchsorted(self.starts, numbers, side="right") - 1
        return [(self.segments[n], np.flatnonzero(at == n), numbers[at == n] - self.starts[n]) for n in np.unique(at)]

    def chosen(self, where: Sequence[Condition]) -> list[np.ndarray | None]:
        """For each segment the rows to look at, see :meth:`Segment.chosen`."""
        if not where:
            return self._living
        if any(own_field(condition.column) is None for condition in where):
            where = resolved(where, self.extras)
        return [segment.chosen(where) for segment in self.segments]


def version_path(folder: Path, number: int) -> Path:
    return folder / "versions" / f"{number:08d}.json"


def write_version(folder: Path, version: Mapping[str, Any]) -> None:
    """Make a version the newest, and say so in a file of its own: one that is lost would not be missed otherwise."""
    write_sealed(version_path(folder, int(version["version"])), version)
    write_sealed(folder / NEWEST, {"version": version["version"]})


def write_draft(folder: Path, version: Mapping[str, Any], update: str) -> None:
    """Keep a version that is to become visible later, with the name of its update."""
    base = versions(folder)[-1]
    write_sealed(folder / DRAFT, {"update": update, "base": base, "content": dict(version)})


def read_draft(folder: Path) -> tuple[str, dict[str, Any]] | None:
    """The name of an unfinished update, and the version that it has come to.

    None where there is none, where it has become visible since, and where it is damaged: it is work that can be done
    again.
    """
    with suppress(StorageError, OSError, *MALFORMED):
        draft = read_sealed(folder / DRAFT)
        if draft["base"] == versions(folder)[-1] and draft["content"]["format"] in READ:
            return str(draft["update"]), dict(draft["content"])
    return None


def load_draft(folder: Path, version: Mapping[str, Any], known: Sequence[Segment]) -> State | None:
    """What an unfinished update has come to, with every byte of its own compared; none where that is damaged."""
    with suppress(StorageError, OSError, *MALFORMED):
        return State(version, tuple(_open(folder, entry, True, known) for entry in version["segments"]))
    return None


def versions(folder: Path) -> list[int]:
    """Numbers of the versions in a folder, ascending."""
    return sorted(int(path.stem) for path in (folder / "versions").glob("*.json") if path.stem.isdigit())


def load(folder: Path, thorough: bool, known: Sequence[Segment] = ()) -> State:
    """The newest version with its segments, those that are open already as they are."""

    def opened(version: Mapping[str, Any]) -> State:
        return State(version, tuple(_open(folder, entry, thorough, known) for entry in version["segments"]))

    return _newest(folder, opened)


def check_newest(folder: Path) -> None:
    """Refuse a folder without an index, and an index that another version of cospace wrote."""
    _newest(folder, lambda version: None)


def check_unchanged(folder: Path, state: State) -> None:
    """Refuse what is not the index, or a later version of it, that ``state`` was read from; compares no content."""
    numbers = versions(folder)
    if not numbers:
        raise StorageError(f"the index at {folder} is gone since it was opened; put it back, or open another")
    listed = state.number in numbers
    if listed:
        try:
            same = read_sealed(version_path(folder, state.number)) == state.version
        except FileNotFoundError:  # a writer's clean-up
            same, listed = versions(folder)[-1:] > [state.number], False
    else:
        same = numbers[-1] > state.number and _newest(folder, _made) == _made(state.version)
    if not same:
        raise StorageError(replaced(folder))
    for segment in state.segments:
        for file in segment.entry["files"].values():
            path = folder / "segments" / file["name"]
            if listed or path.exists():  # files of an earlier version are removed, and stay open here
                check(path, file["stamp"], content=False)


def _made(version: Mapping[str, Any]) -> str | None:
    """What all versions of one index have, and no other index; nothing in one of before."""
    return version.get("made")


def _newest(folder: Path, use: Callable[[Mapping[str, Any]], Used]) -> Used:
    """What ``use`` makes of the newest version; once more when a writer's clean-up overtook it."""
    while True:
        numbers = versions(folder)
        if not numbers:
            made = f"cospace index RUN INPUT --out {quote(str(folder))}"
            raise StorageError(f"{folder} is not an index; make one with: {made}")
        try:
            path = version_path(folder, numbers[-1])
            _check_newest(folder, numbers[-1])
            version = read_sealed(path)
            with understood(path):
                if version["format"] not in READ:
                    check_format(folder, version["format"], FORMAT)
                if not isinstance(version["width"], int) or version["width"] < 1:
                    raise ValueError(f"width {version['width']}")
                return use(version)
        except (FileNotFoundError, UserError):
            if versions(folder)[-1:] == numbers[-1:]:
                raise


def _check_newest(folder: Path, number: int) -> None:
    """Refuse an older version in place of one that was written and is missing."""
    path = folder / NEWEST
    if path.exists() and (newest := int(read_sealed(path)["version"])) > number:
        raise StorageError(
            f"{version_path(folder, newest)} is missing, and the version before it is another index; restore it from a "
            "copy or make the index again"
        )


def _open(folder: Path, entry: Mapping[str, Any], thorough: bool, known: Sequence[Segment]) -> Segment:
    for segment in known:
        if segment.entry == entry:
            return segment
    return Segment.open(folder / "segments", entry, thorough)

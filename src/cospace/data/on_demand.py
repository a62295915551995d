"""Items that are prepared when a step asks for them, so that training starts at once however many there are."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from .. import files
from ..modalities import Processor, is_text, modality
from ..modalities._prepared import MEMORY, Preparation
from ..reading import read_json
from ..types import BadItem, Lazy, Problem, Progress, silent
from .crash_safe import CrashSafeItems
from .pairs import Pairs

if TYPE_CHECKING:
    from torch import Tensor

SECONDS = 10.0
"""Preparing that takes longer, as :func:`preparation_seconds` estimates it, is done while the training runs."""

PER_ITEM, PER_BYTE = 3e-4, 25e-9
"""Seconds of a core for an item and for each of its encoded bytes: measured on photographs and on small PNGs. A
rough constant, since a run must go on as it started wherever that is."""

MANY_TEXTS = 20_000
"""Texts from which on each is tokenised when a step asks for it; fewer take a second."""

HELD_TEXTS = 200_000
"""Tokenised texts that are kept in memory, some 100 MB."""

SAMPLE = 64
"""Items whose size is looked up."""

IN_MEMORY = MEMORY
"""Bytes of prepared items that are kept in memory. Those beyond are read from the cache, or prepared again."""

ATTEMPTS = 16
"""Rows that are tried in place of one that cannot be used, before a batch does without it."""

_OBJECT = 1024
"""Bytes of a tensor beside its numbers."""


def preparation_seconds(pairs: Pairs, modalities: Sequence[str]) -> float:
    """About how long a core prepares the different items of these modalities that are no texts."""
    seconds = 0.0
    for name in (name for name in modalities if name in pairs.items and not is_text(name)):
        keys, column = pairs.keys[name], pairs.items[name]
        there = np.flatnonzero(keys >= 0)
        chosen = there[np.linspace(0, max(0, len(there) - 1), min(SAMPLE, len(there))).astype(int)]
        sizes = [_bytes(column[row]) for row in chosen.tolist()]
        seconds += len(np.unique(keys[there])) * (PER_ITEM + PER_BYTE * float(np.mean(sizes or [0])))
    return seconds


def comes_encoded(pairs: Pairs, name: str) -> bool:
    """Whether the items of a modality are files or bytes that are decoded; others are drawn, or decoded already."""
    keys = pairs.keys[name]
    first = int(np.argmax(keys >= 0)) if len(keys) else 0
    return bool((keys >= 0).any()) and _bytes(pairs.items[name][first]) > 0


def _bytes(raw: Any) -> int:
    """Encoded bytes of an item, 0 where it has none."""
    if isinstance(raw, Path):
        try:
            return os.stat(raw).st_size
        except (OSError, ValueError):
            return 0
    if isinstance(raw, bytes):
        return len(raw)
    return int(raw.size) if isinstance(raw, Lazy) and hasattr(raw, "size") else 0


class OnDemandItems:
    """Prepared items by number, made when they are first asked for; the latest of them stay in memory.

    What is kept already is not made again.
    """

    def __init__(self, known: CrashSafeItems, in_memory: int = IN_MEMORY) -> None:
        self.name, self.raws, self.processor = known.name, known.raws, known.processor
        self.known, self.in_memory = known, in_memory
        self.bad: dict[int, BadItem] = {}
        self._made: dict[int, Tensor] = {}
        self._held, self._lock = 0, threading.RLock()
        self._preparation = Preparation(self.processor, modality(self.name).plural, known)

    def __len__(self) -> int:
        return len(self.raws)

    @overload
    def __getitem__(self, items: int) -> Tensor: ...
    @overload
    def __getitem__(self, items: Tensor | slice) -> Tensor: ...
    def __getitem__(self, items: int | Tensor | slice) -> Tensor:
        """One item, or several of one shape ``(B, ...)``; an example stands for one that cannot be used."""
        import torch

        if isinstance(items, slice):
            return self[torch.arange(*items.indices(len(self)))]
        if isinstance(items, int):
            place = range(len(self))[items]
            self.ensure(np.array([place]))
            return self._made[place] if place in self._made else self._example()
        numbers = items.tolist()
        self.ensure(np.array(numbers, np.int64))
        return torch.stack([self._made[number] if number in self._made else self._example() for number in numbers])

    def _example(self) -> Tensor:
        return self.processor.prepare(modality(self.name).example())

    def ensure(self, items: np.ndarray, progress: Progress = silent) -> None:
        """Try all of these items: each is in memory afterwards, until others are asked for, or among the bad ones."""
        with self._lock:
            while self._held > self.in_memory:
                self._held -= _size(self._made.pop(next(iter(self._made))))
            wanted = dict.fromkeys(items.tolist())
            missing = [item for item in wanted if item not in self._made and item not in self.bad]
            for item, result in self._preparation.in_order(self.raws, progress, missing):
                if isinstance(result, BadItem):
                    self.bad[item] = result
                else:
                    self._made[item] = result
                    self._held += _size(result)

    def in_memory_now(self) -> np.ndarray:
        """The numbers of the items that are in memory, ascending."""
        return np.array(sorted(self._made), np.int64)

    def __getstate__(self) -> dict[str, Any]:
        """Another process makes its own."""
        return {name: getattr(self, name) for name in ("known", "in_memory")}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class OnDemandTexts:
    """Token ids of texts, which take little time a text and, for millions of them, minutes before the first step."""

    def __init__(self, raws: Sequence[str], processor: Processor) -> None:
        self.raws, self.processor = raws, processor
        self._made: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.raws)

    def __getitem__(self, text: int) -> Tensor:
        """One text as a vector of ids."""
        if text not in self._made:
            if len(self._made) >= HELD_TEXTS:
                self._made.clear()
            self._made[text] = self.processor.prepare(self.raws[text])
        return self._made[text]


def _size(prepared: Tensor) -> int:
    return prepared.nbytes + _OBJECT


@dataclass
class OnDemandRows:
    """The rows of a training set whose items are prepared on demand, and those that turned out to be of no use.

    A row with an item that cannot be used is replaced, in the batches that it would be in, by another one: a function
    of (seed, epoch, row) alone, so that workers, ranks and restarts change nothing.
    """

    pairs: Pairs
    items: Mapping[str, OnDemandItems]
    item_of_row: Mapping[str, np.ndarray]
    seed: int
    most: float
    """Largest share of the rows that may be of no use before the run stops."""
    record: Path | None = None
    """Where bad rows are remembered, for a run that is killed and goes on."""
    set_aside: dict[int, BadItem] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.record is not None and self.record.exists():
            known = read_json(self.record)
            if known.get("fingerprint") == self.pairs.fingerprint:
                self.set_aside = {int(row): BadItem(*bad) for row, bad in known["set_aside"].items()}

    def problems(self, rows: np.ndarray, items: Mapping[str, np.ndarray] | None = None) -> dict[int, BadItem]:
        """Which of some rows are of no use, and why; of their items only those given by modality are tried."""
        problems: dict[int, BadItem] = {}
        for name, source in self.items.items():
            item_B = self.item_of_row[name][rows]
            tried = item_B[item_B >= 0] if items is None else items[name]
            source.ensure(tried)
            bad = {item: source.bad[item] for item in tried.tolist() if item in source.bad}
            for row, item in zip(rows.tolist(), item_B.tolist(), strict=True) if bad else ():
                if item in bad:
                    problems.setdefault(row, bad[item])
        return problems

    def replaced(
        self, rows: np.ndarray, epochs: np.ndarray, bad: Mapping[int, BadItem]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of a batch ``(B,)`` with others in place of bad ones, and their epochs; fewer where none was found."""
        made, kept = rows.copy(), np.ones(len(rows), bool)
        for place in np.flatnonzero(np.isin(rows, list(bad))).tolist():
            found = self._replacement(int(rows[place]), int(epochs[place]))
            kept[place] = found is not None
            made[place] = rows[place] if found is None else found
        return made[kept], epochs[kept]

    def _replacement(self, row: int, epoch: int) -> int | None:
        dice = np.random.Generator(np.random.Philox(key=np.array([self.seed, epoch], np.uint64), counter=row))
        candidates = dice.integers(0, len(self.pairs), ATTEMPTS).tolist()
        return next((one for one in candidates if not self.problems(np.array([one]))), None)

    def note(self, problems: Mapping[int, BadItem]) -> None:
        """Remember rows of no use. Raises :class:`UserError` where they are too many."""
        fresh = {row: bad for row, bad in problems.items() if row not in self.set_aside}
        if not fresh:
            return
        self.set_aside |= fresh
        if self.record is not None:
            plain = {str(row): [bad.kind, bad.reason] for row, bad in sorted(self.set_aside.items())}
            files.write_json(self.record, {"fingerprint": self.pairs.fingerprint, "set_aside": plain})
        self.left().stop_above(self.most)

    def recover(self) -> bool:
        """Set items aside at which processes that prepare them have ended or hang; whether there was any."""
        found = [items.known.recover() for items in self.items.values()]
        return any(found)

    def overdue(self) -> bool:
        """Whether some process hangs at an item."""
        return any(items.known.overdue() for items in self.items.values())

    def left(self) -> Pairs:
        """The pairs without the rows that are known to be of no use."""
        return without_rows(self.pairs, self.set_aside)

    def close(self) -> None:
        """Let go of what the items are kept in."""
        for items in self.items.values():
            items.known.close()


def without_rows(pairs: Pairs, bad: Mapping[int, BadItem]) -> Pairs:
    """Pairs without some rows, with the reason why."""
    if not bad:
        return pairs
    problems = [Problem(pairs.place(row), one.kind, one.reason) for row, one in sorted(bad.items())]
    kept = pairs.select(np.delete(np.arange(len(pairs)), sorted(bad)))
    return replace(kept, problems=[*pairs.problems, *problems])

"""Items prepared so that one which crashes or hangs its decoder costs a job that item alone.

Which items are being prepared stands in a file that a crash leaves behind. The next attempt, by the same command or by
new workers, prepares these in a process of its own, sets aside those that end it or do not end, and goes on.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files
from ..modalities import Processor
from ..modalities._isolation import prepare_isolated
from ..reading import read_bytes, read_object
from ..types import BadItem
from .prepared_cache import KeptItems

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor

PATIENCE = 60.0
"""Seconds after which an item that is still being prepared is taken to hang."""

SLOTS, RECORD = 256, struct.Struct("=qd")
"""Items that a process prepares at a time at most; each has its number from 1, and when it began."""


class CrashSafeItems:
    """What is known of the items of one modality (:class:`~cospace.modalities.KnownItems`), crashes included.

    ``folder`` is where a job notes what it is preparing; without one, nothing is noted.
    """

    _notes: _Notes | None

    def __init__(
        self,
        name: str,
        raws: Sequence[Any],
        processor: Processor,
        kept: KeptItems | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name, self.raws, self.processor, self.kept, self.folder = name, raws, processor, kept, folder
        self.bad: dict[int, BadItem] = {}
        self._notes, self._lock = None, threading.Lock()
        if folder is not None and (folder / "bad.json").exists():
            self.bad = {int(item): BadItem(*why) for item, why in read_object(folder / "bad.json").items()}

    def get(self, numbers: Sequence[int]) -> Mapping[int, Tensor | BadItem]:
        """See :class:`~cospace.modalities.KnownItems`."""
        found: dict[int, Tensor | BadItem] = {} if self.kept is None else dict(self.kept.get(numbers))
        return found | {number: self.bad[number] for number in numbers if number in self.bad}

    def keep(self, number: int, prepared: Tensor) -> None:
        """See :class:`~cospace.modalities.KnownItems`."""
        if self.kept is not None:
            self.kept.keep(number, prepared)

    def making(self, number: int) -> AbstractContextManager[None]:
        """See :class:`~cospace.modalities.KnownItems`."""
        if self.folder is None:
            return nullcontext()
        with self._lock:
            if self._notes is None or self._notes.process != os.getpid():
                self._notes = _Notes(self.folder)
        return self._notes.making(number)

    def recover(self) -> bool:
        """Try what processes that have ended, or wait for ever, were preparing; whether there was any.

        Each is prepared in a process of its own.
        """
        if self.folder is None:
            return False
        suspects = sorted(_left_behind(self.folder))
        for number, made in zip(suspects, self._apart(suspects), strict=True):
            if isinstance(made, BadItem):
                self.bad[number] = made
            else:
                self.keep(number, made)
        if suspects:
            files.write_json(self.folder / "bad.json", {str(item): [b.kind, b.reason] for item, b in self.bad.items()})
        return bool(suspects)

    def _apart(self, numbers: Sequence[int]) -> list[Tensor | BadItem]:
        there = [number for number in numbers if number < len(self.raws)]
        return prepare_isolated(self.name, [self.raws[number] for number in there], self.processor, PATIENCE)

    def overdue(self) -> bool:
        """Whether some process has been preparing one item for longer than :data:`PATIENCE`."""
        return self.folder is not None and any(seconds > PATIENCE for _, seconds, _ in _all_notes(self.folder))

    def close(self) -> None:
        """Let go of what the items are kept in."""
        if self.kept is not None:
            self.kept.close()

    def __getstate__(self) -> dict[str, Any]:
        """Another process has notes of its own."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_notes", "_lock")}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._notes, self._lock = None, threading.Lock()


class _Notes:
    """The file of this process. A thread takes a free slot for an item; what is written survives a crash."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.process, self._lock, self._free = os.getpid(), threading.Lock(), list(range(SLOTS))
        with (folder / f"{self.process}.notes").open("w+b") as file:
            file.truncate(SLOTS * RECORD.size)
            self._map = mmap.mmap(file.fileno(), SLOTS * RECORD.size)

    @contextmanager
    def making(self, number: int) -> Iterator[None]:
        with self._lock:
            slot = self._free.pop()
        RECORD.pack_into(self._map, slot * RECORD.size, number + 1, time.time())
        try:
            yield
        finally:
            RECORD.pack_into(self._map, slot * RECORD.size, 0, 0.0)
            with self._lock:
                self._free.append(slot)


def _left_behind(folder: Path) -> set[int]:
    """Items that a process which has ended was preparing, or that one does not finish; ended ones are forgotten."""
    found = set()
    for number, seconds, path in _all_notes(folder):
        if _ended(path) or seconds > PATIENCE:
            found.add(number)
    for path in folder.glob("*.notes"):
        if _ended(path):
            path.unlink(missing_ok=True)
    return found


def _ended(path: Path) -> bool:
    """Whether the process of some notes has ended; this one begins anew."""
    return int(path.stem) == os.getpid() or not files.alive(int(path.stem))


def _all_notes(folder: Path) -> Iterator[tuple[int, float, Path]]:
    """Items that are being prepared, for how many seconds, and the file that says so."""
    for path in folder.glob("*.notes"):
        with suppress(OSError, struct.error):
            for item, began in RECORD.iter_unpack(read_bytes(path)):
                if item:
                    yield item - 1, time.time() - began, path

"""What was found in the windows of a run so far, in two files of its folder.

``shards.json`` lists the shards, so that one which has changed is refused by its name. ``windows.jsonl`` has a line for
each window that was read, with its own hash: how many pairs it has, which decides what every later step sees, and what
became of the others. A line that was cut short or altered is none, and that window is read again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ... import files
from ...reading import MALFORMED, read_bytes
from ...types import UserError
from ..contents import digest
from . import Shard

_PART = re.compile(r"#\d+-\d+$")
SHARDS, WINDOWS = "shards.json", "windows.jsonl"


@dataclass(frozen=True, slots=True)
class Record:
    """A window: where it stands, and what its rows became."""

    epoch: int
    number: int
    rows: int
    """Pairs that are trained on."""
    used: int = 0
    """Of these, those whose content is not all that of an earlier one of the window."""
    left_alone: int = 0
    held_out: int = 0
    """Rows whose files are among those that the run is validated on."""
    set_aside: Mapping[str, int] = field(default_factory=dict)
    """Rows that cannot be used, by the kind of problem."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """By part, a hash of what its rows contain."""
    unusable: Mapping[str, int] = field(default_factory=dict)
    """Of the pairs that are trained on, those that turned out to be of no use, in whose place others were seen."""

    @property
    def bad(self) -> int:
        """Rows that cannot be used."""
        return sum(self.set_aside.values()) + sum(self.unusable.values())

    @property
    def seen(self) -> int:
        """Rows that are used: to train on, or to validate."""
        return self.rows + self.held_out - sum(self.unusable.values())


class Manifest:
    """The records of a run by epoch and number; ``key`` is what decides them, and those of another key are dropped.

    Without a ``folder`` nothing is written, as on ranks that have none.
    """

    def __init__(self, folder: Path | None, key: str, records: Sequence[Record] = ()) -> None:
        self.folder, self.key = folder, key
        self.records: dict[tuple[int, int], Record] = {}
        self._parts: dict[str, str] = {}
        for record in records:
            self._keep(record)

    @classmethod
    def open(cls, folder: Path, key: str) -> Manifest:
        """What the folder has; it is written anew, so that it holds whole lines of this key alone."""
        made = cls(folder, key, _read(folder / WINDOWS, key))
        files.atomic_write(folder / WINDOWS, b"".join(_line(key, one) for one in made.records.values()))
        return made

    def add(self, record: Record) -> None:
        """Keep a record. Raises :class:`UserError` where what is known says otherwise: a shard has changed since."""
        known = self.records.get((record.epoch, record.number))
        self._check(record, known)
        if known is not None:
            return
        if record.epoch:  # whose parts are those of the first epoch
            record = replace(record, parts={})
        self._keep(record)
        self._write(record)

    def amend(self, place: tuple[int, int], unusable: Mapping[str, int]) -> None:
        """Keep what turned out to be of no use in a window so far."""
        known = self.records[place]
        if dict(known.unusable) == dict(unusable):
            return
        self._keep(replace(known, unusable=dict(unusable)))
        self._write(self.records[place])

    def _write(self, record: Record) -> None:
        if self.folder is not None:
            with (self.folder / WINDOWS).open("ab") as file:
                file.write(_line(self.key, record))

    def _keep(self, record: Record) -> None:
        self.records[record.epoch, record.number] = record
        self._parts |= record.parts

    def _check(self, record: Record, known: Record | None) -> None:
        changed = [name for name, found in record.parts.items() if self._parts.get(name, found) != found]
        if changed:
            raise UserError(
                f"{shard_of(changed[0])} has changed since this run read it; restore it, or choose another --out"
            )
        if known is not None and known.rows != record.rows:
            raise UserError(
                f"window {record.number} of epoch {record.epoch} had {known.rows:,} usable pairs and has "
                f"{record.rows:,} now, of the same shards; choose another --out"
            )


def check_shards(folder: Path, shards: Sequence[Shard], goes_on: bool) -> None:
    """Keep the list of shards in a run's folder, or compare it with the one that is there, if the run goes on.

    Raises :class:`UserError` that names the first shard that has changed, is gone or is new.
    """
    path = folder / SHARDS
    if goes_on and path.is_file():
        known = {str(one["name"]): Shard(**one) for one in files.read_sealed(path)["shards"]}
        now = {shard.name: shard for shard in shards}
        advice = "restore it, or choose another --out"
        for name in sorted(known.keys() | now.keys()):
            if name not in now:
                raise UserError(f"{known[name].address} is gone since this run began; {advice}")
            if name not in known:
                raise UserError(
                    f"{now[name].address} is new since this run began; take it away, or choose another --out"
                )
            if (known[name].size, known[name].version) != (now[name].size, now[name].version):
                was, is_ = f"{known[name].size:,} bytes", f"{now[name].size:,}"
                raise UserError(
                    f"{now[name].address} has changed since this run began ({was} then, {is_} now); {advice}"
                )
        return
    files.write_sealed(path, {"shards": [asdict(shard) for shard in shards]})


def shard_of(part: str) -> str:
    """The name of the shard that a part belongs to, by the part's own."""
    return _PART.sub("", part)


def plain(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Records as JSON data."""
    return [asdict(record) for record in records]


def kinds(records: Sequence[Record]) -> Counter[str]:
    """How many rows were set aside, by the kind of problem."""
    found: Counter[str] = Counter()
    for record in records:
        found.update(record.set_aside)
        found.update(record.unusable)
    return found


def _line(key: str, record: Record) -> bytes:
    text = json.dumps(asdict(record), sort_keys=True)
    return f"{_seal(key, text)} {text}\n".encode()


def _seal(key: str, text: str) -> str:
    return digest([key.encode(), text.encode()])


def _read(path: Path, key: str) -> list[Record]:
    found: list[Record] = []
    if not path.is_file():
        return found
    for line in read_bytes(path).split(b"\n")[:-1]:
        try:
            seal, _, text = line.decode().partition(" ")
            if seal == _seal(key, text):
                found.append(Record(**json.loads(text)))
        except MALFORMED:  # another's line, or half of one
            continue
    return found

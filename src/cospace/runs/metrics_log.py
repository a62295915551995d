"""The log of a run, ``metrics.jsonl``."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .. import files
from ..reading import parse_json, read_bytes
from ..types import UserError

CRC = "crc32"
"""The last key of a row: the CRC-32 of the row without it, as JSON. A number, as the other values are."""


class MetricsLog:
    """``metrics.jsonl``: a row per step, appended; a resumed run first drops what its checkpoint does not know.

    Every row is sealed by its own checksum, so that a log that was cut short or altered anywhere is whole up to there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, step: int, say: Callable[[str], None] = lambda sentence: None) -> None:
        """Keep the rows up to the step that the run goes on from; none where it begins. ``say`` hears of lost ones."""
        kept: list[dict[str, Any]] = []
        if step:
            whole, damaged = self._read()
            kept = [row for row in whole if isinstance(row.get("step"), int) and row["step"] <= step]
            last = kept[-1]["step"] if kept else 0
            if damaged and last < step:
                say(f"{self.path} is damaged after step {last}: its rows up to step {step} are lost, the run is not")
        files.atomic_write(self.path, as_log(kept))

    def rows(self) -> list[dict[str, Any]]:
        """All rows up to the first that is damaged; a last line cut short by a kill is left out."""
        return self._read()[0]

    def write(self, row: dict[str, Any]) -> None:
        """Append one row."""
        with self.path.open("ab") as file:
            file.write(_line(row))

    def sync(self) -> None:
        """Wait until every row is on disk: before a checkpoint is, that knows of them."""
        if self.path.exists():
            with self.path.open("ab") as file:
                os.fsync(file.fileno())

    def _read(self) -> tuple[list[dict[str, Any]], bool]:
        """The rows up to the first that is damaged, and whether there is one."""
        found: list[dict[str, Any]] = []
        content = read_bytes(self.path) if self.path.exists() else b""
        lines, sealed = content.split(b"\n"), CRC.encode() in content
        for line in lines[:-1]:
            row = _row(line, self.path, sealed)
            if row is None:
                return found, True
            found.append(row)
        return found, bool(lines[-1])


def as_log(rows: Iterable[dict[str, Any]]) -> bytes:
    """A whole log."""
    return b"".join(map(_line, rows))


def _line(row: dict[str, Any]) -> bytes:
    sealed = json.dumps({**row, CRC: zlib.crc32(json.dumps(row).encode())})
    return f"{sealed}\n".encode()


def _row(line: bytes, path: Path, sealed: bool) -> dict[str, Any] | None:
    """What :func:`_line` was given, or nothing of a line that is not whole; logs without checksums are older."""
    try:
        row = parse_json(line, path)
    except UserError:
        return None
    if not isinstance(row, dict):
        return None
    seal = row.pop(CRC, None)
    return row if not sealed or seal == zlib.crc32(json.dumps(row).encode()) else None

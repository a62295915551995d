"""The log of a run, ``metrics.jsonl``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import files
from ..reading import parse_json, read_bytes, understood
from ..types import UserError


class MetricsLog:
    """``metrics.jsonl``: a row per step, appended; a resumed run first drops what its checkpoint does not know."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, step: int) -> None:
        """Keep the rows up to the step that the run goes on from; none where it begins."""
        with understood(self.path, "remove it"):
            kept = [row for row in self.rows() if step and row["step"] <= step]
        files.atomic_write(self.path, "".join(json.dumps(row) + "\n" for row in kept).encode())

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows; a last line cut short by a kill is left out."""
        if not self.path.exists():
            return []
        found = [parse_json(line, self.path) for line in read_bytes(self.path).split(b"\n")[:-1] if line]
        if not all(isinstance(row, dict) for row in found):
            raise UserError(f"{self.path} holds a line that is no JSON object; remove that line")
        return found

    def write(self, row: dict[str, Any]) -> None:
        """Append one row."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

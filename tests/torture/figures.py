"""What the torture suite tried, for the table that it ends with."""

from __future__ import annotations

import json
import os
from pathlib import Path

BAD = ("lost", "altered", "duplicated", "executed", "unprotected", "hung", "left_behind")
"""What nothing may be: the columns of the table."""


def tried(row: int, what: str, n: int, **bad: int) -> None:
    """Note ``n`` trials of a row, and fail where anything bad came of them; every column is 0 in the end."""
    assert n > 0, "nothing was tried"
    assert set(bad) <= set(BAD)
    path = os.environ.get("TORTURE_FIGURES")
    if path:
        line = json.dumps({"row": row, "what": what, "n": n, **dict.fromkeys(BAD, 0), **bad})
        with Path(path).open("a", encoding="utf-8") as file:  # one write: several processes append
            file.write(f"{line}\n")
    assert not any(bad.values()), bad

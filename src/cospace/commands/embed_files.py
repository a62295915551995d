"""The files of an embedding job: whose result a file is, what was set aside, one array."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..reading import MALFORMED, lines, parse_json, read_text, understood
from ..types import Problem


def job_of(out: Path) -> str | None:
    """The key of the job that wrote a file; none for a file that is missing or another's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not out.is_file():
        return None
    try:
        if out.suffix == ".parquet":
            with out.open("rb") as file:
                facts: dict[bytes, bytes] = pq.read_schema(file).metadata or {}
            return facts.get(b"cospace.job", b"").decode()
        with np.load(out, allow_pickle=False) as stored:
            return str(stored["job"])
    except (pa.ArrowException, OSError, zipfile.BadZipFile, *MALFORMED):
        return None


def read_problems(path: Path) -> list[Problem]:
    if not path.is_file():
        return []
    with understood(path, "remove it"):
        return [Problem(**parse_json(line, path)) for line in lines(read_text(path)) if line]


def array_writer(array: np.ndarray) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, array, allow_pickle=False)

    return write

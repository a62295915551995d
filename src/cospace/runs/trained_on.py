"""What a run was trained on, as hashes in its folder, so that an evaluation can say which files it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .. import files
from ..data.leakage import contents_of
from ..data.pairs import Pairs
from ..reading import opened, understood

NAME = "trained_on.npz"


SIGNATURES = "/signatures"
"""What follows a modality's name where an array holds signatures instead of hashes."""


def write_trained_on(folder: Path, pairs: Pairs, signatures: Mapping[str, np.ndarray]) -> None:
    """Remember the files of ``pairs`` in a run's folder: 8 bytes for each different one, and its signature."""
    content = contents_of(pairs) | {f"{name}{SIGNATURES}": rows[:, :1] for name, rows in signatures.items()}

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **content)  # type: ignore[arg-type]

    files.atomic_write(folder / NAME, write)


def read_trained_on(folder: Path) -> dict[str, np.ndarray]:
    """By modality the hashes ``(N,)`` of the files that a run was trained on; nothing where it does not say.

    Their signatures ``(N, 1, S)`` stand under ``NAME/signatures``.

    Raises :class:`~cospace.types.UserError` where the file is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return {}
    with understood(path), opened(path) as file, np.load(file, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}

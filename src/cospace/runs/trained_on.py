"""What a run was trained on, as hashes in its folder, so that an evaluation can say which files it has seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import files
from ..data.leakage import contents_of
from ..data.pairs import Pairs
from ..reading import opened, understood

NAME = "trained_on.npz"


def write_trained_on(folder: Path, pairs: Pairs) -> None:
    """Remember the files of ``pairs`` in a run's folder: 8 bytes for each different one."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **contents_of(pairs))  # type: ignore[arg-type]

    files.atomic_write(folder / NAME, write)


def read_trained_on(folder: Path) -> dict[str, np.ndarray]:
    """By modality the hashes ``(N,)`` of the files that a run was trained on; nothing where it does not say.

    Raises :class:`~cospace.types.UserError` where the file is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return {}
    with understood(path), opened(path) as file, np.load(file, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}

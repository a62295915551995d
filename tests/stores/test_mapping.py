"""Files of vectors that somebody cuts while they are in use: no process ends by it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cospace.stores import Item, _mapping
from cospace.stores.local import LocalIndex
from cospace.types import StorageError

ROWS, WIDTH = 2_000, 64


def filled(folder: Path) -> Path:
    """An index of random vectors, and its file of vectors."""
    vectors = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(np.float32)
    items = [Item(id=str(row), modality="image", path="", text="", hash="0" * 32) for row in range(ROWS)]
    with LocalIndex.create(folder, width=WIDTH, fingerprint="f") as store:
        store.add(items, vectors)
    (path,) = (folder / "segments").glob("*.vectors.npy")
    return path


def test_a_small_file_is_read_and_a_cut_changes_nothing(tmp_path: Path) -> None:
    path = filled(tmp_path / "idx")
    store = LocalIndex.open(tmp_path / "idx")
    query = store.vectors(np.array([7]))
    os.truncate(path, 200)
    assert store.nearest(query, 1).numbers_QK.tolist() == [[7]]
    with pytest.raises(StorageError, match="is damaged"):
        store.check_unchanged()


def test_a_large_file_is_mapped_and_a_cut_is_noticed_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path / "idx")
    monkeypatch.setattr(_mapping, "READ_WHOLE", 0)
    store = LocalIndex.open(tmp_path / "idx")
    query = store.vectors(np.array([7]))
    assert store.nearest(query, 1).numbers_QK.tolist() == [[7]]
    os.truncate(path, 200)
    for read in (lambda: store.nearest(query, 1), lambda: store.vectors(np.array([7]))):
        with pytest.raises(StorageError, match="was cut short while it was in use: of 512,128 bytes 200 are left"):
            read()


def test_a_file_that_was_removed_or_replaced_by_name_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path / "idx")
    monkeypatch.setattr(_mapping, "READ_WHOLE", 0)
    store = LocalIndex.open(tmp_path / "idx")
    query = store.vectors(np.array([7]))
    path.unlink()
    assert store.nearest(query, 1).numbers_QK.tolist() == [[7]]
    path.write_bytes(b"short")
    assert store.nearest(query, 1).numbers_QK.tolist() == [[7]]


def test_no_signal_ends_the_process(tmp_path: Path) -> None:
    path = filled(tmp_path / "idx")
    program = (
        "import os, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from cospace.stores.local import LocalIndex\n"
        "store = LocalIndex.open(Path(sys.argv[1]))\n"
        "query = np.ones((1, 64), np.float32)\n"
        "os.truncate(sys.argv[2], 200)\n"
        "print(store.nearest(query, 1).numbers_QK.shape)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "idx"), str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (0, "(1, 1)\n"), ended.stderr

"""Previews of an index's items: they are there when they are said to be."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cospace.modalities import PREVIEW_SIZES
from cospace.stores.thumbnails import LocalThumbnails
from cospace.types import UserError


def test_what_is_added_is_there_for_everyone(tmp_path: Path) -> None:
    written, read = (LocalThumbnails.open(tmp_path / "small.sqlite") for _ in range(2))
    assert (read.get("a", 64), read.known(["a"])) == (None, set()), "a file that is not there yet holds nothing"
    written.add([("a", 64, b"1"), ("a", 256, b"2"), ("b", 64, b"3")])
    assert (read.get("a", 64), read.get("a", 256), read.get("a", 512)) == (b"1", b"2", None)
    assert read.known(["a", "b", "c"]) == {"a"}, "b lacks a size"
    written.add([("a", 64, b"4"), ("b", 256, b"5")])
    assert read.get("a", 64) == b"4"
    assert read.known(["a", "b", "c"]) == {"a", "b"}
    written.remove(["a"])
    assert (read.get("a", 64), read.known(["a", "b"])) == (None, {"b"})
    many = [f"{number:05d}" for number in range(2_345)]
    written.add([(name, size, b"x") for name in many for size in PREVIEW_SIZES])
    assert read.known([*many, "none"]) == set(many)


WRITER = """
import sys
from pathlib import Path
from cospace.stores.thumbnails import LocalThumbnails
store = LocalThumbnails.open(Path(sys.argv[1]))
for number in range(100_000):
    store.add([(f"{number}-{place}", size, b"x" * 500) for place in range(20) for size in (64, 256)])
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill_and_is_read_meanwhile(tmp_path: Path) -> None:
    path, written = tmp_path / "small.sqlite", 0
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        store, failures = LocalThumbnails.open(path), []
        writer.stdout.readline()

        def read(store: LocalThumbnails = store, failures: list[object] = failures) -> None:
            for _ in range(200):
                found = store.get("0-0", 64), len(store.known([f"0-{place}" for place in range(20)]))
                if found != (b"x" * 500, 20):
                    failures.append(found)

        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        for _ in range(4):  # however fast the readers were
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        written = max(int(line) for line in ["4", *writer.stdout.read().split()])
        writer.wait()
        assert failures == []
        every = [f"{number}-{place}" for number in range(written + 1) for place in range(20)]
        assert LocalThumbnails.open(path).known(every) == set(every)
    assert written > 3, "the writer got somewhere"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "small.sqlite").write_bytes(b"not a database at all" * 300)
    store = LocalThumbnails.open(tmp_path / "small.sqlite")
    with pytest.raises(UserError, match="small.sqlite.*delete it"):
        store.get("a", 64)
    with pytest.raises(UserError, match="small.sqlite.*delete it"):
        store.add([("a", 64, b"1")])

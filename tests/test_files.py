"""Files are written whole or not at all, whatever fails and whenever; and a changed bit is always seen."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cospace import files, locks
from cospace.types import UserError
from faults import every_fault

OLD, NEW = b"old bytes", b"new bytes, and more of them"


def write_new(path: Path) -> None:
    path.write_bytes(NEW)


def test_atomic_write_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    files.atomic_write(path, OLD)
    files.atomic_write(path, write_new)
    assert path.read_bytes() == NEW
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_fault_at_any_operation_of_atomic_write_leaves_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"

    def check(succeeded: bool) -> None:
        assert path.read_bytes() == NEW if succeeded else path.read_bytes() in (OLD, NEW)
        assert os.listdir(tmp_path) == ["a.bin"]
        path.write_bytes(OLD)

    path.write_bytes(OLD)
    assert every_fault(lambda: files.atomic_write(path, NEW), check) == 4


@pytest.mark.parametrize("replacing", [False, True])
def test_a_fault_at_any_operation_of_write_folder_leaves_a_whole_folder(tmp_path: Path, replacing: bool) -> None:
    final = tmp_path / "run"

    def reset() -> None:
        shutil.rmtree(final, ignore_errors=True)
        if replacing:
            files.write_folder(final, {"old.bin": OLD})

    def check(succeeded: bool) -> None:
        assert final.exists() or not replacing, "a folder that was there stays there"
        files.settle(final)
        assert os.listdir(tmp_path) == (["run"] if final.exists() else [])
        if final.exists():
            files.verify(final)
        assert final.exists() or not succeeded
        if succeeded:
            assert (final / "deep" / "er" / "new.bin").read_bytes() == NEW
        reset()

    reset()
    content: dict[str, files.Content] = {"a.bin": NEW, "deep/er/new.bin": NEW}
    assert every_fault(lambda: files.write_folder(final, content), check) > 10


def test_every_flipped_bit_and_every_cut_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    files.write_folder(folder, {"a": bytes(range(16))})
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for place in range(len(whole)):
            for bit in range(8):
                path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
                with pytest.raises(UserError, match=re.escape(path.name)):
                    files.verify(folder)
            if whole[place:] == b"\n":
                continue  # the last newline of a JSON file says nothing
            path.write_bytes(whole[:place])
            with pytest.raises(UserError):
                files.verify(folder)
        path.write_bytes(whole)
    files.verify(folder)


def test_the_error_names_the_file_and_both_hashes(tmp_path: Path) -> None:
    files.write_folder(tmp_path / "run", {"a.bin": b"abc"})
    expected = files.digest(tmp_path / "run" / "a.bin")
    (tmp_path / "run" / "a.bin").write_bytes(b"abd")
    actual = files.digest(tmp_path / "run" / "a.bin")
    with pytest.raises(UserError) as error:
        files.verify(tmp_path / "run")
    assert all(part in str(error.value) for part in (str(tmp_path / "run" / "a.bin"), expected, actual))


def test_missing_files_and_missing_manifests_are_named(tmp_path: Path) -> None:
    files.write_folder(tmp_path / "run", {"a.bin": b"abc"})
    (tmp_path / "run" / "a.bin").unlink()
    with pytest.raises(UserError, match=r"a\.bin is missing"):
        files.verify(tmp_path / "run")
    (tmp_path / "run" / files.MANIFEST).unlink()
    with pytest.raises(UserError, match=r"has no MANIFEST\.json"):
        files.verify(tmp_path / "run")


def test_seal_covers_what_is_there_or_what_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b"{}\n")
    (tmp_path / "weights.bin").write_bytes(b"w")
    (tmp_path / "weights.bin.tmp-1").write_bytes(b"half")
    files.seal(tmp_path)
    assert sorted(files.read_manifest(tmp_path)) == ["metrics.jsonl", "weights.bin"]
    files.seal(tmp_path, ["weights.bin"])
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(b"{}\n")
    files.verify(tmp_path)


def test_fingerprint_depends_on_content_of_the_named_files_only(tmp_path: Path) -> None:
    for name, note in (("one", b"x"), ("two", b"y")):
        files.write_folder(tmp_path / name, {"weights.bin": b"same", "notes.txt": note})
    one, two = tmp_path / "one", tmp_path / "two"
    assert files.fingerprint(one) != files.fingerprint(two)
    assert files.fingerprint(one, ["weights.bin"]) == files.fingerprint(two, ["weights.bin"])
    assert re.fullmatch("[0-9a-f]{16}", files.fingerprint(one))
    with pytest.raises(UserError, match=r"does not list other\.bin"):
        files.fingerprint(one, ["other.bin"])


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", ""])
def test_names_stay_inside_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="relative path"):
        files.write_folder(tmp_path / "run", {name: b"x"})
    assert os.listdir(tmp_path) == []


def test_json_with_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []
    files.write_json(tmp_path / "a.json", {"caption": "Grüße 🚌"})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"caption": "Grüße 🚌"}


def test_leftovers_of_the_dead_are_cleared_and_those_of_the_living_kept(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f"run.tmp-{dead.pid}").mkdir()
    (tmp_path / f"run.tmp-{os.getppid()}").mkdir()
    (tmp_path / f"other.tmp-{dead.pid}").mkdir()
    files.write_folder(tmp_path / "run", {"a": b"a"})
    assert sorted(os.listdir(tmp_path)) == sorted(["run", f"run.tmp-{os.getppid()}", f"other.tmp-{dead.pid}"])


def test_a_folder_moved_aside_by_a_dead_writer_comes_back(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    files.write_folder(tmp_path / "run", {"a": b"a"})
    os.rename(tmp_path / "run", tmp_path / f"run.old-{dead.pid}")
    files.settle(tmp_path / "run")
    files.verify(tmp_path / "run")
    assert os.listdir(tmp_path) == ["run"]


WRITER = """
import sys
from pathlib import Path
from cospace import files
folder = Path(sys.argv[1])
print("ready", flush=True)
for n in range(10**9):
    files.atomic_write(folder / "one.bin", bytes([n % 251]) * 200_000)
    files.write_folder(folder / "many", {name: bytes([n % 251]) * 50_000 for name in ("a", "b/c")})
"""


def test_a_writer_killed_at_any_moment_leaves_whole_files(tmp_path: Path) -> None:
    for kill in range(15):
        child = start(WRITER, tmp_path)
        time.sleep(0.003 + 0.004 * kill)
        child.send_signal(signal.SIGKILL)
        child.wait()
        if (tmp_path / "one.bin").exists():
            content = (tmp_path / "one.bin").read_bytes()
            assert content == content[:1] * 200_000
        files.settle(tmp_path / "many")
        if (tmp_path / "many").exists():
            files.verify(tmp_path / "many")
    files.atomic_write(tmp_path / "one.bin", b"")
    files.write_folder(tmp_path / "many", {})
    assert sorted(os.listdir(tmp_path)) == ["many", "one.bin"]


HOLDER = """
import sys, time
from pathlib import Path
from cospace.locks import Lock
with Lock(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(60)
"""


FORKS = """
import os, sys, time
from pathlib import Path
from cospace.locks import Lock
lock = Lock(Path(sys.argv[1]))
lock.acquire()
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
"""


def test_a_worker_that_was_forked_does_not_keep_the_lock_of_a_process_that_was_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", FORKS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        assert not locks.Lock(tmp_path).attempt(), "the child has not given it up for its parent"
        holder.kill()
        holder.wait(20)
        os.kill(child, 0)
        lock = locks.Lock(tmp_path)
        lock.acquire()
        lock.release()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_second_taker_of_a_lock_learns_who_has_it_and_a_killed_holder_frees_it(tmp_path: Path) -> None:
    child = start(HOLDER, tmp_path)
    began = time.monotonic()
    with pytest.raises(UserError, match=rf"process {child.pid} on "):
        locks.Lock(tmp_path).acquire()
    assert time.monotonic() - began < 1.0
    child.kill()
    child.wait()
    with locks.Lock(tmp_path) as lock:
        assert lock.held
        with pytest.raises(UserError, match=str(os.getpid())):
            locks.Lock(tmp_path).acquire()
    assert not lock.held
    locks.Lock(tmp_path).acquire()


def start(program: str, folder: Path) -> subprocess.Popen[bytes]:
    """A child that has printed ``ready``."""
    child = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child


def test_a_lock_can_be_tried(tmp_path: Path) -> None:
    first, second = locks.Lock(tmp_path), locks.Lock(tmp_path)
    assert (first.attempt(), second.attempt()) == (True, False)
    assert (first.held, second.held) == (True, False)
    first.release()
    assert second.attempt()
    second.release()
    with pytest.raises(FileNotFoundError):
        locks.Lock(tmp_path / "nowhere").attempt()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("other", "left"),
    [(None, set()), ("run/kept", {"run", "run/kept"}), ("run/cache/kept", {"run", "run/cache", "run/cache/kept"})],
)
def test_folders_that_are_empty_go_with_what_was_in_them(tmp_path: Path, other: str | None, left: set[str]) -> None:
    inner = tmp_path / "run" / "cache" / "rank-1"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    if other is not None:
        (tmp_path / other).touch()
    files.remove_up_to(inner, tmp_path / "run")
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == left

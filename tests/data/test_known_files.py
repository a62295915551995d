"""What is remembered of files and items: true after every change, and never needed."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cospace.data import contents as contents_module
from cospace.data import examining
from cospace.data.check import check
from cospace.data.contents import contents
from cospace.data.known_files import KnownFiles
from cospace.data.pairs import open_pairs
from cospace.modalities import Examined, modality
from photographs import photograph


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve photographs with a broken one, an hour old."""
    for number in range(12):
        photograph(64, 48, seed=number).save(tmp_path / f"{number:02d}.png")
    (tmp_path / "12.png").write_bytes((tmp_path / "11.png").read_bytes()[:-40])
    rows = "".join(f"{number:02d}.png,what number {number} shows\n" for number in range(13))
    (tmp_path / "t.csv").write_text("image,text\n" + rows)
    age(*tmp_path.iterdir())
    return tmp_path / "t.csv"


def age(*paths: Path) -> None:
    hour_ago = time.time() - 3600
    for path in paths:
        os.utime(path, (hour_ago, hour_ago))


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnownFiles:
    monkeypatch.setattr("cospace.data.known_files.SETTLED", -60.0)  # files of this test were made just now
    return KnownFiles(tmp_path / "known" / "examined.sqlite")


def test_a_second_look_reads_and_decodes_nothing(
    table: Path, known: KnownFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = check(open_pairs(table, known=known), known=known)
    read: list[Path] = []
    monkeypatch.setattr(contents_module, "_file", lambda path: read.append(path) or "")
    looked = examining._by_threads
    seen: list[int] = []
    monkeypatch.setattr(
        examining,
        "_by_threads",
        lambda name, items, raw: seen.extend(items if name == "image" else ()) or looked(name, items, raw),
    )
    again = check(open_pairs(table, known=known), known=known)
    assert read == []
    assert seen == [12]  # what cannot be read is tried again
    assert again.to_json() == first.to_json()
    assert np.array_equal(again.seen["image"].signatures_IVS, first.seen["image"].signatures_IVS)


@pytest.mark.parametrize("change", ["content", "same size and time", "renamed over", "removed", "unreadable"])
def test_a_file_that_has_changed_is_read_again(table: Path, known: KnownFiles, change: str) -> None:
    path = table.parent / "03.png"
    before = contents("image", [path], known=known)
    data, status = path.read_bytes(), path.stat()
    if change == "content":
        path.write_bytes(data + b"x")
    elif change == "same size and time":
        path.write_bytes(data[:-1] + b"x")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "renamed over":
        (table.parent / "04.png").rename(path)
    elif change == "removed":
        path.unlink()
    else:
        path.unlink()
        path.mkdir()
    assert contents("image", [path], known=known) == contents("image", [path]) != before


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    known, path = KnownFiles(tmp_path / "examined.sqlite"), tmp_path / "a.png"
    photograph(8, 8, seed=0).save(path)
    contents("image", [path], known=known)
    assert known.digests([path]) == {}


@pytest.mark.parametrize("damage", ["not a database", "a folder", "another table", "gone while open"])
def test_without_a_database_everything_is_done_anew(table: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "cache" / "examined.sqlite"
    path.parent.mkdir()
    if damage == "not a database":
        path.write_bytes(b"no database" * 1000)
    elif damage == "a folder":
        path.mkdir()
    elif damage == "another table":
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE files (path TEXT)")
    known = KnownFiles(path)
    if damage == "gone while open":
        known.close()
    found = check(open_pairs(table, known=known), known=known)
    assert found.to_json() == check(open_pairs(table)).to_json()


def test_items_are_remembered_by_content_and_by_what_was_measured(known: KnownFiles) -> None:
    signature = np.arange(12, dtype=np.uint8).reshape(2, 6)
    seen = {"a": Examined({"width": 3.0}, signature), "b": Examined({"seconds": 0.5})}
    known.keep_examined("image-1", seen)
    again = known.examined("image-1", ["a", "b", "c", *(f"x{number}" for number in range(2000))])
    assert again.keys() == {"a", "b"}
    assert np.array_equal(again["a"].signature, signature)
    assert again["b"] == seen["b"]
    assert known.examined("image-2", ["a"]) == {}


def test_odd_names_of_files_are_remembered_too(
    tmp_path: Path, known: KnownFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = os.fsdecode(b"caf\xe9 \xff.png")
    try:
        photograph(8, 8, seed=0).save(tmp_path / name, "PNG")
    except OSError:
        pytest.skip("this file system has no such names")
    monkeypatch.chdir(tmp_path)
    made = contents("image", [Path(name)], known=known)
    assert known.digests([tmp_path / name, Path(name)])  # by its absolute path
    assert contents("image", [Path(name)], known=known) == made


def test_an_interrupt_keeps_what_was_seen(table: Path, known: KnownFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "TOGETHER", 4)

    def interrupted(what: str, done: int, total: int) -> None:
        if "checking" in what and done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(open_pairs(table, known=known), known=known, progress=interrupted)
    pairs = open_pairs(table)
    assert len(known.examined(f"image-{modality('image').examination}", pairs.contents["image"])) == 8


def test_a_look_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """By SIGKILL, as soon as some items are remembered; the next one gives what an undisturbed one gives."""
    folder = tmp_path / "images"
    folder.mkdir()
    data = photograph(400, 300, seed=1)
    for number in range(600):
        data.putpixel((number % 400, number // 400), (255, 0, 255))
        data.save(folder / f"{number:03d}.png", compress_level=0)
    age(*folder.iterdir())
    cache = tmp_path / "cache"
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-m", "cospace", "check", str(folder), "--json"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until, seen = time.monotonic() + 60, 0
    while not seen and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
        seen = remembered(cache / "cospace" / "examined.sqlite")
    process.kill()
    process.wait()
    kept = remembered(cache / "cospace" / "examined.sqlite")
    assert 0 < seen <= kept
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert json.loads(again.stdout) == check(open_pairs(folder)).to_json()
    assert remembered(cache / "cospace" / "examined.sqlite") == 600


def remembered(database: Path) -> int:
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as opened:
            return int(opened.execute("SELECT count(*) FROM items").fetchone()[0])
    except sqlite3.Error:
        return 0

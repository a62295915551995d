"""A manifest gives back what was read, and only while nothing of it has changed."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import write_shapes
from cospace import arrays, columns
from cospace.data import manifest, pairs
from cospace.data.pairs import Pairs, open_pairs
from cospace.data.sources import ReadOptions
from data.test_columns import _equal, damaged, folders

AGO = 100.0
"""Seconds that the clock of a reading runs late in these tests, so that all files were settled when it began."""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything gets a manifest, in a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(manifest, "LEAST", 0.0)
    return tmp_path / "cache" / "cospace" / "pairs"


@pytest.fixture
def read(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Pairs, bool]]:
    """Opens pairs as if the files were old, and says whether they were read anew."""
    began = time.time()
    calls: list[str] = []
    build = pairs.build

    def counted(*given: Any) -> Pairs:
        calls.append(given[0])
        return build(*given)

    monkeypatch.setattr(pairs, "build", counted)
    monkeypatch.setattr(manifest, "now", lambda: began + AGO + time.time())

    def opened(spec: Path, options: ReadOptions | None = None) -> tuple[Pairs, bool]:
        calls.clear()
        found = open_pairs(spec, options=options or ReadOptions())
        return found, bool(calls)

    return opened


def sources(folder: Path) -> list[Path]:
    (folder / "tables").mkdir()
    return [*damaged(folder / "tables"), *folders(folder)]


@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
def test_what_was_read_is_opened_as_it_was(
    long: bool, tmp_path: Path, read: Callable[..., tuple[Pairs, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if long:
        monkeypatch.setattr(columns, "SHORT", 2)
        monkeypatch.setattr(columns, "BLOCK", 2)
        monkeypatch.setattr(arrays, "LARGE", 1)
        monkeypatch.setattr(arrays, "TOGETHER", 5)
    (tmp_path / "data").mkdir()
    for spec in sources(tmp_path / "data"):
        first, was_read = read(spec)
        assert was_read
        second, was_read = read(spec)
        assert not was_read, spec
        _equal(first, second)
        assert first.name == second.name
        assert first.counts() == second.counts()
        assert [repr(item) for column in first.items.values() for item in column] == [
            repr(item) for column in second.items.values() for item in column
        ]
        half = range(0, len(first), 2)
        _equal(first.select(half), second.select(half))
        for pair, pairs_P2 in first.matches.pairs.items():
            assert second.matches.pairs[pair].tolist() == pairs_P2.tolist()


def a_file_says_more(table: Path) -> None:
    path = table.parent / "images" / "red-circle-0.png"
    path.write_bytes(path.read_bytes() + b"more")


def a_file_is_replaced_by_one_of_its_size_and_time(table: Path) -> None:
    path = table.parent / "images" / "red-circle-0.png"
    status, data = path.stat(), path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + b"\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def a_file_is_gone(table: Path) -> None:
    (table.parent / "images" / "red-circle-0.png").unlink()


def what_was_missing_is_there(table: Path) -> None:
    (table.parent / "images" / "gone.png").write_bytes(b"here")


def what_was_missing_is_there_in_another_case(table: Path) -> None:
    (table.parent / "images" / "Gone.PNG").write_bytes(b"here")


def what_was_found_in_another_case_is_there_as_written(table: Path) -> None:
    (table.parent / "images" / "OTHER.png").write_bytes(b"here")


def the_table_says_more(table: Path) -> None:
    table.write_text(f"{table.read_text()}images/red-circle-0.png,one more\n")


CHANGES = [
    a_file_says_more, a_file_is_replaced_by_one_of_its_size_and_time, a_file_is_gone, what_was_missing_is_there,
    what_was_missing_is_there_in_another_case, what_was_found_in_another_case_is_there_as_written, the_table_says_more,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_seen(
    change: Callable[[Path], None], tmp_path: Path, read: Callable[..., tuple[Pairs, bool]]
) -> None:
    table = write_shapes(tmp_path, copies=1)
    (tmp_path / "images" / "other.png").write_bytes(b"other")
    table.write_text(f"{table.read_text()}images/gone.png,a file that is missing\nimages/OTHER.png,a file\n")
    before, _ = read(table)
    assert not read(table)[1]
    change(table)
    after, was_read = read(table)
    assert was_read
    assert after.fingerprint != before.fingerprint or after.ids != before.ids
    assert not read(table)[1], "and what was made anew is kept"


def test_other_options_and_other_code_read_anew(
    tmp_path: Path, read: Callable[..., tuple[Pairs, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_shapes(tmp_path, copies=1)
    read(table)
    assert read(table, ReadOptions(pairs=False))[1]
    assert not read(table)[1]
    (tmp_path / "run").mkdir()
    assert not read(table)[1], "what lies beside a table is no part of it"
    monkeypatch.setattr(manifest, "_code", lambda: "of another version")
    assert read(table)[1]


def test_a_file_that_changes_while_it_is_read_is_read_again(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_shapes(tmp_path, copies=1)
    open_pairs(table)
    assert not any(kept.glob("*/MANIFEST.json")), "its files were written within one tick of the clock, perhaps"


def test_what_is_read_at_once_is_not_kept(
    tmp_path: Path, kept: Path, read: Callable[..., tuple[Pairs, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "LEAST", 1000.0)
    table = write_shapes(tmp_path, copies=1)
    read(table)
    assert read(table)[1]
    assert not kept.exists()


@pytest.mark.parametrize("damage", ["flipped", "short", "gone", "not json"])
def test_a_damaged_manifest_is_made_anew(
    damage: str, tmp_path: Path, kept: Path, read: Callable[..., tuple[Pairs, bool]]
) -> None:
    table = write_shapes(tmp_path, copies=1)
    first, _ = read(table)
    (folder,) = (path for path in kept.iterdir() if path.is_dir())
    for name in ["pairs.json", "MANIFEST.json", *(["watched.arrow", "0.npy"] if damage != "not json" else [])]:
        path = folder / name
        data = path.read_bytes()
        if damage == "gone":
            path.unlink()
        elif damage == "not json":
            path.write_bytes(b"[1, 2]")
        else:
            middle = len(data) // 2
            path.write_bytes(data[:middle] if damage == "short" else data[:middle] + b"#" + data[middle + 1 :])
        again, was_read = read(table)
        assert was_read, name
        _equal(first, again)
        assert not read(table)[1]


def test_the_oldest_go_first(
    tmp_path: Path, kept: Path, read: Callable[..., tuple[Pairs, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [write_shapes(tmp_path, copies=1, name=f"{number}.csv") for number in range(3)]
    read(tables[0])
    size = sum(path.stat().st_size for path in kept.glob("*/*"))
    monkeypatch.setattr(manifest, "LARGEST", int(2.5 * size))
    monkeypatch.setattr(manifest._Writer, "size", lambda self: size)
    read(tables[1])
    assert not read(tables[0])[1], "which makes it younger"
    read(tables[2])
    assert [read(table)[1] for table in (tables[0], tables[2])] == [False, False]
    assert sum(path.stat().st_size for path in kept.glob("*/*")) < 3 * size
    assert read(tables[1])[1]
    killed = kept / "0.tmp-999999"
    killed.mkdir()
    read(tables[0], ReadOptions(pairs=False))
    assert not killed.exists()


def _open_often(table: Path, times: int) -> None:
    manifest.LEAST = 0.0
    began = time.time()
    manifest.now = lambda: began + AGO
    expected = None
    for _ in range(times):
        found = open_pairs(table)
        expected = expected or found.fingerprint
        assert found.fingerprint == expected == open_pairs(table).fingerprint


def test_runs_at_once_do_not_disturb_each_other(tmp_path: Path, kept: Path) -> None:
    table = write_shapes(tmp_path, copies=1)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_open_often, args=(table, 8)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert not [name for name in os.listdir(kept) if "tmp" in name or "old" in name]

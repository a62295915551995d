"""What was removed from an input is gone from the bytes of its index, however often the command was killed."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from conftest import Cospace, shape_picture
from cospace import locks
from cospace.commands import index
from cospace.commands.collection import Collection
from cospace.commands.embed import embed_to_file
from cospace.commands.index import build_index
from cospace.commands.search import SearchableIndex
from cospace.data.pairs import open_pairs
from cospace.runs.run import Run
from cospace.stores import _graph, local, of_modality
from cospace.stores.local import LocalIndex
from cospace.stores.locations import location_of
from cospace.stores.thumbnails import LocalThumbnails
from cospace.types import UserError

COUNTER = itertools.count()
SECRET = "zzqxv secret words {}"


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def run(trained: Path) -> Run:
    return Run.load(trained)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixty pictures with captions beside them, every one with words of its own."""
    (tmp_path / "photos").mkdir()
    for number in range(60):
        picture = tmp_path / "photos" / f"private-{number:02d}.png"
        shape_picture(["red", "green", "blue"][number % 3], "circle", number, 40 + number).save(picture)
        picture.with_suffix(".txt").write_text(SECRET.format(f"number{number:02d}"))
    return tmp_path / "photos"


def previews(index: Path, contents: set[str]) -> dict[str, bytes]:
    kept = LocalThumbnails.open(index / "thumbnails.sqlite")
    return {content: kept.get(content, 64) or b"" for content in contents}


def holding(index: Path, what: bytes) -> list[str]:
    """Files of an index that hold these bytes, as they lie there or once a table is unpacked."""
    return [str(path.relative_to(index)) for path in index.rglob("*") if path.is_file() and what in unpacked(path)]


def unpacked(path: Path) -> bytes:
    if path.suffix == ".parquet":
        return path.read_bytes() + repr(pq.read_table(path).to_pydict()).encode()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return path.read_bytes() + b"".join(
                arrays[name].tobytes() + repr(list(arrays[name])).encode() for name in arrays
            )
    return path.read_bytes()


def remove_some(folder: Path) -> list[str]:
    names = [f"private-{number:02d}" for number in range(0, 60, 4)]
    for name in names:
        (folder / f"{name}.png").unlink()
        (folder / f"{name}.txt").unlink()
    return names


KILLS: dict[str, tuple[Any, str]] = {
    "before anything is deleted": (LocalIndex, "delete"),
    "after the items were deleted": (LocalThumbnails, "hashes"),
    "after the previews were deleted": (LocalIndex, "finish"),
    "in the clearing up": (LocalIndex, "close"),
}


@pytest.mark.parametrize(
    ("kill", "linked"),
    [
        (None, True),
        *((kill, False) for kill in KILLS),
        *(pytest.param(kill, True, marks=pytest.mark.slow) for kill in KILLS),
    ],
)
def test_what_was_removed_is_gone_from_the_bytes(
    kill: str | None, linked: bool, run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if linked:
        pytest.importorskip("faiss")
        monkeypatch.setattr(_graph, "GRAPH_ROWS", 40)
        monkeypatch.setattr(local, "with_effort", lambda segment: segment.with_measure(8, 1.0))
    out = tmp_path / "idx"
    build_index(run, folder, out)
    store = SearchableIndex.open(out).store
    before = {item.id: item.hash for item in store.items(store.select()) if item.modality == "image"}
    webp = previews(out, set(before.values()))
    names = remove_some(folder)
    gone = [content for id_, content in before.items() if any(name in id_ for name in names)]
    assert len(gone) == 15 and all(webp[content] for content in gone)
    assert holding(out, b"number04") and holding(out, webp[gone[0]][-200:])
    if kill is not None:
        with monkeypatch.context() as patch:
            owner, name = KILLS[kill]
            patch.setattr(owner, name, lambda *_: (_ for _ in ()).throw(Killed))
            with pytest.raises(Killed):
                build_index(run, folder, out)
        _let_go(out)
    build_index(run, folder, out)
    for name in names:
        for what in (name, SECRET.format(name.replace("private-", "number"))):
            assert not holding(out, what.encode()), what
    for content in gone:
        assert not holding(out, content.encode()) and not holding(out, webp[content][-200:])
    kept = SearchableIndex.open(out)
    assert sorted(item.id for item in kept.store.items(kept.store.select()) if item.modality == "image") == sorted(
        id_ for id_ in before if not any(name in id_ for name in names)
    )
    assert len(kept.search(text="number05", k=3)) == 3


def _let_go(out: Path) -> None:
    """What the system does of a process that is gone: its locks are free."""
    import gc

    gc.collect()
    for lock in out.rglob(locks.LOCK):
        lock.unlink()


def test_what_is_deleted_from_a_collection_is_gone_from_the_bytes(run: Run, folder: Path, tmp_path: Path) -> None:
    """As the service does, without a later command."""
    out = tmp_path / "idx"
    build_index(run, folder, out)
    collection = Collection.open(out)
    numbers = collection.store.select([of_modality("image")])
    gone = [item for item in collection.store.items(numbers.tolist()) if "private-07" in item.id]
    webp = previews(out, {gone[0].hash})[gone[0].hash]
    assert holding(out, b"number07") and holding(out, webp[-200:])
    assert collection.search(text="number07", k=3) and (out / "lexicon.npz").exists()
    assert collection.delete(gone[0].id) == 1
    for what in (b"private-07", b"number07", gone[0].hash.encode(), webp[-200:]):
        assert not holding(out, what), what
    assert len(collection.store) == 118 and len(collection.search(text="number08", k=3)) == 3


# ------------------------------------------------------------------------------------------------ one update


def test_an_update_is_searched_as_one(
    run: Run, folder: Path, out: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever searches meanwhile, or after a kill, sees all that the update adds and removes, or nothing of it."""
    monkeypatch.setattr(index, "PART", 8)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build_index(run, folder, out)
    before = names_of(out)
    assert len(before) == 60
    remove_some(folder)
    for number in range(60, 90):
        shape_picture("red", "square", number, 40 + number).save(folder / f"private-{number:02d}.png")
    watched: list[set[str]] = []

    def look(what: str, done: int, total: int) -> None:
        if what == "embedding images":
            watched.append(names_of(out))
            if len(watched) == 2:
                raise Killed

    with pytest.raises(Killed):
        build_index(run, folder, out, progress=look)
    assert watched == [before, before] and names_of(out) == before
    made = build_index(run, folder, out, progress=look)
    assert len(watched) > 3 and all(seen == before for seen in watched)
    after = {path.name for path in folder.iterdir() if path.suffix == ".png"}
    assert names_of(out) == after and len(after) == 75
    assert made.added < 30, "what the killed one had done is not done again"


def names_of(out: str) -> set[str]:
    """The pictures that a search of what is there now finds."""
    store = location_of(out).open()
    found = {item.id for item in store.items(store.select([of_modality("image")]).tolist())}
    store.close()
    return found


def test_an_index_whose_newest_version_is_missing_is_refused(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "idx"
    build_index(run, folder, out)
    store = LocalIndex.open(out / "vectors")
    store.delete([store.items(store.select()[:1].tolist())[0].id])  # and is killed: two versions are there
    numbers = sorted((out / "vectors" / "versions").iterdir())
    assert len(numbers) == 2
    numbers[-1].unlink()
    for opening in (SearchableIndex.open, lambda place: LocalIndex.open(place / "vectors")):
        with pytest.raises(UserError, match=f"{numbers[-1].name} is missing"):
            opening(out)


# ------------------------------------------------------------------------------------------------ two writers


PLACES = ["local", "lance", "server"]


@pytest.fixture(params=PLACES)
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an index may be made."""
    if request.param == "server":
        return f"{request.getfixturevalue('server').socket}#removed{next(COUNTER)}"
    if request.param == "lance":
        request.getfixturevalue("lancedb")
        return f"lance:{tmp_path / 'idx'}"
    return str(tmp_path / "idx")


def test_a_second_index_of_a_new_place_is_refused_at_once(run: Run, folder: Path, out: str) -> None:
    reading, go_on = threading.Event(), threading.Event()
    said: list[str] = []

    def slow(what: str, done: int, total: int) -> None:
        reading.set()
        go_on.wait(60)

    first = threading.Thread(target=lambda: said.append(build_index(run, folder, out, progress=slow).sentence()))
    first.start()
    try:
        assert reading.wait(60)
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(UserError, match=f"being written by (cospace )?process {os.getpid()}"):
                build_index(run, folder, out)
            assert time.monotonic() - began < 5
    finally:
        go_on.set()
        first.join()
    assert said and said[0].startswith("120 items: 120 added")


HOLDER = """
import sys, time
from pathlib import Path
from cospace.commands import embed
from cospace.runs.run import Run
do = embed.Job._do
def slow(job, taken):
    print("at it", flush=True)
    sys.stdin.readline()
    do(job, taken)
embed.Job._do = slow
embed.embed_to_file(Run.load(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
"""


def test_another_embedding_into_the_same_file_is_refused(
    run: Run, trained: Path, folder: Path, shapes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "v.npz"
    command = [sys.executable, "-c", HOLDER, str(trained), str(folder), str(out)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == "at it\n"
        with pytest.raises(UserError, match="is being written by another job"):
            embed_to_file(run, open_pairs(shapes), out)
    finally:
        other.communicate("\n" * 100, timeout=60)
    assert other.returncode == 0
    first = out.read_bytes()
    embed_to_file(run, open_pairs(shapes), out)
    assert out.read_bytes() != first and not out.with_name("v.npz.parts").exists()


def test_the_lock_of_a_new_index_goes_with_it(trained: Path, tmp_path: Path, cospace: Cospace) -> None:
    (tmp_path / "empty").mkdir()
    assert cospace("index", trained, tmp_path / "empty", "--out", tmp_path / "idx").code == 2
    assert not (tmp_path / "idx").exists()

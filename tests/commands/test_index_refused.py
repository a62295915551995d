"""An index that is refused is not there afterwards; one that was there is as it was."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import Cospace, write_shapes
from cospace import files
from cospace.commands.index import build_index
from cospace.commands.search import SearchableIndex
from cospace.models.space import Space
from cospace.runs.run import Run
from cospace.stores.local import LocalIndex
from cospace.stores.locations import location_of

Input = Callable[[Path], Path]


def empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def no_columns(folder: Path) -> Path:
    (folder / "t.csv").write_text("a,b\n1,2\n")
    return folder / "t.csv"


def missing(folder: Path) -> Path:
    return folder / "nowhere.csv"


def half_broken(folder: Path) -> Path:
    """Broken files after more good ones than are stored at a time, so that much has been done when one is met."""
    (folder / "photos").mkdir()
    for number in range(20):
        Image.new("RGB", (16, 16), (number * 10, 40, 90)).save(folder / "photos" / f"{number:02d}.png")
    for number in range(20, 23):
        (folder / "photos" / f"{number}.png").write_bytes(b"no picture %d" % number)
    return folder / "photos"


def one_broken(folder: Path) -> Path:
    (folder / "one").mkdir()
    (folder / "one" / "a.png").write_bytes(b"no picture")
    return folder / "one"


REFUSED = {
    empty: "holds no",
    no_columns: "cannot decide",
    missing: "does not exist",
    half_broken: "3 of 23 rows cannot be used",
    one_broken: "1 of 1 rows cannot be used",
}


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cospace.commands.index.PART", 8)


@pytest.mark.parametrize("source", REFUSED, ids=lambda source: source.__name__)
def test_a_refused_index_is_not_there(cospace: Cospace, trained: Path, tmp_path: Path, source: Input) -> None:
    given, out = source(tmp_path), tmp_path / "idx"
    assert REFUSED[source] in cospace("index", trained, given, "--out", out).refusal()
    assert not out.exists()
    assert "is no index" in cospace("search", out, "x").refusal()
    if source is half_broken:  # what is mended is indexed
        for number in range(20, 23):
            Image.new("RGB", (16, 16), (40, number, 90)).save(given / f"{number}.png")
        assert cospace("index", trained, given, "--out", out).code == 0


def content(index: SearchableIndex) -> tuple[Any, np.ndarray, set[str]]:
    """Everything that an index holds."""
    numbers = index.store.select()
    items = index.store.items(numbers.tolist())
    order = sorted(range(len(items)), key=lambda place: items[place].id)
    hashes = sorted({item.hash for item in items})
    return [items[place] for place in order], index.store.vectors(numbers)[order], index.thumbnails.known(hashes)


def same(before: tuple[Any, np.ndarray, set[str]], after: tuple[Any, np.ndarray, set[str]]) -> None:
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2] == after[2]


def upset(folder: Path) -> Path:
    """Photographs of which some are changed, some are gone and some are new when they are indexed again."""
    given = half_broken(folder)
    for number in range(20, 23):
        (given / f"{number}.png").unlink()
    return given


def change(given: Path) -> None:
    Image.new("RGB", (16, 16), (0, 0, 255)).save(given / "00.png")
    (given / "01.png").unlink()
    for number in range(30, 40):
        Image.new("RGB", (16, 16), (number, 200, 90)).save(given / f"{number}.png")
    for number in range(40, 43):
        (given / f"{number}.png").write_bytes(b"no picture %d" % number)


@pytest.mark.parametrize("where", ["folder", "server"])
@pytest.mark.parametrize("precision", ["float32", "small"])
def test_a_refused_change_changes_nothing(
    cospace: Cospace, trained: Path, tmp_path: Path, where: str, precision: str, request: pytest.FixtureRequest
) -> None:
    small = {"folder": "int8", "server": "float16"}[where] if precision == "small" else precision
    out = str(tmp_path / "idx")
    if where == "server":
        out = f"{request.getfixturevalue('server').tcp}#refused_{small}"
        cospace("index", trained, one_broken(tmp_path), "--out", out).refusal()
        assert "holds no index" in cospace("search", out, "x").refusal()
    given = upset(tmp_path)
    assert cospace("index", trained, given, "--out", out, "--precision", small).code == 0
    before = content(SearchableIndex.open(out))
    assert len(before[0]) == len(before[2]) == 20
    change(given)
    assert "3 of 32 rows cannot be used" in cospace("index", trained, given, "--out", out).refusal()
    index = SearchableIndex.open(out)
    same(before, content(index))
    assert index.thumbnails.known([item.hash for item in before[0]]) == before[2]
    for source in (empty, no_columns, missing):
        cospace("index", trained, source(tmp_path), "--out", out).refusal()
        same(before, content(SearchableIndex.open(out)))
    for number in range(40, 43):
        (given / f"{number}.png").unlink()
    made = cospace("index", trained, given, "--out", out).out
    assert "29 items: 10 added, 1 changed, 1 removed, 18 unchanged" in made


def test_another_run_changes_nothing(trained: Path, tmp_path: Path, cospace: Cospace, tiny: tuple[str, ...]) -> None:
    given, out = upset(tmp_path), tmp_path / "idx"
    assert cospace("index", trained, given, "--out", out).code == 0
    before = content(SearchableIndex.open(out))
    other = tmp_path / "other"
    steps = ("training.steps=1", "training.evaluations=0", "training.seed=1")
    table = write_shapes(tmp_path / "shapes", 2)
    assert cospace("train", table, "--val", table, "--out", other, *tiny, *steps, "--no-report").code == 0
    assert "was made with the run" in cospace("index", other, given, "--out", out).refusal()
    same(before, content(SearchableIndex.open(out)))


def test_a_full_disk_leaves_no_empty_index_and_keeps_what_was_done(
    cospace: Cospace, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, out = upset(tmp_path), tmp_path / "idx"
    real, left = files._fill, [0]

    def filling(path: Path, content: files.Content) -> None:
        left[0] -= 1
        if left[0] < 0 and path.is_relative_to(tmp_path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, content)

    monkeypatch.setattr(files, "_fill", filling)
    kept = []
    for room in range(1, 40, 3):
        left[0] = room
        made = cospace("index", trained, given, "--out", out)
        if made.code == 0:
            break
        assert "no space left on device" in made.refusal()
        if out.exists():
            kept.append(len(LocalIndex.open(out / "vectors")))
    assert kept and kept == sorted(kept) and 0 not in kept, kept
    assert f"20 items: {20 - kept[-1]} added" in made.out


def test_an_index_that_is_stopped_before_its_first_items_is_not_there(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cospace: Cospace
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    given, out = upset(tmp_path), tmp_path / "idx"
    with monkeypatch.context() as patch:
        patch.setattr(Space, "embed_prepared", stopped)
        with pytest.raises(KeyboardInterrupt):
            build_index(Run.load(trained), given, out)
    assert not out.exists()
    held = Run.load(trained)
    location_of(out).create(held.folder, str(held.space.fingerprint), held.space.width, "float32")  # as a killed one
    assert "holds no items; fill it with: cospace index" in cospace("search", out, "x").refusal()
    assert "20 added" in cospace("index", trained, given, "--out", out).out

"""Rows 13 and 27 of the suite: a hundred histories of kills of an embedding, and as many of an index."""

from __future__ import annotations

import random
import select
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from conftest import shape_picture, write_shapes
from cospace.commands.search import SearchableIndex
from cospace.stores.local import LocalIndex
from torture.figures import tried
from torture.killer import Killer
from torture.zygote import Zygote, timed

HISTORIES = 100
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    started = Zygote(tmp_path_factory.mktemp("said"))
    yield started
    started.close()


@pytest.mark.parametrize("end", ["parquet", "npz"])
def test_row_27_any_history_of_kills_gives_the_same_bytes(
    end: str, zygote: Zygote, trained: Path, tmp_path: Path
) -> None:
    pairs, folder = write_shapes(tmp_path, 12), tmp_path / "out"
    folder.mkdir()
    patches: dict[str, object] = {
        "cospace.modalities.image:Image.job_size": 16, "cospace.modalities.text:Text.job_size": 32
    }  # fmt: skip
    whole, out = tmp_path / f"whole.{end}", folder / f"v.{end}"
    longest = timed(zygote, ["embed", str(trained), str(pairs), "--out", str(whole)], patches)
    kills, altered, left = 0, [], 0
    for seed in range(HISTORIES // 2):
        killer = Killer(60_000 + seed, SIGNALS, 1.1 * longest, 0.05, zygote, patches)
        kills += killer.until_struck(
            killer.dice.randint(1, 3), "embed", trained, pairs, "--out", out, again=lambda: out.unlink(missing_ok=True)
        )
        altered += [] if out.read_bytes() == whole.read_bytes() else [(seed, killer.history)]
        left += sum(path != out for path in folder.iterdir())
    assert not altered, altered
    assert kills >= HISTORIES // 2, "every history has one"
    what = f"histories of SIGKILL, SIGTERM and SIGINT in embed to .{end} ({kills} signals)"
    tried(27, what, HISTORIES // 2, left_behind=left)


def changed(folder: Path, dice: random.Random) -> tuple[list[str], set[str]]:
    """Some pictures go, some change, some come; the words of what went, and the names of what is there."""
    paths = sorted(folder.glob("*.png"))
    gone = dice.sample(paths, dice.randint(1, 6))
    for path in gone:
        path.unlink()
        path.with_suffix(".txt").unlink()
    for path in dice.sample(sorted(set(paths) - set(gone)), dice.randint(0, 6)):
        shape_picture("red", "square", dice.randrange(10**6)).save(path)
    for number in range(dice.randint(0, 6)):
        add(folder, f"new{number}", dice.randrange(10**6))
    return [path.stem for path in gone], {path.name for path in folder.glob("*.png")}


def add(folder: Path, name: str, seed: int) -> None:
    shape_picture(["red", "green"][seed % 2], "circle", seed).save(folder / f"{name}.png")
    (folder / f"{name}.txt").write_text(f"the words of {name}x")


def content(out: Path) -> dict[str, tuple[object, ...]]:
    """By id everything that is known of an item, with its preview; every byte compared with its hash."""
    store, shown = LocalIndex.open(out / "vectors"), SearchableIndex.open(out).thumbnails
    items = store.items(store.select().tolist())
    assert len({item.id for item in items}) == len(items) == len(store)
    return {item.id: (item, shown.get(item.hash, 64), shown.get(item.hash, 256)) for item in items}


def vectors(out: Path) -> dict[str, np.ndarray]:
    store = LocalIndex.open(out / "vectors")
    numbers = store.select()
    ids = [item.id for item in store.items(numbers.tolist())]
    return dict(zip(ids, store.vectors(numbers), strict=True))


def words(out: Path) -> bytes:
    """All bytes of an index, with its tables unpacked; locks have none."""
    raw = [path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file() and "model" not in path.parts]
    tables = [repr(pq.read_table(path).to_pydict()).encode() for path in sorted(out.rglob("*.parquet"))]
    return b"\0".join([*raw, *tables])


def test_row_13_any_history_of_kills_gives_the_index_left_alone(zygote: Zygote, trained: Path, tmp_path: Path) -> None:
    base, folder, out, whole = (tmp_path / name for name in ("base", "photos", "idx", "whole"))
    (tmp_path / "pictures").mkdir()
    for number in range(40):
        add(tmp_path / "pictures", f"old{number:02d}", number)
    patches: dict[str, object] = {"cospace.commands.index:PART": 8}
    shutil.copytree(tmp_path / "pictures", folder)
    longest = timed(zygote, ["index", str(trained), str(folder), "--out", str(base)], patches)
    kills, bad, seen_between = 0, [], 0
    for seed in range(HISTORIES):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "pictures", folder)
        killer = Killer(70_000 + seed, SIGNALS, 1.1 * longest, 0.05, zygote, patches)
        before = {path.name for path in folder.glob("*.png")}
        gone, after = changed(folder, killer.dice)

        def again(places: Sequence[Path] = (out, whole), seed: int = seed) -> None:
            for place in places:
                shutil.rmtree(place, ignore_errors=True)
                if seed % 4:  # the others are made, and not brought up to date
                    shutil.copytree(base, place)

        def look(seed: int = seed, before: set[str] = before, after: set[str] = after) -> None:
            """Readers between two attempts see what was there before, or all that there is to be."""
            nonlocal seen_between
            if seed % 4:
                ids = {id_ for id_ in content_ids(out) if not id_.startswith("text/")}
                seen_between += 1
                assert ids in (before, after), (seed, ids ^ before, ids ^ after)

        command = ("index", trained, folder, "--out")
        kills += killer.until_struck(killer.dice.randint(1, 3), *command, out, again=again, between=look)
        killer.finish(*command, whole)
        made, alone = vectors(out), vectors(whole)
        same = made.keys() == alone.keys() and all(float(made[name] @ alone[name]) > 0.99999 for name in made)
        held = words(out)
        left = [name for name in gone if f"{name}x".encode() in held or f"{name}.png".encode() in held]
        if content(out) != content(whole) or not same or left:
            bad.append((seed, killer.history, left))
    assert not bad, bad
    assert kills >= HISTORIES and seen_between > HISTORIES // 2, "every history has a signal"
    tried(13, f"histories of SIGKILL, SIGTERM and SIGINT in index ({kills} signals)", HISTORIES)
    tried(13, "readers between two attempts of an update", seen_between)


def content_ids(out: Path) -> list[str]:
    store = SearchableIndex.open(out).store
    return [item.id for item in store.items(store.select().tolist())]


def test_row_39_a_reader_beside_an_update_sees_one_version(zygote: Zygote, trained: Path, tmp_path: Path) -> None:
    """In another process than the one that updates, as fast as it can."""
    folder, out = tmp_path / "photos", tmp_path / "idx"
    folder.mkdir()
    for number in range(40):
        add(folder, f"old{number:02d}", number)
    command = ["index", str(trained), str(folder), "--out", str(out)]
    timed(zygote, command)
    dice, answers, newer = random.Random(39), 0, 0
    for _ in range(HISTORIES // 5):
        before = {path.name for path in folder.glob("*.png")}
        if len(before) < 15:
            for number in range(40):
                add(folder, f"old{number:02d}", number)
        after = changed(folder, dice)[1]
        running = zygote.start(command, {"cospace.commands.index:PART": 4})
        over = False
        while not over:
            over = bool(select.select([running.watched], [], [], 0)[0])
            seen = {id_ for id_ in content_ids(out) if not id_.startswith("text/")}
            assert seen in (before, after), (seen ^ before, seen ^ after)
            answers, newer = answers + 1, newer + (seen == after != before)
        said = running.communicate()[1]
        assert running.returncode == 0, said
        assert seen == after
    assert newer < answers / 2 < answers, "most looked while the update was under way"
    tried(39, "answers beside an update of another process", answers)

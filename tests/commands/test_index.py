"""Indexing again touches only what has changed, whatever has happened in between."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import COLOURS, SHAPES, Shell, shape_picture
from cospace.commands import index as indexing
from cospace.commands.index import Indexed, build_index
from cospace.commands.search import SearchableIndex
from cospace.models.calibration import WHOLE, Fit, Relevance
from cospace.models.space import Space
from cospace.runs.run import Run
from cospace.stores import Condition, Item
from cospace.stores.entries import ROW, SOURCE
from cospace.stores.local import LocalIndex
from cospace.types import UserError


@pytest.fixture(scope="module")
def run(trained: Path) -> Run:
    return Run.load(trained)


class Counted:
    """How many items the model has embedded since the last question."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seen = 0
        embed = Space.embed_prepared

        def counting(space: Space, modality: str, prepared: Iterator[Any], *rest: Any) -> Iterator[np.ndarray]:
            def passing() -> Iterator[Any]:
                for one in prepared:
                    self.seen += 1
                    yield one

            return embed(space, modality, passing(), *rest)

        patch.setattr(Space, "embed_prepared", counting)

    def since(self) -> int:
        seen, self.seen = self.seen, 0
        return seen


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def photographs(folder: Path, seeds: Sequence[int], side: int = 40) -> Path:
    """Eight images for each seed in nested folders, and a cover beside them, so that folders are no classes."""
    for seed in seeds:
        for colour in COLOURS:
            for shape in SHAPES:
                path = folder / f"year {seed}" / shape / f"{colour}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                shape_picture(colour, shape, seed, side).save(path)
    if not (folder / "cover.png").exists():
        (folder / "cover.png").write_bytes((folder / f"year {seeds[0]}" / "circle" / "red.png").read_bytes() + b"\0")
    return folder


def counts(made: Indexed) -> tuple[int, int, int, int]:
    return made.added, made.changed, made.removed, made.unchanged


def items(index: SearchableIndex) -> dict[str, Item]:
    return {item.id: item for item in index.store.items(index.store.select().tolist())}


def vectors(index: SearchableIndex) -> dict[str, np.ndarray]:
    numbers = index.store.select()
    found = index.store.items(numbers.tolist())
    return {item.id: row for item, row in zip(found, index.store.vectors(numbers), strict=True)}


# ------------------------------------------------------------------------------------------------ what changed


def test_only_what_changed_is_embedded_again(run: Run, tmp_path: Path, embedded: Counted) -> None:
    photos, out = photographs(tmp_path / "photos", [0, 1, 2]), tmp_path / "idx"
    made = build_index(run, photos, out)
    assert counts(made) == (25, 0, 0, 0)
    assert embedded.since() == 25
    assert made.sentence() == "25 items: 25 added, 0 changed, 0 removed, 0 unchanged"

    assert counts(build_index(run, photos, out)) == (0, 0, 0, 25)
    assert embedded.since() == 0

    shape_picture("red", "square", 77, 40).save(photos / "new.png")
    shape_picture("blue", "circle", 99, 40).save(photos / "year 1" / "circle" / "blue.png")
    (photos / "year 2" / "square" / "green.png").unlink()
    made = build_index(run, photos, out)
    assert counts(made) == (1, 1, 1, 23)
    assert embedded.since() == 2
    held = items(made.index)
    assert "new.png" in held
    assert "year 2/square/green.png" not in held
    found = made.index.search(image=photos / "year 1" / "circle" / "blue.png", k=1)[0]
    assert (found.id, found.score > 0.999) == ("year 1/circle/blue.png", True)


def test_a_touched_file_is_not_a_changed_one_and_a_changed_one_cannot_hide(
    run: Run, tmp_path: Path, embedded: Counted
) -> None:
    photos, out = photographs(tmp_path / "photos", [0]), tmp_path / "idx"
    build_index(run, photos, out)
    embedded.since()
    (photos / "cover.png").touch()
    assert counts(build_index(run, photos, out)) == (0, 0, 0, 9)
    path = photos / "cover.png"
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1  # as long as before, and dated as before
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert counts(build_index(run, photos, out)) == (0, 1, 0, 8)
    assert embedded.since() == 1


def test_renamed_files_keep_their_vectors(run: Run, tmp_path: Path, embedded: Counted) -> None:
    photos, out = photographs(tmp_path / "photos", [0, 1]), tmp_path / "idx"
    before = vectors(build_index(run, photos, out).index)
    embedded.since()
    (photos / "year 0").rename(photos / "moved")
    red, blue = photos / "year 1" / "circle" / "red.png", photos / "year 1" / "circle" / "blue.png"
    red.rename(photos / "between.png")
    blue.rename(red)  # two images change places
    (photos / "between.png").rename(blue)
    made = build_index(run, photos, out)
    assert embedded.since() == 0
    assert counts(made) == (8, 2, 8, 7)
    after = vectors(made.index)
    swapped = {"year 1/circle/red.png": "year 1/circle/blue.png", "year 1/circle/blue.png": "year 1/circle/red.png"}
    for name, vector in after.items():
        np.testing.assert_array_equal(vector, before[swapped.get(name, name.replace("moved", "year 0"))])
    assert made.index.search(image=red, k=1)[0].id == "year 1/circle/red.png"


def test_words_and_labels_change_without_the_model(run: Run, tmp_path: Path, embedded: Counted) -> None:
    (tmp_path / "images").mkdir()
    for colour in COLOURS:
        shape_picture(colour, "circle", 0).save(tmp_path / "images" / f"{colour}.png")

    def table(label: str) -> Path:
        with (tmp_path / "pairs.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "text", "label", "year"])
            writer.writerows(
                [f"images/{colour}.png", f"a {colour} circle", label, str(year)] for year, colour in enumerate(COLOURS)
            )
        return tmp_path / "pairs.csv"

    made = build_index(run, table("round"), tmp_path / "idx")
    assert counts(made) == (8, 0, 0, 0)
    embedded.since()
    assert {item.extras["label"] for item in items(made.index).values()} == {"round"}
    made = build_index(run, table("ball"), tmp_path / "idx")
    assert (counts(made), embedded.since()) == ((0, 8, 0, 0), 0)
    assert len(made.index.search(text="a red circle", where=["label=ball", "year>=2"])) == 2
    assert made.index.search(text="a red circle", where=["label=round"]) == []
    with pytest.raises(UserError, match="colour"):
        made.index.search(text="a red circle", where=["colour=red"])


def test_what_is_remembered_of_an_image(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (1200, 800), (200, 0, 0)).save(folder / "large.jpg", exif=exif)
    Image.new("RGB", (30, 20), (0, 0, 200)).save(folder / "small.jpg")
    made = build_index(run, folder, tmp_path / "idx")
    large, small = (items(made.index)[name] for name in ("large.jpg", "small.jpg"))
    assert (large.width, large.height, small.width, small.height) == (800, 1200, 30, 20)
    assert (large.rgb >> 16, small.rgb & 255) == (pytest.approx(200, abs=4), pytest.approx(200, abs=4))
    assert (large.path, large.text, large.extras) == (
        str(folder / "large.jpg"),
        "",
        {SOURCE: str(folder), ROW: "large.jpg"},
    )
    assert large.hash != small.hash
    assert all(made.index.thumbnails.get(item.hash, size) for item in (large, small) for size in (64, 256))
    direct = run.space.embed(image=[folder / "large.jpg", folder / "small.jpg"])
    for vector, name in zip(direct, ("large.jpg", "small.jpg"), strict=True):
        assert vector @ vectors(made.index)[name] > 0.9999, "a vector is the same whoever makes it"


# ------------------------------------------------------------------------------------------------ several inputs


def test_inputs_with_the_same_names_live_side_by_side(run: Run, tmp_path: Path, embedded: Counted) -> None:
    first, second = photographs(tmp_path / "a" / "photos", [0]), photographs(tmp_path / "b" / "photos", [5])
    third = photographs(tmp_path / "c" / "photos", [7])
    out = tmp_path / "idx"
    build_index(run, first, out)
    build_index(run, second, out)
    made = build_index(run, third, out)
    names = set(items(made.index))
    assert len(names) == 27
    assert {"cover.png", "photos/cover.png"} <= names
    embedded.since()
    for folder in (first, second, third, first):
        assert counts(build_index(run, folder, out)) == (0, 0, 0, 9)
    name = "year 0/circle/red.png"
    (second / "year 5").rename(second / "year 0")  # now both have it
    assert counts(build_index(run, second, out)) == (8, 0, 8, 1)
    (first / name).unlink()
    assert counts(build_index(run, first, out)) == (0, 0, 1, 8)
    made = build_index(run, second, out)
    assert counts(made) == (0, 0, 0, 9), "an id stays, although the plain one is free now"
    assert {"photos/cover.png", f"photos/{name}"} <= items(made.index).keys()
    assert embedded.since() == 0
    assert len(made.index.search(image=second / "cover.png", where=[Condition(SOURCE, "=", (str(second),))])) == 9


def test_missing_ones_can_be_kept(run: Run, tmp_path: Path) -> None:
    photos, out = photographs(tmp_path / "photos", [0]), tmp_path / "idx"
    build_index(run, photos, out)
    gone = items(SearchableIndex.open(out))["year 0/circle/red.png"]
    (photos / "year 0" / "circle" / "red.png").unlink()
    assert counts(build_index(run, photos, out, keep_missing=True)) == (0, 0, 0, 8)
    made = build_index(run, photos, out)
    assert counts(made) == (0, 0, 1, 8)
    assert made.index.thumbnails.get(gone.hash, 64) is None, "what is forgotten is forgotten"


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_a_killed_indexing_goes_on(run: Run, tmp_path: Path, embedded: Counted) -> None:
    photos, out = photographs(tmp_path / "photos", [0, 1, 2, 3, 4]), tmp_path / "idx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing, "PART", 10)
        add, calls = LocalIndex.add, []

        def dying(store: LocalIndex, batch: Sequence[Item], vectors_NE: np.ndarray) -> None:
            if len(calls) == 2:
                raise KeyboardInterrupt
            calls.append(len(batch))
            add(store, batch, vectors_NE)

        patch.setattr(LocalIndex, "add", dying)
        with pytest.raises(KeyboardInterrupt):
            build_index(run, photos, out)
    assert len(SearchableIndex.open(out).store) == 20, "what was acknowledged stays"
    embedded.since()
    assert counts(build_index(run, photos, out)) == (21, 0, 0, 20)
    assert embedded.since() == 21


KILLED = """
import sys
from cospace.commands import index as indexing
from cospace.runs.run import Run
indexing.PART = 16
def report(what, done, total):
    print(what, done, flush=True)
print(indexing.build_index(Run.load(sys.argv[1]), sys.argv[2], sys.argv[3], progress=report).sentence(), flush=True)
"""


def test_kills_at_any_moment_lose_nothing_that_was_acknowledged(trained: Path, tmp_path: Path) -> None:
    photos, out = photographs(tmp_path / "photos", range(12)), tmp_path / "idx"
    command = [sys.executable, "-c", KILLED, str(trained), str(photos), str(out)]
    dice, acknowledged = np.random.default_rng(5), 0
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        done = 0
        for line in process.stdout:
            if line.startswith("embedding"):
                done = int(line.split()[-1])
                if done >= 16:
                    break
        time.sleep(dice.random() / 30)
        process.kill()
        process.wait()
        acknowledged += done
        if acknowledged:
            assert len(SearchableIndex.open(out).store) >= min(acknowledged, 97)
    last = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]
    assert last.startswith("97 items: ")
    index = SearchableIndex.open(out)
    direct = build_index(Run.load(trained), photos, tmp_path / "whole").index
    assert items(index).keys() == items(direct).keys()
    assert all(vectors(index)[name] @ vector > 0.9999 for name, vector in vectors(direct).items())
    assert index.thumbnails.known([item.hash for item in items(index).values()]) == {
        item.hash for item in items(index).values()
    }


def test_a_second_writer_is_refused_before_any_work(run: Run, tmp_path: Path, embedded: Counted) -> None:
    photos, out = photographs(tmp_path / "photos", [0]), tmp_path / "idx"
    build_index(run, photos, out)
    embedded.since()
    with LocalIndex.open(out / "vectors") as holder:
        holder.delete(())
        photographs(photos, [1])
        with pytest.raises(UserError, match="is being written by process"):
            build_index(run, photos, out)
    assert embedded.since() == 0
    assert counts(build_index(run, photos, out)) == (8, 0, 0, 9)


def test_broken_images_are_set_aside_and_good_ones_gone_bad_leave(run: Run, tmp_path: Path) -> None:
    photos, out = photographs(tmp_path / "photos", [0, 1]), tmp_path / "idx"
    (photos / "broken.jpg").write_bytes(b"no image")
    made = build_index(run, photos, out)
    assert counts(made) == (17, 0, 0, 0)
    assert [(problem.id, problem.kind) for problem in made.problems] == [("broken.jpg", "undecodable")]
    (photos / "broken.jpg").unlink()
    cover = photos / "cover.png"
    cover.write_bytes(cover.read_bytes()[:60])
    made = build_index(run, photos, out)
    assert counts(made) == (0, 0, 1, 16)
    assert "cover.png" not in items(made.index)
    for name in ("a", "b", "c"):
        (photos / f"{name}.png").write_bytes(name.encode())
    with pytest.raises(UserError, match="4 of 20 rows cannot be used"):
        build_index(run, photos, out)
    assert counts(build_index(run, photos, out, max_bad_fraction=0.5)) == (0, 0, 0, 16)


def test_lost_previews_are_made_again(run: Run, tmp_path: Path) -> None:
    photos, out = photographs(tmp_path / "photos", [0]), tmp_path / "idx"
    made = build_index(run, photos, out)
    hashes = [item.hash for item in items(made.index).values()]
    for path in out.glob("thumbnails*"):
        path.unlink()
    again = build_index(run, photos, out)
    assert again.index.thumbnails.known(hashes) == set(hashes)
    assert len(again.index.store) == len(made.index.store)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_precision_is_chosen_once(shell: Shell, run: Run, trained: Path, tmp_path: Path, precision: str) -> None:
    photos, out = photographs(tmp_path / "photos", [0]), tmp_path / "idx"
    made = shell.json("index", trained, photos, "--out", out, "--precision", precision)
    assert (made["added"], made["unchanged"]) == (9, 0)
    assert build_index(run, photos, out).unchanged == 9, "left out, it is what it is"
    other = "int8" if precision == "float32" else "float32"
    with pytest.raises(UserError, match=f"stores {precision}, not {other}"):
        build_index(run, photos, out, precision=other)
    found = SearchableIndex.open(out).search(image=photos / "cover.png", k=1)[0]
    assert found.score > 0.98


# ------------------------------------------------------------------------------------------------ probabilities


def test_a_percentage_is_for_a_match_among_all_that_is_there(run: Run, tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", [0, 1])
    index = build_index(run, photos, tmp_path / "idx").index
    assert {result.probability for result in index.search(text="a red circle")} == {None}, "too few were held out"
    fitted = Relevance({"text_to_image": {WHOLE: Fit(0.05, 1.0, 10)}})
    index.space.relevance = fitted
    try:
        index = SearchableIndex.open(tmp_path / "idx")
        index.space.relevance = fitted
        found = index.search(text="a red circle on a wide blue ground", k=20)
        assert len(found) == 17
        chances = np.array([result.probability for result in found])
        assert (np.diff(chances) <= 0).all()
        assert chances.max() <= 1
        assert {result.probability for result in index.search(image=photos / "cover.png")} == {None}, "like with like"
    finally:
        run.space.relevance = Relevance()

"""Planted copies, leaks and empty captions are found, each one, and clean data are not complained of."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from cospace import cli
from cospace.data.check import Checked, check
from cospace.data.pairs import open_pairs
from cospace.modalities.text.boilerplate import CAMERA
from photographs import photograph

COUNT = 24


def save(image: Image.Image, path: Path, quality: int = 92) -> None:
    path.parent.mkdir(exist_ok=True)
    image.save(path, quality=quality)


def table(folder: Path, name: str, rows: list[tuple[str, str]]) -> Path:
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "text"), *rows])
    return folder / name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        save(photograph(160, 120, seed=number), tmp_path / "images" / f"{number:02d}.jpg")
    return tmp_path


def rows_of(count: int) -> list[tuple[str, str]]:
    return [(f"images/{number:02d}.jpg", f"what the photograph of seed {number} shows") for number in range(count)]


def found(checked: Checked) -> dict[str, int]:
    kinds = ("duplicate_images", "near_duplicates", "leaked", "near_leaked", "repeated_text", "camera_names")
    return {kind: count for kind, count in checked.to_json().items() if kind in kinds}


def test_clean_pairs_are_not_complained_of(folder: Path) -> None:
    train, val = table(folder, "train.csv", rows_of(COUNT)[:18]), table(folder, "val.csv", rows_of(COUNT)[18:])
    checked = check(open_pairs(train), val=open_pairs(val))
    assert found(checked) == {"duplicate_images": 0, "near_duplicates": 0, "leaked": 0, "near_leaked": 0}
    assert checked.verdict == "Ready to train on."
    assert not checked.stops


def test_copies_are_counted_by_their_bytes_and_by_what_they_show(folder: Path) -> None:
    rows = rows_of(COUNT)
    for number in range(6):
        (folder / "images" / f"copy{number}.jpg").write_bytes((folder / "images" / f"{number:02d}.jpg").read_bytes())
        rows.append((f"images/copy{number}.jpg", f"another caption, {number}"))
    original = Image.open(folder / "images" / "07.jpg")
    for name, other in {
        "smaller": original.resize((80, 60)), "mirrored": ImageOps.mirror(original), "again": original,
    }.items():  # fmt: skip
        save(other, folder / "images" / f"{name}.jpg", quality=60)
        rows.append((f"images/{name}.jpg", f"the {name} one"))
    rows += [(path, f"a second caption of {path}") for path, _ in rows_of(COUNT)]  # no copy: the same file once more
    checked = check(open_pairs(table(folder, "train.csv", rows)))
    assert found(checked) == {"duplicate_images": 6, "near_duplicates": 3}
    text = checked.to_text()
    assert "6 images are copies of another file, byte for byte" in text
    assert "00.jpg = copy0.jpg" in text
    assert "07.jpg ~ smaller.jpg ~ mirrored.jpg ~ again.jpg" in text
    assert not checked.stops


def test_files_that_validation_has_too_are_named_and_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    save(ImageOps.mirror(Image.open(folder / "images" / "20.jpg")), folder / "images" / "turned.jpg", quality=70)
    rows = [*rows_of(20), ("images/turned.jpg", "a mirrored one")]
    train, val = table(folder, "train.csv", rows), table(folder, "val.csv", [*rows_of(2), *rows_of(COUNT)[20:]])
    code = cli.run(["check", str(train), "--val", str(val), "--out", str(tmp_path / "clean"), "--json"])
    data = json.loads(capsys.readouterr().out)
    assert code == 2
    assert (data["leaked"], data["near_leaked"]) == (2, 1)
    assert data["items"] == data["used"] + data["duplicates"] + data["set_aside"] + data["left_alone"] == 21
    with (tmp_path / "clean" / "quarantine.csv").open(encoding="utf-8") as file:
        assert [row["kind"] for row in csv.DictReader(file)] == ["leaked", "leaked", "near_leaked"]
    assert cli.run(["check", data["clean"], "--val", str(val)]) == 0
    assert "Ready to train on." in capsys.readouterr().out
    assert cli.run(["check", str(train), "--val", str(train)]) == 2
    assert "21 images are copies of a validation image, so figures would lie" in capsys.readouterr().out


def test_what_was_read_of_the_validation_pairs_is_counted(folder: Path) -> None:
    (folder / "images" / "cut.jpg").write_bytes((folder / "images" / "23.jpg").read_bytes()[:-300])
    rows = [*rows_of(COUNT)[20:], ("images/cut.jpg", "cut"), ("images/none.jpg", "missing")]
    checked = check(open_pairs(table(folder, "train.csv", rows_of(20))), val=open_pairs(table(folder, "val.csv", rows)))
    data = checked.to_json()
    assert (data["val/items"], data["val/used"], data["val/set_aside"]) == (6, 4, 2)
    assert "validation: val.csv: 6 read = 4 used + 2 set aside" in checked.to_text()


def test_one_file_of_many_is_named_and_stops_nothing(folder: Path) -> None:
    for number in range(120):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(
            folder / "images" / f"n{number}.png"
        )
    val = table(
        folder, "val.csv", [*[(f"images/n{number}.png", f"noise {number}") for number in range(120)], *rows_of(1)]
    )
    checked = check(open_pairs(table(folder, "train.csv", rows_of(COUNT))), val=open_pairs(val))
    assert found(checked)["leaked"] == 1
    assert "1 image is a copy of a validation image" in checked.to_text()
    assert not checked.stops


@pytest.mark.parametrize(
    ("caption", "kind"), [("Jane Doe Photography", "repeated_text"), ("IMG_20{:02d}41.jpg", "camera_names")]
)
def test_captions_that_say_nothing_stop_training(folder: Path, caption: str, kind: str) -> None:
    rows = [(path, caption.format(number)) for number, (path, _) in enumerate(rows_of(COUNT))]
    checked = check(open_pairs(table(folder, "train.csv", rows)))
    assert found(checked)[kind] == COUNT
    assert checked.stops
    assert checked.verdict.startswith("Not ready to train on: ")


def test_classes_are_captions_that_repeat_and_no_finding(folder: Path) -> None:
    rows = [(path, ("a cat", "a dog", "a bird")[number % 3]) for number, (path, _) in enumerate(rows_of(COUNT))]
    assert "repeated_text" not in found(check(open_pairs(table(folder, "train.csv", rows))))


def test_names_of_cameras() -> None:
    named = [
        "IMG_2041",
        "DSC00012.JPG",
        "20190704_101500",
        "PXL_20230101_101010123",
        "DSCN1234",
        "scan 0007.png",
        "P1010023",
    ]
    assert [bool(CAMERA.fullmatch(name)) for name in named[:-1]] == [True] * 6
    for caption in ("a dog", "1984", "7", "room 101", "IMG of a dog", "image of 3 cats", "route 66 in 2019"):
        assert not CAMERA.fullmatch(caption) or caption == "1984"


def test_what_cannot_be_read_is_no_copy_of_anything(folder: Path) -> None:
    for number in (30, 31):
        buffer = io.BytesIO()
        photograph(160, 120, seed=5).save(buffer, "JPEG", quality=number)
        (folder / "images" / f"cut{number}.jpg").write_bytes(buffer.getvalue()[:-400])
    rows = [*rows_of(COUNT), ("images/cut30.jpg", "cut"), ("images/cut31.jpg", "cut, too")]
    checked = check(open_pairs(table(folder, "train.csv", rows)))
    assert found(checked) == {"duplicate_images": 0, "near_duplicates": 0}
    assert checked.to_json()["set_aside"] == 2

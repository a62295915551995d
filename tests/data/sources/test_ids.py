"""Tables that hold bare ids: their files are found in whatever folder they lie, if there is one such file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from cospace.data.pairs import open_pairs
from cospace.data.sources import ReadOptions
from cospace.types import UserError
from sounds import encode, tone


def pictures(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, len(name), 7)).save(folder / name)


def table(folder: Path, header: str, *rows: str, name: str = "t.csv") -> Path:
    (folder / name).write_text("\n".join([header, *rows]) + "\n")
    return folder / name


@pytest.mark.parametrize("where", ["images", "img", "train", "data/pics", "."])
@pytest.mark.parametrize("column", ["image", "image_id", "ImageID", "id", "number"])
def test_ids_are_found_in_whatever_folder(tmp_path: Path, where: str, column: str) -> None:
    ids = ["00123", "000018acd19b4ad3", "b-7"]
    pictures(tmp_path, *(f"{where}/{name}.jpg" for name in ids))
    pairs = open_pairs(table(tmp_path, f"{column},caption", *(f"{name},a thing {name}" for name in ids)))
    assert pairs.items["image"] == [tmp_path / where / f"{name}.jpg" for name in ids]
    assert pairs.items["text"] == [f"a thing {name}" for name in ids]
    assert not pairs.problems
    said = f"image = {column}, text = caption" + (f"; 3 files found by their ids in {where}/" if where != "." else "")
    assert pairs.understood == said
    assert sorted(pairs.names["image"]) == sorted(ids), "a picture is called as the table calls it"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_cocos_numbers_lose_their_zeros_and_lie_in_several_folders(tmp_path: Path, kind: str) -> None:
    pictures(tmp_path, "train2017/000000397133.jpg", "val2017/000000000042.jpg", "old/COCO_val2014_000000000009.jpg")
    rows = [{"image_id": number, "caption": f"caption {number}"} for number in (397133, 42, 9)]
    text = {
        "csv": "image_id,caption\n" + "".join(f"{row['image_id']},{row['caption']}\n" for row in rows),
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "json": json.dumps(rows),
    }[kind]
    (tmp_path / f"t.{kind}").write_text(text)
    pairs = open_pairs(tmp_path / f"t.{kind}")
    assert [path.parent.name for path in pairs.items["image"]] == ["train2017", "val2017", "old"]
    assert "3 files found by their ids in old/, train2017/, val2017/" in pairs.understood


def test_an_id_of_several_files_is_set_aside_with_both_and_said_otherwise_is_found(tmp_path: Path) -> None:
    pictures(tmp_path, "images/1.jpg", "images/2.jpg", "thumbs/1.jpg", "images/3.png", "images/3.jpg")
    path = table(tmp_path, "image,caption", "1,one dog", "2,two dogs", "3,three dogs", "4,four dogs")
    pairs = open_pairs(path)
    assert pairs.items["text"] == ["two dogs"]
    kinds = {problem.id: problem.kind for problem in pairs.problems}
    assert kinds == {"t.csv:2": "ambiguous", "t.csv:4": "ambiguous", "t.csv:5": "missing"}
    reasons = {problem.id: problem.reason for problem in pairs.problems}
    assert "1 may be any of images/1.jpg and thumbs/1.jpg; write the folder" in reasons["t.csv:2"]
    assert "images/3.jpg and images/3.png" in reasons["t.csv:4"]
    named = open_pairs(path, options=ReadOptions(root=tmp_path / "images"))
    assert [path.name for path in named.items["image"]] == ["1.jpg", "2.jpg"]


def test_a_folder_with_such_a_table_is_read_as_the_table(tmp_path: Path) -> None:
    pictures(tmp_path, "images/7.jpg", "images/8.jpg", "images/9.jpg")
    table(tmp_path, "id,title", "7,seven dogs", "8,eight cats")
    pairs = open_pairs(tmp_path)
    assert pairs.items["text"] == ["seven dogs", "eight cats"]
    assert [left.name for left in pairs.left_alone] == ["images/9.jpg"]
    counts = pairs.counts()
    assert counts.items == 3 == counts.used + counts.left_alone


def test_classes_numbers_and_other_columns_are_no_ids(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"images/{number}.jpg" for number in range(40)))
    rows = [f"{number},{number % 2},a thing number {number}" for number in range(40)]
    pairs = open_pairs(table(tmp_path, "key,label,caption", *rows))
    assert [path.stem for path in pairs.items["image"]] == [str(number) for number in range(40)]
    assert pairs.extras["label"] == [str(number % 2) for number in range(40)]
    for header, row in (("a,b", "1,2"), ("year,caption", "7,a nice year")):  # numbers, of which some are files'
        with pytest.raises(UserError, match="cannot decide which column"):
            open_pairs(table(tmp_path, header, row, name="v.csv"))
    with pytest.raises(UserError, match="cannot decide which column"):
        open_pairs(table(tmp_path, "label,caption", *(f"{n % 2},a thing number {n}" for n in range(40)), name="u.csv"))


def test_a_missing_file_with_its_suffix_is_not_taken_from_another_folder(tmp_path: Path) -> None:
    pictures(tmp_path, "images/1.jpg", "thumbs/2.jpg", ".cache/3.jpg")
    pairs = open_pairs(table(tmp_path, "image,caption", "1.jpg,one dog", "2.jpg,two dogs"))
    assert [problem.kind for problem in pairs.problems] == ["missing"]
    hidden = open_pairs(table(tmp_path, "image,caption", "1,one dog", "3,three dogs"))
    assert [problem.kind for problem in hidden.problems] == ["missing"]


def test_sounds_and_pictures_of_one_name_are_each_their_own(tmp_path: Path) -> None:
    pictures(tmp_path, "images/1.jpg", "images/2.jpg")
    (tmp_path / "sounds").mkdir()
    for number in (1, 2):
        (tmp_path / "sounds" / f"{number}.wav").write_bytes(encode(tone(hertz=300 * number)))
    pairs = open_pairs(table(tmp_path, "image,audio", "1,1", "2,2"), columns={"image": "image", "audio": "audio"})
    assert [path.name for path in pairs.items["image"]] == ["1.jpg", "2.jpg"]
    assert [path.name for path in pairs.items["audio"]] == ["1.wav", "2.wav"]

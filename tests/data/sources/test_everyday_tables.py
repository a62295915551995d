"""Tables as people have them: one meaning in every format, paths as other systems write them, no input that hurts."""

from __future__ import annotations

import csv
import io
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from conftest import shape_picture
from cospace.data.pairs import open_pairs
from cospace.data.sources import ReadOptions
from cospace.types import UserError

ITEMS = ReadOptions(pairs=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures in ``pics``."""
    (tmp_path / "pics").mkdir()
    for number in range(6):
        Image.new("RGB", (4, 4), (number * 40, 0, 0)).save(tmp_path / "pics" / f"{number}.png")
    return tmp_path


def in_every_format(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Path]:
    """The same rows as csv, jsonl, ndjson, json and parquet."""
    names = list(rows[0])
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names)
    writer.writeheader()
    cells = [{k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()} for row in rows]
    writer.writerows(cells)
    lines = "\n".join(map(json.dumps, rows))
    for name, text in {"csv": buffer.getvalue(), "jsonl": lines, "ndjson": lines, "json": json.dumps(rows)}.items():
        (folder / f"t.{name}").write_text(text)
    pq.write_table(pa.Table.from_pylist(rows), folder / "t.parquet")
    return {name: folder / f"t.{name}" for name in ("csv", "jsonl", "ndjson", "json", "parquet")}


@pytest.mark.parametrize(
    "captions",
    [["a dog", "a hound"], "a dog", 7],
    ids=["a list of captions", "a text", "a number"],
)
def test_one_table_gives_the_same_pairs_in_every_format(folder: Path, captions: Any) -> None:
    rows = [{"image": f"pics/{number}.png", "caption": captions, "year": 1990 + number} for number in range(3)]
    read = {name: open_pairs(path) for name, path in in_every_format(folder, rows).items()}
    expected = [str(one) for one in captions] if isinstance(captions, list) else [str(captions)]
    for name, pairs in read.items():
        assert pairs.items["text"] == expected * 3, name
        assert pairs.items["image"] == [folder / "pics" / f"{n}.png" for n in range(3) for _ in expected], name
        assert not pairs.problems, name
        assert set(pairs.extras) == {"year"}, name


def test_answers_that_are_numbers_are_texts_in_every_format(folder: Path) -> None:
    rows = [{"image": f"pics/{n}.png", "question": "how many?", "answer": n} for n in range(3)]
    for name, path in in_every_format(folder, rows).items():
        assert open_pairs(path).items["answer"] == ["0", "1", "2"], name


def test_captions_in_several_columns_are_several_captions(folder: Path) -> None:
    (folder / "wide.csv").write_text("image;caption_1;caption_2;by\npics/0.png;one;two;Bob\npics/1.png;three;;Bob\n")
    pairs = open_pairs(folder / "wide.csv")
    assert pairs.items["text"] == ["one", "two", "three"]
    assert pairs.extras == {"by": ["Bob"] * 3}
    (folder / "two.csv").write_text("image,en,de\npics/0.png,dog,Hund\npics/1.png,cat,Katze\n")
    both = open_pairs(folder / "two.csv", columns={"image": "image", "text": ("en", "de")})
    assert both.items["text"] == ["dog", "Hund", "cat", "Katze"]
    with pytest.raises(UserError, match="image can be one column only"):
        open_pairs(folder / "two.csv", columns={"image": ("image", "en")})
    with pytest.raises(UserError, match="no column 'fr'"):
        open_pairs(folder / "two.csv", columns={"text": ("en", "fr")})


def test_cocos_captions_are_read(folder: Path) -> None:
    images = [{"id": 10 + n, "file_name": f"{n}.png"} for n in range(3)]
    notes = [{"id": k, "image_id": 10 + k % 3, "caption": f"caption {k}"} for k in range(6)]
    (folder / "captions_val.json").write_text(json.dumps({"info": {}, "images": images, "annotations": notes}))
    pairs = open_pairs(folder / "captions_val.json")
    assert pairs.items["text"] == [f"caption {k}" for k in range(6)]
    assert pairs.items["image"][0] == folder / "pics" / "0.png", "found in the folder that holds them"
    assert not pairs.problems


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_without_header_loses_no_row(folder: Path, separator: str) -> None:
    (folder / "t.csv").write_text("".join(f"pics/{n}.png{separator}caption {n}\n" for n in range(3)))
    assert open_pairs(folder / "t.csv").items["text"] == ["caption 0", "caption 1", "caption 2"]


def test_whether_there_is_a_header_can_be_said(folder: Path) -> None:
    (folder / "t.csv").write_text("0,a dog\n1,a cat\n")
    options = ReadOptions(header=False, root=folder / "pics", columns={"image": "1", "text": "2"})
    pairs = open_pairs(folder / "t.csv", options=options)
    assert list(pairs.places) == ["t.csv:1", "t.csv:2"] and not pairs.problems
    assert [path.name for path in pairs.items["image"]] == ["0.png", "1.png"], "names without their suffix"
    (folder / "u.csv").write_text("pics/0.png,x.jpg\npics/1.png,a dog\n")
    assert len(open_pairs(folder / "u.csv", columns={"image": "pics/0.png"}, options=ReadOptions(header=True)).ids) == 1


def test_a_blank_after_every_separator_belongs_to_no_field(folder: Path) -> None:
    (folder / "t.csv").write_text("image, text\npics/0.png, a dog\npics/1.png,  two blanks\n")
    pairs = open_pairs(folder / "t.csv")
    assert pairs.items["text"] == ["a dog", " two blanks"]
    assert not pairs.problems


def test_paths_are_found_as_other_systems_write_them(folder: Path) -> None:
    accented = folder / "pics" / unicodedata.normalize("NFD", "café 1.png")
    (folder / "pics" / "0.png").rename(accented)
    names = [
        "pics\\1.png", ".\\pics\\1.png", "PICS/1.PNG", "pics/1.PNG", unicodedata.normalize("NFC", "pics/café 1.png"),
        "pics/caf%C3%A9%201.png", " pics/1.png ", f"file://{folder}/pics/1.png", "./pics/../pics/1.png",
    ]  # fmt: skip
    rows = [{"image": name, "caption": f"caption {number}"} for number, name in enumerate(names)]
    for path in in_every_format(folder, rows).values():
        pairs = open_pairs(path)
        assert [problem.reason for problem in pairs.problems] == []
        assert len(set(pairs.keys["image"])) == 2


def test_a_name_that_two_files_share_but_for_case_is_not_guessed(folder: Path) -> None:
    for name, shade in (("A.png", 1), ("a.PNG", 2)):
        Image.new("RGB", (4, 4), (shade, 9, 9)).save(folder / "pics" / name)
    (folder / "t.csv").write_text("image,text\npics/a.png,which?\npics/1.png,fine\n")
    assert [problem.kind for problem in open_pairs(folder / "t.csv").problems] == ["missing"]


def test_paths_may_be_relative_to_another_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "tables").mkdir()
    (folder / "tables" / "t.csv").write_text("image,text\n1.png,a dog\n2.png,a cat\n")
    assert len(open_pairs(folder / "tables" / "t.csv").problems) == 2
    assert not open_pairs(folder / "tables" / "t.csv", options=ReadOptions(root=folder / "pics")).problems


def test_an_address_is_named_as_what_it_is(folder: Path) -> None:
    (folder / "t.csv").write_text("image,text\nhttps://example.com/a.jpg,x\npics/1.png,y\n")
    problem = open_pairs(folder / "t.csv").problems[0]
    assert (problem.kind, problem.id) == ("address", "t.csv:2")
    assert "https://example.com/a.jpg is an address" in problem.reason


def test_a_catalogue_without_captions_has_items_and_filters(folder: Path) -> None:
    (folder / "t.csv").write_text("image;year;place\n" + "".join(f"pics/{n}.png;{1990 + n};Rome\n" for n in range(3)))
    pairs = open_pairs(folder / "t.csv", options=ITEMS)
    assert len(pairs) == 3 and not pairs.problems
    assert pairs.extras == {"year": ["1990", "1991", "1992"], "place": ["Rome"] * 3}


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there are no device files here")
def test_what_is_no_regular_file_is_never_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    rows = ["/dev/zero", "pipe.png", "pics", "/dev/stdin", "pics/1.png"]
    (folder / "t.csv").write_text("image,text\n" + "".join(f"{name},caption of {name}\n" for name in rows))
    pairs = open_pairs(folder / "t.csv")
    assert list(pairs.places) == ["t.csv:6"]
    assert {problem.id for problem in pairs.problems} == {f"t.csv:{line}" for line in range(2, 6)}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '[{"image": 1}', "[]", '{"rows": []}', "[1, 2]"])
def test_json_that_is_no_table_is_one_sentence(folder: Path, text: str) -> None:
    (folder / "t.json").write_text(text)
    with pytest.raises(UserError, match=r"t\.json"):
        open_pairs(folder / "t.json")


def test_a_line_of_json_nested_without_end_costs_itself_alone(folder: Path) -> None:
    good = json.dumps({"image": "pics/1.png", "text": "fine"})
    (folder / "t.jsonl").write_text(f"{good}\n{'[' * 100_000}\n")
    pairs = open_pairs(folder / "t.jsonl")
    assert len(pairs) == 1 and pairs.problems[0].kind == "invalid json"


# ------------------------------------------------------------------------------------- what other programs write


PLAIN = "image,text\na.png,x y\nb.png,z w\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("excel.csv", PLAIN.encode("utf-16")),
        ("big.csv", b"\xfe\xff" + PLAIN.encode("utf-16-be")),
        ("mac.csv", PLAIN.replace("\n", "\r").encode()),
        ("semicolon.csv", ("sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n")).encode()),
        ("names.json", b'{"a.png": "x y", "b.png": ["z w"]}'),
        ("other.csv", PLAIN.replace("a.png", "/data/mine/a.png").replace("b.png", "C:\\pics\\b.png").encode()),
        ("stems.csv", PLAIN.replace("image", "image_id").replace(".png", "").encode()),
        ("numbers.jsonl", b'{"image_id": 1, "caption": "x y"}\n{"image_id": 2, "caption": "z w"}\n'),
    ],
)
def test_what_other_programs_write_is_read(tmp_path: Path, name: str, content: bytes) -> None:
    for seed, picture in enumerate(("a.png", "b.png", "1.png", "2.png")):
        shape_picture("red", "circle", seed).save(tmp_path / picture)
    (tmp_path / name).write_bytes(content)
    pairs = open_pairs(tmp_path / name)
    assert not pairs.problems
    expected = ["1.png", "2.png"] if name == "numbers.jsonl" else ["a.png", "b.png"]
    assert [path.name for path in pairs.items["image"]] == expected
    assert pairs.items["text"] == ["x y", "z w"]
    assert ("2 paths of another machine" in pairs.understood) == (name == "other.csv")


def test_captions_by_notepad_and_titles_of_takeout(tmp_path: Path) -> None:
    for seed, picture in enumerate(("a.png", "b.png")):
        shape_picture("red", "circle", seed).save(tmp_path / picture)
    (tmp_path / "a.txt").write_bytes("ein Caf\u00e9".encode("utf-16"))
    (tmp_path / "b.png.json").write_text('{"title": "b.png", "photoTakenTime": {}}')
    pairs = open_pairs(tmp_path, options=ReadOptions(pairs=False))
    assert [text for text in pairs.items["text"] if text] == ["ein Caf\u00e9"]
    assert [left.name for left in pairs.left_alone] == ["b.png.json"], "its title is the file's own name"


def test_flickr8ks_numbered_captions_are_read(tmp_path: Path) -> None:
    (tmp_path / "Flicker8k_Dataset").mkdir()
    rows = []
    for number in range(3):
        shape_picture("red", "circle", number).save(tmp_path / "Flicker8k_Dataset" / f"{number}_ab.jpg")
        rows += [f"{number}_ab.jpg#{k}\tA child in a pink dress, number {k} ." for k in range(5)]
    (tmp_path / "Flickr8k.token.txt").write_text("\n".join(rows) + "\n")
    for spec in (tmp_path, tmp_path / "Flickr8k.token.txt"):
        pairs = open_pairs(spec)
        assert len(pairs) == 15 and not pairs.problems
        assert len(set(pairs.keys["image"])) == 3
        assert pairs.items["text"][1] == "A child in a pink dress, number 1 ."
        assert set(pairs.names["image"]) == {f"{number}_ab.jpg" for number in range(3)}

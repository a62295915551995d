"""Tables and names that people really give, beyond the everyday ones: read, or refused with the true cause."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from cospace.data.pairs import open_pairs
from cospace.data.sources import ReadOptions, _survey
from cospace.types import UserError

ROWS = [{"image": "1.jpg", "caption": "a dog"}, {"image": "2.jpg", "caption": "a cat"}]


def encoded(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 9, 9)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (1, 2):
        (tmp_path / f"{number}.jpg").write_bytes(encoded(number))
    return tmp_path


LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = "image,caption\n1.jpg,a dog\n2.jpg,a cat\n"
READ = {
    "a list in .jsonl": ("t.jsonl", json.dumps(ROWS, indent=1).encode()),
    "lines in .json": ("t.json", LINES.encode()),
    "pandas' columns": (
        "t.json",
        json.dumps({k: {str(n): r[k] for n, r in enumerate(ROWS)} for k in ROWS[0]}).encode(),
    ),
    "columns as lists": ("t.json", json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]}).encode()),
    "two columns without a name": ("t.csv", b",,image,caption\n0,0,1.jpg,a dog\n1,1,2.jpg,a cat\n"),
    "UTF-16 without its mark": ("t.csv", CSV.encode("utf-16-le")),
    "the other UTF-16 without its mark": ("t.csv", CSV.encode("utf-16-be")),
    "a list of one image": ("t.jsonl", LINES.replace('"1.jpg"', '["1.jpg"]').replace('"2.jpg"', '["2.jpg"]').encode()),
    "addresses' questions": ("t.csv", CSV.replace(".jpg", ".jpg?width=300&x=1").encode()),
    "everything quoted in .txt": ("t.txt", b'"image"\t"caption"\n"1.jpg"\t"a dog"\n"2.jpg"\t"a cat"\n'),
    "numbers that pandas made floats": ("t.csv", b"image_id,caption\n1.0,a dog\n2.0,a cat\n"),
    "a mark and blank lines in .jsonl": ("t.jsonl", b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n\r\n").encode()),
}


@pytest.mark.parametrize("what", READ)
def test_what_is_read(folder: Path, what: str) -> None:
    name, data = READ[what]
    (folder / name).write_bytes(data)
    pairs = open_pairs(folder / name)
    assert pairs.items["text"] == ["a dog", "a cat"]
    assert pairs.items["image"] == [folder / "1.jpg", folder / "2.jpg"]
    assert not pairs.problems


INSTANCES = {
    "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1]}],
    "categories": [{"id": 3, "name": "dog"}],
}
POINTER = b"version https://git-lfs" + b"/spec/v1\noid sha256:a\nsize 1\n"
REFUSED = {
    "a zip": ("t.zip", b"PK\3\4", "unpack it and name the folder"),
    "a spreadsheet": ("t.xlsx", b"PK\3\4", "a spreadsheet; save it as CSV"),
    "arrow": ("t.feather", b"ARROW1", "save it as a table"),
    "a list of names": ("t.txt", b"1.jpg 0\n2.jpg 1\n", "does not begin like a table"),
    "a picture": ("t.png", encoded(3), "is one image; name the folder that it lies in"),
    "a pointer": ("t.csv", POINTER, "git lfs pull"),
    "a pointer to parquet": ("t.parquet", POINTER, "git lfs pull"),
    "a web page": ("t.csv", b"<!DOCTYPE html><html>\n<p>a, b</p>\n", "is a web page and not a table"),
    "boxes": ("t.json", json.dumps(INSTANCES).encode(), "without captions, such as boxes"),
    "two columns of images": ("t.csv", b"before,after,caption\n1.jpg,2.jpg,a dog\n", "say which one is meant"),
    "lists on lines": ("t.jsonl", b'["1.jpg", "a dog"]\n["2.jpg", "a cat"]\n', "line 1 is not a JSON object"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_called_what_it_is(folder: Path, what: str) -> None:
    name, data, said = REFUSED[what]
    (folder / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        open_pairs(folder / name)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(folder))


def test_names_that_are_no_paths(folder: Path) -> None:
    for spec, said in {
        "https://example.org/a.csv": "is an address; download it",
        f"file://{folder}": f"name the path: {folder}",
        "~/no-such-folder": "without quotes",
        f"{folder}/*.jpg": "is a pattern",
    }.items():
        with pytest.raises(UserError, match=said.replace("*", ".")) as caught:
            open_pairs(spec)
        assert str(caught.value).startswith(spec)


def test_boxes_are_items_where_no_captions_are_asked_for(folder: Path) -> None:
    (folder / "t.json").write_text(json.dumps(INSTANCES))
    items = open_pairs(folder / "t.json", options=ReadOptions(pairs=False))
    assert [path.name for path in items.items["image"]] == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_pictures_that_are_written_out_in_the_table(folder: Path, kind: str) -> None:
    packed = [base64.b64encode(encoded(number)).decode() for number in (1, 2, 3)]
    values = [packed[0], f"data:image/png;base64,{packed[1]}", packed[2][:-8] + "!!!!!!!!"]
    rows = [{"image": value, "caption": f"a thing called {n}"} for n, value in enumerate(values)]
    separator = "\t" if kind == "tsv" else "|"
    text = "".join(json.dumps(row) + "\n" for row in rows) if kind == "jsonl" else separator.join(rows[0]) + "\n"
    text += "" if kind == "jsonl" else "".join(separator.join(row.values()) + "\n" for row in rows)
    (folder / f"t.{kind}").write_text(text)
    pairs = open_pairs(folder / f"t.{kind}")
    assert pairs.items["image"] == [encoded(1), encoded(2)]
    assert [problem.kind for problem in pairs.problems] == ["missing"]
    assert all(len(name) < 40 for name in pairs.ids), "a picture's bytes are no name"
    assert len({*pairs.ids}) == 2


def test_a_list_of_several_images_is_set_aside_with_its_cause(folder: Path) -> None:
    (folder / "t.jsonl").write_text(
        '{"images": ["1.jpg", "2.jpg"], "text": "both"}\n{"images": ["2.jpg"], "text": "x"}\n'
    )
    pairs = open_pairs(folder / "t.jsonl")
    assert pairs.items["text"] == ["x"]
    assert [(problem.kind, problem.reason) for problem in pairs.problems] == [
        ("several files", "the row names 2 files at once; write a row for each")
    ]


def test_links_to_folders_and_folders_that_cannot_be_read_are_counted(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path_factory.mktemp("tree")
    shutil.copy(folder / "1.jpg", tree / "1.jpg")
    (tree / "linked").symlink_to(folder)
    (tree / "circle").symlink_to(tree)
    (tree / "closed").mkdir()
    (tree / "gone.jpg").symlink_to(tree / "nothing.jpg")
    (tree / "itself.jpg").symlink_to(tree / "itself.jpg")
    scan = os.scandir

    def closed(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    monkeypatch.setattr(_survey.os, "scandir", closed)
    found = open_pairs(tree, options=ReadOptions(pairs=False))
    reasons = {left.name: left.reason for left in found.left_alone}
    assert reasons == {
        "linked": "a link to a folder; name that one too",
        "circle": "a link to a folder; name that one too",
        "closed": "a folder that cannot be read: Permission denied",
        "gone.jpg": "no regular file",
        "itself.jpg": "no regular file",
    }
    assert found.counts().items == 6

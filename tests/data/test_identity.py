"""What rows and items are called: the same whatever stands before them, and text whatever bytes a name has."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import shape_picture
from cospace.data.pairs import Pairs, open_pairs
from cospace.filenames import escaped, unescaped
from cospace.stores.entries import AS_ITEMS, Input, entries, read_input

ROWS = [(f"{number % 4}.png", f"caption {number}") for number in range(12)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        shape_picture("red", "circle", number).save(tmp_path / f"{number}.png")
    return tmp_path


def table(folder: Path, rows: list[dict[str, Any]], name: str = "t.csv") -> Pairs:
    path = folder / name
    if name.endswith(".csv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return open_pairs(path)


def by_id(pairs: Pairs) -> dict[str, Any]:
    return {name: (pairs.items["image"][row], pairs.items["text"][row]) for row, name in enumerate(pairs.ids)}


def ids(pairs: Pairs, modality: str) -> list[str]:
    return [item.id for entry in entries(pairs, [modality])[modality] for item in entry.items]


def test_ids_survive_inserting_removing_and_sorting_rows(folder: Path) -> None:
    rows = [{"image": image, "text": text} for image, text in ROWS]
    before = by_id(table(folder, rows))
    shuffled = [*random.Random(0).sample(rows, len(rows)), {"image": "3.png", "text": "one more"}][2:]
    after = by_id(table(folder, shuffled))
    assert len(after) == 11
    assert all(after[name] == before[name] for name in after.keys() & before.keys())
    assert len(after.keys() & before.keys()) == 10
    assert ids(table(folder, rows), "image") == [f"{number}.png" for number in range(4)]


def test_a_table_gives_the_same_ids_in_every_format(folder: Path) -> None:
    rows = [{"image": image, "text": text} for image, text in ROWS]
    lists = [{"image": f"{n}.png", "text": [text for image, text in ROWS if image == f"{n}.png"]} for n in range(4)]
    wide = [{"image": row["image"], **{f"caption_{i}": text for i, text in enumerate(row["text"])}} for row in lists]
    found = [table(folder, rows, name) for name in ("t.csv", "t.jsonl", "t.parquet")]
    found += [table(folder, lists, "l.jsonl"), table(folder, lists, "l.parquet"), table(folder, wide, "w.csv")]
    assert len({tuple(sorted(pairs.ids)) for pairs in found}) == 1
    assert {tuple(ids(pairs, "image")) for pairs in found} == {("0.png", "1.png", "2.png", "3.png")}


@pytest.mark.parametrize("column", ["id", "ID", " Id "])
def test_a_persons_own_ids_are_the_ids(folder: Path, column: str) -> None:
    pairs = table(folder, [{column: f"A{n}", "image": f"{n}.png", "text": f"a thing {n}"} for n in range(3)])
    assert list(pairs.ids) == ids(pairs, "image") == ["A0", "A1", "A2"]
    assert ids(pairs, "text") == ["text/A0", "text/A1", "text/A2"]
    assert list(pairs.extras[column.strip()]) == ["A0", "A1", "A2"], "and a column to filter by"
    assert pairs.place(0) == "A0"


def test_an_id_of_several_captions_is_that_of_the_image(folder: Path) -> None:
    rows = [{"id": 1000 + n % 2, "image": f"{n % 2}.png", "text": f"words {n}"} for n in range(6)]
    pairs = table(folder, rows, "t.jsonl")
    assert ids(pairs, "image") == ["1000", "1001"]
    assert len(set(pairs.ids)) == 6 and all(name.startswith(("1000#", "1001#")) for name in pairs.ids)


def test_ids_that_are_no_identity_are_made_one(folder: Path) -> None:
    """One id of two files, ids left blank, and equal rows."""
    rows = [
        {"id": "x", "image": "0.png", "text": "a"},
        {"id": "x", "image": "1.png", "text": "b"},
        {"id": "", "image": "2.png", "text": "c"},
        {"id": "y", "image": "3.png", "text": "d"},
        {"id": "y", "image": "3.png", "text": "d"},
    ]
    pairs = table(folder, rows)
    assert len(set(pairs.ids)) == 5
    assert pairs.ids[2] == "2.png"
    images = ids(pairs, "image")
    assert len(images) == 4 and images[3] == "y" and "x" not in images


def test_images_that_lie_in_the_table_are_called_by_their_paths_or_their_bytes(folder: Path) -> None:
    data = [(folder / f"{n}.png").read_bytes() for n in range(3)]
    named = [{"image": {"bytes": one, "path": f"{n}.png"}, "text": f"t{n}"} for n, one in enumerate(data)]
    assert ids(table(folder, named, "n.parquet"), "image") == ["0.png", "1.png", "2.png"]
    alike = [{"image": {"bytes": one, "path": "image.png"}, "text": f"t{n}"} for n, one in enumerate(data)]
    assert len(set(ids(table(folder, alike, "a.parquet"), "image"))) == 3
    bare = [{"image": one, "text": f"t{n}"} for n, one in enumerate(data)]
    first = table(folder, bare, "b.parquet")
    assert set(ids(table(folder, bare[::-1], "r.parquet"), "image")) == set(ids(first, "image"))


def test_every_id_of_equal_files_is_an_item_and_labels_are_their_own(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        shape_picture("red", "circle", 1).save(tmp_path / label / "same.png")
        shape_picture("blue", "circle" if label == "cat" else "square", 0).save(tmp_path / label / f"{label}.png")
    (entry, *_) = [
        one for one in entries(read_input(Input(tmp_path, AS_ITEMS)), ["image"])["image"] if len(one.items) > 1
    ]
    assert [(item.id, item.extras["label"]) for item in entry.items] == [
        ("cat/same.png", "cat"),
        ("dog/same.png", "dog"),
    ]


def test_what_several_rows_say_of_one_file_is_remembered(folder: Path) -> None:
    rows = [{"image": "0.png", "text": f"t{n}", "label": label} for n, label in enumerate(("cat", "pet", "cat"))]
    (entry,) = entries(table(folder, rows), ["image"])["image"]
    assert entry.item.extras["label"] == "cat | pet"


def test_a_folder_called_text_loses_nothing(folder: Path) -> None:
    (folder / "text").mkdir()
    shape_picture("blue", "square", 0).save(folder / "text" / "0.png")
    (folder / "0.txt").write_text("a red circle\n")
    found = entries(read_input(Input(folder, AS_ITEMS)), ["image", "text"])
    names = [item.id for group in found.values() for entry in group for item in entry.items]
    assert len(set(names)) == len(names) == 6
    assert "./text/0.png" in names


def test_lines_of_a_text_file_are_called_by_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("one\u2028still one\n\ntwo\x0cstill two\x85\r\nthree\nthree\n", encoding="utf-8", newline="")
    found = entries(read_input(path), ["text"])["text"]
    named = {item.id: item.text for entry in found for item in entry.items}
    assert named == {
        "text/1": "one\u2028still one",
        "text/3": "two\x0cstill two\x85",
        "text/4": "three",
        "text/5": "three",
    }


# ------------------------------------------------------------------------------------------- names that are no UTF-8

odd = st.text(st.sampled_from("\\xuéed9a0\udce9\udc80\udcff\ud83d\n/ "), max_size=12)


@given(odd, odd)
def test_names_are_written_as_text_and_read_back(one: str, other: str) -> None:
    assert unescaped(escaped(one)) == one
    escaped(one).encode()
    assert (escaped(one) == escaped(other)) == (one == other)


def test_names_that_are_not_utf8_are_items_like_others(tmp_path: Path) -> None:
    place = os.fsencode(tmp_path / "p")
    os.makedirs(place + b"/m\xe4rz")
    data = io.BytesIO()
    shape_picture("red", "circle", 1).save(data, "PNG")
    for name in (b"caf\xe9.png", b"m\xe4rz/caf\xe9.png", b"caf\\xe9.png"):
        Path(os.fsdecode(place + b"/" + name)).write_bytes(data.getvalue() + name)
    found = entries(read_input(tmp_path / "p"), ["image"])["image"]
    assert sorted(item.id for entry in found for item in entry.items) == [
        r"caf\\xe9.png",
        r"caf\xe9.png",
        r"m\xe4rz/caf\xe9.png",
    ]
    assert all(Path(unescaped(entry.item.path)).is_file() for entry in found)
    with tarfile.open(tmp_path / "s.tar", "w", encoding="latin-1") as tar:
        for suffix, content in ((".png", data.getvalue()), (".txt", b"a caption")):
            member = tarfile.TarInfo(f"caf\xe9{suffix}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    pairs = open_pairs(tmp_path / "s.tar")
    assert (list(pairs.ids), ids(pairs, "image")) == (["café#1"], ["café.png"])

"""Folders as people have them: what is meant is read, and every other file is counted with its reason."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cospace.data.check import check
from cospace.data.pairs import Pairs, open_pairs
from cospace.data.sources import ReadOptions
from cospace.types import UserError

ITEMS = ReadOptions(pairs=False)


def encoded(shade: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade * 40 % 256, shade, 7)).save(buffer, kind)
    return buffer.getvalue()


def pictures(folder: Path, count: int, name: str = "IMG_{:04}.png", first: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name.format(number) for number in range(first, first + count)]
    for number, path in enumerate(paths, first):
        path.write_bytes(encoded(number))
    return paths


def shard(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def reasons(pairs: Pairs) -> dict[str, str]:
    return {left.name: left.reason for left in pairs.left_alone}


def holds(pairs: Pairs, files: int | None = None) -> None:
    """The sum of counting, and that every file of a folder is in it."""
    counts = pairs.counts()
    assert counts.items == counts.used + counts.duplicates + counts.set_aside + counts.left_alone
    assert counts.rows == len(pairs) + len(pairs.problems)
    if files is not None:
        assert counts.items == files


# ------------------------------------------------------------------------------ one stray file changes no meaning


def test_a_note_beside_one_picture_costs_no_other(tmp_path: Path) -> None:
    pictures(tmp_path, 20)
    (tmp_path / "IMG_0001.txt").write_text("remember the milk")
    items = open_pairs(tmp_path, options=ITEMS)
    assert len(items) == 20 and not items.problems
    assert items.items["text"].count("remember the milk") == 1
    asked = open_pairs(tmp_path)
    assert len(asked) == 1 and len(asked.problems) == 19
    holds(asked, 20)


@pytest.mark.parametrize("name", ["export.csv", "log.jsonl", "meta.parquet", "data.ndjson", "backup.tar", "more.tgz"])
@pytest.mark.parametrize("options", [ITEMS, ReadOptions()], ids=["items", "pairs"])
def test_a_stray_table_or_archive_hides_no_picture(tmp_path: Path, name: str, options: ReadOptions) -> None:
    pictures(tmp_path, 5)
    if name.endswith("parquet"):
        pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / name)
    elif name.endswith("tar"):
        shard(tmp_path / name, {"x.png": encoded(99)})
    else:
        (tmp_path / name).write_text("a,b\n1,2\n")
    pairs = open_pairs(tmp_path, options=options)
    assert len(pairs) == 5
    assert reasons(pairs) == {name: "a table or tar, which is read where it is named"}
    holds(pairs, 6)


def test_own_results_in_the_input_are_left_alone(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "cat", 3) + pictures(tmp_path / "dog", 3, first=3)
    checked = check(open_pairs(tmp_path))
    checked.write(tmp_path)
    again = open_pairs(tmp_path)
    assert len(again) == len(paths)
    assert set(reasons(again)) == {"clean.csv", "findings.csv", "quarantine.csv"}
    holds(again, 9)


def test_class_folders_stay_classes_beside_a_note(tmp_path: Path) -> None:
    pictures(tmp_path / "cat", 5)
    pictures(tmp_path / "dog", 5, first=5)
    (tmp_path / "cat" / "IMG_0001.txt").write_text("blurred")
    pairs = open_pairs(tmp_path)
    assert sorted(set(pairs.items["text"])) == ["cat", "dog"]
    assert "cat/IMG_0001" in reasons(pairs) or "cat/IMG_0001.txt" in reasons(pairs)
    holds(pairs, 11)


def test_what_a_folder_means_can_be_said(tmp_path: Path) -> None:
    pictures(tmp_path, 4)
    shard(tmp_path / "a.tar", {"x.png": encoded(99), "x.txt": b"in the tar"})
    (tmp_path / "b.csv").write_text("image,text\nIMG_0000.png,in the table\n")
    assert open_pairs(tmp_path, options=ReadOptions(form="shards")).items["text"] == ["in the tar"]
    assert open_pairs(tmp_path, options=ReadOptions(form="table")).items["text"] == ["in the table"]
    assert len(open_pairs(tmp_path, options=ReadOptions(form="files"))) == 4
    assert len(open_pairs(tmp_path, options=ReadOptions(exclude=("IMG_0001*",), form="files"))) == 3


def test_what_lies_beside_is_counted_once_however_the_folder_is_read(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    (tmp_path / "IMG_0001.txt").write_text("a caption")
    (tmp_path / "README.txt").write_text("about these pictures")
    shard(tmp_path / "a.tar", {"x.png": encoded(99), "x.txt": b"in the tar", "README.txt": b"about this tar"})
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "b.csv").write_text("image,text\n../raw/../IMG_0000.png,in the table\n")
    files = 7
    items = open_pairs(tmp_path, options=ITEMS)
    assert reasons(items)["README.txt"] == "a text file that belongs to no file"
    holds(items, files - 1)  # a picture and its caption are one
    shards = open_pairs(tmp_path, options=ReadOptions(pairs=False, form="shards"))
    assert [left.name for left in shards.left_alone].count("IMG_0000.png") == 1
    assert reasons(shards)["README.txt"] == "beside the shards, not in them"
    holds(shards, 1 + 1 + files - 1)  # what is in the tar: a picture with its caption, and a text that belongs to none
    table = open_pairs(tmp_path, options=ReadOptions(form="table"))
    assert table.items["text"] == ["in the table"]
    assert "IMG_0000.png" not in reasons(table)
    assert len(table.left_alone) == len(reasons(table)) == files - 2


# --------------------------------------------------------------------------------------------- layouts people have


def test_img2dataset_writes_shards_with_tables_beside_them(tmp_path: Path) -> None:
    members = {}
    for number in range(3):
        members |= {
            f"{number:09}.png": encoded(number),
            f"{number:09}.txt": b"a dog",
            f"{number:09}.json": b'{"sha": 1}',
        }
    shard(tmp_path / "00000.tar", members)
    pq.write_table(pa.table({"url": ["x"], "caption": ["a dog"]}), tmp_path / "00000.parquet")
    (tmp_path / "00000_stats.json").write_text("{}")
    pairs = open_pairs(tmp_path)
    assert pairs.items["text"] == ["a dog"] * 3
    assert {"00000.parquet", "00000_stats.json"} <= reasons(pairs).keys()
    holds(pairs, 3 + 3 + 2)


def test_img2dataset_writes_files_with_a_json_beside_each(tmp_path: Path) -> None:
    for number, path in enumerate(pictures(tmp_path / "00000", 3, "{:09}.png")):
        path.with_suffix(".txt").write_text(f"caption {number}")
        path.with_suffix(".json").write_text(json.dumps({"caption": "another", "key": number}))
    (tmp_path / "00000_stats.json").write_text("{}")
    pairs = open_pairs(tmp_path)
    assert pairs.items["text"] == ["caption 0", "caption 1", "caption 2"]
    holds(pairs)


def test_img2dataset_writes_numbered_parquet_files(tmp_path: Path) -> None:
    for part in range(2):
        rows = {"caption": [f"caption {part}"], "jpg": [encoded(part, "JPEG")]}
        pq.write_table(pa.table(rows), tmp_path / f"{part:05}.parquet")
    assert open_pairs(tmp_path).items["text"] == ["caption 0", "caption 1"]


def test_hugging_faces_imagefolder_is_read_as_its_table_says(tmp_path: Path) -> None:
    for part, first in (("train", 0), ("test", 10)):
        paths = pictures(tmp_path / part, 4, first=first)
        lines = [json.dumps({"file_name": path.name, "text": f"{part} {path.stem}"}) for path in paths]
        (tmp_path / part / "metadata.jsonl").write_text("\n".join(lines))
    pairs = open_pairs(tmp_path)
    assert pairs.items["text"] == [f"train IMG_{number:04}" for number in range(4)]
    assert sum(name.startswith("test/") for name in reasons(pairs)) == 5
    assert open_pairs(tmp_path / "test").items["text"][0] == "test IMG_0010"
    assert len(open_pairs(tmp_path, options=ITEMS)) == 8, "an index takes all parts"


def test_the_parts_of_a_data_set_are_no_classes(tmp_path: Path) -> None:
    for part, first in (("train", 0), ("val", 20)):
        for number, kind in enumerate(("cat", "dog")):
            pictures(tmp_path / part / kind, 3, first=first + 10 * number)
    pairs = open_pairs(tmp_path)
    assert sorted(set(pairs.items["text"])) == ["cat", "dog"] and len(pairs) == 6
    holds(pairs, 12)
    other = tmp_path / "other"
    pictures(other / "test" / "cat", 1)
    pictures(other / "dev" / "cat", 1)
    with pytest.raises(UserError, match="name one: .*dev or .*test"):
        open_pairs(other)


def test_a_yolo_tree_has_no_captions(tmp_path: Path) -> None:
    for path in pictures(tmp_path / "images" / "train", 3) + pictures(tmp_path / "images" / "val", 3, first=3):
        label = tmp_path / "labels" / path.parent.name / f"{path.stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("0 0.5 0.5 0.1 0.1\n")
    assert list(open_pairs(tmp_path, options=ITEMS).items) == ["image"]
    beside = pictures(tmp_path / "flat", 2)
    for path in beside:
        path.with_suffix(".txt").write_text("7 0.5 0.5 0.25 1e-3\n")
    pairs = open_pairs(tmp_path / "flat")
    assert "text" not in pairs.items
    holds(pairs, 4)


def test_kaggles_flickr8k_is_read_as_it_is_downloaded(tmp_path: Path) -> None:
    pictures(tmp_path / "Images", 3)
    rows = [f"IMG_{n:04}.png,a dog number {n} {k}" for n in range(3) for k in range(5)]
    (tmp_path / "captions.txt").write_text("\n".join(["image,caption", *rows]))
    for spec in (tmp_path, tmp_path / "captions.txt"):
        pairs = open_pairs(spec)
        assert len(pairs) == 15 and not pairs.problems
        assert len(set(pairs.keys["image"])) == 3


@pytest.mark.parametrize("name", ["a.caption", "a.png.txt", "a.json", "a.txt"])
def test_captions_beside_a_picture_have_several_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.png").write_bytes(encoded(1))
    text = json.dumps({"caption": "a red bus"}) if name.endswith("json") else "a red bus"
    (tmp_path / name).write_text(text)
    pairs = open_pairs(tmp_path)
    assert pairs.items["text"] == ["a red bus"]


# --------------------------------------------------------------------------------------- nothing is left uncounted


def test_kinds_are_recognised_or_named(tmp_path: Path) -> None:
    for number, name in enumerate(["a.jpg", "b.jfif", "c.jpe", "d.avif", "e.heic", "noname", "odd.xyz"]):
        (tmp_path / name).write_bytes(encoded(number, "JPEG"))
    (tmp_path / "copy.jpg").write_bytes(encoded(0, "JPEG"))
    (tmp_path / "f.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n")
    (tmp_path / "g.doc").write_text("x")
    for system in ("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", ".hidden"):
        pictures(tmp_path / system, 1)
    pairs = open_pairs(tmp_path, options=ITEMS)
    assert list(pairs.ids) == ["a.jpg", "b.jfif", "c.jpe", "copy.jpg", "d.avif", "e.heic", "noname", "odd.xyz"]
    assert pairs.counts().duplicates == 1
    assert reasons(pairs)["f.jp2"] == ".jp2 is not read; save it as JPEG or PNG"
    assert sum(reason == "made by the system" for reason in reasons(pairs).values()) == 5
    holds(pairs, 8 + 2 + 6)


@pytest.mark.parametrize(
    "members",
    [
        {"img.v2.png": encoded(1), "img.v2.txt": b"one", "img.v3.png": encoded(2), "img.v3.txt": b"two"},
        {"x_png.rf.1a2b.png": encoded(1), "x_png.rf.1a2b.json": b'{"caption": "one"}',
         "x_png.rf.9c.png": encoded(2), "x_png.rf.9c.json": b'{"text": "two"}'},
        {"0001.png": encoded(1), "0001.txt": b"one", "0001.cls": b"3", "2.png": encoded(2), "2.txt": b"two"},
    ],
)  # fmt: skip
def test_members_of_a_tar_find_their_captions(tmp_path: Path, members: dict[str, bytes]) -> None:
    shard(tmp_path / "a.tar", members)
    pairs = open_pairs(tmp_path / "a.tar")
    assert sorted(pairs.items["text"]) == ["one", "two"]
    assert not pairs.problems
    holds(pairs)


FILE = st.sampled_from(
    ["1.png", "2.png", "2.txt", "3.jpg", "3.png.txt", "note.txt", "x.csv", "y.doc", "z.heic", "1.json", "s.tar", ".h"]
)
FOLDER = st.sampled_from(["", "cat/", "dog/", "train/", "test/", "@eaDir/", "images/cat/"])


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.sets(st.tuples(FOLDER, FILE), min_size=1, max_size=14), pairs=st.booleans())
def test_the_sum_holds_over_trees(
    tmp_path_factory: pytest.TempPathFactory, names: set[tuple[str, str]], pairs: bool
) -> None:
    """Files seen = items used + duplicates + set aside + left alone, where every item is a file of its own."""
    folder = tmp_path_factory.mktemp("tree")
    writes: dict[str, Callable[[int], bytes]] = {
        ".png": encoded, ".jpg": lambda n: encoded(n, "JPEG"), ".txt": lambda n: b"a caption\n",
        ".json": lambda n: b'{"caption": "x"}', ".csv": lambda n: b"a,b\n1,2\n", ".tar": lambda n: b"",
    }  # fmt: skip
    for number, (above, name) in enumerate(sorted(names)):
        path = folder / above / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(writes.get(path.suffix, lambda n: b"x")(number % 3))
    try:
        read = open_pairs(folder, options=ReadOptions(pairs=pairs))
    except UserError:
        return
    holds(read)
    seen = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    used = {path.relative_to(folder).as_posix() for path in read.items.get("image", []) if path is not None}
    left = set(reasons(read))
    aside = {problem.id.partition("#")[0] for problem in read.problems}
    beside = {name for name in seen if name.endswith((".txt", ".json"))}  # captions of what is used
    assert not used & left
    stems = {stem for name in used for stem in (name, name.rpartition(".")[0])}
    for name in beside - left:
        stem = name.rpartition(".")[0]
        assert stem in stems | aside, f"{name} belongs to nothing that is used, and nobody says so"
    for name in seen - used - left - beside:
        assert any(name.rpartition(".")[0] == stem or name == stem for stem in aside), (name, aside)


@pytest.mark.parametrize("stray", ["backup.tar", "export.parquet", "broken.tar"])
def test_files_without_suffix_are_hidden_by_no_stray_archive(tmp_path: Path, stray: str) -> None:
    for number in range(3):
        (tmp_path / f"photo{number}").write_bytes(encoded(number))
    if stray == "export.parquet":
        pq.write_table(pa.table({"a": [1]}), tmp_path / stray)
    elif stray == "backup.tar":
        shard(tmp_path / stray, {"9.png": encoded(9)})
    else:
        (tmp_path / stray).write_bytes(b"")
    found = open_pairs(tmp_path, options=ITEMS)
    assert sorted(found.ids) == ["photo0", "photo1", "photo2"]
    assert [left.name for left in found.left_alone] == [stray]

"""The check finds every kind of bad picture, counts, and writes a table that reads back clean."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cospace.data.check import check
from cospace.data.pairs import Pairs, build, open_pairs
from cospace.data.sources import Rows
from cospace.types import UserError


def png(shade: int, size: tuple[int, int] = (8, 6)) -> bytes:
    """A picture of noise, another one for each shade."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(shade).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Five rows of which two share a broken picture and one has none."""
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "b.png").write_bytes(png(2, (20, 10)))
    (tmp_path / "cut.png").write_bytes(png(3)[:-20])
    rows = 'image,text,n\na.png,a red bus,1\nb.png,"NA",2\ncut.png,x,3\ncut.png,y,4\nnone.png,z,5\na.png,a red bus,6\n'
    (tmp_path / "t.csv").write_text(rows)
    return tmp_path / "t.csv"


def test_counts_and_problems(table: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    checked = check(open_pairs(table), progress=lambda *step: steps.append(step))
    assert checked.to_json() == {
        "name": "t.csv",
        "items": 6,
        "rows": 6,
        "used": 2,
        "duplicates": 1,
        "set_aside": 3,
        "left_alone": 0,
        "unique_images": 2,
        "unique_texts": 2,
        "groups": 2,
        "largest_component": pytest.approx(2 / 3),
        "joined": 0,
        "missing": 1,
        "undecodable": 0,
        "empty_text": 0,
        "truncated": 2,
        "duplicate_images": 0,
        "near_duplicates": 0,
        "tiny": 2,
        **dict.fromkeys(("blank", "dark", "bright", "low_contrast", "blurred", "extreme_aspect", "animated"), 0),
        "text_words/min": 1,
        "text_words/median": 1.0,
        "text_words/max": 3,
        "image_width/min": 8,
        "image_width/median": 14.0,
        "image_width/max": 20,
        "image_height/min": 6,
        "image_height/median": 8.0,
        "image_height/max": 10,
        "contradictory_labels": 0,
        **dict.fromkeys(("wrong_encoding", "markup", "wrong_language", "over_long", "boilerplate"), 0),
        **dict.fromkeys(("duplicate_text", "class_imbalance"), 0),
        "problems/truncated": 2,
        "problems/missing": 1,
        "fingerprint": checked.pairs.fingerprint,
    }
    assert steps == [("checking images", done, 3) for done in (1, 2, 3)]
    assert list(checked.problems) == ["truncated", "missing"]
    assert [problem.id for problem in checked.problems["truncated"]] == ["t.csv:4", "t.csv:5"]


def filed(*rows: tuple[int, str]) -> Pairs:
    items = {"image": [png(shade) for shade, _ in rows], "text": [text for _, text in rows]}
    return build("filed", Rows([f"r{n}" for n in range(len(rows))], items))


def test_an_image_that_joins_what_is_apart_is_named() -> None:
    checked = check(filed((1, "cat"), (2, "cat"), (3, "dog"), (4, "dog"), (2, "dog"), (5, "bird")))
    assert checked.counts["joined"] == 1
    assert checked.counts["largest_component"] == pytest.approx(5 / 6)
    assert checked.to_json()["joined/examples"] == ['the image r1 is filed under "cat" and "dog"']
    assert "the image r1 is filed under" in checked.to_text()
    assert checked.to_text().endswith("Ready to train on.")


@pytest.mark.parametrize(
    "rows",
    [
        [(1, "a"), (1, "b"), (2, "a"), (2, "b")],  # a copy with the same captions
        [(1, "a"), (1, "b"), (2, "a"), (3, "c")],  # a caption of its own
        [(1, "a"), (2, "a"), (3, "a")],
    ],
)
def test_pictures_that_join_nothing_are_not_counted(rows: list[tuple[int, str]]) -> None:
    checked = check(filed(*rows))
    assert checked.counts["joined"] == 0
    assert "joined/examples" not in checked.to_json()


def test_pictures_can_be_left_undecoded(table: Path) -> None:
    checked = check(open_pairs(table), decode=False)
    assert checked.counts["used"] + checked.counts["duplicates"] == 5
    assert "image_width/min" not in checked.counts
    assert checked.counts["text_words/max"] == 3


def test_the_report_names_rows_and_says_what_to_do(table: Path) -> None:
    text = check(open_pairs(table)).to_text()
    assert "t.csv:4" in text
    assert "2 truncated: copy or download these files again." in text
    assert "More than 1 % of the rows cannot be used" in text
    good = build("good", Rows(["r"], {"image": [png(1)], "text": ["x"]}))
    assert check(good).to_text().endswith("Ready to train on.")
    assert "no captions" in check(build("good", Rows(["r"], {"image": [png(1)]}))).to_text()
    assert "No row can be used" in check(build("bad", Rows(["r"], {"image": [b"junk"], "text": ["x"]}))).to_text()


def test_the_clean_table_reads_back_clean(table: Path, tmp_path: Path) -> None:
    checked = check(open_pairs(table))
    path = checked.write(tmp_path / "out" / "clean")
    assert path.name == "clean.csv"
    again = open_pairs(path)
    assert not again.problems
    assert again.items["text"] == ["a red bus", "NA", "a red bus"]
    assert again.extras == {"n": ["1", "2", "6"]}
    assert [item.resolve() for item in again.items["image"]] == list(checked.pairs.items["image"])
    with (path.parent / "quarantine.csv").open(newline="") as file:
        quarantine = list(csv.DictReader(file))
    assert [(row["id"], row["kind"]) for row in quarantine] == [
        ("t.csv:6", "missing"),
        ("t.csv:4", "truncated"),
        ("t.csv:5", "truncated"),
    ]


def test_captions_with_line_ends_go_to_jsonl(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    captions = ["one\ntwo", "NA", ' "quoted" ', "r\r"]
    rows = [json.dumps({"image": "a.png", "text": text, "image_": "x"}) for text in captions]
    (tmp_path / "t.jsonl").write_text("\n".join(rows))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "clean.csv").write_text("of an earlier check")
    path = check(open_pairs(tmp_path / "t.jsonl")).write(tmp_path / "out")
    assert path.name == "clean.jsonl"
    assert not (tmp_path / "out" / "clean.csv").exists()
    assert open_pairs(path).items["text"] == captions


def test_bytes_that_are_no_text_pass_through_the_other_columns(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "t.csv").write_bytes(b"image,text,note\na.png,x,caf\xe9\n")
    path = check(open_pairs(tmp_path / "t.csv")).write(tmp_path / "out")
    assert path.read_bytes().endswith(b"x,caf\xe9\n")


def test_pictures_without_files_become_files(tmp_path: Path) -> None:
    members = {"0.png": png(7), "0.txt": b"zero", "1.png": b"junk", "1.txt": b"one"}
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    checked = check(open_pairs(tmp_path / "s.tar"))
    assert {kind: len(found) for kind, found in checked.problems.items()} == {"undecodable": 1}
    again = open_pairs(checked.write(tmp_path / "out"))
    assert again.items["text"] == ["zero"]
    assert again.items["image"][0].read_bytes() == png(7)
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    drawn = check(build("drawn", Rows(["r"], {"image": [pixels], "text": ["x"]}))).write(tmp_path / "drawn")
    assert np.array_equal(np.asarray(Image.open(open_pairs(drawn).items["image"][0])), pixels)


def test_a_file_is_no_folder_to_write_to(table: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        check(open_pairs(table)).write(table)


def test_questions_with_answers_can_be_trained_on(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,what is it?,a {number}" for number in range(3)]
    (tmp_path / "qa.csv").write_text("\n".join(["image,question,answer", *rows]))
    (tmp_path / "vqa" / "images").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "vqa" / "images" / "0.png")
    (tmp_path / "vqa" / "questions.json").write_text('[["what is it?", "a square", 0], ["is it?", "yes", 0]]')
    for name in ("qa.csv", "vqa"):
        checked = check(open_pairs(tmp_path / name))
        assert not checked.stops
        assert checked.to_text().endswith("Ready to train on.")

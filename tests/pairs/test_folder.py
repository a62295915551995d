"""Image folders: captions beside the pictures, folders named by class, or pictures alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from cospace.pairs import open_pairs
from cospace.types import UserError


def picture(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (shade, shade, shade)).save(path)


def test_every_line_beside_a_picture_is_a_caption(tmp_path: Path) -> None:
    picture(tmp_path / "b" / "2.JPG", 1)
    picture(tmp_path / "1.png", 2)
    (tmp_path / "b" / "2.txt").write_bytes(b"\xef\xbb\xbfa red bus \r\n\r\n  NA\n")
    (tmp_path / "1.txt").write_text("one")
    pairs = open_pairs(tmp_path)
    assert list(pairs.ids) == ["1#1", "b/2#1", "b/2#2"]
    assert pairs.items["text"] == ["one", "a red bus ", "  NA"]
    assert pairs.items["image"][1] == tmp_path / "b" / "2.JPG"
    assert pairs.groups.tolist() == [0, 1, 1]
    assert not pairs.problems


def test_what_has_no_partner_is_a_problem(tmp_path: Path) -> None:
    for number, name in enumerate(["a.png", "b.png", "c.png", "d.png", "d.jpg"]):
        picture(tmp_path / name, number)
    for name, text in {"a": "fine", "c": " \n", "d": "whose?", "e": "no picture"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    pairs = open_pairs(str(tmp_path))
    assert list(pairs.ids) == ["a#1"]
    assert {problem.id: problem.kind for problem in pairs.problems} == {
        "e": "missing picture",
        "b": "missing caption",
        "d": "duplicate name",
        "c#1": "empty caption",
    }


def test_folders_are_classes(tmp_path: Path) -> None:
    for number, name in enumerate(["train/polar_bear/1.png", "train/polar_bear/2.png", "train/cat/1.png"]):
        picture(tmp_path / name, number)
    (tmp_path / "README.txt").write_text("about these pictures")
    pairs = open_pairs(tmp_path)
    assert list(pairs.ids) == ["train/cat/1.png", "train/polar_bear/1.png", "train/polar_bear/2.png"]
    assert pairs.items["text"] == ["cat", "polar bear", "polar bear"]
    assert pairs.extras["label"] == ["cat", "polar_bear", "polar_bear"]
    assert pairs.groups.tolist() == [0, 1, 1]
    assert not pairs.problems


@pytest.mark.parametrize("names", [["a.png", "b.jpg"], ["in/a.png", "in/b.png"], ["a.png", "cat/b.png", "dog/c.png"]])
def test_pictures_alone_have_no_captions(tmp_path: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        picture(tmp_path / name, number)
    pairs = open_pairs(tmp_path)
    assert set(pairs.items) == {"image"}
    assert len(pairs) == len(names)


def test_hidden_and_other_files_are_ignored(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / ".trash" / "b.png")
    picture(tmp_path / "._a.png")
    (tmp_path / "notes.doc").write_text("x")
    assert list(open_pairs(tmp_path).ids) == ["a.png"]


def test_folders_without_meaning_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pictures"):
        open_pairs(tmp_path)
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(UserError, match="leave the setting out"):
        open_pairs(tmp_path, columns={"image": "x"})
    (tmp_path / "train.csv").write_text("image,text\n")
    with pytest.raises(UserError, match=r"holds tables.*train\.csv"):
        open_pairs(tmp_path)

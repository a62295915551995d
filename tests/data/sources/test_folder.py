"""Image folders: captions beside the pictures, folders named by class, or pictures alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from cospace.data.pairs import open_pairs
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
        "e": "missing file",
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
    with pytest.raises(UserError, match="no images or sounds"):
        open_pairs(tmp_path)
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(UserError, match="--columns means nothing for"):
        open_pairs(tmp_path, columns={"image": "x"})


def sound(path: Path, number: int = 0) -> None:
    """A file by its name alone: listing opens none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"sound %d" % number)


def test_files_of_two_modalities_that_share_a_name_are_a_pair(tmp_path: Path) -> None:
    for number, stem in enumerate(["a/1", "a/2", "b/1"]):
        picture(tmp_path / f"{stem}.png", number)
    for number, stem in enumerate(["a/1", "b/1", "c"]):
        sound(tmp_path / f"{stem}.wav", number)
    (tmp_path / "README.txt").write_text("no caption of anything")
    pairs = open_pairs(tmp_path)
    assert list(pairs.ids) == ["a/1", "b/1"]
    assert pairs.items["audio"] == [tmp_path / "a/1.wav", tmp_path / "b/1.wav"]
    assert pairs.items["image"] == [tmp_path / "a/1.png", tmp_path / "b/1.png"]
    assert pairs.modalities == ["audio", "image"]
    assert {problem.id: problem.kind for problem in pairs.problems} == {
        "a/2": "missing partner",
        "c": "missing partner",
    }


def test_a_caption_file_is_of_everything_that_shares_its_name(tmp_path: Path) -> None:
    picture(tmp_path / "both.png", 1)
    sound(tmp_path / "both.wav", 1)
    picture(tmp_path / "seen.png", 2)
    sound(tmp_path / "heard.mp3", 2)
    for stem, text in {"both": "a bell\none bell", "seen": "a dog", "heard": "\n"}.items():
        (tmp_path / f"{stem}.txt").write_text(text)
    pairs = open_pairs(tmp_path)
    assert list(pairs.ids) == ["both#1", "both#2", "seen#1"]
    assert pairs.keys["audio"].tolist() == [0, 0, -1]
    assert pairs.keys["image"].tolist() == [0, 0, 1]
    assert [(problem.id, problem.kind) for problem in pairs.problems] == [("heard#1", "empty caption")]


def test_files_of_two_modalities_in_folders_are_of_the_folders_classes(tmp_path: Path) -> None:
    picture(tmp_path / "bell" / "1.png", 1)
    sound(tmp_path / "bell" / "2.wav", 1)
    sound(tmp_path / "big_dog" / "1.ogg", 2)
    pairs = open_pairs(tmp_path)
    assert list(pairs.ids) == ["bell/1.png", "bell/2.wav", "big_dog/1.ogg"]
    assert pairs.items["text"] == ["bell", "bell", "big dog"]
    assert pairs.keys["audio"].tolist() == [-1, 0, 1]
    assert pairs.groups.tolist() == [0, 0, 1]
    assert not pairs.problems


def test_files_of_two_modalities_alone_are_a_row_each(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    sound(tmp_path / "b.wav")
    pairs = open_pairs(tmp_path)
    assert list(pairs.ids) == ["a.png", "b.wav"]
    assert pairs.items == {"audio": [None, tmp_path / "b.wav"], "image": [tmp_path / "a.png", None]}
    assert not pairs.problems

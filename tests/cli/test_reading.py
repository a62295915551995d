"""Every command reads an input alike, says what it understood, and shows that nothing was passed over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from conftest import TINY, Cospace

READERS = ("check", "train", "eval", "embed", "index")
OPTIONS = ("--columns", "--separator", "--header", "--images", "--exclude", "--as")
PARTS = ("used", "duplicates", "set_aside", "left_alone")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten photographs of which two are the same, one that is broken, a note beside one, and a stray archive."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        Image.new("RGB", (16, 16), (number % 9 * 20, 40, 90)).save(folder / f"{number}.png")
    (folder / "2.txt").write_text("remember the milk\n")
    (folder / "backup.tar").write_bytes(b"not even a tar")
    (folder / "notes.doc").write_text("x")
    return folder


@pytest.mark.parametrize("command", READERS)
def test_every_command_that_reads_has_every_option_of_reading(cospace: Cospace, command: str) -> None:
    shown = cospace(command, "--help").out
    assert [option for option in OPTIONS if option not in shown] == []


def test_an_index_and_an_embedding_take_every_photograph_and_show_the_sum(
    cospace: Cospace, trained: Path, photos: Path, tmp_path: Path
) -> None:
    for arguments in (("embed", "--out", tmp_path / "v.parquet"), ("index", "--out", tmp_path / "idx")):
        command, *out = arguments
        data = json.loads(cospace(command, trained, photos, *out, "--json").out)
        assert data["items"] == sum(data[name] for name in PARTS)
        assert data["embedded" if command == "embed" else "in_index"] == 11, "ten photographs, two alike, and a caption"
        assert data["used"] == 10
        assert (data["duplicates"], data["set_aside"], data["left_alone"]) == (1, 0, 2)
    said = cospace("index", trained, photos, "--out", tmp_path / "idx").out
    assert "10 images, 1 text file, 1 tar file (backup.tar), 1 other file; read as images with captions" in said
    assert "13 read = 10 used + 1 duplicate + 2 left alone" in said
    assert "left alone, of no kind that is read: notes.doc" in said


def test_a_table_that_train_takes_can_be_embedded_and_indexed(
    cospace: Cospace, trained: Path, photos: Path, tmp_path: Path
) -> None:
    rows = [f"{number}.png|a red square number {number}|Rome" for number in range(9)]
    (tmp_path / "t.txt.csv").write_text("\n".join(["foto_datei|beschreibung|ort", *rows]))
    how = ("--columns", "image=foto_datei,text=beschreibung", "--separator", "pipe", "--images", photos)
    assert cospace("check", tmp_path / "t.txt.csv", *how).code == 0
    for arguments in (("embed", "--out", tmp_path / "v.npz"), ("index", "--out", tmp_path / "idx")):
        command, *out = arguments
        data = json.loads(cospace(command, trained, tmp_path / "t.txt.csv", *out, *how, "--json").out)
        assert data["used"] == 18


def test_a_catalogue_without_captions_is_indexed_with_its_columns_as_filters(
    cospace: Cospace, trained: Path, photos: Path, tmp_path: Path
) -> None:
    rows = [f"photos/{number}.png;{1990 + number}" for number in range(9)]
    (tmp_path / "t.csv").write_text("\n".join(["bild;year", *rows]))
    assert "filters: year" in cospace("index", trained, tmp_path / "t.csv", "--out", tmp_path / "idx").out
    found = json.loads(cospace("search", tmp_path / "idx", "x", "--where", "year>=1995", "--json").out)
    assert len(found["results"]) == 4


def test_check_says_what_it_understood_and_ends_with_two_where_training_would_stop(
    cospace: Cospace, photos: Path, tmp_path: Path
) -> None:
    good = cospace("check", "scenes/val", "--judge", "none")
    assert good.code == 0 and "Ready to train on." in good.out
    refused = cospace("check", photos, "--json")
    data = json.loads(refused.out)
    assert refused.code == 2
    assert data["items"] == sum(data[name] for name in PARTS)
    assert (data["rows"], data["left_alone"]) == (10, 2)
    (tmp_path / "t.csv").write_text("image,text\nnone.png,x\n")
    assert cospace("check", tmp_path / "t.csv").code == 2
    (tmp_path / "u.csv").write_text("image,text\nphotos/1.png,a dog\nphotos/2.png,a cat\n")
    told = cospace("check", tmp_path / "u.csv")
    assert "image = image, text = text" in told.out and "image = 1.png, text = a dog" in told.out


def test_training_says_what_it_read_and_what_it_holds_out(cospace: Cospace, shapes: Path, tmp_path: Path) -> None:
    steps = ("training.steps=2", "training.evaluations=0")
    said = cospace("train", shapes, "--out", tmp_path / "run", *TINY, *steps, "--no-report").err
    assert "pairs.csv: image = image, text = text" in said
    assert "64 read = 64 used" in said
    assert "no validation pairs were given" in said


def test_a_clean_table_without_captions_is_not_for_training(cospace: Cospace, photos: Path, tmp_path: Path) -> None:
    (photos / "2.txt").unlink()
    said = cospace("check", photos, "--out", tmp_path / "clean").out
    assert f"make it searchable: cospace index RUN {tmp_path / 'clean' / 'clean.csv'}" in said
    assert "train on it" not in said

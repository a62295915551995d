"""What a person has called fine stays fine, wherever it lies, until it changes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import ImageOps

from cospace import cli
from cospace.data.fine_marks import beside
from photographs import photograph


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twenty photographs, of which 20 and 21 are mirrored ones of 0 and 1."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(20):
        photograph(160, 120, seed=number).save(folder / f"{number:02d}.png")
    for number in range(2):
        ImageOps.mirror(photograph(160, 120, seed=number)).save(folder / f"{20 + number}.png")
    rows = [(f"{number:02d}.png", f"what number {number} shows") for number in range(22)]
    with (folder / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "text"), *rows])
    return folder / "t.csv"


def found(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    cli.run(["check", *arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_a_finding_that_is_fine_is_not_counted_again(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert found(capsys, str(table))["near_duplicates"] == 2
    marked = found(capsys, str(table), "--fine", "near_duplicates=21.png")
    assert (marked["near_duplicates"], marked["fine/near_duplicates"]) == (1, 1)
    assert found(capsys, str(table))["near_duplicates"] == 1  # and stays so
    (table.parent / "01.png").rename(table.parent / "other.png")
    table.write_text(table.read_text().replace("01.png", "other.png"))
    assert found(capsys, str(table))["near_duplicates"] == 1  # under another name
    photograph(160, 120, seed=1).rotate(180).save(table.parent / "other.png")
    ImageOps.mirror(photograph(160, 120, seed=1).rotate(180)).save(table.parent / "21.png")
    assert found(capsys, str(table))["near_duplicates"] == 2  # but not with another content
    everything = found(capsys, str(table), "--fine", "near_duplicates")
    assert everything["near_duplicates"] == 0
    beside(str(table)).unlink()
    assert found(capsys, str(table))["near_duplicates"] == 2


def test_what_is_fine_is_not_left_out(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, asked = tmp_path / "clean", ["--leave-out", "near_duplicates", "--out", str(tmp_path / "clean")]
    found(capsys, str(table), *asked)
    assert sum(1 for _ in csv.DictReader((out / "clean.csv").open())) == 20
    found(capsys, str(table), *asked, "--fine", "near_duplicates=00.png")
    left = [Path(row["image"]).name for row in csv.DictReader((out / "clean.csv").open())]
    assert "20.png" in left
    assert "21.png" not in left
    assert cli.run(["check", str(table)]) == 0
    assert "called fine before, and not counted: 1 near_duplicates" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--fine", "near_duplicate"], "no finding is called 'near_duplicate'; did you mean 'near_duplicates'?"),
        (["--fine", "near_duplicates=07.png"], "no finding near_duplicates concerns 07.png"),
        (["--leave-out", "near"], "no finding is called 'near'"),
        (["--keep", "leak"], "no finding is called 'leak'"),
    ],
)
def test_what_is_not_found_cannot_be_marked(
    table: Path, asked: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["check", str(table), *asked]) == 2
    assert said in capsys.readouterr().err
    assert not beside(str(table)).exists()


def test_marks_of_an_input_that_is_no_file_are_in_the_working_folder() -> None:
    assert beside("hf:owner/name") == Path("hf_owner_name.fine.csv")

"""What `check` finds is found again: on its page, in what is trained on, and in what is indexed."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from PIL import ImageOps

from cospace import cli
from cospace.commands.check import CheckArguments, check_pairs
from cospace.commands.check_report import report
from cospace.commands.train import TrainArguments, train
from cospace.commands.training_request import Listener
from cospace.stores.entries import Input, read_input
from photographs import photograph

SETTINGS = ["training.steps=2", "training.batch_size=8", "training.evaluations=1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty photographs; 28 and 29 are mirrored ones of 0 and 1, and the validation pairs hold 2, and 3 once more."""
    for number in range(28):
        photograph(160, 120, seed=number).save(tmp_path / f"{number:02d}.png")
    for number in range(2):
        ImageOps.mirror(photograph(160, 120, seed=number)).save(tmp_path / f"{28 + number}.png")
    for number in range(40, 50):
        photograph(160, 120, seed=number).save(tmp_path / f"{number}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "03.png").read_bytes())
    table(tmp_path / "train.csv", [f"{number:02d}.png" for number in range(30)])
    table(tmp_path / "val.csv", ["02.png", "copy.png", *(f"{number}.png" for number in range(40, 50))])
    return tmp_path


def table(path: Path, names: list[str]) -> None:
    rows = [(name, f"a photograph of {name[:2]} things <seen>") for name in names]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "text"), *rows])


def test_the_page_shows_what_was_found_and_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = folder / "check.html"
    arguments = [str(folder / "train.csv"), "--val", str(folder / "val.csv"), "--report", str(page)]
    assert cli.run(["check", *arguments]) == 2
    assert f"look at it: {page}" in capsys.readouterr().out
    html = page.read_text()
    assert "Not ready to train on: 2 images are copies of a validation image" in html
    assert f"cospace check {folder / 'train.csv'} --out clean --leave-out near_duplicates" in html
    assert f"cospace check {folder / 'train.csv'} --fine near_duplicates=00.png" in html
    assert "validation: copy.png" in html
    assert html.count("<img") == 4 + 4
    assert "&lt;seen&gt;" in html
    assert "<seen>" not in html
    assert not re.findall(r"(?:src|href)=[\"']?(?:http|//|/)", html)
    assert "<script" not in html


def test_a_page_without_findings_says_so(folder: Path) -> None:
    table(folder / "clean.csv", [f"{number:02d}.png" for number in range(28)])
    checked = check_pairs(CheckArguments(folder / "clean.csv"))
    report(folder / "check.html", checked, ["clean.csv"])
    assert "Nothing was found" in (folder / "check.html").read_text()


def test_everything_that_was_found_is_in_a_table(folder: Path) -> None:
    arguments = [str(folder / "train.csv"), "--val", str(folder / "val.csv"), "--out", str(folder / "clean")]
    cli.run(["check", *arguments, "--leave-out", "near_duplicates", "--keep", "leaked"])
    with (folder / "clean" / "findings.csv").open() as file:
        rows = [(row["kind"], row["id"]) for row in csv.DictReader(file)]
    assert rows == [
        ("near_duplicates", "train.csv:2"), ("near_duplicates", "train.csv:30"),
        ("near_duplicates", "train.csv:3"), ("near_duplicates", "train.csv:31"),
        ("leaked", "train.csv:4"), ("leaked", "train.csv:5"),
    ]  # fmt: skip
    with (folder / "clean" / "quarantine.csv").open() as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["train.csv:30", "train.csv:31"]


def test_training_leaves_out_what_check_would(folder: Path) -> None:
    said: list[str] = []
    listener = Listener(say=said.append)
    request = TrainArguments(
        folder / "train.csv", folder / "run", val=folder / "val.csv", overrides=SETTINGS, clean=True, listener=listener
    )
    trained = train(request)
    assert "train.csv: --clean leaves out 2 rows: 2 leaked" in said
    assert not any("were trained on too" in sentence for sentence in said)
    assert "leaked/image" not in trained.run.metrics()
    facts = json.loads((folder / "run" / "run.json").read_text())
    assert facts["set_aside"] == {"leaked": 2}  # which the report's data card shows
    assert (trained.counts.used, trained.counts.set_aside, trained.counts.rows) == (28, 2, 30)


def test_an_index_is_without_what_it_is_asked_to_leave_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(TrainArguments(folder / "train.csv", folder / "run", val=folder / "val.csv", overrides=SETTINGS))
    arguments = ["index", str(folder / "run"), str(folder / "train.csv"), "--out", str(folder / "idx"), "--json"]
    assert cli.run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["in_index"] == 60
    assert cli.run([*arguments, "--leave-out", "near_duplicates"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["in_index"], made["removed"]) == (56, 4)
    cli.run(["check", str(folder / "train.csv"), "--fine", "near_duplicates=29.png"])
    capsys.readouterr()
    assert cli.run([*arguments, "--leave-out", "near_duplicates"]) == 0
    assert json.loads(capsys.readouterr().out)["in_index"] == 58
    assert cli.run([*arguments, "--leave-out", "nothing"]) == 2
    assert "no finding is called 'nothing'" in capsys.readouterr().err


def test_pairs_that_nobody_judges_are_said_to_be_unjudged(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cospace.commands.check.FEWEST", 20)
    monkeypatch.setattr("cospace.commands.check.FILES", 5)
    cli.run(["check", str(folder / "train.csv")])
    assert "add --judge auto" in capsys.readouterr().out
    cli.run(["check", str(folder / "train.csv"), "--judge", "none"])
    assert "add --judge auto" not in capsys.readouterr().out


def test_lines_of_a_text_file_are_left_out_too(tmp_path: Path) -> None:
    """Whatever an input is, what was asked to be left out is, and is counted."""
    (tmp_path / "names.txt").write_text(
        "".join(f"a photograph of {number} things\n" for number in range(60)) + "untitled\n"
    )
    pairs = read_input(Input(tmp_path / "names.txt", leave_out=["boilerplate"]))
    assert (len(pairs), [problem.kind for problem in pairs.problems]) == (60, ["boilerplate"])
    assert len(read_input(Input(tmp_path / "names.txt"))) == 61


def test_pairs_that_cannot_be_judged_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Thirty are too few."""
    cli.run(["check", str(folder / "train.csv"), "--judge", "auto"])
    assert "30 pairs were not judged" in capsys.readouterr().out
    cli.run(["check", str(folder / "train.csv"), "--judge", "auto", "--json"])
    data = json.loads(capsys.readouterr().out)
    assert (data["judged"], data["not_judged"], data["wrong_pairs"]) == (0, 30, 0)

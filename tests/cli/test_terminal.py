"""What is shown in a terminal: nothing that a stranger wrote may steer it, and images only where it can show them."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from conftest import COLOURS, Shell, shape_picture
from cospace.cli.search_output import results_table
from cospace.cli.terminal import Progress, TrainingView, printable
from cospace.cli.terminal_images import (
    COLUMNS,
    GAP,
    LINES,
    blocks,
    blocks_of_256,
    contact_sheet,
    iterm,
    kitty,
    painter,
)
from cospace.commands.relevance import Verdict, Wording
from cospace.commands.search import Answer, Result
from cospace.models.calibration import Asked
from cospace.runs.settings import resolve

EVIL = "\x1b]0;owned\x07\x1b[2J a \x9b31m caption \u202egnp.exe\r\n\x00"


def result(text: str = "a bus", path: str = "/home/me/a.jpg", chance: float | None = 0.97) -> Result:
    return Result("a.jpg", 0.31234, "image", path, text, "", chance, "strong", {}, 0, 0, 0, 0)


def answer(*results: Result, calibrated: bool = True, unknown: Sequence[str] = (), total: int = 3_182) -> Answer:
    chances = np.array([one.probability or 0.0 for one in results]) if calibrated else None
    judged = Verdict(chances, len(results), len(results), len(results) + 24, unknown)
    wording = Wording(Asked(unknown=len(unknown)), unknown, np.arange(7))
    return Answer(results, judged, wording, total, "text_to_image", 3_999, 1)


# ------------------------------------------------------------------------------------------------ progress


def test_work_that_comes_again_with_another_total_is_counted_against_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if it were a terminal
    progress = Progress()
    for done, total in ((3, 5), (5, 5), (6, 9)):
        progress.long_work("answering questions", done, total)
    (bar,) = progress._bars.tasks
    assert (bar.completed, bar.total, bar.visible) == (6, 9, True)


# ------------------------------------------------------------------------------------------------ text


def test_a_row_shows_both_losses_and_a_start_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    view, said = TrainingView(), []
    monkeypatch.setattr(view, "say", said.append)
    config = resolve(overrides=["training.steps=84"])
    view.listener.row({"step": 0, "minutes": 0.0, "val/loss": 4.2, "val/text_to_image/R@1": 0.05}, config)
    row = {"step": 84, "loss": 1.4, "minutes": 2.8, "samples_per_second": 170.0, "val/loss": 4.1}
    view.listener.row(row | {"val/text_to_image/R@1": 0.04, "val/score": 0.1}, config)
    assert said[-1] == "step 84 of 84  loss 1.400 (validation 4.100)  R@1 4.0 % text to image  2.8 min"
    assert said[0] == "step 0 of 84  (validation loss 4.200)  R@1 5.0 % text to image  0.0 min"


def test_advice_stands_at_the_end_of_the_summary() -> None:
    lines = TrainingView().summary({"n_images": 100.0}, Path("run"), ["700 images are too few"]).split("\n")
    assert lines.index("700 images are too few") < lines.index("the model is in run")


@given(st.text(st.characters()))
def test_what_is_printed_steers_nothing(text: str) -> None:
    shown = printable(text)
    assert not [letter for letter in shown if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")]
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    shown.encode("utf-8")


@pytest.mark.parametrize("text", ["ein grüner Kreis", "赤いバス", "👩‍👩‍👧 family", "שלום", "a  b"])
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text


def test_captions_and_file_names_cannot_reach_the_terminal(shell: Shell, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, colour in enumerate(COLOURS):
        shape_picture(colour, "circle", 0).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_bytes(EVIL.replace("\r\n", "").encode())
    (folder / "0.png").rename(folder / "\x1b[31mred.png")
    (folder / "0.txt").rename(folder / "\x1b[31mred.txt")
    shell.text("index", trained, folder, "--out", tmp_path / "idx")
    for options in ([], ["--find", "text"]):
        shown = shell.text("search", tmp_path / "idx", "a red circle", *options)
        assert "caption" in shown
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    written = shell.text("search", tmp_path / "idx", "a red circle", "--json")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", written)
    texts = [found["text"] for found in json.loads(written)["results"]]
    assert texts[0].startswith("\x1b]0;owned\x07"), "data stays what it is"


def test_the_table_is_a_line_each_for_programs_and_a_table_for_people() -> None:
    found = [result(), result("", "/x/b.jpg", 0.04)]
    plain = results_table(answer(*found), found, console=Console(file=io.StringIO()))
    assert plain.splitlines() == [
        "rank  fits         %  what",
        "   1  strong      97  a bus  /home/me/a.jpg",
        "   2  strong       -  a.jpg  /x/b.jpg",
        "2 likely matches, 24 more that may fit; 2 of them are listed, more with -k 26",
        "7 items have captions that hold all the words; --hybrid puts them first",
    ]
    console = Console(file=io.StringIO(), force_terminal=True, width=60, color_system="truecolor")
    evil = [result(), result(EVIL + "x" * 200)]
    shown = re.sub("\x1b\\[[0-9;]*m", "", results_table(answer(*evil), evil, console=console))
    assert shown.splitlines()[0].split() == ["rank", "fits", "%", "what"]
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert "nothing found" in results_table(answer(total=0), [])


def test_what_is_guessed_and_what_has_no_percentages_is_said() -> None:
    guessed = results_table(answer(result(), unknown=["qwzx"]), [result()], console=Console(file=io.StringIO()))
    assert 'None of the 3,999 captions uses "qwzx", so these are guesses.' in guessed
    bare = answer(result(chance=None), calibrated=False)
    plain = results_table(bare, bare.results, console=Console(file=io.StringIO()))
    assert plain.splitlines()[0].split() == ["rank", "fits", "cosine", "what"]
    assert plain.splitlines()[1].split()[:3] == ["1", "strong", "0.312"]
    assert "cospace index --calibrate" in plain.splitlines()[-1]


# ------------------------------------------------------------------------------------------------ images


@pytest.mark.parametrize(
    ("environment", "is_terminal", "expected"),
    [
        ({"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"}, True, kitty),
        ({"TERM": "xterm-ghostty"}, True, kitty),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, True, iterm),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2", "COLORTERM": "truecolor"}, True, iterm),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, True, iterm),
        ({"TERM": "tmux-256color", "TMUX": "x", "KITTY_WINDOW_ID": "1", "COLORTERM": "truecolor"}, True, blocks),
        ({"TERM": "screen", "TERM_PROGRAM": "iTerm.app"}, True, None),
        ({"TERM": "xterm-256color", "COLORTERM": "24bit"}, True, blocks),
        ({"TERM": "xterm-256color"}, True, blocks_of_256),
        ({"TERM": "xterm"}, True, None),
        ({"TERM": "dumb"}, True, None),
        ({}, True, None),
        ({"TERM": "xterm-kitty", "COLORTERM": "truecolor"}, False, None),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, True, None),
    ],
)
def test_terminals_are_known_by_what_they_say(environment: dict[str, str], is_terminal: bool, expected: object) -> None:
    assert painter("auto", environment, is_terminal) is expected
    assert painter("never", environment, is_terminal) is None
    assert painter("always", environment, is_terminal) in ([expected] if expected else [blocks, blocks_of_256])


def encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def test_blocks_show_the_image() -> None:
    pixels = np.zeros((2 * LINES, COLUMNS, 3), np.uint8)
    pixels[:LINES, :, 0], pixels[LINES:, :, 2] = 255, 255
    sheet = contact_sheet([("1", encoded(Image.fromarray(pixels)))], blocks, width=40)
    *lines, label = sheet.rstrip("\n").split("\n")
    assert len(lines) == LINES
    assert label.strip() == "1"
    assert lines[0] == "\x1b[38;2;255;0;0;48;2;255;0;0m▀\x1b[0m" * COLUMNS
    assert lines[LINES // 2] == "\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[0m" * COLUMNS, "two rows in a line of text"
    assert lines[-1] == "\x1b[38;2;0;0;255;48;2;0;0;255m▀\x1b[0m" * COLUMNS
    assert "\x1b[38;5;196;48;5;196m▀" in contact_sheet([("1", encoded(Image.fromarray(pixels)))], blocks_of_256, 40)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 7), st.integers(1, 200))
def test_sheets_fit_the_terminal(width: int, height: int, count: int, terminal: int) -> None:
    picture = encoded(Image.new("RGB", (width, height), "red"))
    sheet = contact_sheet([(str(place), picture) for place in range(count)], blocks, terminal)
    lines = re.sub("\x1b\\[[0-9;]*m", "", sheet).split("\n")
    across = max(1, (terminal + GAP) // (COLUMNS + GAP))
    assert max(map(len, lines)) == min(across, count) * (COLUMNS + GAP) - GAP
    assert len(lines) == -(-count // across) * (LINES + 2), "lines, a label, and a line between or the end"
    assert contact_sheet([], blocks, terminal) == ""


def test_protocols_carry_the_whole_image() -> None:
    noise = Image.effect_noise((64, 40), 90).convert("RGB")
    sent = kitty([noise])
    pieces = re.findall("\x1b_G([^;]*);([^\x1b]*)\x1b\\\\", sent)
    assert [head.rpartition("m=")[2] for head, _ in pieces] == ["1"] * (len(pieces) - 1) + ["0"]
    assert all(len(piece) <= 4096 for _, piece in pieces)
    assert f"c={COLUMNS},r={LINES}" in pieces[0][0]
    inline = re.search("\x1b\\]1337;File=[^:]*:([^\x07]*)\x07", iterm([noise]))
    assert inline is not None
    for data in ("".join(piece for _, piece in pieces), inline[1]):
        with Image.open(io.BytesIO(base64.b64decode(data)), formats=("PNG",)) as picture:
            assert picture.size == (64, 64)
            np.testing.assert_array_equal(np.asarray(picture)[12:52, :, :3], np.asarray(noise))


def test_search_shows_thumbnails_when_asked_and_never_in_a_pipe(
    shell: Shell, trained: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.text("index", trained, shapes, "--out", tmp_path / "idx")
    search = ["search", tmp_path / "idx", "a red circle", "-k", "3"]
    monkeypatch.setenv("COLORTERM", "truecolor")
    assert "▀" not in shell.text(*search)
    shown = shell.text(*search, "--thumbnails", "always")
    assert shown.count("▀") == 3 * COLUMNS * LINES
    assert any(line.startswith("   1  ") for line in shown.splitlines())
    assert "▀" not in shell.text(*search, "--find", "text", "--thumbnails", "always"), "texts have none"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "▀" in shell.text(*search)
    assert "▀" not in shell.text(*search, "--thumbnails", "never")
    assert json.loads(shell.text(*search, "--json", "--thumbnails", "always"))["results"]

"""An error never advises an option that the command does not have, and printed commands can be pasted."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

import cospace
from conftest import TINY, Cospace
from cospace import cli
from cospace.runs.run import Run

COMMANDS = ("check", "train", "eval", "embed", "index", "search", "caption", "ask", "demo", "import", "export", "serve")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
ANOTHER = re.compile(r"`cospace ([a-z]+)\b([^`]*)`|\bcospace ([a-z]+)\b([^;]*)")
"""A command that a sentence names, with what stands there up to its end."""

OF_OTHERS = {"--data-binary", "--force-reinstall", "--head", "--max-restarts", "--nproc-per-node"}
"""Options of curl, of pip, of ray and of torchrun."""


def options(command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    cli.run([command, "--help"])
    return set(OPTION.findall(capsys.readouterr().out))


@pytest.fixture
def known(capsys: pytest.CaptureFixture[str]) -> dict[str, set[str]]:
    return {command: options(command, capsys) for command in (*COMMANDS, "recipes")}


def strangers(command: str, sentence: str, known: dict[str, set[str]]) -> list[str]:
    """Options in a sentence that neither the command nor the one that is named before them has."""
    found: list[str] = []
    for match in ANOTHER.finditer(sentence):
        name, rest = match[1] or match[3], match[2] or match[4] or ""
        found.extend(f"{name} {one}" for one in OPTION.findall(rest) if one not in known.get(name, ()))
    own = ANOTHER.sub("", sentence)
    return found + [one for one in OPTION.findall(own) if one not in known[command]]


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """Inputs that are refused for one reason each, and some that are not."""
    made: dict[str, str] = {
        "wrong.csv": "a,b,c\n1,2,3\n2,3,4\n",
        "one.csv": "a\n1\n2\n",
        "three_texts.csv": "image,p,q\na.png,one word,two words\n",
        "empty.csv": "",
        "header.csv": "image,text\n",
        "gone.csv": "image,text\nnone.png,a dog\nnone2.png,a cat\n",
        "web.csv": "image,text\nhttps://photos.example/a.jpg,a dog\nhttps://photos.example/b.jpg,a cat\n",
        "text_only.csv": "text\na dog\na cat\n",
        "broken.jsonl": "{\n",
        "broken.json": "{",
        "other.json": '{"a": 1}',
        "questions.json": '{"questions": 1}',
        "latin.txt": "x",
        "broken.parquet": "x",
        "broken.tar": "x",
        "photo.png": "x",
        "notes.doc": "x",
    }
    for name, content in made.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\xfd")
    (tmp_path / "bare").mkdir()
    for name in ("photos", "tables"):
        (tmp_path / name).mkdir()
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "photos" / f"{number}.png")
        (tmp_path / "tables" / f"{number}.csv").write_text("image,text\na.png,x\n")
    for name in ("train", "test"):
        (tmp_path / "parts" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "parts" / name / "1.png")
    names = [*made, "bare", "photos", "tables", "parts", "nowhere", "nowhere.csv"]
    return [*(str(tmp_path / name) for name in names), "hf:", "scenes/nowhere", "glyphs/none"]


READING = (
    (), ("--columns", "image"), ("--columns", "image=nothing"), ("--separator", "xx"), ("--as", "table"),
    ("--as", "shards"), ("--header", "none"), ("--images", "nowhere"),
)  # fmt: skip
"""Ways to read that fit few inputs."""


def test_what_an_error_advises_is_there(
    cospace: Cospace,
    known: dict[str, set[str]],
    trained: Path,
    inputs: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run, load = Run.load(trained), Run.load
    monkeypatch.setattr(Run, "load", lambda folder, *trust: run if Path(folder) == trained else load(folder, *trust))
    steps = (*TINY, "training.steps=1", "training.evaluations=0")
    before = {
        "check": ((), ()),
        "train": ((), ("--out", tmp_path / "new", "--no-report", *steps)),
        "eval": ((trained,), ()),
        "embed": ((trained,), ("--out", tmp_path / "new.npz")),
        "index": ((trained,), ("--out", tmp_path / "newidx")),
        "caption": ((trained,), ()),
        "ask": ((trained,), ("what is it?",)),
        "search": ((), ("x",)),
        "serve": ((), ()),
        "import": ((), ("--out", tmp_path / "m")),
        "export": ((), ("--format", "hf", "--out", tmp_path / "m")),
    }
    others = [command for command in before if command != "check"]
    said: list[tuple[str, str]] = []
    for number, given in enumerate(inputs):
        chosen = ["check", *(other for place, other in enumerate(others) if (number + place) % 4 == 0)]
        for command in chosen:  # every input by one command, which reads like the others, and by some of those
            first, last = before[command]
            reads = "--columns" in known[command]
            ways = (READING[0], READING[1 + number % (len(READING) - 1)]) if reads else (READING[0],)
            said.extend((command, cospace(command, *first, given, *last, *how).err) for how in ways)
        if number % 4 == 0:
            said.append(("eval", cospace("eval", trained, "scenes/val", "--classes", given).err))
    wrong = {(command, one) for command, sentence in said for one in strangers(command, sentence, known)}
    assert not wrong
    assert not any("Traceback" in sentence for _, sentence in said)
    assert sum("--" in sentence for _, sentence in said) > 30, "the test sees what it is for"


@pytest.mark.parametrize(
    "settings", ["locked=all", "locked=text", "lora_rank=4", "wise_ft_alpha=0.5", "objective=nothing"]
)
def test_what_an_error_about_a_setting_advises_is_there(
    cospace: Cospace, known: dict[str, set[str]], tmp_path: Path, shapes: Path, trained: Path, settings: str
) -> None:
    for command in (
        ("train", shapes, "--out", tmp_path / "a", settings),
        ("train", shapes, "--out", trained, settings),
        ("train", shapes, settings),
        ("train", shapes, "--out", tmp_path / "c", "--reference", shapes, settings),
        ("demo", "glyphs", "--out", tmp_path / "b", settings),
    ):
        sentence = cospace(*command).refusal()
        assert strangers(command[0], sentence, known) == [], sentence


def test_every_option_that_a_message_names_exists(known: dict[str, set[str]]) -> None:
    """The same for all messages that no test reaches, though any command's option will do here."""
    every = set().union(*known.values())
    named: dict[str, str] = {}
    for path in Path(cospace.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Raise):
                for text in ast.walk(node):
                    if isinstance(text, ast.Constant) and isinstance(text.value, str):
                        named |= dict.fromkeys(OPTION.findall(text.value), path.name)
    assert named
    assert {one: path for one, path in named.items() if one not in every | OF_OTHERS} == {}


def test_commands_that_are_printed_can_be_pasted(cospace: Cospace, trained: Path, tmp_path: Path) -> None:
    place = tmp_path / "my photos; (2)"
    place.mkdir()
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(place / f"{number}.png")
    out = place / "an idx"
    lines = cospace("index", trained, place, "--out", out).out.splitlines()
    for line, last in zip(lines[-2:], (["what you look for"], []), strict=True):
        assert shlex.split(line.partition(": ")[2])[2:] == [str(out), *last]
    for refused in (cospace("search", place, "x"), cospace("serve", place)):
        assert shlex.split(refused.refusal().partition("make one with: ")[2])[-1] == str(place)
    report = ("training.steps=1", "training.evaluations=0", "--no-report")
    table = write(place)
    shown = cospace("train", table, "--val", table, "--out", place / "a run", *TINY, *report).out
    (line,) = [line for line in shown.splitlines() if "cospace index" in line]
    assert shlex.split(line.partition(": ")[2])[2] == str(place / "a run")


def write(folder: Path) -> Path:
    rows = [f"{number}.png,a caption of number {number}" for number in range(3)]
    (folder / "pairs.csv").write_text("\n".join(["image,text", *rows, ""]))
    return folder / "pairs.csv"

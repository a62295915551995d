"""What the command line answers to mistakes: exit code 2 and one sentence that helps, never a traceback."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from conftest import TINY, Cospace, Result, shape_picture, write_shapes
from cospace import cli
from cospace.commands.train import TrainArguments, train
from cospace.runs.metrics_log import MetricsLog

QUICK = (*TINY, "training.steps=4", "training.evaluations=0")
COMMANDS = (
    "check",
    "train",
    "eval",
    "embed",
    "index",
    "search",
    "caption",
    "ask",
    "demo",
    "recipes",
    "import",
    "export",
    "serve",
)


@pytest.fixture(scope="session")
def idx(trained: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the shapes. Read only."""
    out = tmp_path_factory.mktemp("indexed") / "idx"
    assert cli.run(["index", str(trained), str(shapes), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def other(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another run on the same pairs. Read only."""
    out = tmp_path_factory.mktemp("other") / "run"
    train(TrainArguments(shapes, out, overrides=(*QUICK, "training.seed=1")))
    return out


def write_table(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


# ------------------------------------------------------------------------------------------------ words on the line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["serch", "idx", "bus"], 'Did you mean "search"'),
        (["search", "idx", "bus", "--imag", "a.png"], "Did you mean --image"),
        (["search", "idx", "bus", "-k", "five"], "five"),
        (["search"], "INDEX requires an argument"),
        (["train", "pairs.csv"], "name the folder of the run with --out"),
        (["train", "--out", "run"], "no pairs were given"),
        (["check"], "no pairs were given"),
        (["eval", "run"], "no pairs were given"),
        (["demo", "scene"], "did you mean 'scenes'"),
        (["check", "pairs.csv", "--columns", "image"], "write it as image=COLUMN,text=COLUMN"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistyped_words(cospace: Cospace, tmp_path: Path, arguments: list[str], complaint: str) -> None:
    assert complaint in cospace(*arguments).refusal()


def test_a_folder_of_the_name_of_a_built_in_set_is_asked_about(
    cospace: Cospace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glyphs").mkdir()
    refusal = cospace("train", "glyphs", "--out", "run").refusal()
    assert "folder or glyphs" in refusal
    assert "./glyphs" in refusal
    assert "holds no images or sounds" in cospace("train", "./glyphs", "--out", "run").refusal()


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("objective=sofmax", "objectives has no 'sofmax'; did you mean 'softmax'?"),
        ("encoders.image=vti", "encoders has no 'vti'; did you mean 'vit'?"),
        ("encoders.image.widht=8", "has no setting 'widht'"),
        ("encoders.text.dept=8", "did you mean 'depth'"),
        ("training.stepz=4", "training has no setting 'stepz'; did you mean 'steps'?"),
        ("training.optim.lrr=1", "did you mean 'lr'?"),
        ("data.image.augment.translat=0.1", "did you mean 'translate'?"),
        ("trainin.steps=4", "did you mean 'training'?"),
        ("embed_dm=8", "did you mean 'embed_dim'?"),
        ("training.steps", "write it as path=value, e.g. training.steps=500"),
        ("=4", "write it as path=value"),
        ("training.steps=many", "training.steps: input should be a valid integer"),
        ("training.steps=-1", "training.steps: input should be greater than or equal to 0 (given: -1)"),
        ("training.optim.name=sgd", "'muon' or 'adamw'"),
        ("encoders=vit", "encoders are given by modality"),
        ("encoders.text=null", "give one of these names"),
        ("encoders.text={}", "give one of these names"),
        ("objective=5", "give one of these names"),
        ("objective=no.such.module", "cannot import 'no.such.module'"),
        ("objective=json.decoder", "defines no Config class"),
        ("encoders.image=bag", "the encoder 'bag' is for text, not for image"),
        ("encoders.text.heads=5", "a width of 16 cannot be split among 5 heads"),
    ],
)
def test_wrong_settings(cospace: Cospace, shapes: Path, tmp_path: Path, setting: str, complaint: str) -> None:
    assert complaint in cospace("train", shapes, "--out", tmp_path / "run", *QUICK, setting).refusal()
    assert not (tmp_path / "run" / "model").exists()


def test_a_mistake_in_the_settings_can_be_put_right_in_the_same_folder(
    cospace: Cospace, shapes: Path, tmp_path: Path
) -> None:
    """What was refused before the first step must not stand in the way of the next attempt."""
    cospace("train", shapes, "--out", tmp_path / "run", *QUICK, "encoders.text.heads=5").refusal()
    assert cospace("train", shapes, "--out", tmp_path / "run", *QUICK).code == 0


@pytest.mark.parametrize(
    ("recipe", "complaint"),
    [("smal", "there is no recipe 'smal'; did you mean 'small'?"), ("nowhere.json", "nowhere.json does not exist")],
)
def test_recipes_that_are_not_there(
    cospace: Cospace, shapes: Path, tmp_path: Path, recipe: str, complaint: str
) -> None:
    assert complaint in cospace("train", shapes, "--out", tmp_path / "run", "--recipe", recipe).refusal()


@pytest.mark.parametrize("text", ["[1, 2]", '"small"', "{", '{"embed_dim": 8}'])
def test_recipes_that_are_no_recipes(cospace: Cospace, shapes: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text)
    assert "mine.json" in cospace("train", shapes, "--out", tmp_path / "run", "--recipe", path).refusal()


# ------------------------------------------------------------------------------------------------ pairs


@pytest.mark.parametrize("command", ["check", "train", "eval", "index", "embed"])
def test_missing_pairs_are_named(cospace: Cospace, trained: Path, tmp_path: Path, command: str) -> None:
    before = [trained] if command in ("eval", "index", "embed") else []
    out = [] if command in ("check", "eval") else ["--out", tmp_path / "out.npz"]
    for name in ("nowhere.csv", "nowhere"):
        refusal = cospace(command, *before, tmp_path / name, *out).refusal()
        assert f"{tmp_path / name}" in refusal
        assert "does not exist" in refusal


def test_columns_that_cannot_be_told(cospace: Cospace, tmp_path: Path) -> None:
    table = write_table(tmp_path / "odd.csv", ["a", "b", "c"], [["1", "2", "3"], ["4", "5", "6"]])
    for command in (["check", table], ["train", table, "--out", tmp_path / "run"]):
        refusal = cospace(*command).refusal()
        assert "'a', 'b', 'c'" in refusal
        assert "--columns" in refusal
        assert "image=COLUMN,text=COLUMN" in refusal


def test_a_column_that_is_not_there(cospace: Cospace, shapes: Path) -> None:
    refusal = cospace("check", shapes, "--columns", "image=image,text=txt").refusal()
    assert "no column 'txt'; did you mean 'text'?" in refusal


def test_too_many_broken_images(cospace: Cospace, tmp_path: Path) -> None:
    table = write_shapes(tmp_path, 4)
    for name in ("red-circle-0", "blue-square-1"):
        path = tmp_path / "images" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:50])
    refusal = cospace("train", table, "--out", tmp_path / "run", *QUICK).refusal()
    for part in ("2 of ", "2 truncated", "1.00% allowed", "cospace check", "pairs.csv:2"):
        assert part in refusal
    # The same folder serves once the images are mended, or when the person allows more.
    assert cospace("train", table, "--out", tmp_path / "run", *QUICK, "data.max_bad_fraction=0.1").code == 0
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["set_aside"] == {"truncated": 2}


def test_images_alone_cannot_be_trained_on(cospace: Cospace, tmp_path: Path) -> None:
    write_shapes(tmp_path, 2)
    refusal = cospace("train", tmp_path / "images", "--out", tmp_path / "run", *QUICK).refusal()
    assert "has no text" in refusal
    assert "captions" in refusal


def test_too_few_pairs(cospace: Cospace, tmp_path: Path) -> None:
    table = write_table(tmp_path / "one.csv", ["image", "text"], [["images/red-circle-0.png", "a circle"]])
    write_shapes(tmp_path, 1)
    assert "too small to hold out" in cospace("train", table, "--out", tmp_path / "run", *QUICK).refusal()


# ------------------------------------------------------------------------------------------------ run folders


def test_a_finished_run_is_not_trained_again(cospace: Cospace, shapes: Path, trained: Path) -> None:
    refusal = cospace("train", shapes, "--out", trained, *QUICK).refusal()
    assert "already holds a finished run" in refusal
    assert "--out" in refusal


def test_an_unfinished_run_goes_on_with_the_same_settings_only(
    cospace: Cospace, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    command = ["train", shapes, "--out", out, *QUICK, "training.checkpoint_seconds=0"]
    write = MetricsLog.write

    def stop_at_three(log: MetricsLog, row: dict[str, float]) -> None:
        if row["step"] == 3:
            raise KeyboardInterrupt
        write(log, row)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", stop_at_three)
        stopped = cospace(*command)
    assert stopped.code == 130
    assert "run the same command again to resume" in stopped.err
    refusal = cospace(*command, "training.seed=5", "objective=sigmoid").refusal()
    assert "config.objective.name" in refusal
    assert "config.training.seed" in refusal
    assert "choose another --out" in refusal
    more = write_shapes(tmp_path / "more", 9)
    assert "(data)" in cospace("train", more, *command[2:]).refusal()
    resumed = cospace(*command)
    assert resumed.code == 0
    assert "resuming after step 2" in resumed.err
    assert [row["step"] for row in MetricsLog(out / "metrics.jsonl").rows()] == [1, 2, 3, 4]


@pytest.mark.parametrize("command", ["eval", "embed", "index"])
def test_a_folder_that_is_no_run(cospace: Cospace, shapes: Path, tmp_path: Path, command: str) -> None:
    out = [] if command == "eval" else ["--out", tmp_path / "out.npz"]
    refusal = cospace(command, tmp_path / "nothing", shapes, *out).refusal()
    assert "nothing" in refusal
    assert "holds no trained space" in refusal


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "there is no class file"),
        (b"", "holds 0 class names"),
        (b"red circle\n", "holds 1 class names"),
        (b"red circle\nRed_Circle\n", "more than once"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"horse\nship\n", "none of the"),
    ],
    ids=["missing", "empty", "one", "twice", "binary", "strangers"],
)
def test_broken_class_files(
    cospace: Cospace, trained: Path, shapes: Path, tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / "names.txt").write_bytes(content)
    assert complaint in cospace("eval", trained, shapes, "--classes", tmp_path / "names.txt").refusal()


def test_folders_that_are_called_otherwise_than_their_classes(cospace: Cospace, trained: Path, tmp_path: Path) -> None:
    for place, name in enumerate(("automobile", "cat", "dogs")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(3):
            shape_picture("red", "circle", 10 * place + number).save(tmp_path / "data" / name / f"{number}.png")
    names = tmp_path / "names.txt"
    names.write_text("car\ncat\ndog\n")
    result = cospace("eval", trained, tmp_path / "data", "--classes", names, "--json")
    assert "6 of 9 have a name that is no class: 'automobile' (3), 'dogs' (3; nearest: dog)" in result.err
    assert json.loads(result.out)["zero_shot/n_without_class"] == 6
    names.write_text("automobile = car\ncat\ndogs=dog\n")
    result = cospace("eval", trained, tmp_path / "data", "--classes", names, "--json")
    assert "no class" not in result.err and json.loads(result.out)["zero_shot/n"] == 9
    names.write_text("lorry\ndogge\n")
    refusal = cospace("eval", trained, tmp_path / "data", "--classes", names).refusal()
    assert "none of the rows has one of the 2 classes" in refusal and "nearest: dogge" in refusal


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "cannot read the templates"), ("\n", "holds no templates"), ("a photo", "no place for the class name")],
)
def test_broken_templates(
    cospace: Cospace, trained: Path, shapes: Path, tmp_path: Path, content: str | None, complaint: str
) -> None:
    (tmp_path / "names.txt").write_text("a red circle number 0\na blue square number 1\n")
    if content is not None:
        (tmp_path / "templates.txt").write_text(content)
    options = ["--classes", tmp_path / "names.txt", "--templates", tmp_path / "templates.txt"]
    assert complaint in cospace("eval", trained, shapes, *options).refusal()


@pytest.mark.parametrize("name", ["vectors.csv", "vectors"])
def test_vectors_go_to_files_that_are_known(
    cospace: Cospace, trained: Path, shapes: Path, tmp_path: Path, name: str
) -> None:
    assert ".parquet or .npz" in cospace("embed", trained, shapes, "--out", tmp_path / name).refusal()


# ------------------------------------------------------------------------------------------------ search


def test_search_needs_an_index(cospace: Cospace, trained: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "nothing", trained):
        refusal = cospace("search", folder, "a red bus").refusal()
        assert "is no index" in refusal
        assert "cospace index" in refusal


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([""], "the search text is empty"),
        (["  "], "the search text is empty"),
        ([], "give exactly one of them"),
        (["bus", "--image", "a.png"], "give exactly one of them"),
        (["bus", "-k", "0"], "k must be at least 1; 0 was given"),
        (["bus", "-k", "-3"], "k must be at least 1; -3 was given"),
        (["bus", "--find", "images"], "did you mean 'image'"),
        (["--image", "nowhere.png"], "nowhere.png does not exist"),
    ],
    ids=str,
)
def test_searches_that_make_no_sense(cospace: Cospace, idx: Path, arguments: list[str], complaint: str) -> None:
    assert complaint in cospace("search", idx, *arguments).refusal()


def test_an_image_that_cannot_be_searched_by(cospace: Cospace, idx: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("these are notes")
    refusal = cospace("search", idx, "--image", tmp_path / "notes.png").refusal()
    assert "notes.png" in refusal
    assert "no image in JPEG" in refusal


def test_another_runs_index_is_refused_with_both_fingerprints(
    cospace: Cospace, shapes: Path, trained: Path, other: Path, tmp_path: Path
) -> None:
    out = tmp_path / "idx"
    assert cospace("index", trained, shapes, "--out", out).code == 0
    refusal = cospace("index", other, shapes, "--out", out).refusal()
    assert len(set(re.findall(r"\b[0-9a-f]{16}\b", refusal))) == 2
    # The same for a search, should someone put another model into the folder.
    (out / "model").rename(out / "old")
    (other / "model").rename(out / "model")
    try:
        assert len(set(re.findall(r"\b[0-9a-f]{16}\b", cospace("search", out, "bus").refusal()))) == 2
    finally:
        (out / "model").rename(other / "model")


def test_an_index_is_not_put_among_other_files(cospace: Cospace, shapes: Path, trained: Path) -> None:
    refusal = cospace("index", trained, shapes, "--out", shapes.parent).refusal()
    assert "holds no index" in refusal
    assert shapes.exists()


# ------------------------------------------------------------------------------------------------ the system refuses


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "make room"), (errno.EACCES, "permissions"), (errno.EDQUOT, "quota"), (errno.EROFS, "permissions")],
)
def test_what_the_system_refuses_is_said_in_a_sentence(
    cospace: Cospace, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    real = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == "metrics.json":
            raise OSError(number, os.strerror(number), str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    refusal = cospace("train", shapes, "--out", tmp_path / "run", *QUICK).refusal()
    assert "metrics.json" in refusal
    assert os.strerror(number).lower() in refusal
    assert advice in refusal
    monkeypatch.undo()
    assert cospace("train", shapes, "--out", tmp_path / "run", *QUICK).code == 0


def test_files_where_folders_belong_and_folders_where_files_belong(
    cospace: Cospace, shapes: Path, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.npz").mkdir()
    assert f"{tmp_path / 'file'}" in cospace("train", shapes, "--out", tmp_path / "file", *QUICK).refusal()
    assert "file" in cospace("index", trained, shapes, "--out", tmp_path / "file" / "idx").refusal()
    assert "folder.npz" in cospace("embed", trained, shapes, "--out", tmp_path / "folder.npz").refusal()
    assert "folder.npz" in cospace("eval", trained, shapes, "--report", tmp_path / "folder.npz").refusal()


def test_our_own_faults_keep_their_traceback(cospace: Cospace, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **settings: object) -> None:
        raise OSError("a library's own words, without a number")

    monkeypatch.setattr("cospace.commands.check.check", broken)
    with pytest.raises(OSError, match="own words"):
        cospace("check", shapes)


def limit_files() -> None:
    """No file may grow beyond 20 kB: like a full disk, without filling one."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_real_process_that_runs_out_of_room(cospace: Cospace, trained: Path, shapes: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cospace", "index", trained, shapes, "--out", tmp_path / "idx"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit_files)
    assert Result(done.returncode, done.stdout, done.stderr).refusal().count("file too large") == 1
    left = cospace("index", trained, shapes, "--out", tmp_path / "idx")
    assert left.code == 0, "what was left half made must not stand in the way"


def test_a_real_process_answers_with_exit_codes() -> None:
    command = [sys.executable, "-m", "cospace"]
    wrong = subprocess.run([*command, "check", "nowhere.csv"], capture_output=True, text=True, check=False)
    assert "does not exist" in Result(wrong.returncode, wrong.stdout, wrong.stderr).refusal()
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    assert (version.returncode, version.stderr) == (0, "")
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", version.stdout)


# ------------------------------------------------------------------------------------------------ readers that leave


def without_a_reader(arguments: Sequence[str | Path], stream: str, other: str) -> tuple[int, str]:
    """The exit code of a real process one of whose streams nobody reads, and what it wrote to the other one."""
    reading, writing = os.pipe()
    os.close(reading)
    streams = {stream: writing, other: subprocess.PIPE}
    try:
        command = [sys.executable, "-m", "cospace", *arguments]
        done = subprocess.run(command, text=True, check=False, **streams)
    finally:
        os.close(writing)
    return done.returncode, getattr(done, other)


@pytest.mark.parametrize(
    "arguments", [["train", "--help"], ["--version"], ["recipes"], ["recipes", "--json"]], ids=" ".join
)
def test_a_command_that_nobody_reads_ends_quietly(arguments: list[str]) -> None:
    assert without_a_reader(arguments, "stdout", "stderr") == (141, "")


def test_results_that_nobody_reads_end_quietly(idx: Path) -> None:
    assert without_a_reader(["search", idx, "a red circle", "--json"], "stdout", "stderr") == (141, "")


def test_progress_and_refusals_that_nobody_reads_end_quietly(cospace: Cospace, shapes: Path, tmp_path: Path) -> None:
    assert without_a_reader(["check", "nowhere.csv"], "stderr", "stdout") == (141, "")
    command = ["train", shapes, "--out", tmp_path / "run", *QUICK]
    assert without_a_reader(command, "stderr", "stdout") == (141, "")
    assert cospace(*command).code == 0, "what was left half made must not stand in the way"


@pytest.mark.parametrize("arguments", ["train --help", "train --help-settings --json"])
def test_the_head_of_an_output(arguments: str) -> None:
    line = f"{sys.executable} -m cospace {arguments} | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert int(done.stdout[1:]) in (0, 141), "0 where it had written everything before its reader left"


def test_other_broken_pipes_are_told(cospace: Cospace, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **settings: object) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    monkeypatch.setattr("cospace.commands.check.check", broken)
    assert "broken pipe" in cospace("check", shapes).refusal()


# ------------------------------------------------------------------------------------------------ help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(cospace: Cospace, command: str) -> None:
    shown = cospace(command, "--help")
    assert shown.code == 0
    assert re.search(rf"Example: cospace {command}\b", shown.out)


def test_help_lists_every_command(cospace: Cospace) -> None:
    shown = cospace("--help")
    assert shown.code == 0
    assert all(re.search(rf"│ {command} ", shown.out) for command in COMMANDS)


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from cospace.cli import run; run(['train', '--help']);"
        "sys.stderr.write(' '.join({'torch', 'numpy', 'PIL', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_numbers_of_a_run_are_finite(trained: Path) -> None:
    rows = MetricsLog(trained / "metrics.jsonl").rows()
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert all(np.isfinite(list(row.values())).all() for row in rows)

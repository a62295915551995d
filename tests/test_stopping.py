"""SIGTERM, SIGINT and SIGUSR1: the work at hand is finished, one true line is said, the same command goes on."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, Cospace, Result
from cospace import stopping
from cospace.commands import embed as embedding
from cospace.commands import index as indexing
from cospace.commands.search import SearchableIndex
from cospace.commands.train import _Session
from cospace.commands.training_evaluation import RunEvaluation
from cospace.commands.training_items import RunItems
from cospace.data import examining, known_files
from cospace.modalities import modality
from cospace.runs.metrics_log import MetricsLog
from cospace.runs.run import Run
from cospace.training.checkpoint import Checkpoints
from cospace.training.loop import Trainer

STEPS = 8
SETTINGS = (*TINY, f"training.steps={STEPS}", "training.evaluations=3", "training.checkpoint_seconds=1000")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Sent:
    """Sends this process a signal before or after the ``at``-th call of something."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int) -> None:
        self._patch, self._number, self.calls = patch, number, 0

    def at(self, owner: Any, name: str, at: int = 1, after: bool = True) -> None:
        real = getattr(owner, name)

        def signalled(*arguments: Any, **settings: Any) -> Any:
            self.calls += 1
            if self.calls == at and not after:
                os.kill(os.getpid(), self._number)
            found = real(*arguments, **settings)
            if self.calls == at and after:
                os.kill(os.getpid(), self._number)
            return found

        self._patch.setattr(owner, name, signalled)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Sent]]:
    before = [signal.getsignal(number) for number in SIGNALS]
    with monkeypatch.context() as patch:
        yield lambda number: Sent(patch, number)
    assert [signal.getsignal(number) for number in SIGNALS] == before, "handlers are as they were"


def line(result: Result, number: signal.Signals) -> str:
    """The one line with which a command that was stopped ends, without what every such line says."""
    assert result.code == 0, result
    last = result.err.splitlines()[-1]
    begin, end = f"cospace: stopped by {number.name} ", "; the same command goes on from there: cospace "
    assert last.startswith(begin) and end in last, result.err
    assert result.err.count("stopped by") == 1
    return last.removeprefix(begin).partition(end)[0]


def losses(out: Path) -> list[tuple[int, float, float | None]]:
    return [(row["step"], row["loss"], row.get("val/score")) for row in MetricsLog(out / "metrics.jsonl").rows()]


def same_run(out: Path, whole: Path) -> bool:
    metrics = (out / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()
    return (
        metrics
        and losses(out) == losses(whole)
        and Run.load(out).space.fingerprint == Run.load(whole).space.fingerprint
    )


# ------------------------------------------------------------------------------------------------ train


@pytest.fixture(scope="module")
def whole(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cospace.commands.train import TrainArguments, train

    out = tmp_path_factory.mktemp("whole") / "run"
    train(TrainArguments(shapes, out, overrides=SETTINGS))
    return out


MOMENTS: dict[str, tuple[Any, str, int, str]] = {
    "in a step": (Trainer, "step", random.Random(22).randint(2, 5), "after step {}"),
    "while a batch's row is logged": (MetricsLog, "write", 3, "after step 3"),
    "in an evaluation": (_Session, "_evaluate", 2, "after step 4"),
    "in the last evaluation on the way": (_Session, "_evaluate", 4, "after step 8"),
    "in the evaluation of the finished run": (RunEvaluation, "finished", 1, "after step 8"),
    "while the data is read": (RunItems, "_prepared", 1, "before anything was changed, so nothing is lost"),
}
"""Where a signal comes: in which call of what; and what is done then."""


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_training_that_is_stopped_anywhere_loses_no_step(
    moment: str, shapes: Path, tmp_path: Path, whole: Path, cospace: Cospace, sent: Callable[[int], Sent]
) -> None:
    owner, name, at, done = MOMENTS[moment]
    number = SIGNALS[list(MOMENTS).index(moment) % 3]
    out = tmp_path / "run"
    command = ["train", shapes, "--out", out, "--no-report", *SETTINGS]
    with pytest.MonkeyPatch.context() as patch:
        Sent(patch, number).at(owner, name, at, after=False)
        stopped = cospace(*command)
    assert line(stopped, number) == done.format(at)
    assert not (out / "model").exists()
    assert cospace(*command).code == 0
    assert same_run(out, whole)
    assert not (out / "checkpoints").exists() and not (out / "cache").exists()


def test_a_signal_while_the_model_is_written_finds_the_run_finished(
    shapes: Path, tmp_path: Path, whole: Path, cospace: Cospace, sent: Callable[[int], Sent]
) -> None:
    sent(signal.SIGTERM).at(Checkpoints, "clear")
    done = cospace("train", shapes, "--out", tmp_path / "run", "--no-report", *SETTINGS, "--json")
    assert done.code == 0 and "stopped" not in done.err
    assert json.loads(done.out)["n_images"]
    assert same_run(tmp_path / "run", whole)


def test_a_stopped_command_with_json_prints_one_object(
    shapes: Path, tmp_path: Path, cospace: Cospace, sent: Callable[[int], Sent]
) -> None:
    sent(signal.SIGTERM).at(Trainer, "step")
    stopped = cospace("train", shapes, "--out", tmp_path / "run", *SETTINGS, "--json")
    assert "after step 1;" in json.loads(stopped.out)["stopped"]
    assert line(stopped, signal.SIGTERM) == "after step 1"


# ------------------------------------------------------------------------------------------------ embed, index, check


def test_an_embedding_is_stopped_after_its_part(
    trained: Path, shapes: Path, tmp_path: Path, cospace: Cospace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("image", "text"):
        monkeypatch.setattr(type(modality(name)), "job_size", 16)
    whole, out = tmp_path / "whole.npz", tmp_path / "v.npz"
    assert cospace("embed", trained, shapes, "--out", whole).code == 0
    for at, done in ((1, 16), (2, 48)):
        with pytest.MonkeyPatch.context() as patch:
            Sent(patch, signal.SIGINT).at(embedding.Job, "_do", at)
            stopped = cospace("embed", trained, shapes, "--out", out)
        assert line(stopped, signal.SIGINT) == f"with {done} of 126 different items embedded"
        assert not out.exists()
    alone = []
    monkeypatch.setattr(embedding, "prepare_isolated", lambda *given: alone.append(given))
    assert cospace("embed", trained, shapes, "--out", out).code == 0
    assert out.read_bytes() == whole.read_bytes()
    assert not alone, "a part that was given back is none that ended a process"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.npz", "whole.npz"]


def test_an_index_is_stopped_after_its_part(
    trained: Path, shapes: Path, tmp_path: Path, cospace: Cospace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "PART", 32)
    command = ["index", trained, shapes.parent / "images", "--out", tmp_path / "idx"]
    with pytest.MonkeyPatch.context() as patch:
        Sent(patch, signal.SIGTERM).at(indexing._Work, "_add")
        stopped = cospace(*command)
    assert line(stopped, signal.SIGTERM) == "with 32 items in the index"
    done = json.loads(cospace(*command, "--json").out)
    assert (done["added"], done["unchanged"], done["in_index"]) == (32, 32, 64)
    assert cospace("index", trained, shapes.parent / "images", "--out", tmp_path / "whole").code == 0
    found = [SearchableIndex.open(tmp_path / name) for name in ("idx", "whole")]
    ids = [sorted(item.id for item in one.store.items(one.store.select())) for one in found]
    assert ids[0] == ids[1]


def test_an_index_that_is_stopped_before_its_first_part_is_not_there(
    trained: Path, shapes: Path, tmp_path: Path, cospace: Cospace, sent: Callable[[int], Sent]
) -> None:
    sent(signal.SIGTERM).at(indexing, "read_input")
    stopped = cospace("index", trained, shapes, "--out", tmp_path / "idx")
    assert line(stopped, signal.SIGTERM) == "before anything was changed, so nothing is lost"
    assert not (tmp_path / "idx").exists()


def test_a_check_is_stopped_after_its_item_and_remembers_what_it_saw(
    shapes: Path, tmp_path: Path, cospace: Cospace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(known_files, "SETTLED", -3600.0)
    with pytest.MonkeyPatch.context() as patch:
        Sent(patch, signal.SIGTERM).at(examining._Table, "add", 10)
        stopped = cospace("check", shapes)
    said = line(stopped, signal.SIGTERM)
    assert said == "with 10 of 62 images looked at"
    seen = []
    examine = type(modality("image")).examine
    monkeypatch.setattr(type(modality("image")), "examine", lambda self, raw: (seen.append(raw), examine(self, raw))[1])
    again = cospace("check", shapes, "--json")
    assert len(seen) == 52, "the ten are known"
    shutil.rmtree(tmp_path / "cache")
    assert json.loads(again.out) == json.loads(cospace("check", shapes, "--json").out)


# ------------------------------------------------------------------------------------------------ the module itself

WAITING = """
import sys, time
from cospace import stopping
stopping.PATIENCE = float(sys.argv[1])
asked = stopping.Stopping("cospace train x")
with asked.listening(), asked.finishing():
    asked.reached("after step 7")
    print("ready", flush=True)
    {waits}
"""
IN_PYTHON = "time.sleep(60)"
IN_NATIVE_CODE = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'a', b'b', 500_000_000)"


def waiting(waits: str, patience: float = 60.0) -> subprocess.Popen[str]:
    """A process whose unit of work takes a minute, in code that sees no signals or in Python's own."""
    program = [sys.executable, "-c", WAITING.format(waits=waits), str(patience)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("waits", [IN_PYTHON, IN_NATIVE_CODE])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_a_second_signal_ends_it_at_once(number: signal.Signals, code: int, waits: str) -> None:
    process = waiting(waits)
    process.send_signal(number)
    time.sleep(3 * stopping.TWICE)
    assert process.poll() is None, "the first one asks"
    began = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, time.monotonic() - began < 5) == (code, True), said
    go_on = "after step 7; the same command goes on from there: cospace train x"
    assert said == f"cospace: stopped at once by {number.name} {go_on}\n"


def test_a_unit_of_work_that_takes_too_long_is_given_up() -> None:
    process = waiting(IN_NATIVE_CODE, patience=0.5)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "did not end" in said and "by SIGTERM after step 7; the same command goes on" in said


def test_one_ctrl_c_that_comes_twice_is_one() -> None:
    process = waiting(IN_PYTHON)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    time.sleep(3 * stopping.TWICE)
    assert process.poll() is None
    process.kill()
    process.communicate()


def test_processes_that_are_started_hear_nothing() -> None:
    with stopping.unheard():
        process = subprocess.Popen(["sleep", "60"])
    for number in SIGNALS:
        process.send_signal(number)
    time.sleep(0.2)
    assert process.poll() is None
    process.kill()
    process.wait()


def test_a_script_that_uses_the_library_keeps_its_own_signals() -> None:
    before = signal.getsignal(signal.SIGINT)  # which a shell may have had ignored
    assert not stopping.current().asked
    with stopping.current().finishing(), stopping.current().interruptible():
        stopping.current().check()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("pause", [0.25, 0.6, pytest.param(1.2, marks=pytest.mark.slow)])
def test_a_signal_while_the_command_is_imported(pause: float, shapes: Path, tmp_path: Path) -> None:
    """Before Python has begun it is as ever; from then on there is one line."""
    command = [sys.executable, "-m", "cospace", "train", str(shapes), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(pause)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    if process.returncode == 0:
        assert said.splitlines()[-1].startswith("cospace: stopped by SIGINT before anything was changed")
        assert "Traceback" not in said
    else:
        assert process.returncode == -signal.SIGINT and "cospace" not in said
    assert not (tmp_path / "run" / "model").exists()


def test_a_signal_when_all_is_done_changes_no_exit_code() -> None:
    program = (
        "import os, signal, sys\nfrom cospace import stopping\nstopping.exit_at_once(2)\n"
        "os.kill(os.getpid(), signal.SIGINT)\nimport time; time.sleep(60)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (2, "")


def test_a_signal_while_the_interpreter_ends_leaves_the_exit_code() -> None:
    program = (
        "import atexit, os, signal, sys, time\nfrom cospace import stopping\n"
        "class Slow:\n"
        "    def __del__(self, write=os.write, sleep=time.sleep):\n"
        "        write(1, b'x')\n"
        "        sleep(1)\n"
        "slow = Slow()\natexit.register(stopping.ignore_signals)\nstopping.exit_at_once(2)\nsys.exit(2)\n"
    )
    running = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert running.stdout is not None and running.stdout.read(1) == b"x"
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == 2
    running.stdout.close()

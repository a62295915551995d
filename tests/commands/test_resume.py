"""A run that is killed and started again is, bit for bit, the run that was left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import TINY
from cospace import files
from cospace.commands.train import Listener, TrainArguments
from cospace.commands.train import train as train_run
from cospace.runs.metrics_log import MetricsLog
from cospace.runs.run import Run
from cospace.training.checkpoint import Checkpoints

STEPS = 16
SETTINGS = (*TINY, f"training.steps={STEPS}", "training.evaluations=1", "training.checkpoint_seconds=0")
PATIENT = (*SETTINGS, "training.evaluations=15", "training.patience=3")
"""Evaluated after every step, and stopped after the third in a row that is no better."""
DEAD = 2**22 + 1
"""A process id above the largest there can be."""


def losses(out: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in MetricsLog(out / "metrics.jsonl").rows()]


def fingerprint(out: Path) -> str:
    return str(Run.load(out).space.fingerprint)


# ------------------------------------------------------------------------------------------------ real kills


def start(pairs: Path, out: Path, workers: int, settings: tuple[str, ...] = SETTINGS) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cospace", "train", str(pairs), "--out", str(out), "--no-report", *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}  # sums depend on it, bit for bit
    return subprocess.Popen(
        [*command, f"training.workers={workers}"], stderr=subprocess.PIPE, text=True, env=environment
    )


def finish(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def kill_at(process: subprocess.Popen[str], out: Path, step: int, pause: float) -> None:
    """SIGKILL a moment after the step was logged: while it saves, while it trains, whatever it does then."""
    log = out / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and log.read_bytes().count(b"\n") >= step:
            break
        time.sleep(0.002)
    time.sleep(pause)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was done before the kill"


@pytest.mark.parametrize(("workers", "kills"), [pytest.param(0, 2, marks=pytest.mark.slow), (2, 1)])
def test_kill_nine_and_the_same_command_again(
    shapes: Path, whole: Path, tmp_path: Path, workers: int, kills: int
) -> None:
    dice = np.random.default_rng([workers, kills])
    moments = sorted(dice.integers(2, STEPS - 5, kills).tolist())
    out = tmp_path / "run"
    for step in moments:
        kill_at(start(shapes, out, workers), out, step, pause=float(dice.uniform(0, 0.05)))
        assert not (out / "model").exists()
    said = finish(start(shapes, out, workers))
    assert "resuming after step" in said
    assert same(out, whole)
    assert (out / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()
    assert not list(out.rglob("*.tmp-*")), "what the killed processes left half written is gone"


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "kills"), [(0, 8), (2, 4)])
def test_many_kills(shapes: Path, whole: Path, tmp_path: Path, workers: int, kills: int) -> None:
    dice = np.random.default_rng(workers)
    out = tmp_path / "run"
    for step in sorted(dice.integers(1, STEPS - 5, kills).tolist()):
        kill_at(start(shapes, out, workers), out, step, pause=float(dice.uniform(0, 0.1)))
    finish(start(shapes, out, workers))
    assert same(out, whole)


# ------------------------------------------------------------------------------------------------ damage, in process


class Stop(BaseException):
    """Ends a run where a test wants it to end."""


def train(pairs: Path, out: Path, settings: tuple[str, ...] = SETTINGS) -> list[str]:
    """Train and return what was said, after the three lines on what was read."""
    said: list[str] = []
    train_run(TrainArguments(pairs, out, overrides=settings, listener=Listener(say=said.append)))
    return said[3:]


def stop_when(patch: pytest.MonkeyPatch, target: Any, name: str, now: Callable[..., bool]) -> None:
    """Raise :class:`Stop` in place of the first call of ``target.name`` whose arguments satisfy ``now``."""
    real = getattr(target, name)

    def maybe(*arguments: Any) -> Any:
        if now(*arguments):
            raise Stop
        return real(*arguments)

    patch.setattr(target, name, maybe)


@pytest.fixture(scope="module")
def whole(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run left alone, made in this process, as its rivals below are."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(shapes, out)
    assert [step for step, _ in losses(out)] == list(range(1, STEPS + 1))
    return out


@pytest.fixture
def stopped(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that ended after its checkpoint of step 7."""
    with monkeypatch.context() as patch:
        stop_when(patch, MetricsLog, "write", lambda log, row: row["step"] == 8)
        with pytest.raises(Stop):
            train(shapes, tmp_path / "run")
    assert [path.name for path in sorted((tmp_path / "run" / "checkpoints").iterdir())] == [
        "best-00000008",  # of an evaluation that no checkpoint knows of
        "step-00000006",
        "step-00000007",
    ]
    return tmp_path / "run"


def same(out: Path, whole: Path) -> bool:
    return losses(out) == losses(whole) and fingerprint(out) == fingerprint(whole)


# ------------------------------------------------------------------------------------------------ the best evaluation


@pytest.fixture(scope="module")
def patient(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run left alone that stops early and keeps an evaluation before its last."""
    out = tmp_path_factory.mktemp("patient") / "run"
    said = train(shapes, out, PATIENT)
    facts = Run.load(out).facts
    assert facts["kept_step"] == facts["best"]["step"] == facts["last"]["step"] - 3
    assert 1 < facts["last"]["step"] < STEPS
    assert any(sentence.startswith("stopped early after step") for sentence in said)
    return out


def same_choice(out: Path, patient: Path) -> bool:
    """Whether two runs kept and stopped at the same steps, with the same weights, scores and figures."""
    facts = [Run.load(run).facts for run in (out, patient)]
    chosen = [{name: one[name] for name in ("steps", "kept_step", "best", "last", "least_difference")} for one in facts]
    metrics = [(run / "metrics.json").read_bytes() for run in (out, patient)]
    return same(out, patient) and chosen[0] == chosen[1] and metrics[0] == metrics[1]


MOMENTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "before the best weights are written": (Checkpoints, "save_best", lambda best, keeper, step: step == best),
    "before the evaluation is logged": (MetricsLog, "write", lambda best, log, row: row["step"] == best),
    "before the checkpoint is written": (Checkpoints, "save", lambda best, keeper, step, facts: step == best),
    "while the best is some steps old": (MetricsLog, "write", lambda best, log, row: row["step"] == best + 2),
    "before the best weights are restored": (Checkpoints, "load_best", lambda best, keeper, step: True),
    "while the run is saved": (files, "write_json", lambda best, path, content: path.name == "run.json"),
}
"""Where a run is ended, given the step whose evaluation it keeps; machines round differently, so that differs."""


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_keeps_the_same_evaluation_and_stops_at_the_same_step(
    shapes: Path, tmp_path: Path, patient: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    out = tmp_path / "run"
    target, name, now = MOMENTS[moment]
    with monkeypatch.context() as patch:
        stop_when(patch, target, name, partial(now, Run.load(patient).facts["kept_step"]))
        with pytest.raises(Stop):
            train(shapes, out, PATIENT)
    train(shapes, out, PATIENT)
    assert same_choice(out, patient)
    assert not (out / "checkpoints").exists()


@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_kill_nine_keeps_the_same_evaluation(shapes: Path, tmp_path: Path, patient: Path, kills: int) -> None:
    dice = np.random.default_rng(kills)
    out = tmp_path / "run"
    for step in sorted(dice.integers(1, 4, kills).tolist()):
        kill_at(start(shapes, out, 0, PATIENT), out, step, pause=float(dice.uniform(0, 0.03)))
    finish(start(shapes, out, 0, PATIENT))
    assert same_choice(out, patient)


@pytest.mark.parametrize("damage", ["flip", "cut", "no manifest"])
def test_a_damaged_checkpoint_is_passed_over(shapes: Path, stopped: Path, whole: Path, damage: str) -> None:
    newest = stopped / "checkpoints" / "step-00000007"
    state = newest / "state.safetensors"
    data = bytearray(state.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 4
        state.write_bytes(data)
    elif damage == "cut":
        state.write_bytes(data[:-100])
    else:
        (newest / files.MANIFEST).unlink()
    said = train(shapes, stopped)
    assert "step-00000007 is damaged and was passed over" in said[0]
    assert "resuming after step 6" in said[1]
    assert same(stopped, whole)


def test_with_every_checkpoint_damaged_it_begins_anew(shapes: Path, stopped: Path, whole: Path) -> None:
    for state in (stopped / "checkpoints").rglob("state.json"):
        state.write_text("{}")
    said = train(shapes, stopped)
    assert sum("damaged" in sentence for sentence in said) == 2
    assert not any("going on" in sentence for sentence in said)
    assert same(stopped, whole)


def test_what_dead_writers_left_is_cleared_and_put_back(shapes: Path, stopped: Path, whole: Path) -> None:
    checkpoints = stopped / "checkpoints"
    (checkpoints / "step-00000007").rename(checkpoints / f"step-00000007.old-{DEAD}")
    (checkpoints / f"step-00000007.tmp-{DEAD}").mkdir()
    (checkpoints / f"step-00000009.tmp-{DEAD}").mkdir()
    (stopped / f"model.tmp-{DEAD}").mkdir()
    seen: list[list[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        resume = Checkpoints.resume
        patch.setattr(Checkpoints, "resume", lambda self: (resume(self), seen.append(os.listdir(checkpoints)))[0])
        said = train(shapes, stopped)
    assert sorted(seen[0]) == ["step-00000006", "step-00000007"]
    assert said[0] == "resuming after step 7"
    assert same(stopped, whole)
    assert not list(stopped.rglob(f"*-{DEAD}"))


def test_a_log_line_cut_in_two_does_no_harm(shapes: Path, stopped: Path, whole: Path) -> None:
    log = stopped / "metrics.jsonl"
    log.write_text(log.read_text() + json.dumps({"step": 8, "loss": 1.0}) + '\n{"step": 9, "lo')
    train(shapes, stopped)
    assert same(stopped, whole)


@pytest.mark.parametrize("name", ["metrics.json", "model"])
def test_a_run_that_ended_while_it_was_being_saved(
    shapes: Path, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        writer = "write_folder" if name == "model" else "write_json"
        stop_when(patch, files, writer, lambda path, content: path.name == name)
        with pytest.raises(Stop):
            train(shapes, out)
    assert train(shapes, out) == [f"resuming after step {STEPS}"]
    assert same(out, whole)


def test_two_processes_do_not_train_one_run(shapes: Path, stopped: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(stopped)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(files.UserError, match=f"process {other.pid}"):
            train(shapes, stopped)
    finally:
        other.communicate("\n")
    assert train(shapes, stopped)[0] == "resuming after step 7"


HOLDER = (
    "import sys; from pathlib import Path; from cospace.locks import Lock\n"
    "with Lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.readline()"
)

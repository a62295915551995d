"""A run that was killed and whose files were damaged, replaced or left behind goes on, and says what it lost."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, Cospace
from cospace import files
from cospace.commands import train as training
from cospace.commands.train import Listener, TrainArguments
from cospace.runs.metrics_log import MetricsLog
from cospace.runs.run import Run
from cospace.training.checkpoint import Checkpoints
from cospace.types import UserError
from faults import Fault

STEPS = 6
SETTINGS = (*TINY, f"training.steps={STEPS}", "training.evaluations=1", "training.checkpoint_seconds=0")


class Stop(BaseException):
    """Ends a run where a test wants it to end."""


def train(pairs: Path, out: Path, *more: str) -> list[str]:
    """Train; what was said after what was read."""
    said: list[str] = []
    training.train(TrainArguments(pairs, out, overrides=(*SETTINGS, *more), listener=Listener(say=said.append)))
    return said[3:]


def stopped_at(pairs: Path, out: Path, step: int, *more: str) -> Path:
    """A run that ended while it logged this step."""
    with pytest.MonkeyPatch.context() as patch:
        write = MetricsLog.write

        def stop(log: MetricsLog, row: dict[str, Any]) -> None:
            if row["step"] == step:
                raise Stop
            write(log, row)

        patch.setattr(MetricsLog, "write", stop)
        with pytest.raises(Stop):
            train(pairs, out, *more)
    return out


@pytest.fixture(scope="module")
def whole(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    train(shapes, out)
    return out


@pytest.fixture(scope="module")
def half(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints of steps 3 and 4. Read only."""
    return stopped_at(shapes, tmp_path_factory.mktemp("half") / "run", 5)


@pytest.fixture
def stopped(half: Path, tmp_path: Path) -> Path:
    return shutil.copytree(half, tmp_path / "run")


def same(out: Path, whole: Path) -> bool:
    weights = Run.load(out).space.fingerprint == Run.load(whole).space.fingerprint
    return weights and (out / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()


def flip(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1 << random.Random(str(path.name)).randrange(8)
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
@pytest.mark.parametrize("name", ["identity.json", "metrics.jsonl"])
def test_a_damaged_file_of_a_killed_run_costs_nothing_but_itself(
    name: str, damage: Callable[[Path], None], shapes: Path, stopped: Path, whole: Path
) -> None:
    damage(stopped / name)
    said = train(shapes, stopped)
    assert "resuming after step 4" in said
    assert same(stopped, whole)
    steps = [row["step"] for row in MetricsLog(stopped / "metrics.jsonl").rows()]
    assert steps[-2:] == [5, 6] and steps == sorted(set(steps))
    if damage is not Path.unlink:
        assert any(name in sentence and "damaged" in sentence for sentence in said)


def test_a_damaged_identity_does_not_let_another_run_in(shapes: Path, stopped: Path) -> None:
    flip(stopped / "identity.json")
    said = train(shapes, stopped, "training.seed=5")
    assert sum("of another run" in sentence for sentence in said) == 2
    assert not any("resuming" in sentence for sentence in said)


def test_a_checkpoint_of_another_run_is_passed_over(shapes: Path, stopped: Path, whole: Path, tmp_path: Path) -> None:
    other = stopped_at(shapes, tmp_path / "other", 6, "training.seed=9")
    shutil.copytree(other / "checkpoints" / "step-00000005", stopped / "checkpoints" / "step-00000005")
    said = train(shapes, stopped)
    assert "step-00000005 is damaged and was passed over" in said[0] and "of another run" in said[0]
    assert said[1] == "resuming after step 4"
    assert same(stopped, whole)


def test_a_checkpoint_under_the_name_of_another_step_is_passed_over(shapes: Path, stopped: Path, whole: Path) -> None:
    shutil.copytree(stopped / "checkpoints" / "step-00000003", stopped / "checkpoints" / "step-00000005")
    said = train(shapes, stopped)
    assert "is of step 3" in said[0] and said[1] == "resuming after step 4"
    assert same(stopped, whole)


def test_what_was_passed_over_does_not_push_out_what_comes_after(shapes: Path, stopped: Path) -> None:
    for state in (stopped / "checkpoints").rglob("state.json"):
        flip(state)
    stopped_at(shapes, stopped, 3)
    assert sorted(path.name for path in (stopped / "checkpoints").glob("step-*")) == ["step-00000001", "step-00000002"]
    assert train(shapes, stopped)[0] == "resuming after step 2"


# ------------------------------------------------------------------------------------------------ the end of a run

ENDS = {
    "before the checkpoints go": (Checkpoints, "clear", False),
    "after the checkpoints went": (Checkpoints, "clear", True),
    "before the model is read again": (Run, "load", False),
}
"""Where a run ends: before or after which call."""


@pytest.mark.parametrize("end", ENDS)
def test_a_run_that_ended_just_after_its_model_was_written(
    end: str, shapes: Path, tmp_path: Path, whole: Path, cospace: Cospace
) -> None:
    out, (owner, name, after) = tmp_path / "run", ENDS[end]
    real = getattr(owner, name)

    def stop(*given: Any) -> None:
        if after:
            real(*given)
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, stop)
        with pytest.raises(Stop):
            train(shapes, out)
    assert (out / "model" / "space.json").exists()
    again = cospace("train", shapes, "--out", out, "--no-report", *SETTINGS)
    if after:  # all but the clearing up was done
        assert "already holds a finished run" in again.refusal()
    else:
        assert again.code == 0, again.err
        assert "resuming after step 6" in again.err
    assert same(out, whole)
    assert {path.name for path in out.iterdir()} <= {path.name for path in whole.iterdir()}, "nothing is left behind"


def ends_with_fault(pairs: Path, almost: Path, out: Path, kind: str, n: int) -> tuple[bool, bool]:
    """The last step and the end of a run, the ``n``-th operation failing: whether it failed, and whether n was met."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(almost, out)
    with pytest.MonkeyPatch.context() as patch:
        fault = Fault(patch, n, kind, under=out)
        try:
            train(pairs, out)
        except OSError:
            return True, True
    return False, fault.left <= 0


@pytest.mark.parametrize("kind", ["ENOSPC", pytest.param("EIO", marks=pytest.mark.slow)])
@pytest.mark.parametrize("every", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_a_fault_at_any_operation_of_the_end_is_no_loss(
    kind: str, every: int, shapes: Path, tmp_path: Path, whole: Path
) -> None:
    """The first faults cost time alone, the later ones find a model that is whole."""
    almost, out = stopped_at(shapes, tmp_path / "almost", STEPS), tmp_path / "run"
    for n in range(1, 500, every):
        failed, met = ends_with_fault(shapes, almost, out, kind, n)
        if not met:
            break
        if failed:
            with suppress(UserError):  # it is finished, but for what has to be cleared
                train(shapes, out)
        assert same(out, whole), n
        assert not list(out.rglob("*.tmp-*")) and not (out / "checkpoints").exists(), n
    assert n > 25, "there are more operations than that"


# ------------------------------------------------------------------------------------------------ a finished run

LOOSE = ("config.json", "metrics.json", "intervals.json", "reliability.json", "run.json")


@pytest.mark.parametrize("name", LOOSE)
def test_a_loose_file_of_a_finished_run_is_a_copy(name: str, trained: Path, tmp_path: Path) -> None:
    out = shutil.copytree(trained, tmp_path / "run")
    known = Run.load(trained)
    assert (out / "model" / "run" / name).read_bytes() == (out / name).read_bytes()
    (out / name).write_text(json.dumps({"a": 1}))
    run = Run.load(out)
    assert (run.facts, run.metrics(), run.config()) == (known.facts, known.metrics(), known.config())
    assert (run.reliability(), run.logit_scale()) == (known.reliability(), known.logit_scale())
    flip(out / "model" / "run" / name)
    with pytest.raises(files.UserError, match=f"{name} is damaged"):
        Run.load(out)


def test_the_logits_of_a_finished_run_do_not_come_from_its_log(trained: Path, tmp_path: Path) -> None:
    out = shutil.copytree(trained, tmp_path / "run")
    scale = Run.load(out).logit_scale()
    rows = MetricsLog(out / "metrics.jsonl").rows()
    assert scale is not None and scale.scale == rows[-1]["logit_scale"]
    (out / "metrics.jsonl").unlink()
    assert Run.load(out).logit_scale() == scale

"""Training with a teacher: from the command to the run, its vectors once, resuming, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import TINY, Cospace
from cospace.commands.train import TrainArguments, train
from cospace.data.pairs import open_pairs
from cospace.data.prepared import prepare_pairs
from cospace.runs import features
from cospace.runs.metrics_log import MetricsLog
from cospace.runs.run import Run
from cospace.runs.settings import resolve
from cospace.runs.teacher import Teacher
from cospace.training.checkpoint import Checkpoints
from cospace.types import silent

STEPS = 8
SETTINGS = (*TINY, f"training.steps={STEPS}", "training.evaluations=1", "training.checkpoint_seconds=0")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


def taught(shapes: Path, teacher: Path, out: Path, *more: str) -> Run:
    return train(TrainArguments(shapes, out, overrides=(*SETTINGS, f"teacher={teacher}", *more))).run


@pytest.fixture(scope="module")
def student(shapes: Path, trained: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has learned from another one. Read only."""
    return taught(shapes, trained, tmp_path_factory.mktemp("student") / "run")


def test_the_run_says_who_taught_it(student: Run, trained: Path) -> None:
    teacher = Run.load(trained)
    assert student.facts["teacher"] == {
        "source": str(trained),
        "fingerprint": teacher.space.fingerprint,
        "logit_scale": pytest.approx(teacher.logit_scale().scale),  # type: ignore[union-attr]
    }
    objective = student.config()["objective"]
    assert objective["name"] == "distillation"
    assert objective["teacher_logit_scale"] == pytest.approx(student.facts["teacher"]["logit_scale"])
    assert objective["of"]["label_smoothing"] == 0.1, "the recipe's own objective is beside it"
    assert "logit_scale" in student.facts["logits"]
    assert student.logit_scale() is not None


def test_batches_bring_the_vectors_that_the_teacher_gives(student: Run, trained: Path, shapes: Path) -> None:
    teacher = Teacher.of(resolve("small", [*TINY, f"teacher={trained}"]))
    assert teacher is not None
    pairs = open_pairs(shapes)
    prepared = teacher.teach(prepare_pairs(pairs, student.space.processors), student.space, silent)
    rows = np.array([5, 3, 5, 40])
    batch = prepared.pairs.matches.batch(rows)
    for name in ("image", "text"):
        expected = teacher.run.space.embed(**{name: [pairs.items[name][row] for row in rows]})
        np.testing.assert_allclose(batch.teacher[name].numpy(), expected, atol=1e-5)
    some = prepared.pairs.select(rows[::-1]).matches.batch(np.arange(4))
    assert torch.equal(some.teacher["image"], batch.teacher["image"].flip(0))


def test_a_second_run_computes_no_vector_again(
    student: Run, shapes: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: Any) -> Any:
        raise AssertionError("the teacher embeds again what is kept")

    monkeypatch.setattr(features, "_computed", never)
    again = taught(shapes, trained, tmp_path / "run")
    assert again.space.fingerprint == student.space.fingerprint, "and it is the same run"


def test_an_unfinished_run_goes_on_bit_for_bit(
    student: Run, shapes: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(BaseException):
        pass

    real, out = Checkpoints.save, tmp_path / "run"

    def save(self: Checkpoints, step: int, *given: Any) -> Any:
        if step == 5:
            raise Stop
        return real(self, step, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        with pytest.raises(Stop):
            taught(shapes, trained, out)
    with pytest.raises(Exception, match=r"other settings or data \(config.objective"):
        taught(shapes, trained, out, "objective.weight=0.9")
    resumed = taught(shapes, trained, out)
    assert resumed.space.fingerprint == student.space.fingerprint
    losses = [[row["loss"] for row in MetricsLog(one.path / "metrics.jsonl").rows()] for one in (resumed, student)]
    assert losses[0] == losses[1]


def test_the_command_line(student: Run, shapes: Path, trained: Path, tmp_path: Path, cospace: Cospace) -> None:
    out = tmp_path / "run"
    made = cospace("train", shapes, "--out", out, "--teacher", trained, "--no-report", *SETTINGS, "objective.weight=1")
    assert made.code == 0, made.err
    assert f"teacher: {trained} (image, text)" in made.err
    assert json.loads((out / "config.json").read_text())["teacher"] == str(trained)
    assert Run.load(out).space.fingerprint != student.space.fingerprint, (
        "what the teacher counts changes what is learned"
    )


def test_what_is_refused(shapes: Path, trained: Path, tmp_path: Path, cospace: Cospace) -> None:
    out = ("--out", tmp_path / "run", *SETTINGS)
    assert "name it: --teacher RUN" in cospace("train", shapes, *out, "objective=distillation").refusal()
    said = cospace("train", shapes, *out, "--teacher", tmp_path / "none").refusal()
    assert "none" in said
    assert not list((tmp_path / "run").glob("model*"))
    lone = Teacher("it", replace_modalities(Run.load(trained)), 10.0)
    with pytest.raises(Exception, match="it takes two modalities that both have"):
        lone.teach(prepare_pairs(open_pairs(shapes), {}), Run.load(trained).space, silent)


def replace_modalities(run: Run) -> Run:
    """A run that embeds texts only."""
    del run.space.encoders["image"]
    return run


def test_a_teacher_that_another_objective_would_ignore_is_refused() -> None:
    config = resolve("small", ["teacher=run"])
    with pytest.raises(Exception, match="objective=distillation; leave out the other objective"):
        Teacher.of(config.model_copy(update={"objective": config.objective["of"]}))
    assert Teacher.of(replace_teacher(config)) is None


def replace_teacher(config: Any) -> Any:
    return config.model_copy(update={"objective": config.objective["of"], "teacher": None})

"""Runs whose items are prepared while they train: the same model, and true counts of what could not be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conftest import TINY
from cospace.commands import training_items
from cospace.commands.train import Listener, TrainArguments, Trained
from cospace.commands.train import train as train_run
from cospace.data.on_demand import OnDemandRows
from cospace.runs.run import Run
from cospace.training.loop import Trainer
from cospace.types import UserError

STEPS = 10
SETTINGS = (*TINY, f"training.steps={STEPS}", "training.evaluations=1", "training.checkpoint_seconds=0")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def train(pairs: Path, out: Path, *overrides: str) -> tuple[Trained, list[str]]:
    said: list[str] = []
    request = TrainArguments(pairs, out, overrides=(*SETTINGS, *overrides), listener=Listener(say=said.append))
    return train_run(request), said


def fingerprint(out: Path) -> str:
    return str(Run.load(out).space.fingerprint)


def test_the_model_is_that_of_items_prepared_before(shapes: Path, tmp_path: Path) -> None:
    before, said = train(shapes, tmp_path / "before", "data.on_demand=false")
    after, said_after = train(shapes, tmp_path / "after", "data.on_demand=true")
    assert fingerprint(tmp_path / "before") == fingerprint(tmp_path / "after")
    assert (tmp_path / "before" / "metrics.json").read_bytes() == (tmp_path / "after" / "metrics.json").read_bytes()
    assert before.counts == after.counts
    assert sorted(said) == sorted(said_after)
    recorded = json.loads((tmp_path / "after" / "config.json").read_text())
    assert recorded["data"]["on_demand"] is True
    assert not (tmp_path / "after" / "cache").exists()


@pytest.fixture
def broken(shapes: Path, tmp_path: Path) -> Path:
    """The same pairs with two pictures that cannot be used."""
    folder = tmp_path / "broken"
    shutil.copytree(shapes.parent, folder)
    for path in sorted((folder / "images").iterdir())[3:5]:
        path.write_bytes(path.read_bytes()[:70])
    return folder / shapes.name


def test_what_cannot_be_used_is_counted_and_a_killed_run_goes_on(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("data.on_demand=true", "data.max_bad_fraction=0.2", "training.batch_size=24")
    whole, _ = train(broken, tmp_path / "whole", *settings)
    found = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert found["set_aside"] == {"truncated": 2}
    assert whole.counts.set_aside == 2
    assert whole.counts.used + whole.counts.set_aside == len(broken.read_text().splitlines()) - 1

    real = Trainer.step

    class Killed(BaseException):
        pass

    def until(self: Trainer, batch: object, steps: int) -> object:
        if batch.step == 6:  # type: ignore[attr-defined]
            raise Killed
        return real(self, batch, steps)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", until)
        with pytest.raises(Killed):
            train(broken, tmp_path / "killed", *settings)
    again, said = train(broken, tmp_path / "killed", *settings)
    assert "resuming after step 6" in said
    assert fingerprint(tmp_path / "killed") == fingerprint(tmp_path / "whole")
    assert again.counts == whole.counts
    assert json.loads((tmp_path / "killed" / "run.json").read_text())["set_aside"] == {"truncated": 2}


def test_too_many_that_cannot_be_used_end_the_run_with_a_sentence(broken: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rows cannot be used .*truncated.*cospace check"):
        train(broken, tmp_path / "out", "data.on_demand=true", "data.max_bad_fraction=0.001")


def test_validation_items_are_prepared_when_they_are_evaluated(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments: list[str] = []
    settled, note = training_items.settled, OnDemandRows.note
    monkeypatch.setattr(training_items, "settled", lambda *one: (moments.append("val"), settled(*one))[1])
    monkeypatch.setattr(OnDemandRows, "note", lambda *one: (moments.append("step"), note(*one))[1])
    train(shapes, tmp_path / "out", "data.on_demand=true")
    assert moments[: STEPS // 2] == ["step"] * (STEPS // 2)
    assert moments.count("val") == 2, "some of them on the way, all of them at the end"


def test_frozen_encoders_see_all_items_first(shapes: Path, tmp_path: Path) -> None:
    _, _ = train(shapes, tmp_path / "first", "data.on_demand=true")
    said: list[str] = []
    settings = ("training.steps=4", "training.evaluations=0", "locked=image", "data.on_demand=true")
    request = TrainArguments(
        shapes,
        tmp_path / "second",
        overrides=settings,
        source=str(tmp_path / "first"),
        listener=Listener(say=said.append),
    )
    assert len(train_run(request).run.space.modalities) == 2

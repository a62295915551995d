"""``--minutes``: the steps fill the time, and the run is the one of the same steps given by hand, bit for bit."""

from __future__ import annotations

import json
import re
import time as real_time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, Cospace
from cospace import api, files
from cospace.cli.terminal import TimeLeft, TrainingView
from cospace.commands import budget, demo, pilot, train
from cospace.commands.train import Listener, TrainArguments
from cospace.commands.training_request import lasting
from cospace.data.batches import Batch
from cospace.runs.identity import BUDGET
from cospace.runs.metrics_log import MetricsLog
from cospace.runs.run import Run
from cospace.runs.settings import RunConfig, resolve
from cospace.training import clock, loop
from cospace.training.checkpoint import Checkpoints
from cospace.training.loop import Trainer
from cospace.types import UserError
from streams import write_tars

FULL, SMALL = 2.0, 1.0
"""Seconds of a step at the size that images are read at, and at three quarters of it, by the clock of the tests."""

OPEN = (*(text for text in TINY if not text.startswith("data.image.size")), "training.batch_size=32")
"""Where the size of images is left open."""


class Time:
    """A clock that goes on only with the steps of a training; everything else of ``time`` is real."""

    def __init__(self) -> None:
        self.now, self.seconds = 1000.0, {32: FULL, 24: SMALL}
        self.slower = 1.0

    def monotonic(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:
        return getattr(real_time, name)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made, step = Time(), Trainer.step

    def timed(self: Trainer, batch: Batch, steps: int) -> Any:
        side = batch.parts["image"].inputs[0]
        made.now += made.seconds.get(getattr(side, "side", 32), FULL) * made.slower
        return step(self, batch, steps)

    for module in (budget, pilot, train, clock, loop):
        monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(Trainer, "step", timed)
    return made


CHOSEN = re.compile(r"^[\d.]+ minutes?: ")


class Trained:
    """A run, what it said, and how long it took by the clock of the tests."""

    def __init__(self, pairs: Path | str, out: Path, time: Time, *settings: str, **request: Any) -> None:
        self.out, self.said, self.rows = out, [], list[dict[str, Any]]()
        listener = Listener(say=self.said.append, row=lambda row, config: self.rows.append(row))
        began = time.now
        try:
            train.train(TrainArguments(pairs, out, overrides=settings, listener=listener, began=began, **request))
        finally:
            self.minutes = (time.now - began) / 60

    @property
    def chosen(self) -> str:
        """What was said of the choice."""
        (sentence,) = [one for one in self.said if CHOSEN.search(one)]
        return sentence

    @property
    def steps(self) -> int:
        return int(self.config.training.steps or 0)

    @property
    def config(self) -> RunConfig:
        return RunConfig(**json.loads((self.out / "config.json").read_text()))

    @property
    def losses(self) -> list[tuple[int, float]]:
        return [(row["step"], row["loss"]) for row in MetricsLog(self.out / "metrics.jsonl").rows() if "loss" in row]

    def same(self, other: Trained) -> bool:
        """The same settings, losses, weights and figures."""
        prints = [Run.load(run.out).space.fingerprint for run in (self, other)]
        figures = [(run.out / "metrics.json").read_bytes() for run in (self, other)]
        assert self.config == other.config
        return self.losses == other.losses and prints[0] == prints[1] and figures[0] == figures[1]


class Stop(BaseException):
    """Ends a run where a test wants it to end."""


def stop_when(patch: pytest.MonkeyPatch, target: Any, name: str, now: Callable[..., bool]) -> None:
    real = getattr(target, name)

    def maybe(*arguments: Any, **named: Any) -> Any:
        if now(*arguments):
            raise Stop
        return real(*arguments, **named)

    patch.setattr(target, name, maybe)


# ------------------------------------------------------------------------------------------------ the time, the weights


@pytest.mark.parametrize("minutes", [1, 2.5])
def test_the_steps_fill_the_minutes_and_give_the_run_of_the_same_steps_by_hand(
    shapes: Path, tmp_path: Path, time: Time, minutes: float
) -> None:
    run = Trained(shapes, tmp_path / "run", time, *TINY, f"training.minutes={minutes}")
    assert 0.9 * minutes <= run.minutes <= 1.1 * minutes
    assert run.steps == run.losses[-1][0]
    epochs = run.steps * 16 / Run.load(run.out).facts["data"]["rows"]
    about = f"{epochs:.0f}" if epochs >= 10 else f"{epochs:.1f}"
    assert (
        run.chosen
        == f"{minutes:g} minute{'s' * (minutes != 1)}: {run.steps} steps of 16 pairs at 32 px, about {about} epochs"
    )
    assert not (run.out / BUDGET).exists()
    assert not (run.out / "cache").exists()
    facts = Run.load(run.out).facts["budget"]
    assert (facts["minutes"], facts["steps"]) == (minutes, run.steps)
    by_hand = Trained(shapes, tmp_path / "by_hand", time, *TINY, f"training.steps={run.steps}")
    assert run.same(by_hand)
    assert Run.load(by_hand.out).facts.get("budget") is None


def test_the_progress_knows_the_time_left(shapes: Path, tmp_path: Path, time: Time) -> None:
    run = Trained(shapes, tmp_path / "run", time, *TINY, "training.minutes=1.5")
    assert run.minutes <= 1.5
    stepping = FULL * 0.4 * run.steps + SMALL * 0.6 * run.steps
    for row in run.rows[:-1]:
        done = row["step"]
        small = min(done, round(0.6 * run.steps))
        left = stepping - small * SMALL - (done - small) * FULL
        assert 60 * row["minutes_left"] == pytest.approx(left + budget.REPORT, abs=2.0)
    assert "minutes_left" not in json.loads((run.out / "metrics.jsonl").read_text().splitlines()[0])


def test_a_tight_budget_makes_images_smaller(shapes: Path, tmp_path: Path, time: Time) -> None:
    time.seconds = {32: 4.0, 24: 2.0, 18: 1.0}
    usual = Trained(shapes, tmp_path / "usual", time, *OPEN, "training.minutes=6")
    assert usual.config.data.image.size == 32
    tight = Trained(shapes, tmp_path / "tight", time, *OPEN, "training.minutes=2")
    assert tight.config.data.image.size == 24
    assert "at 24 px, smaller than usual, since the time is short for so many, about" in tight.chosen
    assert 0.9 * 2 <= tight.minutes <= 1.1 * 2
    assert tight.same(
        Trained(shapes, tmp_path / "hand", time, *OPEN, "data.image.size=24", f"training.steps={tight.steps}")
    )
    asked = Trained(shapes, tmp_path / "asked", time, *OPEN, "data.image.size=32", "training.minutes=2")
    assert asked.config.data.image.size == 32, "what a person asked for stays"


def test_too_few_minutes_train_the_fewest_steps_and_say_how_long_it_takes(
    shapes: Path, tmp_path: Path, time: Time
) -> None:
    run = Trained(shapes, tmp_path / "run", time, *TINY, "training.minutes=0.1")
    assert run.steps == 20
    (said,) = [one for one in run.said if "too few for these pairs" in one]
    assert said.startswith("0.1 minutes are too few for these pairs: 20 steps are trained all the same")
    assert not any("were given: the steps took" in one for one in run.said), "it was known before"


def test_a_machine_that_slows_down_is_said_at_the_end(
    shapes: Path, tmp_path: Path, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = budget.Budget.choose

    def and_then_slower(self: budget.Budget, *arguments: Any) -> RunConfig:
        made = choose(self, *arguments)
        time.slower = 1.5
        return made

    monkeypatch.setattr(budget.Budget, "choose", and_then_slower)
    run = Trained(shapes, tmp_path / "run", time, *TINY, "training.minutes=1")
    assert run.said[-1].startswith(f"took {run.minutes:.1f} minutes, 1 were given: the steps took 1.5 times as long")


def test_a_fast_machine_takes_no_more_than_the_most_steps(shapes: Path, tmp_path: Path, time: Time) -> None:
    run = Trained(shapes, tmp_path / "run", time, *TINY, "training.minutes=60", most_steps=30)
    assert run.steps == 30


# ------------------------------------------------------------------------------------------------ killed and resumed


SETTINGS = (*TINY, "training.minutes=1", "training.checkpoint_seconds=0", "training.evaluations=1")


@pytest.mark.parametrize("stopped", [1, 9])
def test_a_killed_run_goes_on_with_the_very_same_steps(
    shapes: Path, tmp_path: Path, time: Time, monkeypatch: pytest.MonkeyPatch, stopped: int
) -> None:
    """Also on a machine that has become faster, and also where no checkpoint was written yet."""
    whole = Trained(shapes, tmp_path / "whole", time, *SETTINGS)
    with monkeypatch.context() as patch:
        stop_when(patch, MetricsLog, "write", lambda log, row: row["step"] == stopped)
        with pytest.raises(Stop):
            Trained(shapes, tmp_path / "run", time, *SETTINGS)
    time.seconds = {32: 0.1, 24: 0.1}
    run = Trained(shapes, tmp_path / "run", time, *SETTINGS)
    assert f"keeps the {whole.steps} steps that were chosen for 1 minute when this run began" in run.said
    assert not any(CHOSEN.search(one) for one in run.said)
    assert (f"resuming after step {stopped - 1}" in run.said) == (stopped > 1)
    assert run.same(whole)


def test_a_kill_while_steps_are_timed_leaves_nothing_chosen(
    shapes: Path, tmp_path: Path, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_when(patch, Checkpoints, "save", lambda keeper, step, *rest: True)
        with pytest.raises(Stop):
            Trained(shapes, tmp_path / "run", time, *SETTINGS)
    assert not list((tmp_path / "run" / "checkpoints").glob("*"))
    run = Trained(shapes, tmp_path / "run", time, *SETTINGS)
    assert run.same(Trained(shapes, tmp_path / "whole", time, *SETTINGS))


@pytest.fixture
def unfinished(shapes: Path, tmp_path: Path, time: Time, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patch:
        stop_when(patch, MetricsLog, "write", lambda log, row: row["step"] == 5)
        with pytest.raises(Stop):
            Trained(shapes, tmp_path / "run", time, *SETTINGS)
    return tmp_path / "run"


def test_an_unfinished_run_is_not_gone_on_with_for_other_minutes(shapes: Path, unfinished: Path, time: Time) -> None:
    for settings in (("training.minutes=2",), ("training.seed=1",)):
        with pytest.raises(UserError, match="holds an unfinished run of other settings, data or minutes"):
            Trained(shapes, unfinished, time, *SETTINGS, *settings)


def test_without_the_record_the_same_steps_by_hand_go_on(shapes: Path, unfinished: Path, time: Time) -> None:
    record = unfinished / BUDGET
    steps = files.read_sealed(record)["plan"]["steps"]
    record.write_bytes(record.read_bytes().replace(b'"minutes"', b'"minutez"'))
    with pytest.raises(UserError, match=f"give training.steps={steps} in place of --minutes to go on"):
        Trained(shapes, unfinished, time, *SETTINGS)
    record.unlink()
    with pytest.raises(UserError, match=f"without --minutes; give training.steps={steps} in place of"):
        Trained(shapes, unfinished, time, *SETTINGS)
    without = [text for text in SETTINGS if not text.startswith("training.minutes")]
    run = Trained(shapes, unfinished, time, *without, f"training.steps={steps}")
    assert "resuming after step 4" in run.said


# ------------------------------------------------------------------------------------------------ beside other settings


def test_a_run_from_a_model_is_measured_without_changing_the_model(
    shapes: Path, trained: Path, tmp_path: Path, time: Time
) -> None:
    settings = ("training.batch_size=16", "training.evaluations=1")
    run = Trained(shapes, tmp_path / "run", time, *settings, "training.minutes=1", source=str(trained))
    by_hand = Trained(shapes, tmp_path / "hand", time, *settings, f"training.steps={run.steps}", source=str(trained))
    assert 0.9 <= run.minutes <= 1.1
    assert run.same(by_hand)


def test_items_of_a_frozen_encoder_are_encoded_once(
    shapes: Path, trained: Path, tmp_path: Path, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = train.training_batches
    monkeypatch.setattr(train, "training_batches", lambda *a, **k: seen.append(k["pooled"] is None) or real(*a, **k))
    settings = ("training.batch_size=16", "training.evaluations=1", "locked=text")
    run = Trained(shapes, tmp_path / "run", time, *settings, "training.minutes=1", source=str(trained))
    assert seen == [True, False]
    by_hand = Trained(shapes, tmp_path / "hand", time, *settings, f"training.steps={run.steps}", source=str(trained))
    assert run.same(by_hand)


def test_pairs_that_stream(tmp_path: Path, time: Time) -> None:
    shards = str(write_tars(tmp_path / "shards", [16, 20, 16, 12]))
    settings = (*TINY, "data.stream=true", "data.window_shards=2", "training.evaluations=1")
    run = Trained(shards, tmp_path / "run", time, *settings, "training.minutes=1")
    by_hand = Trained(shards, tmp_path / "hand", time, *settings, f"training.steps={run.steps}")
    assert run.same(by_hand)


def test_a_decoder_keeps_its_images_and_writes_of_fewer_items(tmp_path: Path, time: Time) -> None:
    from cospace.data.pairs import built_in

    pairs = built_in("scenes").select(range(48))  # type: ignore[arg-type]
    settings = (*OPEN, "training.evaluations=0", "decoder.width=16", "decoder.heads=2", "decoder.depth=1")
    run = Trained(pairs, tmp_path / "run", time, *settings, "training.minutes=0.8")  # type: ignore[arg-type]
    assert run.config.data.image.size == 64
    assert run.config.tasks == "caption,vqa"
    hand = Trained(pairs, tmp_path / "hand", time, *settings, f"training.steps={run.steps}")  # type: ignore[arg-type]
    assert run.losses == hand.losses
    assert Run.load(run.out).space.fingerprint == Run.load(hand.out).space.fingerprint


def test_early_stopping_ends_before_the_minutes(shapes: Path, tmp_path: Path, time: Time) -> None:
    settings = (*TINY, "training.minutes=2", "training.evaluations=30", "training.patience=1")
    run = Trained(shapes, tmp_path / "run", time, *settings)
    assert run.losses[-1][0] < run.steps
    assert run.minutes < 2


# ------------------------------------------------------------------------------------------------ what people type


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (("--minutes", "0"), "--minutes is the time that training may take, above 0"),
        (("--minutes", "-3"), "--minutes is the time that training may take, above 0"),
        (("--minutes", "nan"), "--minutes is the time that training may take, above 0"),
        (("--minutes", "1e9"), "at most 10,080 (a week)"),
        (("--minutes", "soon"), "--minutes"),
        (("training.minutes=0",), "training.minutes: input should be greater than 0"),
        (("--minutes", "5", "training.steps=100"), "training.steps=100 and training.minutes=5.0 (--minutes) both say"),
    ],
)
def test_nonsense_is_one_sentence(
    cospace: Cospace, shapes: Path, tmp_path: Path, given: tuple[str, ...], reason: str
) -> None:
    refusal = cospace("train", shapes, "--out", tmp_path / "run", *given).refusal()
    assert reason in refusal
    assert not (tmp_path / "run").exists()


def test_from_python(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[TrainArguments] = []
    monkeypatch.setattr(api, "train_on_ranks", asked.append)
    monkeypatch.setattr(api.Model, "load", lambda *given: None)
    before = real_time.monotonic()
    api.train(shapes, tmp_path / "run", overrides=["training.minutes=5"])
    assert resolve("small", asked[0].overrides).training.minutes == 5
    assert before <= asked[0].began <= real_time.monotonic()
    assert lasting(None) == ()


def test_the_command_counts_from_its_start(
    cospace: Cospace, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[TrainArguments] = []

    def note(request: TrainArguments) -> None:
        asked.append(request)
        raise UserError("enough")

    monkeypatch.setattr(train, "train_on_ranks", note)
    before = real_time.monotonic()
    assert cospace("train", shapes, "--out", tmp_path / "run", "--minutes", "0.5").refusal() == "enough"
    assert before <= asked[0].began <= real_time.monotonic()
    assert list(asked[0].overrides) == ["training.minutes=0.5"]


def test_the_demo_has_minutes_unless_a_person_says_how_long_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[TrainArguments] = []

    def note(request: TrainArguments) -> None:
        asked.append(request)
        raise Stop

    monkeypatch.setattr(demo, "train", note)
    for overrides in ((), ("training.steps=4",), ("training.minutes=15",), ("training.seed=1",)):
        with pytest.raises(Stop):
            demo.run_demo("glyphs", tmp_path / "demo", "cospace demo", Listener(), overrides)
    minutes = f"training.minutes={demo.MINUTES}"
    assert [one.overrides for one in asked] == [
        (minutes,), ("training.steps=4",), ("training.minutes=15",), (minutes, "training.seed=1"),
    ]  # fmt: skip
    assert [one.most_steps for one in asked] == [demo.SETS["glyphs"].steps, None, None, demo.SETS["glyphs"].steps]
    assert demo.MINUTES < 5
    assert [pairs.name for pairs in asked[0].afterwards] == ["glyphs/faces"]


def test_the_bar_shows_the_time_that_the_budget_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if it were a terminal
    view = TrainingView()
    config = resolve("small", ["training.steps=10"])
    row = {"step": 3, "loss": 1.0, "minutes": 1.0}
    view.listener.row({**row, "minutes_left": 75.5}, config)
    (task,) = view._bars.tasks
    assert TimeLeft().render(task).plain == "1:15:30"
    view.listener.row(row, config)
    assert TimeLeft().render(task).plain == "-:--:--", "as ever where no budget was given"


@pytest.mark.slow
def test_a_real_run_takes_its_minutes(shapes: Path, tmp_path: Path) -> None:
    said: list[str] = []
    before = real_time.monotonic()
    request = TrainArguments(shapes, tmp_path / "run", overrides=(*TINY, "training.minutes=0.3"))
    train.train(replace(request, listener=Listener(say=said.append)))
    took = (real_time.monotonic() - before) / 60
    assert 0.15 < took < 0.6, "a busy machine may take twice as long as when steps were timed, or half"
    assert any(sentence.startswith("0.3 minutes: ") for sentence in said)

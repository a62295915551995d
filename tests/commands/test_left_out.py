"""What a run cannot read, and what a batch hardly sees, is counted and said."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import TINY, Cospace
from cospace.commands.embed import embed_to_file
from cospace.commands.evaluate import evaluate_and_report
from cospace.commands.index import build_index
from cospace.commands.train import Listener, TrainArguments, train
from cospace.data.pairs import Pairs, build, join_pairs, open_pairs
from cospace.data.sources import Rows
from cospace.runs.run import Run
from cospace.types import Problem
from sounds import encode, tone

SOUNDS = 3


@pytest.fixture(scope="module")
def mixed(shapes: Path) -> Pairs:
    """The shapes, and a few sounds with captions."""
    names = [f"s{number}" for number in range(SOUNDS)]
    bells = [encode(tone(hertz=300 + 100 * number)) for number in range(SOUNDS)]
    sounds = build("sounds", Rows(names, {"audio": bells, "text": [f"a bell {name}" for name in names]}))
    return join_pairs([open_pairs(shapes), sounds])


def unread(problems: list[Problem]) -> list[str]:
    assert {problem.reason for problem in problems} == {"the model has no encoder for audio"}
    return [problem.id for problem in problems]


def test_items_that_a_model_has_no_encoder_for_are_set_aside(trained: Path, mixed: Pairs, tmp_path: Path) -> None:
    run = Run.load(trained)
    names = [f"s{number}" for number in range(SOUNDS)]
    made = embed_to_file(run, mixed, tmp_path / "vectors.parquet")
    count, problems = made.embedded, made.problems
    made = build_index(run, mixed, tmp_path / "idx")
    unmeasured = evaluate_and_report(run, mixed, None, None, None, "cospace eval").problems
    assert unread(problems) == unread(made.problems) == unread(unmeasured) == names
    assert len(made.index.store) == count


def test_eval_says_so_on_stderr(trained: Path, shapes: Path, tmp_path: Path, cospace: Cospace) -> None:
    (tmp_path / "bell.wav").write_bytes(encode(tone()))
    (tmp_path / "sounds.csv").write_text("audio,text\nbell.wav,a bell\n", encoding="utf-8")
    done = cospace("eval", trained, shapes, tmp_path / "sounds.csv", "--json")
    assert "1 set aside (first: sounds.csv:2: the model has no encoder for audio)" in done.err


def test_rows_that_a_batch_hardly_sees_are_named(mixed: Pairs, tmp_path: Path) -> None:
    said: list[str] = []
    small = ("encoders.audio.channels=[4,8,8]", "encoders.audio.width=16", "encoders.audio.depth=1")
    settings = (*TINY, *small, "training.steps=1", "training.evaluations=1", "training.batch_size=16")
    train(TrainArguments(mixed, tmp_path / "run", val=mixed, overrides=settings, listener=Listener(say=said.append)))
    rows = len(mixed)
    assert 16 * SOUNDS / rows < 2
    assert [one for one in said if one.startswith(f"only {SOUNDS} of {rows:,} rows pair audio with text")]
    assert not [one for one in said if "pair image with text" in one]

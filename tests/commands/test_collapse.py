"""A space that collapses while it is trained is called sick, and one that does not is left in peace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import TINY
from cospace.commands.train import Listener, TrainArguments, train


def warnings_of(pairs: Path, out: Path, *overrides: str, recipe: str = "small") -> list[str]:
    """What was said of the space's health once the first steps, in which every space is a narrow cone, were over."""
    said: list[str] = []
    settings = (
        "data.image.size=32",
        "training.batch_size=32",
        "training.steps=160",
        "training.evaluations=0",
        *overrides,
    )
    train(TrainArguments(pairs, out, recipe, overrides=settings, listener=Listener(say=said.append)))
    found = [re.match(r"step (\d+): the space is", sentence) for sentence in said]
    return [match.string for match in found if match is not None and int(match[1]) > 40]


def test_plain_alignment_collapses_and_the_run_says_so(shapes: Path, tmp_path: Path) -> None:
    # the effective rank, of 32, ends between 2.5 and 3.4 for each of four seeds; the warning is for less than 4
    warned = warnings_of(shapes, tmp_path / "run", "embed_dim=32", "training.optim.lr=0.03", recipe="joint-mse")
    assert warned
    assert all("the space is collapsing" in sentence for sentence in warned)
    assert "effective rank" in warned[0]
    assert "objective=softmax or objective=vicreg" in warned[0]
    assert len(warned) <= 4, "it is said, not repeated at every look"


@pytest.mark.parametrize("objective", ["softmax", "vicreg"])
def test_the_cure_is_silent(shapes: Path, tmp_path: Path, objective: str) -> None:
    cure = (f"objective={objective}", "embed_dim=32", "training.optim.lr=0.01")
    assert warnings_of(shapes, tmp_path / "run", *cure, recipe="joint-mse") == []


def test_the_default_is_silent(shapes: Path, tmp_path: Path) -> None:
    assert warnings_of(shapes, tmp_path / "run", *TINY, "embed_dim=32", "encoders.text.width=32") == []

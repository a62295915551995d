"""Row 5 of the suite: a hundred histories of kills of a training, each of which ends in the run that was left alone."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import TINY, write_shapes
from cospace.files import MANIFEST
from cospace.runs.metrics_log import MetricsLog
from torture.figures import tried
from torture.killer import Killer
from torture.zygote import Zygote, timed

HISTORIES, FEW = 100, 2
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SETTINGS = (*TINY, "training.steps=24", "training.evaluations=3", "training.checkpoint_seconds=0.05")


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    started = Zygote(tmp_path_factory.mktemp("said"))
    yield started
    started.close()


def model(out: Path) -> dict[str, bytes]:
    """The bytes of everything a model is, and of what was measured of it: all but the list of hashes.

    Among these is that of the run's facts, which hold the date.
    """
    files = [path for path in (out / "model").iterdir() if path.is_file() and path.name != MANIFEST]
    return {path.name: path.read_bytes() for path in [*files, out / "metrics.json"]}


def losses(out: Path) -> list[tuple[object, ...]]:
    return [(row["step"], row["loss"], row.get("logit_scale")) for row in MetricsLog(out / "metrics.jsonl").rows()]


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_row_05_any_history_of_kills_ends_in_the_run_left_alone(zygote: Zygote, tmp_path: Path) -> None:
    pairs, whole, out = write_shapes(tmp_path, 6), tmp_path / "whole", tmp_path / "run"
    settings = ("--no-report", *SETTINGS)
    longest = timed(zygote, ["train", str(pairs), "--out", str(whole), *settings])
    expected, kills, altered, left = (model(whole), losses(whole)), 0, [], 0
    for seed in range(HISTORIES):
        killer = Killer(50_000 + seed, SIGNALS, 1.1 * longest, 0.05, zygote)
        workers = (f"training.workers={2 * (seed % 10 == 9)}",)
        kills += killer.until_struck(
            killer.dice.randint(1, 3), "train", pairs, "--out", out, *settings, *workers,
            again=lambda: shutil.rmtree(out, ignore_errors=True),
        )  # fmt: skip
        altered += [] if (model(out), losses(out)) == expected else [(seed, killer.history)]
        left += (out / "checkpoints").exists() or any(out.rglob("*.tmp-*"))
    assert not altered, altered
    assert kills >= HISTORIES, "every history has one"
    tried(5, f"histories of SIGKILL, SIGTERM and SIGINT in train ({kills} signals)", HISTORIES, left_behind=left)

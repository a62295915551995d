"""Rows 5, 13, 22 and 27 of the suite: real commands, signalled at seeded moments, given again until they are done."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from conftest import TINY, write_shapes
from cospace.commands.search import SearchableIndex
from cospace.runs.metrics_log import MetricsLog
from cospace.runs.run import Run
from torture.figures import tried
from torture.killer import Killer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

STEPS = 120
SETTINGS = (*TINY, f"training.steps={STEPS}", "training.evaluations=6", "training.checkpoint_seconds=1")
KILL, ASKED = (signal.SIGKILL,), (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("killed"), 40)


@pytest.fixture(scope="module")
def whole(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run left alone, by a process of its own."""
    out = tmp_path_factory.mktemp("whole") / "run"
    Killer(0).finish("train", pairs, "--out", out, "--no-report", *SETTINGS)
    return out


def losses(out: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in MetricsLog(out / "metrics.jsonl").rows()]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("row", "signals"), [(5, KILL), (22, ASKED)])
def test_row_05_and_22_a_training_is_bitwise_the_one_left_alone(
    row: int, signals: Sequence[signal.Signals], workers: int, pairs: Path, whole: Path, tmp_path: Path
) -> None:
    out, n = tmp_path / "run", 0
    for seed in range(2):
        killer = Killer(100 * row + 10 * workers + seed, signals, longest=12)
        shutil.rmtree(out, ignore_errors=True)
        settings = (*SETTINGS, f"training.workers={workers}")
        n += killer.until_done(5, "train", pairs, "--out", out, "--no-report", *settings)
        assert losses(out) == losses(whole), (killer.seed, killer.history)
        assert (out / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes(), killer.history
        assert Run.load(out).space.fingerprint == Run.load(whole).space.fingerprint, killer.history
        assert not (out / "checkpoints").exists() and not list(out.rglob("*.tmp-*"))
    names = ", ".join(number.name for number in signals)
    tried(row, f"train, {workers} workers: {names}", max(1, n))


@pytest.mark.parametrize(("row", "signals"), [(27, KILL), (22, ASKED)])
def test_row_22_and_27_an_embedding_is_the_same_to_the_byte(
    row: int, signals: Sequence[signal.Signals], pairs: Path, whole: Path, tmp_path: Path
) -> None:
    Killer(0).finish("embed", whole, pairs, "--out", tmp_path / "whole.parquet")
    n = 0
    for seed in range(3):
        killer, out = Killer(1000 * row + seed, signals, longest=8), tmp_path / f"{seed}.parquet"
        n += killer.until_done(4, "embed", whole, pairs, "--out", out)
        assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes(), (killer.seed, killer.history)
    left = {path.name for path in tmp_path.iterdir()} - {"whole.parquet", *(f"{seed}.parquet" for seed in range(3))}
    tried(row, "embed: " + ", ".join(number.name for number in signals), max(1, n), left_behind=len(left))


@pytest.mark.parametrize(("row", "signals"), [(13, KILL), (22, ASKED)])
def test_row_13_and_22_an_index_has_every_item_once(
    row: int, signals: Sequence[signal.Signals], pairs: Path, whole: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(pairs.parent / "images", tmp_path / "images")
    out = tmp_path / "idx"
    for seed in range(3):
        killer = Killer(2000 * row + seed, signals, longest=8)
        for path in sorted(folder.iterdir())[:: seed + 7]:  # some are gone each time
            path.unlink()
        n = killer.until_done(4, "index", whole, folder, "--out", out)
        found = SearchableIndex.open(out)
        items = found.store.items(found.store.select())
        there = sorted(Path(item.path).name for item in items)
        expected = sorted(path.name for path in folder.iterdir())
        vectors = found.store.vectors(found.store.select())
        tried(
            row, "index: " + ", ".join(number.name for number in signals), max(1, n),
            lost=len(set(expected) - set(there)), duplicated=len(there) - len(set(there)),
            altered=int((np.linalg.norm(vectors, axis=1) < 0.99).sum()),
            left_behind=len(set(there) - set(expected)) + len(found.thumbnails.hashes() - {one.hash for one in items}),
        )  # fmt: skip


def test_row_22_a_check_goes_on(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    n = 0
    for seed in range(3):
        killer = Killer(3000 + seed, ASKED, longest=3)
        n += killer.until_done(3, "check", pairs, "--json", "--out", tmp_path / "clean")
    assert (tmp_path / "clean").is_dir()
    tried(22, "check: SIGTERM, SIGINT, SIGUSR1", max(1, n))

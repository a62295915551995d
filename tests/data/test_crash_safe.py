"""Items that crash or hang their decoder: the job loses them and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cospace.data import crash_safe
from cospace.data.crash_safe import CrashSafeItems
from cospace.modalities._prepared import Preparation
from cospace.modalities.image.processing import ImageProcessor
from cospace.types import silent

ROWS, CRASHES, HANGS = 40, (7, 22), (31,)

PROGRAM = '''
"""Train or prepare with a decoder that dies of some images and never ends with others, told apart by their colour."""

import os, sys, time
from cospace.data import crash_safe
from cospace.modalities.image.processing import ImageProcessor

real, crash_safe.PATIENCE = ImageProcessor.prepare, 3.0
from cospace.data import batches
batches.PATIENCE = 3.0

def prepare(self, raw):
    pixels = self.decoded(raw).upright()
    if (pixels[0, 0] == (255, 0, 0)).all():
        os._exit(139)
    if (pixels[0, 0] == (0, 255, 0)).all():
        time.sleep(1000)
    return real(self, raw)

ImageProcessor.prepare = prepare
if __name__ == "__main__":
    from cospace.cli import run
    sys.exit(run(sys.argv[1:]))
'''


@pytest.fixture
def table(tmp_path: Path) -> Path:
    dice = np.random.default_rng(0)
    for row in range(ROWS):
        pixels = dice.integers(0, 200, (20, 20, 3), np.uint8)
        pixels[0, 0] = (255, 0, 0) if row in CRASHES else (0, 255, 0) if row in HANGS else (1, 2, 3)
        Image.fromarray(pixels).save(tmp_path / f"{row}.png")
    rows = [f"{row}.png,what image {row} shows" for row in range(ROWS)]
    (tmp_path / "pairs.csv").write_text("\n".join(["image,text", *rows]))
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path / "pairs.csv"


def run(table: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    folder = table.parent
    command = [sys.executable, str(folder / "program.py"), "train", str(table), "--out", str(folder / "run")]
    small = ("--no-report", "encoders.image=linear", "encoders.text=bag", "embed_dim=8", "data.image.size=16")
    steps = ("training.steps=6", "training.batch_size=16", "training.evaluations=0", "data.max_bad_fraction=0.2")
    return subprocess.run(
        [*command, *small, *steps, *settings],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"},
    )


def test_workers_that_die_or_hang_are_replaced_and_the_run_ends(table: Path) -> None:
    done = run(table, "data.on_demand=true", "training.workers=2", "--val", str(validation(table)))
    assert done.returncode == 0, done.stderr
    assert set_aside(table) == {"crash": 2, "hang": 1}


def validation(table: Path) -> Path:
    """Pairs of their own, none of which does harm."""
    good = [row for row in range(ROWS) if row not in (*CRASHES, *HANGS)]
    rows = [f"{row}.png,validation of image {row}" for row in good[:6]]
    path = table.parent / "val.csv"
    path.write_text("\n".join(["image,text", *rows]))
    return path


def set_aside(table: Path) -> dict[str, int]:
    found = json.loads((table.parent / "run" / "run.json").read_text())
    assert found["data"]["images"] + sum(found["set_aside"].values()) == ROWS
    return dict(found["set_aside"])


@pytest.mark.slow
@pytest.mark.parametrize("on_demand", ["true", "false"])
def test_the_same_command_goes_on_without_what_ended_it(table: Path, on_demand: str) -> None:
    Image.new("RGB", (20, 20), "gray").save(table.parent / f"{HANGS[0]}.png")
    arguments = (f"data.on_demand={on_demand}", "--val", str(validation(table)))
    codes = [run(table, *arguments).returncode for _ in range(3)]
    assert codes in ([139, 139, 0], [139, 0, 2]), "one of several that are prepared at once may be as bad as another"
    assert set_aside(table) == {"crash": 2}


def test_what_is_left_behind_is_tried_alone_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, raws = tmp_path / "notes", [np.full((9, 9, 3), number, np.uint8) for number in range(5)]
    items = CrashSafeItems("image", raws, ImageProcessor(size=8), None, folder)
    assert not items.recover()
    with items.making(3), items.making(1):
        content = next(folder.iterdir()).read_bytes()
    (folder / f"{2**22 + 7}.notes").write_bytes(content)  # a process with a number above the largest there can be
    asked: list[int] = []

    def apart(name: str, raws: list[np.ndarray], processor: ImageProcessor, patience: float) -> list[object]:
        asked.extend(int(raw[0, 0, 0]) for raw in raws)
        return [
            crash_safe.BadItem("crash", "it crashed") if raw[0, 0, 0] == 3 else processor.prepare(raw) for raw in raws
        ]

    monkeypatch.setattr(crash_safe, "prepare_isolated", apart)
    assert items.recover()
    assert asked == [1, 3]
    assert {number: str(bad) for number, bad in items.bad.items()} == {3: "crash: it crashed"}
    assert not items.recover(), "it has been tried"
    again = CrashSafeItems("image", raws, ImageProcessor(size=8), None, folder)
    assert list(again.bad) == [3], "and is remembered"
    made = dict(Preparation(again.processor, "images", again).in_order(raws, silent))
    assert {number for number, one in made.items() if isinstance(one, torch.Tensor)} == {0, 1, 2, 4}


def test_many_threads_note_what_they_prepare(tmp_path: Path) -> None:
    items = CrashSafeItems("image", range(1000), ImageProcessor(size=8), None, tmp_path / "notes")
    inside, leave = threading.Barrier(9), threading.Event()

    def prepare(number: int) -> None:
        with items.making(number):
            inside.wait(30)
            leave.wait(30)

    threads = [threading.Thread(target=prepare, args=(number,)) for number in range(100, 108)]
    for thread in threads:
        thread.start()
    inside.wait(30)
    assert sorted(number for number, _, _ in crash_safe._all_notes(tmp_path / "notes")) == list(range(100, 108))
    assert not items.overdue()
    time.sleep(0.01)
    leave.set()
    for thread in threads:
        thread.join()
    assert not list(crash_safe._all_notes(tmp_path / "notes"))


def test_an_item_that_takes_long_is_overdue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = CrashSafeItems("image", range(10), ImageProcessor(size=8), None, tmp_path / "notes")
    with items.making(4):
        assert not items.overdue()
        monkeypatch.setattr(crash_safe, "PATIENCE", -1.0)
        assert items.overdue()
    assert not items.overdue()

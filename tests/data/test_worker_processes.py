"""Files that are examined in processes are seen as in this one, and one that ends its process costs itself alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cospace.data import examining, worker_processes
from cospace.data.examining import look_at
from cospace.data.pairs import open_pairs
from cospace.modalities import Examined
from photographs import photograph


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        photograph(48, 40, seed=number).save(tmp_path / f"{number:02d}.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "03.png").read_bytes()[:-30])
    return tmp_path


def test_they_see_what_one_process_sees(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = open_pairs(folder)
    plain = look_at(pairs, "image")
    monkeypatch.setattr(examining, "MANY", 4)
    monkeypatch.setattr(examining, "TOGETHER", 3)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    seen = look_at(pairs, "image", processes=True)
    assert np.array_equal(seen.signatures_IVS, plain.signatures_IVS)
    for key, values in plain.measures.items():
        assert np.array_equal(seen.measures[key], values, equal_nan=True), key
    assert {item: fault.args for item, fault in seen.faults.items()} == {12: plain.faults[12].args}


CRASHING = """
import os
from cospace.modalities.image import MODALITY
before = type(MODALITY).examine
def examine(self, raw):
    if raw.name == "05.png":
        os._exit(11)
    return before(self, raw)
type(MODALITY).examine = examine
if __name__ == "__main__":
    import sys
    from pathlib import Path
    from cospace.data.worker_processes import by_processes
    files = sorted(Path(sys.argv[1]).glob("*.png"))
    chunks = [files[start : start + 3] for start in range(0, len(files), 3)]
    for number, seen in enumerate(by_processes("image", iter(chunks))):
        print(number, *[type(one).__name__ for one in seen], *[one.kind for one in seen if isinstance(one, Exception)])
"""


def test_a_file_that_ends_its_process_costs_itself_alone(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CRASHING)
    said = subprocess.run(
        [sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert said.split("\n")[:5] == [
        "0 Examined Examined Examined",
        "1 Examined Examined BadItem crash",
        "2 Examined Examined Examined",
        "3 Examined Examined Examined",
        "4 BadItem truncated",
    ]


WAITING = CRASHING.replace("os._exit(11)", "import time; print('waits', os.getpid(), flush=True); time.sleep(300)")


def test_they_end_with_the_one_that_started_them(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(WAITING)
    process = subprocess.Popen([sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = next(line for line in process.stdout if line.startswith("waits"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    worker, until = int(line.split()[1]), time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()


def test_where_none_begins_this_process_does_it(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(worker_processes, "_begin", worker_processes.examined)  # which needs other arguments
    ((seen,),) = worker_processes.by_processes("image", iter([[folder / "00.png"]]))
    assert isinstance(seen, Examined)

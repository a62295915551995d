"""The embedding job: the same file to the byte, whoever is killed, however many share it, whatever the decoder does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from conftest import Shell, write_shapes
from cospace.commands.embed import Job, embed_to_file
from cospace.data.counting import Counts
from cospace.data.pairs import Pairs, build
from cospace.data.sources import Rows
from cospace.modalities import modality
from cospace.models.space import Space
from cospace.runs.run import Run

PROGRAM = '''
"""Embeds some images, a few of them poisonous, in small parts, and reports of each part that it begins and ends."""
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cospace.commands import embed
from cospace.data.pairs import Rows, build
from cospace.modalities import modality
from cospace.runs.run import Run


@dataclass(frozen=True)
class Poison:
    """An image that does something to whoever decodes it."""

    what: str
    number: int

    def key(self):
        return f"{self.what}/{self.number}"

    def load(self):
        if self.what == "crash":
            os._exit(77)
        if self.what == "hang":
            time.sleep(3600)
        if self.what == "broken":
            return b"no image"
        return np.random.default_rng(self.number).integers(0, 256, (64, 64, 3), np.uint8)


def main(run, out, count, poison):
    what = dict(pair.split("=") for pair in poison.split(",") if pair)
    items = [Poison(what.get(str(number), "fine"), number) for number in range(int(count))]
    texts = [f"image number {number}" for number in range(int(count))]
    rows = Rows([f"{number:05d}" for number in range(int(count))], {"image": items, "text": texts})
    type(modality("image")).job_size, type(modality("text")).job_size = 32, 64
    embed.PATIENCE, embed.POLL = 3.0, 0.05
    do = embed.Job._do

    def reported(job, taken):
        print("begin", taken.part.key, flush=True)
        do(job, taken)
        print("end", taken.part.key, flush=True)

    embed.Job._do = reported
    print("ready", flush=True)
    made = embed.embed_to_file(Run.load(run), build("poison", rows), out)
    found, problems = made.counts.used, made.problems
    print("items", found, *sorted(f"{problem.id}:{problem.kind}" for problem in problems), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
'''


@dataclass(frozen=True)
class Runner:
    """Starts the program above on the same model."""

    script: Path
    run: Path

    def start(self, out: Path, count: int = 200, poison: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, str(self.script), str(self.run), str(out), str(count), poison]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def whole(self, out: Path, count: int = 200, poison: str = "") -> list[str]:
        process = self.start(out, count, poison)
        printed, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return printed.splitlines()


@pytest.fixture(scope="module")
def runner(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    script = tmp_path_factory.mktemp("program") / "poison.py"
    script.write_text(PROGRAM)
    return Runner(script, trained)


@pytest.fixture(scope="module")
def reference(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a job that nobody disturbs."""
    out = tmp_path_factory.mktemp("reference") / "vectors.parquet"
    printed = runner.whole(out)
    assert printed[-1] == "items 400"
    assert not out.with_name("vectors.parquet.parts").exists()
    assert not out.with_name("vectors.parquet.problems.jsonl").exists()
    return out.read_bytes()


def begun(printed: list[str]) -> Counter[str]:
    return Counter(line.split()[1] for line in printed if line.startswith("begin"))


def ended(printed: list[str]) -> set[str]:
    return {line.split()[1] for line in printed if line.startswith("end")}


# ------------------------------------------------------------------------------------------------ kills, and company


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_kills_at_any_moment_change_no_byte_and_cost_one_part_each(
    runner: Runner, reference: bytes, tmp_path: Path, seed: int
) -> None:
    out, dice, printed = tmp_path / "vectors.parquet", np.random.default_rng(seed), list[str]()
    kills = 2
    for _ in range(kills):
        process = runner.start(out)
        assert process.stdout is not None
        after = int(dice.integers(1, 8))
        for line in process.stdout:
            printed.append(line.strip())
            after -= line.startswith(("begin", "end"))
            if after <= 0:
                break
        time.sleep(dice.random() / 50)
        process.kill()
        printed += process.stdout.read().split("\n")[:-1]  # the last line is torn where the kill came within it
        process.wait()
    printed += runner.whole(out)
    assert out.read_bytes() == reference
    parts = begun(printed)
    assert len(parts) == 11
    assert sum(parts.values()) <= len(parts) + kills
    assert not out.with_name("vectors.parquet.parts").exists()


def test_the_same_command_at_once_shares_the_work(runner: Runner, reference: bytes, tmp_path: Path) -> None:
    out = tmp_path / "vectors.parquet"
    processes = [runner.start(out) for _ in range(3)]
    printed = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], printed
    assert out.read_bytes() == reference
    together = [line for lines, _ in printed for line in lines.splitlines()]
    assert set(begun(together).values()) == {1}, "no part was done twice"
    assert together.count("items 400") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["vectors.parquet"]


def test_a_dead_ones_part_is_taken_over_by_who_is_there(runner: Runner, reference: bytes, tmp_path: Path) -> None:
    out = tmp_path / "vectors.parquet"
    first = runner.start(out)
    assert first.stdout is not None
    while not first.stdout.readline().startswith("begin"):
        pass
    os.kill(first.pid, 19)  # stopped: it holds its parts and does nothing
    second = runner.start(out)
    assert second.stdout is not None
    left = 9  # the first has one part at hand, and one in sight
    while left:
        left -= second.stdout.readline().startswith("end")
    time.sleep(1)
    assert second.poll() is None, "it waits for the parts of a living process"
    first.kill()
    second.communicate(timeout=120)
    first.wait()
    assert second.returncode == 0
    assert out.read_bytes() == reference


# ------------------------------------------------------------------------------------------------ poison


def test_poison_costs_itself_alone(runner: Runner, tmp_path: Path) -> None:
    out, poison = tmp_path / "vectors.parquet", "5=broken,40=crash,41=crash"
    process = runner.start(out, count=70, poison=poison)
    process.communicate(timeout=120)
    assert process.returncode == 77, "the first time nobody could know"
    printed = runner.whole(out, count=70, poison=poison)
    assert printed[-1].split()[1:] == ["137", "00005:undecodable", "00040:crash", "00041:crash"]
    problems = [json.loads(line) for line in out.with_name("vectors.parquet.problems.jsonl").read_text().splitlines()]
    assert {problem["id"]: problem["kind"] for problem in problems} == {
        "00005": "undecodable",
        "00040": "crash",
        "00041": "crash",
    }
    assert "exit code 77" in next(problem["reason"] for problem in problems if problem["id"] == "00041")
    embedded = pq.read_table(out)
    images = {name for name in embedded["id"].to_pylist() if not name.startswith("text/")}
    assert images == {f"{number:05d}" for number in range(70)} - {"00005", "00040", "00041"}


@pytest.mark.slow
def test_a_hanging_decoder_needs_no_second_start(runner: Runner, tmp_path: Path) -> None:
    printed = runner.whole(tmp_path / "vectors.npz", count=10, poison="3=hang")
    assert printed[-1].split()[1:] == ["19", "00003:hang"]


@pytest.mark.slow
def test_a_crash_beside_others_needs_no_second_start(runner: Runner, tmp_path: Path) -> None:
    out = tmp_path / "vectors.parquet"
    processes = [runner.start(out, poison="40=crash") for _ in range(2)]
    printed = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 77]
    assert "items 399 00040:crash" in [lines[-1] for lines in printed]


# ------------------------------------------------------------------------------------------------ what a job is


@pytest.fixture(scope="module")
def run(trained: Path) -> Run:
    return Run.load(trained)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Parts of eight items; the keys of those that were computed."""
    done: list[str] = []
    do = Job._do
    for name in ("image", "text"):
        monkeypatch.setattr(type(modality(name)), "job_size", 8)
    monkeypatch.setattr(Job, "_do", lambda job, taken: (done.append(taken.part.key), do(job, taken))[1])
    return done


def arrays(count: int, changed: int = -1) -> Pairs:
    images = [np.full((32, 32, 3), 7 * number % 256, np.uint8) for number in range(count)]
    if changed >= 0:
        images[changed] = np.full((16, 16, 3), 255, np.uint8)
    return build("arrays", Rows([f"{number}" for number in range(count)], {"image": list(images)}))


def test_a_finished_job_is_not_done_again_and_a_changed_one_is(
    run: Run, tmp_path: Path, small_parts: list[str]
) -> None:
    out = tmp_path / "vectors.parquet"
    assert (made := embed_to_file(run, arrays(20), out)).counts == Counts(20) and not made.problems
    assert len(small_parts) == 3
    before = out.stat().st_mtime_ns
    assert (made := embed_to_file(run, arrays(20), out)).counts == Counts(20) and not made.problems
    assert (len(small_parts), out.stat().st_mtime_ns) == (3, before)
    embed_to_file(run, arrays(20, changed=9), out)
    assert len(small_parts) == 6
    out.write_bytes(b"something else")
    embed_to_file(run, arrays(20), out)
    assert pq.read_table(out)["id"].to_pylist() == [str(number) for number in range(20)]


def test_parts_of_an_interrupted_job_serve_a_changed_input_and_a_damaged_one_is_done_again(
    run: Run, tmp_path: Path, small_parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, parts = tmp_path / "vectors.npz", tmp_path / "vectors.npz.parts"
    with monkeypatch.context() as patch:
        patch.setattr(Job, "_assemble", lambda job: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            embed_to_file(run, arrays(24), out)
    assert len(small_parts) == 3
    damaged = parts / small_parts[0] / "vectors.npy"
    content = bytearray(damaged.read_bytes())
    content[-3] ^= 4
    damaged.write_bytes(content)
    embed_to_file(run, arrays(24, changed=23), out)
    assert small_parts[3:] == [small_parts[3], small_parts[0]], "the changed one, and when it was seen the damaged one"
    embed_to_file(run, arrays(24, changed=23), tmp_path / "fresh.npz")
    assert out.read_bytes() == (tmp_path / "fresh.npz").read_bytes()


def test_the_vectors_are_those_of_the_space(run: Run, tmp_path: Path) -> None:
    pairs = write_shapes(tmp_path, 3)
    embed_to_file(run, pairs, tmp_path / "vectors.parquet")
    table = pq.read_table(tmp_path / "vectors.parquet")
    rows = table.to_pylist()
    assert [row["modality"] for row in rows] == ["image"] * 24 + ["text"] * 24
    direct = run.space.embed(image=[row["path"] for row in rows[:24]])
    np.testing.assert_array_equal(direct, np.array([row["embedding"] for row in rows[:24]], np.float32))


def test_items_are_decoded_while_the_model_computes(
    run: Run, tmp_path: Path, small_parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one part is in the model, items of the next are prepared."""
    processor = run.space.processors["image"]
    prepared: list[int] = []

    class Watched:
        def prepare(self, raw: np.ndarray) -> object:
            prepared.append(int(raw[0, 0, 0]))
            return processor.prepare(raw)

        def __getattr__(self, name: str) -> object:
            return getattr(processor, name)

    seen: list[bool] = []
    embed = Space.embed_prepared

    def patient(space: Space, modality: str, items: object, *rest: object) -> object:
        expected = min(24, 8 * len(small_parts) + 8)
        deadline = time.monotonic() + 10
        while len(prepared) < expected and time.monotonic() < deadline:
            time.sleep(0.01)
        seen.append(len(prepared) >= expected)
        return embed(space, modality, items, *rest)  # type: ignore[arg-type]

    monkeypatch.setitem(run.space.processors, "image", Watched())  # type: ignore[arg-type]
    monkeypatch.setattr(Space, "embed_prepared", patient)
    embed_to_file(run, arrays(24), tmp_path / "vectors.npz")
    assert seen == [True, True, True]


def test_only_the_first_of_torchruns_processes_speaks(
    shell: Shell, trained: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert shell.text("embed", trained, shapes, "--out", tmp_path / "v.npz") == ""
    monkeypatch.setenv("RANK", "0")
    assert shell.json("embed", trained, shapes, "--out", tmp_path / "v.npz")["embedded"] > 64

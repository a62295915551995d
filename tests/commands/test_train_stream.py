"""``cospace train`` on shards that stream: a killed run is bitwise the one left alone, and what was read is counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from conftest import TINY, Cospace, Shell
from cospace.commands import streaming
from cospace.commands.streaming import open_stream
from cospace.commands.train import Listener, TrainArguments, train
from cospace.data.sources._archive import entries
from cospace.data.stream.manifest import WINDOWS
from cospace.runs.metrics_log import MetricsLog
from cospace.runs.run import Run
from cospace.runs.settings import resolve
from streams import members, write_parquet, write_tar, write_tars

STEPS = 14
SETTINGS = (
    *TINY, "data.stream=true", "data.window_shards=2", f"training.steps={STEPS}", "training.evaluations=1",
    "training.checkpoint_seconds=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 pairs in six shards: two epochs of windows of two in 14 steps."""
    return write_tars(tmp_path_factory.mktemp("data") / "shards", [16, 20, 4, 24, 16, 16])


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run left alone."""
    out = tmp_path_factory.mktemp("whole") / "run"
    said: list[str] = []
    train(TrainArguments(str(shards), out, overrides=SETTINGS, listener=Listener(say=said.append)))
    assert said[0].startswith("shards: 6 tar files (")
    assert "streamed in windows of at most 2 shards, 500 MB and 65,536 pairs; about 96 pairs; read as images" in said[0]
    assert any(line.startswith("waited for data ") for line in said)
    assert said[-1] == "shards: 96 read = 96 used"
    return out


def losses(out: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in MetricsLog(out / "metrics.jsonl").rows()]


def same(out: Path, whole: Path) -> bool:
    return losses(out) == losses(whole) and Run.load(out).space.fingerprint == Run.load(whole).space.fingerprint


def start(shards: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cospace", "train", str(shards), "--out", str(out), "--no-report", *SETTINGS]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}  # sums depend on it, bit for bit
    return subprocess.Popen([*command, *more], stderr=subprocess.PIPE, text=True, env=environment)


def kill_after(process: subprocess.Popen[str], out: Path, step: int) -> None:
    log, deadline = out / "metrics.jsonl", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and log.read_bytes().count(b"\n") >= step:
            break
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was done before the kill"


@pytest.mark.parametrize(("step", "gone"), [(9, True), pytest.param(3, False, marks=pytest.mark.slow)])
def test_kill_nine_and_the_same_command_again(shards: Path, whole: Path, tmp_path: Path, step: int, gone: bool) -> None:
    out = tmp_path / "run"
    kill_after(start(shards, out), out, step)
    if gone:
        (out / WINDOWS).unlink()
    process = start(shards, out)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert "resuming after step" in said
    assert same(out, whole)
    assert (out / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()


def test_what_a_run_says_of_its_shards(whole: Path) -> None:
    facts = json.loads((whole / "run.json").read_bytes())
    assert facts["stream"] == {
        "shards": 6, "bytes": facts["stream"]["bytes"], "shards_not_reached": 0, "windows": 3,
    }  # fmt: skip
    assert facts["data"]["rows"] == 96
    assert 0 <= facts["wait_share"] <= 1
    assert all(0 <= row["wait_share"] <= 1 for row in MetricsLog(whole / "metrics.jsonl").rows())
    assert json.loads((whole / "config.json").read_bytes())["training"]["steps"] == STEPS
    assert not (whole / "cache").exists()


def test_what_was_set_aside_is_said_with_its_reason(tmp_path: Path, cospace: Cospace) -> None:
    folder = write_tars(tmp_path / "shards", [16, 20])
    write_tar(folder / "shard-001.tar", members(range(900, 916)) | {"000902.png": b"no picture at all"})
    command = ("train", folder, "--out", tmp_path / "run", "--no-report", *SETTINGS, "data.max_bad_fraction=0.1")
    result = cospace(*command)
    assert result.code == 0, result.err
    assert "shards: 32 read = 31 used + 1 set aside (set aside first: shard-001.tar/000902#1: " in result.err
    assert json.loads((tmp_path / "run" / "run.json").read_bytes())["set_aside"] == {"undecodable": 1}


class Stop(BaseException):
    """Ends a run where a test wants it to end."""


def stopped(shards: Path, out: Path, monkeypatch: pytest.MonkeyPatch, step: int, *changes: str) -> None:
    real = MetricsLog.write

    def write(log: MetricsLog, row: dict[str, Any]) -> None:
        if row["step"] == step:
            raise Stop
        real(log, row)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", write)
        with pytest.raises(Stop):
            train(TrainArguments(str(shards), out, overrides=(*SETTINGS, *changes)))


def test_a_shard_cut_at_a_member_is_refused_by_name(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cospace: Cospace
) -> None:
    copy = write_tars(tmp_path / "shards", [16, 20, 4, 24, 16, 16])
    stopped(copy, tmp_path / "run", monkeypatch, 5)
    cut, data = copy / "shard-003.tar", (copy / "shard-003.tar").read_bytes()
    cut.write_bytes(data[: list(entries(cut))[20].offset - 512] + bytes(1024))  # with the mark of a tar's end
    command = ("train", copy, "--out", tmp_path / "run", "--no-report", *SETTINGS)
    assert "shard-003.tar has changed since this run began (" in cospace(*command).refusal()
    cut.unlink()
    assert "shard-003.tar is gone since this run began; restore it" in cospace(*command).refusal()
    cut.write_bytes(data)
    assert cospace(*command).code == 0


def test_a_shard_with_other_pictures_of_the_same_size_is_refused_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cospace: Cospace
) -> None:
    copy = write_tars(tmp_path / "shards", [16, 20])
    stopped(copy, tmp_path / "run", monkeypatch, 2, "data.window_shards=1", "training.checkpoint_seconds=0")
    for shard in sorted(copy.iterdir()):
        data = bytearray(shard.read_bytes())
        at = [entry for entry in entries(shard) if entry.name.endswith(".txt")][1]
        data[at.offset] = ord("A")
        shard.write_bytes(data)
    result = cospace("train", copy, "--out", tmp_path / "run", "--no-report", *SETTINGS, "data.window_shards=1")
    assert "unfinished run of other settings or data (data)" in result.refusal() or "has changed" in result.refusal()


def test_a_shard_that_is_cut_short_ends_the_run_with_its_name(tmp_path: Path, cospace: Cospace) -> None:
    copy = write_tars(tmp_path / "shards", [16, 20, 8])
    cut = copy / "shard-001.tar"
    cut.write_bytes(cut.read_bytes()[:9000])
    result = cospace("train", copy, "--out", tmp_path / "run", "--no-report", *SETTINGS)
    assert "shard-001.tar is cut short" in result.refusal()


# ------------------------------------------------------------------------------------------------ other inputs


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def test_addresses_stream_without_being_asked_to(
    memory: Any, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for path in sorted(write_tars(tmp_path / "shards", [16, 20]).iterdir()):
        memory.pipe_file(f"bucket/train/{path.name}", path.read_bytes())
    memory.pipe_file("bucket/val.tar", write_tar(tmp_path / "val.tar", members(range(700, 708))).read_bytes())
    settings = [one for one in SETTINGS if not one.startswith("data.stream")]
    found = shell.json(
        "train", "memory://bucket/train/shard-{000..001}.tar", "--val", "memory://bucket/val.tar", "--out",
        tmp_path / "run", "--no-report", *settings,
    )  # fmt: skip
    assert (found["items"], found["used"], found["n_images"]) == (36, 36, 8)
    assert len(list((tmp_path / "cache" / "cospace" / "shards").glob("*.tar"))) == 3


def test_a_pattern_of_parquet_files_streams(tmp_path: Path, shell: Shell) -> None:
    folder = write_parquet(tmp_path / "table", [16, 20])
    settings = [one for one in SETTINGS if not one.startswith("data.stream")]
    found = shell.json("train", folder / "*.parquet", "--out", tmp_path / "run", "--no-report", *settings)
    assert (found["items"], found["used"]) == (36, 36)
    assert open_stream(TrainArguments(str(folder), tmp_path), resolve("small")) is None, "few are read at once"


def test_many_shards_that_are_large_stream_by_themselves(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_streamed(*named: Path) -> bool:
        return open_stream(TrainArguments([str(one) for one in named], tmp_path), resolve("small")) is not None

    assert not is_streamed(shards)
    monkeypatch.setattr(streaming, "LARGE", 1000)
    assert is_streamed(shards)
    assert not is_streamed(shards / "shard-{000..002}.tar"), "three are few"
    assert not is_streamed(shards, shards), "what is named twice counts twice where all is read"
    assert not is_streamed(shards, tmp_path / "pairs.csv")


def test_a_few_steps_say_what_was_not_reached(shards: Path, tmp_path: Path, cospace: Cospace) -> None:
    command = (
        "train",
        shards,
        "--out",
        tmp_path / "run",
        "--no-report",
        *SETTINGS,
        "training.steps=1",
        "training.optim.warmup_steps=1",
    )
    result = cospace(*command, "data.window_shards=1")
    assert result.code == 0
    assert "5 of 6 shards were not reached" in result.err


def test_a_frozen_tower_embeds_each_window_once(shards: Path, whole: Path, tmp_path: Path, shell: Shell) -> None:
    command = ("train", shards, "--from", whole, "--out", tmp_path / "run", "--no-report", "data.stream=true")
    more = ("locked=image", "training.steps=6", "training.batch_size=16", "data.window_shards=2")
    found = shell.json(*command, *more, "training.evaluations=0")
    assert found["n_images"] > 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pairs.csv", "data.stream=true"], "what streams are tar shards, or parquet files"),
        (["scenes", "data.stream=true"], "what streams are tar shards, or parquet files"),
        (["SHARDS", "data.stream=true", "--clean"], "--clean compares all pairs"),
        (["memory://b/a.tar", "data.stream=false"], "is on object storage, from which pairs are streamed"),
        (["SHARDS", "data.stream=true", "--columns", "image=a"], "--columns means nothing for"),
        (["SHARDS", "data.stream=true", "data.window_gb=0"], "data.window_gb"),
        (["SHARDS/none-{0..3}.tar", "data.stream=true"], "none-0.tar does not exist"),
    ],
)
def test_what_cannot_stream_is_one_sentence(
    shards: Path, tmp_path: Path, cospace: Cospace, arguments: list[str], said: str
) -> None:
    given = [one.replace("SHARDS", str(shards)) for one in arguments]
    assert said in cospace("train", *given, "--out", tmp_path / "run").refusal()


@pytest.mark.slow
def test_two_ranks_train_what_one_process_does(shards: Path, tmp_path: Path) -> None:
    settings = (
        "training.parallel=ddp",
        "training.micro_batch_size=8",
        "training.precision=float32",
        "training.workers=2",
    )
    alone = start(shards, tmp_path / "alone", *settings)
    assert alone.wait(timeout=300) == 0, alone.communicate()[1]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "cospace", "train"]
    together = subprocess.run(
        [sys.executable, *launcher, str(shards), "--out", str(tmp_path / "both"), "--no-report", *SETTINGS, *settings],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert together.returncode == 0, together.stderr
    assert same(tmp_path / "both", tmp_path / "alone")

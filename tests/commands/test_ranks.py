"""`torchrun -m cospace train`: the run of one process, also where a rank is killed or all are asked to end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from conftest import TINY
from cospace.commands.train import TrainArguments
from cospace.commands.train import train as train_run
from cospace.runs.run import Run

STEPS = 40
SETTINGS = (
    *TINY,
    f"training.steps={STEPS}",
    "training.evaluations=1",
    "training.checkpoint_seconds=0",
    "training.precision=float32",
    "training.micro_batch_size=8",  # so that one process cuts a batch as two ranks do
    "training.parallel=ddp",
)
PATIENCE = 120
FIRST, SECOND = "10.77.0.1", "10.77.0.2"
"""Addresses of two hosts, which are network namespaces."""


@contextmanager
def torchrun(
    pairs: Path, out: Path, *settings: str, ranks: int = 2, restarts: int = 0, host: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A launch of several ranks, or of one on each ``host``; whatever is left of it in the end is killed."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    if host:
        inside, address, *options = host
        launcher = ["ip", "netns", "exec", inside, *launcher[:3], "--nproc-per-node", "1", "--nnodes", "2", *options]
        launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{FIRST}:29400", "--local-addr", address]
    command = ["-m", "cospace", "train", str(pairs), "--out", str(out), "--no-report", *SETTINGS, *settings]
    process = subprocess.Popen(
        [*launcher, "--max-restarts", str(restarts), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Sums depend on the number of threads, bit for bit.
        env={
            **os.environ,
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
            "GLOO_SOCKET_IFNAME": "veth" if host else "lo",
        },
        start_new_session=True,
    )
    try:
        yield process
    finally:
        left = [*children(process.pid), process.pid]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def children(parent: int, rank: int | None = None) -> list[int]:
    """The processes that a launcher has started, or the one of a rank."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError, IndexError):
            ours = int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            named = rank is None or f"RANK={rank}" in (entry / "environ").read_text().split("\0")
            if ours and named:
                found.append(int(entry.name))
    return found


def rows(out: Path) -> list[dict[str, float]]:
    """The whole lines of the log so far."""
    log = out / "metrics.jsonl"
    return [json.loads(line) for line in log.read_text().split("\n")[:-1]] if log.exists() else []


def wait_for(met: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not met():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def losses(out: Path) -> list[tuple[float, float]]:
    return [(row["step"], row["loss"]) for row in rows(out)]


@pytest.fixture
def hosts() -> Iterator[list[list[str]]]:
    """Two network namespaces with a cable between them: how torchrun is started in each."""
    names = [f"cospace-{os.getpid()}-{number}" for number in (1, 2)]
    commands = [
        *(["netns", "add", name] for name in names),
        ["link", "add", "veth", "netns", names[0], "type", "veth", "peer", "name", "veth", "netns", names[1]],
    ]
    for name, address in zip(names, (FIRST, SECOND), strict=True):
        commands += [["-n", name, "addr", "add", f"{address}/24", "dev", "veth"]]
        commands += [["-n", name, "link", "set", device, "up"] for device in ("veth", "lo")]
    try:
        for command in commands:
            if (
                shutil.which("ip") is None
                or subprocess.run(["ip", *command], capture_output=True, check=False).returncode
            ):
                pytest.skip("needs the right to make network namespaces")
        yield [[names[0], FIRST, "--rdzv-conf", "is_host=true"], [names[1], SECOND, "--rdzv-conf", "is_host=false"]]
    finally:
        for name in names if shutil.which("ip") else ():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.fixture(scope="module")
def alone(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    train_run(TrainArguments(shapes, out, overrides=SETTINGS))
    return out


def same(out: Path, alone: Path) -> bool:
    figures = [(run / "metrics.json").read_bytes() for run in (out, alone)]
    prints = [Run.load(run).space.fingerprint for run in (out, alone)]
    return losses(out) == losses(alone) and figures[0] == figures[1] and prints[0] == prints[1]


def test_a_killed_rank_is_started_again_and_the_run_is_that_of_one_process(
    shapes: Path, tmp_path: Path, alone: Path
) -> None:
    out = tmp_path / "run"
    with torchrun(shapes, out, restarts=1) as launcher:
        wait_for(lambda: len(rows(out)) >= 4, launcher)
        (victim,) = children(launcher.pid, rank=1)
        os.kill(victim, signal.SIGKILL)
        printed, said = launcher.communicate(timeout=PATIENCE)
        assert launcher.returncode == 0, said
    assert said.count("resuming after step") == 1
    assert printed.count("the model is in") == 1, "one rank prints"
    assert same(out, alone)
    assert not (out / "checkpoints").exists()
    assert not (out / "cache").exists()


def test_sigterm_to_the_launcher_leaves_a_checkpoint_that_one_process_goes_on_from(
    shapes: Path, tmp_path: Path, alone: Path
) -> None:
    out = tmp_path / "run"
    with torchrun(shapes, out, "training.checkpoint_seconds=1000", "training.workers=1") as launcher:
        wait_for(lambda: len(rows(out)) >= 3, launcher)
        begin = time.monotonic()
        launcher.send_signal(signal.SIGTERM)
        _, said = launcher.communicate(timeout=PATIENCE)
        assert time.monotonic() - begin < 20
    (checkpoint,) = (out / "checkpoints").glob("step-*")
    done = len(rows(out))
    assert checkpoint.name == f"step-{done:08d}"
    assert f"stopped by SIGTERM after step {done}; the same command goes on from there: cospace train" in said
    changed = (*SETTINGS, "training.checkpoint_seconds=1000", "training.workers=1", "training.parallel=none")
    train_run(TrainArguments(shapes, out, overrides=changed))
    assert same(out, alone), "no step was lost"


@pytest.mark.slow
def test_two_hosts_that_share_no_disk_and_one_of_which_loses_its_rank(
    shapes: Path, tmp_path: Path, alone: Path, hosts: list[list[str]]
) -> None:
    out, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    with (
        torchrun(shapes, out, restarts=2, host=hosts[0]) as first,
        torchrun(shapes, elsewhere, restarts=2, host=hosts[1]) as second,
    ):
        wait_for(lambda: len(rows(out)) >= 4, first)
        (victim,) = children(second.pid)
        os.kill(victim, signal.SIGKILL)
        said = [launcher.communicate(timeout=PATIENCE)[1] for launcher in (first, second)]
        assert (first.returncode, second.returncode) == (0, 0), said
    assert said[0].count("resuming after step") == 1
    assert same(out, alone)
    assert not elsewhere.exists()


@pytest.mark.slow
def test_the_first_rank_chooses_the_steps_that_fit_into_minutes(shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with torchrun(shapes, out, "training.steps=null", "training.minutes=0.2") as launcher:
        _, said = launcher.communicate(timeout=PATIENCE)
        assert launcher.returncode == 0, said
    assert said.count("0.2 minutes: ") == 1, "one rank says it"
    steps = json.loads((out / "config.json").read_text())["training"]["steps"]
    assert len(rows(out)) == steps
    train_run(TrainArguments(shapes, tmp_path / "alone", overrides=(*SETTINGS, f"training.steps={steps}")))
    assert same(out, tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [3, 4])
def test_other_numbers_of_ranks(shapes: Path, tmp_path: Path, alone: Path, ranks: int) -> None:
    out = tmp_path / "run"
    with torchrun(shapes, out, ranks=ranks) as launcher:
        printed, said = launcher.communicate(timeout=PATIENCE)
        assert launcher.returncode == 0, said
    assert printed.count("the model is in") == 1
    first, other = losses(out)[0], losses(alone)[0]
    assert first[1] == pytest.approx(other[1], rel=0.2), "other micro-batches, other statistics of batch norms"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_sharded_weights(shapes: Path, tmp_path: Path, alone: Path, precision: str) -> None:
    out = tmp_path / "run"
    settings = ("training.parallel=fsdp", f"training.precision={precision}", "encoders.image.transformer_blocks=1")
    with torchrun(shapes, out, *settings) as launcher:
        _, said = launcher.communicate(timeout=PATIENCE)
        assert launcher.returncode == 0, said
    found, expected = ([loss for _, loss in losses(run)] for run in (out, alone))
    assert found[:2] == pytest.approx(expected[:2], rel=1e-4 if precision == "float32" else 0.05)
    assert len(Run.load(out).space.embed(text=["a red circle"])) == 1


@pytest.mark.slow
def test_a_refusal_is_said_once(shapes: Path, alone: Path) -> None:
    with torchrun(shapes, alone) as launcher:
        _, said = launcher.communicate(timeout=PATIENCE)
        assert launcher.returncode != 0
    assert said.count("already holds a finished run") == 1


@pytest.mark.slow
def test_a_rank_that_hangs_is_named_and_the_launch_goes_on(shapes: Path, tmp_path: Path, alone: Path) -> None:
    out = tmp_path / "run"
    with torchrun(shapes, out, "training.rank_timeout_seconds=15", restarts=1) as launcher:
        wait_for(lambda: len(rows(out)) >= 4, launcher)
        (victim,) = children(launcher.pid, rank=1)
        os.kill(victim, signal.SIGSTOP)
        _, said = launcher.communicate(timeout=PATIENCE)
        assert launcher.returncode == 0, said
    assert "rank 0 of 2 waits in vain for rank 1" in said
    assert same(out, alone)


def test_one_process_is_what_none_asks_for(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cospace.types import UserError

    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="torchrun started 2 processes, and training.parallel=none trains in one"):
        train_run(TrainArguments(shapes, tmp_path / "run", overrides=(*SETTINGS, "training.parallel=none")))

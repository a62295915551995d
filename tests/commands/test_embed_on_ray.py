"""Embedding on a Ray cluster of this machine: the file of one process to the byte, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Cospace, write_shapes
from cospace.commands import embed_on_ray as on_ray
from cospace.commands.embed import embed_to_file
from cospace.commands.embed_on_ray import embed_on_ray
from cospace.runs.run import NamedRun, Run
from cospace.stores.entries import Input
from cospace.types import UserError

ray = pytest.importorskip("ray", reason="embedding on a cluster is tested with ray, which is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster with two processors, as `ray start --head` makes it."""
    context = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 << 20)
    address = str(context.address_info["address"])
    ray.shutdown = _not_ours(ray.shutdown)
    yield address
    ray.shutdown.really()


def _not_ours(shutdown: Any) -> Any:
    """What a command does at its end: it lets go of the cluster, which goes on for the next test."""

    def nothing() -> None:
        return None

    nothing.really = shutdown  # type: ignore[attr-defined]
    return nothing


@pytest.fixture
def connected(cluster: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The cluster of the session, to which this process is connected already."""
    monkeypatch.setattr(ray, "init", lambda **_: None)
    return cluster


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = write_shapes(tmp_path, copies=6)
    (tmp_path / "images" / "red-circle-0.png").write_bytes(b"no image")
    return found


def test_a_cluster_that_is_not_there_is_named(cospace: Cospace, trained: Path, table: Path, tmp_path: Path) -> None:
    result = cospace("embed", trained, table, "--out", tmp_path / "v.parquet", "--ray", "127.0.0.1:1")
    assert "ray start --head" in result.refusal()
    alone = cospace("embed", trained, table, "--out", tmp_path / "v.parquet", "--workers", 2)
    assert "--ray" in alone.refusal()
    assert list(tmp_path.glob("v.parquet*")) == []


def test_the_file_is_that_of_one_process(connected: str, trained: Path, table: Path, tmp_path: Path) -> None:
    alone = embed_to_file(Run.load(trained), Input(table), tmp_path / "alone.parquet")
    seen: list[tuple[int, int]] = []
    shared = embed_on_ray(
        NamedRun(trained),
        Input(table),
        tmp_path / "shared.parquet",
        connected,
        2,
        progress=lambda _, *far: seen.append(far),
    )
    assert (tmp_path / "shared.parquet").read_bytes() == (tmp_path / "alone.parquet").read_bytes()
    problems = [tmp_path / f"{name}.parquet.problems.jsonl" for name in ("alone", "shared")]
    assert problems[0].read_bytes() == problems[1].read_bytes() != b""
    assert shared == alone
    assert seen[-1][0] == seen[-1][1] > 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".cospace")) == []
    assert not (tmp_path / "shared.parquet.parts").exists()


def test_a_killed_worker_is_started_again(connected: str, trained: Path, table: Path, tmp_path: Path) -> None:
    out, killed = tmp_path / "v.parquet", list[int]()

    def kill() -> None:
        """Kill whoever holds the lease of the first part that is begun."""
        end = time.monotonic() + 60
        while not killed and time.monotonic() < end:
            for started in out.with_name("v.parquet.parts").glob("leases/*/started"):
                holder = next((text for text in _holders(started.parent)), None)
                if holder is not None:
                    os.kill(holder, signal.SIGKILL)
                    killed.append(holder)
                    return
            time.sleep(0.001)

    watcher = threading.Thread(target=kill)
    watcher.start()
    embed_on_ray(NamedRun(trained), Input(table), out, connected, 2)
    watcher.join()
    assert killed, "no worker was met while it held a part"
    embed_to_file(Run.load(trained), Input(table), tmp_path / "alone.parquet")
    assert out.read_bytes() == (tmp_path / "alone.parquet").read_bytes()


def _holders(lease: Path) -> Iterator[int]:
    """Processes of Ray's workers that have the lock of a lease open."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            names = [os.readlink(handle) for handle in (process / "fd").iterdir()]
        except OSError:
            continue
        if int(process.name) != os.getpid() and any(name.startswith(str(lease)) for name in names):
            yield int(process.name)


def test_a_mistake_is_one_sentence(connected: str, trained: Path, table: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name a file that ends in"):
        embed_on_ray(NamedRun(trained), Input(table), tmp_path / "v.csv", connected, 1)
    with pytest.raises(UserError, match="at least 1"):
        embed_on_ray(NamedRun(trained), Input(table), tmp_path / "v.parquet", connected, 0)
    with pytest.raises(UserError, match="does not exist"):
        embed_on_ray(NamedRun(trained), Input("nowhere.csv"), tmp_path / "v.parquet", connected, 1)


def test_a_worker_that_does_not_see_the_folder_is_named(trained: Path, table: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not see"):
        on_ray._work(NamedRun(trained), Input(table), str(tmp_path / "v.parquet"), str(tmp_path / "gone"), None)

"""Embedding and checking on a Ray cluster of this machine: one process's results to the byte, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageOps

from conftest import Cospace, write_shapes
from cospace.commands import embed_on_ray as on_ray
from cospace.commands import ray_cluster
from cospace.commands.check import CheckArguments, check_pairs
from cospace.commands.embed import embed_to_file
from cospace.commands.embed_on_ray import embed_on_ray
from cospace.commands.ray_cluster import RayCluster
from cospace.data import contents, examining, near_duplicates
from cospace.data.cluster import on_cluster
from cospace.data.examining import look_at
from cospace.data.pairs import open_pairs
from cospace.runs.run import NamedRun, Run
from cospace.stores.entries import Input
from cospace.types import UserError
from photographs import photograph

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


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of thirty photographs with copies, mirrored and cut ones, and some more in a shard."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(30):
        photograph(96, 80, seed=number % 24).save(folder / f"{number:02d}.png", optimize=number > 25)
    ImageOps.mirror(photograph(96, 80, seed=5)).save(folder / "mirrored.png")
    (folder / "cut.png").write_bytes((folder / "07.png").read_bytes()[:-40])
    (folder / "empty.png").touch()
    monkeypatch.setattr(examining, "TOGETHER", 4)
    monkeypatch.setattr(contents, "_CHUNK", 5)
    monkeypatch.setattr(near_duplicates, "FEW", 10)
    monkeypatch.chdir(tmp_path)
    return folder


def checked(source: str, cache: Path, monkeypatch: pytest.MonkeyPatch, ray: str | None = None) -> dict[str, bytes]:
    """What a check that remembers nothing writes and finds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    found = check_pairs(CheckArguments(source, ray=ray))
    found.write(cache / "clean")
    written = {path.name: path.read_bytes() for path in sorted((cache / "clean").rglob("*")) if path.is_file()}
    return written | {"json": json.dumps(found.to_json()).encode(), "text": found.to_text().encode()}


def shard_of(folder: Path, out: Path) -> Path:
    with tarfile.open(out, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    return out


@pytest.mark.parametrize("kind", ["folder", "shard"])
def test_a_cluster_finds_what_one_process_finds(
    kind: str, connected: str, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "photographs" if kind == "folder" else str(shard_of(photographs, tmp_path / "shard.tar"))
    by_one = checked(source, tmp_path / "one", monkeypatch)
    assert b"mirrored.png" in by_one["findings.csv"] or kind == "shard"
    worked = list[int]()
    taken = RayCluster.map

    def counted(self: RayCluster, *given: Any, **more: Any) -> Iterator[Any]:
        for made in taken(self, *given, **more):
            worked.append(1)
            yield made

    monkeypatch.setattr(RayCluster, "map", counted)
    assert checked(source, tmp_path / "many", monkeypatch, connected) == by_one
    assert len(worked) > 32 / 5 + 32 / 4, "files are read, examined and compared by the cluster"


def cluster_of(connected: str) -> RayCluster:
    ray.is_initialized() or ray.init(address=connected)
    return RayCluster(ray)


def test_a_killed_worker_costs_the_shard_that_it_was_at(connected: str, tmp_path: Path) -> None:
    once, log = tmp_path / "once", tmp_path / "log"

    def work(shard: int) -> int:
        with log.open("a") as file:
            file.write(f"{shard}\n")
        if shard == 3 and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 10 * shard

    assert list(cluster_of(connected).map(work, range(6))) == [0, 10, 20, 30, 40, 50]
    assert sorted(log.read_text().split()) == ["0", "1", "2", "3", "3", "4", "5"]


def test_a_file_that_ends_every_worker_costs_itself_alone(
    connected: str, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = look_at(open_pairs(photographs), "image")
    really = examining.examined

    def dying(name: str, files: list[Path]) -> Any:
        if any(file.name == "05.png" for file in files):
            os._exit(11)
        return really(name, files)  # type: ignore[arg-type]

    monkeypatch.setattr(examining, "examined", dying)
    monkeypatch.setattr(ray_cluster, "RETRIES", 1)
    with on_cluster(cluster_of(connected)):
        seen = look_at(open_pairs(photographs), "image")
    assert {fault.kind for fault in seen.faults.values()} == {"crash", "truncated"}
    assert len(seen.faults) == len(plain.faults) + 1
    (crashed,) = (item for item, fault in seen.faults.items() if fault.kind == "crash")
    for key, values in plain.measures.items():
        both = np.delete(seen.measures[key], crashed), np.delete(values, crashed)
        np.testing.assert_array_equal(*both, err_msg=key)


def test_a_check_by_workers_that_do_not_see_the_input_is_refused(connected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not see .*gone"):
        list(RayCluster(cluster_of(connected)._ray, [tmp_path / "gone"]).map(len, [[1]]))
    with pytest.raises(UserError, match="cannot go on"):
        list(cluster_of(connected).map(os._exit, [1]))


def test_check_says_where_no_cluster_is(cospace: Cospace, table: Path) -> None:
    assert "ray start --head" in cospace("check", table, "--ray", "127.0.0.1:1").refusal()

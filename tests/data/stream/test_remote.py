"""Shards on object storage: found by patterns, fetched whole, kept within bounds, refused in one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from cospace import locks
from cospace.data.pairs import open_pairs
from cospace.data.stream import Shard, remote
from cospace.data.stream.locating import find_shards, is_remote
from cospace.data.stream.remote import ShardCache, Store
from cospace.types import UserError
from streams import opened, write_parquet, write_tars


@pytest.fixture
def memory() -> Iterator[Any]:
    """fsspec's file system in memory, empty."""
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture
def bucket(memory: Any, tmp_path: Path) -> str:
    """Shards in memory."""
    upload(memory, write_tars(tmp_path / "local", [6, 6, 6]), "bucket/train")
    return "memory://bucket/train"


def upload(system: Any, folder: Path, to: str) -> None:
    for path in sorted(folder.iterdir()):
        system.pipe_file(f"{to}/{path.name}", path.read_bytes())


def cache(tmp_path: Path, size: int = 1 << 30) -> ShardCache:
    return ShardCache(size, tmp_path / "cache")


def test_patterns_name_shards(bucket: str, memory: Any) -> None:
    memory.pipe_file("bucket/train/stats.json", b"{}")
    names = ["shard-000.tar", "shard-001.tar", "shard-002.tar"]
    for number in range(3, 12):
        memory.pipe_file(f"bucket/more/shard-{number:03d}.tar", b"x")
    assert len(find_shards(["memory://bucket/more/shard-{003..011}.tar"]) or []) == 9
    for spec in (bucket, f"{bucket}/", f"{bucket}/shard-{{000..002}}.tar", f"{bucket}/*.tar"):
        found = find_shards([spec])
        assert found is not None
        assert [shard.name for shard in found] == names
        assert {shard.address for shard in found} == {f"{bucket}/{name}" for name in names}
        assert all(shard.size > 5000 and shard.version for shard in found)
    assert [shard.name for shard in find_shards([f"{bucket}/*1.tar"]) or []] == names[1:2]


def test_what_is_not_there_is_one_sentence(bucket: str) -> None:
    for spec, said in (
        (f"{bucket}/none-{{0..1}}.tar", "memory://bucket/train/none-0.tar does not exist"),
        ("memory://nothing/here", "memory://nothing/here does not exist"),
        (f"{bucket}/*.parquet", "holds no tar shards and no parquet files"),
        ("memory://*/a.tar", "a pattern may stand in the last part of an address only"),
        (f"{bucket}/*.tar {bucket}", None),
    ):
        specs = spec.split() if said is None else [spec]
        with pytest.raises(UserError, match=said or "a shard is named twice"):
            find_shards(specs)


def test_addresses_that_execute_or_chain_are_none() -> None:
    for spec in ("pipe:curl", "pipe://cat", "simplecache::s3://b/a.tar", "zip://a.tar::s3://b/c.zip", "reference://x"):
        assert not is_remote(spec)


def test_shards_of_a_local_folder_and_of_files(tmp_path: Path) -> None:
    folder = write_tars(tmp_path / "a", [2, 2])
    names = [shard.name for shard in find_shards([str(folder)]) or []]
    assert names == ["shard-000.tar", "shard-001.tar"]
    assert [one.address for one in find_shards([f"file://{folder}/*.tar"]) or []] == sorted(map(str, folder.iterdir()))
    other = write_tars(tmp_path / "b", [2])
    both = find_shards([str(folder), str(other)])
    assert [shard.name for shard in both or []] == ["a/shard-000.tar", "a/shard-001.tar", "b/shard-000.tar"]
    parquet = write_parquet(tmp_path / "p", [3, 3])
    (parquet / "train-00000-of-00001.parquet").write_bytes(b"")
    assert [shard.name for shard in find_shards([str(parquet)]) or []] == ["train-00000-of-00001.parquet"]
    assert len(find_shards([f"{parquet}/part-*.parquet"]) or []) == 2
    assert find_shards([str(tmp_path / "pairs.csv")]) is None
    assert find_shards([str(folder), "scenes"]) is None
    assert find_shards([str(folder), str(parquet)]) is None


# ------------------------------------------------------------------------------------------------ copies


def test_a_shard_is_fetched_once_and_shared(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    real = Store.pieces
    monkeypatch.setattr(Store, "pieces", lambda store, path: (fetched.append(path), real(store, path))[1])
    shards = find_shards([bucket]) or []
    one, other = cache(tmp_path), cache(tmp_path)
    one.ask(shards)
    for shard in (*shards, *shards):
        local = tmp_path / "local" / shard.name
        assert one.local(shard).read_bytes() == other.local(shard).read_bytes() == local.read_bytes()
    assert len(fetched) == 3


def test_copies_are_bounded_and_those_in_use_stay(bucket: str, tmp_path: Path) -> None:
    shards = find_shards([bucket]) or []
    small = cache(tmp_path, size=shards[0].size + 1)
    first = small.local(shards[0])
    small.local(shards[1])
    assert first.exists(), "it is being read"
    small.release(keep=[shards[1]])
    small.local(shards[2])
    assert not first.exists()
    assert sum(path.suffix == ".tar" for path in (tmp_path / "cache").iterdir()) == 2
    assert small.local(shards[0]).exists(), "fetched again"


def test_a_copy_cut_short_is_none_and_is_asked_for_again(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PAUSE", 0.0)
    shards = find_shards([bucket]) or []
    real, tries = Store.pieces, []

    def broken(store: Store, path: str) -> Iterator[bytes]:
        tries.append(path)
        pieces = list(real(store, path))
        yield from pieces if len(tries) > 2 else [pieces[0][:100]]

    monkeypatch.setattr(Store, "pieces", broken)
    assert cache(tmp_path).local(shards[0]).stat().st_size == shards[0].size
    assert len(tries) == 3
    tries[:] = ["again"] * -9
    monkeypatch.setattr(Store, "pieces", lambda store, path: iter([b"too short"]))
    with pytest.raises(UserError, match=r"bytes when it was listed and has 9 now"):
        cache(tmp_path).local(shards[1])
    assert not list((tmp_path / "cache").glob("*.tmp-*"))


def test_a_copy_that_nobody_wants_any_more_is_given_up(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(store: Store, path: str) -> Iterator[bytes]:
        while True:
            yield b"more"

    shards = find_shards([bucket]) or []
    monkeypatch.setattr(Store, "pieces", endless)
    copies = cache(tmp_path)
    copies.ask(shards)
    copies.release()
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]
    monkeypatch.undo()
    assert copies.local(shards[0]).stat().st_size == shards[0].size


def test_a_lock_of_a_dead_reader_holds_nothing(bucket: str, tmp_path: Path) -> None:
    shards = find_shards([bucket]) or []
    reader = os.fork()
    if not reader:
        cache(tmp_path).local(shards[0])
        os._exit(0)
    os.waitpid(reader, 0)
    small = cache(tmp_path, size=1)
    small.local(shards[1])
    assert sum(path.suffix == ".tar" for path in (tmp_path / "cache").iterdir()) == 1


def test_readers_share_a_lock_and_a_writer_has_it_alone(tmp_path: Path) -> None:
    one, other = (locks.SharedLock(tmp_path / "a.lock") for _ in range(2))
    assert one.attempt(alone=False)
    assert other.attempt(alone=False)
    assert not other.attempt(alone=True)
    one.release()
    assert other.attempt(alone=True)
    assert not locks.SharedLock(tmp_path / "a.lock").attempt(alone=False)


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(kind: str) -> Any:
        raise ImportError("Install adlfs to access Azure")

    monkeypatch.setattr(remote, "_fsspec", missing)
    with pytest.raises(UserError, match="az:// needs a package that is not installed: Install adlfs"):
        find_shards(["az://container/a-{0..1}.tar"])


def test_a_remote_stream_reads_what_a_local_one_does(bucket: str, tmp_path: Path) -> None:
    here = opened(tmp_path / "local", tmp_path / "run")
    there = opened(bucket, tmp_path / "run")
    for one, other in ((here.train, there.train), (here.val, there.val)):
        assert list(one.ids) == list(other.ids)
        assert list(one.contents["image"]) == list(other.contents["image"])
    assert here.train.fingerprint != there.train.fingerprint, "versions are part of what a run was decided by"


def test_other_commands_say_where_shards_on_object_storage_are_read() -> None:
    with pytest.raises(UserError, match="`cospace train` alone streams tar shards"):
        open_pairs("s3://bucket/shard-{000..099}.tar")


# ------------------------------------------------------------------------------------------------ S3


def test_shards_in_s3(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    settings = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_REGION": "us-east-1"}
    for name, value in {**settings, "AWS_ENDPOINT_URL": s3}.items():
        monkeypatch.setenv(name, value)
    remote.store_of.cache_clear()
    client = boto3.client("s3", endpoint_url=s3, region_name="us-east-1")
    client.create_bucket(Bucket="shards-of-mine")
    folder = write_tars(tmp_path / "local", [6, 6, 6])
    for path in folder.iterdir():
        client.put_object(Bucket="shards-of-mine", Key=f"train/{path.name}", Body=path.read_bytes())
    there = opened("s3://shards-of-mine/train/shard-{000..002}.tar", tmp_path / "run")
    assert list(there.train.ids) == list(opened(folder, tmp_path / "run").train.ids)
    assert [one.name for one in find_shards(["s3://shards-of-mine/train"]) or []] == sorted(os.listdir(folder))
    for spec, said in (
        ("s3://no-such-bucket/train", "NO_SUCH_BUCKET"),
        ("s3://shards-of-mine/none-{0..3}.tar", "none-0.tar does not exist, or may not be seen with these credentials"),
        ("s3://shards-of-mine/train/shard-{0..20}.tar", "shard-0.tar does not exist"),
    ):
        with pytest.raises(UserError, match=said):
            find_shards([spec])
    shard = Shard("a", "s3://shards-of-mine/train/shard-000.tar", 7)
    monkeypatch.setattr(remote, "PAUSE", 0.0)
    with pytest.raises(UserError, match="had 7 bytes when it was listed"):
        cache(tmp_path).local(shard)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    remote.store_of.cache_clear()
    with pytest.raises(UserError, match=r"s3://shards-of-mine/train cannot be read: .*; check the address"):
        find_shards(["s3://shards-of-mine/train"])
    remote.store_of.cache_clear()

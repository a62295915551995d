"""The cache of prepared items: what it gives is what was kept, or nothing."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospace.data import prepared_cache as prepared_cache_module
from cospace.data.prepared_cache import DEFAULT_GB, SETTING, KeptItems, PreparedCache, bound, way_of
from cospace.modalities.image.processing import ImageProcessor
from cospace.types import UserError


def item(number: int, side: int = 8) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(number).integers(0, 256, (3, side, side), np.uint8))


def key(number: int) -> bytes:
    return number.to_bytes(16, "little")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "prepared.sqlite"


@given(shape=st.lists(st.integers(0, 7), max_size=3), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_what_is_kept_comes_back(shape: list[int], seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    kept = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))
    path = tmp_path_factory.mktemp("cache") / "prepared.sqlite"
    with PreparedCache(path, 1 << 20) as cache:
        cache.keep(key(1), kept.transpose(0, -1) if len(shape) > 1 else kept)
    with PreparedCache(path, 1 << 20) as cache:
        found = cache.get([key(1), key(2)])
    assert list(found) == [key(1)]
    assert torch.equal(found[key(1)], kept.transpose(0, -1) if len(shape) > 1 else kept)


def test_a_flipped_bit_is_as_if_it_were_not_there(path: Path) -> None:
    with PreparedCache(path, 1 << 30) as cache:
        for number in range(3):
            cache.keep(key(number), item(number))
    database = sqlite3.connect(path)
    data = bytearray(database.execute("SELECT data FROM items WHERE key = ?", [key(1)]).fetchone()[0])
    data[17] ^= 4
    with database:
        database.execute("UPDATE items SET data = ? WHERE key = ?", [bytes(data), key(1)])
    database.close()
    with PreparedCache(path, 1 << 30) as cache:
        assert set(cache.get([key(number) for number in range(3)])) == {key(0), key(2)}
        cache.keep(key(1), item(1))
        assert torch.equal(cache.get([key(1)])[key(1)], item(1))


@pytest.mark.parametrize("damage", ["cut", "noise", "folder"])
def test_a_damaged_file_is_done_without(path: Path, damage: str) -> None:
    with PreparedCache(path, 1 << 30) as cache:
        for number in range(300):
            cache.keep(key(number), item(number))
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        noise = np.random.default_rng(0).bytes(len(whole) - 100)
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else whole[:100] + noise)
    with PreparedCache(path, 1 << 30) as cache:
        found = cache.get([key(number) for number in range(300)])
        cache.keep(key(1), item(1))
    assert all(torch.equal(one, item(int.from_bytes(name, "little"))) for name, one in found.items())


def test_a_full_cache_drops_the_oldest(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cospace.data.cache_database.PAUSE", 0.0)
    most = 200_000
    with PreparedCache(path, most) as cache:
        for number in range(400):
            cache.keep(key(number), item(number, side=32))
        found = [int.from_bytes(name, "little") for name in cache.get([key(number) for number in range(400)])]
    assert sorted(found) == list(range(400 - len(found), 400)), "the latest are there"
    assert 20 <= len(found) <= most / (3 * 32 * 32)
    assert path.stat().st_size < 2 * most


def test_two_processes_share_it(path: Path) -> None:
    program = (
        "import sys, torch\\n"
        "from pathlib import Path\\n"
        "from cospace.data.prepared_cache import PreparedCache\\n"
        "first = int(sys.argv[2])\\n"
        "with PreparedCache(Path(sys.argv[1]), 1 << 30) as cache:\\n"
        "    for number in range(first, first + 300):\\n"
        "        cache.keep(number.to_bytes(16, 'little'), torch.full((100,), number % 256, dtype=torch.uint8))\\n"
        "        cache._flush()\\n"
    ).replace("\\n", "\n")
    running = [subprocess.Popen([sys.executable, "-c", program, str(path), str(first)]) for first in (0, 200)]
    assert [process.wait(120) for process in running] == [0, 0]
    with PreparedCache(path, 1 << 30) as cache:
        found = cache.get([key(number) for number in range(500)])
    assert len(found) == 500
    assert all((one == int.from_bytes(name, "little") % 256).all() for name, one in found.items())


def test_the_bound_is_a_setting_and_leaves_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 8_000_000_000

    monkeypatch.setattr(prepared_cache_module.shutil, "disk_usage", lambda _: Usage)
    monkeypatch.delenv(SETTING, raising=False)
    assert bound(tmp_path / "nothing" / "there") == 2_000_000_000
    Usage.free = 10**12
    assert bound(tmp_path) == DEFAULT_GB * 1e9
    monkeypatch.setenv(SETTING, "0.5")
    assert bound(tmp_path) == 500_000_000
    monkeypatch.setenv(SETTING, "plenty")
    with pytest.raises(UserError, match="COSPACE_CACHE_GB=plenty is no number of gigabytes"):
        bound(tmp_path)


def test_zero_gigabytes_keep_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(SETTING, "0")
    kept = KeptItems("image", ["a", "b"], ImageProcessor(size=8))
    kept.keep(0, item(0))
    kept.close()
    assert not kept.get([0, 1])
    kept.close()


def test_items_are_kept_by_their_content_and_the_way_they_were_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = KeptItems("image", ["a", "b"], ImageProcessor(size=8))
    kept.keep(1, item(1))
    kept.close()
    again = KeptItems("image", ["b", "a", "c"], ImageProcessor(size=8))
    assert list(again.get([0, 1, 2])) == [0]
    assert torch.equal(again.get([0])[0], item(1))
    for other in (ImageProcessor(size=16), ImageProcessor(size=8, fit="crop")):
        assert way_of("image", other) != way_of("image", ImageProcessor(size=8))
        assert not KeptItems("image", ["b"], other).get([0])

"""An index on a PostgreSQL server: made, brought up to date and searched from anywhere, with no run and no folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import Cospace, Shell, shape_picture, write_shapes
from cospace.commands.search import SearchableIndex
from cospace.stores.locations import cached_models
from database import Database


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has never seen the run: its cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_index_and_search_by_address(
    shell: Shell, cospace: Cospace, server: Database, trained: Path, shapes: Path, tmp_path: Path, away: Path
) -> None:
    url = f"{server.tcp}#words_and_images"
    assert "holds no index; make one with" in cospace("search", url, "a red circle").refusal()
    made = shell.json("index", trained, shapes, "--out", url)
    assert (made["in_index"], made["added"]) == (128, 128)
    again = shell.json("index", trained, shapes, "--out", url)
    assert (again["in_index"], again["unchanged"]) == (128, 128)

    local = shell.json("index", trained, shapes, "--out", tmp_path / "idx")
    assert local["in_index"] == 128
    for question in (["a red circle"], ["--image", shapes.parent / "images" / "blue-square-3.png"]):
        there = shell.json("search", url, *question, "-k", "7")["results"]
        here = shell.json("search", tmp_path / "idx", *question, "-k", "7")["results"]
        np.testing.assert_allclose([row["score"] for row in there], [row["score"] for row in here], atol=1e-5)
        assert there[0]["id"] == here[0]["id"]
    assert [path.name for path in cached_models().iterdir()] == [SearchableIndex.open(url).store.fingerprint]
    assert "▀" in shell.text("search", url, "a red circle", "--thumbnails", "always")

    (damaged,) = away.rglob("weights.safetensors")
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    assert shell.json("search", url, "a red circle", "-k", "7")["results"], "a damaged copy is fetched anew"
    shutil.rmtree(away)
    assert shell.json("search", url, "a red circle", "--where", "modality=image")["results"]


def test_changes_by_address(
    shell: Shell, cospace: Cospace, server: Database, trained: Path, tmp_path: Path, away: Path
) -> None:
    url, folder = f"{server.socket}#changing", write_shapes(tmp_path, 1).parent / "images"
    assert shell.json("index", trained, folder, "--out", url, "--precision", "float16")["added"] == 8
    shape_picture("red", "circle", 50).save(folder / "red-circle-0.png")
    (folder / "blue-circle-0.png").rename(folder / "sea.png")
    (folder / "green-circle-0.png").unlink()
    made = shell.json("index", trained, folder, "--out", url)
    assert [made[name] for name in ("items", "added", "changed", "removed", "unchanged")] == [7, 1, 1, 2, 5]
    index = SearchableIndex.open(url)
    found = index.search(image=folder / "sea.png", k=1)[0]
    assert (found.id, found.score > 0.99) == ("sea.png", True)
    assert index.thumbnails.get(found.hash, 64)
    assert "stores float16" in cospace("index", trained, folder, "--out", url, "--precision", "float32").refusal()
    assert "int8" in cospace("index", trained, folder, "--out", f"{url}2", "--precision", "int8").refusal()

"""An index in LanceDB, in a folder and on object storage: made, brought up to date, searched, calibrated, served."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from asgi_client import AsgiClient

from conftest import Cospace, Shell, shape_picture, write_shapes
from cospace.commands.collection import Collection
from cospace.commands.search import SearchableIndex
from cospace.service import versions
from cospace.service.app import create_app
from cospace.stores import _lance_part
from cospace.stores.locations import FolderLocation, LanceLocation, cached_models, location_of

pytestmark = pytest.mark.usefixtures("lancedb")


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has never seen the run: its cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("given", "shown", "folder"),
    [
        ("lance:idx", "lance:idx", "idx"),
        ("lance:/a b/idx", "lance:/a b/idx", "/a b/idx"),
        ("s3://bucket/photos", "s3://bucket/photos", None),
        ("lance:s3://bucket/photos", "s3://bucket/photos", None),
        ("gs://bucket/photos", "gs://bucket/photos", None),
    ],
)
def test_how_places_are_written(given: str, shown: str, folder: str | None) -> None:
    place = location_of(given)
    assert isinstance(place, LanceLocation)
    assert (place.name, place.path) == (shown, None if folder is None else Path(folder))


def test_what_is_no_place(cospace: Cospace, tmp_path: Path, trained: Path, shapes: Path) -> None:
    assert "nothing stands there" in cospace("search", "lance:", "x").refusal()
    said = cospace("search", "s3://me:s3cret@bucket/photos", "x").refusal()
    assert "from the environment" in said and "s3cret" not in said
    assert "is not an index; make one with" in cospace("search", f"lance:{tmp_path}/none", "x").refusal()
    assert not (tmp_path / "none").exists(), "looking makes nothing"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert "is not empty" in cospace("index", trained, shapes, "--out", f"lance:{tmp_path}/full").refusal()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    said = cospace("index", trained, shapes, "--out", f"lance:{tmp_path}/new", "--precision", "int8").refusal()
    assert "cannot store 'int8'; choose one of float32, float16" in said and not (tmp_path / "new").exists()


def test_index_search_and_calibrate(
    shell: Shell, cospace: Cospace, trained: Path, shapes: Path, tmp_path: Path, away: Path
) -> None:
    out = f"lance:{tmp_path}/idx"
    made = shell.json("index", trained, shapes, "--out", out)
    assert (made["in_index"], made["added"], made["out"]) == (128, 128, out)
    again = shell.json("index", trained, shapes, "--out", out)
    assert (again["in_index"], again["unchanged"]) == (128, 128)
    local = shell.json("index", trained, shapes, "--out", tmp_path / "local")
    assert local["in_index"] == 128
    for question in (["a red circle"], ["--image", shapes.parent / "images" / "blue-square-3.png"]):
        there = shell.json("search", out, *question, "-k", "7")["results"]
        here = shell.json("search", tmp_path / "local", *question, "-k", "7")["results"]
        np.testing.assert_allclose([row["score"] for row in there], [row["score"] for row in here], atol=1e-5)
        assert there[0]["id"] == here[0]["id"]
    assert isinstance(location_of(tmp_path / "idx"), LanceLocation), "the folder alone names it too"
    assert isinstance(location_of(tmp_path / "local"), FolderLocation)
    assert "▀" in shell.text("search", tmp_path / "idx", "a red circle", "--thumbnails", "always")
    assert [path.name for path in cached_models().iterdir()] == [SearchableIndex.open(out).store.fingerprint]
    shutil.rmtree(away)
    assert shell.json("search", out, "a red circle", "--where", "@modality=image")["results"]
    assert shell.json("index", "--out", out, "--calibrate")["calibrated"]
    assert SearchableIndex.open(out).location.calibration()
    assert shell.json("index", "--out", out, "--sources")["sources"][0]["items"] == 128


def test_changes_and_a_refusal(shell: Shell, cospace: Cospace, trained: Path, tmp_path: Path, away: Path) -> None:
    out, folder = f"lance:{tmp_path}/idx", write_shapes(tmp_path, 1).parent / "images"
    assert shell.json("index", trained, folder, "--out", out, "--precision", "float16")["added"] == 8
    shape_picture("red", "circle", 50).save(folder / "red-circle-0.png")
    (folder / "blue-circle-0.png").rename(folder / "sea.png")
    (folder / "green-circle-0.png").unlink()
    made = shell.json("index", trained, folder, "--out", out)
    assert [made[name] for name in ("items", "added", "changed", "removed", "unchanged")] == [7, 1, 1, 2, 5]
    index = Collection.open(out)
    found = index.search(image=folder / "sea.png", k=1)[0]
    assert (found.id, found.score > 0.99) == ("sea.png", True)
    assert index.thumbnails.get(found.hash, 64) and index.folder == tmp_path / "idx"
    assert "stores float16" in cospace("index", trained, folder, "--out", out, "--precision", "float32").refusal()
    before = index.store.hashes()
    for number in range(30):
        (folder / f"bad-{number}.png").write_bytes(b"no picture %d" % number)
    assert cospace("index", trained, folder, "--out", out).code == 2
    index.store.refresh()
    assert index.store.hashes() == before
    assert index.add(texts=["a green sea"], ids=["words"]) and len(index) == 8
    saved = index.location.saved()
    saved.put("seas", b"{}")
    assert (saved.names(), saved.get("seas"), saved.remove("seas"), saved.names()) == (["seas"], b"{}", True, [])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of what lays out the map
def test_it_is_served_while_it_changes(
    shell: Shell, trained: Path, shapes: Path, tmp_path: Path, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "REFRESH_SECONDS", 0.0)
    out = f"lance:{tmp_path}/idx"
    shell.json("index", trained, shapes, "--out", out)
    client = AsgiClient(create_app(SearchableIndex.open(out)))
    try:
        first = client.post("/api/search", {"parts": [{"text": "a red circle"}], "k": 5}).json()
        assert len(first["results"]) == 5 and client.get("/healthz").json()["ok"]
        assert Collection.open(out).delete([first["results"][0]["id"]]) == 1
        second = client.post("/api/search", {"parts": [{"text": "a red circle"}], "k": 5}).json()
        assert second["version"] > first["version"]
        assert first["results"][0]["id"] not in [row["id"] for row in second["results"]]
        shutil.rmtree(tmp_path / "idx")
        assert client.get("/healthz").json()["status"] == "degraded"
    finally:
        client.close()


def test_on_object_storage(shell: Shell, trained: Path, tmp_path: Path, away: Path, bucket: str) -> None:
    folder = write_shapes(tmp_path, 2).parent / "images"
    assert shell.json("index", trained, folder, "--out", bucket)["added"] == 16
    first = shell.json("search", bucket, "a red circle", "-k", "3")["results"]
    assert len(first) == 3 and "▀" in shell.text("search", bucket, "a red circle", "--thumbnails", "always")
    (folder / first[0]["id"]).unlink()
    made = shell.json("index", trained, folder, "--out", bucket)
    assert (made["removed"], made["unchanged"]) == (1, 15)
    shutil.rmtree(away)
    assert [row["id"] for row in shell.json("search", bucket, "a red circle", "-k", "2")["results"]] == [
        row["id"] for row in first[1:]
    ]
    assert not list(tmp_path.glob("s3*"))


def test_a_vector_index_is_chosen_and_its_recall_shown(
    shell: Shell,
    cospace: Cospace,
    trained: Path,
    shapes: Path,
    tmp_path: Path,
    away: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = f"lance:{tmp_path}/idx"
    said = cospace("index", trained, shapes, "--out", out, "--ann", "hnsw").refusal()
    assert "choose one of exact, ivf_flat, ivf_hnsw_sq, ivf_pq, ivf_rq" in said and not (tmp_path / "idx").exists()
    said = cospace("index", trained, shapes, "--out", tmp_path / "local", "--ann", "ivf_pq").refusal()
    assert "has one kind of vector index" in said and f"lance:{tmp_path}/local" in said
    made = shell.json("index", trained, shapes, "--out", out, "--ann", "ivf_flat")
    assert made["ann"] == {} and made["added"] == 128, "so few are all read"
    monkeypatch.setattr(_lance_part, "ANN_ROWS", 60)
    assert shell.json("index", "--out", out, "--ann", "exact")["ann"] == {}
    found = shell.json("index", "--out", out, "--ann", "ivf_flat")["ann"]
    assert found.keys() == {"image", "text"} and found["image"]["ann"] == "ivf_flat" and found["image"]["rows"] == 64
    assert "64 images by ivf_flat: recall@10 1.000 (128 queries)" in shell.text(
        "index", "--out", out, "--ann", "ivf_flat"
    )
    assert "64 images by ivf_flat" in shell.text("index", trained, shapes, "--out", out)

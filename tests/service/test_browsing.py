"""Looking around without a query, and the shelf: on a real index, over HTTP."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgi_client import AsgiClient
from PIL import Image

from conftest import shape_picture
from cospace.commands.index import build_index
from cospace.commands.search import SearchableIndex
from cospace.data.pairs import open_pairs
from cospace.modalities.image.showing import at_size, preview
from cospace.runs.run import Run
from cospace.service.app import create_app
from cospace.service.browsing import column_summary
from cospace.service.stacking import hidden_behind
from cospace.stores import Item
from cospace.stores.local import LocalIndex
from service.test_api import ranking


@pytest.fixture(scope="module")
def library(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures, the first with three captions; columns of words and of years."""
    folder = tmp_path_factory.mktemp("library")
    for name, colour in (("one", "red"), ("two", "blue"), ("three", "green")):
        shape_picture(colour, "circle", 1).save(folder / f"{name}.png")
    rows = [
        ("one.png", "a red circle", "warm", "1990"), ("one.png", "the first of all", "warm", "1990"),
        ("one.png", "a round thing", "warm", "1990"), ("two.png", "a blue circle", "cold", "2001"),
        ("three.png", "a green circle", "cold", "2011"),
    ]  # fmt: skip
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "text", "mood", "year"), *rows])
    build_index(Run.load(trained), folder / "pairs.csv", folder / "idx")
    return folder


@pytest.fixture(scope="module")
def service(library: Path) -> Iterator[AsgiClient]:
    client = AsgiClient(create_app(SearchableIndex.open(library / "idx")))
    yield client
    client.close()


def items(service: AsgiClient) -> dict[str, dict[str, Any]]:
    """Everything in the index by file name or text."""
    version = service.get("/api/info").json()["version"]
    numbers = ",".join(map(str, range(8)))
    found = service.get(f"/api/items?version={version}&n={numbers}").json()["items"]
    return {one["path"] or one["text"]: one for one in found}


def test_everything_can_be_looked_through_a_page_at_a_time(client: AsgiClient) -> None:
    header, first = ranking(client.get("/api/browse?k=40"))
    assert (header["n"], header["total"]) == (40, 64)
    assert (first["width"] > 0).all()
    assert (first["percent"] == 255).all()
    header, rest = ranking(client.get("/api/browse?offset=40&k=40"))
    assert header["n"] == 24
    numbers = np.concatenate([first["number"], rest["number"]])
    assert len(set(numbers.tolist())) == 64
    assert numbers.tolist() == sorted(numbers.tolist())
    header, _ = ranking(client.get("/api/browse?offset=64"))
    assert header["n"] == 0


def test_columns_are_told_with_their_commonest_values(service: AsgiClient) -> None:
    columns = {one["name"]: one for one in service.get("/api/values").json()["columns"]}
    assert columns.keys() == {"mood", "year"}  # none that the index made for itself
    assert columns["mood"]["values"] == [{"value": "cold", "count": 2}, {"value": "warm", "count": 1}]
    assert (columns["mood"]["kind"], columns["mood"]["least"]) == ("text", None)
    assert (columns["year"]["least"], columns["year"]["most"]) == (1990, 2011)


def test_many_numbers_are_a_range_and_few_are_a_choice() -> None:
    assert column_summary("year", Counter(map(str, range(1990, 2010))))["kind"] == "number"
    assert column_summary("stars", Counter("12345"))["kind"] == "text"
    assert column_summary("mixed", Counter([*map(str, range(20)), "?"]))["kind"] == "text"
    assert len(column_summary("year", Counter(map(str, range(1990, 2010))))["values"]) == 10


def test_a_picture_knows_all_its_captions_and_a_caption_its_picture(service: AsgiClient) -> None:
    known = items(service)
    version = service.get("/api/info").json()["version"]
    asked = [known["one.png"], known["the first of all"], known["two.png"]]
    numbers = ",".join(str(one["number"]) for one in asked)
    paired = service.get(f"/api/paired?version={version}&n={numbers}").json()["paired"]
    assert [one["text"] for one in paired[0]] == ["a red circle", "the first of all", "a round thing"]
    assert [one["path"] for one in paired[1]] == ["one.png"]
    assert [one["text"] for one in paired[2]] == ["a blue circle"]


def test_the_file_itself_is_given_and_nothing_that_has_changed(service: AsgiClient, library: Path) -> None:
    one = items(service)["three.png"]
    answer = service.get(f"/o/{one['hash']}")
    assert answer.status == 200
    assert answer.body == (library / "three.png").read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert service.get(f"/api/path?id={one['id']}").json() == {"path": str(library / "three.png")}
    assert service.get("/o/" + "0" * 32).status == 404
    assert service.get("/o/..%2Fpairs.csv").status == 404


def test_an_unknown_address_is_a_page_for_people_and_json_for_programs(client: AsgiClient) -> None:
    page = client.get("/nowhere", accept="text/html,application/xhtml+xml")
    assert page.status == 404
    assert page.headers["content-type"].startswith("text/html")
    assert b"There is no such page" in page.body
    assert client.get("/nowhere").json()["title"] == "not found"


def test_the_shelf_keeps_items_and_notes_beside_the_index(service: AsgiClient, library: Path) -> None:
    known = items(service)
    names = [known[name]["id"] for name in ("two.png", "one.png")]
    assert service.post("/api/shelf", {"ids": names}).json() == {"count": 2}
    service.post("/api/shelf", {"ids": names[:1], "note": "for the cover"})
    service.post("/api/shelf", {"ids": [known["three.png"]["id"]]})
    service.post("/api/shelf", {"ids": [known["three.png"]["id"]], "kept": False})
    service.post("/api/shelf", {"ids": names})  # put there again: the note stays
    kept = service.get("/api/shelf").json()
    assert [(one["path"], one["note"]) for one in kept["items"]] == [("two.png", "for the cover"), ("one.png", "")]
    with (library / "idx" / "shelf.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"id": "gone.png", "kept": True}) + '\n{"id": "cut sho')
    kept = service.get("/api/shelf").json()
    assert kept["gone"] == ["gone.png"]
    assert len(kept["items"]) == 2
    assert service.post("/api/shelf", {"ids": ["nowhere.png"]}).status == 404
    service.post("/api/shelf", {"ids": names[1:], "note": "after the crash"})
    assert service.get("/api/shelf").json()["items"][1]["note"] == "after the crash"
    fresh = AsgiClient(create_app(SearchableIndex.open(library / "idx")))
    assert len(fresh.get("/api/shelf").json()["items"]) == 2
    fresh.close()


def test_the_shelf_is_taken_along_as_pairs_that_train_takes(service: AsgiClient, library: Path, tmp_path: Path) -> None:
    known = items(service)
    service.post("/api/shelf", {"ids": [known["one.png"]["id"], known["two.png"]["id"]]})
    listed = service.get("/api/shelf/export?form=list").body.decode().splitlines()
    assert str(library / "one.png") in listed
    (tmp_path / "shelf.csv").write_bytes(service.get("/api/shelf/export?form=csv").body)
    pairs = open_pairs(tmp_path / "shelf.csv")
    assert {"a red circle", "the first of all", "a round thing", "a blue circle"} == set(pairs.items["text"])
    with zipfile.ZipFile(io.BytesIO(service.get("/api/shelf/export?form=zip").body)) as archive:
        archive.extractall(tmp_path / "along")
    unpacked = open_pairs(tmp_path / "along" / "pairs.csv")
    assert set(unpacked.items["text"]) == set(pairs.items["text"])
    originals = {(library / f"{name}.png").read_bytes() for name in ("one", "two")}
    assert {path.read_bytes() for path in (tmp_path / "along" / "files").iterdir()} == originals
    assert not (tmp_path / "along" / "left_out.txt").exists()


def test_what_a_zip_cannot_hold_is_named_in_it(service: AsgiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    name = items(service)["one.png"]["id"]
    service.post("/api/shelf", {"ids": [name]})
    monkeypatch.setattr("cospace.service.shelf._content", lambda engine, item: None)
    with zipfile.ZipFile(io.BytesIO(service.get("/api/shelf/export?form=zip").body)) as archive:
        assert name in archive.read("left_out.txt").decode()


def test_an_index_that_cannot_be_written_says_so(client: AsgiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    known = client.get("/api/browse?k=1")
    _, columns = ranking(known)
    version = client.get("/api/info").json()["version"]
    name = client.get(f"/api/items?version={version}&n={columns['number'][0]}").json()["items"][0]["id"]

    def refused(*args: object, **kwargs: object) -> object:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "open", refused)
    answer = client.post("/api/shelf", {"ids": [name]})
    assert answer.status == 503
    assert answer.json()["detail"].endswith("the folder of the index cannot be written (read-only file system)")


def test_small_pictures_are_kept_without_loss() -> None:
    dice = np.random.default_rng(0)
    pixels = dice.integers(0, 256, (64, 72, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    for webp in (preview(image).webp[256], at_size(image, 1280)):  # in the grid, and beside it
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(webp)).convert("RGB")), pixels)


def test_what_shows_the_same_as_a_result_before_it_lies_behind_it(tmp_path: Path) -> None:
    angles = np.array([0.0, 0.6, 0.02, 0.61, 1.2, 0.03, 0.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    items = [Item(str(place), "image", hash=str(place), width=8 * (place < 6), height=8) for place in range(7)]
    with LocalIndex.create(tmp_path / "idx", "f" * 16, 2) as store:
        store.add(items, vectors)
        store.checkpoint()
        numbers = store.numbers([item.id for item in items])
        assert hidden_behind(store, numbers) == [[2, 0], [3, 1], [5, 0]]  # the last is no file: it has no size
        assert hidden_behind(store, numbers[:1]) == []

"""Classes in the service: the same probabilities as the command's, marks that move a search, saved classes."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from asgi_client import AsgiClient

from cospace.api import load
from cospace.commands.collection import Collection
from cospace.commands.index import build_index
from cospace.service.app import create_app

CLASSES = ["red circle", "blue square", "green circle"]


@pytest.fixture(scope="module")
def marked(trained: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AsgiClient, Path]]:
    """A service on an index of its own, which these tests write to."""
    out = tmp_path_factory.mktemp("marked") / "idx"
    build_index(load(trained), shapes, out)
    client = AsgiClient(create_app(Collection.open(out)))
    yield client, out
    client.close()


def found(client: AsgiClient, **query: object) -> list[str]:
    answer = client.post("/api/search", {"parts": [{"text": "a red thing"}], "find": "image", "k": 64, **query})
    assert answer.status == 200, answer.json()
    return [one["id"] for one in answer.json()["results"]]


def test_the_service_classifies_as_the_command_does(
    marked: tuple[AsgiClient, Path], trained: Path, shapes: Path
) -> None:
    client, _ = marked
    table = {row.item.id: row for row in load(trained).classify(shapes, CLASSES)}
    for name in list(table)[::20]:
        answer = client.post("/api/classify", {"item": {"id": name}, "classes": CLASSES}).json()
        told = {one["class"]: one["probability"] for one in answer["results"]}
        assert answer["results"][0]["class"] == table[name].name
        for known, value in table[name].classes:
            assert told[known] == pytest.approx(value, abs=0.02)
        assert (answer["calibrated"], answer["calibration"]) == (False, "matches"), "too few held-out pairs to fit"


def test_a_rest_needs_to_know_what_items_look_like(marked: tuple[AsgiClient, Path]) -> None:
    client, _ = marked
    name = found(client)[0]
    answer = client.post("/api/classify", {"item": {"id": name}, "classes": CLASSES, "rest": "other"})
    assert answer.status == 422
    assert "held-out pairs" in answer.json()["detail"]
    assert client.post("/api/classify", {"item": {"id": name}, "classes": ["red"]}).status == 422


def test_marks_move_a_search_as_they_do_in_python(marked: tuple[AsgiClient, Path]) -> None:
    client, folder = marked
    before = found(client)
    right, wrong = before[20:23], before[:4]
    after = found(client, right=right, wrong=wrong)
    assert not set(after) & set(wrong)
    assert len(after) == len(before) - 4
    assert np.mean([after.index(name) for name in right]) < 12
    index = Collection.open(folder)
    taught = index.teach("a red thing", right=right, wrong=wrong, k=64, find="image")
    assert [one.id for one in taught][:10] == after[:10]
    answer = client.post(
        "/api/rank", {"parts": [{"text": "a red thing"}], "find": "image", "right": right, "wrong": wrong}
    )
    (size,) = struct.unpack("<I", answer.body[:4])
    header = json.loads(answer.body[4 : 4 + size])
    assert (header["direction"], header["calibrated"], header["n"]) == ("taught", False, 20)


def test_a_saved_class_is_a_filter(marked: tuple[AsgiClient, Path]) -> None:
    client, folder = marked
    before = found(client)
    right, wrong = before[20:24], before[:8]
    asked = {"name": "mine", "parts": [{"text": "a red thing"}], "find": "image", "right": right, "wrong": wrong}
    saved = client.post("/api/classes", asked)
    assert saved.status == 200, saved.json()
    assert (saved.json()["version"], saved.json()["asked"]) == (1, "a red thing")
    (listed,) = client.get("/api/classes").json()["classes"]
    assert listed == saved.json()
    among = found(client, where=["class:mine"])
    assert len(among) == listed["count"] > 0
    assert {one.id for one in Collection.open(folder).of_class("mine", 100)} == set(among)
    assert client.post("/api/classes", {**asked, "right": before[20:21]}).json()["version"] == 2
    assert client.post("/api/search", {"parts": [{"text": "x"}], "where": ["class:nobody"]}).status == 422
    assert client.ask("DELETE", "/api/classes/mine").json() == {"ok": True}
    assert client.get("/api/classes").json()["classes"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../../x", "right": []},
        {"name": "x", "right": ["nobody"]},
        {"name": "x", "right": [], "parts": []},
        {"name": "", "parts": [{"text": "x"}]},
        {"name": "x", "parts": [{"text": "x"}], "right": ["a"] * 500},
    ],
)
def test_a_class_that_cannot_be_is_refused(marked: tuple[AsgiClient, Path], wrong: dict[str, object]) -> None:
    client, folder = marked
    assert client.post("/api/classes", wrong).status == (404 if wrong.get("right") == ["nobody"] else 422)
    assert not (folder / "classes" / "x.json").exists()


def test_a_class_that_cannot_be_written_says_why(
    marked: tuple[AsgiClient, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = marked
    asked = {"name": "kept", "parts": [{"text": "a red thing"}], "right": found(client)[:1]}
    assert client.post("/api/classes", asked).status == 200

    def refused(*args: object, **kwargs: object) -> object:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("cospace.stores.saved.atomic_write", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    for answer, what in (
        (client.post("/api/classes", asked), "the class cannot be kept"),
        (client.ask("DELETE", "/api/classes/kept"), "the class cannot be removed"),
    ):
        assert answer.status == 503
        why = "the folder of the index cannot be written (read-only file system)"
        assert answer.json()["detail"] == f"{what}: {why}"

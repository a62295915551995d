"""An index from Python: items come and go, are found in every way, and marks teach; in a folder and on a server."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from conftest import Cospace, Shell, shape_picture
from cospace.api import index as make_index
from cospace.api import load, open_index
from cospace.commands.collection import Collection
from cospace.runs.run import Run
from cospace.stores import Condition, Item
from cospace.stores.locations import location_of
from cospace.types import UserError
from database import Database


@pytest.fixture(params=["folder", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an index may be."""
    if request.param == "folder":
        return str(tmp_path / "idx")
    server: Database = request.getfixturevalue("server")
    return f"{server.socket}#c{uuid4().hex[:12]}"


@pytest.fixture
def index(trained: Path, shapes: Path, place: str) -> Iterator[Collection]:
    made = make_index(load(trained), shapes, place)
    yield made
    made.store.close()


def ids(results: Any) -> list[str]:
    return [result.id for result in results]


def test_items_are_added_replaced_and_removed(index: Collection, tmp_path: Path) -> None:
    before, version = len(index), index.store.version
    red, blue = shape_picture("red", "circle", 900), shape_picture("blue", "square", 901)
    blue.save(tmp_path / "blue one.png")
    data = io.BytesIO()
    shape_picture("green", "circle", 902).save(data, "PNG")
    added = index.add(
        images=[red, tmp_path / "blue one.png", data.getvalue(), np.asarray(red)[:, ::-1]],
        texts=["a new red circle", None, "a new green circle", None],
        ids=["r", "b", "g", "a"],
        columns={"year": [1999, 2004, None, 2010]},
    )
    assert added == ["r", "b", "g", "a"]
    assert len(index) == before + 6, "four images and two texts"
    assert index.store.version > version
    assert set(ids(index.search(text="x", where=["year>=2000"], k=50))) == {"b", "a"}
    (item,) = index.store.items(index.store.numbers(["b"]).tolist())
    assert (item.path, item.extras["year"], item.width) == (str(tmp_path / "blue one.png"), "2004", 32)
    assert index.thumbnails.get(item.hash, 64)
    index.add(images=[blue], ids=["r"])
    assert len(index) == before + 6, "an id that was there has new content now"
    np.testing.assert_allclose(
        index.store.vectors(index.store.numbers(["r"])), index.store.vectors(index.store.numbers(["b"])), atol=2e-3
    )
    assert index.delete(["r", "b", "g", "a", "nobody"]) == 4
    assert len(index) <= before + 1, "captions go with what they were of"
    assert index.thumbnails.get(item.hash, 64) is None
    assert len(open_index(index.url or index.name)) == len(index)


def test_an_item_of_an_unfinished_update_is_removed_with_the_others(index: Collection, place: str) -> None:
    with location_of(place).open() as store:
        store.checkpoint("photos")
        store.add([Item("late", "image", "late.png", "", "0a" * 16)], np.ones((1, store.width), np.float32))
    assert not index.refresh(), "an update that nobody has finished is not seen"
    before = len(index)
    assert index.delete(["late"]) == 1
    assert len(index) == before


def test_adding_the_same_again_changes_nothing(index: Collection) -> None:
    red = shape_picture("red", "circle", 900)
    (name,) = index.add(images=[red])
    version, count = index.store.version, len(index)
    assert index.add(image=[red]) == [name]
    assert (index.store.version, len(index)) == (version, count)


def test_a_caption_that_another_item_has_stays(index: Collection) -> None:
    pictures = [shape_picture("red", "circle", 900), shape_picture("red", "circle", 903)]
    index.add(images=pictures, texts=["the same words", "the same words"], ids=["one", "two"])
    index.delete("one")
    assert ids(index.search(text="the same words", find="text", k=1)) == ["text/one"]
    index.delete("two")


def test_what_cannot_be_added_leaves_the_index_as_it_was(index: Collection) -> None:
    before = sorted(index.store.hashes().items())
    good = shape_picture("red", "circle", 900)
    for wrong, said in (
        (
            {"images": [good, b"no picture"], "ids": ["g", "w"]},
            "nothing was added: w: undecodable|nothing was added: w",
        ),
        ({"images": [good, "/nowhere/a.png"]}, "does not exist"),
        ({"images": [good], "texts": ["a", "b"]}, "different lengths"),
        ({"images": [good, good], "ids": ["g", "g"]}, "given twice"),
        ({"images": "a.png"}, "takes a list"),
        ({"sounds": [b"x"]}, "embeds no"),
        ({}, "nothing was given to add"),
    ):
        with pytest.raises(UserError, match=said):
            index.add(**wrong)  # type: ignore[arg-type]
        assert sorted(index.store.hashes().items()) == before, wrong


def test_a_list_of_queries_is_as_many_queries(index: Collection) -> None:
    texts = ["a red circle", "a blue square", "something green", "black"]
    several = index.search(text=texts, k=7)
    for text, found in zip(texts, several, strict=True):
        alone = index.search(text=text, k=7)
        assert ids(found) == ids(alone)
        np.testing.assert_allclose([r.score for r in found], [r.score for r in alone], atol=1e-5)
    vectors = index.space.embed(text=texts)
    assert [ids(one) for one in index.search(vector=vectors, k=7)] == [ids(one) for one in several]
    assert ids(index.search(vector=vectors[1], k=7)) == ids(several[1])
    pictures = [shape_picture("red", "circle", 3), shape_picture("blue", "square", 4)]
    by_picture = index.search(image=pictures, k=5, find="text")
    assert [ids(one) for one in by_picture] == [ids(index.search(image=one, k=5, find="text")) for one in pictures]
    assert index.search(text=[], k=3) == []


def test_one_batch_and_one_pass_for_a_list(index: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"embed": 0, "nearest": 0}
    embed, nearest = type(index.space).embed, type(index.store).nearest

    def counted(name: str, function: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            calls[name] += 1
            return function(*given, **named)

        return call

    monkeypatch.setattr(type(index.space), "embed", counted("embed", embed))
    monkeypatch.setattr(type(index.store), "nearest", counted("nearest", nearest))
    index.search(text=[f"text number {n}" for n in range(40)], k=3)
    assert calls == {"embed": 1, "nearest": 1}


def test_parts_with_weights_are_what_the_service_finds(index: Collection) -> None:
    from asgi_client import AsgiClient

    from cospace.service.app import create_app

    first = index.store.items([int(index.store.select([Condition("@modality", "=", ("image",))])[5])])[0].id
    client = AsgiClient(create_app(open_index(index.url or index.name)))
    for parts in (
        [("a red circle", 1.0), ("a blue square", 0.5)],
        [("a red circle", 1.0), ("red", -0.7)],
        [({"id": first}, 1.0), ("square", 0.4)],
        [("green", 1.0)],
    ):
        asked = [{**({"text": q} if isinstance(q, str) else q), "weight": w} for q, w in parts]
        answer = client.post("/api/search", {"parts": asked, "k": 8}).json()["results"]
        found = index.search(parts=parts, k=8)  # type: ignore[arg-type]
        np.testing.assert_allclose([r.score for r in found], [one["score"] for one in answer], atol=2e-3)
        assert len(set(ids(found)) & {one["id"] for one in answer}) >= 7
    client.close()


def test_it_finds_what_the_command_line_finds(index: Collection, shell: Shell) -> None:
    place = index.url or index.name
    said = shell.json("search", place, "a red circle", "-k", 6)["results"]
    assert [one["id"] for one in said] == ids(index.search(text="a red circle", k=6))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"text": ["a"], "image": "x.png"}, "one thing at a time"),
        ({"vector": [1.0, 2.0]}, "a vector of this space has 16 numbers"),
        ({"text": ["a", " "]}, "empty"),
        ({"text": ["a"], "rerank": True}, "one by one"),
        ({"parts": []}, "no query"),
        ({"parts": [("red", 1), ("red", -1)]}, "take each other away"),
        ({"parts": [(3, 1)]}, "a part is"),
        ({"parts": [({"id": "nobody"}, 1)]}, "no item 'nobody'"),
        ({"parts": [("red", 1)], "text": "red"}, "one thing at a time"),
        ({"text": "a", "where": ["class:nobody"]}, "no saved class"),
        ({}, "exactly one"),
    ],
)
def test_a_query_that_cannot_be_is_refused(
    trained: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory, wrong: dict[str, Any], said: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "refusing"
    index = open_index(folder) if folder.exists() else make_index(load(trained), shapes, folder)
    with pytest.raises(UserError, match=said):
        index.search(**wrong)


def test_marks_teach_and_are_saved_as_a_class(index: Collection, shell: Shell, cospace: Cospace) -> None:
    """What is wanted lies around one image, far from the words that are typed."""
    near = ids(index.search(image=Path(index.search(text="a red thing", k=64, find="image")[-1].path), k=64))
    wanted, right, wrong = set(near[:16]), near[:16:3], near[20::6]
    with pytest.raises(UserError, match="leave out rerank and hybrid"):
        index.teach("a red thing", right=right, rerank=True)
    found = index.teach("a red thing", right=right, wrong=wrong, k=16, save="reds")
    before = len(wanted & set(ids(index.search(text="a red thing", k=16, find="image"))))
    assert len(wanted & set(ids(found))) >= max(10, before + 4)
    assert not set(ids(found)) & set(wrong)
    (saved,) = index.classes()
    assert (saved.name, saved.version, saved.right, saved.asked) == ("reds", 1, tuple(right), "a red thing")
    among = ids(index.search(text="a blue square", where=["class:reds"], k=64))
    assert set(among) & set(right)
    assert set(ids(index.of_class("reds", k=64))) == set(among)
    place = index.url or index.name
    told = shell.json("search", place, "a blue square", "--class", "reds", "-k", 64)["results"]
    assert [one["id"] for one in told] == among
    marks = ("--right", ",".join(right), "--wrong", wrong[0], "--wrong", ",".join(wrong[1:]))
    said = shell.json("search", place, "a red thing", *marks, "-k", 16, "--save-class", "reds")["results"]
    assert [one["id"] for one in said] == ids(found)
    assert index.classes()[0].version == 2
    assert shell.json("search", place, "--class", "reds", "-k", 3)["results"]
    assert "did you mean 'reds'" in cospace("search", place, "x", "--class", "red").refusal()
    both = cospace("search", place, "x", "--right", right[0], "--wrong", right[0]).refusal()
    assert "both right and wrong" in both
    index.forget_class("reds")
    assert index.classes() == []


def test_a_saved_class_is_understood_by_eval_and_train(
    trained: Path, shapes: Path, shell: Shell, tmp_path: Path
) -> None:
    index = make_index(load(trained), shapes, tmp_path / "idx")
    items = [item for item in index.store.items(index.store.select().tolist()) if item.modality == "image"]
    for colour in ("red", "blue"):
        right = [item.id for item in items if colour in item.id][:6]
        wrong = [item.id for item in items if colour not in item.id][:12]
        index.teach(f"a {colour} thing", right=right, wrong=wrong, save=colour)
    named = [(item.path, colour) for item in items for colour in ("red", "blue") if colour in item.id]
    rows = "".join(f"{path},{colour}\n" for path, colour in named)
    (tmp_path / "labelled.csv").write_text("image,label\n" + rows)
    run, folder = trained, tmp_path / "idx" / "classes"
    measured = shell.json("eval", run, tmp_path / "labelled.csv", "--classes", folder)
    assert measured["n_classes"] == 2
    assert measured["zero_shot/top1"] >= 0.6
    read = shell.json("check", folder / "red.json")
    assert (read["used"], read["unique_texts"]) == (6, 1)
    value = json.loads((folder / "red.json").read_text())
    assert value["pairs"][0]["text"] == "red"
    assert Run.load(run).space.fingerprint == value["fingerprint"]


def test_it_is_safe_to_change_while_others_read(index: Collection) -> None:
    """A reader sees the whole of a change or nothing of it."""
    other, stop, seen = open_index(index.url or index.name), threading.Event(), set()

    def watch() -> None:
        while not stop.is_set():
            other.refresh()
            seen.add(
                len(ids(other.search(text="x", where=["batch=1"], k=20))) if "batch" in other.store.columns() else 0
            )

    reader = threading.Thread(target=watch)
    reader.start()
    pictures = [shape_picture("green", "square", seed) for seed in range(2000, 2008)]
    try:
        for _ in range(3):
            index.add(images=pictures, ids=[f"g{n}" for n in range(8)], columns={"batch": [1] * 8})
            index.delete([f"g{n}" for n in range(8)])
    finally:
        stop.set()
        reader.join()
    assert seen <= {0, 8}, seen

"""Groups of what an index holds, the map in the background, and why an item was found, over HTTP."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from asgi_client import AsgiClient

from cospace.evaluation.attribution import Attribution
from cospace.service.groups import groups_of
from cospace.service.heat import shown
from cospace.service.mapping import flat_map
from service.memory_index import KINDS, MemoryIndex, animals


def over(index: MemoryIndex) -> Any:
    """What groups need of an engine."""
    return SimpleNamespace(snapshot=lambda version: SimpleNamespace(store=index))


def test_groups_are_named_regions_with_the_most_typical_first() -> None:
    index = animals()
    found = groups_of(over(index), flat_map(index))
    assert [group["count"] for group in found] == sorted((group["count"] for group in found), reverse=True)
    names = [group["name"] for group in found]
    assert len(set(names)) == len(names), "one group a name"
    assert {name.split(" · ")[0] for name in names} & set(KINDS)
    for group in found:
        assert group["cover"] == group["numbers"][0]
        assert len(group["numbers"]) == min(60, group["count"])
        items = index.items(group["numbers"])
        assert {item.modality for item in items} == {"image"}, "files stand for a group, not their captions"
        vectors = index.vectors(np.array(group["numbers"]))
        typical = vectors @ vectors.mean(0)
        assert typical[0] >= np.median(typical)
    named = [group for group in found if group["name"] in KINDS]
    for group in named:
        kinds = [item.extras["label"] for item in index.items(group["numbers"])]
        assert kinds.count(group["name"]) > 0.5 * len(kinds)


def test_an_index_of_texts_alone_has_groups_of_texts() -> None:
    index = animals()
    texts = index.without([item.id for item in index.items(range(len(index))) if item.modality == "image"])
    assert {texts.items([group["cover"]])[0].modality for group in groups_of(over(texts), flat_map(texts))} == {"text"}


def test_the_map_is_drawn_without_anybody_asking_for_it(client: AsgiClient) -> None:
    assert client.get("/api/groups").status == 200
    deadline = time.monotonic() + 60
    while not client.get("/api/groups").json()["groups"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    group = client.get("/api/groups").json()["groups"][0]
    assert set(group) == {"name", "count", "cover", "numbers"}
    assert client.get("/api/map").status == 200


def test_what_speaks_against_a_match_does_not_pale_what_speaks_for_it() -> None:
    found = Attribution("letters", [(0, 1), (2, 3), (4, 5)], np.array([0.1, -0.8, 0.05]), 0.3)
    assert shown(found)["heat"] == [1.0, -1.0, 0.5]
    assert shown(Attribution("letters", [(0, 1)], np.array([-0.1]), 0.3))["heat"] == [0.0]


def ranked(client: AsgiClient, find: str) -> tuple[dict[str, Any], int]:
    found = client.post("/api/search", {"parts": [{"text": "a red circle"}], "find": find, "k": 1}).json()
    return found["results"][0], found["version"]


def test_an_image_is_explained_by_its_regions(client: AsgiClient) -> None:
    item, version = ranked(client, "image")
    asked = {"parts": [{"text": "a red circle"}], "number": item["number"], "version": version}
    heat = client.post("/api/heat", asked).json()
    assert heat["kind"] == "boxes"
    assert len(heat["spans"]) == len(heat["heat"]) == heat["columns"] ** 2
    assert max(heat["heat"]) == pytest.approx(1)
    assert min(heat["heat"]) >= -1
    assert heat["spans"][0][:2] == [0, 0]
    assert heat["spans"][-1][2:] == [1, 1]
    assert heat["score"] == pytest.approx(item["score"], abs=0.01)
    minus = client.post("/api/heat", {**asked, "parts": [{"text": "a red circle"}, {"text": "blue", "weight": -0.5}]})
    assert minus.status == 200


def test_a_text_is_explained_by_its_words(client: AsgiClient) -> None:
    item, version = ranked(client, "text")
    heat = client.post("/api/heat", {"parts": [{"text": "red"}], "number": item["number"], "version": version}).json()
    assert heat["kind"] == "letters"
    words = [item["text"][start:end] for start, end in heat["spans"]]
    assert words == item["text"].split()


def test_what_cannot_be_explained_is_refused(client: AsgiClient) -> None:
    _, version = ranked(client, "image")
    asked = {"parts": [{"text": "red"}], "version": version}
    assert client.post("/api/heat", {**asked, "number": 10**9}).status in (404, 409, 422)
    assert client.post("/api/heat", {**asked, "number": 0, "more": 1}).status == 422

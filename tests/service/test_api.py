"""The HTTP interface on a real index: what is found is what the space says, and every answer keeps its form."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgi_client import Answer, AsgiClient
from PIL import Image

from conftest import shape_picture
from cospace.commands.search import How, SearchableIndex
from cospace.models.calibration import SHORT, WHOLE, Fit, Relevance, match
from cospace.runs.run import Run
from cospace.service.access import Access
from cospace.service.app import create_app

ROW = [("number", "<u4"), ("score", "<f4"), ("rgb", "<u4"), ("width", "<u2"), ("height", "<u2"), ("percent", "u1")]


def ranking(answer: Answer) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the columns of a ranking."""
    assert answer.status == 200, answer
    length = int.from_bytes(answer.body[:4], "little")
    header = json.loads(answer.body[4 : 4 + length])
    assert (4 + length) % 4 == 0
    columns, place = {}, 4 + length
    for name, kind in ROW:
        size = np.dtype(kind).itemsize * header["n"]
        columns[name] = np.frombuffer(answer.body[place : place + size], kind)
        place += size
    assert place == len(answer.body)
    return header, columns


def png(colour: str = "red", shape: str = "circle", seed: int = 3) -> bytes:
    buffer = io.BytesIO()
    shape_picture(colour, shape, seed).save(buffer, "PNG")
    return buffer.getvalue()


def upload(client: AsgiClient, data: bytes) -> str:
    answer = client.post("/api/upload", data)
    assert answer.status == 200, answer
    return str(answer.json()["upload"])


def test_info_says_what_there_is(client: AsgiClient) -> None:
    info = client.get("/api/info").json()
    assert info["counts"] == {"image": 64, "text": 64}
    assert info["total"] == 128
    assert info["can"] == {"caption": False, "ask": False, "fetch": False}
    assert len(info["examples"]) <= 6
    for example in info["examples"]:
        first = client.post("/api/search", {"parts": [{"text": example}], "k": 10}).json()
        held = sum(set(example.split()) <= set(one["text"].split()) for one in first["results"])
        assert held >= 0.6 * min(10, len(first["literal"])) > 1, f"{example} was suggested, and does not work"
    shown = client.get(f"/api/items?version={info['version']}&n={','.join(map(str, info['representatives']))}").json()[
        "items"
    ]
    assert 1 <= len(shown) <= 24
    assert {item["modality"] for item in shown} == {"image"}


def test_every_encoder_has_run_before_the_first_caller(indexed: Path) -> None:
    collection, ran = SearchableIndex.open(indexed), set()
    for name, encoder in collection.space.encoders.items():
        encoder.register_forward_hook(lambda *_, name=name: ran.add(name))
    client = AsgiClient(create_app(collection))
    client.close()
    assert ran == {"image", "text"}


def test_a_search_finds_what_the_space_puts_first(client: AsgiClient, trained: Path, shapes: Path) -> None:
    text = "a blue square number 3"
    answer = client.post("/api/search", {"parts": [{"text": text}], "k": 5}).json()
    space = Run.load(trained).space
    vectors = space.embed(image=[shapes.parent / "images" / result["path"] for result in answer["results"]])
    cosines = vectors @ space.embed(text=[text])[0]
    np.testing.assert_allclose([result["score"] for result in answer["results"]], cosines, atol=2e-3)
    assert (np.diff(cosines) <= 2e-3).all()
    assert answer["total"] == 64
    assert all("/" not in result["path"] for result in answer["results"]), "no folder of this machine is named"


def test_pages_of_results_follow_each_other(client: AsgiClient) -> None:
    def ids(**more: int) -> list[str]:
        results = client.post("/api/search", {"parts": [{"text": "red"}], **more}).json()["results"]
        return [result["id"] for result in results]

    assert ids(k=5) + ids(k=5, offset=5) + ids(k=100, offset=10) == ids(k=64)
    assert ids(k=5, offset=64) == []


def test_conditions_choose_among_all(client: AsgiClient) -> None:
    query = {"parts": [{"text": "red"}], "k": 100, "where": ["text=a red circle number 1|a red square number 2"]}
    found = client.post("/api/search", query).json()
    assert {result["text"] for result in found["results"]} == {"a red circle number 1", "a red square number 2"}
    assert found["total"] == 2
    refused = client.post("/api/search", {**query, "where": ["colour=red"]})
    assert refused.status == 422
    assert "colour" in refused.json()["detail"]


def test_a_ranking_is_the_search_in_numbers(client: AsgiClient) -> None:
    query = {"parts": [{"text": "green square"}], "k": 64}
    header, columns = ranking(client.post("/api/rank", query))
    results = client.post("/api/search", query).json()["results"]
    assert columns["number"].tolist() == [result["number"] for result in results]
    np.testing.assert_allclose(columns["score"], [result["score"] for result in results], rtol=1e-6)
    assert columns["width"].tolist() == columns["height"].tolist() == [32] * 64
    assert columns["rgb"].max() <= 0xFFFFFF
    assert header["n"] == header["total"] == 64


def test_an_image_that_is_its_own_query_comes_first_as_itself(client: AsgiClient) -> None:
    first = client.post("/api/search", {"parts": [{"text": "red"}], "k": 1}).json()["results"][0]
    same = client.post("/api/search", {"parts": [{"id": first["id"]}], "k": 1}).json()["results"][0]
    assert same["id"] == first["id"]
    assert same["score"] >= 0.999
    sent = upload(client, png("black", "square", 2))
    found = client.post("/api/search", {"parts": [{"upload": sent}], "k": 1}).json()["results"][0]
    assert found["text"] == "a black square number 2"
    assert found["score"] >= 0.999


def test_a_changed_weight_encodes_nothing_and_a_minus_pushes_down(client: AsgiClient) -> None:
    parts = [{"text": "a red circle, surely"}, {"text": "a blue square, surely"}]
    header, _ = ranking(client.post("/api/rank", {"parts": parts}))
    assert header["encoded"] == 2
    assert header["direction"] == "mixed"
    parts[1] = {**parts[1], "weight": 0.3}
    assert ranking(client.post("/api/rank", {"parts": parts}))[0]["encoded"] == 0

    def place_of(weight: float) -> int:
        found = {"parts": [parts[0], {"text": "a red circle number 1", "weight": weight}], "k": 64}
        texts = [result["text"] for result in client.post("/api/search", found).json()["results"]]
        return texts.index("a red circle number 1")

    assert place_of(1.5) < place_of(-1.5)


def test_an_explanation_adds_up(client: AsgiClient) -> None:
    parts = [{"text": "a red circle"}, {"text": "a square", "weight": 0.5}, {"text": "black", "weight": -1}]
    header, columns = ranking(client.post("/api/rank", {"parts": parts}))
    asked = {"parts": parts, "number": int(columns["number"][0]), "version": header["version"]}
    summary = client.post("/api/explain", asked).json()
    assert summary["score"] == pytest.approx(float(columns["score"][0]), abs=1e-4)
    assert sum(part["share"] for part in summary["parts"]) == pytest.approx(summary["score"], abs=1e-4)
    assert 0 <= summary["share_above"] <= 0.1


def test_neighbours_leave_out_the_item_itself(client: AsgiClient) -> None:
    header, columns = ranking(client.post("/api/rank", {"parts": [{"text": "red"}]}))
    number = int(columns["number"][0])
    near = client.get(f"/api/near?version={header['version']}&n={number}&k=8&find=image").json()
    assert len(near["numbers"]) == 8
    assert number not in near["numbers"]
    assert near["scores"] == sorted(near["scores"], reverse=True)


def test_a_version_that_is_gone_says_so(client: AsgiClient) -> None:
    for answer in (client.get("/api/items?version=99&n=1"), client.get("/api/near?version=99&n=1")):
        assert answer.status == 409
        assert answer.json()["field"] == "version"


def test_thumbnails_are_found_by_content_in_all_sizes(client: AsgiClient) -> None:
    item = client.post("/api/search", {"parts": [{"text": "red"}], "k": 1}).json()["results"][0]
    for size in (64, 256, 512, 1280):
        answer = client.get(f"/t/{size}/{item['hash']}")
        assert answer.status == 200
        assert answer.headers["content-type"] == "image/webp"
        assert "immutable" in answer.headers["cache-control"]
        with Image.open(io.BytesIO(answer.body)) as picture:
            assert picture.size == (32, 32), "never enlarged"
    assert client.get("/t/256/" + "0" * 32).status == 404
    assert client.get(f"/t/100/{item['hash']}").status == 404


def test_an_upload_is_shown_again_as_something_new(client: AsgiClient) -> None:
    sent = png()
    answer = client.get("/u/" + upload(client, sent))
    assert answer.headers["content-type"] == "image/webp"
    assert answer.body != sent
    assert client.get("/u/" + "0" * 32).status == 404


def test_classes_are_distinguished_and_sum_to_one(client: AsgiClient) -> None:
    asked = {"item": {"upload": upload(client, png("blue", "square"))}, "classes": ["red circle", "blue square"]}
    results = client.post("/api/classify", asked).json()["results"]
    assert results[0]["class"] == "blue square"
    assert sum(result["probability"] for result in results) == pytest.approx(1)
    assert client.post("/api/classify", {**asked, "templates": ["no place"]}).status == 422


def test_vectors_are_those_of_the_space(client: AsgiClient, trained: Path) -> None:
    texts = ["a red circle", "a blue square", "green"]
    vectors = np.array(client.post("/api/embed", {"texts": texts}).json()["vectors"])
    np.testing.assert_allclose(vectors, Run.load(trained).space.embed(text=texts), atol=5e-3)
    item = client.post("/api/search", {"parts": [{"text": "red"}], "k": 1}).json()["results"][0]
    items = [{"id": item["id"]}, {"upload": upload(client, png())}]
    assert np.linalg.norm(client.post("/api/embed", {"items": items}).json()["vectors"], axis=1) == pytest.approx(
        [1, 1]
    )


def test_what_a_run_was_not_trained_for_is_a_conflict(client: AsgiClient) -> None:
    image = {"upload": upload(client, png())}
    for path, asked in (("/api/caption", {"image": image}), ("/api/ask", {"image": image, "question": "what?"})):
        answer = client.post(path, asked)
        assert answer.status == 409
        assert "decoder" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"parts": []}, "parts"),
        ({"parts": [{"text": "x"}], "k": 0}, "k"),
        ({"parts": [{"text": "x"}], "k": 10**9}, "k"),
        ({"parts": [{"text": " "}]}, "parts.0.text"),
        ({"parts": [{"text": "x", "weight": 0}]}, "parts.0.weight"),
        ({"parts": [{"text": "x", "weight": 5e-324}]}, "parts.0.weight"),
        ({"parts": [{"text": "x", "weight": True}]}, "parts.0.weight"),
        ({"parts": [{"text": "x"}, {"text": "x", "weight": -1}]}, "parts"),
        ({"parts": [{"text": "x"}], "k": True}, "k"),
        ({"parts": [{"text": "x"}], "k": "5"}, "k"),
        ({"parts": [{"text": "x"}], "offset": False}, "offset"),
        ({"parts": [{"text": "x", "id": "y"}]}, "parts.0"),
        ({"parts": [{"text": "x" * 10_001}]}, "parts.0.text"),
        ({"parts": [{"text": "x"}], "colour": 1}, "colour"),
        ({"parts": [{"text": "x"}], "find": "sound"}, "find"),
    ],
)
def test_a_malformed_query_is_refused_with_the_field_that_is_wrong(
    client: AsgiClient, asked: dict[str, Any], field: str
) -> None:
    answer = client.post("/api/search", asked)
    assert answer.status == 422
    assert answer.json()["field"] == field


def test_an_address_is_fetched_only_where_that_is_switched_on(client: AsgiClient) -> None:
    answer = client.post("/api/search", {"parts": [{"url": "http://127.0.0.1/x.png"}]})
    assert answer.status == 400
    assert "send the file itself" in answer.json()["detail"]


def test_what_people_say_of_a_pair_is_kept(client: AsgiClient, indexed: Path) -> None:
    item = client.post("/api/search", {"parts": [{"text": "red"}], "k": 1}).json()["results"][0]
    assert client.post("/api/feedback", {"id": item["id"], "verdict": "wrong"}).json() == {"ok": True}
    assert client.post("/api/feedback", {"id": "nobody", "verdict": "wrong"}).status == 404
    row = json.loads((indexed / "feedback.jsonl").read_text().splitlines()[-1])
    assert (row["id"], row["verdict"]) == (item["id"], "wrong")


def test_the_service_describes_itself_and_its_counts(client: AsgiClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/api/search", "/api/rank", "/api/classify", "/api/caption", "/api/ask", "/api/embed"} <= paths.keys()
    text = client.get("/metrics").body.decode()
    assert 'cospace_requests_total{route="/api/search",status="200"}' in text
    assert "cospace_items 128" in text
    assert client.get("/healthz").json() == {"ok": True, "warm": True}


def test_the_map_and_its_previews_and_the_health_are_there(client: AsgiClient) -> None:
    answer = client.get("/api/map")
    header = json.loads(answer.body[4 : 4 + int.from_bytes(answer.body[:4], "little")])
    assert header["n"] == 128
    assert header["sheets"] == 1
    with Image.open(io.BytesIO(client.get("/s/64/0").body)) as sheet:
        assert sheet.size == (2048, 2048)
    assert client.get("/s/64/1").status in (404, 422)
    assert "service" in client.get("/api/health").json()


def test_an_index_that_changes_is_answered_from_one_version_at_a_time(
    trained: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cospace.commands.index import build_index
    from cospace.service import versions

    monkeypatch.setattr(versions, "REFRESH_SECONDS", 0.0)
    build_index(Run.load(trained), shapes, tmp_path / "idx")
    client = AsgiClient(create_app(SearchableIndex.open(tmp_path / "idx")))
    try:
        header, columns = ranking(client.post("/api/rank", {"parts": [{"text": "red"}], "k": 64}))
        first = int(columns["number"][0])
        name = client.get(f"/api/items?version={header['version']}&n={first}").json()["items"][0]["id"]
        with SearchableIndex.open(tmp_path / "idx").store as writer:  # type: ignore[attr-defined]
            writer.delete([name])
        newer, columns = ranking(client.post("/api/rank", {"parts": [{"text": "red"}], "k": 64}))
        assert newer["version"] > header["version"]
        assert newer["n"] == 63
        assert client.get(f"/api/item?id={name}").status == 404
        old = client.get(f"/api/items?version={header['version']}&n={first}")
        assert old.json()["items"][0]["id"] == name, "numbers that were given out still mean what they did"
    finally:
        client.close()


TOKEN = "a token that is long enough"


def test_every_route_that_is_described_wants_the_token(indexed: Path) -> None:
    client = AsgiClient(create_app(SearchableIndex.open(indexed), Access(token=TOKEN)))
    try:
        paths = create_paths(client)
        assert len(paths) >= 18
        for method, path in paths:
            answer = client.ask(method, path, {"content-type": "application/json"}, b"{}")
            assert answer.status == 401, (method, path, answer)
        for path in ("/", "/docs", "/openapi.json", "/llms.txt"):
            assert client.get(path).status == 200
        refused = client.post("/api/session", {"token": "wrong"})
        assert refused.status == 401
        cookie = client.post("/api/session", {"token": TOKEN}).headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert client.get("/api/info", cookie=cookie.partition(";")[0]).status == 200
        assert TOKEN not in client.get("/metrics", authorization=f"Bearer {TOKEN}").body.decode()
    finally:
        client.close()


def create_paths(client: AsgiClient) -> list[tuple[str, str]]:
    """Every route but the open ones, from the service's own description."""
    described = client.get("/openapi.json", authorization=f"Bearer {TOKEN}").json()["paths"]
    filled = {"{size}": "256", "{content}": "0" * 32, "{name}": "0" * 32, "{number}": "0"}
    found = []
    for path, operations in described.items():
        if path in ("/", "/healthz", "/api/session", "/page/{name}"):  # no data of the index
            continue
        for sign, value in filled.items():
            path = path.replace(sign, value)
        found += [(method.upper(), path) for method in operations]
    return found


def every_result(client: AsgiClient, text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.post("/api/search", {"parts": [{"text": text}], "k": 64}).json()["results"]
    return found


def says(result: dict[str, Any], text: str) -> bool:
    return set(text.split()) <= set(result["text"].split())


FITTED = {"text_to_image": {SHORT: Fit(0.05, 2.0, 64), WHOLE: Fit(0.05, 1.0, 64)}}


@pytest.fixture
def calibrated(indexed: Path) -> Iterator[AsgiClient]:
    collection = SearchableIndex.open(indexed)
    assert not collection.space.relevance, "too few pairs were held out to say anything"
    collection.space.relevance = Relevance(FITTED)
    client = AsgiClient(create_app(collection))
    yield client
    client.close()


def test_page_search_and_terminal_say_the_same_of_a_result(calibrated: AsgiClient, indexed: Path) -> None:
    asked = {"parts": [{"text": "red circle"}]}
    header, columns = ranking(calibrated.post("/api/rank", {**asked, "k": 64}))
    assert header["calibrated"]
    assert header["unknown_words"] == []
    answer = calibrated.post("/api/search", {**asked, "k": 20}).json()
    chances = [one["probability"] for one in answer["results"]]
    np.testing.assert_allclose(columns["percent"][:20], 100 * np.array(chances), atol=0.51)
    assert chances == sorted(chances, reverse=True)
    words = [one["match"] for one in answer["results"]]
    assert words == [match(chance) for chance in chances]
    assert answer["shown"] == header["maybe"] >= header["likely"] >= header["strong"]
    assert words.count("strong") == min(20, header["strong"])
    index = SearchableIndex.open(indexed)
    index.space.relevance = Relevance(FITTED)
    plain = index.find(How(20), text="red circle").plain()
    for one in plain["results"]:
        one["path"] = one["path"].rpartition("/")[2]  # the service does not say where a file lies
    for one in (*plain["results"], *answer["results"]):
        one |= {name: round(one[name], 4) for name in ("score", "probability")}
    assert plain == answer, "the terminal prints the object that the service answers with"
    every = every_result(calibrated, "red circle")
    assert set(answer["literal"]) == {one["number"] for one in every if says(one, "red circle")}


def test_a_word_that_no_caption_uses_is_named_and_nothing_is_likely(calibrated: AsgiClient) -> None:
    for text, unknown in (("qwzx vbbn", ["qwzx", "vbbn"]), ("red qwzx", ["qwzx"]), ("\u732b", ["\u732b"])):
        header, columns = ranking(calibrated.post("/api/rank", {"parts": [{"text": text}], "k": 64}))
        assert header["unknown_words"] == unknown
        assert header["strong"] == header["likely"] == 0
        assert columns["percent"].max() < 50
    assert header["maybe"] == 0
    answer = calibrated.post("/api/search", {"parts": [{"text": 'RED, "circles"'}]}).json()
    assert answer["unknown_words"] == []


def test_results_can_end_where_they_no_longer_fit(calibrated: AsgiClient) -> None:
    asked = {"parts": [{"text": "red circle"}], "k": 64}
    every = calibrated.post("/api/search", asked).json()
    for least, words in (("strong", {"strong"}), ("likely", {"strong", "likely"})):
        some = calibrated.post("/api/search", {**asked, "at_least": least}).json()
        assert some["shown"] == every["shown"]
        assert some["results"] == [one for one in every["results"] if one["match"] in words]
    assert calibrated.post("/api/search", {**asked, "at_least": "good"}).status == 422


def test_hybrid_puts_what_the_captions_say_first_without_percentages(calibrated: AsgiClient) -> None:
    answer = calibrated.post("/api/search", {"parts": [{"text": "red circle"}], "k": 64, "hybrid": True}).json()
    numbers = [one["number"] for one in answer["results"]]
    literal = set(answer["literal"])
    assert literal
    assert {one["probability"] for one in answer["results"]} == {None}
    assert set(numbers[: min(3, len(literal))]) <= literal
    words = [one["match"] for one in answer["results"]]
    assert words == sorted(words, key=["strong", "likely", "maybe", "weak"].index)
    assert {word for number, word in zip(numbers, words, strict=True) if number in literal} == {"strong"}


def test_what_nothing_calibrates_has_no_percentages(calibrated: AsgiClient, client: AsgiClient) -> None:
    first = calibrated.post("/api/search", {"parts": [{"text": "red"}], "k": 1}).json()["results"][0]["id"]
    for parts in ([{"text": "red"}, {"text": "blue"}], [{"text": "red", "weight": -1}], [{"id": first}]):
        header, columns = ranking(calibrated.post("/api/rank", {"parts": parts}))
        assert not header["calibrated"]
        assert set(columns["percent"].tolist()) == {255}
    answer = client.post("/api/search", {"parts": [{"text": "red circle"}], "k": 64}).json()
    assert not answer["calibrated"]
    assert {one["probability"] for one in answer["results"]} == {None}
    assert {one["match"] for one in answer["results"]} <= {"strong", "likely", "maybe", "weak"}
    gibberish = client.post("/api/search", {"parts": [{"text": "qwzx"}], "k": 64}).json()
    assert {one["match"] for one in gibberish["results"]} == {"weak"}


def test_completions_are_words_of_the_captions_with_their_counts(client: AsgiClient) -> None:
    found = client.get("/api/complete?q=ci&k=3").json()["completions"]
    assert found[0]["text"] == "circle"
    answer = client.post("/api/search", {"parts": [{"text": "circle"}]}).json()
    assert found[0]["count"] >= len(answer["literal"]) > 0
    assert client.get("/api/complete?q=").json() == {"completions": []}
    info = client.get("/api/info").json()
    assert info["words"] > 3
    assert info["quality"]["level"] in ("good", "fair", "poor", "unknown")


def test_ten_thousand_parts_of_a_form_and_a_large_text_are_refused(client: AsgiClient) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    answer = client.ask("POST", "/api/search", {"content-type": "multipart/form-data; boundary=x"}, part * 10_000)
    assert answer.status == 422
    large = json.dumps({"parts": [{"text": "A" * 990_000}]}).encode()
    assert client.ask("POST", "/api/search", {"content-type": "application/json"}, large).status == 422
    assert client.ask("POST", "/api/search", {"content-type": "application/json"}, large + b" " * 50_000).status == 413

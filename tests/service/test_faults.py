"""What lies under the service fails: it says so with a 5xx and a sentence, and serves what it still can."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Answer, AsgiClient
from PIL import Image
from served import Served
from starlette.testclient import TestClient

from cospace import files
from cospace.commands.index import build_index
from cospace.commands.search import SearchableIndex
from cospace.runs.run import Run
from cospace.service import versions
from cospace.service.app import create_app
from cospace.stores.local import LocalIndex

SEARCH = {"parts": [{"text": "a red square"}], "k": 3}


@pytest.fixture
def copied(indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index that a test may destroy, looked at before every request."""
    monkeypatch.setattr(versions, "REFRESH_SECONDS", 0.0)
    return Path(shutil.copytree(indexed, tmp_path / "idx", ignore=shutil.ignore_patterns("map-*.bin")))


@pytest.fixture
def served(copied: Path) -> Iterator[AsgiClient]:
    client = AsgiClient(create_app(SearchableIndex.open(copied)))
    yield client
    client.close()


def refused(answer: Answer, status: int = 503) -> str:
    """The sentence of a problem that is the service's."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in answer.body.decode()
    return str(answer.json()["detail"])


def degraded(client: AsgiClient) -> str:
    answer = client.get("/healthz")
    assert answer.status == 503
    assert answer.json()["status"] == "degraded" and answer.json()["ok"] is False
    return str(answer.json()["detail"])


def well(client: AsgiClient) -> None:
    assert client.get("/healthz").json() == {"ok": True, "warm": True}
    assert client.post("/api/search", SEARCH).status == 200


def read_only(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """No file below a folder can be written, made, renamed or removed; root could otherwise."""

    def guard(module: Any, name: str, writes: Any) -> None:
        real = getattr(module, name)

        def guarded(path: Any, *rest: Any, **named: Any) -> Any:
            inside = isinstance(path, str | Path) and Path(path).is_relative_to(folder)
            if inside and writes(*rest, **named):
                raise OSError(number, os.strerror(number), str(path))
            return real(path, *rest, **named)

        monkeypatch.setattr(module, name, guarded)

    def in_words(mode: str = "r", *_: Any, **named: Any) -> bool:
        return bool(set(named.get("mode", mode)) & set("wax+"))

    guard(Path, "open", in_words)
    guard(files, "open", in_words)
    for name in ("replace", "unlink", "mkdir", "rename"):
        guard(os, name, lambda *_, **__: True)


@pytest.fixture(autouse=True)
def _own_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "open", open, raising=False)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_an_index_that_cannot_be_written_is_served_all_the_same(
    copied: Path, served: AsgiClient, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    read_only(monkeypatch, copied, number)
    with pytest.raises(OSError, match=os.strerror(number)):
        files.atomic_write(copied / "map-0.bin", b"")
    well(served)
    drawn = served.get("/api/map")
    assert drawn.status == served.get("/s/64/0").status == served.get("/api/info").status == 200
    assert served.get("/api/map").body == drawn.body
    assert not list(copied.glob("map-*.bin"))
    found = served.post("/api/search", SEARCH).json()["results"]
    assert all(served.get(f"/t/64/{one['hash']}").status == 200 for one in found)
    assert served.get("/api/health").status == 200
    said = refused(served.post("/api/feedback", {"id": found[0]["id"], "verdict": "wrong"}))
    assert said == (
        f"feedback cannot be kept: the folder of the index cannot be written ({os.strerror(number).lower()})"
    )
    assert str(copied) not in said


def test_an_index_that_is_removed_while_it_is_served_answers_nothing_until_it_is_back(
    copied: Path, served: AsgiClient, caplog: pytest.LogCaptureFixture
) -> None:
    well(served)
    version = served.get("/api/info").json()["version"]
    away = copied.rename(copied.with_name("away"))
    assert "is gone" in degraded(served)
    for answer in (served.post("/api/search", SEARCH), served.get(f"/api/items?version={version}&n=0")):
        assert "is gone" in refused(answer)
    assert "is gone" in refused(served.get("/api/info"))
    assert [record.levelname for record in caplog.records if "is gone" in record.message][:1] == ["ERROR"]
    away.rename(copied)
    well(served)


def test_an_older_copy_or_another_index_in_its_place_is_noticed(
    copied: Path, indexed: Path, served: AsgiClient, trained: Path, shapes: Path, tmp_path: Path
) -> None:
    with LocalIndex.open(copied / "vectors") as store:
        gone = store.items([0])[0].id
        store.delete([gone])
    well(served)
    assert refused(served.get(f"/api/item?id={gone}"), 404)
    away = copied.rename(copied.with_name("away"))
    shutil.copytree(indexed, copied)  # in which the item is
    assert "replaced by another index, or by an older copy" in degraded(served)
    assert "replaced" in refused(served.get(f"/api/item?id={gone}"))
    shutil.rmtree(copied)
    few = tmp_path / "few"
    few.mkdir()
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(few / f"{number}.png")
    run = Run.load(trained)
    build_index(run, few, copied)
    for number in range(3, 5):  # until it has a version of the same number
        Image.new("RGB", (8, 8), (number, 0, 0)).save(few / f"{number}.png")
        build_index(run, few, copied)
    assert "replaced" in degraded(served)
    shutil.rmtree(copied)
    away.rename(copied)
    well(served)


def test_a_file_that_was_cut_in_place_is_noticed_before_it_is_read(copied: Path, served: AsgiClient) -> None:
    newest = json.loads(max((copied / "vectors" / "versions").glob("*.json")).read_text())
    vectors = copied / "vectors" / "segments" / newest["segments"][0]["files"]["vectors"]["name"]
    whole = vectors.read_bytes()
    os.truncate(vectors, 200)
    assert "is damaged: expected" in degraded(served)
    assert "is damaged" in refused(served.post("/api/search", SEARCH))
    vectors.unlink()
    assert "is missing" in degraded(served)
    vectors.write_bytes(whole)  # another file, which is mapped anew
    well(served)


def test_a_running_service_lives_through_a_cut_between_two_looks(indexed: Path, tmp_path: Path) -> None:
    index = Path(shutil.copytree(indexed, tmp_path / "idx"))
    served = Served(index, log=tmp_path / "log")
    try:
        assert served.search("a red circle") == 200
        for vectors in (index / "vectors" / "segments").glob("*.vectors.npy"):
            os.truncate(vectors, 200)
        assert {served.search(f"thing {number}") for number in range(5)} <= {200, 503}
        until = time.monotonic() + 20
        while served.get("/healthz")[0] == 200 and time.monotonic() < until:
            time.sleep(0.2)
        status, body = served.get("/healthz")
        assert (status, json.loads(body)["status"]) == (503, "degraded")
        assert served.process.poll() is None
    finally:
        served.kill()
    assert "degraded" in (tmp_path / "log").read_text()


def test_damaged_previews_and_failures_of_our_own_are_no_mistakes_of_the_sender(
    copied: Path, served: AsgiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = served.post("/api/search", SEARCH).json()["results"][0]
    (copied / "thumbnails.sqlite").write_bytes(b"SQLite format 3\0" + bytes(5000))
    for left in copied.glob("thumbnails.sqlite-*"):
        left.unlink()
    thumbnails = served.app._app.state.engine.collection.thumbnails  # type: ignore[attr-defined]
    thumbnails.close()
    assert "thumbnails.sqlite" in refused(served.get(f"/t/64/{found['hash']}"))
    monkeypatch.setattr(type(thumbnails), "get", lambda *_: 1 / 0)
    outside = TestClient(served.app, "http://127.0.0.1:8000", raise_server_exceptions=False)
    failed = outside.get(f"/t/64/{found['hash']}")
    assert (failed.status_code, failed.json()["detail"]) == (
        500,
        "the service failed at this request; its log says why",
    )


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/api/info", "/page/app.js", "/api/map", "/nowhere"])
def test_head_is_answered_as_get_without_the_body(client: AsgiClient, path: str) -> None:
    whole, head = client.get(path), client.ask("HEAD", path)
    assert head.status == whole.status
    assert head.body == b""
    if path != "/metrics":  # which grows
        assert head.headers == whole.headers
    assert client.ask("HEAD", "/api/search").status == 405


def test_behind_a_proxy_the_refusal_says_what_the_proxy_does(indexed: Path) -> None:
    from cospace.service.access import Access

    app = create_app(SearchableIndex.open(indexed), Access(names=("photos.example",)))
    proxied = AsgiClient(app)
    unknown = refused(proxied.get("/api/info", host="backend:8000"), 403)
    assert "host name backend:8000" in unknown and "--allow-host backend" in unknown
    assert "proxy_set_header Host $http_host" in unknown
    assert "--allow-host NAME" in refused(proxied.get("/", host="a b;rm"), 403)
    # nginx passes the name of its upstream on, so that the Host is ours and the page's origin another.
    browser = {"sec-fetch-site": "same-origin", "origin": "https://other.example"}
    said = refused(proxied.post("/api/search", SEARCH, **browser), 403)
    assert "the page is at https://other.example" in said and "Host 127.0.0.1:8000" in said
    assert "--allow-host other.example" in said
    assert proxied.post("/api/search", SEARCH, **browser | {"origin": "https://photos.example"}).status == 200
    for site in ("cross-site", "same-site"):
        foreign = {"sec-fetch-site": site, "origin": "https://photos.example"}
        assert "another origin" in refused(proxied.post("/api/search", SEARCH, **foreign), 403)
    assert "another origin" in refused(proxied.post("/api/search", SEARCH, origin="https://photos.example"), 403)
    proxied.close()


def test_the_page_names_nothing_from_the_root_so_that_it_may_lie_below_a_path() -> None:
    page = Path(versions.__file__).with_name("page")
    rooted = [
        f"{path.name}: {json.dumps(line.strip())}"
        for path in page.iterdir()
        if path.suffix in (".js", ".html", ".css")
        for line in path.read_text("utf-8").splitlines()
        if any(
            f"{quote}/{start}" in line for quote in "\"'`(" for start in ("api", "page/", "m/", "t/", "u/", "s/", "h")
        )
    ]
    assert rooted == []

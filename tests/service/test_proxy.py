"""Below a path of a real nginx, and from an index that cannot be written."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from served import Served
from test_uploads import encoded, gradient

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: apt-get install nginx")

CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/a;
  uwsgi_temp_path {folder}/b; scgi_temp_path {folder}/c;
  server {{
    listen 127.0.0.1:{port};
    location /photos/ {{
{documented}
    }}
  }}
}}
"""


def documented(backend: int) -> str:
    """The lines of docs/service.md, for another port."""
    text = (Path(__file__).parents[2] / "docs" / "service.md").read_text("utf-8")
    inside = text.partition("location /photos/ {\n")[2].partition("\n}")[0]
    assert "proxy_pass http://127.0.0.1:8000/;" in inside
    return inside.replace(":8000", f":{backend}")


class Proxied:
    """The service behind nginx."""

    def __init__(self, backend: Served, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        folder.mkdir()
        settings = CONFIGURATION.format(folder=folder, port=port, documented=documented(backend.port))
        (folder / "nginx.conf").write_text(settings)
        self.process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)])
        self.url = f"http://127.0.0.1:{port}/photos/"
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError((folder / "error.log").read_text())

    def ask(self, path: str, body: bytes | None = None, method: str = "", **headers: str) -> tuple[int, bytes]:
        given = {"content-type": "application/json", **headers}
        request = urllib.request.Request(self.url + path, body, given, method=method or None)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@pytest.fixture(scope="module")
def unwritable(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy that nobody may write; root still could."""
    copy = Path(shutil.copytree(indexed, tmp_path_factory.mktemp("readonly") / "idx"))
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield copy
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755)


@pytest.fixture(scope="module")
def proxied(unwritable: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    backend = Served(unwritable, "--allow-host", "photos.example")
    proxied = Proxied(backend, tmp_path_factory.mktemp("nginx") / "nginx")
    yield proxied
    proxied.process.terminate()
    proxied.process.wait(20)
    backend.kill()


def test_everything_is_found_below_the_path(proxied: Proxied) -> None:
    for path in ("", "page/app.js", "healthz", "api/info", "api/map", "s/64/0", "docs", "openapi.json", "llms.txt"):
        status, body = proxied.ask(path)
        assert (path, status) == (path, 200), body
        assert proxied.ask(path, method="HEAD") == (200, b"")
    found = json.loads(proxied.ask("api/search", b'{"parts": [{"text": "red"}]}')[1])["results"]
    assert proxied.ask(f"t/64/{found[0]['hash']}")[0] == 200


def test_an_upload_passes_the_proxy_and_too_large_a_one_is_refused(proxied: Proxied) -> None:
    sent = json.loads(proxied.ask("api/upload", encoded(gradient(64, 64), "PNG"))[1])
    assert proxied.ask("api/search", json.dumps({"parts": [{"upload": sent["upload"]}]}).encode())[0] == 200
    assert proxied.ask("api/upload", bytes(9_000_000))[0] == 415, "as large as the service takes"
    assert proxied.ask("api/upload", bytes(15_000_000))[0] == 413, "larger than what the proxy lets through"


def test_the_page_works_below_the_path(proxied: Proxied, browser: Browser) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(proxied.url)
        box = page.get_by_role("searchbox").or_(page.get_by_role("combobox")).first
        box.fill("red circle")
        box.press("Enter")
        page.wait_for_selector("#grid img")
        page.goto(proxied.url + "docs")
        page.wait_for_selector(".request")
    finally:
        page.close()
    assert [url for url in asked if not url.startswith((proxied.url, "blob:", "data:"))] == []


def test_a_name_that_people_type_is_allowed_by_name(proxied: Proxied) -> None:
    assert proxied.ask("api/info", host="photos.example")[0] == 200
    status, body = proxied.ask("api/info", host="other.example")
    assert status == 403
    assert "--allow-host other.example" in json.loads(body)["detail"]

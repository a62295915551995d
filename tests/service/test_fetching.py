"""Addresses that clients give: public ones only, checked anew at every step, never too much and never too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cospace.service import fetching
from cospace.service.fetching import Fetcher, is_public
from cospace.service.problems import Refusal

INNER = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b:1::1", "2002:7f00:1::", "2002:808:808::", "2001:0:4136:e378:8000:63bf:80ff:fffe", "fe80::1", "fc00::1",
    "ff02::1", "fe80::1%eth0", "not an address", "",
]  # fmt: skip


@pytest.mark.parametrize("address", INNER)
def test_no_address_of_an_inner_net_is_public_in_any_wrapping(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_are(address: str) -> None:
    assert is_public(address)


class Site(BaseHTTPRequestHandler):
    """A site that answers, leads on, never ends, or drips; it counts who comes."""

    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(f"{self.headers['Host']} {self.path}")
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        self.send_response(404 if self.path == "/missing" else 200)
        self.end_headers()
        try:
            for _ in range(100_000 if self.path == "/endless" else 100 if self.path == "/drip" else 1):
                self.wfile.write(b"content " * (1000 if self.path == "/endless" else 1))
                self.wfile.flush()
                time.sleep(0.05 if self.path == "/drip" else 0)
        except OSError:
            pass

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Site]]:
    """A site on this machine's loopback: nobody should come."""
    Site.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    monkeypatch.setattr(fetching, "PORTS", {"http": port, "https": port})
    yield Site
    server.shutdown()
    server.server_close()


ATTEMPTS = [
    "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
    "http://localhost/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://0/", "http://0.0.0.0/",
    "http://evil@127.0.0.1/", "http://user:secret@127.0.0.1/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
    "file:///etc/hostname", "gopher://127.0.0.1/", "ftp://127.0.0.1/", "//127.0.0.1/", "http:///x", "http://[::1",
    "http://127.0.0.1:22/", "http://a.example:99999/", "javascript:alert(1)", "data:image/png;base64,AA", "",
    "http://a b/", "http:" + "//%31%32%37.0.0.1/",
]  # fmt: skip


@pytest.mark.parametrize("url", ATTEMPTS)
def test_every_way_back_to_this_machine_is_closed(url: str, canary: type[Site]) -> None:
    with pytest.raises(Refusal) as refused:
        Fetcher(1000, seconds=2).fetch(url)
    assert refused.value.status in (400, 403)
    assert canary.seen == []


def outer(names: dict[str, list[str]]) -> Fetcher:
    """A fetcher for which loopback stands for the Internet, unless a name says ``inner``."""
    asked: dict[str, int] = {}

    def resolve(host: str, port: int) -> list[str]:
        asked[host] = asked.get(host, 0) + 1
        found = names.get(host)
        if found is None:
            raise OSError("no such host")
        return [found[min(asked[host], len(found)) - 1]]

    return Fetcher(10_000, seconds=1.5, resolve=resolve, allows=lambda address: address == "127.0.0.1")


def test_a_file_is_fetched_and_a_redirect_followed(canary: type[Site]) -> None:
    fetcher = outer({"a.example": ["127.0.0.1"], "b.example": ["127.0.0.1"]})
    assert fetcher.fetch("http://a.example/x?y=1") == b"content "
    port = fetching.PORTS["http"]
    assert fetcher.fetch(f"http://a.example/to/http://b.example:{port}/z") == b"content "
    assert canary.seen[-1] == f"b.example:{port} /z"
    assert fetcher.fetch("http://a.example/to//z") == b"content "


@pytest.mark.parametrize("target", ["http://inner.example/", "http://10.0.0.1/", "file:///etc/passwd", "//[::1]/"])
def test_a_redirect_is_checked_like_the_first_address(target: str, canary: type[Site]) -> None:
    fetcher = outer(
        {"a.example": ["127.0.0.1"], "inner.example": ["10.0.0.1"], "10.0.0.1": ["10.0.0.1"], "::1": ["::1"]}
    )
    with pytest.raises(Refusal):
        fetcher.fetch(f"http://a.example/to/{target}")
    assert len(canary.seen) == 1


def test_a_name_that_changes_its_address_is_asked_once(canary: type[Site]) -> None:
    """DNS rebinding: the second answer would be an inner one, and nobody asks for it."""
    assert outer({"a.example": ["127.0.0.1", "10.0.0.1"]}).fetch("http://a.example/") == b"content "


def test_a_name_with_one_inner_address_among_others_is_refused(canary: type[Site]) -> None:
    fetcher = Fetcher(1000, resolve=lambda host, port: ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(Refusal, match="public addresses"):
        fetcher.fetch("http://a.example/")
    assert canary.seen == []


def test_what_is_endless_slow_missing_or_led_round_in_circles_ends(canary: type[Site]) -> None:
    fetcher = outer({"a.example": ["127.0.0.1"]})
    for path, status in (("/endless", 413), ("/drip", 408), ("/missing", 400)):
        began = time.monotonic()
        with pytest.raises(Refusal) as refused:
            fetcher.fetch(f"http://a.example{path}")
        assert refused.value.status == status
        assert time.monotonic() - began < 5
    with pytest.raises(Refusal, match="leads on more than 3 times"):
        fetcher.fetch("http://a.example/to//to//to//to//to//x")
    with pytest.raises(Refusal, match="not known"):
        fetcher.fetch("http://nowhere.example/")

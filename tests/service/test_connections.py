"""Clients that keep their sockets: refused ones, slow ones, silent ones. Others are served, and the log stays small."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from served import Served

from cospace.service.connections import READING

DESCRIPTORS, DRIPPING = 256, 400
TOKEN = "0123456789abcdef"


def request(port: int, path: str = "/api/search", host: str = "", length: int = 5000, more: str = "") -> bytes:
    """The header of a request whose body never ends."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{port}'}", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "Content-Type: application/json", *([more] if more else []), "", ""]).encode()


@contextmanager
def dripping(served: Served, count: int, begun: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that send a beginning, and then a byte a second for as long as they may."""
    held: list[socket.socket] = []
    for _ in range(count):
        try:
            connection = socket.create_connection(("127.0.0.1", served.port), timeout=5)
            connection.sendall(begun)
            connection.setblocking(False)
            held.append(connection)
        except OSError:
            continue
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.5):
            for connection in list(held):
                try:
                    connection.send(b" ")
                except BlockingIOError:
                    continue
                except OSError:
                    held.remove(connection)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield held
    finally:
        stop.set()
        thread.join()
        for connection in held:
            connection.close()


BEGUN = {
    "refused for want of a token": (["--token", TOKEN], lambda port: request(port)),
    "refused for a foreign name": ([], lambda port: request(port, host="evil.example")),
    "refused for its size": ([], lambda port: request(port, length=10**12)),
    "half a body": ([], lambda port: request(port)),
    "half a header": ([], lambda port: b"POST /api/sea"),
    "silence": ([], lambda port: b""),
    "no HTTP": ([], lambda port: b"\x16\x03\x01\r\n\r\n"),
}


USUAL = ("refused for want of a token", "half a header")
"""The others are run by make torture."""


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in USUAL else pytest.mark.slow) for kind in BEGUN]
)
def test_four_hundred_sockets_that_drip_keep_nobody_out(kind: str, indexed: Path, tmp_path: Path) -> None:
    options, begun = BEGUN[kind]
    served = Served(indexed, *options, descriptors=DESCRIPTORS, log=tmp_path / "log")
    signed = {"authorization": f"Bearer {TOKEN}"}
    try:
        assert served.search("warm", **signed) == 200
        with dripping(served, DRIPPING, begun(served.port)):
            times = []
            for number in range(5):
                began = time.monotonic()
                assert served.search(f"others {number}", **signed) == 200
                times.append(time.monotonic() - began)
                time.sleep(0.3)
        assert sorted(times)[2] <= 1, times  # the first may come while all the others are still being accepted
        assert max(times) <= 3, times
    finally:
        served.kill()
    assert (tmp_path / "log").stat().st_size < 20_000


@pytest.fixture(scope="module")
def served(indexed: Path) -> Iterator[Served]:
    served = Served(indexed, "--token", TOKEN)
    yield served
    served.kill()


SIGNED = f"Authorization: Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("status", "begun"),
    [
        (401, lambda port: request(port)),
        (401, lambda port: request(port, more="Authorization: Bearer wrong-wrong-wrong")),
        (403, lambda port: request(port, host="evil.example")),
        (403, lambda port: request(port, more=f"Sec-Fetch-Site: cross-site\r\n{SIGNED}")),
        (413, lambda port: request(port, length=10**9, more=SIGNED)),
    ],
)
def test_a_refused_request_is_closed_with_its_refusal(
    status: int, begun: Callable[[int], bytes], served: Served
) -> None:
    with served.connect() as connection:
        connection.sendall(begun(served.port))
        until, answer = time.monotonic() + 10, b""
        connection.settimeout(0.2)
        while time.monotonic() < until:
            try:
                connection.sendall(b" ")
                chunk = connection.recv(65_536)
            except TimeoutError:
                continue
            except OSError:
                break
            if not chunk:
                break
            answer += chunk
        assert answer.startswith(f"HTTP/1.1 {status}".encode()), answer
        assert time.monotonic() < until - 5, "closed within a bounded time"


def test_a_refused_request_that_was_complete_keeps_its_connection(served: Served) -> None:
    with served.connect() as connection:
        refused = request(served.port, host="evil.example", length=2) + b"{}"
        for data, status in (
            (refused, 403),
            (refused, 403),
            (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        ):
            connection.sendall(data)
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(65_536)
            assert answer.startswith(f"HTTP/1.1 {status}".encode()), answer


@pytest.mark.slow
def test_wrong_tokens_are_slowed_and_the_right_one_is_not(served: Served) -> None:
    times = []
    for number in range(14):
        began = time.monotonic()
        assert served.get("/api/info", authorization=f"Bearer wrong-{number}-0123456789")[0] == 401
        times.append(time.monotonic() - began)
    assert min(times[-3:]) > 1, times
    for headers, status in (({"authorization": f"Bearer {TOKEN}"}, 200), ({}, 401)):  # nothing was guessed
        began = time.monotonic()
        assert served.get("/api/info", **headers)[0] == status
        assert time.monotonic() - began < 1
    began = time.monotonic()
    assert served.post("/api/session", b'{"token": "wrong"}', **{"content-type": "application/json"})[0] == 401
    assert time.monotonic() - began > 1, "however it is shown"


@pytest.mark.slow
def test_a_client_that_does_not_read_its_answers_is_let_go(served: Served) -> None:
    with served.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with suppress(BlockingIOError):
            for _ in range(2000):
                connection.send(ask)
        until, gone = time.monotonic() + READING + 20, False
        while not gone and time.monotonic() < until:
            time.sleep(1)
            assert served.search("others", authorization=f"Bearer {TOKEN}") == 200
            try:
                connection.send(b"x")
            except BlockingIOError:
                continue
            except OSError:
                gone = True
        assert gone

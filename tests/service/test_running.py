"""The service as a process of its own: how it starts, how it ends, and what it does with callers who never finish."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from served import Served


@pytest.fixture(scope="module")
def served(indexed: Path) -> Iterator[Served]:
    served = Served(indexed)
    yield served
    served.kill()


def test_it_listens_on_this_machine_only_and_says_where(served: Served) -> None:
    assert served.url.startswith("http://127.0.0.1:")
    assert served.announced["items"] == 128
    assert served.get("/healthz") == (200, b'{"ok":true,"warm":true}')
    assert served.search("red") == 200


def test_the_first_question_is_answered_like_the_tenth(indexed: Path) -> None:
    # In seconds of computing, since waiting is the machine's affair; the clock ticks every 10 ms.
    served, times = Served(indexed), []
    try:
        assert served.get("/api/info")[0] == 200  # a first connection
        for number in range(10):
            began = served.computed()
            assert served.search(f"a thing number {number}") == 200
            times.append(served.computed() - began)
    finally:
        served.kill()
    assert times[0] <= 1.5 * times[9] + 0.03, times


def test_a_port_that_is_taken_is_said_in_one_sentence(served: Served, indexed: Path) -> None:
    command = [sys.executable, "-m", "cospace", "serve", str(indexed), "--port", str(served.port)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2
    assert "choose another --port" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_address_for_others_without_a_token_is_refused(indexed: Path) -> None:
    command = [sys.executable, "-m", "cospace", "serve", str(indexed), "--host", "0.0.0.0"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2
    assert "--token auto" in result.stderr


def test_a_token_is_drawn_printed_once_and_never_logged(indexed: Path) -> None:
    served = Served(indexed, "--token", "auto")
    token = served.announced["url"].partition("#token=")[2]
    try:
        assert len(token) > 20
        assert served.get("/api/info")[0] == 401
        assert served.get("/api/info", authorization=f"Bearer {token}")[0] == 200
        assert served.get("/")[0] == 200
    finally:
        served.process.send_signal(signal.SIGTERM)
        out, err = served.process.communicate(timeout=30)
    assert token not in out + err


def test_told_to_stop_it_finishes_what_it_began_and_ends_well(indexed: Path) -> None:
    served = Served(indexed)
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(served.search, f"number {place}") for place in range(64)]
        for future in asked[:8]:
            future.result()
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        statuses = []
        for future in asked:
            try:
                statuses.append(future.result())
            except OSError:  # came after the door was closed
                statuses.append(0)
    _, err = served.process.communicate(timeout=30)
    assert served.process.returncode == 0, err
    assert time.monotonic() - began < 10
    assert "Traceback" not in err
    assert set(statuses) <= {200, 503, 0}
    assert statuses.count(200) >= 8


def raw(served: Served, data: bytes, patience: float = 30) -> bytes:
    """What comes back for some bytes until the service closes, or goes silent for so long."""
    with served.connect() as connection:
        connection.settimeout(patience)
        connection.sendall(data)
        answer = b""
        try:
            while chunk := connection.recv(65_536):
                answer += chunk
        except (TimeoutError, ConnectionResetError):
            pass
        return answer


def head(served: Served, *lines: str) -> bytes:
    return "\r\n".join([f"POST {lines[0]} HTTP/1.1", f"Host: 127.0.0.1:{served.port}", *lines[1:], "", ""]).encode()


def test_a_gigabyte_that_is_announced_is_refused_before_it_is_sent(served: Served) -> None:
    answer = raw(served, head(served, "/api/upload", "Content-Length: 1000000000"), 10)
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_body_without_end_is_refused_while_it_comes(served: Served) -> None:
    before = served.memory()
    with served.connect() as connection:
        connection.sendall(head(served, "/api/upload", "Transfer-Encoding: chunked"))
        sent = 0
        try:
            while sent < 200_000_000:
                connection.sendall(b"100000\r\n" + bytes(0x100000) + b"\r\n")
                sent += 0x100000
        except OSError:
            pass
        assert sent < 100_000_000, "the connection was closed long before"
    assert served.memory() - before < 64_000_000
    assert served.search("still there") == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 1_000_000,
    ],
)
def test_what_is_no_request_is_refused_and_the_next_one_is_answered(served: Served, data: bytes) -> None:
    answer = raw(served, data, 3)
    assert not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 5")), answer[:100]
    assert served.search("still there") == 200


@pytest.mark.slow
def test_callers_who_say_nothing_or_speak_too_slowly_are_let_go(served: Served) -> None:
    assert served.search("what a first search opens is open") == 200
    before = served.sockets()
    silent = [served.connect() for _ in range(20)]
    slow = [served.connect() for _ in range(20)]
    for place, connection in enumerate(slow):
        half = head(served, "/api/search", "Content-Length: 500", "Content-Type: application/json")
        connection.sendall(half[: len(half) // 2] if place % 2 else half)
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(1):
            for connection in slow:
                try:
                    connection.sendall(b" ")
                except OSError:
                    continue

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        assert served.search("others are served") == 200
        until = time.monotonic() + 60
        while served.sockets() > before and time.monotonic() < until:
            time.sleep(0.5)
        assert served.sockets() <= before
    finally:
        stop.set()
        dripping.join()
        for connection in silent + slow:
            connection.close()


def test_ten_times_as_many_as_it_can_serve_are_shed_and_it_recovers(served: Served) -> None:
    def one(place: int) -> tuple[int, float]:
        began = time.perf_counter()
        try:
            status = served.search(f"word {place} " * 40)
        except OSError:
            status = 0
        return status, time.perf_counter() - began

    with ThreadPoolExecutor(160) as pool:
        outcomes = list(pool.map(one, range(1600)))
    assert {status for status, _ in outcomes} <= {200, 503, 0}
    assert sum(status == 200 for status, _ in outcomes) > 100
    for _ in range(10):
        status, seconds = one(-1)
        assert (status, seconds < 2) == (200, True)

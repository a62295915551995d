"""More than the service can do: what it accepts it answers soon, the rest is told so, and memory goes back."""

from __future__ import annotations

import http.client
import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import Served
from test_uploads import encoded, png

AGAIN = 8


@pytest.fixture(scope="module")
def served(indexed: Path) -> Iterator[Served]:
    served = Served(indexed)
    yield served
    served.kill()


def squares(side: int, mode: str = "RGB") -> Image.Image:
    """A large image that is small as a file."""
    dice = np.random.default_rng(0)
    small = Image.fromarray(dice.integers(0, 255, (32, 32, 3), dtype=np.uint8))
    return small.resize((side, side), Image.Resampling.NEAREST).convert(mode)


def deep(side: int) -> bytes:
    """A PNG of 16 bits a sample with alpha."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    row = b"\0" + (np.arange(4 * side) % 251 * 257).astype(">u2").tobytes()
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def wordy() -> bytes:
    """A PNG of 8 x 8 pixels and 500,000 texts."""
    text = b"tEXta\0b"
    chunk = struct.pack(">I", 3) + text + struct.pack(">I", zlib.crc32(text))
    return png(8, 8, [bytes(25 * 8)], more=chunk * 500_000)


WORST = {
    "49 megapixels of CMYK JPEG": lambda: encoded(squares(7000, "CMYK"), "JPEG", quality=60),
    "25 megapixels of PNG": lambda: encoded(squares(4990), "PNG"),
    "25 megapixels of WebP": lambda: encoded(squares(4990), "WEBP", quality=30, method=0),
    "24 megapixels of 16-bit RGBA": lambda: deep(4900),
    "half a million texts": wordy,
}
USUAL = ("49 megapixels of CMYK JPEG", "half a million texts")
"""The others are run by make torture."""


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in USUAL else pytest.mark.slow) for kind in WORST]
)
def test_eight_of_the_worst_uploads_at_once(kind: str, served: Served) -> None:
    data, small = WORST[kind](), encoded(squares(64), "PNG")
    assert len(data) < 10_000_000
    assert served.post("/api/upload", small)[0] == 200
    time.sleep(1)
    before = served.memory("VmRSS")

    def send(sent: bytes) -> tuple[int, float]:
        began = time.monotonic()
        return served.post("/api/upload", sent)[0], time.monotonic() - began

    with ThreadPoolExecutor(AGAIN + 3) as pool:
        worst = [pool.submit(send, data) for _ in range(AGAIN)]
        time.sleep(0.2)
        others = [pool.submit(send, small) for _ in range(3)]
        assert served.search("meanwhile") == 200
        assert {one.result()[0] for one in worst} <= {200, 503, 413}
        for status, seconds in [other.result() for other in others]:
            assert status in (200, 503)
            assert seconds < 5
    until = time.monotonic() + 20
    while served.memory("VmRSS") > before + 50_000_000 and time.monotonic() < until:
        time.sleep(0.5)
    assert served.memory("VmRSS") - before < 50_000_000


def searching(port: int, clients: int, seconds: float) -> list[tuple[int, float]]:
    """Status and time of every search of so many clients, each of which asks again as soon as it is answered."""
    outcomes: list[tuple[int, float]] = []
    stop = time.monotonic() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        asked = 0
        while time.monotonic() < stop:
            asked += 1
            body = json.dumps({"parts": [{"text": f"thing {number} {asked}"}], "k": 20})
            began = time.perf_counter()
            try:
                connection.request("POST", "/api/search", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                outcomes.append((answer.status, time.perf_counter() - began))
            except OSError:
                connection.close()
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


@pytest.mark.slow
def test_of_128_connections_those_that_are_accepted_are_answered_soon(served: Served) -> None:
    def p99(outcomes: list[tuple[int, float]]) -> float:
        return float(np.percentile([seconds for status, seconds in outcomes if status == 200], 99))

    searching(served.port, 1, 1)
    alone, together = searching(served.port, 1, 4), searching(served.port, 128, 8)
    assert {status for status, _ in together} <= {200, 503}
    assert sum(status == 200 for status, _ in together) > 100
    assert p99(together) <= 10 * max(0.02, p99(alone)), (p99(together), p99(alone))


def test_bodies_that_arrive_slowly_take_no_place_from_others(served: Served) -> None:
    head = f"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Type: application/json\r\n"
    slow = [served.connect() for _ in range(80)]  # more than may be answered at a time
    try:
        for connection in slow:
            connection.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        time.sleep(0.3)
        assert [served.search(f"others {number}") for number in range(5)] == [200] * 5
    finally:
        for connection in slow:
            connection.close()


def test_a_damaged_upload_says_what_is_wrong_with_it(served: Served) -> None:
    status, body = served.post("/api/upload", encoded(squares(64), "PNG")[:100])
    assert status == 422
    assert "cannot be read" in json.loads(body)["detail"]

"""The service: how long people wait for results, alone and beside seven others, by the interface and on the page.

    python benchmarks/serving.py

An index of 100,000 images (vectors drawn around a few thousand themes, previews drawn once) is served by
`cospace serve` in a process of its own, with the towers of the default recipe. Every query is a text that was not asked
before, so each is encoded. Times are what the caller sees, connection kept open; the callers share the two cores with
the service. On the page a query is typed into a headless Chromium, and the time runs from the end of the pause after
typing until the first row of images is on screen.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

import cospace
import frame
from browser import BROWSERS, browser_program
from cospace.modalities import PREVIEW_SIZES
from cospace.stores import Item
from cospace.stores.locations import location_of

CLIENTS = 8
WORDS = ("red", "green", "blue", "small", "large", "round", "old", "new", "dog", "cat", "bus", "tree", "house", "river")
THEMES = 4_000
PART = 10_000
QUERIES = 50


def main() -> None:
    """Make the index, serve it, ask."""
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        index = make_index(Path(folder), options.items)
        with served(index) as (port, process):
            results = [asked(port, 1, options), asked(port, CLIENTS, options)]
            results.append(frame.alone(f"memory of the service, {options.items:,} items", memory(process)))
            results += on_the_page(port, options)
    for result in results:
        print(result.line())
    frame.record(results, options.table)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = frame.parser(__doc__)
    parser.add_argument("--items", type=int, help="images in the index (default: 100,000, or 10,000 with --quick)")
    parser.add_argument("--seconds", type=float, help="of asking (default: 15, or 5 with --quick)")
    options = parser.parse_args()
    options.items = options.items or (10_000 if options.quick else 100_000)
    options.seconds = options.seconds or (5.0 if options.quick else 15.0)
    return options


def make_index(folder: Path, items: int) -> Path:
    """A run of two steps, and an index of vectors that lie as a space's do: many near each other, in themes."""
    model = cospace.train("scenes", folder / "run", overrides=["training.steps=2", "tasks=none"])
    location = location_of(folder / "idx")
    store = location.create(model.folder, str(model.space.fingerprint), model.space.width, "float32")
    thumbnails, dice = location.thumbnails(), np.random.default_rng(0)
    themes = dice.normal(size=(THEMES, model.space.width)).astype(np.float32)
    drawn = [drawing(number) for number in range(256)]
    for start in range(0, items, PART):
        numbers = range(start, min(start + PART, items))
        vectors = themes[dice.integers(0, THEMES, len(numbers))]
        vectors = vectors + 0.7 * dice.normal(size=vectors.shape).astype(np.float32)
        names = [f"{number:032x}" for number in numbers]
        texts = [" ".join(random.Random(number).choices(WORDS, k=6)) for number in numbers]
        store.add(
            [
                Item(f"{number}.jpg", "image", text=text, hash=name, width=256, height=192, rgb=0x808080)
                for number, name, text in zip(numbers, names, texts, strict=True)
            ],
            vectors,
        )
        thumbnails.add(
            [(name, size, drawn[place % 256][size]) for place, name in enumerate(names) for size in PREVIEW_SIZES]
        )
        print(f"  {numbers.stop:,} of {items:,} items", flush=True)
    store.finish()
    store.close()
    return folder / "idx"


def drawing(seed: int) -> dict[int, bytes]:
    """A soft image in the sizes that an index keeps."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    encoded = {}
    for size in PREVIEW_SIZES:
        buffer = io.BytesIO()
        image = Image.fromarray(small).resize((size, size * 3 // 4), Image.Resampling.BICUBIC)
        image.save(buffer, "WEBP", quality=80)
        encoded[size] = buffer.getvalue()
    return encoded


@contextmanager
def served(index: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """``cospace serve`` on a free port."""
    command = [sys.executable, "-m", "cospace", "serve", str(index), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        began = time.perf_counter()
        port = urlsplit(json.loads(process.stdout.readline())["url"]).port
        assert port is not None
        print(f"  warm after {time.perf_counter() - began:.1f} s", flush=True)
        yield port, process
    finally:
        process.terminate()
        process.wait()


def asked(port: int, clients: int, options: argparse.Namespace) -> frame.Result:
    """So many callers at once, each asking again as soon as it is answered."""
    until = time.monotonic() + options.seconds
    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(lambda seed: caller(port, seed, until), range(clients)))
    times = sorted(one for times, _ in found for one in times)
    refused = sum(count for _, count in found)
    p50, p99 = (1000 * times[min(len(times) - 1, int(share * len(times)))] for share in (0.5, 0.99))
    rate = len(times) / options.seconds
    work = f"encode and search, {options.items:,} items, {clients} callers"
    return frame.alone(work, f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {rate:.0f}/s, {refused} refused", len(times))


def caller(port: int, seed: int, until: float) -> tuple[list[float], int]:
    """Seconds of every answer, and how many requests were refused since the service had too much to do."""
    dice, times, refused = random.Random(seed), [], 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while time.monotonic() < until:
        text = " ".join(dice.choices(WORDS, k=7)) + f" {dice.random():.6f}"
        body = json.dumps({"parts": [{"text": text}], "k": 20})
        began = time.perf_counter()
        connection.request("POST", "/api/search", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status == 503:
            refused += 1
        elif answer.status == 200:
            times.append(time.perf_counter() - began)
        else:
            raise SystemExit(f"the service answers with {answer.status}: {content[:200]!r}")
    return times, refused


def memory(process: subprocess.Popen[str]) -> str:
    """Most memory that the service has had."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    kilobytes = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    return f"{kilobytes / 1e6:.2f} GB"


def on_the_page(port: int, options: argparse.Namespace) -> list[frame.Result]:
    """Queries typed into the page, until the first row of images is there."""
    program = browser_program()
    if program is None:
        print(f"  the page is left out: there is none of {', '.join(BROWSERS)}, or no playwright")
        return []
    from playwright.sync_api import sync_playwright

    dice, times = random.Random(0), []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"http://127.0.0.1:{port}/")
        field = page.locator("input[type=search]").first
        for number in range(QUERIES):
            field.fill(" ".join(dice.choices(WORDS, k=4)) + f" {number}")
            page.wait_for_function("n => performance.getEntriesByName('cospace:first-row').length > n", arg=number)
            times.append(page.evaluate("performance.getEntriesByName('cospace:first-row').at(-1).duration"))
        browser.close()
    times.sort()
    p50, p95 = statistics.median(times), times[int(0.95 * len(times))]
    work = f"typed query to first row of images, {options.items:,} items, in Chromium"
    return [frame.alone(work, f"p50 {p50:.0f} ms, p95 {p95:.0f} ms", len(times))]


if __name__ == "__main__":
    main()

"""How cost grows with the pairs: time before the first step, samples a second, memory.

Every row is `cospace train` in a process of its own, on shards of small random pictures with captions of made-up words,
all of them different, for a fixed number of steps at a fixed batch, so that only the number of pairs changes. `own` is
the largest memory that the process could not give back (anonymous, without pictures mapped from a file), sampled; that
is read from /proc, so this benchmark needs Linux.

The last row is simulated: batches are drawn from so many rows that share a thousand pictures and captions, without
towers. It says what the plan and the choice of rows alone cost at that size.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import frame
from cospace.batches import Batches, Feed, ImageFeed, Plan, TextFeed
from cospace.experiment.log import Log
from cospace.experiment.prepare import CPU_MICRO
from cospace.experiment.settings import experiment
from cospace.preprocess import ImagePreparer
from cospace.tokens import Tokenizer
from cospace.types import UserError
from two_pass import sentences

SIDE = 32
"""Of the pictures, in pixels."""

SHARD = 10_000
"""Pairs in a shard."""

SHARED = 1_000
"""Pictures and captions that the simulated rows share."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took; ``own`` and ``peak`` in bytes, ``rate`` in samples a second of the median step."""

    before: float
    rate: float
    own: int
    peak: int

    def result(self, work: str) -> frame.Result:
        """As a row of the table, which has no peer."""
        words = f"{self.before:.3g} s before the first step, {self.rate:.4g} samples/s"
        words += f", own memory {self.own / 1e9:.2f} GB, peak {self.peak / 1e9:.2f} GB"
        return frame.alone(work, words)


def main() -> None:
    """One process a size, and the simulation."""
    options = arguments()
    results = []
    for pairs in options.pairs:
        with tempfile.TemporaryDirectory() as folder:
            write_shards(pairs, Path(folder))
            results.append(train(pairs, options, Path(folder)).result(f"{pairs:,} pairs, batch {options.batch}"))
        print(results[-1].line(), flush=True)
    results.append(simulated(options.simulated, options))
    print(results[-1].line(), flush=True)
    frame.record(results, options.table)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = frame.parser(__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", help="sizes (default: 1000 10000 100000)")
    parser.add_argument("--simulated", type=int, default=10_000_000, help="rows of the simulation")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, help="default: 20, or 6 with --quick")
    options = parser.parse_args()
    options.pairs = options.pairs or ([1_000, 4_000] if options.quick else [1_000, 10_000, 100_000])
    options.steps = options.steps or (6 if options.quick else 20)
    return options


def write_shards(pairs: int, folder: Path) -> None:
    """Pairs in tar files, as the webdataset tools write them."""
    captions = sentences(pairs)
    for first in range(0, pairs, SHARD):
        with tarfile.open(folder / f"{first:08d}.tar", "w") as shard:
            for number in range(first, min(first + SHARD, pairs)):
                for suffix, data in (("png", picture(number)), ("txt", f"{captions[number]} {number}".encode())):
                    member = tarfile.TarInfo(f"{number:08d}.{suffix}")
                    member.size = len(data)
                    shard.addfile(member, io.BytesIO(data))


def picture(number: int) -> bytes:
    """A PNG of noise that no other number has."""
    noise = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG", compress_level=1)
    return file.getvalue()


def train(pairs: int, options: argparse.Namespace, folder: Path) -> Cost:
    """`cospace train` on the shards, watched from outside."""
    log = folder / "run" / "metrics.jsonl"
    settings = [f"training.steps={options.steps}", f"training.batch={options.batch}", "training.evaluations=1"]
    command = [sys.executable, "-m", "cospace", "train", str(folder / "*.tar"), "--out", str(folder / "run")]
    own, peak, before = 0, 0, None
    start = time.monotonic()
    with (folder / "output").open("wb") as sink:
        process = subprocess.Popen([*command, "--no-report", *settings], stdout=sink, stderr=sink)
        for anonymous, highest in memory(process):
            own, peak = max(own, anonymous), max(peak, highest)
            if before is None and log.exists() and b"\n" in log.read_bytes():
                before = time.monotonic() - start
    if process.returncode or before is None:
        raise UserError(f"{pairs:,} pairs: {(folder / 'output').read_text(encoding='utf-8')[-2000:]}")
    rates = [row["samples_per_second"] for row in Log(log).rows() if "samples_per_second" in row]
    return Cost(before, statistics.median(rates), own, peak)


def memory(process: subprocess.Popen[bytes]) -> Iterator[tuple[int, int]]:
    """Bytes that a running process has of its own, and the most it ever had in all, several times a second."""
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
        except OSError:
            return
        found = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
        yield int(found.get("RssAnon", 0)) * 1024, int(found.get("VmHWM", 0)) * 1024
        time.sleep(0.1)


def simulated(rows: int, options: argparse.Namespace) -> frame.Result:
    """Batches from very many rows, drawn by one process without towers."""
    captions = sentences(SHARED)
    item_of_row = np.arange(rows) % SHARED
    image, text = ImagePreparer(size=SIDE), Tokenizer.train(captions)
    images = torch.randint(0, 256, (SHARED, 3, SIDE, SIDE), dtype=torch.uint8)
    augment = experiment("small").data.augment
    feeds: dict[str, Feed] = {
        "image": ImageFeed(images, item_of_row, image, augment, 0),
        "text": TextFeed(text.encode_all(captions), item_of_row, text, 0.0, 0),
    }
    batches = Batches(feeds, np.arange(rows), Plan(rows, options.batch, 0), CPU_MICRO)
    first = frame.timed(lambda: batches[0])
    later = frame.timed(lambda: [batches[step] for step in range(1, 21)]) / 20
    words = f"{first:.3g} s for the first batch, {options.batch / later:.4g} samples/s after it"
    return frame.alone(f"{rows:,} rows simulated, batches alone", words)


if __name__ == "__main__":
    main()

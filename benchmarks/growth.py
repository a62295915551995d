"""How cost grows with the pairs: time before the first step, samples a second, memory.

Every row is `cospace train` in a process of its own, on shards of small random images with captions of made-up words,
for a fixed number of steps at a fixed batch, so that only the number of pairs changes. The first hundred thousand are
all different; shards beyond are links to these, since a hundred million would be half a terabyte. `own` is the largest
memory that the process could not give back (anonymous, without images mapped from a file), sampled; that is read from
/proc, so this benchmark needs Linux. Every size begins with an empty cache.

The last row is simulated: batches are drawn from so many rows that share a thousand images and captions, without
towers. It says what the sampler and the choice of rows alone cost at that size.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import frame
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.runs.metrics_log import MetricsLog
from cospace.runs.settings import resolve
from race import start_and_wait
from two_pass import noise, sentences

SIDE = 32
"""Of the images, in pixels."""

SHARD = 10_000
"""Pairs in a shard."""

DIFFERENT = 10
"""Shards that are written; those beyond are links to them."""

SHARED = 1_000
"""Images and captions that the simulated rows share."""


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
            results.append(train(options, Path(folder)).result(f"{pairs:,} pairs, batch {options.batch}"))
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
    captions = sentences(min(pairs, DIFFERENT * SHARD))
    for first in range(0, pairs, SHARD):
        if first >= DIFFERENT * SHARD:
            os.link(folder / f"{first % (DIFFERENT * SHARD):09d}.tar", folder / f"{first:09d}.tar")
            continue
        with tarfile.open(folder / f"{first:09d}.tar", "w") as shard:
            for number in range(first, min(first + SHARD, pairs)):
                for suffix, data in (("png", image_file(number)), ("txt", f"{captions[number]} {number}".encode())):
                    member = tarfile.TarInfo(f"{number:08d}.{suffix}")
                    member.size = len(data)
                    shard.addfile(member, io.BytesIO(data))


def image_file(number: int) -> bytes:
    """A PNG of noise that no other number has."""
    noise = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG", compress_level=1)
    return file.getvalue()


def train(options: argparse.Namespace, folder: Path) -> Cost:
    """`cospace train` on the shards, watched from outside."""
    log = folder / "run" / "metrics.jsonl"
    settings = [f"training.steps={options.steps}", f"training.batch_size={options.batch}", "training.evaluations=1"]
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    command = [sys.executable, "-m", "cospace", "train", str(folder / "*.tar"), "--out", str(folder / "run")]
    seen: list[tuple[int, int]] = []
    before = start_and_wait(
        [*command, "--no-report", *settings], folder / "output", log, lambda process: seen.append(memory(process))
    )
    rates = [row["samples_per_second"] for row in MetricsLog(log).rows() if "samples_per_second" in row]
    own, peak = (max(column) for column in zip(*seen, strict=True))
    return Cost(before, statistics.median(rates), own, peak)


def memory(process: int) -> tuple[int, int]:
    """Bytes that a running process has of its own, and the most it ever had in all; nothing once it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0, 0
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    return found.get("RssAnon", 0), found.get("VmHWM", 0)


def simulated(rows: int, options: argparse.Namespace) -> frame.Result:
    """Batches from very many rows, drawn by one process without towers."""
    captions = sentences(SHARED)
    image, text = ImageProcessor(size=SIDE), Tokenizer.train(captions)
    settings = resolve("small", [f"training.batch_size={options.batch}"])
    batches = noise(captions, image, text, settings, np.arange(rows) % SHARED)
    first = frame.timed(lambda: batches[0])
    later = frame.timed(lambda: [batches[step] for step in range(1, 21)]) / 20
    words = f"{first:.3g} s for the first batch, {options.batch / later:.4g} samples/s after it"
    return frame.alone(f"{rows:,} rows simulated, batches alone", words)


if __name__ == "__main__":
    main()

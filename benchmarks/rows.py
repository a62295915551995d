"""What a row costs before anything is decoded: memory and time of opening generated pairs, and of opening them again.

A parquet table whose rows share a thousand small images, each row with a caption of its own. `own` is the largest
anonymous memory of the process beyond that after a small table was opened; files that are mapped are no part of it.
It is read from /proc, so this benchmark needs Linux. The cache is a folder of its own, beside the table.

    python benchmarks/rows.py --rows 1000000 10000000 --folder /somewhere/with/room
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from cospace.data.known_files import SETTLED

IMAGES = 1_000
"""Images that all rows share."""

TOGETHER = 1_000_000
"""Rows that are written at a time."""


def write(folder: Path, rows: int) -> Path:
    """A table of so many rows, and its images."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    dice = np.random.default_rng(0)
    for number in range(IMAGES):
        Image.fromarray(dice.integers(0, 255, (8, 8, 3), np.uint8)).save(folder / "images" / f"{number:04}.png")
    schema = pa.schema([("image", pa.string()), ("caption", pa.string())])
    path = folder / f"{rows}.parquet"
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, TOGETHER):
            numbers = range(start, min(rows, start + TOGETHER))
            images = [f"images/{number * 7919 % IMAGES:04}.png" for number in numbers]
            captions = [f"a thing with number {number}" for number in numbers]
            table = pa.table({"image": images, "caption": captions}, schema=schema)
            writer.write_table(table, row_group_size=TOGETHER // 10)
    return path


def own_memory() -> int:
    """Anonymous memory of this process, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


def measure(table: Path, small: Path) -> None:
    """Print what opening a table takes in this process."""
    from cospace.data.pairs import open_pairs

    open_pairs(small)
    before = peak = own_memory()

    def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, own_memory())
            time.sleep(0.01)

    threading.Thread(target=watch, daemon=True).start()
    wall, cpu = time.perf_counter(), time.process_time()
    pairs = open_pairs(table)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    after = own_memory()
    counts = pairs.counts()
    found = {"rows": len(pairs), "wall_s": wall, "cpu_s": cpu, "own_peak": peak - before, "own_after": after - before}
    print(json.dumps({**found, "used": counts.used, "fingerprint": pairs.fingerprint}))


def main() -> None:
    """Write the tables, and open each of them twice in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--open", type=Path, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.open:
        measure(*given.open)
        return
    small = write(given.folder, IMAGES)
    for rows in given.rows:
        table = write(given.folder, rows)
        time.sleep(SETTLED + 1)  # what was just written is not kept for the second time
        for _ in range(2):
            command = [sys.executable, __file__, "--folder", given.folder, "--open", table, small]
            environment = {**os.environ, "XDG_CACHE_HOME": str(given.folder.absolute() / "cache")}
            subprocess.run(list(map(str, command)), env=environment, check=True)


if __name__ == "__main__":
    main()

"""The race: seconds from the start of the process to a given quality on validation pairs.

Ours is `cospace train` with a shipped recipe, as its users start it. The peer is OpenCLIP's own training program with
the towers, batch and precision named in the row, once with its default learning rate and warm-up and once tuned.
Interpreter start, imports, reading the data and (of ours) learning the tokenizer are in for both; evaluations are out
for both: ours stops its clock for them, the peer's checkpoints are evaluated afterwards. Both are measured by our
retrieval metric on the same pairs. Between two evaluations quality is taken to grow in a straight line.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

import frame
from cospace.commands.training_items import VALIDATED
from cospace.data.keys import items_of
from cospace.data.pairs import Pairs, open_pairs
from cospace.data.prepared import different_items
from cospace.evaluation.retrieval import retrieval
from cospace.runs.metrics_log import MetricsLog
from cospace.runtime import device, has_fast_bfloat16
from cospace.types import Metrics, UserError
from image_files import files_of, first_rows, some_images, write_table
from peers import OpenClip, write_model_config
from towers import SIZES, Size


@dataclass(frozen=True, slots=True)
class Point:
    """What had been reached so many seconds after the process had started."""

    seconds: float
    quality: float


@dataclass(frozen=True, slots=True)
class Track:
    """What both sides run on: tables of pairs, the towers of the peer, and how quality is read off metrics."""

    train: Path
    val: Path
    val_pairs: Pairs
    size: Size
    quality: Callable[[Metrics], float]


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to start the peer: a short name, words for the table, and arguments of its training program."""

    short: str
    words: str
    arguments: tuple[str, ...]


def main() -> None:
    """Run both sides in turns, and write a row per goal and variant of the peer."""
    options = arguments()
    with working_folder(options.work) as folder:
        track = lay_track(options, folder)
        ours: list[list[Point]] = []
        peers: dict[Variant, list[list[Point]]] = {variant: [] for variant in variants(options)}
        for number in range(options.runs):
            ours.append(run_ours(track, options.ours, number, folder / f"ours-{number}"))
            report("ours", ours[-1])
            for variant, runs in peers.items():
                runs.append(run_peer(track, variant, number, folder / f"peer-{number}"))
                report(variant.words, runs[-1])
    results = []
    for variant, runs in peers.items():
        for goal in options.goals:
            work = f"{options.metric} {goal:g} on {options.note or Path(options.train).parent.name}"
            results.append(result(work, variant.words, list(zip(ours, runs, strict=True)), goal))
            print(results[-1].line())
    frame.record(results, options.table)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = frame.parser(__doc__)
    parser.add_argument("train", nargs="?", default="scenes", help="pairs to train on, e.g. a csv (default: built-in)")
    parser.add_argument("val", nargs="?", default="scenes/val", help="pairs to validate on")
    parser.add_argument("--goals", type=float, nargs="+", help="default: 0.5 0.7 0.8 0.9")
    parser.add_argument("--metric", default="mean R@1", help="or e.g. image_to_text/R@1: accuracy, for classes")
    parser.add_argument("--note", default="", help="what the table calls the data")
    parser.add_argument("--ours", nargs="*", default=[], help="settings of ours, e.g. encoders.image=vit")
    parser.add_argument("--runs", type=int, default=1, help="runs of each side, with seeds 0, 1, ...")
    parser.add_argument("--towers", choices=SIZES, help="of the peer (default: small, or tiny with --quick)")
    parser.add_argument("--epochs", type=int, help="of the peer (default: 20, or 12 with --quick)")
    parser.add_argument("--batch", type=int, help="of the peer (default: 256, or 64 with --quick)")
    parser.add_argument("--precision", help="of the peer (default: amp_bf16 where that is fast, otherwise fp32)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the peer that load images")
    parser.add_argument("--rate", default="1e-3", help="the tuned peer's learning rate")
    parser.add_argument("--warmup", default="20", help="the tuned peer's warm-up in steps")
    parser.add_argument("--peers", nargs="+", choices=("tuned", "default"), help="how it starts (default: both ways)")
    parser.add_argument("--work", type=Path, help="where runs and checkpoints go, kept (default: a temporary folder)")
    options = parser.parse_args()
    options.towers = options.towers or ("tiny" if options.quick else "small")
    options.epochs = options.epochs or (12 if options.quick else 20)
    options.batch = options.batch or (64 if options.quick else 256)
    options.precision = options.precision or ("amp_bf16" if has_fast_bfloat16(device()) else "fp32")
    options.peers = options.peers or (["tuned"] if options.quick else ["tuned", "default"])
    options.goals = options.goals or ([0.05, 0.1] if options.quick else [0.5, 0.7, 0.8, 0.9])
    if options.quick:
        options.note = options.note or "512 built-in scenes"
        options.ours = ["training.steps=24", "training.batch_size=64", "data.image.size=32", *options.ours]
    return options


@contextmanager
def working_folder(kept: Path | None) -> Iterator[Path]:
    """The folder that was asked for, or one that is gone afterwards."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def lay_track(options: argparse.Namespace, folder: Path) -> Track:
    """The same pairs for both sides, as a table that both read.

    No more validation images than ours evaluates on during training: among fewer the right one is easier to find.
    """
    pairs = {"train": open_pairs(options.train), "val": some_images(open_pairs(options.val), VALIDATED)}
    if options.quick:
        pairs = {"train": first_rows(pairs["train"], 512), "val": first_rows(pairs["val"], 128)}
    train, val = (write_table(chosen, folder / name) for name, chosen in pairs.items())
    return Track(train, val, open_pairs(val), SIZES[options.towers], lambda metrics: quality(metrics, options.metric))


def quality(metrics: Metrics, name: str) -> float:
    """One metric by name; ``mean R@1`` is the mean of both directions' R@1."""
    if name.startswith("mean "):
        ways = ("image_to_text", "text_to_image")
        return sum(quality(metrics, f"{way}/{name.removeprefix('mean ')}") for way in ways) / len(ways)
    if name not in metrics:
        raise UserError(f"there is no metric {name!r}; choose 'mean R@1' or one of {', '.join(sorted(metrics))}")
    return metrics[name]


def variants(options: argparse.Namespace) -> list[Variant]:
    """The peer tuned, and with its default learning rate and warm-up."""
    same = ["--batch-size", str(options.batch), "--epochs", str(options.epochs)]
    same += ["--precision", options.precision, "--workers", str(options.workers)]
    words = f"OpenCLIP {options.precision}, {SIZES[options.towers].name}, batch {options.batch}"
    words += f", {options.epochs} epochs"
    tuning = ("--lr", options.rate, "--warmup", options.warmup)
    tuned = Variant("tuned", f"{words}, lr {options.rate}, warm-up {options.warmup}", (*same, *tuning))
    default = Variant("default", f"{words}, its default lr and warm-up", tuple(same))
    return [variant for variant in (tuned, default) if variant.short in options.peers]


def run_ours(track: Track, extra: Sequence[str], seed: int, out: Path) -> list[Point]:
    """`cospace train` in a process of its own; its log has the minutes spent, evaluations left out."""
    command = [sys.executable, "-m", "cospace", "train", str(track.train), "--val", str(track.val), "--out", str(out)]
    command += ["--no-report", f"training.seed={seed}", "training.evaluations=19", *extra]
    log = out / "metrics.jsonl"
    first = start_and_wait(command, out.with_suffix(".log"), log)
    return points_of(MetricsLog(log).rows(), first, track.quality)


def train_once(train: str | Path, val: str | Path, settings: Sequence[str], out: Path) -> Metrics:
    """`cospace train` in a process of its own: the last row of its log, metrics under their own names."""
    command = [sys.executable, "-m", "cospace", "train", str(train), "--val", str(val), "--out", str(out)]
    command += ["--no-report", "training.evaluations=0", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{' '.join(command)} ended with code {done.returncode}: {done.stderr[-2000:]}")
    return {key.removeprefix("val/"): value for key, value in MetricsLog(out / "metrics.jsonl").rows()[-1].items()}


def start_and_wait(
    command: Sequence[str], output: Path, awaited: Path, watch: Callable[[int], None] = lambda process: None
) -> float:
    """Run a command to its end; seconds until its file ``awaited`` had a first whole line.

    ``watch`` is called with the process's number now and then.
    """
    first = None
    with output.open("wb") as sink:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
        while process.poll() is None:
            if first is None and awaited.exists() and b"\n" in awaited.read_bytes():
                first = time.monotonic() - start
            watch(process.pid)
            time.sleep(0.02 if first is None else 0.5)
    if process.returncode or first is None:
        last = output.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise UserError(f"{' '.join(command)} ended with code {process.returncode}: {last}")
    return first


def points_of(rows: Sequence[dict[str, float]], first: float, quality: Callable[[Metrics], float]) -> list[Point]:
    """The evaluations of a log whose first row was written ``first`` seconds after the process had started."""
    return [
        Point(
            first + 60 * (row["minutes"] - rows[0]["minutes"]),
            quality({key.removeprefix("val/"): value for key, value in row.items()}),
        )
        for row in rows
        if any(key.startswith("val/") for key in row)
    ]


def run_peer(track: Track, variant: Variant, seed: int, logs: Path) -> list[Point]:
    """OpenCLIP's training program in a process of its own; every epoch's checkpoint is evaluated afterwards."""
    logs.mkdir(parents=True, exist_ok=True)
    config = write_model_config(track.size, logs)
    command = [sys.executable, str(Path(__file__).with_name("peers.py")), str(config), "--model", config.stem]
    command += ["--train-data", str(track.train), "--dataset-type", "csv", "--device", device().type]
    command += ["--seed", str(seed), "--logs", str(logs), "--name", variant.short, *variant.arguments]
    output = logs / f"{variant.short}.log"
    with output.open("wb") as sink:
        start = time.time()
        done = subprocess.run(command, stdout=sink, stderr=sink, check=False)
    if done.returncode:
        raise UserError(f"the peer ended with code {done.returncode}; see the end of {output}")
    checkpoints = (logs / variant.short / "checkpoints").glob("epoch_*.pt")
    peer = OpenClip(track.size, logs)
    points = []
    for checkpoint in sorted(checkpoints, key=lambda path: path.stat().st_mtime_ns):
        peer.load(checkpoint)
        metrics = measure(peer, track.val_pairs, logs)
        points.append(Point(checkpoint.stat().st_mtime - start, track.quality(metrics)))
        checkpoint.unlink()
    return points


def measure(peer: OpenClip, pairs: Pairs, folder: Path) -> Metrics:
    """Our retrieval metric on the peer's vectors, with our matches."""
    (image_rows, image_of_row), (text_rows, _) = (items_of(pairs.keys[name]) for name in ("image", "text"))
    paths = dict(zip(image_of_row.tolist(), files_of(pairs, folder), strict=True))
    texts, _ = different_items(pairs, "text")
    with torch.inference_mode():
        image_NE = peer.images([paths[item] for item in range(len(image_rows))], 64)
        text_NE = peer.texts(list(texts), 64)
    return retrieval(image_NE, text_NE, pairs.matches.between("image", "text", image_rows, text_rows))


def reach(points: Sequence[Point], goal: float) -> float | None:
    """Seconds at which the quality first reached ``goal``, or nothing.

    Between two evaluations it is taken to grow in a straight line; nothing is assumed before the first one.
    """
    before: Point | None = None
    for point in points:
        if point.quality >= goal:
            if before is None:
                return point.seconds
            share = (goal - before.quality) / (point.quality - before.quality)
            return before.seconds + share * (point.seconds - before.seconds)
        before = point
    return None


def result(work: str, peer: str, runs: Sequence[tuple[Sequence[Point], Sequence[Point]]], goal: float) -> frame.Result:
    """Seconds of ours and of the peer to one goal, over the runs of both.

    A peer that did not get there gives a lower bound: it was still short when it ended.
    """
    times = [(reach(ours, goal), reach(theirs, goal), theirs[-1].seconds) for ours, theirs in runs]
    ours = [mine for mine, _, _ in times if mine is not None]
    peers = [theirs for _, theirs, _ in times if theirs is not None]
    ended = statistics.median(end for _, _, end in times)
    ours_words = f"{statistics.median(ours):.4g} s" if len(ours) == len(times) else "not reached"
    peer_words = f"{statistics.median(peers):.4g} s" if len(peers) == len(times) else f"not reached in {ended:.4g} s"
    if len(ours) < len(times):
        ratio = "none"
    elif len(peers) < len(times):
        ratio = f"above {statistics.median(end / mine for mine, _, end in times if mine):.3g}x"
    else:
        ratio = frame.spread([theirs / mine for mine, theirs, _ in times if mine and theirs])
    return frame.Result(work, ours_words, peer, peer_words, ratio, len(times))


def report(name: str, points: Sequence[Point]) -> None:
    """The whole course of a run."""
    print(f"{name}: " + " · ".join(f"{point.seconds:.0f} s {point.quality:.3f}" for point in points), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # both sides inherit it
    main()

"""Ablation: what each compute saver of the default recipe costs in quality, and what it saves in time.

    python benchmarks/ablation.py emoji/train.csv emoji/val.csv

`cospace train` as it is shipped and with one saver switched off, the same number of steps and the same seeds, in turns.
Minutes are those of training; evaluations are left out. Quality is the mean of both directions' R@1 on the validation
pairs, median over the seeds with the smallest and the largest; the ratio is that of the times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import frame
from cospace.runtime import device, has_fast_bfloat16
from race import quality, train_once

SAVERS = {
    "images at three quarters of their side at first": ["data.image.progressive_resizing=0"],
    "towers in bfloat16": ["training.precision=float32"],
}
"""What the default recipe does to save time, and the settings that switch it off."""


@dataclass(frozen=True, slots=True)
class Trained:
    """How good a run got, and in how many minutes."""

    quality: float
    minutes: float


def main() -> None:
    """The recipe as it is and without each saver, seed by seed."""
    options = arguments()
    savers = {
        words: settings for words, settings in SAVERS.items() if "bfloat16" not in words or has_fast_bfloat16(device())
    }
    variants = {"": [], **savers}
    runs: dict[str, list[Trained]] = {words: [] for words in variants}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for number, (words, settings) in enumerate(variants.items()):
                out = Path(folder) / f"{seed}-{number}"
                runs[words].append(trained(options, [*settings, f"training.seed={seed}"], out))
                print(f"seed {seed}, {'without ' + words if words else 'as shipped'}: {runs[words][-1]}", flush=True)
    note = options.note or Path(options.train).parent.name or options.train
    results = [result(f"mean R@1 on {note}", words, runs[""], runs[words]) for words in savers]
    for one in results:
        print(one.line())
    frame.record(results, options.table)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = frame.parser(__doc__)
    parser.add_argument("train", nargs="?", default="scenes", help="pairs to train on, e.g. a csv (default: built-in)")
    parser.add_argument("val", nargs="?", default="scenes/val", help="pairs to validate on")
    parser.add_argument("--seeds", type=int, help="runs of each variant (default: 3, or 1 with --quick)")
    parser.add_argument("--note", default="", help="what the table calls the data")
    parser.add_argument("--settings", nargs="*", default=[], help="settings of all runs, e.g. training.steps=100")
    options = parser.parse_args()
    options.seeds = options.seeds or (1 if options.quick else 3)
    if options.quick:
        options.settings = ["training.steps=24", "training.batch_size=64", "data.image.size=32", *options.settings]
    return options


def trained(options: argparse.Namespace, settings: Sequence[str], out: Path) -> Trained:
    """One run."""
    metrics = train_once(options.train, options.val, ["tasks=none", *options.settings, *settings], out)
    return Trained(quality(metrics, "mean R@1"), metrics["minutes"])


def result(work: str, words: str, shipped: Sequence[Trained], without: Sequence[Trained]) -> frame.Result:
    """A row: both qualities and times, and the ratio of the times seed by seed."""
    ratios = [other.minutes / ours.minutes for ours, other in zip(shipped, without, strict=True)]
    return frame.Result(work, shown(shipped), f"without {words}", shown(without), frame.spread(ratios), len(ratios))


def shown(runs: Sequence[Trained]) -> str:
    """Quality with its range, and minutes."""
    reached = [run.quality for run in runs]
    middle = statistics.median(reached)
    minutes = statistics.median(run.minutes for run in runs)
    return f"{middle:.3f} ({min(reached):.3f}-{max(reached):.3f}) in {minutes:.2f} min"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    main()

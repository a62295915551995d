"""Noise: how much of its quality each objective keeps when captions are shuffled among the images (ALIGN's point).

    python benchmarks/noise.py emoji/train.csv emoji/val.csv

A share of the training pairs swap their captions with each other; validation pairs stay as they are. Every objective is
trained by `cospace train` with the default recipe on the same tables. The table and the curve go to docs/noise.md and
docs/noise.svg.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import frame
from cospace.data.pairs import Pairs, open_pairs
from cospace.runtime import describe, device
from image_files import files_of
from race import quality, train_once

OBJECTIVES = {
    "softmax": [],
    "softmax, truncated": ["objective.loss_truncation={noise}"],
    "sigmoid": ["objective=sigmoid"],
    "mse": ["objective=mse"],
}
"""What the table calls them, and their settings; ``{noise}`` is the share of shuffled captions."""

Curves = dict[str, dict[float, float]]
"""By objective, quality at every share of shuffled captions."""


def main() -> None:
    """Every objective at every share of shuffled captions."""
    options = arguments()
    pairs = open_pairs(options.train)
    curves: Curves = {name: {} for name in options.objectives}
    with tempfile.TemporaryDirectory() as folder:
        for noise in options.noise:
            table = write_shuffled(pairs, noise, Path(folder) / f"{noise:g}")
            for name in options.objectives:
                settings = [setting.format(noise=noise) for setting in OBJECTIVES[name]]
                if noise or "loss_truncation" not in "".join(settings):
                    out = Path(folder) / f"{noise:g}-{name}"
                    metrics = train_once(table, options.val, [*settings, *options.settings], out)
                    curves[name][noise] = quality(metrics, "mean R@1")
                    print(f"{name}, {noise:.0%} shuffled: {curves[name][noise]:.3f}", flush=True)
    write(curves, options)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", help="pairs to train on, e.g. a csv")
    parser.add_argument("val", help="pairs to validate on")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.2, 0.4, 0.6], help="shares of captions")
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--settings", nargs="*", default=[], help="settings of all runs, e.g. training.steps=100")
    parser.add_argument("--out", type=Path, default=frame.ROOT / "docs", help="where the table and the curve go")
    return parser.parse_args()


def write_shuffled(pairs: Pairs, noise: float, folder: Path) -> Path:
    """The pairs as a table in which a share of the captions were passed round among their rows."""
    folder.mkdir(parents=True)
    dice = np.random.default_rng(0)
    chosen = dice.permutation(len(pairs))[: round(noise * len(pairs))]
    text_of_row = np.arange(len(pairs))
    text_of_row[chosen] = np.roll(chosen, 1)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "text"])
        for path, text in zip(files_of(pairs, folder), text_of_row, strict=True):
            writer.writerow([path, pairs.items["text"][int(text)]])
    return folder / "pairs.csv"


def write(curves: Curves, options: argparse.Namespace) -> None:
    """The curve as an image and as a table with what gave it."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, points in curves.items():
        axes.plot([100 * noise for noise in points], [100 * value for value in points.values()], "o-", label=name)
    axes.set(xlabel="shuffled captions, %", ylabel="mean R@1, %", ylim=(0, 100))
    axes.legend(frameon=False)
    figure.savefig(options.out / "noise.svg", metadata={"Date": None})
    rows = [
        f"| {name} | " + " | ".join(f"{100 * points[n]:.1f}" if n in points else "" for n in options.noise) + " |"
        for name, points in curves.items()
    ]
    note = Path(options.train).parent.name
    text = [
        "# Learning from noisy pairs",
        "",
        f"Mean R@1 (%) on the validation pairs of {note} after a share of the training captions was shuffled; one "
        f"seed, `{frame.shown(sys.argv)}`, {describe(device())}, {time.strftime('%Y-%m-%d')}.",
        "",
        "| objective | " + " | ".join(f"{noise:.0%}" for noise in options.noise) + " |",
        "|---|" + "---|" * len(options.noise),
        *rows,
        "",
        "![mean R@1 against the share of shuffled captions](noise.svg)",
        "",
    ]
    (options.out / "noise.md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    main()

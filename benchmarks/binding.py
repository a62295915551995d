"""Binding: images found by sounds that were never paired with them, beside a space trained on sounds with images.

    python benchmarks/binding.py spoken_digits/train.csv spoken_digits/val.csv

The bound space learns from (sound, text) and (image, text) alone: spoken digits, and the built-in drawings of digits.
The direct one learns from (sound, image): every sound with the drawing of its digit in every face. Both are trained by
`cospace train --recipe binding` and asked for the drawing, in two faces that neither has seen, of digits spoken by a
person that neither has heard. The table goes to docs/binding.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

import frame
from cospace.data.pairs import Pairs, built_in, open_pairs
from cospace.runtime import describe, device

SEEN, UNSEEN = "glyphs/digits", "glyphs/digits/faces"
FIGURES = {"sound to image": "audio_to_image/R@1", "image to sound": "image_to_audio/R@1"}


def main() -> None:
    """Both spaces, once a seed."""
    options = arguments()
    figures: dict[str, list[dict[str, float]]] = {"bound by text": [], "trained directly": []}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        direct = write_direct(open_pairs(options.train), built_in(SEEN), folder / "train")
        asked = write_direct(open_pairs(options.val), built_in(UNSEEN), folder / "val")
        for seed in range(options.seeds):
            out = folder / f"bound-{seed}"
            train([options.train, SEEN], [options.val, UNSEEN], out, seed)
            figures["bound by text"].append(measure(out, [options.val, UNSEEN, "--through", "text"]))
            out = folder / f"direct-{seed}"
            train([str(direct)], [str(asked)], out, seed)
            figures["trained directly"].append(measure(out, [str(asked)]))
            print(seed, {name: runs[-1] for name, runs in figures.items()}, flush=True)
    write(figures, options)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", help="a table of sounds and texts to train on")
    parser.add_argument("val", help="one of other speakers")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--page", type=Path, default=frame.ROOT / "docs" / "binding.md", help="the page to write into")
    return parser.parse_args()


def write_direct(sounds: Pairs, images: Pairs, folder: Path) -> Path:
    """Every sound with every image of the same text, as a table of the two."""
    folder.mkdir(parents=True)
    files: dict[str, list[Path]] = {}
    for number, (image, text) in enumerate(zip(images.items["image"], images.items["text"], strict=True)):
        path = folder / f"{number}.png"
        Image.fromarray(image.load()).save(path)
        files.setdefault(text, []).append(path)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["audio", "image"])
        for sound, text in zip(sounds.items["audio"], sounds.items["text"], strict=True):
            writer.writerows([Path(sound).resolve(), image] for image in files[text])
    return folder / "pairs.csv"


def train(tables: Sequence[str], val: Sequence[str], out: Path, seed: int) -> None:
    """As a user would."""
    validation = [argument for table in val for argument in ("--val", table)]
    run(["train", *tables, *validation, "--recipe", "binding", "--out", str(out), f"training.seed={seed}", "--json"])


def measure(out: Path, arguments: Sequence[str]) -> dict[str, float]:
    """The figures of the two directions between sounds and images."""
    metrics = json.loads(run(["eval", str(out), *arguments, "--json"]))
    return {name: metrics[key] for name, key in FIGURES.items()}


def run(arguments: Sequence[str]) -> str:
    """A command of cospace, and what it prints."""
    command = [sys.executable, "-m", "cospace", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def write(figures: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    """The table in place of the last one on the page."""
    lines = ["| space | " + " | ".join(FIGURES) + " |", "|---|" + "---|" * len(FIGURES)]
    for name, runs in figures.items():
        cells = [summary([run[figure] for run in runs]) for figure in FIGURES]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append("| chance | 10.0 % | 10.0 % |")
    note = f"`{frame.shown(sys.argv)}`, {options.seeds} seeds, {describe(device())}, {time.strftime('%Y-%m-%d')}."
    before, mark, after = options.page.read_text(encoding="utf-8").partition("<!-- figures -->")
    _, end, after = after.partition("<!-- end -->")
    text = "\n".join([before + mark, "", *lines, "", note, "", end]) + after
    options.page.write_text(text, encoding="utf-8")


def summary(values: Sequence[float]) -> str:
    """Mean and worst of the seeds."""
    return f"{statistics.mean(values):.1%} (worst {min(values):.1%})".replace("%", " %")


if __name__ == "__main__":
    main()

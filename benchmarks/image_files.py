"""Work for the benchmarks: image files and captions, the user's own or made here."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cospace.data.pairs import Pairs
from cospace.data.prepared import different_items
from cospace.modalities.image.decoding import decode

SEED = 0


def first_rows(pairs: Pairs, rows: int) -> Pairs:
    """At most so many pairs, each of another image as far as there are."""
    _, first = np.unique(pairs.keys["image"], return_index=True)
    others = np.setdiff1d(np.arange(len(pairs)), first)
    return pairs.select(np.concatenate([np.sort(first), others])[:rows])


def some_images(pairs: Pairs, count: int) -> Pairs:
    """All pairs of at most ``count`` images, evenly spaced."""
    images = np.unique(pairs.keys["image"])
    if len(images) <= count:
        return pairs
    chosen = images[np.linspace(0, len(images) - 1, count).astype(int)]
    return pairs.select(np.flatnonzero(np.isin(pairs.keys["image"], chosen)))


def captions_of(pairs: Pairs) -> list[str]:
    """The different captions."""
    return [str(text) for text in different_items(pairs, "text")[0]]


def write_images(pairs: Pairs, folder: Path, count: int, sides: tuple[int, int], suffix: str = ".jpg") -> list[Path]:
    """Image files of ``sides`` (width, height): the pairs' own images, resized and with some grain.

    Grain, because an image that was enlarged, or drawn, is smooth: a JPEG of it is decoded faster than a photograph.
    """
    folder.mkdir(parents=True, exist_ok=True)
    raws = different_items(pairs, "image")[0]
    dice = np.random.default_rng(SEED)
    paths = []
    for number in range(count):
        resized = Image.fromarray(decode(raws[number % len(raws)])).resize(sides, Image.Resampling.BICUBIC)
        grain = dice.normal(0, 6, (sides[1], sides[0], 1))
        pixels = np.clip(np.asarray(resized, np.float32) + grain, 0, 255).astype(np.uint8)
        paths.append(folder / f"{number:05d}{suffix}")
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


def write_table(pairs: Pairs, folder: Path) -> Path:
    """The pairs as OpenCLIP reads them by default: tab-separated ``filepath`` and ``title``, paths absolute.

    Images that are no files are written as PNG.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "pairs.tsv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["filepath", "title"])
        for row, path in enumerate(files_of(pairs, folder)):
            writer.writerow([path, pairs.items["text"][row]])
    return table


def files_of(pairs: Pairs, folder: Path) -> Sequence[Path]:
    """The image file of every row."""
    paths: dict[int, Path] = {}
    for row, key in enumerate(pairs.keys["image"].tolist()):
        raw = pairs.items["image"][row]
        if key in paths:
            continue
        if isinstance(raw, Path):
            paths[key] = raw.resolve()
        else:
            paths[key] = (folder / f"{key:06d}.png").resolve()
            Image.fromarray(decode(raw)).save(paths[key])
    return [paths[key] for key in pairs.keys["image"].tolist()]

"""Does `cospace check` find what is wrong, and nothing else? Forty kinds of damage planted in a table of photographs.

    python benchmarks/planted.py flickr1k/train.csv

TABLE has columns image and text and several captions an image, in which nothing is wrong. The rows of its first images
stay as they are; each of the others gives its photograph and its caption to one damage. What `check` reports of every
row is compared with what was done to it: precision and recall of each key, and of each damage how much was found.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from cospace.commands.check import AUTO, CheckArguments, check_pairs

EACH = 7
"""Rows of each damage."""
SHARED = 12
"""Rows with the same words added: they are boilerplate because many have them."""
ROWS = 2_000


def main() -> None:
    """Plant, check, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="a csv of photographs with captions")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        planted = Planted(Path(folder), options.table, options.seed)
        reported = planted.checked()
        print(planted.table_of(reported))


JPEG = Callable[[Image.Image], bytes]


def jpeg(image: Image.Image, quality: int = 92) -> bytes:
    """Encoded."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def animated(image: Image.Image) -> bytes:
    """A GIF of three frames."""
    buffer = io.BytesIO()
    frames = [image.rotate(turn).quantize() for turn in (0, 5, 10)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=100)
    return buffer.getvalue()


def grain(image: Image.Image) -> bytes:
    """One grey with noise."""
    level = np.asarray(image.convert("L")).mean()
    noise = np.random.default_rng(int(level * 1000)).normal(level, 2, (120, 160, 3))
    return jpeg(Image.fromarray(noise.clip(0, 255).astype(np.uint8)))


def faded(image: Image.Image) -> bytes:
    """Nearly white."""
    return jpeg(Image.fromarray((215 + 40 * (np.asarray(image.convert("RGB")) / 255)).astype(np.uint8)))


def cropped(image: Image.Image) -> Image.Image:
    """Without 3 % at each side."""
    across, down = round(image.width * 0.03), round(image.height * 0.03)
    return image.crop((across, down, image.width - across, image.height - down))


COPIES: dict[str, JPEG] = {
    "re-encoded": lambda image: jpeg(image, 30),
    "half size": lambda image: jpeg(image.resize((image.width // 2, image.height // 2))),
    "twice the size": lambda image: jpeg(image.resize((image.width * 2, image.height * 2))),
    "mirrored": lambda image: jpeg(ImageOps.mirror(image)),
    "cropped": lambda image: jpeg(cropped(image)),
    "grey": lambda image: jpeg(image.convert("L")),
    "lighter": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(1.05)),
}
"""Copies of images that stay: near_duplicates."""

IMAGES: dict[str, tuple[str, JPEG]] = {
    "empty file": ("empty", lambda image: b""),
    "cut short": ("truncated", lambda image: jpeg(image)[:-900]),
    "a text": ("undecodable", lambda image: b"this is no picture at all, whatever its name says " * 9),
    "tiny": ("tiny", lambda image: jpeg(image.resize((10, 8)))),
    "one colour": ("blank", lambda image: jpeg(Image.new("RGB", image.size, image.resize((1, 1)).getpixel((0, 0))))),
    "grain": ("blank", grain),
    "dark": ("dark", lambda image: jpeg(ImageEnhance.Brightness(image).enhance(0.15))),
    "faded": ("bright", faded),
    "out of focus": ("blurred", lambda image: jpeg(image.filter(ImageFilter.GaussianBlur(5)))),
    "enlarged": ("blurred", lambda image: jpeg(image.resize((25, 25)).resize((200, 200), Image.Resampling.BICUBIC))),
    "a strip": ("extreme_aspect", lambda image: jpeg(image.crop((0, 60, image.width, 60 + image.width // 8)))),
    "animated": ("animated", animated),
    "low contrast": ("low_contrast", lambda image: jpeg(
        Image.fromarray((110 + 30 * (np.asarray(image.convert("RGB")) / 255)).astype(np.uint8)))),
}  # fmt: skip
"""Images that are damaged, with the key of what is found."""

TEXTS: dict[str, tuple[str, Callable[[str, int], str]]] = {
    "no caption": ("empty_text", lambda text, n: ""),
    "spaces": ("empty_text", lambda text, n: "   "),
    "mojibake": ("wrong_encoding", lambda text, n: f"{text[:-1]}beside a cafÃ©, donâ€™t you see"),
    "entities": ("wrong_encoding", lambda text, n: f"{text[:-1]} &amp; the &quot;rest&quot;"),
    "tags": ("markup", lambda text, n: f"<p>{text}</p>"),
    "an address": ("markup", lambda text, n: f"https://example.com/photo/{n}"),
    "German": ("wrong_language", lambda text, n: f"ein Hund läuft am Strand und die Kinder sehen ihm zu, Bild {n}"),
    "French": ("wrong_language", lambda text, n: f"deux enfants jouent dans la neige avec leur chien, numéro {n}"),
    "Russian": ("wrong_language", lambda text, n: f"собака бежит по берегу моря {n}"),
    "Chinese": ("wrong_language", lambda text, n: f"一只狗在海边奔跑 {n}"),
    "too long": ("over_long", lambda text, n: " ".join([text] * 9)),
    "empty talk": ("boilerplate", lambda text, n: ("untitled", "no description", "image", "photo", "N/A")[n % 5]),
    "a file's name": ("boilerplate", lambda text, n: f"IMG_{2000 + n}.JPG"),
    "a shop's line": ("boilerplate", lambda text, n: f"{text[:-1]}- Stock Photo by Jane Doe"),
}
"""Captions that are damaged, with the key of what is found."""


class Planted:
    """The table with its damage, and what was done to which row."""

    def __init__(self, folder: Path, table: Path, seed: int) -> None:
        self.folder, self._dice = folder, random.Random(seed)
        captions: dict[str, list[str]] = defaultdict(list)
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                captions[row["image"]].append(row["text"])
        self._source = table.parent
        images = list(captions)
        self._dice.shuffle(images)
        self.rows: list[tuple[str, str]] = []
        self.done: dict[int, tuple[str, str]] = {}
        """By number of the row: the damage, and the key that it should be found under."""
        count = ROWS - EACH * (len(COPIES) + len(IMAGES) + len(TEXTS) + 4)
        while images and len(self.rows) + len(captions[images[-1]]) <= count:
            name = images.pop()
            for text in captions[name]:
                self._add(self._copied(name), text)
        self._kept, self._left, self._captions = len(self.rows), images, captions
        self.val: list[tuple[str, str]] = []
        self._plant()

    def _plant(self) -> None:
        for damage, make in COPIES.items():
            for name, text in self._dice.sample(self.rows[: self._kept], EACH):
                self._add(self._written(make(self._image(name))), text, damage, "near_duplicates")
        for damage, (key, make) in IMAGES.items():
            for name in self._others():
                self._add(self._written(make(self._image(self._copied(name)))), self._captions[name][0], damage, key)
        for damage, (key, change) in TEXTS.items():
            for number, name in enumerate(self._others(SHARED if damage == "a shop's line" else EACH)):
                self._add(self._copied(name), change(self._captions[name][0], number), damage, key)
        for name in self._others():
            self._add(f"nowhere/{name}", self._captions[name][0], "missing", "missing")
        for name in self._others():
            self._add(
                f"https://example.com/{Path(name).name}", self._captions[name][0], "an address as path", "address"
            )
        for name, text in self._dice.sample(self.rows[: self._kept], EACH):
            copy = self._written((self.folder / name).read_bytes())
            self._add(copy, text, "copied", "duplicate_images")
        for number, name in enumerate(self._others()):
            kind = ("leaked", "near_leaked")[number % 2]
            image = self._copied(name)
            again = (self.folder / image).read_bytes() if kind == "leaked" else jpeg(self._image(image), 40)
            self.val.append((self._written(again), self._captions[name][1]))
            self._add(image, self._captions[name][0], kind, kind)
        chosen = self._dice.sample(range(0, self._kept, 5), 2 * EACH)  # of images that have four right captions left
        captions = [self.rows[row][1] for row in chosen]
        for row, text in zip(chosen, captions[1:] + captions[:1], strict=True):
            self.rows[row], self.done[row] = (self.rows[row][0], text), ("exchanged", "wrong_pairs")
        self.val += [(self._copied(name), self._captions[name][0]) for name in self._left[:40]]

    def _others(self, count: int = EACH) -> list[str]:
        taken, self._left = self._left[:count], self._left[count:]
        if len(taken) < count:
            raise SystemExit("the table has too few images")
        return taken

    def _image(self, name: str) -> Image.Image:
        return Image.open(self.folder / name).convert("RGB")

    def _copied(self, name: str) -> str:
        target = self.folder / Path(name).name
        if not target.exists():
            target.write_bytes((self._source / name).read_bytes())
        return target.name

    def _written(self, data: bytes) -> str:
        name = f"other{len(list(self.folder.iterdir())):05d}.jpg"
        (self.folder / name).write_bytes(data)
        return name

    def _add(self, image: str, text: str, damage: str = "", key: str = "") -> None:
        if damage:
            self.done[len(self.rows)] = (damage, key)
        self.rows.append((image, text))

    def checked(self) -> dict[int, set[str]]:
        """By number of the row the keys under which `check` reports it."""
        for name, rows in (("train.csv", self.rows), ("val.csv", self.val)):
            with (self.folder / name).open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("image", "text"), *rows])
        asked = CheckArguments(self.folder / "train.csv", self.folder / "val.csv", judge=AUTO)
        checked = check_pairs(asked)
        found: dict[int, set[str]] = defaultdict(set)
        for problem in checked.pairs.problems:
            key = {"empty caption": "empty_text"}.get(problem.kind, problem.kind.replace(" ", "_"))
            found[int(problem.id.rpartition(":")[2]) - 2].add(key)
        for finding in checked.findings:
            copies = finding.mark in "=~" and finding.kind != "contradictory_labels"
            for row in (
                finding.rows if copies else (row for group, _, _ in finding.each(checked.pairs) for row in group)
            ):
                found[int(checked.pairs.place(row).rpartition(":")[2]) - 2].add(finding.kind)
        return found

    def table_of(self, reported: dict[int, set[str]]) -> str:
        """Precision and recall of every key, and how much of every damage was found."""
        lines = ["| key | reported | precision | recall | of each damage |", "|---|---|---|---|---|"]
        for key in dict.fromkeys(key for _, key in self.done.values()):
            planted = {row for row, (_, expected) in self.done.items() if expected == key}
            rows = {row for row, keys in reported.items() if key in keys}
            right = len(rows & planted)
            of_each = Counter(self.done[row][0] for row in rows & planted)
            totals = Counter(self.done[row][0] for row in planted)
            parts = ", ".join(f"{damage} {of_each[damage]}/{count}" for damage, count in totals.items())
            precision = right / len(rows) if rows else 0.0
            lines.append(f"| {key} | {len(rows)} | {precision:.3f} | {right / len(planted):.3f} | {parts} |")
        others = Counter(key for row, keys in reported.items() for key in keys
                         if key not in {expected for _, expected in self.done.values()})  # fmt: skip
        kinds = len({damage for damage, _ in self.done.values()})
        alarms = [(row, sorted(keys)) for row, keys in sorted(reported.items()) if row not in self.done]
        return "\n".join([*lines, "", f"{len(self.rows):,} rows, {kinds} kinds of damage; other keys: {dict(others)}",
                          f"rows in which nothing is wrong and that are reported: {alarms}"])  # fmt: skip


if __name__ == "__main__":
    main()

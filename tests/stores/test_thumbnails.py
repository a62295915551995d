"""Small pictures: what they look like, and that they are there when they are said to be."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cospace.preprocess import BadImage
from cospace.stores.thumbnails import SIZES, LocalThumbnails, at_size, small_pictures
from cospace.types import UserError


def opened(webp: bytes) -> Image.Image:
    with Image.open(io.BytesIO(webp), formats=("WEBP",)) as picture:
        return picture.convert("RGB")


def encoded(picture: Image.Image, format: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **settings)
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------ what they look like


@settings(max_examples=60)
@given(st.integers(1, 700), st.integers(1, 700))
def test_the_longer_side_fits_and_nothing_is_enlarged(height: int, width: int) -> None:
    small, _ = small_pictures(np.full((height, width, 3), 90, np.uint8))
    assert set(small) == set(SIZES)
    for size, webp in small.items():
        made = opened(webp).size
        assert max(made) == min(size, max(height, width))
        scale = max(made) / max(height, width)
        assert made == pytest.approx((max(1, width * scale), max(1, height * scale)), abs=1.1), "proportions stay"


def test_the_mean_colour_is_of_the_whole_picture() -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, :100] = (255, 0, 0)
    pixels[:, 200:] = (0, 0, 255)
    rgb = small_pictures(pixels)[1]
    assert (rgb >> 16, rgb >> 8 & 255, rgb & 255) == pytest.approx((85, 0, 85), abs=3)


def test_pictures_are_upright_and_on_white() -> None:
    lying = Image.new("RGB", (80, 40), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by a quarter
    assert opened(at_size(encoded(lying, "JPEG", exif=exif), 64)).size == (32, 64)
    clear = opened(at_size(encoded(Image.new("RGBA", (20, 20), (0, 0, 0, 0)), "PNG"), 64))
    assert min(clear.getpixel((10, 10))) > 250  # type: ignore[type-var]


def test_larger_ones_are_made_of_the_source() -> None:
    photo = encoded(Image.effect_noise((900, 600), 50).convert("RGB"), "JPEG")
    made = [opened(at_size(photo, size)).size for size in (64, 512, 1280)]
    assert made[1:] == [(512, 341), (900, 600)]
    assert made[0] in [(64, 42), (64, 43)], "from an eighth of the picture, whose sides are rounded"
    with pytest.raises(BadImage):
        at_size(b"no picture", 64)


# ------------------------------------------------------------------------------------------------ where they are kept


def test_what_is_added_is_there_for_everyone(tmp_path: Path) -> None:
    written, read = (LocalThumbnails.open(tmp_path / "small.sqlite") for _ in range(2))
    assert (read.get("a", 64), read.known(["a"])) == (None, set()), "a file that is not there yet holds nothing"
    written.add([("a", 64, b"1"), ("a", 256, b"2"), ("b", 64, b"3")])
    assert (read.get("a", 64), read.get("a", 256), read.get("a", 512)) == (b"1", b"2", None)
    assert read.known(["a", "b", "c"]) == {"a"}, "b lacks a size"
    written.add([("a", 64, b"4"), ("b", 256, b"5")])
    assert read.get("a", 64) == b"4"
    assert read.known(["a", "b", "c"]) == {"a", "b"}
    written.remove(["a"])
    assert (read.get("a", 64), read.known(["a", "b"])) == (None, {"b"})
    many = [f"{number:05d}" for number in range(2_345)]
    written.add([(name, size, b"x") for name in many for size in SIZES])
    assert read.known([*many, "none"]) == set(many)


WRITER = """
import sys
from pathlib import Path
from cospace.stores.thumbnails import LocalThumbnails
store = LocalThumbnails.open(Path(sys.argv[1]))
for number in range(100_000):
    store.add([(f"{number}-{place}", size, b"x" * 500) for place in range(20) for size in (64, 256)])
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill_and_is_read_meanwhile(tmp_path: Path) -> None:
    path, told = tmp_path / "small.sqlite", 0
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        store, failures = LocalThumbnails.open(path), []
        writer.stdout.readline()

        def read(store: LocalThumbnails = store, failures: list[object] = failures) -> None:
            for _ in range(200):
                found = store.get("0-0", 64), len(store.known([f"0-{place}" for place in range(20)]))
                if found != (b"x" * 500, 20):
                    failures.append(found)

        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        writer.send_signal(signal.SIGKILL)
        told = max(int(line) for line in ["0", *writer.stdout.read().split()])
        writer.wait()
        assert failures == []
        every = [f"{number}-{place}" for number in range(told + 1) for place in range(20)]
        assert LocalThumbnails.open(path).known(every) == set(every)
    assert told > 3, "the writer got somewhere"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "small.sqlite").write_bytes(b"not a database at all" * 300)
    store = LocalThumbnails.open(tmp_path / "small.sqlite")
    with pytest.raises(UserError, match="small.sqlite.*delete it"):
        store.get("a", 64)
    with pytest.raises(UserError, match="small.sqlite.*delete it"):
        store.add([("a", 64, b"1")])

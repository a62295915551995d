"""Twice as much of anything odd takes about twice as long, not four times: columns, lines, files, keys."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cospace.config import unknown
from cospace.data.pairs import open_pairs
from cospace.data.sources._survey import survey
from cospace.types import UserError


def wide(folder: Path, n: int) -> Path:
    path = folder / f"wide{n}.csv"
    names = ",".join(["image", "text", *(f"c{i}" for i in range(n))])
    path.write_text(f"{names}\n" + f"a.png,a thing,{','.join('1' * n)}\n" * 2)
    return path


def wide_objects(folder: Path, n: int) -> Path:
    path = folder / f"wide{n}.jsonl"
    path.write_text(json.dumps({"image": "a.png", "text": "a thing", **{f"c{i}": 1 for i in range(n)}}) + "\n")
    return path


def long_line(folder: Path, n: int) -> Path:
    path = folder / f"long{n}.csv"
    x, y = "x" * n * 50, 'y""' * n * 10
    path.write_text(f'image,text\na.png,{x}\na.png,"{y}"\na.png,"open {x}\n')
    return path


def other_keys(folder: Path, n: int) -> Path:
    path = folder / f"keys{n}.jsonl"
    path.write_text("".join(json.dumps({"image": "a.png", "text": "a thing", f"k{i}": i}) + "\n" for i in range(n)))
    return path


def many_files(folder: Path, n: int) -> Path:
    place = folder / f"many{n}"
    place.mkdir()
    for number in range(n // 4):
        (place / f"{number}.jpg").touch()
    return place


def spent(path: Path) -> float:
    began = time.process_time()
    with suppress(UserError):
        survey(path) if path.is_dir() else open_pairs(path)
    return time.process_time() - began


@pytest.mark.parametrize("make", [wide, wide_objects, long_line, other_keys, many_files], ids=lambda f: f.__name__)
def test_four_times_as_much_takes_no_sixteen_times_as_long(make: Callable[[Path, int], Path], tmp_path: Path) -> None:
    small, large = make(tmp_path, 2_500), make(tmp_path, 10_000)
    spent(small)
    assert min(spent(large), spent(large)) < 10 * max(min(spent(small), spent(small)), 0.02)


def test_a_sentence_about_very_many_names_is_short() -> None:
    assert len(unknown("x" * 100_000, [f"column {i}" for i in range(100_000)])) < 5_000

"""docs/python.md: what it shows is run, block by block, in one session."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

import cospace
from conftest import COLOURS, SHAPES, TINY, write_shapes

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def blocks() -> list[str]:
    """The page's Python, in order."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = list(csv.DictReader(write_shapes(tmp_path, 6).open(encoding="utf-8")))
    (tmp_path / "images").rename(tmp_path / "pictures")
    with (tmp_path / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["image", "text", "colour"])
        writer.writeheader()
        for row in rows:
            path = row["image"].replace("images/", "pictures/")
            writer.writerow({"image": path, "text": row["text"], "colour": row["text"].split()[1]})
    assert set(COLOURS) > {"red"} and set(SHAPES) == {"circle", "square"}
    names: dict[str, Any] = {"first_image": str(tmp_path / "pictures" / "red-circle-0.png")}
    whole = cospace.train

    def small(*given: Any, overrides: Any = (), **named: Any) -> Any:
        return whole(*given, overrides=[*TINY, *overrides], **named)

    monkeypatch.setattr(cospace, "train", small, raising=False)
    assert len(blocks()) >= 8
    for block in blocks():
        exec(compile(block, str(PAGE), "exec"), names)
    assert [one.id for one in names["same"]] == [one.id for one in names["circles"]][:3]
    assert {one.extras["colour"] for one in names["red_only"]} == {"red"}
    assert not {one.id for one in names["better"]} & set(names["wrong"])
    assert (tmp_path / "table.csv").read_text().count("\n") == 49
    assert sum(names["found"].class_counts().values()) == 48

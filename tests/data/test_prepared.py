"""Preparing: each item once, and broken ones set aside with all of their rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import write_shapes
from cospace.data.pairs import Pairs, build, open_pairs
from cospace.data.prepared import PreparedPairs, prepare_pairs
from cospace.data.sources import Rows
from cospace.modalities import _prepared
from cospace.modalities.image.processing import ImageProcessor
from cospace.types import UserError

PROCESSOR = ImageProcessor(size=8)


def image(number: int) -> np.ndarray:
    return np.full((2, 2, 3), (number % 256, number // 256 % 256, 7), np.uint8)


def made(images: list[int], captions: list[int]) -> Pairs:
    """Pairs by the numbers of their images and captions; equal numbers are equal content."""
    items = {"image": [image(n) for n in images], "text": [f"caption {n}" for n in captions]}
    return build("made", Rows([f"row{i}" for i in range(len(images))], items))


def images_of(prepared: PreparedPairs) -> tuple[Pairs, torch.Tensor, np.ndarray]:
    """The pairs that are left, their prepared images, and the image of every row."""
    return prepared.pairs, prepared.items["image"], prepared.item_of_row["image"]


def test_every_picture_is_decoded_once_and_found_by_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = made([5, 3, 5, 9, 3], [0, 1, 2, 3, 4])
    calls: list[int] = []
    real = ImageProcessor.prepare
    monkeypatch.setattr(ImageProcessor, "prepare", lambda self, raw: (calls.append(1), real(self, raw))[1])
    kept, images_N3SS, item_of_row = images_of(prepare_pairs(pairs, {"image": PROCESSOR}))
    assert kept is pairs
    assert len(calls) == len(images_N3SS) == 3
    for row, number in enumerate((5, 3, 5, 9, 3)):
        assert images_N3SS[item_of_row[row]].unique().tolist() == sorted({number, 0, 7})


def test_broken_pictures_are_set_aside_with_all_of_their_rows(tmp_path: Path) -> None:
    table = write_shapes(tmp_path, 4)
    text = table.read_text() + "images/red-circle-0.png,another caption\n"
    table.write_text(text)
    broken = tmp_path / "images" / "red-circle-0.png"
    broken.write_bytes(broken.read_bytes()[:60])
    pairs = open_pairs(table)
    kept, images_N3SS, item_of_row = images_of(prepare_pairs(pairs, {"image": PROCESSOR}))
    assert len(kept) == len(pairs) - 2 == len(item_of_row)
    assert {problem.id for problem in kept.problems} == {"pairs.csv:2", "pairs.csv:34"}
    assert {problem.kind for problem in kept.problems} == {"truncated"}
    for row in range(len(kept)):
        expected = PROCESSOR.prepare(kept.items["image"][row])
        assert (images_N3SS[item_of_row[row]] == expected).all(), "rows still find their own pictures"
    with pytest.raises(UserError, match="2 truncated"):
        kept.stop_above(0.01)


def test_what_does_not_fit_in_memory_goes_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = made(list(range(30)), list(range(30)))
    inside = prepare_pairs(pairs, {"image": PROCESSOR}, spill=tmp_path / "cache" / "a")
    assert not list(tmp_path.rglob("*.npy"))
    monkeypatch.setattr(_prepared, "MEMORY", 100)
    outside = prepare_pairs(pairs, {"image": PROCESSOR}, spill=tmp_path / "cache" / "a")
    assert (tmp_path / "cache" / "a-image.npy").stat().st_size > 30 * 3 * 8 * 8
    assert (inside.items["image"] == outside.items["image"]).all()


def test_progress_ends_at_the_end() -> None:
    seen: list[tuple[str, int, int]] = []
    pairs = made(list(range(150)), list(range(150)))
    prepare_pairs(pairs, {"image": PROCESSOR}, lambda *step: seen.append(step))
    assert [done for _, done, _ in seen] == [64, 128, 150]
    assert {total for _, _, total in seen} == {150}

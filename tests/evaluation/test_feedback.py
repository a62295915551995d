"""Learning from marks: what is right rises, whatever the query was; few marks move little, a wrong space is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cospace.evaluation.feedback import ENOUGH, learn
from cospace.evaluation.taught import SavedClass, as_file, parse_saved
from cospace.types import UserError


def world(seed: int = 0, items: int = 600, width: int = 32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors of six clusters beside each other, which cluster each is of, and a text near two of them."""
    dice = np.random.default_rng(seed)
    centres = dice.normal(size=(6, width))
    kinds = np.arange(items) % 6
    rows = 3 * dice.normal(size=width) + centres[kinds] + 0.7 * dice.normal(size=(items, width))
    query = centres[0] + 0.9 * centres[1] + dice.normal(size=width) - 3 * dice.normal(size=width)
    unit = lambda rows: (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)  # noqa: E731
    return unit(rows), kinds, unit(query)


def precision(direction: np.ndarray, items: np.ndarray, right: np.ndarray, seen: list[int], k: int = 20) -> float:
    scores = items @ direction
    scores[seen] = -9
    return float(right[np.argsort(-scores)[:k]].mean())


@pytest.mark.parametrize("seed", range(4))
def test_marks_raise_the_precision_among_what_nobody_has_seen(seed: int) -> None:
    items, kinds, query = world(seed)
    right = kinds == 0
    direction, seen, found = query, [], []
    for _ in range(4):
        found.append(precision(direction, items, right, seen))
        scores = items @ direction
        scores[seen] = -9
        seen += np.argsort(-scores)[:8].tolist()
        marked = np.array(seen)
        direction = learn(query, items[marked[right[marked]]], items[marked[~right[marked]]], items).direction_E
    assert found[-1] >= 0.9, found
    assert found[-1] > found[0] or found[0] == 1, found


def test_one_mark_moves_towards_it_and_away_from_it() -> None:
    items, _, query = world()
    some, none = items[3:4], items[:0]
    before = learn(query, none, none, items).direction_E
    np.testing.assert_allclose(before, query, atol=1e-5)
    towards, away = learn(query, some, none, items), learn(query, none, some, items)
    spread = lambda found: (items[3] @ found - (items @ found).mean()) / (items @ found).std()  # noqa: E731
    assert spread(towards.direction_E) > spread(before) > spread(away.direction_E)
    np.testing.assert_allclose(np.linalg.norm(towards.direction_E), 1, rtol=1e-5)


def test_marks_alone_are_enough() -> None:
    items, kinds, _ = world()
    learned = learn(None, items[kinds == 2][:5], items[kinds != 2][:5], items)
    assert precision(learned.direction_E, items, kinds == 2, []) >= 0.9


def test_the_threshold_parts_right_from_wrong() -> None:
    items, kinds, query = world()
    right, wrong = items[kinds == 0][:10], items[kinds != 0][:20]
    learned = learn(query, right, wrong, items)
    saved = SavedClass("zeros", "image", "f", learned.direction_E, learned.threshold)
    assert saved.contains(right).mean() >= 0.9
    assert saved.contains(wrong).mean() <= 0.1
    inside = saved.contains(items)
    assert (kinds[inside] == 0).mean() > 0.8
    assert inside[kinds == 0].mean() > 0.8
    assert ENOUGH > 1


def test_a_saved_class_comes_back_as_it_was(tmp_path: Path) -> None:
    saved = SavedClass(
        "zeros", "image", "f", np.eye(4, dtype=np.float32)[0], 0.25, 3, "a zero", ("a",), ("b", "c"),
        ({"image": "/a.png", "text": "zeros"},),
    )  # fmt: skip
    again = parse_saved(as_file(saved), tmp_path / "zeros.json")
    np.testing.assert_array_equal(again.direction_E, saved.direction_E)
    assert again.to_json() == saved.to_json()
    with pytest.raises(UserError, match="damaged"):
        parse_saved(as_file(saved).replace(b"0.25", b"0.35"), tmp_path / "zeros.json")
    with pytest.raises(UserError, match="damaged"):
        parse_saved(b'{"a": 1}', tmp_path / "zeros.json")

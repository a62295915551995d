"""Features that nobody trained: what is alike is near, whatever the number of items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cospace.modalities import _descriptors, modality


def tone(hertz: float, seed: int) -> tuple[np.ndarray, int]:
    noise = np.random.default_rng(seed).normal(0, 0.01, 8_000)
    return (np.sin(2 * np.pi * hertz / 16_000 * np.arange(8_000)) + noise).astype(np.float32), 16_000


def stripes(across: bool, seed: int) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 40, (48, 48, 3))
    image[::6] += 200
    return (image if across else image.transpose(1, 0, 2)).astype(np.uint8)


KINDS: dict[str, tuple[list[Any], list[Any]]] = {
    "audio": ([tone(300, n) for n in range(8)], [tone(2_000, n) for n in range(8)]),
    "image": ([stripes(True, n) for n in range(8)], [stripes(False, n) for n in range(8)]),
    "text": (
        [f"a dog in the park, {n}" for n in range(8)],
        [f"two ships at sea, {n}" for n in range(8)],
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_alike_is_near(name: str) -> None:
    one, other = KINDS[name]
    described = modality(name).descriptors([*one, *other])
    assert described is not None and not described.bad
    rows = np.asarray(described.items)
    assert rows.dtype == np.float32 and np.isfinite(rows).all()
    centers = rows[:8].mean(0), rows[8:].mean(0)
    nearer = np.linalg.norm(rows - centers[0], axis=1) < np.linalg.norm(rows - centers[1], axis=1)
    assert np.array_equal(nearer, np.arange(16) < 8)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_items_have_descriptors_too(name: str, count: int) -> None:
    described = modality(name).descriptors(KINDS[name][0][:count])
    assert described is not None and len(described.items) == count and np.isfinite(described.items).all()


def test_what_cannot_be_read_has_zeros() -> None:
    described = modality("image").descriptors([stripes(True, 0), b"no image", stripes(False, 0)])
    assert described is not None and list(described.bad) == [1]
    assert not np.any(described.items[1]) and np.any(described.items[2])


def test_items_beyond_the_sample_are_led_into_the_same_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32) @ np.diag([9, 7, 5, 1, 1, 1]).astype("f4")
    monkeypatch.setattr(_descriptors, "SAMPLE", 20)
    monkeypatch.setattr(_descriptors, "CHUNK", 8)
    found = _descriptors.reduced(lambda numbers: [rows[list(numbers)]], 50, 6)
    distances = np.linalg.norm(found[:, None] - found[None], axis=-1)
    expected = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    scale = distances[0, 1] / expected[0, 1]
    assert np.allclose(distances, scale * expected, atol=1e-3)

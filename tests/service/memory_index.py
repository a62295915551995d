"""An index in memory: what the map and the health of a space need of an index, without files or a model."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from cospace.models.calibration import Relevance
from cospace.stores import Condition, Found, Item


class MemoryIndex:
    """Items and their unit vectors; the index is its own store and keeps its own thumbnails."""

    def __init__(
        self, items: Sequence[Item], vectors_NE: np.ndarray, thumbnails: dict[str, bytes] | None = None
    ) -> None:
        self._items = list(items)
        self._vectors = (vectors_NE / np.linalg.norm(vectors_NE, axis=1, keepdims=True)).astype(np.float32)
        self._thumbnails = thumbnails or {}
        self.version, self.fingerprint, self.width = 3, "0123456789abcdef", vectors_NE.shape[1]
        self.space = SimpleNamespace(
            modalities=("image", "text"), width=self.width, truncated_from=None, calibration=None, relevance=Relevance()
        )
        self.relevance = self.space.relevance
        self.model_folder: Path | None = None

    @property
    def store(self) -> MemoryIndex:
        return self

    @property
    def thumbnails(self) -> MemoryIndex:
        return self

    def get(self, hash: str, size: int) -> bytes | None:
        assert size == 64
        return self._thumbnails.get(hash)

    def __len__(self) -> int:
        return len(self._items)

    def select(self, where: Sequence[Condition] = (), most: int | None = None, seed: int = 0) -> np.ndarray:
        fit = [number for number, item in enumerate(self._items) if all(_meets(item, part) for part in where)]
        return np.sort(np.random.default_rng(seed).permutation(np.array(fit, np.int64))[:most])

    def items(self, numbers: Sequence[int]) -> list[Item]:
        return [self._items[number] for number in numbers]

    def numbers(self, ids: Sequence[str]) -> np.ndarray:
        places = {item.id: number for number, item in enumerate(self._items)}
        return np.array([places.get(name, -1) for name in ids], np.int64)

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        return self._vectors[np.asarray(numbers)]

    def columns(self) -> dict[str, int]:
        names = [name for item in self._items for name in item.extras]
        return {name: names.count(name) for name in names}

    def nearest(self, queries_QE: np.ndarray, k: int, where: Sequence[Condition] = ()) -> Found:
        fit = self.select(where)
        score_QF = queries_QE @ self._vectors[fit].T
        best_QK = np.argsort(-score_QF, axis=1, kind="stable")[:, :k]
        return Found(fit[best_QK], np.take_along_axis(score_QF, best_QK, axis=1).astype(np.float32))

    def without(self, ids: Iterable[str]) -> MemoryIndex:
        gone = set(ids)
        keep = [number for number, item in enumerate(self._items) if item.id not in gone]
        return MemoryIndex([self._items[number] for number in keep], self._vectors[keep], self._thumbnails)


def _meets(item: Item, condition: Condition) -> bool:
    assert condition.relation == "="
    value = getattr(item, condition.column.lstrip("@"), None) or item.extras.get(condition.column, "")
    return value in condition.values


KINDS = ("dog", "cat", "boat", "bread", "tree", "clock", "chair", "train")


def animals(pairs: int = 400, width: int = 24, seed: int = 0, labels: bool = True) -> MemoryIndex:
    """Pairs of eight kinds: an image's vector and its caption's are near, and the modalities lie apart."""
    dice = np.random.default_rng(seed)
    kind_P = dice.integers(0, len(KINDS), pairs)
    centre_KE = dice.standard_normal((len(KINDS), width))
    thing_PE = 1.5 * centre_KE[kind_P] + 0.7 * dice.standard_normal((pairs, width))
    gap_E = 2 * dice.standard_normal(width)
    noise_2PE = 0.25 * dice.standard_normal((2, pairs, width))
    items: list[Item] = []
    for number in range(pairs):
        kind = KINDS[kind_P[number]]
        caption = f"a {kind} in the {dice.choice(['sun', 'rain', 'snow'])}"
        extras = {"label": kind} if labels else {}
        items.append(
            Item(f"{number:04d}.jpg", "image", f"{number:04d}.jpg", caption, f"{number:032x}", 60, 40, 0x808080, extras)
        )
    items += [
        Item(f"text/{item.id}", "text", "", item.text, f"text {item.text}", extras=item.extras)
        for item in items[:pairs]
    ]
    vectors = np.concatenate([thing_PE + gap_E + noise_2PE[0], thing_PE - gap_E + noise_2PE[1]])
    return MemoryIndex(items, vectors, {item.hash: webp(number) for number, item in enumerate(items[:pairs])})


def webp(number: int, size: tuple[int, int] = (60, 40)) -> bytes:
    """A small image of one colour that encodes its number: red and green are its digits to base 16."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (number % 16 * 16, number // 16 % 16 * 16, 128)).save(buffer, "WEBP", quality=90)
    return buffer.getvalue()

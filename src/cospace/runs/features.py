"""Pooled features of frozen encoders, computed once: kept by the content of the items, and shared by runs.

A part of the cache is a sealed folder with the features of some items; damage is noticed by its hashes, and a damaged
part is computed again. The oldest parts go where all of them take more than :data:`MOST`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import files, tensors
from ..data.contents import digest
from ..data.prepared import PreparedPairs
from ..modalities import modality as modality_of
from ..models.space import Space
from ..prefetch import prefetch
from ..runtime import compute_dtype
from ..types import BadItem, Progress, UserError, silent

MOST = 4 << 30
"""Bytes of features that a machine keeps."""


def pooled_features(
    space: Space, modality: str, prepared: PreparedPairs, fingerprint: str, progress: Progress = silent
) -> tuple[Tensor, np.ndarray]:
    """What the encoder pools of every item that a row has: float32 ``(N, D)``, and the numbers of these items ``(N,)``.

    ``fingerprint`` is a hash of everything that the features depend on beside the items.
    """
    item_of_row = prepared.item_of_row[modality]
    present = np.flatnonzero(item_of_row >= 0)
    items, first = np.unique(item_of_row[present], return_index=True)
    rows = present[first].tolist()
    keys = [digest([prepared.pairs.contents[modality][row].encode()]) for row in rows]

    def compute(missing: Sequence[int]) -> np.ndarray:
        wanted = [prepared.items[modality][int(items[place])] for place in missing]
        return _computed(space, modality, wanted, len(wanted), progress)

    return torch.from_numpy(_kept(f"{fingerprint}-{modality}", keys, compute)), items


def pooled_raws(
    space: Space, modality: str, raws: Sequence[Any], contents: Sequence[str], fingerprint: str, progress: Progress
) -> Tensor:
    """The same of raw items, float32 ``(N, D)``; ``contents`` are equal for equal items.

    Only what is not kept yet is decoded, and never more than a few at a time are in memory. What cannot be read after
    all, though its caller could, has the features of an example.
    """
    named = f"{fingerprint}-{modality}"
    return torch.from_numpy(_of_raws(space, modality, raws, contents, named, progress, Space.pooled_prepared))


def embedded_raws(
    space: Space, modality: str, raws: Sequence[Any], contents: Sequence[str], progress: Progress = silent
) -> np.ndarray:
    """Unit vectors of raw items in the space itself, float32 ``(N, E)``, kept in the same way.

    They are kept by the number format that they were computed in as well.
    """
    form = str(compute_dtype(space.precision, space.device)).removeprefix("torch.")
    named = f"{space.identity.replace('/', '-')}-{form}-embedded-{modality}"
    return _of_raws(space, modality, raws, contents, named, progress, Space.embed_prepared)


Make = Callable[[Space, str, Iterator[Tensor], Callable[[int, int], None], int], Iterator[np.ndarray]]
"""What is computed of prepared items, window by window: a method of a space."""


def _of_raws(
    space: Space,
    modality: str,
    raws: Sequence[Any],
    contents: Sequence[str],
    named: str,
    progress: Progress,
    make: Make,
) -> np.ndarray:
    keys = [digest([content.encode()]) for content in contents]
    processor = space.processors[modality]

    def compute(missing: Sequence[int]) -> np.ndarray:
        def whole() -> Iterator[Tensor]:
            for item in prefetch([raws[place] for place in missing], processor.prepare):
                yield processor.prepare(modality_of(modality).example()) if isinstance(item, BadItem) else item

        return _computed(space, modality, whole(), len(missing), progress, make)

    return _kept(named, keys, compute)


def pooled_texts(space: Space, modality: str, texts: Sequence[str], fingerprint: str) -> Tensor:
    """The same of texts that are no items: float32 ``(N, D)``."""
    keys = [digest([b"text", text.encode()]) for text in texts]

    def compute(missing: Sequence[int]) -> np.ndarray:
        processor = space.processors[modality]
        prepared = (processor.prepare(texts[place]) for place in missing)
        return _computed(space, modality, prepared, len(missing), silent)

    return torch.from_numpy(_kept(f"{fingerprint}-{modality}", keys, compute))


def _kept(name: str, keys: Sequence[str], compute: Callable[[Sequence[int]], np.ndarray]) -> np.ndarray:
    """Features by key, in order; ``compute`` makes those of the places that are not kept yet, and then they are."""
    folder = files.cache_folder() / "features" / name
    known = _read(folder)
    missing = [place for place, key in enumerate(keys) if key not in known]
    if missing:
        made = compute(missing)
        found = [keys[place] for place in missing]
        known |= dict(zip(found, made, strict=True))
        _write(folder, found, made)
    return np.stack([known[key] for key in keys])


def _computed(
    space: Space,
    modality: str,
    items: Iterable[Tensor],
    count: int,
    progress: Progress,
    make: Make = Space.pooled_prepared,
) -> np.ndarray:
    def report(done: int, total: int) -> None:
        progress(f"encoding {modality}s", done, total)

    return np.concatenate(list(make(space, modality, iter(items), report, count)))


def _read(folder: Path) -> dict[str, np.ndarray]:
    known: dict[str, np.ndarray] = {}
    for part in sorted(folder.glob("part-*")):
        try:
            files.verify(part)
            content = tensors.read(part / "features.safetensors")
            names = [bytes(key).decode("ascii") for key in content["keys"].numpy()]
            known |= dict(zip(names, content["features"].numpy(), strict=True))
        except (UserError, OSError, KeyError, ValueError):
            shutil.rmtree(part, ignore_errors=True)
    return known


def _write(folder: Path, keys: Sequence[str], features_ND: np.ndarray) -> None:
    """Keep what was computed; a disk that is full, or a cache that cannot be written, costs the next run its time."""
    content = {
        "keys": torch.tensor([list(key.encode("ascii")) for key in keys], dtype=torch.uint8),
        "features": torch.from_numpy(features_ND),
    }
    name = digest([key.encode() for key in keys])[:16]
    try:
        _make_room(folder.parent, features_ND.nbytes)
        files.write_folder(folder / f"part-{name}", {"features.safetensors": tensors.writer(content)})
    except OSError:
        return


def _make_room(cache: Path, wanted: int) -> None:
    parts = sorted(cache.glob("*/part-*"), key=lambda part: part.stat().st_mtime)
    sizes = [sum(file.stat().st_size for file in part.iterdir()) for part in parts]
    total = sum(sizes) + wanted
    for part, size in zip(parts, sizes, strict=True):
        if total <= MOST:
            return
        shutil.rmtree(part, ignore_errors=True)
        total -= size

"""The map of an index as the page draws it: places, classes and regions, and the sheets of its items' previews."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .. import files
from ..commands.search import SearchableIndex
from ..evaluation.layout import layout, nothing
from ..evaluation.maps import agreement
from ..evaluation.vectors import unit
from ..modalities import modality as modality_of
from ..reading import MALFORMED, read_bytes
from ..stores import of_modality
from ..types import UserError
from ._labels import names, regions

CELL, ACROSS = 64, 32
"""Pixels of a sprite's side, and sprites in a row of a sheet."""
SHEET = ACROSS * ACROSS
"""Sprites of a sheet."""
NO_CLASS = 255
"""What an item without a class has in the column of classes."""

_COLUMNS = ("<u4", "<u2", "<u2", "u1", "u1", "u1")
_READ = 20_000
_MARGIN = 0.02
_TRIED_IDS = 64


@dataclass(frozen=True, slots=True)
class FlatMap:
    """``header`` says what there is; ``columns`` are number, x, y, modality, class and cluster of every row.

    The rows are in an order drawn by a seed. Items of the modalities that ``header["previews"]`` lists have sprites:
    the first sheet holds the first of them in the order of rows, so that it is a fair sample; the sheets after it hold
    the others in Z-order of their places, so that what is seen together is fetched together.
    """

    header: dict[str, Any]
    columns: list[np.ndarray]

    def framed(self) -> bytes:
        """As the service sends it and the disk keeps it; see :func:`framed`."""
        return framed(self.header, self.columns)

    def save(self, path: Path) -> None:
        """Write the one file of the map, whole or not at all."""
        files.atomic_write(path, self.framed())

    @classmethod
    def load(cls, path: Path) -> FlatMap:
        """Read what :meth:`save` wrote; anything else is a :class:`UserError`."""
        content = read_bytes(path)
        try:
            length = int.from_bytes(content[:4], "little")
            header = json.loads(content[4 : 4 + length])
            at, columns = 4 + length, []
            for kind in _COLUMNS:
                columns.append(np.frombuffer(content, kind, header["n"], at))
                at += columns[-1].nbytes
        except MALFORMED as error:
            raise UserError(f"{path} is no map; delete it, and it is drawn again") from error
        if at != len(content):
            raise UserError(f"{path} has {len(content)} bytes where {at} are expected; delete it, it is drawn again")
        return cls(header, columns)

    def fits(self, collection: SearchableIndex) -> bool:
        """Whether its numbers mean what they meant when it was drawn; checked for some of them."""
        store = collection.store
        if "previews" not in self.header:  # drawn by an older version
            return False
        if (self.header["version"], self.header["fingerprint"]) != (store.version, store.fingerprint):
            return False
        return bool(self.header["check"] == _check(collection, self.columns[0]))

    def sprites(self) -> np.ndarray:
        """The row of every sprite, in the order of sprites."""
        _, x, y, modality, *_ = self.columns
        codes = [self.header["modalities"].index(name) for name in self.header["previews"]]
        rows = np.flatnonzero(np.isin(modality, codes))
        rest = rows[SHEET:]
        return np.concatenate([rows[:SHEET], rest[np.argsort(_z_order(x[rest], y[rest]), kind="stable")]])


def framed(header: Mapping[str, Any], columns: Sequence[np.ndarray]) -> bytes:
    """uint32 length of a JSON header, the header padded to a multiple of four, then the columns, little endian."""
    written = json.dumps(header, ensure_ascii=False, allow_nan=False).encode()
    written += b" " * (-len(written) % 4)
    return b"".join([len(written).to_bytes(4, "little"), written, *(column.tobytes() for column in columns)])


def kept_map(collection: SearchableIndex, folder: Path, check: Callable[[], None] = nothing) -> FlatMap:
    """The map in ``folder``, drawn anew where there is none for the collection's version. Takes seconds then.

    ``check`` is called now and then meanwhile; what it raises ends the work.
    """
    path = folder / f"map-{collection.store.version}.bin"
    if path.is_file():
        with suppress(UserError):
            found = FlatMap.load(path)
            if found.fits(collection):
                return found
    drawn = flat_map(collection, check=check)
    with suppress(OSError):  # a folder that cannot be written, or is full: it is drawn again after a restart
        for old in folder.glob("map-*.bin"):
            old.unlink(missing_ok=True)
        drawn.save(path)
    return drawn


def flat_map(
    collection: SearchableIndex, most: int = 1_000_000, seed: int = 0, check: Callable[[], None] = nothing
) -> FlatMap:
    """Lay out everything the collection holds, or ``most`` items of it drawn by ``seed``.

    Each modality is centred on its own mean: otherwise the gap between them would be all that the map shows.
    """
    numbers_N, modality_N, modalities, total = _rows(collection, most, seed)
    vectors_NE = unit(torch.from_numpy(collection.store.vectors(numbers_N))) if len(numbers_N) else torch.zeros(0, 2)
    for code in range(len(modalities)):
        own = torch.from_numpy(np.flatnonzero(modality_N == code))
        vectors_NE[own] -= vectors_NE[own].mean(0)
    places_N2 = layout(vectors_NE, torch.from_numpy(modality_N.astype(np.int64)), seed, check=check)
    check()
    agreed = agreement(vectors_NE, torch.from_numpy(places_N2), np.random.default_rng(seed)) if len(numbers_N) else 1.0
    grid_N2 = _quantised(places_N2)
    region_N = regions(places_N2, seed)
    classes, class_N = _classes(collection, numbers_N)
    previews = [name for name in modalities if modality_of(name).has_preview]
    sprites = int(np.isin(modality_N, [modalities.index(name) for name in previews]).sum())
    header = {
        "version": collection.store.version,
        "fingerprint": collection.store.fingerprint,
        "check": _check(collection, numbers_N),
        "n": len(numbers_N),
        "total": total,
        "modalities": modalities,
        "previews": previews,
        "classes": classes,
        "clusters": _clusters(collection, numbers_N, region_N, grid_N2),
        "agreement": round(agreed, 4),
        "sheets": -(-sprites // SHEET),
        "cell": CELL,
        "across": ACROSS,
    }
    values = (numbers_N, grid_N2[:, 0], grid_N2[:, 1], modality_N, class_N, region_N)
    return FlatMap(header, [column.astype(kind) for kind, column in zip(_COLUMNS, values, strict=True)])


def sheet(collection: SearchableIndex, flat: FlatMap, number: int) -> bytes:
    """A WebP of 2,048 pixels a side with the sprites of one sheet; the cell of an item without preview stays empty."""
    rows = flat.sprites()[number * SHEET : (number + 1) * SHEET] if number >= 0 else np.zeros(0, np.int64)
    if not len(rows):
        raise UserError(f"there is no sheet {number}; the map has {flat.header['sheets']}, counted from 0")
    whole = Image.new("RGBA", (ACROSS * CELL, ACROSS * CELL))
    for place, item in enumerate(collection.store.items(flat.columns[0][rows].tolist())):
        encoded = collection.thumbnails.get(item.hash, CELL)
        if encoded is None:
            continue
        with Image.open(io.BytesIO(encoded)) as preview:
            sprite = preview.convert("RGB")
        sprite.thumbnail((CELL, CELL))
        left = place % ACROSS * CELL + (CELL - sprite.width) // 2
        top = place // ACROSS * CELL + (CELL - sprite.height) // 2
        whole.paste(sprite, (left, top))
    buffer = io.BytesIO()
    whole.save(buffer, "WEBP", quality=82, method=2)
    return buffer.getvalue()


def _rows(collection: SearchableIndex, most: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[str], int]:
    """Numbers in an order drawn by ``seed``, the place of each one's modality among the names, all there are."""
    modalities: list[str] = []
    numbers, codes = [], []
    for modality in collection.space.modalities:
        found = collection.store.select([of_modality(modality)])
        if len(found):
            numbers.append(found)
            codes.append(np.full(len(found), len(modalities), np.uint8))
            modalities.append(modality)
    if not numbers:
        return np.zeros(0, np.int64), np.zeros(0, np.uint8), [], 0
    numbers_N, codes_N = np.concatenate(numbers), np.concatenate(codes)
    order = np.random.default_rng(seed).permutation(len(numbers_N))[:most]
    return numbers_N[order], codes_N[order], modalities, len(numbers_N)


def _quantised(places_N2: np.ndarray) -> np.ndarray:
    """uint16 places with a margin, both axes on one scale, the smaller one in the middle."""
    if not len(places_N2):
        return np.zeros((0, 2), np.uint16)
    low_2, high_2 = places_N2.min(0), places_N2.max(0)
    span = max(float((high_2 - low_2).max()), 1e-9) * (1 + 2 * _MARGIN)
    share_N2 = (places_N2 - (low_2 + high_2) / 2) / span + 0.5
    return np.asarray(np.clip(np.rint(share_N2 * 65535), 0, 65535).astype(np.uint16))


def _classes(collection: SearchableIndex, numbers_N: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Values of the column ``label``, the most frequent first, and which of them each row has."""
    if "label" not in collection.store.columns():
        return [], np.full(len(numbers_N), NO_CLASS, np.uint8)
    labels = [
        item.extras.get("label", "")
        for start in range(0, len(numbers_N), _READ)
        for item in collection.store.items(numbers_N[start : start + _READ].tolist())
    ]
    values, of_row_N, counts = np.unique(np.array(labels), return_inverse=True, return_counts=True)
    order = [place for place in np.argsort(-counts, kind="stable") if values[place]][:NO_CLASS]
    code_V = np.full(len(values), NO_CLASS, np.uint8)
    code_V[order] = np.arange(len(order))
    return [str(values[place]) for place in order], code_V[of_row_N]


def _clusters(
    collection: SearchableIndex, numbers_N: np.ndarray, region_N: np.ndarray, grid_N2: np.ndarray
) -> list[dict[str, Any]]:
    """Name and place of every region: where most of it is, on one of its own points."""
    texts = [item.text for item in collection.store.items(numbers_N[:_READ].tolist())]
    called = names(texts, region_N[:_READ])
    result = []
    for region in range(int(region_N.max()) + 1 if len(region_N) else 0):
        own_M2 = grid_N2[region_N == region].astype(np.float64)
        at = own_M2[np.square(own_M2 - np.median(own_M2, axis=0)).sum(1).argmin()] if len(own_M2) else np.zeros(2)
        label = called[region] if region < len(called) else ""
        result.append({"label": label, "x": int(at[0]), "y": int(at[1])})
    return result


def _check(collection: SearchableIndex, numbers_N: np.ndarray) -> str:
    """A hash of the ids of the first rows."""
    ids = [item.id for item in collection.store.items([int(number) for number in numbers_N[:_TRIED_IDS]])]
    return hashlib.blake2b("\0".join(ids).encode(errors="surrogatepass"), digest_size=8).hexdigest()


def _z_order(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bits of x and y in turn, y's above, so that near places have near keys."""

    def spread(value: np.ndarray) -> np.ndarray:
        bits = value.astype(np.uint32)
        for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
            bits = (bits | bits << np.uint32(shift)) & np.uint32(mask)
        return bits

    return np.asarray(spread(y) << np.uint32(1) | spread(x))

"""Put a space to work: embed into a file, index a collection, search it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .. import files
from ..config import unknown
from ..fusion.teller import Teller
from ..pairs import Pairs, open_pairs
from ..preprocess import BadImage
from ..space import Space, decoded
from ..stores import Hit, Item, of_modality, search
from ..stores.local import LocalIndex
from ..types import Lazy, Problem, Progress, UserError, silent
from .matching import CANDIDATES, evidence
from .model import Model
from .settings import unique_items

PART = 1024
"""Items that are embedded and stored at a time."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """Some items of one modality and their unit vectors ``(n, E)``."""

    items: list[Item]
    vectors_NE: np.ndarray


def read_input(spec: str | Path) -> Pairs | list[str]:
    """What to embed: pairs or pictures from any source, or the lines of a ``.txt`` file as texts."""
    path = Path(spec)
    if path.suffix.lower() == ".txt" and path.is_file():
        try:
            texts = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text; save it as UTF-8 with one text to a line") from error
        if not texts:
            raise UserError(f"{path} holds no text; write one text to a line")
        return texts
    return open_pairs(spec)


def embeddings(
    space: Space, source: Pairs | list[str], progress: Progress = silent, problems: list[Problem] | None = None
) -> Iterator[Embedding]:
    """Every different item of ``source`` with its vector, part by part; unreadable pictures go to ``problems``."""
    if isinstance(source, list):
        items = [Item(f"text/{number}", "text", "", text) for number, text in enumerate(source, 1)]
        yield from _parts(space, "text", items, source, progress, problems)
        return
    for modality in (m for m in space.modalities if m in source.items):
        raws, _, item_of_row = unique_items(source, modality)
        rows = np.unique(item_of_row, return_index=True)[1]
        items = [_item(source, modality, int(row)) for row in rows]
        yield from _parts(space, modality, items, raws, progress, problems)


def _item(pairs: Pairs, modality: str, row: int) -> Item:
    text = str(pairs.items["text"][row]) if "text" in pairs.items else ""
    if modality == "text":
        return Item(f"text/{pairs.ids[row]}", "text", "", text)
    raw = pairs.items[modality][row]
    path = str(raw.resolve()) if isinstance(raw, Path) else raw.key() if isinstance(raw, Lazy) else ""
    return Item(pairs.ids[row], modality, path, text)


def _parts(
    space: Space,
    modality: str,
    items: list[Item],
    raws: Sequence[Any],
    progress: Progress,
    problems: list[Problem] | None,
) -> Iterator[Embedding]:
    preparer = space.preparers[modality]
    for start in range(0, len(items), PART):
        kept, prepared = [], []
        for number, result in decoded(raws[start : start + PART], preparer):
            item = items[start + number]
            if not isinstance(result, BadImage):
                kept.append(item)
                prepared.append(result)
            elif problems is None:
                raise UserError(f"{item.id} cannot be read: {result}")
            else:
                problems.append(Problem(item.id, result.kind, result.reason))
        if kept:
            yield Embedding(kept, np.concatenate(list(space.embed_prepared(modality, iter(prepared)))))
        progress(f"embedding {modality}s", min(start + PART, len(items)), len(items))


class SearchableIndex:
    """A folder with vectors, what they stand for, and the model that made them; it needs no run to be searched."""

    def __init__(self, store: LocalIndex, space: Space, teller: Teller | None = None) -> None:
        self.store, self.space, self.teller = store, space, teller

    @classmethod
    def open(cls, folder: str | Path) -> SearchableIndex:
        """Read an index; vectors that another model made are refused."""
        folder = Path(folder)
        files.settle(folder / "model")
        if not (folder / "model").is_dir() or not (folder / "vectors").is_dir():
            raise UserError(f"{folder} is no index; make one with: cospace index RUN PICTURES --out {folder}")
        space = Space.load(folder / "model")
        store = LocalIndex.open(folder / "vectors", fingerprint=space.fingerprint)
        return cls(store, space, Teller.load(folder / "model", space))

    def search(
        self, text: str | None = None, image: Any = None, k: int = 10, find: str | None = None, rerank: bool = False
    ) -> list[Hit]:
        """The ``k`` items nearest to a text or a picture, best first.

        ``find`` chooses the modality of the results: pictures where the index holds any, otherwise texts. ``rerank``
        lets the decoder put the pictures found for a text, or the texts found for a picture, in order.
        """
        if (text is None) == (image is None):
            raise UserError("search by a text or by an image: give exactly one of the two")
        if k < 1:
            raise UserError(f"k must be at least 1; {k} was given")
        if text is not None and not text.strip():
            raise UserError("the search text is empty; type what you are looking for")
        if find is not None and find not in self.space.modalities:
            raise UserError(unknown(find, self.space.modalities, "this index holds no"))
        query = self.space.embed(text=[text]) if text is not None else self.space.embed(image=[image])
        wanted = max(k, CANDIDATES) if rerank else k
        for modality in [find] if find else ["image", "text"]:
            (hits,) = search(self.store, query, wanted, [of_modality(modality)])
            if hits:
                return (self._second_look(hits, text, image) if rerank else hits)[:k]
        return []

    def _second_look(self, hits: list[Hit], text: str | None, image: Any) -> list[Hit]:
        """The same hits, the likeliest by the decoder first; those that it cannot look at stay behind them."""
        if self.teller is None:
            raise UserError("this index's model has no decoder to look twice; train with tell=caption")
        seen: list[tuple[Hit, Tensor, str]] = []
        for hit in hits:
            raw, words = (hit.path, text) if image is None else (image, hit.text)
            if words and (hit.modality == "image") == (image is None):
                with suppress(BadImage):
                    seen.append((hit, self.space.preparers["image"].prepare(raw), words))
        if not seen:
            raise UserError("nothing found can be looked at again: search pictures by a text, or texts by a picture")
        pair_P2 = np.arange(len(seen))[:, None].repeat(2, 1)
        odds_P = self.teller.match(self.space, [row[1] for row in seen], [row[2] for row in seen], pair_P2)
        odds_P = evidence(self.space, odds_P, np.array([hit.score for hit, *_ in seen]))
        first = [seen[place][0] for place in np.argsort(-odds_P, kind="stable")]
        return first + [hit for hit in hits if hit not in first]


def build_index(
    model: Model, source: str | Path | Pairs, out: str | Path, bad_share: float = 0.01, progress: Progress = silent
) -> tuple[SearchableIndex, list[Problem]]:
    """Embed a collection into the folder ``out``; items already there are replaced by id.

    Returns the index and the items that were set aside; more than ``bad_share`` of them is a :class:`UserError`.
    """
    out = Path(out)
    pairs = open_pairs(source).stop_above(bad_share)
    problems: list[Problem] = []
    done = 0
    with _store(model, out) as store:
        for part in embeddings(model.space, pairs, progress, problems):
            store.add(part.items, part.vectors_NE)
            done += len(part.items)
            if len(problems) > max(1.0, bad_share * (done + len(problems))):
                pairs.without(problems).stop_above(bad_share)
    return SearchableIndex(store, model.space, model.teller), [*pairs.problems, *problems]


def _store(model: Model, out: Path) -> LocalIndex:
    """The store of an index, made with a copy of the model where there is none or its making was cut short."""
    fingerprint = str(model.space.fingerprint)
    if any((out / "vectors" / "versions").glob("*.json")):
        return LocalIndex.open(out / "vectors", fingerprint=fingerprint)
    files.settle(out / "model")
    if out.exists() and not {path.name for path in out.iterdir()} <= {"model", "vectors"}:
        raise UserError(f"{out} is not empty and holds no index; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    paths = [path for path in sorted(model.folder.rglob("*")) if path.is_file() and path.name != "MANIFEST.json"]
    files.write_folder(out / "model", {str(path.relative_to(model.folder)): path.read_bytes() for path in paths})
    return LocalIndex.create(out / "vectors", fingerprint, model.space.width)


def embed_to_file(
    model: Model, source: str | Path, out: str | Path, progress: Progress = silent
) -> tuple[int, list[Problem]]:
    """Write ids, modality, path, text and vectors of ``source`` to ``out``: ``.parquet`` or ``.npz``."""
    out = Path(out)
    if out.suffix not in (".parquet", ".npz"):
        raise UserError(f"cannot write {out.name}; name a file that ends in .parquet or .npz")
    problems: list[Problem] = []
    parts = list(embeddings(model.space, read_input(source), progress, problems))
    if not parts:
        raise UserError(f"{source} holds nothing that this model can embed ({', '.join(model.space.modalities)})")
    items = [item for part in parts for item in part.items]
    vectors_NE = np.concatenate([part.vectors_NE for part in parts])
    columns = {name: [getattr(item, name) for item in items] for name in ("id", "modality", "path", "text")}
    write = _write_parquet if out.suffix == ".parquet" else _write_npz
    files.atomic_write(out, lambda path: write(path, columns, vectors_NE, str(model.space.fingerprint)))
    return len(items), problems


def _write_parquet(path: Path, columns: dict[str, list[str]], vectors_NE: np.ndarray, fingerprint: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(vectors_NE.ravel()), vectors_NE.shape[1])
    table = pa.table({**columns, "embedding": vectors}).replace_schema_metadata({"cospace.model": fingerprint})
    pq.write_table(table, path)


def _write_npz(path: Path, columns: dict[str, list[str]], vectors_NE: np.ndarray, fingerprint: str) -> None:
    with path.open("wb") as file:
        arrays: dict[str, Any] = {name: np.array(values) for name, values in columns.items()}
        np.savez(file, embedding=vectors_NE, model=np.array(fingerprint), **arrays)

"""The warm heart of the service: the model, the index, and the order of items for a query.

Models run in one thread and searches in another, each doing together what waits (:mod:`batching`). Vectors of texts
and pictures that were asked for lately are kept, so that a change of weight encodes nothing. The index may change
under us: a new version is opened beside the old one, which still answers for the numbers it gave out.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..calibration import Matching
from ..config import unknown
from ..experiment.search import SearchableIndex
from ..preprocess import BadImage
from ..stores import Condition, Found, of_modality
from .asking import Part, Picture, Query
from .batching import Batcher
from .limits import Limits
from .mixing import Weighed
from .problems import Refusal
from .recent import Recent
from .snapshot import Snapshot, count
from .uploads import Upload, Uploads, read

KEPT_VECTORS = 1_000
KEPT_VERSIONS = 3
LOOK_AGAIN = 2.0
"""Seconds between two looks for a newer version of the index."""
GOOD, WEAK = 70, 30
"""Percentages from which on a match is called good, and below which it is called weak."""
UNKNOWN = 255
"""In place of a percentage where none was calibrated."""

UNCALIBRATED_SCALE = 100.0
"""What a cosine is multiplied by before a softmax where nothing was calibrated: CLIP's own, at the end of training."""


Among = tuple[int, int, tuple[Condition, ...]]
"""A search of one kind: the version, how many are wanted, and what they must satisfy."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best items for a query, best first; ``percents_N`` is :data:`UNKNOWN` where nothing was calibrated."""

    snapshot: Snapshot
    numbers_N: np.ndarray
    scores_N: np.ndarray
    percents_N: np.ndarray
    total: int
    direction: str
    encoded: int
    milliseconds: dict[str, float]

    @property
    def calibrated(self) -> bool:
        """True where the percentages mean something."""
        return bool(len(self.percents_N)) and int(self.percents_N[0]) != UNKNOWN

    @property
    def good(self) -> int:
        """How many match well."""
        return int((self.percents_N >= GOOD).sum()) if self.calibrated else 0

    @property
    def weak_from(self) -> int:
        """The first row that matches weakly."""
        return int((self.percents_N >= WEAK).sum()) if self.calibrated else len(self.percents_N)

    @property
    def banner(self) -> bool:
        """True where not even the best matches well."""
        return self.calibrated and int(self.percents_N[0]) < WEAK


class Engine:
    """See the module. Its methods may be called from any thread, its coroutines from one event loop."""

    def __init__(self, collection: SearchableIndex, limits: Limits) -> None:
        self.collection, self.limits = collection, limits
        self.space, self.teller = collection.space, collection.teller
        self.uploads = Uploads(limits.uploads)
        self._vectors: Recent[tuple[str, str], np.ndarray] = Recent(KEPT_VECTORS)
        self._snapshots: OrderedDict[int, Snapshot] = OrderedDict()
        self._lock = threading.Lock()
        self._looking, self._looked = threading.Lock(), 0.0
        self._model: Batcher[str, Any, Any] = Batcher(self._run_model, limits.several, limits.waiting)
        self._search: Batcher[Among, np.ndarray, tuple[np.ndarray, np.ndarray]] = Batcher(
            self._run_search, limits.several, limits.waiting
        )
        self._reader: Batcher[str, bytes, Upload] = Batcher(
            lambda _, sent: [read(data, limits) for data in sent], 1, limits.waiting
        )
        self._noting = threading.Lock()
        self._open(Snapshot.of(collection.store, self.modalities))

    @property
    def modalities(self) -> list[str]:
        """What the index may hold."""
        return self.space.modalities

    @property
    def waiting(self) -> int:
        """Tasks that wait for the machine."""
        return len(self._model) + len(self._search) + len(self._reader)

    def warm(self) -> None:
        """Run everything once, so that the first person waits no longer than the tenth."""
        snapshot = self.snapshot()
        white = np.full((32, 32, 3), 255, np.uint8)
        warm: dict[str, list[Any]] = {
            "text": [[" ".join(["a"] * length)] * batch for length in (2, 6, 12, 24) for batch in (1, 2, 8)],
            "image": [[white] * batch for batch in (1, 2)],
        }
        for modality in self.modalities:
            for raws in warm.get(modality, ()):  # a CPU's kernels are compiled for each shape when it first comes
                vector_E = self._model.submit("embed " + modality + "s", raws).result()[0]
            for found, there in snapshot.counts.items():
                if there:
                    kind = (snapshot.version, min(there, self.limits.ranks), (of_modality(found),))
                    snapshot.store.looks(self._search.submit(kind, vector_E).result()[0])

    def close(self) -> None:
        """Finish what waits and let go of the files."""
        for batcher in (self._model, self._search, self._reader):
            batcher.close()
        for snapshot in self._snapshots.values():
            snapshot.store.close()

    def snapshot(self, version: int | None = None) -> Snapshot:
        """The newest version of the index, or a certain one. Raises :class:`Refusal` (409) for one that is gone."""
        if version is None:
            self._look()
        with self._lock:
            if version is None:
                return next(reversed(self._snapshots.values()))
            if version not in self._snapshots:
                raise Refusal(409, "the index has changed since then; ask again", "version")
            return self._snapshots[version]

    def _look(self) -> None:
        """Open a newer version of the index if there is one; at most one thread looks, now and then."""
        if time.monotonic() - self._looked < LOOK_AGAIN or not self._looking.acquire(blocking=False):
            return
        try:
            newer = self.collection.newer(next(reversed(self._snapshots)))
            if newer is not None:
                self._open(Snapshot.of(newer, self.modalities))
            self._looked = time.monotonic()
        finally:
            self._looking.release()

    def _open(self, snapshot: Snapshot) -> None:
        with self._lock:
            self._snapshots[snapshot.version] = snapshot
            while len(self._snapshots) > KEPT_VERSIONS:
                self._snapshots.popitem(last=False)

    async def model(self, kind: str, task: Any) -> Any:
        """Something that the model does: ``embed text``, ``embed image``, ``caption`` or ``ask``."""
        return await self._model(kind, task)

    async def vector(self, part: Picture) -> tuple[np.ndarray, int]:
        """The unit vector of a text or a picture, and how many encodings that took (0 or 1)."""
        if part.id is not None:
            return await asyncio.to_thread(self._stored, part.id), 0
        text = getattr(part, "text", None)
        key = ("text", text) if text is not None else ("image", str(part.upload))
        known = self._vectors.get(key)
        if known is not None:
            return known, 0
        raw = text if text is not None else self.uploads.get(str(part.upload)).pixels
        if key[0] not in self.modalities:
            raise Refusal(422, unknown(key[0], self.modalities, "this index knows no"))
        vector_E = await self._model(f"embed {key[0]}", raw)
        self._vectors.put(key, vector_E)
        return vector_E, 1

    def _stored(self, name: str) -> np.ndarray:
        snapshot = self.snapshot()
        return np.asarray(snapshot.store.vectors(self.numbers(snapshot, [name]))[0])

    def numbers(self, snapshot: Snapshot, names: Sequence[str]) -> np.ndarray:
        """Numbers of ids. Raises :class:`Refusal` (404) for one that is not in the index."""
        numbers = snapshot.store.numbers(list(names))
        if (numbers < 0).any():
            raise Refusal(404, "no item of the index has this id", "id")
        return numbers

    async def rank(self, query: Query, most: int) -> Ranking:
        """The ``most`` best items for a query."""
        snapshot = await asyncio.to_thread(self.snapshot)
        find = self._found_by(query, snapshot)
        where = (of_modality(find), *map(Condition.parse, query.where))
        began = time.perf_counter()
        weighed, encoded = await self.weighed(query.parts, snapshot, find)
        then = time.perf_counter()
        wide = most if weighed.linear else self.limits.ranks
        kind = (snapshot.version, wide, where)
        numbers_N, scores_N = await self._search(kind, weighed.direction().astype(np.float32))
        if not weighed.simple:
            numbers_N, scores_N = await asyncio.to_thread(_mixed, snapshot, weighed, numbers_N)
        total = snapshot.counts[find]
        if query.where:
            total = await asyncio.to_thread(count, snapshot.store, where)
        direction = self._direction(query.parts, find)
        percents_N = self._percents(weighed, direction, scores_N, snapshot.counts[find])
        took = {"encode": 1000 * (then - began), "score": 1000 * (time.perf_counter() - then)}
        numbers_N, scores_N, percents_N = numbers_N[:most], scores_N[:most], percents_N[:most]
        return Ranking(snapshot, numbers_N, scores_N, percents_N, total, direction, encoded, took)

    async def weighed(self, parts: Sequence[Part], snapshot: Snapshot, find: str) -> tuple[Weighed, int]:
        """The parts of a query as vectors, measured on what is looked for; and how many had to be encoded."""
        made = await asyncio.gather(*(self.vector(part) for part in parts))
        vectors_PE = np.stack([vector_E for vector_E, _ in made])
        weighed = Weighed.against(snapshot.background[find], vectors_PE, [part.weight for part in parts])
        return weighed, sum(encoded for _, encoded in made)

    def _found_by(self, query: Query, snapshot: Snapshot) -> str:
        """The modality of the results."""
        if query.find is None:
            return next((name for name in ("image", "text") if snapshot.counts.get(name)), self.modalities[0])
        if query.find not in snapshot.counts:
            raise Refusal(422, unknown(query.find, snapshot.counts, "this index holds no"), "find")
        return query.find

    def _direction(self, parts: Sequence[Part], find: str) -> str:
        """What calibration applies: ``text_to_image``, or ``mixed`` where none can."""
        if len(parts) > 1 or parts[0].weight < 0:
            return "mixed"
        part = parts[0]
        if part.text is not None:
            return f"text_to_{find}"
        text = part.id is not None and part.id.startswith("text/")
        return f"{'text' if text else 'image'}_to_{find}"

    def _percents(self, weighed: Weighed, direction: str, scores_N: np.ndarray, items: int) -> np.ndarray:
        matching: Matching | None = self.space.matching.get(direction)
        if matching is None or not len(scores_N):
            return np.full(len(scores_N), UNKNOWN, np.uint8)
        z_N = (scores_N - weighed.means_P[0]) / weighed.deviations_P[0]
        return matching.percents(scores_N, z_N, items).astype(np.uint8)

    def _run_search(self, kind: Among, queries: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        version, wide, where = kind
        found: Found = self.snapshot(version).store.nearest(np.stack(queries), wide, where)
        results = []
        for numbers_K, scores_K in zip(found.numbers_QK, found.scores_QK, strict=True):
            there = numbers_K >= 0
            results.append((numbers_K[there], scores_K[there]))
        return results

    def _run_model(self, kind: str, tasks: list[Any]) -> Iterable[Any]:
        with torch.inference_mode():
            return self._lessons()[kind](tasks)

    def _lessons(self) -> dict[str, Callable[[list[Any]], Iterable[Any]]]:
        return {
            "embed text": lambda texts: self.space.embed(text=texts),
            "embed texts": lambda tasks: [self.space.embed(text=texts) for texts in tasks],
            "embed image": lambda pictures: self.space.embed(image=pictures),
            "embed images": lambda tasks: [self.space.embed(image=pictures) for pictures in tasks],
            "caption": lambda pictures: self.collection.model.caption(pictures),
            "ask": lambda tasks: [self.collection.model.ask(*task) for task in tasks],
            "classify": lambda tasks: [self._classify(*task) for task in tasks],
        }

    def _classify(self, image_E: np.ndarray, sentences: Sequence[str], templates: int) -> np.ndarray:
        """Probabilities ``(C,)`` of classes, each given by so many sentences in a row; one of them is right."""
        sentence_SE = self.space.embed(text=sentences)
        class_CE = sentence_SE.reshape(-1, templates, self.space.width).mean(1)
        class_CE /= np.maximum(np.linalg.norm(class_CE, axis=1, keepdims=True), 1e-12)
        calibration = self.space.calibration
        odds_C = (class_CE @ image_E) * (UNCALIBRATED_SCALE if calibration is None else calibration.slope)
        chances_C = np.exp(odds_C - odds_C.max())
        return np.asarray(chances_C / chances_C.sum())

    async def read(self, data: bytes) -> Upload:
        """Decode and remember a picture that was sent; one at a time, since each may need a lot of memory."""
        upload = await self._reader("read", data)
        self.uploads.add(upload)
        return upload

    def note(self, row: dict[str, Any]) -> None:
        """Keep what a person said of a pair, in ``feedback.jsonl`` beside the index."""
        line = json.dumps({**row, "at": round(time.time())}) + "\n"
        place = self.collection.folder or self.collection.model_folder
        with self._noting, (place / "feedback.jsonl").open("a", encoding="utf-8") as file:
            file.write(line)

    def picture(self, asked: Picture) -> Any:
        """The pixels, or the path, of a picture that a request names. Raises :class:`Refusal`."""
        if asked.upload is not None:
            return self.uploads.get(asked.upload).pixels
        snapshot = self.snapshot()
        item = snapshot.store.items(self.numbers(snapshot, [str(asked.id)]).tolist())[0]
        if item.modality != "image":
            raise Refusal(422, "this item is no picture", "id")
        return self.pixels(item.hash, item.path)

    def pixels(self, content: str, path: str) -> Any:
        """A picture of the index, from its file or, where that is gone, from its thumbnail."""
        if path:
            try:
                self.space.preparers["image"].prepare(path)
            except BadImage:
                pass
            else:
                return path
        small = self.collection.thumbnails.get(content, 256)
        if small is None:
            raise Refusal(404, "this picture is not on this machine any more", "id")
        return small


def _mixed(snapshot: Snapshot, weighed: Weighed, numbers_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Candidates in the order of all parts together."""
    scores_N = weighed.scores(snapshot.store.vectors(numbers_N)).astype(np.float32)
    order_N = np.argsort(-scores_N, kind="stable")
    return numbers_N[order_N], scores_N[order_N]

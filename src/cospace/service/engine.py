"""The model and the index, ready to answer: vectors of queries, and the order of items for them.

Models run in one thread and searches in another, each of which takes all that waits as one batch (:mod:`batching`).
Vectors of recent texts and uploads are kept, so that a change of weight encodes nothing. The index may change while
it is served, see :mod:`versions`.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from ..commands.ask import ask
from ..commands.caption import caption
from ..commands.collection import TAUGHT
from ..commands.mixing import Weighed
from ..commands.relevance import LITERAL, Found, Gallery, Verdict, Wording, ordered, verdict
from ..commands.search import SearchableIndex
from ..config import unknown
from ..modalities import is_text, modality, text_modality
from ..stores import Condition, Item, of_modality
from ..types import BadItem, UserError
from .asking import Part, Query, Reference
from .batching import Batcher
from .class_lists import Classifiers, SavedClasses, taught
from .limits import Limits
from .problems import Refusal, writing
from .recent import Recent
from .snapshot import Snapshot
from .uploads import Tidying, Upload, Uploads, read
from .versions import Versions

KEPT_VECTORS = 1_000
UNKNOWN = 255
"""In place of a percentage where none was calibrated."""

Among = tuple[int, int, tuple[Condition, ...]]
"""A search of one kind: the version, how many are wanted, and what they must satisfy."""

Work = tuple[str, str]
"""What the model does, and with which modality: ``("embed", "text")``. Tasks of equal work share a batch."""

WORDS, TEXTS, FILES = (2, 6, 12, 24), (1, 2, 8), (1, 2)
"""What every encoder runs once before the first request: texts of so many words, and batches of so many items."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """The unit vector ``(E,)`` of a part of a query, its modality, and whether it had to be encoded now."""

    vector_E: np.ndarray
    modality: str
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class EncodedQuery:
    """All parts of a query, measured on what is searched for; ``fresh`` counts those that had to be encoded."""

    weighed: Weighed
    modalities: Sequence[str]
    fresh: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best items for a query, best first, and how the whole ranking is judged."""

    snapshot: Snapshot
    numbers_N: np.ndarray
    scores_N: np.ndarray
    judged: Verdict
    literal: Sequence[int]
    total: int
    direction: str
    encoded: int
    milliseconds: dict[str, float]

    def percents(self, rows: slice) -> np.ndarray:
        """Whole percentages, uint8, of some rows; :data:`UNKNOWN` where nothing was calibrated."""
        chances = [self.judged.probability(place) for place in range(*rows.indices(len(self.numbers_N)))]
        return np.array([UNKNOWN if one is None else int(100 * one + 0.5) for one in chances], np.uint8)


class Engine:
    """See the module. Its methods may be called from any thread, its coroutines from one event loop."""

    def __init__(self, collection: SearchableIndex, limits: Limits) -> None:
        self.collection, self.limits = collection, limits
        self.space, self.generator = collection.space, collection.generator
        self.uploads = Uploads(limits.uploads)
        self._vectors: Recent[tuple[str | None, str | None], Encoded] = Recent(KEPT_VECTORS)
        self.versions = Versions(collection)
        self._model: Batcher[Work, Any, Any] = Batcher(self._run_model, limits.several, limits.waiting)
        self._search: Batcher[Among, np.ndarray, tuple[np.ndarray, np.ndarray]] = Batcher(
            self._run_search, limits.several, limits.waiting
        )
        self._reader: Batcher[str, bytes, Upload] = Batcher(
            lambda _, sent: [read(data, self.modalities) for data in sent], 1, limits.decoding
        )
        self._tidying = Tidying()
        self._feedback = threading.Lock()
        self.classifiers, self.classes = Classifiers(collection), SavedClasses(collection)

    @property
    def modalities(self) -> list[str]:
        """What the index may hold."""
        return self.space.modalities

    @property
    def waiting(self) -> int:
        """Tasks that are queued."""
        return len(self._model) + len(self._search) + len(self._reader)

    def warm(self) -> None:
        """Run everything once, so that the first request takes no longer than the tenth."""
        snapshot = self.snapshot()
        for name in self.modalities:
            for raws in _examples(name):  # a CPU's kernels are compiled for each shape when it first comes
                vector_E = self._model.submit(("embed batch", name), raws).result()[0]
            for found, there in snapshot.counts.items():
                if there:
                    kind = (snapshot.version, min(there, self.limits.ranks), (of_modality(found),))
                    snapshot.store.appearance(self._search.submit(kind, vector_E).result()[0])

    def close(self) -> None:
        """Finish what waits and release the files."""
        for batcher in (self._model, self._search, self._reader):
            batcher.close()
        self.versions.close()

    def snapshot(self, version: int | None = None) -> Snapshot:
        """The newest version of the index, or a certain one, see :meth:`Versions.get`."""
        return self.versions.get(version)

    async def model(self, what: str, task: Any) -> Any:
        """The result of a task that concerns no single encoder: ``caption``, ``ask`` or ``classify``."""
        return await self._model((what, ""), task)

    async def call(self, task: Callable[[], Any]) -> Any:
        """The result of a function that uses the model; what is wrong with one is nobody else's trouble."""
        made = await self._model(("call", ""), task)
        if isinstance(made, UserError | BadItem):
            raise made
        return made

    async def vector(self, part: Reference) -> Encoded:
        """The unit vector of a text or an item."""
        if part.id is not None:
            return await asyncio.to_thread(self._stored, part.id)
        text = part.text if isinstance(part, Part) else None
        key = (text, part.upload)
        known = self._vectors.get(key)
        if known is not None:
            return known
        name, raw = self._query_item(text, str(part.upload))
        made = Encoded(await self._model(("embed", name), raw), name)
        self._vectors.put(key, made)
        return replace(made, fresh=True)

    def _query_item(self, text: str | None, upload: str) -> tuple[str, Any]:
        """The modality and the raw item of what is no item of the index."""
        if text is None:
            sent = self.uploads.get(upload)
            return sent.modality, sent.raw
        return self.text_item(text)

    def text_item(self, text: str) -> tuple[str, Any]:
        """The modality of texts and a raw text. Raises :class:`Refusal` (422) where the model embeds none."""
        name = text_modality()
        if name not in self.modalities:
            raise Refusal(422, unknown(name, self.modalities, "this index's model embeds no"))
        return name, text

    def _stored(self, name: str) -> Encoded:
        snapshot = self.snapshot()
        numbers = self.numbers(snapshot, [name])
        item = snapshot.store.items(numbers.tolist())[0]
        return Encoded(np.asarray(snapshot.store.vectors(numbers)[0]), item.modality)

    def numbers(self, snapshot: Snapshot, names: Sequence[str]) -> np.ndarray:
        """Numbers of ids. Raises :class:`Refusal` (404) for one that is not in the index."""
        numbers = snapshot.store.numbers(list(names))
        if (numbers < 0).any():
            raise Refusal(404, "no item of the index has this id", "id")
        return numbers

    async def rank(self, query: Query, most: int) -> Ranking:
        """The ``most`` best items for a query."""
        snapshot = await asyncio.to_thread(self.snapshot)
        find = self.wanted(query.find, snapshot)
        where = (of_modality(find), *await asyncio.to_thread(self.classes.conditions, snapshot, query.where))
        began = time.perf_counter()
        encoded = await self.encoded(query.parts, snapshot, find)
        weighed, then = encoded.weighed, time.perf_counter()
        if query.right or query.wrong:
            return await self._rank_taught(query, most, snapshot, find, where, encoded)
        direction = _direction(query.parts, encoded.modalities, find)
        wording, total = await asyncio.to_thread(_wording, query, snapshot, find, where)
        wide = max(most, wording.depth(total)) if weighed.linear else self.limits.ranks
        kind = (snapshot.version, wide, where)
        numbers_N, scores_N = await self._search(kind, weighed.direction().astype(np.float32))
        if not weighed.simple:
            numbers_N, scores_N = await asyncio.to_thread(_mixed, snapshot, weighed, numbers_N)
        background_B = weighed.scores(snapshot.background[find]) if len(snapshot.background[find]) else np.zeros(0)
        of = Gallery(total, background_B)
        judged = verdict(self.collection.relevance, direction, wording, scores_N, numbers_N, of)
        judged, found = await asyncio.to_thread(
            ordered, judged, Found(numbers_N, scores_N), wording, query.hybrid, partial(_scores, snapshot, weighed)
        )
        numbers_N, scores_N = found.numbers_N, found.scores_N
        most = most if query.at_least is None else min(most, judged.until(query.at_least))
        took = {"encode": 1000 * (then - began), "score": 1000 * (time.perf_counter() - then)}
        literal = wording.holding_L[:LITERAL].tolist()
        return Ranking(
            snapshot, numbers_N[:most], scores_N[:most], judged, literal, total, direction, encoded.fresh, took
        )

    async def _rank_taught(
        self,
        query: Query,
        most: int,
        snapshot: Snapshot,
        find: str,
        where: tuple[Condition, ...],
        encoded: EncodedQuery,
    ) -> Ranking:
        """The same after some results were marked: by the cosine to what the marks and the query say together."""
        began = time.perf_counter()
        learned, unwanted = await asyncio.to_thread(taught, snapshot, encoded.weighed.direction(), query, find)
        where = (*where, *unwanted)
        numbers_N, scores_N = await self._search((snapshot.version, most, where), learned.direction_E)
        total = len(await asyncio.to_thread(snapshot.store.select, where))
        of = Gallery(total, snapshot.background[find] @ learned.direction_E)
        judged = verdict(self.collection.relevance, TAUGHT, Wording(), scores_N, numbers_N, of)
        most = most if query.at_least is None else min(most, judged.until(query.at_least))
        took = {"score": 1000 * (time.perf_counter() - began)}
        return Ranking(
            snapshot, numbers_N[:most], scores_N[:most], judged, [], total, TAUGHT, encoded.fresh, took
        )  # fmt: skip

    async def encoded(self, parts: Sequence[Part], snapshot: Snapshot, find: str) -> EncodedQuery:
        """The parts of a query as vectors, measured on what is searched for."""
        made = await asyncio.gather(*(self.vector(part) for part in parts))
        vectors_PE = np.stack([one.vector_E for one in made])
        weighed = Weighed.against(snapshot.background[find], vectors_PE, [part.weight for part in parts])
        if weighed.nothing:
            raise Refusal(422, "the parts take each other away, so nothing is searched for; change a weight", "parts")
        return EncodedQuery(weighed, [one.modality for one in made], sum(one.fresh for one in made))

    def wanted(self, find: str | None, snapshot: Snapshot) -> str:
        """The modality of the results: files, where the index holds any, unless the query names another."""
        if find is None:
            names = sorted(self.modalities, key=is_text)
            return next((name for name in names if snapshot.counts.get(name)), names[0])
        if find not in snapshot.counts:
            raise Refusal(422, unknown(find, snapshot.counts, "this index holds no"), "find")
        return find

    def _run_search(self, kind: Among, queries: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        version, wide, where = kind
        found = self.snapshot(version).store.nearest(np.stack(queries), wide, where)
        results = []
        for numbers_K, scores_K in zip(found.numbers_QK, found.scores_QK, strict=True):
            there = numbers_K >= 0
            results.append((numbers_K[there], scores_K[there]))
        return results

    def _run_model(self, work: Work, tasks: list[Any]) -> Iterable[Any]:
        what, name = work
        with torch.inference_mode():
            if what == "embed":
                return self._embed(name, tasks)
            if what == "embed batch":
                return [self._embed(name, batch) for batch in tasks]
            if what == "caption":
                return caption(self.collection.run, tasks)
            if what == "ask":
                return [ask(self.collection.run, *task) for task in tasks]
            if what == "call":
                return [_outcome(task) for task in tasks]
            return [self.classifiers.get(*task) for task in tasks]

    def _embed(self, name: str, raws: Any) -> np.ndarray:
        return self.space.embed(**{name: raws})

    async def read(self, data: bytes) -> Upload:
        """Decode and remember an item that was sent."""
        upload = await self.decoded(data)
        self.uploads.add(upload)
        return upload

    async def decoded(self, data: bytes) -> Upload:
        """Decode an item that was sent; one at a time, since each may need a lot of memory."""
        try:
            return await self._reader.within(self.limits.patience, "read", data)
        finally:
            self._tidying.soon()

    async def embedded(self, name: str, raws: Sequence[Any]) -> np.ndarray:
        """Unit vectors ``(n, E)`` of items of one modality, as one batch."""
        return np.asarray(await self._model(("embed batch", name), raws))

    def keep_feedback(self, row: dict[str, Any]) -> None:
        """Append what a person said of a pair to ``feedback.jsonl`` beside the index."""
        line = json.dumps({**row, "at": round(time.time())}) + "\n"
        folder = self.collection.folder or self.collection.model_folder
        path = folder / "feedback.jsonl"
        with writing("feedback cannot be kept"), self._feedback, path.open("a", encoding="utf-8") as file:
            file.write(line)

    def described(self, asked: Reference) -> Any:
        """The raw item that a request names, for the decoder, which describes items of one modality."""
        if asked.upload is not None:
            sent = self.uploads.get(asked.upload)
            self._check_described(sent.modality, "upload")
            return sent.raw
        snapshot = self.snapshot()
        item = snapshot.store.items(self.numbers(snapshot, [str(asked.id)]).tolist())[0]
        self._check_described(item.modality, "id")
        return self._raw(item)

    def _check_described(self, name: str, field: str) -> None:
        """Texts are never described, and other items only where the run's decoder is of their modality."""
        if is_text(name):
            raise Refusal(422, f"this item is a {modality(name).noun}; give one with a file", field)
        if self.generator is not None and self.generator.modality != name:
            wanted = modality(self.generator.modality)
            raise Refusal(422, f"this run's decoder describes {wanted.plural}, not {modality(name).plural}", field)

    def _raw(self, item: Item) -> Any:
        """An item of the index, see :meth:`SearchableIndex.readable`."""
        try:
            return self.collection.readable(item.path, item.hash, item.modality)
        except BadItem as error:
            one = modality(item.modality).noun
            raise Refusal(404, f"the file of this {one} cannot be read any more", "id") from error


def _examples(name: str) -> Iterator[list[Any]]:
    """Batches to run an encoder with once: of a typed modality texts of several lengths."""
    one = modality(name)
    if one.is_text:
        yield from ([" ".join([one.example()] * words)] * batch for words in WORDS for batch in TEXTS)
    else:
        yield from ([one.example()] * batch for batch in FILES)


def _outcome(task: Callable[[], Any]) -> Any:
    """What a function gives, or the mistake that it found in what it was given."""
    try:
        return task()
    except (UserError, BadItem) as error:
        return error


def _direction(parts: Sequence[Part], modalities: Sequence[str], find: str) -> str:
    """Which calibration applies, such as ``text_to_image``; ``mixed`` where none can."""
    return "mixed" if len(parts) > 1 or parts[0].weight < 0 else f"{modalities[0]}_to_{find}"


def _wording(query: Query, snapshot: Snapshot, find: str, where: tuple[Condition, ...]) -> tuple[Wording, int]:
    """What captions say of a query that is one text, and how many items it may find."""
    part = query.parts[0]
    typed = part.text if len(query.parts) == 1 and part.weight > 0 else None
    if not query.where:
        return Wording.of(typed, snapshot.lexicon, find), snapshot.counts[find]
    chosen_N = snapshot.store.select(where)
    return Wording.of(typed, snapshot.lexicon, find, chosen_N), len(chosen_N)


def _scores(snapshot: Snapshot, weighed: Weighed, numbers_N: np.ndarray) -> np.ndarray:
    """How items fit all parts of a query, by number."""
    return weighed.scores(snapshot.store.vectors(numbers_N)).astype(np.float32)


def _mixed(snapshot: Snapshot, weighed: Weighed, numbers_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Candidates in the order of all parts together."""
    scores_N = _scores(snapshot, weighed, numbers_N)
    order_N = np.argsort(-scores_N, kind="stable")
    return numbers_N[order_N], scores_N[order_N]

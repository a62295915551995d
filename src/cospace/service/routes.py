"""The HTTP interface: what can be asked, and in which form it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, cast

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from ..commands.caption import judged_caption
from ..evaluation.generation import normal_answer
from ..modalities import modality
from ..runs.run import Run
from ..stores import Item, of_modality
from ..stores.entries import captions_of, own_columns
from ..types import UserError
from . import asking
from .asking import Name
from .engine import Engine, Ranking
from .fetching import Fetcher
from .index_quality import index_quality
from .mapping import framed
from .problems import Refusal
from .sending import sent_file
from .snapshot import Snapshot
from .stacking import hidden_behind
from .uploads import Upload

router = APIRouter(prefix="/api")
BINARY = "application/octet-stream"


def the_engine(request: Request) -> Engine:
    """The one engine of the application."""
    return cast(Engine, request.app.state.engine)


TheEngine = Annotated[Engine, Depends(the_engine)]


@router.get("/info")
async def info(engine: TheEngine, request: Request) -> dict[str, Any]:
    """What this index holds and what can be done with it."""
    snapshot = await asyncio.to_thread(engine.snapshot)
    tasks = () if engine.generator is None else engine.generator.tasks
    return {
        "name": engine.collection.name,
        "version": snapshot.version,
        "fingerprint": engine.space.fingerprint,
        "warm": True,
        "counts": snapshot.counts,
        "total": sum(snapshot.counts.values()),
        "modalities": [described(name) for name in engine.modalities],
        "can": {
            "caption": "caption" in tasks,
            "ask": bool({"vqa", "itm"} & set(tasks)),
            "fetch": _fetches(request),
        },
        "describes": None if engine.generator is None else engine.generator.modality,
        "columns": snapshot.columns,
        "calibrated": list(engine.collection.relevance),
        "words": len(snapshot.lexicon),
        "quality": await asyncio.to_thread(index_quality, engine.collection),
        "examples": snapshot.examples,
        "representatives": snapshot.representatives,
        "limits": {
            "upload_bytes": engine.limits.upload,
            "k": engine.limits.results,
            "ranks": engine.limits.ranks,
            "text": engine.limits.text,
            "parts": engine.limits.parts,
        },
        "token": request.app.state.access.token is not None,
    }


def described(name: str) -> dict[str, Any]:
    """A modality as the page needs to know it; ``page`` is the address of its JavaScript module, if it has one."""
    one = modality(name)
    return {
        "name": name,
        "noun": one.noun,
        "plural": one.plural,
        "is_text": one.is_text,
        "upload_types": list(one.upload_types),
        "preview": one.has_preview,
        "page": None if one.page_module() is None else f"page/modality-{name}.js",
    }


def _fetches(request: Request) -> bool:
    return request.app.state.fetcher is not None


@router.post("/search")
async def search(query: asking.Search, engine: TheEngine, request: Request) -> dict[str, Any]:
    """The best items for a query, in words: a text, an item, or several of both with weights."""
    query = await with_uploads(query, engine, request)
    ranking = await engine.rank(query, min(query.offset + query.k, engine.limits.ranks))
    rows = slice(query.offset, query.offset + query.k)
    items = await asyncio.to_thread(ranking.snapshot.store.items, ranking.numbers_N[rows].tolist())
    places = range(*rows.indices(len(ranking.numbers_N)))
    results = [
        result(shown(int(ranking.numbers_N[place]), item), float(ranking.scores_N[place]), ranking, place)
        for place, item in zip(places, items, strict=True)
    ]
    return {"results": results, **_judged(ranking), "shown": ranking.judged.maybe}


def result(item: dict[str, Any], score: float, ranking: Ranking, place: int) -> dict[str, Any]:
    """One result in words; a person's own columns lie beside ours, whose names win."""
    judged = {"score": score, "probability": ranking.judged.probability(place), "match": ranking.judged.match(place)}
    return {**item["extras"], **item, **judged}


def _judged(ranking: Ranking) -> dict[str, Any]:
    """How a ranking is judged as a whole."""
    return {
        "version": ranking.snapshot.version,
        "total": ranking.total,
        "direction": ranking.direction,
        "calibrated": ranking.judged.calibrated,
        "unknown_words": list(ranking.judged.unknown),
        "literal": list(ranking.literal),
    }


@router.post("/rank", response_class=Response)
async def rank(query: asking.Query, engine: TheEngine, request: Request) -> Response:
    """The best items as columns of numbers, for a page that lays out thousands of them.

    Little endian: the length of a JSON header (uint32), the header, padded to four bytes, and then ``n`` rows each of
    number (uint32), score (float32), mean colour (uint32), width and height (uint16), percentage (uint8, 255: none).
    """
    query = await with_uploads(query, engine, request)
    ranking = await engine.rank(query, min(query.offset + query.k, engine.limits.ranks))
    return Response(await asyncio.to_thread(_columns, ranking, query.offset, query.k), media_type=BINARY)


def _columns(ranking: Ranking, offset: int, k: int) -> bytes:
    rows = slice(offset, offset + k)
    numbers_N = ranking.numbers_N[rows]
    header = {
        **_judged(ranking),
        "n": len(numbers_N),
        "strong": ranking.judged.strong,
        "likely": ranking.judged.likely,
        "maybe": ranking.judged.maybe,
        "ms": {name: round(value, 2) for name, value in ranking.milliseconds.items()},
        "encoded": ranking.encoded,
        "by_caption": ranking.judged.by_caption,
        "stacked": hidden_behind(ranking.snapshot.store, numbers_N),
    }
    return framed(header, tile_columns(ranking.snapshot, numbers_N, ranking.scores_N[rows], ranking.percents(rows)))


def tile_columns(
    snapshot: Snapshot, numbers_N: np.ndarray, scores_N: np.ndarray, percents_N: np.ndarray
) -> list[np.ndarray]:
    """What a page needs to lay items out, as :func:`rank` says it."""
    appearance_N3 = snapshot.store.appearance(numbers_N)
    sides_N2 = np.clip(appearance_N3[:, :2], 0, 65_535).astype("<u2")
    return [
        numbers_N.astype("<u4"),
        scores_N.astype("<f4"),
        appearance_N3[:, 2].astype("<u4"),
        sides_N2[:, 0],
        sides_N2[:, 1],
        percents_N,
    ]


@router.get("/complete")
async def complete(
    engine: TheEngine,
    q: Annotated[str, Query(max_length=asking.LIMITS.text)],
    k: Annotated[int, Query(ge=1, le=50)] = 8,
) -> dict[str, Any]:
    """How what is being typed may go on, in words of the captions, with how many items have them."""
    snapshot = await asyncio.to_thread(engine.snapshot)
    found = await asyncio.to_thread(snapshot.lexicon.complete, q, k, snapshot.usual)
    return {"completions": [asdict(one) for one in found]}


@router.get("/items")
def items(engine: TheEngine, version: asking.Version, n: Annotated[str, Query(max_length=2500)]) -> dict[str, Any]:
    """What is remembered of items by number, at most a hundred at a time."""
    snapshot = engine.snapshot(version)
    numbers = numbers_in(n, 100)
    return {"version": version, "items": [shown(number, item) for number, item in known_items(snapshot, numbers)]}


@router.get("/item")
def item(engine: TheEngine, id: Name) -> dict[str, Any]:
    """One item by its id."""
    snapshot = engine.snapshot()
    number = int(engine.numbers(snapshot, [id])[0])
    return shown(number, snapshot.store.items([number])[0]) | {"version": snapshot.version}


@router.get("/near")
def near(
    engine: TheEngine,
    version: asking.Version,
    n: asking.Number,
    k: Annotated[int, Query(ge=1, le=100)] = 8,
    find: Annotated[str | None, Query(max_length=32)] = None,
) -> dict[str, Any]:
    """The nearest items in the full space, leaving out the item itself."""
    snapshot = engine.snapshot(version)
    known_items(snapshot, [n])
    if find is not None and find not in snapshot.counts:
        raise Refusal(422, f"this index holds no {find[:32]}", "find")
    where = [] if find is None else [of_modality(find)]
    found = snapshot.store.nearest(snapshot.store.vectors(np.array([n])), k + 1, where)
    pairs = zip(found.numbers_QK[0].tolist(), found.scores_QK[0].tolist(), strict=True)
    kept = [(number, score) for number, score in pairs if number >= 0 and number != n][:k]
    return {"numbers": [number for number, _ in kept], "scores": [round(score, 6) for _, score in kept]}


@router.post("/explain")
async def explain(asked: asking.Explain, engine: TheEngine) -> dict[str, Any]:
    """Why an item was found: its cosine with each part of the query, how far that stands out, and each part's share."""
    snapshot = engine.snapshot(asked.version)
    ((_, item),) = await asyncio.to_thread(known_items, snapshot, [asked.number])
    weighed = (await engine.encoded(asked.parts, snapshot, item.modality)).weighed
    vector_1E = await asyncio.to_thread(snapshot.store.vectors, np.array([asked.number]))
    cosines = (vector_1E @ weighed.vectors_PE.T)[0].tolist()
    z, shares = weighed.standard(vector_1E)[0].tolist(), weighed.shares(vector_1E)[0].tolist()
    above = (weighed.scores(snapshot.background[item.modality]) > weighed.scores(vector_1E)[0]).mean()
    parts = [{"score": c, "z": one, "share": s} for c, one, s in zip(cosines, z, shares, strict=True)]
    score = float(weighed.scores(vector_1E)[0])
    return {"score": score, "z": float(np.sum(shares)), "share_above": float(above), "parts": parts}


@router.post("/upload")
async def upload(request: Request, engine: TheEngine) -> dict[str, Any]:
    """Remember a file for the queries that follow, in a format that ``/api/info`` names.

    Its bytes are the body, or the one file of a form, or the body is a data URL of it.
    """
    file = sent_file(await request.body(), request.headers.get("content-type", ""))
    return uploaded(await engine.read(file))


@router.get("/upload/{name}")
def known_upload(name: str, engine: TheEngine) -> dict[str, Any]:
    """What was sent under this hash, as long as it is remembered."""
    return uploaded(engine.uploads.get(name))


def uploaded(sent: Upload) -> dict[str, Any]:
    """An upload in words; ``preview`` says whether ``/u/HASH`` shows it."""
    shown = sent.preview is not None
    return {
        "upload": sent.name, "modality": sent.modality, "preview": shown, "width": sent.width, "height": sent.height,
    }  # fmt: skip


@router.post("/caption")
async def caption(asked: asking.Caption, engine: TheEngine, request: Request) -> dict[str, Any]:
    """A sentence about an item, by the run's decoder.

    ``itm_score`` is the decoder's own image-text matching score, 0 to 1: no probability; a low one means doubt.
    It is null where the decoder was not trained to judge pairs.
    """
    item = await as_upload(asked.item, engine, request)
    raw = await asyncio.to_thread(engine.described, item)
    return dict(await _decoded(engine.call(partial(judged, engine.collection.run, raw))))


def judged(run: Run, raw: Any) -> dict[str, Any]:
    """A caption and its score as the interface gives them."""
    written = judged_caption(run, raw)
    return {"caption": written.text, "itm_score": None if written.itm_score is None else round(written.itm_score, 4)}


@router.post("/ask")
async def ask(asked: asking.Ask, engine: TheEngine, request: Request) -> dict[str, Any]:
    """The likeliest answers to a question about an item, by the run's decoder.

    A question unlike all that it was taught is refused (422): its answers to such a question mean nothing.
    """
    item = await as_upload(asked.item, engine, request)
    raw = await asyncio.to_thread(engine.described, item)
    if engine.generator is not None and not engine.generator.taught.knows(normal_answer(asked.question)):
        raise Refusal(
            422, "this run was not taught such questions; /api/questions suggests some that it was", "question"
        )
    answers = await _decoded(engine.model("ask", (raw, asked.question)))
    top = [{"answer": answer.text, "confidence": float(answer.confidence)} for answer in answers[:10]]
    return {**top[0], "top": top}


async def _decoded(task: Awaitable[Any]) -> Any:
    """What the decoder gives. Raises :class:`Refusal` (409) where the run was not trained for it."""
    try:
        return await task
    except UserError as error:
        raise Refusal(409, " ".join(str(error).split())) from error


@router.post("/embed")
async def embed(asked: asking.Embed, engine: TheEngine, request: Request) -> dict[str, Any]:
    """Unit vectors of texts or items, in the given order."""
    if asked.texts is not None:
        parts: list[Any] = [asking.Part(text=text) for text in asked.texts]
    else:
        parts = [await as_upload(item, engine, request) for item in asked.items or ()]
    made = await asyncio.gather(*(engine.vector(part) for part in parts))
    return {"vectors": [one.vector_E.tolist() for one in made]}


@router.post("/feedback")
def feedback(asked: asking.Feedback, engine: TheEngine) -> dict[str, bool]:
    """Keep what a person thinks of a pair."""
    snapshot = engine.snapshot()
    engine.numbers(snapshot, [asked.id] if asked.other is None else [asked.id, asked.other])
    engine.keep_feedback(asked.model_dump())
    return {"ok": True}


@router.post("/session")
async def session(asked: asking.Session, request: Request) -> Response:
    """Show the token once; the cookie that comes back takes its place."""
    access = request.app.state.access
    if not access.accepts(asked.token):
        await request.app.state.guesses.wrong(request.client.host if request.client else "")
        raise Refusal(401, "this is not the token; open the address that the service printed when it started")
    response = JSONResponse({"ok": True})
    response.set_cookie("cospace", access.session(), httponly=True, samesite="strict")
    return response


async def with_uploads(query: Any, engine: Engine, request: Request) -> Any:
    """The query with uploads in place of addresses."""
    if all(part.url is None for part in query.parts):
        return query
    parts = [await as_upload(part, engine, request) for part in query.parts]
    return query.model_copy(update={"parts": parts})


async def as_upload(part: Any, engine: Engine, request: Request) -> Any:
    """The same reference; an item at an address is fetched first, where that is allowed, and becomes an upload."""
    if part.url is None:
        return part
    fetcher: Fetcher | None = request.app.state.fetcher
    if fetcher is None:
        raise Refusal(400, "this service fetches nothing from addresses; send the file itself", "url")
    sent = await engine.read(await asyncio.to_thread(fetcher.fetch, part.url))
    return part.model_copy(update={"url": None, "upload": sent.name})


def numbers_in(written: str, most: int) -> list[int]:
    """``1,2,3``, so many at most."""
    parts = written.split(",")
    if len(parts) > most or not all(part.isdecimal() and part.isascii() and len(part) < 19 for part in parts):
        raise Refusal(422, f"give at most {most} numbers, separated by commas", "n")
    return [int(part) for part in parts]


def known_items(snapshot: Snapshot, numbers: list[int]) -> list[tuple[int, Item]]:
    """Items by number; the store refuses one that there is not."""
    return list(zip(numbers, snapshot.store.items(numbers), strict=True))


def shown(number: int, item: Item) -> dict[str, Any]:
    """An item as people may see it: of its path the file's name."""
    return {
        "number": number,
        "id": item.id,
        "modality": item.modality,
        "path": item.path.replace("\\", "/").rpartition("/")[2],
        "text": item.text,
        "hash": item.hash,
        "width": item.width,
        "height": item.height,
        "rgb": item.rgb,
        "captions": captions_of(item),
        "extras": own_columns(item.extras),
    }

"""Why an item was found: which regions, words or seconds of it the score of the query rests on."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter

from ..evaluation.attribution import QUERIES, Attribution, attribution, mean_direction
from ..modalities import is_text, modality
from ..stores import Item
from ..types import BadItem
from . import asking
from .engine import Engine
from .problems import Refusal
from .routes import TheEngine
from .snapshot import Snapshot

router = APIRouter(prefix="/api")


@router.post("/heat")
async def heat(asked: asking.Explain, engine: TheEngine) -> dict[str, Any]:
    """The parts of an item, and what each adds to its score, as a share of what the part that matters most adds.

    ``kind`` is ``boxes`` (spans are left, top, right and bottom as shares of the image's width and height, row by row
    with ``columns`` in a row), ``letters`` (a word, from one letter of the item's text to another) or ``seconds``.
    ``heat`` is between -1 and 1: below 0 a part speaks against the match. ``score`` is the cosine with the query,
    ``drop`` by how much it falls when the part that matters most is hidden.
    """
    snapshot = engine.snapshot(asked.version)
    item = (await asyncio.to_thread(snapshot.store.items, [asked.number]))[0]
    encoded = await engine.encoded(asked.parts, snapshot, item.modality)
    towards_E = encoded.weighed.direction().astype(np.float32)
    raw = await asyncio.to_thread(_raw, engine, item)
    shared = [await _shared(engine, snapshot, name) for name in dict.fromkeys(encoded.modalities)]
    common = [one_E for one_E in shared if one_E is not None]
    try:
        return shown(await engine.call(partial(attribution, engine.space, item.modality, raw, towards_E, common)))
    except BadItem as error:
        raise _unreadable(item) from error


async def _shared(engine: Engine, snapshot: Snapshot, name: str) -> np.ndarray | None:
    """What all queries of a modality share: of texts short ones from the captions, of others the items themselves."""
    if name not in snapshot.shared:
        phrases = snapshot.lexicon.phrases(QUERIES) if is_text(name) else []
        vectors_NE = (
            await engine.call(partial(engine.space.embed, progress=None, **{name: phrases}))
            if phrases
            else snapshot.background[name]
        )
        snapshot.shared[name] = mean_direction(vectors_NE)
    return snapshot.shared[name]


def shown(found: Attribution) -> dict[str, Any]:
    """An attribution as JSON; what speaks against a match, however strongly, does not pale what speaks for it."""
    most = float(found.drops_P.max())
    heat_P = np.clip(found.drops_P / most, -1, 1) if most > 0 else np.zeros_like(found.drops_P)
    return {
        "kind": found.kind,
        "columns": found.columns,
        "spans": [[round(value, 4) for value in span] for span in found.spans_P],
        "heat": [round(float(value), 3) for value in heat_P],
        "score": round(found.score, 4),
        "drop": round(float(found.drops_P.max()), 4),
    }


def _raw(engine: Engine, item: Item) -> Any:
    """What the encoder reads of an item: its text, or its file as long as that is there, see ``readable``."""
    if is_text(item.modality):
        return item.text
    try:
        return engine.collection.readable(item.path, item.hash, item.modality)
    except BadItem as error:
        raise _unreadable(item) from error


def _unreadable(item: Item) -> Refusal:
    return Refusal(404, f"the file of this {modality(item.modality).noun} cannot be read any more", "number")

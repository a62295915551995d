"""Classes in the service: items classified by words, results marked right or wrong, and classes that were saved."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request

from ..commands.teaching import CLASS, learned, save_class, saved_class, saved_classes
from ..evaluation.taught import SavedClass
from ..evaluation.zero_shot import ENSEMBLE
from ..evaluators.classification import Classifier
from ..modalities import modality
from ..types import BadItem, attempted
from . import asking
from .problems import Refusal, writing
from .routes import TheEngine, as_upload, with_uploads
from .snapshot import Snapshot

if TYPE_CHECKING:
    from .engine import Engine

SENTENCES = 1_000
"""Classes times templates of one request."""


router = APIRouter(prefix="/api")


@router.post("/classify")
async def classify(asked: asking.Classify, engine: TheEngine, request: Request) -> dict[str, Any]:
    """Which of some names suits an item best, without training on them (CLIP, section 3.1).

    ``rest`` names a further class for what is none of them. ``calibration`` says what the probabilities rest on.
    """
    if any("{}" not in template for template in asked.templates or ()):
        raise Refusal(422, "a template needs {} where the class name goes", "templates")
    if len(asked.classes) * len(asked.templates or ENSEMBLE) > SENTENCES:
        raise Refusal(422, f"too many classes times templates; give at most {SENTENCES:,} sentences", "classes")
    asked = asked.model_copy(update={"item": await as_upload(asked.item, engine, request)})
    item = await engine.vector(asked.item)
    classifier: Classifier = await engine.model("classify", (asked.classes, asked.templates, asked.rest))
    statistics = None if asked.rest is None else await asyncio.to_thread(_statistics, engine, asked.item, item.modality)
    chances = classifier.probabilities(item.vector_E[None], item.modality, statistics)[0]
    order = np.argsort(-chances, kind="stable")
    results = [{"class": classifier.names[place], "probability": float(chances[place])} for place in order]
    scale = classifier.scales[item.modality]
    return {"results": results, "calibrated": scale.basis == "held-out pairs", "calibration": scale.basis}


def _statistics(engine: Engine, asked: asking.Reference, name: str) -> np.ndarray | None:
    """Of what is classified, read again; nothing of an item of the index whose file is gone."""
    if asked.upload is not None:
        prepared = engine.space.processors[name].prepare(engine.uploads.get(asked.upload).raw)
    else:
        snapshot = engine.snapshot()
        item = snapshot.store.items(engine.numbers(snapshot, [str(asked.id)]).tolist())[0]
        made = attempted(lambda one: engine.collection.prepared(one.path, one.hash, name), item)
        if isinstance(made, BadItem):
            return None
        prepared = made
    return modality(name).statistics([prepared])


@router.get("/classes")
def classes(engine: TheEngine) -> dict[str, Any]:
    """The classes that people saved beside the index, in order of their names."""
    snapshot = engine.snapshot()
    return {"classes": [_described(engine, snapshot, one) for one in saved_classes(engine.collection)]}


@router.post("/classes")
async def save(asked: asking.SaveClass, engine: TheEngine, request: Request) -> dict[str, Any]:
    """Keep what a query and marked results give together, as the filter ``class:NAME``."""
    asked = await with_uploads(asked, engine, request)
    snapshot = await asyncio.to_thread(engine.snapshot)
    await asyncio.to_thread(engine.numbers, snapshot, [*asked.right, *asked.wrong])
    find = engine.wanted(asked.find, snapshot)
    query_E = None
    if asked.parts:
        query_E = (await engine.encoded(asked.parts, snapshot, find)).weighed.direction()
    made = await asyncio.to_thread(learned, snapshot.store, query_E, asked.right, asked.wrong, find)
    words = " + ".join(part.text for part in asked.parts if part.text)
    view = engine.collection.at(snapshot.store)
    with writing("the class cannot be kept"):
        saved = await asyncio.to_thread(save_class, view, asked.name, made, find, words, asked.right, asked.wrong)
    return await asyncio.to_thread(_described, engine, snapshot, saved)


@router.delete("/classes/{name}")
def forget(name: Annotated[str, Path(max_length=100)], engine: TheEngine) -> dict[str, bool]:
    """Remove a saved class."""
    saved_class(engine.collection, name)
    with writing("the class cannot be removed"):
        return {"ok": engine.collection.location.saved().remove(name)}


def _described(engine: Engine, snapshot: Snapshot, saved: SavedClass) -> dict[str, Any]:
    """A class in words, with how many items of the index belong to it."""
    count = len(engine.classes.conditions(snapshot, [f"{CLASS}{saved.name}"])[0].values)
    marks = {"right": list(saved.right), "wrong": list(saved.wrong)}
    return {
        "name": saved.name,
        "modality": saved.modality,
        "version": saved.version,
        "asked": saved.asked,
        **marks,
        "count": count,
    }

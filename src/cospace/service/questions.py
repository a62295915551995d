"""Questions that a run was taught, to suggest some about an item."""

from __future__ import annotations

import numpy as np
from fastapi import APIRouter

from ..modalities import text_modality
from . import asking
from .problems import Refusal
from .routes import TheEngine

router = APIRouter(prefix="/api")

SUGGESTED = 6


@router.post("/questions")
async def questions(asked: asking.Caption, engine: TheEngine) -> dict[str, list[str]]:
    """Up to six questions out of the training's own that go with an item; none where the run kept none.

    Of those that are unlike each other, the nearest to the item: one about a heart where there may be a heart.
    """
    generator = engine.generator
    taught = [] if generator is None or "vqa" not in generator.tasks else list(generator.prior.questions)
    if not taught or text_modality() not in engine.modalities:
        return {"questions": taught[:SUGGESTED]}
    if asked.item.url is not None:
        raise Refusal(422, "questions are suggested about an item of the index or an upload", "url")
    item_E = (await engine.vector(asked.item)).vector_E
    vectors_QE = np.stack([(await engine.vector(asking.Part(text=text))).vector_E for text in taught])
    return {"questions": varied(taught, vectors_QE @ item_E)}


def varied(questions: list[str], cosines_Q: np.ndarray) -> list[str]:
    """The best of each beginning before the second of any."""
    order = np.argsort(-cosines_Q, kind="stable").tolist()
    seen: dict[str, int] = {}
    turns = []
    for rank, place in enumerate(order):
        beginning = " ".join(questions[place].lower().split()[:2])
        seen[beginning] = seen.get(beginning, 0) + 1
        turns.append((seen[beginning], rank, questions[place]))
    return [question for _, _, question in sorted(turns)[:SUGGESTED]]

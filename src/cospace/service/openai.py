"""``/v1/embeddings`` and ``/v1/models`` as clients of OpenAI's interface ask for them.

A text is embedded as text; a data URL is embedded as the file that it holds. The vectors are those of ``/api/embed``:
unit length, all modalities in one space. The form of requests, answers and errors is that of OpenAI's
reference ("Create embeddings").
"""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, Strict

from ..filenames import without_surrogates
from ..modalities import text_modality
from .asking import LIMITS, Name
from .engine import Engine
from .problems import Refusal
from .routes import TheEngine
from .sending import from_data_url, is_data_url

router = APIRouter(prefix="/v1")
MOST = 2_048
"""Inputs of one request, as with OpenAI."""
MOST_FILES = 64
"""Of which so many may be files, since each is decoded."""

Tokens = list[Annotated[int, Strict()]]


class EmbeddingRequest(BaseModel):
    """What clients send. Fields that are not named here are ignored, since clients send many."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"example": {"model": "cospace", "input": ["a red bus", "a green field"]}}
    )

    input: Annotated[str, Strict()] | list[Annotated[str, Strict()]] | Tokens | list[Tokens]
    """A text, a data URL of a file, or a list of both."""
    model: Name = "cospace"
    """Is repeated in the answer; there is one model."""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Strict(), Field(ge=1)] | None = None
    """The first so many coordinates, scaled to unit length again."""


class Embedding(BaseModel):
    """One vector: numbers, or the base64 of their float32, little endian."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens of the texts, as the model's own tokenizer counts them; files count nothing."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(BaseModel):
    """Vectors in the order of the inputs."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class ModelCard(BaseModel):
    """A model that can be named."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """The models that can be named: one."""

    object: Literal["list"]
    data: list[ModelCard]


@router.post("/embeddings", response_model=None, responses={200: {"model": EmbeddingAnswer}})
async def embeddings(asked: EmbeddingRequest, engine: TheEngine) -> dict[str, Any]:
    """Vectors of texts, and of files as data URLs, as clients of OpenAI's interface ask for them."""
    inputs = _inputs(asked.input)
    if asked.dimensions is not None and asked.dimensions > engine.space.width:
        raise Refusal(422, f"this model's vectors have {engine.space.width} dimensions, no more", "dimensions")
    vectors_NE = await _vectors(engine, inputs)
    if asked.dimensions is not None:
        vectors_NE = vectors_NE[:, : asked.dimensions]
        vectors_NE /= np.maximum(np.linalg.norm(vectors_NE, axis=1, keepdims=True), 1e-12)
    used = await asyncio.to_thread(_tokens, engine, inputs)
    shown = [_shown(vector_E, asked.encoding_format) for vector_E in vectors_NE]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(shown)],
        "model": asked.model,
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }


@router.get("/models", response_model=None, responses={200: {"model": ModelList}})
def models(engine: TheEngine) -> dict[str, Any]:
    """The one model that answers."""
    return {"object": "list", "data": [_card(engine)]}


@router.get("/models/{name:path}", response_model=None, responses={200: {"model": ModelCard}})
def model(name: str, engine: TheEngine) -> dict[str, Any]:
    """The same by its name."""
    card = _card(engine)
    if name != card["id"]:
        raise Refusal(404, f"there is no model of this name; there is {card['id']}", "model")
    return card


def _card(engine: Engine) -> dict[str, Any]:
    return {
        "id": f"cospace-{(engine.space.fingerprint or 'unknown')[:12]}",
        "object": "model",
        "created": 0,
        "owned_by": "cospace",
    }


def _inputs(given: Any) -> list[str]:
    inputs: list[Any] = [given] if isinstance(given, str) else list(given)
    if not 0 < len(inputs) <= MOST:
        raise Refusal(422, f"give 1 to {MOST:,} inputs; {len(inputs):,} were given", "input")
    if any(not isinstance(one, str) for one in inputs):
        raise Refusal(
            422,
            "lists of token numbers belong to another model's tokenizer; send the texts themselves "
            "(LangChain: check_embedding_ctx_length=False)",
            "input",
        )
    if sum(map(is_data_url, inputs)) > MOST_FILES:
        raise Refusal(422, f"give at most {MOST_FILES} files at a time", "input")
    for place, text in enumerate(inputs):
        _check_text(text, place)
    return inputs


def _check_text(text: str, place: int) -> None:
    """Refuse what cannot be embedded, with its place."""
    if is_data_url(text):
        return
    why = ""
    if not text.strip():
        why = "is empty"
    elif len(text) > LIMITS.text:
        why = f"has {len(text):,} characters, more than {LIMITS.text:,}"
    elif "\0" in text or without_surrogates(text) != text:
        why = "is not valid Unicode text"
    if why:
        raise Refusal(422, f"input {place} {why}", "input")


async def _vectors(engine: Engine, inputs: list[str]) -> np.ndarray:
    """Unit vectors ``(N, E)``; what is of one modality is embedded together, a few at a time."""
    items: list[tuple[str, Any]] = []
    for text in inputs:
        if is_data_url(text):
            sent = await engine.decoded(from_data_url(text.encode(), "input"))
            items.append((sent.modality, sent.raw))
        else:
            items.append(engine.text_item(text))
    vectors_NE = np.empty((len(items), engine.space.width), np.float32)
    for name in {name for name, _ in items}:
        places = [place for place, item in enumerate(items) if item[0] == name]
        for start in range(0, len(places), engine.limits.several):
            part = places[start : start + engine.limits.several]
            vectors_NE[part] = await engine.embedded(name, [items[place][1] for place in part])
    return vectors_NE


def _tokens(engine: Engine, inputs: list[str]) -> int:
    if text_modality() not in engine.modalities:
        return 0
    prepare = engine.space.processors[text_modality()].prepare
    return sum(len(prepare(text)) for text in inputs if not is_data_url(text))


def _shown(vector_E: np.ndarray, encoding: str) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(vector_E.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector_E.tolist()]

"""The interface described: ``/openapi.json`` with typed answers and an example of every body, a page for people
under ``/docs``, and ``/llms.txt`` for programs that read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ..reading import whole
from . import answers

router = APIRouter(include_in_schema=False)
HERE = Path(__file__).parent

INTRODUCTION = """Search an index of files and texts by meaning. Numbers in answers belong to the `version` beside them.
What goes wrong is one sentence (`application/problem+json`, RFC 9457). With a token, send
`Authorization: Bearer TOKEN`."""

JSON_ANSWERS: dict[str, type[BaseModel]] = {
    "GET /api/info": answers.InfoAnswer,
    "POST /api/search": answers.SearchAnswer,
    "GET /api/items": answers.ItemsAnswer,
    "GET /api/item": answers.ItemAnswer,
    "GET /api/near": answers.NearAnswer,
    "POST /api/explain": answers.ExplainAnswer,
    "POST /api/upload": answers.UploadAnswer,
    "GET /api/upload/{name}": answers.UploadAnswer,
    "POST /api/classify": answers.ClassifyAnswer,
    "POST /api/caption": answers.CaptionAnswer,
    "POST /api/ask": answers.AskAnswer,
    "POST /api/embed": answers.EmbedAnswer,
    "POST /api/feedback": answers.OkAnswer,
    "POST /api/session": answers.OkAnswer,
    "GET /api/health": answers.HealthAnswer,
    "GET /api/complete": answers.CompleteAnswer,
    "GET /api/groups": answers.GroupsAnswer,
    "GET /api/values": answers.ValuesAnswer,
    "GET /api/paired": answers.PairedAnswer,
    "GET /api/path": answers.PathAnswer,
    "GET /api/shelf": answers.ShelfAnswer,
    "POST /api/shelf": answers.CountAnswer,
    "GET /api/classes": answers.ClassesAnswer,
    "POST /api/classes": answers.SavedClassAnswer,
    "DELETE /api/classes/{name}": answers.OkAnswer,
    "POST /api/heat": answers.HeatAnswer,
    "POST /api/questions": answers.QuestionsAnswer,
    "GET /healthz": answers.StateAnswer,
}
"""Answers by method and path."""

OTHER_ANSWERS = {
    "POST /api/rank": "application/octet-stream",
    "GET /api/browse": "application/octet-stream",
    "GET /api/map": "application/octet-stream",
    "GET /t/{size}/{content}": "image/webp",
    "GET /u/{name}": "image/webp",
    "GET /s/64/{number}": "image/webp",
    "GET /m/{content}": "application/octet-stream",
    "GET /o/{content}": "application/octet-stream",
    "GET /api/shelf/export": "application/octet-stream",
    "GET /metrics": "text/plain",
    "GET /": "text/html",
    "GET /page/{name}": "application/octet-stream",
}
"""Media types of what is no JSON."""

HASH = "0123456789abcdef0123456789abcdef"
EXAMPLES: dict[str, Any] = {
    "/api/search": {"parts": [{"text": "a red bus"}, {"text": "night", "weight": -1}], "k": 5},
    "/api/rank": {"parts": [{"text": "a red bus"}], "k": 500},
    "/api/explain": {"parts": [{"text": "a red bus"}], "number": 0, "version": 1},
    "/api/classify": {"item": {"upload": HASH}, "classes": ["cat", "dog", "bus"]},
    "/api/caption": {"item": {"id": "photos/1.jpg"}},
    "/api/ask": {"item": {"id": "photos/1.jpg"}, "question": "what colour is the bus?"},
    "/api/embed": {"texts": ["a red bus", "a green field"]},
    "/api/heat": {"parts": [{"text": "a red bus"}], "number": 0, "version": 1},
    "/api/questions": {"item": {"id": "photos/1.jpg"}},
    "/api/shelf": {"ids": ["photos/1.jpg"], "kept": True, "note": "for the cover"},
    "/api/classes": {
        "name": "buses",
        "parts": [{"text": "a bus"}],
        "right": ["photos/1.jpg"],
        "wrong": ["photos/2.jpg"],
    },
    "/api/feedback": {"id": "photos/1.jpg", "verdict": "wrong"},
    "/api/session": {"token": "the token that the service printed"},
}
"""Of each JSON body; ``/v1/embeddings`` has its own beside its type."""

UPLOAD_BODY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
"""One of the three ways: generators of clients stumble over a choice."""
TAGS = (
    ("search", ("/api/search", "/api/rank", "/api/explain", "/api/near", "/api/complete", "/api/upload")),
    ("vectors", ("/v1", "/api/embed", "/api/classify")),
    ("decoder", ("/api/caption", "/api/ask")),
    ("index", ("/api/", "/t/", "/m/", "/u/", "/s/")),
    ("service", ("/",)),
)
"""Groups of paths by how they begin; the first that fits."""


class DescribedApp(FastAPI):
    """An application whose description names what it answers."""

    def openapi(self) -> dict[str, Any]:
        """The description, made once."""
        if self.openapi_schema is None:
            described = super().openapi()
            described["info"]["description"] = INTRODUCTION
            schemas = described.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(_schemas([*JSON_ANSWERS.values(), answers.ProblemAnswer]))
            described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            described["security"] = [{}, {"token": []}]
            for path, operations in described["paths"].items():
                for method, operation in operations.items():
                    _complete(f"{method.upper()} {path}", path, operation)
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
        return self.openapi_schema or {}


def _schemas(models: list[type[BaseModel]]) -> dict[str, Any]:
    _, made = models_json_schema(
        [(model, "serialization") for model in dict.fromkeys(models)], ref_template="#/components/schemas/{model}"
    )
    return dict(made["$defs"])


def _complete(name: str, path: str, operation: dict[str, Any]) -> None:
    """Add to an operation what its function's types do not say."""
    operation["tags"] = [next(tag for tag, starts in TAGS if path.startswith(starts))]
    operation["summary"] = operation.get("description", "").partition(". ")[0].partition("\n\n")[0].rstrip(".")
    answer = JSON_ANSWERS.get(name)
    if answer is not None:
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer.__name__}"}}}
        operation["responses"]["200"] = {"description": (answer.__doc__ or "").split("\n\n")[0], "content": content}
    elif name in OTHER_ANSWERS:
        text = OTHER_ANSWERS[name].startswith("text/")
        schema = {"type": "string"} if text else {"type": "string", "format": "binary"}
        content = {OTHER_ANSWERS[name]: {"schema": schema}}
        operation["responses"]["200"] = {"description": operation.get("description", ""), "content": content}
    operation["responses"].pop("422", None)
    if not path.startswith("/v1/"):
        problem = {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}}
        content = {"application/problem+json": problem}
        operation["responses"]["default"] = {"description": "What went wrong.", "content": content}
    if name == "POST /api/upload":
        operation["requestBody"] = {"required": True, "content": UPLOAD_BODY}
    elif path in EXAMPLES and "requestBody" in operation:
        operation["requestBody"]["content"]["application/json"]["example"] = EXAMPLES[path]


@router.get("/docs")
def docs() -> Response:
    """The description for people; it asks nothing of any other machine."""
    return Response(whole(HERE / "page" / "docs.html"), media_type="text/html; charset=utf-8")


@router.get("/llms.txt")
def llms() -> Response:
    """What this service is, for programs that read (llmstxt.org)."""
    return Response(whole(HERE / "llms.txt"), media_type="text/plain; charset=utf-8")

"""A stand-in for the service: the same HTTP interface over made-up items, with delays and failures at will.

The page's browser tests need late replies, refusals and a server that goes away at an exact moment; a real model gives
none of these. Everything is seeded: the same request has the same answer.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import uvicorn
from PIL import Image, ImageDraw, ImageOps
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import cospace
from service.stand_in_classes import ClassRoutes
from service.stand_in_map import QUESTIONS, MapRoutes

PAGE = Path(cospace.__file__).parent / "service" / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
COLOURS = {
    "red": (201, 60, 55),
    "orange": (226, 140, 60),
    "yellow": (228, 200, 90),
    "green": (80, 150, 95),
    "blue": (70, 110, 190),
    "violet": (130, 95, 170),
    "brown": (130, 95, 70),
    "grey": (140, 145, 150),
}
THINGS = ("ball", "box", "kite", "hill", "moon")
GROUNDS = ("sand", "snow", "grass", "water", "stone", "night", "dawn")
SHAPES = ((640, 480), (480, 640), (720, 405), (512, 512), (600, 400), (400, 600), (900, 400))
CLIP_MODULE = """
export function player(url, label) {
  const button = document.createElement("button");
  button.className = "clip-player";
  button.dataset.url = url;
  button.textContent = `Play ${label}`;
  return button;
}
export function recorder(onBlob) {
  const button = document.createElement("button");
  button.textContent = "Record";
  button.addEventListener("click", () => onBlob(new Blob(["CLIP recorded"], { type: "clip/raw" })));
  return button;
}
"""
"""What a further modality brings to the page, as ``Modality.page_module`` gives it."""
MODALITIES: list[dict[str, Any]] = [
    {"name": "image", "noun": "image", "plural": "images", "is_text": False, "preview": True, "page": None,
     "upload_types": ["image/jpeg", "image/png", "image/webp"]},
    {"name": "text", "noun": "caption", "plural": "texts", "is_text": True, "preview": False, "page": None,
     "upload_types": []},
]  # fmt: skip
CLIP: dict[str, Any] = {
    "name": "clip", "noun": "clip", "plural": "clips", "is_text": False, "preview": True,
    "page": "page/modality-clip.js", "upload_types": ["clip/raw"],
}  # fmt: skip
NASTY = '</script><img src=x onerror=alert(1)> & a "quoted" <b>caption</b>'
STOP = {"a", "an", "the", "on", "of", "in", "and"}
LABELS = list(COLOURS)
LEVELS = {"strong": 70, "likely": 50, "maybe": 20}
"""Percentages from which on a match is called so."""


@dataclass
class StandIn:
    """``n`` files and as many captions; the fields after them are what tests switch.

    Files are images; with ``clips`` every third one is of another modality, whose items can be played and recorded.
    """

    n: int = 5000
    delays: dict[str, float] = field(default_factory=dict)
    """Seconds that a path (or all below ``/t``) waits; ``/api/rank red`` is a query of which a part is ``red``."""
    failures: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Path: status and detail."""
    missing_thumbnails: set[int] = field(default_factory=set)
    warm: bool = True
    can_ask: bool = True
    believed: float | None = 0.41
    """What the decoder thinks of its own caption."""
    clips: bool = False
    version: int = 3
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, path with query, and the JSON body of what was asked."""
    encoded: set[str] = field(default_factory=set)
    encodings: int = 0
    uploads: dict[str, bytes] = field(default_factory=dict)
    """Previews by hash."""
    upload_modality: dict[str, str] = field(default_factory=dict)
    feedback: list[dict[str, Any]] = field(default_factory=list)
    grouped: bool = True
    stacked: list[list[int]] = field(default_factory=list)
    by_caption: int = 0
    """Rows of every ranking that lie behind another row."""
    shrunk: int = 1
    """What the sides of all images are divided by."""
    shelf: dict[str, str] = field(default_factory=dict)
    """Notes by id."""
    classes: dict[str, list[int]] = field(default_factory=dict)
    """Numbers of the members of each saved class."""
    quality: str = "good"
    columned: bool = True
    """Whether items have columns that can be filtered by."""
    further: list[str] = field(default_factory=list)
    """Captions that every file has beside its first."""

    def asked(self, path: str) -> list[Any]:
        return [body for _, name, body in self.requests if name.split("?")[0] == path]

    def reset(self) -> None:
        """Back to a server that behaves, with nothing asked."""
        for each in (
            self.delays,
            self.failures,
            self.missing_thumbnails,
            self.requests,
            self.uploads,
            self.feedback,
            self.shelf,
            self.classes,
            self.further,
        ):
            each.clear()
        self.upload_modality.clear()
        self.warm, self.can_ask, self.clips, self.believed = True, True, False, 0.41
        self.grouped, self.shrunk, self.quality, self.by_caption = True, 1, "good", 0
        self.columned = True

    def pause(self, path: str, body: bytes) -> float:
        words = [part.get("text") for part in json.loads(body).get("parts", [])] if body else []
        first = "/" + path.split("/")[1]
        return max(self.delays.get(name, 0) for name in (path, first, *(f"{path} {word}" for word in words)))

    # -- items: numbers below n are files, the others their captions --

    def modality(self, number: int) -> str:
        if number >= self.n:
            return "text"
        return "clip" if self.clips and number % 3 == 2 else "image"

    def counts(self) -> dict[str, int]:
        clips = self.n // 3 if self.clips else 0
        counts = {"image": self.n - clips, "text": self.n}
        return counts | ({"clip": clips} if self.clips else {})

    def colour(self, number: int) -> str:
        return LABELS[number % self.n % len(LABELS)]

    def text(self, number: int) -> str:
        row = number % self.n
        if row == 7:
            return NASTY
        thing, ground = THINGS[row // 8 % len(THINGS)], GROUNDS[row // 40 % len(GROUNDS)]
        return f"a {self.colour(row)} {thing} on {ground}, number {row}"

    def shape(self, number: int) -> tuple[int, int]:
        width, height = SHAPES[(number * 31 + number // 7) % len(SHAPES)] if number < self.n else (0, 0)
        return width // self.shrunk, height // self.shrunk

    def rgb(self, number: int) -> int:
        red, green, blue = ((2 * part + 200) // 3 for part in COLOURS[self.colour(number)])
        return red << 16 | green << 8 | blue

    def item(self, number: int) -> dict[str, Any]:
        width, height = self.shape(number)
        is_file = number < self.n
        return {
            "number": number,
            "id": f"pictures/{number:06d}.jpg" if is_file else f"text/pictures/{number - self.n:06d}.jpg",
            "modality": self.modality(number),
            "path": f"{number:06d}.jpg" if is_file else "",
            "text": self.text(number),
            "hash": f"h{number}" if is_file else "",
            "width": width,
            "height": height,
            "rgb": self.rgb(number) if is_file else 0,
            "extras": {"label": self.colour(number), "year": str(1990 + number % 30)},
        }

    def number(self, id: str) -> int:
        base = id.removeprefix("text/").removeprefix("pictures/").removesuffix(".jpg")
        if not base.isdigit() or int(base) >= self.n:
            raise Refusal(404, f"there is no item {id!r}")
        return int(base) + (self.n if id.startswith("text/") else 0)

    # -- scores --

    @functools.cached_property
    def words(self) -> list[frozenset[str]]:
        return [frozenset(self.text(row).lower().replace(",", "").split()) for row in range(self.n)]

    def part_scores(self, part: Mapping[str, Any]) -> np.ndarray:
        """Of every row: how many of the part's words its caption has, and a little seeded noise."""
        key = json.dumps({name: value for name, value in part.items() if name != "weight"})
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4])
        noise = np.random.default_rng(seed).random(self.n, np.float32) * 0.05
        if "text" in part:
            if part["text"] not in self.encoded:
                self.encoded.add(part["text"])
                self.encodings += 1
            wanted = set(part["text"].lower().split()) - STOP
        elif "id" in part:
            wanted = set(self.text(self.number(part["id"])).lower().replace(",", "").split()) - STOP
        elif part["upload"] in self.uploads:
            wanted = {LABELS[seed % len(LABELS)]}
        else:
            raise Refusal(404, "the file of this query is no longer remembered; send it again")
        share = np.fromiter((len(wanted & words) for words in self.words), np.float32, self.n) / max(1, len(wanted))
        return share * np.float32(0.9) + noise

    def rank(self, query: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        """Numbers, scores and percents, best first, and whether the percents mean anything."""
        parts = query["parts"]
        if not parts:
            raise Refusal(422, "a query needs at least one part", "parts")
        scores = sum(np.float32(part.get("weight", 1)) * self.part_scores(part) for part in parts)
        right, wrong = ([self.number(id) % self.n for id in query.get(side, [])] for side in ("right", "wrong"))
        for row, sign in [*((row, 1) for row in right), *((row, -0.5) for row in wrong)]:
            scores = scores + np.float32(sign) * self.part_scores({"id": f"pictures/{row:06d}.jpg"})
        rows = np.setdiff1d(np.arange(self.n), wrong)
        find = query.get("find")
        if self.clips and find != "text":
            rows = rows[(rows % 3 == 2) == (find == "clip")]
        for condition in query.get("where") or []:
            rows = rows[self.passes(condition, rows)]
        order = rows[np.argsort(-scores[rows], kind="stable")]
        calibrated = all(part.get("weight", 1) > 0 for part in parts) and not right and not wrong
        percents = np.clip(scores[order] / (len(parts) + len(right)) * 100, 0, 99).astype(np.uint8)
        numbers = order + (self.n if find == "text" else 0)
        return numbers, scores[order], percents, calibrated

    def lexical(self, parts: list[dict[str, Any]]) -> tuple[list[str], list[int]]:
        """Words of a single text that no caption has, and the files whose captions have all of them."""
        if len(parts) != 1 or "text" not in parts[0]:
            return [], []
        asked = parts[0]["text"].lower().split()
        unknown = [word for word in asked if not any(word in words for words in self.words)]
        found = [row for row, words in enumerate(self.words) if words.issuperset(asked)]
        return unknown, found[:60]

    def passes(self, condition: str, rows: np.ndarray) -> np.ndarray:
        if condition.startswith("class:"):
            return np.isin(rows, self.classes[condition.removeprefix("class:")])
        column, _, values = condition.partition("=")
        if column != "label":
            raise Refusal(422, f"there is no column {column!r}; there are label and year", "where")
        return np.array([self.colour(row) in values.split("|") for row in rows.tolist()], bool)


class Refusal(Exception):
    def __init__(self, status: int, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.status, self.field = status, field


def frame(header: Mapping[str, Any], columns: list[np.ndarray]) -> Response:
    """A JSON header padded to four bytes, then columns."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    body = (
        len(text).to_bytes(4, "little") + text + b"".join(np.ascontiguousarray(column).tobytes() for column in columns)
    )
    return Response(body, media_type="application/octet-stream")


def paint(stand_in: StandIn, number: int, size: int) -> bytes:
    """An image of the thing that its caption names."""
    width, height = stand_in.shape(number)
    scale = min(1.0, size / max(width, height))
    size_of = (max(1, round(width * scale)), max(1, round(height * scale)))
    ground = Image.linear_gradient("L").resize(size_of)
    red, green, blue = COLOURS[stand_in.colour(number)]
    light = tuple(min(255, 150 + part // 3) for part in (blue, red, green))
    image = ImageOps.colorize(ground, light, tuple(part // 2 + 40 for part in light))
    draw = ImageDraw.Draw(image)
    w, h = size_of
    dice = np.random.default_rng(number)
    x, y, r = (
        w * (0.3 + 0.4 * dice.random()),
        h * (0.35 + 0.3 * dice.random()),
        min(w, h) * (0.18 + 0.14 * dice.random()),
    )
    thing = THINGS[number // 8 % len(THINGS)]
    fill = (red, green, blue)
    if thing in ("ball", "moon"):
        draw.ellipse((x - r, y - r, x + r, y + r), fill)
    elif thing == "box":
        draw.rectangle((x - r, y - r, x + r, y + r), fill)
    else:
        draw.polygon(((x - r, y + r), (x, y - r), (x + r, y + r)), fill)
    return encoded_webp(image)


def encoded_webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    return buffer.getvalue()


class Routes:
    """The interface; one method a path."""

    def __init__(self, stand_in: StandIn) -> None:
        self.it = stand_in
        self.paint = functools.lru_cache(4000)(functools.partial(paint, stand_in))

    async def page(self, request: Request) -> Response:
        path = PAGE / request.path_params.get("name", "index.html")
        if path.name == "modality-clip.js" and self.it.clips:
            return Response(CLIP_MODULE, media_type="text/javascript")
        if path.parent != PAGE or not path.is_file():
            raise Refusal(404, "there is no such file")
        return Response(path.read_bytes(), media_type=TYPES[path.suffix])

    async def info(self, request: Request) -> Response:
        it = self.it
        return JSONResponse(
            {
                "name": "things", "version": it.version, "fingerprint": "f00d", "warm": it.warm,
                "counts": it.counts(), "total": 2 * it.n,
                "modalities": [*MODALITIES, *([CLIP] if it.clips else [])], "describes": "image",
                "can": {"caption": it.can_ask, "ask": it.can_ask, "fetch": False},
                "columns": {"label": it.n, "year": it.n} if it.columned else {},
                "quality": {"verdict": "", "level": it.quality}, "calibrated": ["text_to_image", "image_to_text"],
                "examples": [f"a {a} {b}" for a, b in zip(LABELS, (*THINGS, "ball"), strict=False)],
                "representatives": [i * (it.n // 24) + i % 8 for i in range(24)],
                "limits": {"upload_bytes": 10_000_000, "k": 1000, "ranks": 5000, "text": 1000, "parts": 16},
                "token": False,
            }
        )  # fmt: skip

    async def rank(self, request: Request) -> Response:
        query = await request.json()
        before = self.it.encodings
        numbers, scores, percents, calibrated = self.it.rank(query)
        total = len(numbers)
        numbers, scores, percents = (each[: query.get("k", 20)] for each in (numbers, scores, percents))
        unknown, literal = self.it.lexical(query["parts"])
        levels = {name: int((percents >= least).sum()) for name, least in LEVELS.items()}
        if unknown:
            levels |= {"strong": 0, "likely": 0}
        header = {
            "version": self.it.version, "n": len(numbers), "total": total, "calibrated": calibrated, **levels,
            "direction": "text_to_image", "ms": {"encode": 1, "score": 1}, "encoded": self.it.encodings - before,
            "unknown_words": unknown, "literal": literal, "stacked": self.it.stacked, "by_caption": self.it.by_caption,
        }  # fmt: skip
        items = numbers.tolist()
        appearance = [np.array([self.it.rgb(i) for i in items], np.uint32)]
        appearance += [np.array([self.it.shape(i)[axis] for i in items], np.uint16) for axis in (0, 1)]
        shown = percents if calibrated else np.full_like(percents, 255)
        return frame(header, [numbers.astype(np.uint32), scores.astype(np.float32), *appearance, shown])

    async def search(self, request: Request) -> Response:
        query = await request.json()
        numbers, scores, percents, calibrated = self.it.rank(query)
        results = [
            self.it.item(int(number))
            | {"score": float(score), "probability": int(percent) / 100 if calibrated else None, "match": "likely"}
            | {"percent": int(percent) if calibrated else None}
            for number, score, percent in list(zip(numbers, scores, percents, strict=True))[: query.get("k", 20)]
        ]
        return JSONResponse({"version": self.it.version, "total": len(numbers), "results": results})

    async def browse(self, request: Request) -> Response:
        offset, k = (int(request.query_params[name]) for name in ("offset", "k"))
        items = list(range(self.it.n))[offset : offset + min(k, 2000)]  # less than is asked for, as of a large index
        columns = [np.array(items, np.uint32), np.zeros(len(items), np.float32)]
        columns += [np.array([self.it.rgb(i) for i in items], np.uint32)]
        columns += [np.array([self.it.shape(i)[axis] for i in items], np.uint16) for axis in (0, 1)]
        header = {"version": self.it.version, "n": len(items), "total": self.it.n, "offset": offset}
        return frame(header, [*columns, np.full(len(items), 255, np.uint8)])

    async def values(self, request: Request) -> Response:
        each = -(-self.it.n // len(LABELS))
        colours = [{"value": label, "count": each} for label in LABELS]
        years = [{"value": str(1990 + year), "count": self.it.n // 30} for year in range(10)]
        columns = [
            {"name": "label", "kind": "text", "distinct": 8, "values": colours, "least": None, "most": None},
            {"name": "year", "kind": "number", "distinct": 30, "values": years, "least": 1990, "most": 2019},
        ]
        return JSONResponse({"version": self.it.version, "columns": columns if self.it.columned else []})

    async def groups(self, request: Request) -> Response:
        groups = [
            {"name": f"{label} things", "count": 625, "cover": row, "numbers": list(range(row, 480, 8))}
            for row, label in enumerate(LABELS)
        ]
        return JSONResponse({"groups": groups if self.it.grouped else []})

    async def complete(self, request: Request) -> Response:
        *before, last = request.query_params["q"].lower().split(" ")
        known = [word for word in (*COLOURS, *THINGS, *GROUNDS) if last and word.startswith(last)]
        found = [{"text": " ".join([*before, word]), "count": 100 + len(word)} for word in known]
        return JSONResponse({"completions": found[: int(request.query_params["k"])]})

    async def paired(self, request: Request) -> Response:
        numbers = [int(number) for number in request.query_params["n"].split(",")]
        if len(numbers) > 100:
            raise Refusal(422, "at most 100 items at a time", "n")
        n = self.it.n
        other = [[self.it.item((number + n) % (2 * n))] for number in numbers]
        for number, found in zip(numbers, other, strict=True):
            found += [found[0] | {"text": text} for text in self.it.further if number < n]
        return JSONResponse({"version": self.it.version, "paired": other})

    async def path(self, request: Request) -> Response:
        return JSONResponse({"path": "/somewhere/" + request.query_params["id"]})

    async def original(self, request: Request) -> Response:
        number = int(request.path_params["name"].removeprefix("h"))
        return Response(self.paint(number, 1000), media_type="image/webp")

    async def shelf(self, request: Request) -> Response:
        if request.method == "POST":
            asked = await request.json()
            for name in asked["ids"]:
                if asked.get("kept", True):
                    self.it.shelf[name] = asked.get("note") or self.it.shelf.get(name, "")
                else:
                    self.it.shelf.pop(name, None)
            return JSONResponse({"count": len(self.it.shelf)})
        kept = [self.it.item(self.it.number(name)) | {"note": note} for name, note in self.it.shelf.items()]
        return JSONResponse({"items": kept, "gone": []})

    async def items(self, request: Request) -> Response:
        if int(request.query_params["version"]) != self.it.version:
            raise Refusal(409, "the index has changed")
        numbers = [int(number) for number in request.query_params["n"].split(",") if number]
        if len(numbers) > 100:
            raise Refusal(422, "at most 100 items at a time", "n")
        return JSONResponse({"version": self.it.version, "items": [self.it.item(number) for number in numbers]})

    async def item(self, request: Request) -> Response:
        return JSONResponse(self.it.item(self.it.number(request.query_params["id"])))

    async def explain(self, request: Request) -> Response:
        asked = await request.json()
        numbers, scores, _, _ = self.it.rank(asked | {"find": self.it.modality(asked["number"])})
        rank = int(np.flatnonzero(numbers % self.it.n == asked["number"] % self.it.n)[0])
        row = asked["number"] % self.it.n
        parts = [float(self.it.part_scores(part)[row]) for part in asked["parts"]]
        shares = [score * part.get("weight", 1) for score, part in zip(parts, asked["parts"], strict=True)]
        summary = [{"score": score, "share": share} for score, share in zip(parts, shares, strict=True)]
        z = (float(scores[rank]) - float(scores.mean())) / float(scores.std())
        return JSONResponse(
            {"score": float(scores[rank]), "z": z, "share_above": rank / len(numbers), "parts": summary}
        )

    async def near(self, request: Request) -> Response:
        number, k = int(request.query_params["n"]), int(request.query_params["k"])
        query = {"parts": [{"id": self.it.item(number % self.it.n)["id"]}], "find": request.query_params.get("find")}
        found, scores, _, _ = self.it.rank(query)
        others = found != number
        return JSONResponse({"numbers": found[others][:k].tolist(), "scores": scores[others][:k].tolist()})

    async def upload(self, request: Request) -> Response:
        data = await request.body()
        if data.startswith(b"CLIP") and self.it.clips:
            return self._remember(hashlib.sha256(data).hexdigest()[:16], "clip", Image.new("RGB", (256, 128), "navy"))
        try:
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        except OSError:
            raise Refusal(415, "the service reads JPEG, PNG and WebP") from None
        name = hashlib.sha256(data).hexdigest()[:16]
        image = image.convert("RGB")
        image.thumbnail((256, 256))
        return self._remember(name, "image", image)

    def _remember(self, name: str, modality: str, preview: Image.Image) -> Response:
        self.it.uploads[name], self.it.upload_modality[name] = encoded_webp(preview), modality
        return self._described(name, preview)

    def _described(self, name: str, preview: Image.Image) -> Response:
        modality = self.it.upload_modality[name]
        size = {"width": preview.width, "height": preview.height}
        return JSONResponse({"upload": name, "modality": modality, "preview": True, **size})

    async def known_upload(self, request: Request) -> Response:
        data = self.it.uploads.get(request.path_params["name"])
        if data is None:
            raise Refusal(404, "this upload is no longer remembered")
        return self._described(request.path_params["name"], Image.open(io.BytesIO(data)))

    async def uploaded(self, request: Request) -> Response:
        data = self.it.uploads.get(request.path_params["name"])
        if data is None:
            raise Refusal(404, "this upload is no longer remembered")
        return Response(data, media_type="image/webp")

    async def classify(self, request: Request) -> Response:
        classes = (await request.json())["classes"]
        shares = np.linspace(2, 1, len(classes)) / np.linspace(2, 1, len(classes)).sum()
        return JSONResponse(
            {"results": [{"class": c, "probability": float(p)} for c, p in zip(classes, shares, strict=True)]}
        )

    async def caption(self, request: Request) -> Response:
        return JSONResponse({"caption": "a thing on a ground", "itm_score": self.it.believed})

    async def ask(self, request: Request) -> Response:
        question = (await request.json())["question"]
        if question not in QUESTIONS:
            raise Refusal(422, "this run was not taught such questions", "question")
        sure = 0.2 if "large" in question else 0.81
        top = [{"answer": "red", "confidence": sure}, {"answer": "blue", "confidence": 0.11}]
        return JSONResponse({"answer": "red", "confidence": sure, "top": top})

    async def report(self, request: Request) -> Response:
        self.it.feedback.append(await request.json())
        return JSONResponse({"ok": True})

    async def thumbnail(self, request: Request) -> Response:
        size, name = request.path_params["size"], request.path_params["name"]
        number = int(name.removeprefix("h")) if name.removeprefix("h").isdigit() else -1
        if (
            size not in ("64", "256", "512", "1280")
            or not 0 <= number < self.it.n
            or number in self.it.missing_thumbnails
        ):
            raise Refusal(404, "there is no such thumbnail")
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Response(self.paint(number, int(size)), media_type="image/webp", headers=headers)

    async def healthz(self, request: Request) -> Response:
        return JSONResponse({"ok": True, "warm": self.it.warm})

    def __iter__(self) -> Iterator[Route]:
        yield Route("/", self.page)
        yield Route("/page/{name}", self.page)
        yield Route("/t/{size}/{name}", self.thumbnail)
        yield Route("/u/{name}", self.uploaded)
        yield Route("/api/upload/{name}", self.known_upload)
        yield Route("/healthz", self.healthz)
        yield Route("/api/shelf", self.shelf, methods=["GET", "POST"])
        yield Route("/o/{name}", self.original)
        for name in ("browse", "values", "groups", "complete", "paired", "path"):
            yield Route(f"/api/{name}", getattr(self, name))
        for name in ("info", "items", "item", "near"):
            yield Route(f"/api/{name}", getattr(self, name))
        for name in ("rank", "search", "explain", "upload", "classify", "caption", "ask"):
            yield Route(f"/api/{name}", getattr(self, name), methods=["POST"])
        yield Route("/api/feedback", self.report, methods=["POST"])
        yield from MapRoutes(self.it)
        yield from ClassRoutes(self.it)


def application(stand_in: StandIn) -> Callable[..., Any]:
    """The routes, with what every reply has and what tests switch."""

    async def refuse(request: Request, refusal: Exception) -> Response:
        assert isinstance(refusal, Refusal)
        summary = {"title": "Refused", "status": refusal.status, "detail": str(refusal), "field": refusal.field}
        return JSONResponse(summary, refusal.status, media_type="application/problem+json")

    async def switched(request: Request, call_next: Any) -> Response:
        path = request.url.path
        written = f"{path}?{request.url.query}" if request.url.query else path
        body = await request.body() if request.method == "POST" and path != "/api/upload" else b""
        stand_in.requests.append((request.method, written, json.loads(body) if body else None))
        await asyncio.sleep(stand_in.pause(path, body))
        if path in stand_in.failures:
            status, detail = stand_in.failures[path]
            summary = {"title": "It failed", "status": status, "detail": detail}
            response: Response = JSONResponse(summary, status, media_type="application/problem+json")
        else:
            response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    switches = Middleware(BaseHTTPMiddleware, dispatch=switched)
    return Starlette(routes=list(Routes(stand_in)), middleware=[switches], exception_handlers={Refusal: refuse})


class Serving:
    """The stand-in on a port of this machine, in a thread; it can be stopped and started again on the same port."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        config = uvicorn.Config(
            application(self.stand_in), host="127.0.0.1", port=self.port, log_level="error", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            if not self.thread.is_alive():
                raise RuntimeError("the stand-in did not start")
            self.thread.join(0.01)
        return self

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)

"""The map and the health of the stand-in's made-up items; hooked into its routes."""

from __future__ import annotations

import asyncio
import functools
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cospace.service.mapping import ACROSS, CELL, SHEET, FlatMap

if TYPE_CHECKING:
    from service.stand_in import StandIn


def drawn(stand_in: StandIn) -> FlatMap:
    """Every colour a cloud, every thing a smaller one in it; a caption lies near its image."""
    n = stand_in.n
    dice = np.random.default_rng(0)
    rows = np.arange(n)
    angle, turn = rows % 8 / 8 * 2 * np.pi, rows // 8 % 5 / 5 * 2 * np.pi
    places = np.stack([2.4 * np.cos(angle) + np.cos(turn), 1.9 * np.sin(angle) + np.sin(turn)], 1)
    places = np.concatenate([places + 0.22 * dice.standard_normal((n, 2))] * 2)
    places[n:] += 0.05 * dice.standard_normal((n, 2))
    grid = np.rint((places - places.min(0)) / np.ptp(places, 0).max() * 65000 + 200)
    order = dice.permutation(2 * n)
    colour = order % n % 8
    labels = [stand_in.colour(number) for number in range(8)]
    middles = [np.median(grid[:n][rows % 8 == number], 0) for number in range(8)]
    header: dict[str, Any] = {
        "version": stand_in.version, "n": 2 * n, "total": 2 * n, "modalities": ["image", "text"], "previews": ["image"],
        "classes": labels,
        "clusters": [
            {"label": f"{label} things", "x": int(x), "y": int(y)}
            for label, (x, y) in zip(labels, middles, strict=True)
        ],
        "agreement": 0.62, "sheets": -(-n // SHEET), "cell": CELL, "across": ACROSS,
    }  # fmt: skip
    columns = [order.astype(np.uint32), *grid[order].astype(np.uint16).T, (order >= n).astype(np.uint8)]
    return FlatMap(header, [*columns, colour.astype(np.uint8), colour.astype(np.uint8)])


def sheet(stand_in: StandIn, flat: FlatMap, number: int) -> bytes:
    """Sprites of one colour with the number's bits along the top, which is enough to tell them apart."""
    rows = flat.sprites()[number * SHEET : (number + 1) * SHEET]
    whole = np.zeros((ACROSS * CELL, ACROSS * CELL, 4), np.uint8)
    for place, item in enumerate(flat.columns[0][rows].tolist()):
        if item in stand_in.missing_thumbnails:
            continue
        width, height = (max(8, round(side * CELL / max(stand_in.shape(item)))) for side in stand_in.shape(item))
        left = place % ACROSS * CELL + (CELL - width) // 2
        top = place // ACROSS * CELL + (CELL - height) // 2
        rgb = stand_in.rgb(item)
        whole[top : top + height, left : left + width] = (rgb >> 16, rgb >> 8 & 255, rgb & 255, 255)
        for bit in range(17):
            if item >> bit & 1:
                whole[top : top + 6, left + bit * width // 17 : left + (bit + 1) * width // 17, :3] = 20
    buffer = io.BytesIO()
    Image.fromarray(whole).save(buffer, "WEBP", quality=80, method=0)
    return buffer.getvalue()


TITLES = {"text_to_image": "A caption finds its image", "image_to_text": "An image finds its caption"}
HEALTH: dict[str, Any] = {
    "version": 3,
    "verdict": {
        "level": "fair",
        "sentence": "Fair: it finds the right image first for 41 of 100 captions (guessing: 1 of 1,000).",
        "evidence": "R@1 41.2 % [38.2, 44.2], 500 captions, chance 0.2 %.",
        "deed": "Train longer: 100 steps were run, and data of this size usually take 196.",
        "command": "cospace train ... training.steps=196",
    },
    "facts": [
        {"name": "Made from", "value": "things.csv"},
        {"name": "Trained", "value": "2026-11-25 10:04"},
        {"name": "Model", "value": "f00d"},
    ],
    "held_out": {
        "n": {"image": 500, "text": 500},
        "counts": [{"count": 500, "plural": "images"}, {"count": 500, "plural": "texts"}],
        "directions": [
            {
                "direction": direction,
                "title": title,
                "queries": 500,
                "asked": asked,
                "word": "look",
                "says": "fair",
                "recalls": [
                    {"k": k, "value": value, "low": value - 0.03, "high": value + 0.03, "shown": f"{100 * value:.1f}",
                     "chance": k * 0.002, "chance_shown": f"{k * 0.2:.1f}"}
                    for k, value in ((1, 0.412), (5, 0.633), (10, 1.0))
                ],
            }
            for (direction, title), asked in zip(TITLES.items(), ("caption", "image"), strict=True)
        ],
        "intervals": "95 % intervals over groups",
    },
    "cards": [
        {"key": "most_found", "title": "Found most often", "value": 0.042, "shown": "4.2 %", "word": "",
         "sentence": "One image is among the first 10 results of 4.2 % of 500 captions.", "specialist": False,
         "item": {"id": "thing-7", "number": 7, "hash": "h7", "modality": "image", "width": 120, "height": 90,
                  "text": "thing 7"}},
        {"key": "hubness", "title": "Hubness", "value": 3.4, "shown": "3.4", "word": "look", "specialist": True,
         "sentence": "Some items crowd result lists: look at the most frequent ones.", "item": None},
        {"key": "rank", "title": "Effective rank", "value": 3.1, "shown": "3.1 of 64", "word": "bad", "item": None,
         "specialist": True, "sentence": "Few directions are in use: train with objective=softmax."},
    ],
    "calibration": {
        "error": 0.031, "shown": "3.1 %", "results": 452, "queries": 500, "word": "",
        "sentence": "Percentages are off by 3.1 points on average.",
        "bins": [
            {"predicted": p, "observed": p * 0.96 + 0.01, "count": count, "enough": count >= 20}
            for p, count in ((0.25, 300), (0.45, 90), (0.65, 50), (0.95, 12))
        ],
    },
    "pairs": [],
    "sampled": None,
}  # fmt: skip


QUESTIONS = ["What colour is the ball?", "How many balls are there?", "How large is it?"]
"""What the stand-in's decoder was taught."""


class MapRoutes:
    """What the Map and the Health view ask for, and questions and heat maps."""

    def __init__(self, stand_in: StandIn) -> None:
        self.it = stand_in
        self.drawn = functools.lru_cache(4)(lambda n, version: drawn(stand_in))
        self.sheet = functools.lru_cache(64)(lambda n, version, number: sheet(stand_in, self.flat(), number))

    def flat(self) -> FlatMap:
        return self.drawn(self.it.n, self.it.version)

    async def map(self, request: Request) -> Response:
        return Response(self.flat().framed(), media_type="application/octet-stream")

    async def sprites(self, request: Request) -> Response:
        number = int(request.path_params["number"])
        if number >= self.flat().header["sheets"]:
            return JSONResponse({"title": "Refused", "status": 404, "detail": "there is no such sheet"}, 404)
        content = await asyncio.to_thread(self.sheet, self.it.n, self.it.version, number)
        return Response(content, media_type="image/webp")

    async def health(self, request: Request) -> Response:
        pairs = [
            {"id": self.it.item(row)["id"], "hash": f"h{row}", "text": self.it.text(row), "other": f"text/{row}",
             "number": row, "modality": "image", "about": "",
             "cosine": round(-0.1 + row / 100, 4)}
            for row in range(6, 26)
        ]  # fmt: skip
        service = {"n": 120, "p50": 18.0, "p95": 64.0}
        return JSONResponse(HEALTH | {"pairs": pairs, "service": service})

    async def questions(self, request: Request) -> Response:
        return JSONResponse({"questions": QUESTIONS})

    async def groups(self, request: Request) -> Response:
        rows = {
            label: list(range(place, self.it.n, 8))[:60] for place, label in enumerate(self.flat().header["classes"])
        }
        found = [
            {"name": f"{label} things", "count": self.it.n // 8, "cover": numbers[0], "numbers": numbers}
            for label, numbers in rows.items()
        ]
        return JSONResponse({"groups": found})

    async def heat(self, request: Request) -> Response:
        """The upper left quarter matters most; of a text its second word."""
        number = (await request.json())["number"]
        if self.it.modality(number) == "text":
            words = self.it.text(number).split(" ")
            ends = np.cumsum([len(word) + 1 for word in words]).tolist()
            spans = [[end - len(word) - 1, end - 1] for word, end in zip(words, ends, strict=True)]
            heat = [1.0 if place == 1 else 0.0 for place in range(len(words))]
            return JSONResponse(
                {"kind": "letters", "columns": 0, "spans": spans, "heat": heat, "score": 0.5, "drop": 0.2}
            )
        sides = [place / 4 for place in range(4)]
        spans = [[x, y, x + 0.25, y + 0.25] for y in sides for x in sides]
        heat = [1.0 if x < 0.5 and y < 0.5 else -0.2 for y in sides for x in sides]
        return JSONResponse({"kind": "boxes", "columns": 4, "spans": spans, "heat": heat, "score": 0.5, "drop": 0.2})

    def __iter__(self) -> Iterator[Route]:
        yield Route("/api/questions", self.questions, methods=["POST"])
        yield Route("/api/heat", self.heat, methods=["POST"])
        yield Route("/api/groups", self.groups)
        yield Route("/api/map", self.map)
        yield Route("/s/64/{number:int}", self.sprites)
        yield Route("/api/health", self.health)

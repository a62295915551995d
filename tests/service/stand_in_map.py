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
                "recalls": [
                    {"k": k, "value": value, "low": value - 0.03, "high": value + 0.03, "shown": f"{100 * value:.1f}",
                     "chance": k * 0.002}
                    for k, value in ((1, 0.412), (5, 0.633), (10, 0.741))
                ],
            }
            for direction, title in TITLES.items()
        ],
        "intervals": "95 % intervals over groups",
    },
    "cards": [
        {"key": "gap", "title": "Modality gap", "value": 0.26, "shown": "0.26", "word": "good",
         "sentence": "Images and texts share one region; nothing to do."},
        {"key": "hubness", "title": "Hubness", "value": 3.4, "shown": "3.4", "word": "look",
         "sentence": "Some items crowd result lists: look at the most frequent ones."},
        {"key": "rank", "title": "Effective rank", "value": 3.1, "shown": "3.1 of 64", "word": "bad",
         "sentence": "Few directions are in use: train with objective=softmax."},
    ],
    "calibration": {
        "error": 0.031, "shown": "3.1 %", "source": "held-out pairs",
        "bins": [{"predicted": p, "observed": p * 0.96 + 0.01, "count": 90} for p in (0.05, 0.3, 0.5, 0.7, 0.95)],
    },
    "pairs": [],
    "sampled": None,
}  # fmt: skip


class MapRoutes:
    """What the Map and the Health view ask for."""

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

    def __iter__(self) -> Iterator[Route]:
        yield Route("/api/map", self.map)
        yield Route("/s/64/{number:int}", self.sprites)
        yield Route("/api/health", self.health)

"""What the index holds, in groups: the named regions of the map, each with an item that stands for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Request

from ..modalities import is_text
from .engine import Engine
from .mapping import FlatMap
from .routes import TheEngine

router = APIRouter(prefix="/api")

NUMBERS = 60
"""Items of a group that are named, the most typical first."""
LEAST = 3
"""Items that make a group."""


@router.get("/groups")
def groups(request: Request, engine: TheEngine) -> dict[str, Any]:
    """Groups of similar items, the largest first; none until the map is drawn, which this asks for."""
    flat = request.app.state.maps.ready()
    if flat is None:
        return {"groups": []}
    known: dict[int, list[dict[str, Any]]] = request.app.state.groups
    version = flat.header["version"]
    if version not in known:
        known.clear()
        known[version] = groups_of(engine, flat)
    return {"groups": known[version]}


def groups_of(engine: Engine, flat: FlatMap) -> list[dict[str, Any]]:
    """The named regions as groups of files (of texts, where there are no files); regions of one name are one group."""
    numbers_N, _, _, modality_N, _, region_N = flat.columns
    names = flat.header["modalities"]
    files = [code for code, name in enumerate(names) if not is_text(name)] or list(range(len(names)))
    eligible_N = np.isin(modality_N, files)
    regions: dict[str, list[int]] = {}
    for region, cluster in enumerate(flat.header["clusters"]):
        if cluster["label"]:
            regions.setdefault(cluster["label"], []).append(region)
    store = engine.snapshot(flat.header["version"]).store
    found = []
    for name, codes in regions.items():
        members = numbers_N[eligible_N & np.isin(region_N, codes)].astype(np.int64)
        if len(members) < LEAST:
            continue
        vectors_ME = store.vectors(members)
        typical = members[np.argsort(-(vectors_ME @ vectors_ME.mean(0)), kind="stable")][:NUMBERS].tolist()
        found.append({"name": name, "count": len(members), "cover": typical[0], "numbers": typical})
    return sorted(found, key=lambda group: -group["count"])

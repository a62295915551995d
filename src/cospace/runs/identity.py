"""What decides a run, so that the same command goes on with it and another one does not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .. import files
from ..data.pairs import Pairs
from ..reading import read_json
from ..types import UserError
from .run import Run
from .settings import RunConfig

FILE = "identity.json"

FREE = {"config.training.parallel", "config.training.rank_timeout_seconds", "config.data.shard_cache_gb"}
"""Settings that an unfinished run may go on with changed: how many processes share the work is no part of it, nor what
is kept of what it has read."""


def check_identity(out: Path, config: RunConfig, data: tuple[Pairs, Pairs], source: Run | None) -> None:
    """Write what decides the run, or check that a run with checkpoints here was decided by the same."""
    identity = {
        "config": config.model_dump(mode="json"),
        "data": [pairs.fingerprint for pairs in data],
        "from": None if source is None else source.space.fingerprint,
    }
    path = out / FILE
    if not path.exists() or not any((out / "checkpoints").glob("step-*")):
        files.write_json(path, identity)
        return
    recorded = read_json(path)
    now = json.loads(json.dumps(identity))
    changed = ", ".join(sorted(set(_differences(recorded, now)) - FREE))
    if not changed:
        return
    raise UserError(f"{out} holds an unfinished run of other settings or data ({changed}); choose another --out")


def _differences(recorded: Any, now: Any, path: str = "") -> Iterable[str]:
    if isinstance(recorded, dict) and isinstance(now, dict):
        for key in recorded.keys() | now.keys():
            yield from _differences(recorded.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif recorded != now:
        yield path

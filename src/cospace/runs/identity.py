"""What decides a run, so that the same command goes on with it and another one does not."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import files
from ..data.pairs import Pairs
from ..types import StorageError, UserError
from .settings import RunConfig

FILE = "identity.json"

BUDGET = "budget.json"
"""What a budget of minutes has chosen for an unfinished run."""

FREE = {"config.training.parallel", "config.training.rank_timeout_seconds", "config.data.shard_cache_gb"}
"""Settings that an unfinished run may go on with changed: how many processes share the work is no part of it, nor what
is kept of what it has read."""


def unfinished(out: Path, clear: bool = True) -> bool:
    """Whether a run whose model is written was killed before its end: the same command then ends it once more.

    The checkpoints go at one stroke after the model is written, so that a model without them is finished; what a kill
    left of clearing up is cleared here, if this process is to do it.
    """
    if any((out / "checkpoints").glob("step-*")):
        return True
    if not clear:
        return False
    files.settle(out / "checkpoints")
    for left in (FILE, BUDGET, "pretrained.json"):
        (out / left).unlink(missing_ok=True)
    shutil.rmtree(out / "cache", ignore_errors=True)
    return False


def check_identity(
    out: Path,
    config: RunConfig,
    data: tuple[Pairs, Pairs],
    models: Mapping[str, str | None],
    say: Callable[[str], None],
) -> str:
    """Write what decides the run, or check that a run with checkpoints here was decided by the same.

    ``models`` are the fingerprints of the spaces that it starts and learns from. Returns a hash of it, which every
    checkpoint carries. Where the file is damaged it is written anew: the checkpoints know by themselves whose they are.
    """
    identity = _identity(config, data, models)
    path = out / FILE
    if path.exists() and any((out / "checkpoints").glob("step-*")):
        try:
            changed = ", ".join(sorted(set(_differences(files.read_sealed(path), identity)) - FREE))
        except StorageError as error:
            say(f"{error}: it is written anew; checkpoints that are this run's are known by their own mark")
        else:
            if changed:
                raise UserError(
                    f"{out} holds an unfinished run of other settings or data ({changed}); choose another --out"
                )
            return _hash(identity)
    files.write_sealed(path, identity)
    return _hash(identity)


def digest_of(config: RunConfig, data: tuple[Pairs, Pairs], models: Mapping[str, str | None]) -> str:
    """A hash of all that decides a run, or of what was asked for before that was complete."""
    return _hash(_identity(config, data, models))


def recorded_steps(out: Path) -> int | None:
    """How many steps the unfinished run in a folder has, where that can be read."""
    try:
        steps: int | None = files.read_sealed(out / FILE)["config"]["training"]["steps"]
    except (StorageError, KeyError, OSError):
        return None
    return steps


def _identity(config: RunConfig, data: tuple[Pairs, Pairs], models: Mapping[str, str | None]) -> dict[str, Any]:
    identity: dict[str, Any] = json.loads(json.dumps({
        "config": config.model_dump(mode="json"),
        "data": [pairs.fingerprint for pairs in data],
        **models,
    }))  # fmt: skip
    return identity


def _hash(identity: dict[str, Any]) -> str:
    decided = {key: value for key, value in _flat(identity) if key not in FREE}
    return hashlib.blake2b(json.dumps(decided, sort_keys=True).encode(), digest_size=16).hexdigest()


def _flat(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    """The leaves of nested objects by their dotted path."""
    if not isinstance(value, dict) or not value:
        yield path, value
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{path}.{key}" if path else key)


def _differences(recorded: Any, now: Any, path: str = "") -> Iterable[str]:
    if isinstance(recorded, dict) and isinstance(now, dict):
        for key in recorded.keys() | now.keys():
            yield from _differences(recorded.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif recorded != now:
        yield path

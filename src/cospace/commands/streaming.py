"""Training on pairs that are streamed: when, from which shards, and which of them are read before the first step."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.contents import digest
from ..data.pairs import Pairs, Spec
from ..data.sources import ReadOptions
from ..data.splits import SHARE, hold_out
from ..data.stream import Part, Shard, fingerprint, whole
from ..data.stream.locating import find_shards, is_remote
from ..data.stream.manifest import Manifest, Record, check_shards, kinds, plain
from ..data.stream.pair_stream import PairStream, files_of, read_some, without_problems
from ..data.stream.remote import ShardCache
from ..data.stream.shards import Columns, count_rows
from ..data.stream.windows import MOST_ROWS, Limits, Plan
from ..ranks import Ranks
from ..runs.datasets import can_train
from ..runs.initialization import Initial
from ..runs.settings import RunConfig
from ..runs.streaming import StreamBatches
from ..types import UserError
from .training_request import TrainArguments, TrainingData, check_validation, open_reference, read_and_say

LARGE, SEVERAL = 4 << 30, 4
"""Bytes, and shards, from which on pairs on this machine are streamed: reading and decoding so much before the first
step takes minutes, and prepared it would exceed what is kept in memory."""

SAMPLE_BYTES, SAMPLE_ROWS = 128 << 20, 20_000
"""Of the first shards: what a tokenizer learns from, and what settings are chosen by, at most."""

PREPARED = 1_000
"""Rows of these that are decoded before the first step."""

HELD_OUT_BYTES = 64 << 20
"""Of the last shards: among which validation pairs are held out."""

SHARDS, ROWS = 16, 4_096
"""Shards of a window where nothing is said, and pairs that it shall have: enough for some batches."""

UNITS = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}

FOOTERS = 1_000
"""Parquet files on this machine whose rows are counted by their footers; of more, or elsewhere, they are estimated."""


def open_stream(request: TrainArguments, config: RunConfig) -> TrainingData | None:
    """The stream that a person named, with a sample and validation pairs; nothing where pairs are read before."""
    shards = _shards(request, config)
    if shards is None:
        return None
    if request.clean:
        raise UserError(
            "--clean compares all pairs with each other, and these are streamed; leave it out, or set data.stream=false"
        )
    opening = _Opening(request, config, shards)
    try:
        return opening.data()
    except BaseException:
        opening.cache.release()
        raise


class _Opening:
    """What is read of a stream before the first step."""

    def __init__(self, request: TrainArguments, config: RunConfig, shards: Sequence[Shard]) -> None:
        named = specs(request.pairs)
        self.request, self.config, self.shards = request, config, shards
        self.name = " + ".join(_called(spec) for spec in named)
        self.options = _options(request.options, shards, str(named[0]))
        self.cache = ShardCache(round(config.data.shard_cache_gb * 1e9))
        self.kept = frozenset(part.shard for part in (*_first(shards, SAMPLE_BYTES), *_last(shards, HELD_OUT_BYTES)))

    def data(self) -> TrainingData:
        """A sample, validation pairs, and the stream of what is left."""
        parts = self._of_few_rows(_first(self.shards, SAMPLE_BYTES), SAMPLE_ROWS)
        sample, rows = read_some(self.name, parts, self.cache, self.options)
        can_train(sample).stop_above(1.0)  # where no row of them can be used
        in_all = _estimate(self.shards, parts, len(sample))
        limits = self._limits(in_all)
        self._say(rows.understood, in_all, limits)
        val = self._validation(sample, in_all)
        plan = Plan(self.shards, self.config.training.seed, limits)
        stream = PairStream(self.name, plan, self.options, self.cache, Columns.of(rows), files_of(val), self.kept)
        sample = without_problems(sample.select(np.flatnonzero(~stream.is_held_out(sample))[:SAMPLE_ROWS]))
        if len(sample) < 2:
            raise UserError(
                f"{self.name} is too small to hold out validation pairs; give some with --val, or add pairs"
            )
        if self.config.heads == "closed_form":
            self.request.listener.say(f"heads in closed form are fitted on the first {len(sample):,} pairs by name")
        known = digest([fingerprint(self.shards).encode(), sample.fingerprint.encode()])
        sample = replace(sample, rows_in_all=max(in_all, len(sample)), fingerprint=known)
        return TrainingData(sample, val, open_reference(self.request), sample, {}, stream)

    def _validation(self, sample: Pairs, in_all: int) -> Pairs:
        request, val = self.request, self.request.val
        if val is not None:
            shards = find_shards([str(spec) for spec in specs(val)]) if any(map(_is_remote, specs(val))) else None
            found = read_and_say(request, val) if shards is None else self._fetched(shards)
            return check_validation(found, sample, self.config.data.max_bad_fraction)
        parts = self._of_few_rows(_last(self.shards, HELD_OUT_BYTES), SAMPLE_ROWS, from_end=True)
        last, _ = read_some(self.name, parts, self.cache, self.options)
        can_train(last)
        share = min(0.5, SHARE * in_all / max(1, len(last)))
        held = without_problems(hold_out(last, self.config.training.seed, share)[1])
        held = replace(held, rows_in_all=in_all)
        request.listener.say(f"no validation pairs were given: {len(held):,} of the last shards are held out for it")
        return held

    def _fetched(self, shards: Sequence[Shard]) -> Pairs:
        """Validation pairs in shards on object storage, all of them."""
        if (size := sum(shard.size for shard in shards)) > LARGE:
            raise UserError(f"--val names shards with {size / 1e9:.1f} GB; name some of them, of 4 GB at most")
        self.kept |= frozenset(shards)
        found = read_some("validation", [whole(shard) for shard in shards], self.cache, self.options)[0]
        for line in found.summary():
            self.request.listener.say(line)
        return found

    def _of_few_rows(self, parts: Sequence[Part], most: int, from_end: bool = False) -> list[Part]:
        """Parts of parquet files cut to so many rows: a row may have a few bytes only."""
        if _are_tar(self.shards):
            return list(parts)
        made: list[Part] = []
        for part in reversed(parts) if from_end else parts:
            if not most:
                break
            rows = len(part.rows(count_rows(self.cache.local(part.shard)) or 0))
            size = part.size if rows <= most else max(1, part.size * most // rows)
            made.append(replace(part, start=part.stop - size) if from_end else replace(part, stop=part.start + size))
            most -= min(most, rows)
        return made[::-1] if from_end else made

    def _limits(self, in_all: int) -> Limits:
        """What a window holds at most; of tiny shards so many that its batches are whole ones."""
        data, count = self.config.data, len(self.shards)
        shards = data.window_shards or max(SHARDS, -(-ROWS * count // max(1, in_all)))
        size = sum(shard.size for shard in self.shards)
        return Limits.of(shards, round(data.window_gb * 1e9), size / max(1, in_all))

    def _say(self, understood: str, in_all: int, limits: Limits) -> None:
        """How the pairs are read: that they stream, from how many shards, in which windows."""
        count, size = len(self.shards), sum(shard.size for shard in self.shards)
        kind = "tar" if _are_tar(self.shards) else "parquet"
        read = understood.rpartition("; ")[2] if kind == "tar" else understood
        files = f"{count:,} {kind} {'file' if count == 1 else 'files'} ({_bytes(size)})"
        most = _bytes(round(self.config.data.window_gb * 1e9))
        windows = f"windows of at most {limits.shards:,} shards, {most} and {MOST_ROWS:,} pairs"
        self.request.listener.say(f"{self.name}: {files}, streamed in {windows}; about {in_all:,} pairs; {read}")


def _bytes(size: int) -> str:
    return next((f"{size / unit:.3g} {name}" for name, unit in UNITS.items() if size >= unit), f"{size} bytes")


def specs(given: Spec | Sequence[Spec]) -> Sequence[Spec]:
    """What was named, as a list."""
    return given if isinstance(given, list | tuple) else [given]  # type: ignore[list-item]


def _is_remote(spec: Spec) -> bool:
    return isinstance(spec, str) and is_remote(spec)


def _shards(request: TrainArguments, config: RunConfig) -> list[Shard] | None:
    """The shards, where they are to be streamed."""
    named = specs(request.pairs)
    wanted, texts = config.data.stream, [str(spec) for spec in named if isinstance(spec, str | Path)]
    remote = [text for text in texts if is_remote(text)]
    if wanted is False and not remote:
        return None
    if wanted is False:
        raise UserError(f"{remote[0]} is on object storage, from which pairs are streamed; leave data.stream=false out")
    shards = None
    if len(texts) == len(named) and (wanted or remote or len(set(texts)) == len(texts)):
        shards = find_shards(texts)
    if shards is None and (wanted or remote):
        raise UserError(
            "what streams are tar shards, or parquet files (a folder or a pattern of them, here or at an address like "
            f"s3://BUCKET/shard-{{0000..0099}}.tar); {', '.join(map(str, named))} names something else, or both"
        )
    large = shards is not None and len(shards) >= SEVERAL and sum(shard.size for shard in shards) >= LARGE
    return shards if wanted or remote or large or any(map(_is_only_streamed, texts)) else None


def _is_only_streamed(text: str) -> bool:
    """Whether a text names shards in a way that no source reads: by a pattern of parquet files, or an address."""
    is_pattern = Path(text).suffix.lower() == ".parquet" and bool(set(text) & set("*?{["))
    return text.startswith("file://") or (is_pattern and not Path(text).exists())


def _called(spec: Spec) -> str:
    text = str(spec).rstrip("/")
    return text if "://" in text else Path(text).name or text


def _options(options: ReadOptions, shards: Sequence[Shard], spec: str) -> ReadOptions:
    """How shards are read; options that mean nothing for their kind are refused."""
    if _are_tar(shards):
        options.only(spec, "exclude", "form")
    else:
        options.only(spec, "columns", "root", "form")
    return options


def _are_tar(shards: Sequence[Shard]) -> bool:
    return shards[0].address.lower().endswith(".tar")


def _first(shards: Sequence[Shard], most: int) -> list[Part]:
    """Parts from the beginning of the first shards by name, of so many bytes at most."""
    parts: list[Part] = []
    for shard in shards:
        room = most - sum(part.size for part in parts)
        if parts and room <= 0:
            break
        parts.append(Part(shard, 0, min(shard.size, max(1, room))))
    return parts


def _last(shards: Sequence[Shard], most: int) -> list[Part]:
    """Parts from the end of the last shards, of so many bytes at most; of half of the shards where there are two."""
    parts: list[Part] = []
    for shard in shards[::-1][: max(1, len(shards) // 2)]:
        room = most - sum(part.size for part in parts)
        if parts and room <= 0:
            break
        parts.insert(0, Part(shard, max(0, shard.size - max(1, room)), shard.size))
    return parts


def _estimate(shards: Sequence[Shard], parts: Sequence[Part], pairs: int) -> int:
    """About how many pairs there are in all, from those of some parts: by the files' footers, or else by bytes."""
    local = [Path(shard.address) for shard in shards if not shard.remote]
    if len(local) == len(shards) <= FOOTERS and local[0].suffix.lower() == ".parquet":
        counts = {path: count_rows(path) or 0 for path in local}
        listed = sum(len(part.rows(counts[Path(part.shard.address)])) for part in parts)
        return round(sum(counts.values()) * pairs / max(1, listed))
    size = sum(part.size for part in parts)
    return round(pairs * sum(shard.size for shard in shards) / max(1, size))


def first_pairs(data: TrainingData, config: RunConfig) -> Pairs:
    """What is prepared before the first step: all pairs, or some of those that stand for a stream.

    Heads in closed form are fitted on as many of these as there are.
    """
    if data.stream is None or config.heads == "closed_form":
        return data.train
    return data.train.select(np.arange(min(PREPARED, len(data.train))))


def check_stream(out: Path, data: TrainingData) -> None:
    """Refuse to go on with an unfinished run in ``out`` whose shards have changed, by the name of one."""
    if data.stream is not None:
        goes_on = any((out / "checkpoints").glob("step-*"))
        check_shards(out, data.stream.plan.shards, goes_on)


def streamed_batches(
    data: TrainingData, config: RunConfig, initial: Initial, out: Path, spill: Path, ranks: Ranks
) -> StreamBatches | None:
    """The batches of a run whose pairs are streamed; nothing where they are not, or where no step is taken.

    What the first rank has recorded of the windows is what all go by; it alone writes further records.
    """
    if data.stream is None or not config.training.steps:
        return None
    of_data = config.data.model_dump(mode="json") | {"shard_cache_gb": None}
    decides = [data.train.fingerprint, data.val.fingerprint, json.dumps(of_data), str(config.training.seed)]
    key = digest(text.encode() for text in decides)
    manifest = Manifest.open(out, key) if ranks.first else None
    records = ranks.from_first(None if manifest is None else plain(list(manifest.records.values())))
    if manifest is None:
        manifest = Manifest(None, key, [Record(**record) for record in records])
    return StreamBatches(data.stream, manifest, initial.space, config, initial.tokenizer, spill)


def say_streamed(batches: StreamBatches, say: Callable[[str], None]) -> None:
    """What became of everything that was read, once the training is done."""
    (counts, left), name = batches.counts(), batches.pairs.name
    reached = f"; {left:,} of {len(batches.pairs.plan.shards):,} shards were not reached" if left else ""
    first = next((f" (set aside first: {one.id}: {one.reason})" for one in batches.problems), "")
    say(f"{name}: {counts.sentence()}{reached}{first}")


def streamed_facts(batches: StreamBatches) -> dict[str, Any]:
    """What a run's folder says of the shards it was trained on."""
    plan, (_, left) = batches.pairs.plan, batches.counts()
    seen = [record for (epoch, _), record in batches.manifest.records.items() if epoch == 0]
    return {
        "set_aside": dict(kinds(seen)),
        "stream": {
            "shards": len(plan.shards),
            "bytes": sum(shard.size for shard in plan.shards),
            "shards_not_reached": left,
            "windows": len(plan.windows(0)),
        },
    }

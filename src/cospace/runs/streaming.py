"""Batches of pairs that are streamed: one window is trained on while a thread reads and prepares the next.

Which pairs a step sees is a function of the seed and of its number, given how many usable pairs the windows before it
have. That is what a run records of every window (:mod:`cospace.data.stream.manifest`), so that it goes on without
reading what it has passed; where the record is gone, those windows are read again.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..data.batches import Batch, Batches, Share, TrainingBatches
from ..data.counting import Counts
from ..data.on_demand import IN_MEMORY, OnDemandRows
from ..data.pairs import too_many_bad
from ..data.prepared import PreparedPairs, prepare_on_demand, prepare_pairs
from ..data.sampler import WindowSampler, window_batches
from ..data.stream import Shard
from ..data.stream.manifest import Manifest, Record, kinds, shard_of
from ..data.stream.pair_stream import PairStream
from ..data.stream.windows import Place
from ..modalities import Processor
from ..modalities.text.tokenizer import Tokenizer
from ..models.space import Space, learns
from ..prefetch import Background
from ..ranks import ALONE, Ranks
from ..types import Problem, UserError
from .datasets import training_batches
from .settings import RunConfig

ENOUGH = 1_000
"""Rows from which on their share that cannot be used is taken for that of all; fewer may be bad luck."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window that is ready: its batches, and what was found in it."""

    batches: TrainingBatches
    record: Record
    problems: tuple[Problem, ...]
    """The first rows that cannot be used."""


class StreamBatches:
    """The batches of a run by step, of a stream of pairs; at most two windows are in memory."""

    def __init__(
        self, stream: PairStream, manifest: Manifest, space: Space, config: RunConfig, tokenizer: Tokenizer, spill: Path
    ) -> None:
        self.pairs, self.manifest, self.spill, self.config = stream, manifest, spill, config
        self.batch_size, self.seed = config.training.batch_size or 2, config.training.seed
        self.processors: Mapping[str, Processor] = dict(space.processors)
        self.share: Share | None = None
        self.ranks = ALONE
        self.on_demand: OnDemandRows | None = None
        self.decodes_first = not all(map(learns, space.encoders.values()))
        """Whether all items of a window are prepared before its first step, as a frozen encoder needs them."""
        own = copy.deepcopy(space) if self.decodes_first else space  # with which a thread computes
        self.make: Callable[[PreparedPairs, WindowSampler], TrainingBatches] = lambda prepared, sampler: (
            training_batches(prepared, own, config, tokenizer, window=sampler)
        )
        self._next: Background[Window] | None = None
        self._used: list[Shard] = []  # those of the window that is trained on
        self.problems: list[Problem] = []
        """The first rows that this process has set aside."""

    def shared(self, share: Share, ranks: Ranks = ALONE) -> Batches:
        """The same batches, of which a rank makes its part."""
        self.share, self.ranks = share, ranks
        return self

    def stream(self, start: int, stop: int, workers: int) -> Iterator[Batch]:
        """The batches of steps ``start`` to ``stop``; ``workers`` processes make those of a window in advance."""
        if start >= stop:
            return
        places = self.pairs.plan.places()
        place, step = self._first(places, start)
        following = next(places)
        self._next = self._begin(place, following, step, start)
        try:
            while step < stop:
                window = self._next.result()
                self._accept(place, window)
                end = step + window_batches(window.record.rows, self.batch_size)
                steps = range(max(step, start), min(end, stop))
                batches = self._judged(place, window.batches, window.batches.stream(steps.start, steps.stop, workers))
                first = next(batches, None) if steps else None  # worker processes begin here, while no thread works
                self._used = [part.shard for part in place.window]
                window, place, step = None, following, end  # type: ignore[assignment]
                following = next(places)
                if step < stop:
                    self._next = self._begin(place, following, step, start)
                if first is not None:
                    yield first
                    del first
                    yield from batches
                del batches
        finally:
            self.close()

    def close(self) -> None:
        """End what is at work in the background, and let go of copies of shards."""
        working, self._next = self._next, None
        if working is not None:
            working.cancel(0)
        self.pairs.cache.release(keep=self.pairs.kept)  # for which it may be waiting
        if working is not None:
            working.cancel()

    def counts(self) -> tuple[Counts, int]:
        """What became of all that was read of the first epoch, and how many shards it has not reached."""
        seen = [record for (epoch, _), record in self.manifest.records.items() if epoch == 0]
        used = sum(record.used + record.seen - record.rows for record in seen)
        rows = sum(record.seen for record in seen)
        reached = {shard_of(name) for record in seen for name in record.parts}
        counts = Counts(used, rows - used, kinds(seen).total(), sum(record.left_alone for record in seen))
        return counts, len(self.pairs.plan.shards) - len(reached)

    def _first(self, places: Iterator[Place], start: int) -> tuple[Place, int]:
        """The first window that has to be read, and the step that it begins with: those before it are recorded."""
        step = 0
        for place in places:
            record = self.manifest.records.get((place.epoch, place.number))
            count = 0 if record is None else window_batches(record.rows, self.batch_size)
            if record is None or step + count > start:
                return place, step
            step += count
        raise AssertionError("windows never end")

    def _begin(self, place: Place, following: Place, step: int, start: int) -> Background[Window]:
        """Have a window read, and what its first step from ``start`` on asks for prepared.

        The shards of the one after it are fetched as well.
        """
        wanted = [part.shard for part in (*place.window, *following.window)]
        self.pairs.cache.release(keep=[*self._used, *wanted, *self.pairs.kept])
        self.pairs.cache.ask(wanted)
        return Background(partial(self._read, place, step, start))

    def _read(self, place: Place, step: int, start: int, check: Callable[[], None]) -> Window:
        read = self.pairs.read(place, lambda what, done, total: check())
        spill = self.spill / f"window-{place.epoch}-{place.number}"
        prepare = prepare_pairs if self.decodes_first else partial(prepare_on_demand, in_memory=IN_MEMORY // 2)
        prepared = prepare(read.pairs, self.processors, lambda what, done, total: check(), spill)
        for left in self.spill.glob(f"{spill.name}-*.npy"):  # mapped into memory for as long as it is needed
            left.unlink()
        check()
        pairs, rows = prepared.pairs, len(prepared.pairs)
        record = Record(
            place.epoch, place.number, rows, pairs.counts().used, len(pairs.left_alone), read.held_out,
            dict(Counter(problem.kind for problem in pairs.problems)), read.parts,
        )  # fmt: skip
        sampler = WindowSampler(rows, self.batch_size, self.seed, (place.epoch, place.number), step)
        batches = self.make(prepared, sampler)
        if self.share is not None:
            batches = batches.shared(self.share, self.ranks)
        if not self.decodes_first and step <= max(step, start) < step + sampler.batches:
            batches.prepare(max(step, start))
        return Window(batches, record, tuple(pairs.problems[:3]))

    def _accept(self, place: Place, window: Window) -> None:
        """Record a window. Raises :class:`UserError` where too much of what was seen is bad, or nothing is good."""
        self.manifest.add(window.record)
        self.problems = [*self.problems, *window.problems][:3]
        self._judge(place)

    def _judged(self, place: Place, made: TrainingBatches, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches of a window. Rows that turn out to be of no use are recorded, and judged with the others."""
        found = made.on_demand
        for batch in batches:
            if found is not None and batch.set_aside:
                self.manifest.amend((place.epoch, place.number), Counter(bad.kind for bad in found.set_aside.values()))
                self.problems = [*self.problems, *found.left().problems[-len(batch.set_aside) :]][:3]
                self._judge(place)
            yield batch
        if found is not None:
            found.close()

    def _judge(self, place: Place) -> None:
        seen = [self.manifest.records[0, number] for number in range(place.number + 1)] if place.epoch == 0 else []
        bad, rows = kinds(seen), sum(one.seen for one in seen)
        last = place.number + 1 == len(self.pairs.plan.windows(place.epoch))
        total, fraction = bad.total() + rows, self.config.data.max_bad_fraction
        if bad.total() > fraction * total and (total >= ENOUGH or last):
            raise too_many_bad(self.pairs.name, bad, total, self.problems, fraction)
        if seen and last and not any(one.rows > sum(one.unusable.values()) for one in seen):
            raise UserError(f"{self.pairs.name}: no shard holds a pair that can be trained on")

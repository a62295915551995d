"""Batches of a stream of real shards: each pair once an epoch, the same after a resume, two windows in memory."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import TINY
from cospace.commands import streaming
from cospace.commands.streaming import first_pairs, streamed_batches
from cospace.commands.training_request import TrainingData
from cospace.data.batches import Batch, Share, TrainingBatches
from cospace.data.pairs import open_pairs
from cospace.data.stream import shards
from cospace.data.stream.manifest import WINDOWS
from cospace.data.stream.windows import Limits, Plan
from cospace.modalities import _prepared
from cospace.modalities.image.processing import ImageProcessor
from cospace.ranks import ALONE
from cospace.runs.initialization import initialize
from cospace.runs.settings import RunConfig, resolve
from cospace.runs.streaming import StreamBatches
from cospace.types import UserError
from streams import members, opened, write_parquet, write_tar, write_tars

SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 3)


class Recorded:
    """A stream's batches, and what each step saw: ids of rows, and what the encoders read."""

    def __init__(self, pairs: Path, out: Path, *changes: str, limits: Limits | None = None) -> None:
        out.mkdir(exist_ok=True)
        every = (*TINY, "data.image.progressive_resizing=0", *changes)
        self.data = opened(pairs, out, *every, val=pairs.parent / "val")
        self.config = resolve("small", every).fitted(self.data.train)
        if limits is not None:
            plan = self.data.stream.plan
            object.__setattr__(self.data.stream, "plan", Plan(plan.shards, plan.seed, limits))
        self.out = out
        self.batches = self.made()

    def made(self) -> StreamBatches:
        """New batches of the run, as a process that starts has them."""
        initial = initialize(self.config, first_pairs(self.data, self.config), None)
        made = streamed_batches(self.data, self.config, initial, self.out, self.out / "spill", ALONE)
        assert made is not None
        self.spans: list[tuple[range, list[str]]] = []
        real = made.make

        def make(prepared: Any, sampler: Any) -> TrainingBatches:
            steps = range(sampler.first_step, sampler.first_step + sampler.batches)
            self.spans.append((steps, list(prepared.pairs.ids)))
            return real(prepared, sampler)

        made.make = make
        return made

    def ids(self, batch: Batch) -> list[str]:
        """What the rows of a step are called."""
        found = next(ids for steps, ids in self.spans if batch.step in steps)
        return [found[row].partition("#")[0] for row in batch.row_B.tolist()]

    def steps(self, start: int, stop: int, workers: int = 0) -> Iterator[tuple[int, list[str], torch.Tensor]]:
        for batch in self.batches.stream(start, stop, workers):
            images = torch.cat([part.to(torch.device("cpu")) for part in batch.parts["image"].inputs])
            yield batch.step, self.ids(batch), images[batch.parts["image"].item_B]

    def epochs(self, count: int) -> tuple[int, Counter[str]]:
        """How many steps so many epochs have, and how often each pair was seen in them."""
        seen: Counter[str] = Counter()
        for step, ids, _ in self.steps(0, 10**6):
            if next(steps for steps, _ in self.spans if step in steps) and self.epoch_of(step) >= count:
                return step, seen
            seen.update(ids)
        raise AssertionError

    def epoch_of(self, step: int) -> int:
        done = 0
        for (epoch, _), record in self.batches.manifest.records.items():
            done += shards_batches(record.rows, self.batches.batch_size)
            if step < done:
                return epoch
        raise AssertionError


def shards_batches(rows: int, batch_size: int) -> int:
    from cospace.data.sampler import window_batches

    return window_batches(rows, batch_size)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Shards of unequal size, one empty, one smaller than a batch; and others to validate on."""
    write_tars(tmp_path / "val", [0, 4])
    for path in (tmp_path / "val").glob("*.tar"):
        path.unlink()
    write_tar(tmp_path / "val" / "v.tar", members(range(500, 506)))
    return write_tars(tmp_path / "shards", [9, 1, 0, 14, 5, 8])


def everything(folder: Path) -> Counter[str]:
    """Every pair of the shards by the name of its picture."""
    return Counter(f"{name.name}/{key[:-4]}" for name in sorted(folder.glob("*.tar")) for key in keys_of(name))


def keys_of(path: Path) -> list[str]:
    from cospace.data.sources._archive import entries

    return [entry.name for entry in entries(path) if entry.name.endswith(".png")]


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(lambda s: sum(s) > 3),
    st.integers(1, 3),
    st.integers(2, 6),
)
def test_every_pair_of_real_shards_is_seen_once_an_epoch(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], most: int, batch_size: int
) -> None:
    folder = tmp_path_factory.mktemp("stream")
    write_tar(write_tars(folder / "val", []) / "v.tar", members(range(500, 506)))
    pairs = write_tars(folder / "shards", sizes)
    run = Recorded(pairs, folder / "run", f"training.batch_size={batch_size}", f"data.window_shards={most}")
    _, seen = run.epochs(2)
    assert seen == Counter(dict.fromkeys(everything(pairs), 2))


def test_a_resumed_run_sees_what_the_whole_one_sees_also_without_its_record(folder: Path, tmp_path: Path) -> None:
    run = Recorded(folder, tmp_path / "run", "training.batch_size=4", "data.window_shards=2")
    whole = list(run.steps(0, 25))
    assert [step for step, _, _ in whole] == list(range(25))
    for start in (0, 1, 2, 7, 13, 24):
        for gone in (False, True):
            if gone:
                (tmp_path / "run" / WINDOWS).unlink()
            run.batches = run.made()
            rest = list(run.steps(start, 25))
            assert [(step, ids) for step, ids, _ in rest] == [(step, ids) for step, ids, _ in whole[start:]]
            for (_, _, one), (_, _, other) in zip(rest, whole[start:], strict=True):
                assert torch.equal(one, other), "the same pictures, moved and mirrored in the same way"


def test_what_is_recorded_is_not_read_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Recorded(folder, tmp_path / "run", "training.batch_size=4", "data.window_shards=1")
    list(run.steps(0, 12))
    read: list[str] = []
    real = shards._of_tar
    monkeypatch.setattr(shards, "_of_tar", lambda part, *rest: (read.append(part.name), real(part, *rest))[1])
    run.batches = run.made()
    next(run.steps(9, 10))
    assert len(read) == 1


def test_the_first_batch_needs_the_first_window_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Recorded(folder, tmp_path / "run", "training.batch_size=4", "data.window_shards=1")
    read: list[str] = []
    real = shards._of_tar
    monkeypatch.setattr(shards, "_of_tar", lambda part, *rest: (read.append(part.name), real(part, *rest))[1])
    seen_at: list[list[str]] = []
    monkeypatch.setattr(
        TrainingBatches, "__getitem__", spying(TrainingBatches.__getitem__, lambda: seen_at.append([*read]))
    )
    next(run.steps(0, 10))
    window = run.data.stream.plan.windows(0)[0]
    assert seen_at[0] == [part.name for part in window]


def spying(real: Any, before: Any) -> Any:
    def called(*given: Any) -> Any:
        if before is not None:
            before()
        return real(*given)

    return called


def test_an_item_is_augmented_alike_whatever_the_windows(folder: Path, tmp_path: Path) -> None:
    seen: list[dict[tuple[str, int], torch.Tensor]] = []
    for number, most in enumerate((1, 4)):
        run = Recorded(folder, tmp_path / f"run{number}", "training.batch_size=4", f"data.window_shards={most}")
        found = {}
        for step, ids, images in run.steps(0, 22):
            found |= {(name, run.epoch_of(step)): image for name, image in zip(ids, images, strict=True)}
        seen.append(found)
    shared = seen[0].keys() & seen[1].keys()
    assert len(shared) > 37
    assert {epoch for _, epoch in shared} == {0, 1}
    assert all(torch.equal(seen[0][key], seen[1][key]) for key in shared)
    names = {name for name, _ in shared}
    assert any(not torch.equal(seen[0][name, 0], seen[0][name, 1]) for name in names if (name, 1) in seen[0])


def test_two_windows_are_in_memory_at_most(folder: Path, tmp_path: Path) -> None:
    run = Recorded(folder, tmp_path / "run", "training.batch_size=4", "data.window_shards=1")
    alive: list[weakref.ref[TrainingBatches]] = []
    most = 0
    real = run.batches.make

    def make(prepared: Any, sampler: Any) -> TrainingBatches:
        made = real(prepared, sampler)
        alive.append(weakref.ref(made))
        return made

    run.batches.make = make
    gc.disable()  # what only a collection would free counts as held
    try:
        for _ in run.batches.stream(0, 30, 0):
            most = max(most, sum(one() is not None for one in alive))
    finally:
        gc.enable()
    assert len(alive) > 8
    assert most == 2


def test_windows_too_large_for_the_memory_lie_in_files_that_go_with_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Recorded(folder, tmp_path / "run", "training.batch_size=4", "data.window_shards=2")
    held = list(run.steps(0, 12))
    monkeypatch.setattr(_prepared, "MEMORY", 0)
    made: list[Path] = []
    real = np.lib.format.open_memmap
    monkeypatch.setattr(np.lib.format, "open_memmap", lambda path, **how: (made.append(path), real(path, **how))[1])
    run.batches = run.made()
    run.batches.decodes_first = True  # as where an encoder is frozen
    for (_, ids, images), (_, same_ids, same_images) in zip(run.steps(0, 12), held, strict=True):
        assert ids == same_ids
        assert torch.equal(images, same_images)
    assert len(made) > 3
    assert not any(path.exists() for path in made)


def test_a_training_that_ends_early_leaves_nothing_at_work(folder: Path, tmp_path: Path) -> None:
    run = Recorded(folder, tmp_path / "run", "training.batch_size=4", "data.window_shards=1")
    before = set(threading.enumerate())
    batches = run.batches.stream(0, 30, 0)
    next(batches)
    batches.close()
    assert {thread for thread in threading.enumerate() if thread.is_alive()} <= before
    assert list(run.batches.stream(30, 30, 0)) == [], "nothing is left to do"
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_change_nothing(folder: Path, tmp_path: Path, workers: int) -> None:
    run = Recorded(folder, tmp_path / "run", "training.batch_size=4", "data.window_shards=3")
    alone = [(step, ids) for step, ids, _ in run.steps(0, 9)]
    run.batches = run.made()
    assert [(step, ids) for step, ids, _ in run.steps(0, 9, workers)] == alone


def test_ranks_make_parts_of_the_same_batches(folder: Path, tmp_path: Path) -> None:
    run = Recorded(folder, tmp_path / "run", "training.batch_size=8", "data.window_shards=2")
    by_rank = []
    for rank in range(4):  # more ranks than some windows have shards, or some batches pairs
        batches = run.made().shared(Share(rank, 4, 4), ALONE)
        by_rank.append([(b.step, b.row_B.tolist(), b.parts["image"].inputs) for b in batches.stream(0, 8, 0)])
    for of_step in zip(*by_rank, strict=True):
        assert len({(step, tuple(rows)) for step, rows, _ in of_step}) == 1
        for inputs in zip(*(inputs for _, _, inputs in of_step), strict=True):
            assert sum(one is not None for one in inputs) == 1, "each micro-batch is one rank's"


def test_parquet_streams_like_tar(tmp_path: Path) -> None:
    write_tar(write_tars(tmp_path / "val", []) / "v.tar", members(range(500, 506)))
    sizes = [9, 1, 0, 14]
    pairs = write_parquet(tmp_path / "shards", sizes)
    run = Recorded(pairs, tmp_path / "run", "training.batch_size=4", "data.window_shards=2")
    assert run.data.train.rows_in_all == sum(sizes), "footers count exactly"
    run = Recorded(pairs, tmp_path / "run2", "training.batch_size=4", limits=Limits(2, 900))
    captions: Counter[str] = Counter()
    for window in run.data.stream.plan.windows(0):
        assert len(window) < 3
        rows = shards.read_parts(window, run.data.stream.local, run.data.stream.options, run.data.stream.columns)
        captions.update(rows.items["text"])
    assert len([part for window in run.data.stream.plan.windows(0) for part in window]) > len(sizes), "files are cut"
    read = open_pairs(pairs)
    assert captions == Counter(read.items["text"])


# ------------------------------------------------------------------------------------------------ what cannot be used


def test_a_broken_picture_is_set_aside_and_counted(folder: Path, tmp_path: Path) -> None:
    broken = members(range(900, 905)) | {"000902.png": b"no picture at all"}
    write_tar(folder / "shard-001.tar", broken)
    run = Recorded(folder, tmp_path / "run", "data.max_bad_fraction=0.1", "training.batch_size=4")
    _, seen = run.epochs(1)
    assert set(seen) == set(everything(folder)) - {"shard-001.tar/000902"}
    assert seen.total() == everything(folder).total(), "another is seen in its place"
    counts, left = run.batches.counts()
    assert (counts.used, counts.set_aside, left) == (9 + 4 + 14 + 5 + 8, 1, 0)


def test_too_many_of_them_end_the_run_with_the_usual_sentence(folder: Path, tmp_path: Path) -> None:
    broken = members(range(900, 905)) | {"000902.png": b"no picture at all"}
    write_tar(folder / "shard-001.tar", broken)
    run = Recorded(folder, tmp_path / "run", "training.batch_size=4")
    said = r"shards: 1 of 41 rows cannot be used \(1 undecodable\), more than the 1.00% allowed.*first: .*000902"
    with pytest.raises(UserError, match=said):
        run.epochs(1)


def test_a_shard_that_holds_something_else_is_counted_too(folder: Path, tmp_path: Path) -> None:
    lone = {name: data for name, data in members(range(900, 903)).items() if name.endswith(".png")}
    write_tar(folder / "shard-001.tar", {**lone, "notes.md": b"hello"})
    run = Recorded(folder, tmp_path / "run", "data.max_bad_fraction=0.1", "training.batch_size=4")
    run.epochs(1)
    counts, _ = run.batches.counts()
    assert (counts.used, counts.set_aside, counts.left_alone) == (36, 3, 1)


def test_validation_files_are_left_out_wherever_they_stand(folder: Path, tmp_path: Path) -> None:
    write_tar(tmp_path / "val" / "v.tar", members([3, 4, 500, 501, 25]))
    run = Recorded(folder, tmp_path / "run", "training.batch_size=4")
    _, seen = run.epochs(1)
    gone = {"shard-000.tar/000003", "shard-000.tar/000004", "shard-004.tar/000025"}
    assert seen.keys() == everything(folder).keys() - gone
    assert run.batches.counts()[0].used == sum(seen.values()) + 3


def test_without_validation_pairs_some_of_the_last_shards_are(tmp_path: Path) -> None:
    pairs = write_tars(tmp_path / "shards", [30] * 4)
    data = opened(pairs, tmp_path / "run")
    assert len(data.val) == 6
    assert {name.partition("/")[0] for name in data.val.ids} <= {"shard-002.tar", "shard-003.tar"}
    assert not data.stream.is_held_out(data.train).any()
    assert data.stream.is_held_out(data.val).all()


def test_tiny_shards_make_windows_of_many(tmp_path: Path) -> None:
    pairs = write_tars(tmp_path / "shards", [4] * 20)
    assert opened(pairs, tmp_path / "run").stream.plan.limits.shards == 1024
    assert opened(pairs, tmp_path / "run", "data.window_shards=3").stream.plan.limits.shards == 3


def test_a_sample_has_few_rows_however_small_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SAMPLE_ROWS", 20)
    data = opened(write_parquet(tmp_path / "shards", [16] * 6), tmp_path / "run")
    assert data.train.rows_in_all == 96
    assert len(data.train) <= 20
    assert {name.partition("/")[0] for name in data.train.ids} == {"part-000.parquet", "part-001.parquet"}
    assert {name.partition("/")[0] for name in data.val.ids} <= {"part-004.parquet", "part-005.parquet"}


def test_a_stream_that_is_one_shard_works(tmp_path: Path) -> None:
    pairs = write_tars(tmp_path / "shards", [30])
    data: TrainingData = opened(pairs / "shard-000.tar", tmp_path / "run")
    assert len(data.val) + len(data.train) == 30


def test_settings_are_fitted_to_the_estimate(folder: Path, tmp_path: Path) -> None:
    run = Recorded(folder, tmp_path / "run")
    assert isinstance(run.config, RunConfig)
    assert run.data.train.rows_in_all == 37
    assert np.array_equal(run.data.train.keys["image"], np.arange(37))


def test_ranks_decode_each_their_part_of_a_window(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Recorded(folder, tmp_path / "run", "training.batch_size=8", "data.window_shards=2")
    decoded: list[int] = []
    real = ImageProcessor.prepare
    monkeypatch.setattr(ImageProcessor, "prepare", lambda self, raw: (decoded.append(1), real(self, raw))[1])
    counts = []
    for ranks in (1, 2, 2):
        decoded.clear()
        shared = run.made().shared(Share(min(len(counts), 1) if ranks > 1 else 0, ranks, 4), ALONE)
        rows = sum(len(batch.row_B) for batch in shared.stream(0, 4, 0))
        counts.append(len(decoded))
    assert rows <= counts[0], "whole windows are read, and of them what batches ask for is decoded"
    assert max(counts[1:]) < 0.75 * counts[0]

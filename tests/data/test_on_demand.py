"""Items prepared when a step asks for them: the same batches as of items prepared before, and nothing made twice."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospace.data import on_demand as on_demand_module
from cospace.data import prepared as prepared_module
from cospace.data.batches import AHEAD, Batch, TrainingBatches
from cospace.data.on_demand import OnDemandItems, OnDemandTexts, preparation_seconds
from cospace.data.pairs import Pairs, build
from cospace.data.prepared import (
    PreparedPairs,
    different_items,
    in_memory,
    on_demand_rows,
    prepare_on_demand,
    prepare_pairs,
    settled,
    some_items,
)
from cospace.data.sampler import BatchSampler
from cospace.data.sources import Rows
from cospace.modalities import modality
from cospace.modalities.audio.processor import AudioProcessor
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.types import BadItem, UserError
from photographs import encoded, photograph
from sounds import encode, tone

CAPTIONS = ["a bus", "two dogs in the rain", "night"]
TEXT = Tokenizer.train(CAPTIONS)
PROCESSORS = {"image": ImageProcessor(size=16), "audio": AudioProcessor(sample_rate=8000), "text": TEXT}
NOTHING = b"\x89PNG\r\n\x1a\nnothing"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pairs_of(rows: int = 40, bad: Sequence[int] = ()) -> Pairs:
    """Images, every second of which has two rows, sounds in every third row, and captions."""
    images = [encoded(photograph(24, 18, seed=number // 2), "PNG") for number in range(rows)]
    sounds = [encode(tone(0.1 + 0.02 * (number % 7), hertz=200 + 9 * number)) for number in range(rows)]
    for row in bad:
        images[row] = NOTHING + bytes([row])
    items = {
        "image": images,
        "audio": [sound if number % 3 == 0 else None for number, sound in enumerate(sounds)],
        "text": [f"{CAPTIONS[number % 3]} {number // 3}" for number in range(rows)],
    }
    return build("made", Rows([f"row{number}" for number in range(rows)], items, least=2))


def batches_of(prepared: PreparedPairs, batch: int = 12, most: float = 1.0) -> TrainingBatches:
    batchers = {
        name: modality(name).batcher(
            prepared.items[name],
            prepared.item_of_row[name],
            processor,
            modality(name).fit_settings(modality(name).settings_class()(), [], [], False),
            3,
            100,
        )
        for name, processor in PROCESSORS.items()
    }
    sampler = BatchSampler(len(prepared.pairs), batch, seed=3)
    return TrainingBatches(
        batchers, prepared.pairs.matches, sampler, 4, None, on_demand_rows(prepared, 3, most, record=None)
    )


def seen(batch: Batch) -> list[torch.Tensor]:
    """All that the encoders read, the rows, and what matches."""
    where = torch.device("cpu")
    inputs = [one.to(where) for part in batch.parts.values() for one in part.inputs]
    numbers = [getattr(one, name) for one in inputs for name in getattr(type(one), "__slots__", ())]
    tensors = [one for one in (*inputs, *numbers) if isinstance(one, torch.Tensor)]
    return [*tensors, *(part.item_B for part in batch.parts.values()), torch.from_numpy(batch.row_B)]


def same(left: Batch, right: Batch) -> bool:
    ours, theirs = seen(left), seen(right)
    assert len(ours) > 4
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("room", [1 << 30, 20_000])
def test_the_batches_are_those_of_items_prepared_before(workers: int, room: int) -> None:
    before = batches_of(prepare_pairs(pairs_of(), PROCESSORS))
    prepared = prepare_on_demand(pairs_of(), PROCESSORS, in_memory=room)
    made = list(batches_of(prepared).stream(0, 8, workers))
    assert [batch.step for batch in made] == list(range(8))
    assert all(same(batch, before[batch.step]) for batch in made)
    if not workers:
        image = prepared.items["image"]
        assert (len(image.in_memory_now()) < len(image)) == (room < 1 << 20)


def counted(patch: pytest.MonkeyPatch) -> list[str]:
    """The modalities of what is prepared from now on, one by one."""
    calls: list[str] = []
    for kind, name in ((ImageProcessor, "image"), (AudioProcessor, "audio")):
        real = kind.prepare

        def counting(self: object, raw: object, real: object = real, name: str = name) -> torch.Tensor:
            calls.append(name)
            return real(self, raw)  # type: ignore[operator]

        patch.setattr(kind, "prepare", counting)
    return calls


def test_nothing_is_prepared_before_a_batch_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    batches = batches_of(prepare_on_demand(pairs_of(200), PROCESSORS), batch=8)
    assert not calls
    stream = batches.stream(0, 20, 0)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert 4 <= calls.count("image") <= 8 * (AHEAD + 1)


@pytest.mark.parametrize("on_demand", [False, True])
def test_a_second_run_decodes_nothing(on_demand: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared_module, "KEPT_SECONDS", 0.0)
    first = prepare_pairs(pairs_of(bad=[5]), PROCESSORS)
    calls = counted(monkeypatch)
    ways = (prepare_on_demand, prepare_pairs)
    again = settled(ways[not on_demand](pairs_of(bad=[5]), PROCESSORS))
    assert calls == ["image"], "why an item is of no use is found out anew: it may have been mended"
    assert [problem.id for problem in again.pairs.problems] == ["row5"]
    for name in ("image", "audio"):
        items = np.unique(again.item_of_row[name][again.item_of_row[name] >= 0]).tolist()
        assert len(items) > 10
        assert all(torch.equal(first.items[name][item], again.items[name][item]) for item in items)


@given(bad=st.sets(st.integers(0, 39), max_size=12), batch=st.integers(2, 40))
@settings(max_examples=15)
def test_rows_of_no_use_are_replaced_alike_wherever_and_whenever(bad: set[int], batch: int) -> None:
    pairs = pairs_of(bad=sorted(bad))
    straight = batches_of(prepare_on_demand(pairs, PROCESSORS), batch)
    made = [straight[step] for step in range(4)]
    later = batches_of(prepare_on_demand(pairs, PROCESSORS, in_memory=1), batch)
    assert all(same(later[step], made[step]) for step in (3, 1)), "whatever was tried before"
    for one in made:
        expected = BatchSampler(40, batch, seed=3).step(one.step)[0]
        assert len(one.row_B) == len(expected)
        assert not set(one.row_B.tolist()) & bad
        kept = ~np.isin(expected, sorted(bad))
        assert np.array_equal(one.row_B[kept], expected[kept]), "the others keep their places"
        assert set(one.set_aside) == set(expected.tolist()) & bad


def test_too_many_rows_of_no_use_stop_the_run_with_their_reason() -> None:
    prepared = prepare_on_demand(pairs_of(bad=[1, 2, 3]), PROCESSORS)
    with pytest.raises(UserError, match="of 40 rows cannot be used .* more than the 5.00% allowed"):
        list(batches_of(prepared, most=0.05).stream(0, 8, 0))
    everything = prepare_on_demand(pairs_of(rows=12, bad=range(12)), PROCESSORS)
    with pytest.raises(UserError, match="12 of 12 rows cannot be used"):
        list(batches_of(everything, most=0.05).stream(0, 8, 2))


def test_what_is_set_aside_is_remembered_by_a_run_that_goes_on(tmp_path: Path) -> None:
    pairs, record = pairs_of(bad=[4, 9]), tmp_path / "set_aside.json"
    rows = on_demand_rows(prepare_on_demand(pairs, PROCESSORS), 3, 1.0, record)
    assert rows is not None
    rows.note({4: BadItem("undecodable", "no image")})
    again = on_demand_rows(prepare_on_demand(pairs, PROCESSORS), 3, 1.0, record)
    assert again is not None
    assert list(again.set_aside) == [4]
    assert [problem.reason for problem in again.left().problems] == ["no image"]
    other = on_demand_rows(prepare_on_demand(pairs_of(30), PROCESSORS), 3, 1.0, record)
    assert other is not None
    assert not other.set_aside, "what another data set had set aside is not known of this one"


def test_settled_pairs_are_those_prepared_before() -> None:
    pairs = pairs_of(bad=[0, 7, 8])
    before, after = prepare_pairs(pairs, PROCESSORS), settled(prepare_on_demand(pairs, PROCESSORS))
    assert [*after.pairs.ids] == [*before.pairs.ids]
    assert after.pairs.problems == before.pairs.problems
    assert after.pairs.fingerprint == before.pairs.fingerprint
    for name, column in before.item_of_row.items():
        assert np.array_equal(column, after.item_of_row[name])
    assert np.array_equal(in_memory(after), np.arange(37))
    assert before.items["image"][1].equal(after.items["image"][1])


def test_items_of_another_process_are_its_own() -> None:
    items = prepare_on_demand(pairs_of(), PROCESSORS).items["image"]
    known = items[torch.tensor([3, 1])]
    copy = pickle.loads(pickle.dumps(items))
    assert len(copy.in_memory_now()) == 0
    assert torch.equal(copy[torch.tensor([3, 1])], known)
    assert torch.equal(torch.stack([*copy[:2]]), copy[torch.tensor([0, 1])])
    with pytest.raises(IndexError):
        items[len(items)]


def test_the_estimate_counts_different_items_and_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(encoded(photograph(300, 200)))
    size = path.stat().st_size
    items = {"image": [path] * 5 + [None], "text": [f"text {number}" for number in range(6)]}
    pairs = build("made", Rows([str(number) for number in range(6)], items, least=1))
    one = on_demand_module.PER_ITEM + on_demand_module.PER_BYTE * size
    assert preparation_seconds(pairs, ["image", "text"]) == pytest.approx(one)
    assert preparation_seconds(pairs, ["text"]) == 0


def test_an_item_that_cannot_be_used_has_an_example_in_its_place() -> None:
    items = prepare_on_demand(pairs_of(bad=[0]), PROCESSORS).items["image"]
    assert isinstance(items, OnDemandItems)
    assert torch.equal(items[0], PROCESSORS["image"].prepare(modality("image").example()))


def test_very_many_texts_are_tokenised_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    before = batches_of(prepare_pairs(pairs_of(), PROCESSORS))
    monkeypatch.setattr(prepared_module, "MANY_TEXTS", 10)
    prepared = prepare_on_demand(pairs_of(), PROCESSORS)
    assert isinstance(prepared.items["text"], OnDemandTexts)
    assert all(same(batches_of(prepared)[step], before[step]) for step in range(4))


@pytest.mark.parametrize(("most", "places"), [(None, range(14)), (14, range(14)), (3, [0, 6, 13])])
def test_some_items_are_evenly_spaced(most: int | None, places: Sequence[int]) -> None:
    pairs = pairs_of()
    everything, _ = different_items(pairs, "audio")
    assert [*some_items(pairs, "audio", most)] == [everything[place] for place in places]

"""An update becomes visible as one, in every store: readers see what was before it, or all of it, whoever is killed."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from cospace.stores import Index, Item, search
from cospace.types import StorageError

WIDTH = 8
NAME = "/photos"


def item(n: int, turn: int) -> Item:
    return Item(str(n), ("image", "text")[n % 2], f"{n}.jpg", f"caption {turn}", f"h{turn}", extras={"turn": str(turn)})


def vector(n: int, turn: int) -> np.ndarray:
    return np.random.default_rng([n, turn]).normal(size=WIDTH).astype(np.float32)


Turns = dict[int, int]
"""What an index holds: items by number, with the turn that each was stored in."""


def seen(index: Index) -> Turns:
    """What a search, the hashes, the numbers and the counts agree on."""
    found = {int(hit.id): int(hit.text.partition(" ")[2]) for hit in search(index, np.ones((1, WIDTH)), 999)[0]}
    assert {name: int(value[1:]) for name, value in index.hashes().items()} == {str(n): t for n, t in found.items()}
    assert len(index) == len(found) == len(index.select())
    numbers = index.numbers([str(n) for n in found])
    stored = index.vectors(numbers)
    for unit, (n, turn) in zip(stored, found.items(), strict=True):
        np.testing.assert_allclose(unit, vector(n, turn) / np.linalg.norm(vector(n, turn)), atol=1e-6)
    assert index.columns() == ({"turn": len(found)} if found else {})
    return found


class History:
    """A writer that comes and goes, a reader that looks after every step, and what each of them has to see."""

    def __init__(self, place: Any, seed: int) -> None:
        self.place, self.dice, self.turn = place, random.Random(seed), 0
        with place.create(WIDTH) as made:
            made.publish()
        self.reader: Index = place.open()
        self.writer: Index | None = None
        self.visible: Turns = {}
        self.drafted: Turns | None = None
        """What the unfinished update has come to, whether or not its writer lives."""

    def begin(self) -> Index:
        if self.writer is None:
            self.writer = self.place.open()
            self.writer.checkpoint(NAME)
            self.drafted = dict(self.visible) if self.drafted is None else self.drafted
        return self.writer

    def step(self, what: str) -> None:
        some = self.dice.sample(range(12), self.dice.randint(1, 4))
        if what == "add":
            self.turn += 1
            self.begin().add([item(n, self.turn) for n in some], np.stack([vector(n, self.turn) for n in some]))
            assert self.drafted is not None
            self.drafted |= dict.fromkeys(some, self.turn)
        elif what == "delete":
            count = self.begin().delete([str(n) for n in some])
            assert self.drafted is not None
            assert count == len([self.drafted.pop(n) for n in some if n in self.drafted])
        elif what == "publish":
            self.begin().publish()
            assert self.drafted is not None
            self.visible, self.drafted = self.drafted, None
            self.end()
        elif what == "revert":
            self.begin().revert()
            self.drafted = None
            self.end()
        elif what == "leave":
            self.end()
        elif what == "other":
            self.end()
            self.other(some)
        if self.writer is not None:
            assert seen(self.writer) == self.drafted
        self.reader.refresh()
        assert seen(self.reader) == self.visible

    def end(self) -> None:
        """What a kill leaves: locks go with the process."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def other(self, some: list[int]) -> None:
        """A change that is not the update: what that has come to is not lost, and comes first."""
        with self.place.open() as store:
            before = self.visible if self.drafted is None else self.drafted
            store.delete([str(n) for n in some])
            self.visible = {n: turn for n, turn in before.items() if n not in some}
            self.drafted = None


STEPS = ["add", "add", "add", "delete", "publish", "leave", "leave", "revert", "other"]


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
def test_an_update_is_seen_as_one_whatever_becomes_of_its_writer(place: Any, seed: int) -> None:
    history = History(place, seed)
    for what in ["add", "publish", *history.dice.choices(STEPS, k=16), "add", "leave", "add", "publish"]:
        history.step(what)
    with place.open() as store:
        store.finish()
        assert seen(store) == history.visible


def test_a_new_index_is_seen_while_it_is_made(place: Any) -> None:
    with place.create(WIDTH) as store:
        store.add([item(1, 1)], vector(1, 1)[None])
    with place.open() as store:
        assert store.growing and seen(store) == {1: 1}
        store.publish()
    with place.open() as store:
        assert not store.growing and seen(store) == {1: 1}


def test_an_update_that_changes_nothing_is_no_version(place: Any) -> None:
    with place.create(WIDTH) as store:
        store.add([item(1, 1)], vector(1, 1)[None])
        store.publish()
    reader = place.open()
    with place.open() as store:
        store.checkpoint(NAME)
        assert store.delete(["7"]) == 0
        store.publish()
    assert not reader.refresh() and seen(reader) == {1: 1}


def test_another_index_in_its_place_is_noticed(place: Any) -> None:
    """Of the same model, and with more versions than the one that was opened has."""
    with place.create(WIDTH) as store:
        store.add([item(1, 1)], vector(1, 1)[None])
        store.publish()
    reader = place.open()
    with place.open() as store:
        store.add([item(2, 1)], vector(2, 1)[None])
    reader.check_unchanged()
    place.remove()
    with pytest.raises(StorageError, match="gone since it was opened|is not an index"):
        reader.check_unchanged()
    with place.create(WIDTH) as store:
        for n in range(6):
            store.add([item(n, 2)], vector(n, 2)[None])
        store.publish()
    with pytest.raises(StorageError, match="replaced by another index"):
        reader.check_unchanged()


def test_a_store_that_is_finished_before_its_update_is_published_still_shows_what_was_there(place: Any) -> None:
    with place.create(WIDTH) as store:
        store.add([item(n, 1) for n in range(3)], np.stack([vector(n, 1) for n in range(3)]))
        store.publish()
    with place.open() as store:
        store.checkpoint(NAME)
        store.delete(["1"])
        store.add([item(2, 2)], vector(2, 2)[None])
        store.finish()
        with place.open() as reader:
            assert seen(reader) == {0: 1, 1: 1, 2: 1}
        store.publish()
        assert seen(store) == {0: 1, 2: 2}
    with place.open() as reader:
        assert seen(reader) == {0: 1, 2: 2}

"""The words of an index: unknown ones, items that hold all of a query's, completions; kept with the version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cospace.stores import Item
from cospace.stores.entries import CAPTIONS, captions_of
from cospace.stores.lexicon import Lexicon
from cospace.stores.local import LocalIndex
from cospace.stores.locations import FolderLocation


def items() -> list[Item]:
    return [
        Item("a.jpg", "image", text="A black dog in the snow .", extras={CAPTIONS: "two dogs run"}),
        Item("b.jpg", "image", text="a black cat"),
        Item("c.jpg", "image", text="snow on a black car"),
        Item("text/a.jpg", "text", text="A black dog in the snow ."),
        Item("text/z", "text", text="two dogs run"),
        Item("d.jpg", "image"),
    ]


@pytest.fixture
def store(tmp_path: Path) -> LocalIndex:
    store = LocalIndex.create(tmp_path / "idx" / "vectors", "f" * 16, 4)
    store.add(items(), np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32))
    store.close()
    return store


def found(lexicon: Lexicon, store: LocalIndex, text: str, modality: str = "image") -> list[str]:
    return [item.id for item in store.items(lexicon.holding(text, modality).tolist())]


def test_unknown_words_are_those_that_no_caption_uses_in_any_number(store: LocalIndex) -> None:
    lexicon = Lexicon.of(store)
    assert lexicon.unknown("Qwzx DOG vbbn, dogs cats Runs") == ["qwzx", "vbbn"]
    assert lexicon.unknown("\"black\" 'snow'") == []
    assert lexicon.unknown("\u732b black") == ["\u732b"]
    assert lexicon.unknown("???") == ["???"]
    assert lexicon.captions == 4


def test_items_hold_all_words_in_any_of_their_captions(store: LocalIndex) -> None:
    lexicon = Lexicon.of(store)
    assert found(lexicon, store, "Snow, black") == ["a.jpg", "c.jpg"]
    assert found(lexicon, store, "snow dogs") == ["a.jpg"], "its second caption says dogs"
    assert found(lexicon, store, "cats") == ["b.jpg"], "no caption says cats, so the one of a cat will do"
    assert found(lexicon, store, "black", "text") == ["text/a.jpg"]
    assert found(lexicon, store, "dog cat") == found(lexicon, store, "") == []
    assert not lexicon.describes("audio")


def test_completions_end_the_last_word_and_go_on_with_what_follows(store: LocalIndex) -> None:
    lexicon = Lexicon.of(store)
    assert next((one.text, one.count) for one in lexicon.complete("sno", 8, "image")) == ("snow", 2)
    assert {one.text for one in lexicon.complete("black ca", 8, "image")} == {"black cat", "black car"}
    assert ("black dog", 1) in [(one.text, one.count) for one in lexicon.complete("bla", 8, "image")]
    assert lexicon.complete("", 8, "image") == lexicon.complete("qwz", 8, "image") == []
    assert "black dog" in lexicon.phrases(20) or "dog" in lexicon.phrases(20)


def test_it_is_kept_for_its_version_and_made_again_for_the_next(store: LocalIndex, tmp_path: Path) -> None:
    place = FolderLocation(tmp_path / "idx")
    made, path = place.lexicon(store), tmp_path / "idx" / "lexicon.npz"
    kept = Lexicon.load(path, store.version)
    assert kept is not None
    assert kept.words == made.words
    assert found(kept, store, "black snow") == found(made, store, "black snow")
    assert kept.complete("bla", 8, "image") == made.complete("bla", 8, "image")
    store.delete(["a.jpg", "text/a.jpg", "text/z"])
    store.close()
    assert Lexicon.load(path, store.version) is None
    assert place.lexicon(store).unknown("dog") == ["dog"]
    path.write_bytes(path.read_bytes()[:100])
    assert place.lexicon(store).unknown("dog cat") == ["dog"], "a damaged file is made again"


def test_a_folder_that_cannot_be_written_and_an_index_without_captions_are_served(
    store: LocalIndex, tmp_path: Path
) -> None:
    place = FolderLocation(tmp_path / "idx")
    (tmp_path / "idx" / "lexicon.npz").mkdir()  # in the way, also of root
    assert place.lexicon(store).unknown("qwzx") == ["qwzx"]
    store.delete([item.id for item in items() if item.text])
    empty = Lexicon.of(store)
    assert not empty
    assert empty.unknown("qwzx") == []
    assert captions_of(items()[0]) == ["A black dog in the snow .", "two dogs run"]

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cospace.evaluation.layout import principal_plane
from cospace.evaluation.maps import agreement
from cospace.service._labels import names
from cospace.service.mapping import NO_CLASS, FlatMap, flat_map, kept_map, sheet
from cospace.types import UserError
from service.memory_index import KINDS, MemoryIndex, animals, webp


@pytest.fixture(scope="module")
def collection() -> MemoryIndex:
    return animals()


@pytest.fixture(scope="module")
def drawn(collection: MemoryIndex) -> FlatMap:
    return flat_map(collection)


def test_every_item_has_a_row(collection: MemoryIndex, drawn: FlatMap) -> None:
    numbers, x, y, modality, label, cluster = drawn.columns
    header = drawn.header
    assert header["n"] == header["total"] == len(collection)
    assert sorted(numbers.tolist()) == list(range(800))
    items = collection.items(numbers.tolist())
    assert [header["modalities"][code] for code in modality] == [item.modality for item in items]
    assert [header["classes"][code] for code in label] == [item.extras["label"] for item in items]
    assert [column.dtype.str for column in drawn.columns] == ["<u4", "<u2", "<u2", "|u1", "|u1", "|u1"]
    assert max(np.ptp(x), np.ptp(y)) > 60_000
    assert cluster.max() < len(header["clusters"]) <= 20


def test_rows_are_shuffled(drawn: FlatMap) -> None:
    """A prefix is a fair sample: as many pictures as texts."""
    assert 60 <= np.sum(drawn.columns[3][:160] == 0) <= 100


def test_the_gap_between_modalities_does_not_show(drawn: FlatMap) -> None:
    """A picture's nearest on the map is a text about as often as chance has it."""
    places = np.stack(drawn.columns[1:3], 1).astype(float)
    modality = drawn.columns[3]
    centres = [places[modality == code].mean(0) for code in (0, 1)]
    assert np.linalg.norm(centres[0] - centres[1]) < 0.1 * places.std()


def test_the_map_keeps_more_neighbours_than_principal_components(collection: MemoryIndex, drawn: FlatMap) -> None:
    vectors = torch.from_numpy(collection.vectors(drawn.columns[0].astype(np.int64)))
    for code in (0, 1):
        own = torch.from_numpy(np.flatnonzero(drawn.columns[3] == code))
        vectors[own] -= vectors[own].mean(0)
    plane = principal_plane(vectors).float()
    places = torch.from_numpy(np.stack(drawn.columns[1:3], 1).astype(np.float32))
    ours, plain = (agreement(vectors, flat, np.random.default_rng(0)) for flat in (places, plane))
    assert drawn.header["agreement"] == pytest.approx(ours, abs=0.01)
    assert ours > 1.25 * plain


def test_regions_are_named_after_what_is_in_them(collection: MemoryIndex, drawn: FlatMap) -> None:
    numbers, x, y, _, _, cluster = drawn.columns
    named = set()
    for code, region in enumerate(drawn.header["clusters"]):
        rows = np.flatnonzero(cluster == code)
        assert any((x[row], y[row]) == (region["x"], region["y"]) for row in rows)
        kinds = [item.extras["label"] for item in collection.items(numbers[rows].tolist())]
        commonest = max(set(kinds), key=kinds.count)
        if kinds.count(commonest) > 0.7 * len(kinds):
            assert region["label"].split(" · ")[0] == commonest
            named.add(commonest)
    assert len(named) >= 5


def test_the_same_seed_draws_the_same_map(collection: MemoryIndex, drawn: FlatMap) -> None:
    assert flat_map(collection).framed() == drawn.framed()
    assert flat_map(collection, seed=1).framed() != drawn.framed()


def test_a_sample_says_that_it_is_one(collection: MemoryIndex) -> None:
    some = flat_map(collection, most=100)
    assert (some.header["n"], some.header["total"]) == (100, 800)
    assert len(set(some.columns[0].tolist())) == 100


def test_without_labels_there_are_no_classes() -> None:
    plain = flat_map(animals(40, labels=False))
    assert plain.header["classes"] == []
    assert set(plain.columns[4].tolist()) == {NO_CLASS}


def test_an_empty_collection() -> None:
    empty = flat_map(
        animals(10).without([f"{n:04d}.jpg" for n in range(10)] + [f"text/{n:04d}.jpg" for n in range(10)])
    )
    assert (empty.header["n"], empty.header["clusters"], empty.header["sheets"]) == (0, [], 0)
    assert len(empty.framed()) % 4 == 0


def test_sprites_show_the_pictures_of_their_rows(collection: MemoryIndex, drawn: FlatMap) -> None:
    with Image.open(io.BytesIO(sheet(collection, drawn, 0))) as image:
        assert (image.size, image.mode) == ((2048, 2048), "RGBA")
        pixels = np.asarray(image)
    rows = drawn.sprites()
    assert len(rows) == 400
    for cell in (0, 1, 31, 32, 399):
        number = int(drawn.columns[0][rows[cell]])
        left, top = cell % 32 * 64, cell // 32 * 64
        middle = pixels[top + 32, left + 32].astype(int)
        assert np.abs(middle - (number % 16 * 16, number // 16 % 16 * 16, 128, 255)).max() < 12
        assert pixels[top + 2, left + 32, 3] == 0, "the bars above and below are transparent"
    assert pixels[:, :, 3][13 * 64 :].max() == 0, "cells after the last picture are empty"


def test_a_missing_thumbnail_leaves_its_cell_empty(collection: MemoryIndex, drawn: FlatMap) -> None:
    item = collection.items([int(drawn.columns[0][drawn.sprites()[0]])])[0]
    poorer = MemoryIndex(collection._items, collection._vectors, dict(collection._thumbnails))
    del poorer._thumbnails[item.hash]
    with Image.open(io.BytesIO(sheet(poorer, drawn, 0))) as image:
        alpha = np.asarray(image)[:, :, 3]
    assert alpha[:64, :64].max() == 0
    assert alpha[:64, 64:128].max() == 255


def test_later_sheets_hold_neighbours_on_the_map() -> None:
    many = flat_map(animals(2100))
    rows = many.sprites()
    places = np.stack(many.columns[1:3], 1).astype(float)[rows]
    assert many.header["sheets"] == 3
    assert len(set(rows.tolist())) == 2100
    first, second = (np.linalg.norm(np.diff(part, axis=0), axis=1).mean() for part in (places[:1024], places[1024:]))
    assert second < 0.3 * first


@pytest.mark.parametrize("number", [-1, 1, 99])
def test_a_sheet_that_is_not_there(collection: MemoryIndex, drawn: FlatMap, number: int) -> None:
    with pytest.raises(UserError, match="there is no sheet"):
        sheet(collection, drawn, number)


def test_a_map_is_kept_for_as_long_as_it_fits(collection: MemoryIndex, tmp_path: Path) -> None:
    first = kept_map(collection, tmp_path)
    path = tmp_path / "map-3.bin"
    assert path.read_bytes() == first.framed()
    path.write_bytes(first.framed().replace(b'"agreement"', b'"agreement" '))  # not drawn again: what is there is read
    assert kept_map(collection, tmp_path).framed() == first.framed()
    changed = collection.without(["0007.jpg"])
    changed.version = 4
    assert kept_map(changed, tmp_path).header["n"] == 799
    assert [file.name for file in tmp_path.iterdir()] == ["map-4.bin"]


def test_a_map_of_other_numbers_is_drawn_again(collection: MemoryIndex, tmp_path: Path) -> None:
    kept_map(collection, tmp_path)
    turned = MemoryIndex(collection._items[::-1], collection._vectors[::-1], collection._thumbnails)
    again = kept_map(turned, tmp_path)
    assert again.fits(turned)
    assert not again.fits(collection)


def test_a_damaged_map_is_refused_and_drawn_again(collection: MemoryIndex, tmp_path: Path) -> None:
    whole = kept_map(collection, tmp_path).framed()
    path = tmp_path / "map-3.bin"
    for content in (b"", b"\xff" * 40, whole[:-1], whole + b"x", whole[:1000]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="map"):
            FlatMap.load(path)
        assert kept_map(collection, tmp_path).framed() == whole


def test_a_region_has_no_name_where_no_term_is_held_by_a_third_of_its_texts() -> None:
    dice = np.random.default_rng(0)
    letters = np.array(list("bcdfghjklmnpqrstvwz"))
    mixed = [" ".join("".join(dice.choice(letters, 5)) for _ in range(4)) for _ in range(40)]
    rare = [f"{text} santa claus" if place < 11 else text for place, text in enumerate(mixed)]
    dogs = [f"a brown dog in the green grass {text}" for text in mixed[:20]] + ["two dogs in grass"] * 20
    found = names([*rare, *dogs], np.array([0] * 40 + [1] * 40))
    assert found[0] == "", "11 of 40 speak of it: less than 30 %"
    assert "dog" in found[1]
    assert names([*rare[:11], *mixed[:10], *dogs], np.array([0] * 21 + [1] * 40))[0] == "santa claus"


def test_phrases_name_a_region_before_their_words() -> None:
    texts = [f"woman {job} medium skin tone" for job in ("judge", "pilot", "cook", "singer")] * 10
    others = [f"{colour} flower in a pot" for colour in ("red", "blue", "white", "pink")] * 20
    found = names([*texts, *others], np.array([0] * 40 + [1] * 80))
    assert found == ["medium skin tone · woman", "flower in a pot"]
    assert names(texts, np.zeros(40, np.int64)) == [""], "what everything has tells nothing apart"


def test_singular_and_plural_are_one_term() -> None:
    texts = ["a dog"] * 6 + ["dogs"] * 7 + ["dog"] * 2
    assert names([*texts, *["a cat"] * 15], np.array([0] * 15 + [1] * 15)) == ["dog", "cat"]


def test_a_map_of_a_folder_that_cannot_be_written_is_served(
    collection: MemoryIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FlatMap, "save", refuse)
    assert kept_map(collection, tmp_path).header["n"] == 800
    assert list(tmp_path.iterdir()) == []


def test_webp_of_the_shelf_is_small() -> None:
    assert len(webp(7)) < 400
    assert len(KINDS) == 8

"""One wrong edge (cases/inputs.md, K3): it is named, and nothing is merged for it.

An image filed under two classes, or a caption given to two images, joins what is otherwise apart. Matches stay direct:
neither training nor a measure credits anything beyond the rows that there are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cospace.data.check import check
from cospace.data.joins import Join, describe_join, joining
from cospace.data.pairs import Pairs, build, open_pairs
from cospace.data.sources import Rows
from cospace.data.splits import hold_out
from cospace.evaluation.retrieval import retrieval
from cospace.objectives import softmax
from cospace.types import UserError

CLASSES = ("cat", "dog")


def shade(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(path)


def class_folder(folder: Path, each: int) -> Pairs:
    """``each`` images of cats and of dogs, and one image that is in both folders under different names."""
    for label, name in enumerate(CLASSES):
        for number in range(each):
            shade(folder / name / f"{number}.png", label * each + number)
        shade(folder / name / f"both-{name}.png", 60_000)
    return open_pairs(folder)


def test_cats_and_dogs_stay_apart(tmp_path: Path) -> None:
    pairs = class_folder(tmp_path, 5)
    assert list(pairs.items["text"]) == ["cat"] * 6 + ["dog"] * 6
    assert pairs.extras["label"] == pairs.items["text"]
    assert pairs.groups.tolist() == [0] * 12, "they hang together by the image that is both"
    assert not pairs.matches.all_match()
    match = pairs.matches.batch(np.arange(12)).relation("image", "text").dense()
    for row, name in enumerate(pairs.ids):
        of_both = "both" in name
        for column, caption in enumerate(pairs.items["text"]):
            assert match[row, column] == (of_both or caption == pairs.items["text"][row])


def test_a_space_that_says_cat_to_everything_is_neither_free_of_loss_nor_right(tmp_path: Path) -> None:
    pairs = class_folder(tmp_path, 5)
    matches = pairs.matches.batch(np.arange(12))
    constant = {name: torch.ones(12, 4) for name in ("image", "text")}
    assert softmax.Config(init_logit_scale=10.0).build()(constant, matches) > 0.3
    first = np.unique(pairs.keys["image"], return_index=True)[1]
    relation = pairs.matches.between("image", "text", first, np.array([0, 6]))
    metrics = retrieval(torch.tensor([[1.0, 0.1]]).repeat(11, 1), torch.eye(2), relation)
    assert metrics["image_to_text/R@1"] == pytest.approx(6 / 11)


def test_the_check_names_the_image_and_both_classes(tmp_path: Path) -> None:
    checked = check(class_folder(tmp_path, 5))
    assert checked.counts["joined"] == 1
    assert checked.counts["largest_component"] == 1.0
    sentence = 'the image both-cat.png is filed under "cat" and "dog"'
    assert checked.to_json()["joined/examples"] == [sentence]
    assert sentence in checked.to_text()
    assert checked.to_text().endswith("Ready to train on.")


@pytest.mark.parametrize("seed", range(5))
def test_a_class_folder_with_one_image_in_two_classes_can_be_split(tmp_path: Path, seed: int) -> None:
    pairs = class_folder(tmp_path, 40)
    train, val = hold_out(pairs, seed)
    assert len(np.unique(val.keys["image"])) == 4
    assert not set(train.keys["image"]) & set(val.keys["image"])
    assert set(train.items["text"]) == set(CLASSES)
    assert not val.matches.all_match(), "retrieval among them measures something"


def test_where_nothing_can_be_split_the_true_cause_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"one connected component holds 100% of the rows: the image both-cat\.png is filed"
    ):
        hold_out(class_folder(tmp_path, 1), 0)


def table(folder: Path, rows: list[tuple[int, str]]) -> Pairs:
    for number in {number for number, _ in rows}:
        shade(folder / f"img{number}.png", number)
    lines = [f"img{number}.png,{text}" for number, text in rows]
    (folder / "t.csv").write_text("\n".join(["image,text", *lines]) + "\n")
    return open_pairs(folder / "t.csv")


def test_a_caption_is_not_credited_for_an_image_that_another_one_leads_to(tmp_path: Path) -> None:
    pairs = table(tmp_path, [(1, "A"), (2, "A"), (2, "B"), (3, "B")])
    first = np.array([0, 1, 3])
    relation = pairs.matches.between("image", "text", first, np.array([0, 2]))
    assert relation.dense().tolist() == [[True, False], [True, True], [False, True]]
    assert [describe_join(pairs, join) for join in joining(pairs)] == ['the image img2.png is filed under "A" and "B"']


@pytest.mark.parametrize(
    "rows",
    [
        [(1, "a"), (1, "b"), (1, "c")],  # captions of its own
        [(1, "a"), (1, "b"), (2, "a"), (2, "b")],  # a copy with the same captions
        [(1, "a"), (1, "b"), (2, "a")],  # a copy with some of them
        [(1, "a"), (2, "a"), (3, "b")],  # a class
        [(1, "a"), (1, "A")],  # one caption, spelled in two ways
    ],
)
def test_what_joins_nothing_is_not_named(tmp_path: Path, rows: list[tuple[int, str]]) -> None:
    assert joining(table(tmp_path, rows)) == []


def test_captions_beyond_three_are_counted(tmp_path: Path) -> None:
    classes = "abcde"
    rows = [(number, text) for number, text in enumerate(classes)] + [(9, text) for text in classes]
    (join,) = joining(table(tmp_path, rows))
    assert join == Join("image", 5, [5, 6, 7, 8, 9])
    described = describe_join(table(tmp_path, rows), join)
    assert described == 'the image img9.png is filed under "a", "b", "c" and 2 more'


def test_an_item_of_any_modality_is_named_by_its_own() -> None:
    """Rows of two kinds; the sound joins what the images keep apart."""
    texts = ["bell", "bell", "rain", "rain", "bell", "rain"]
    images = [np.full((2, 2), n, np.uint8) if n < 4 else None for n in range(6)]
    hiss = (np.arange(9, dtype=np.int16), 8_000)
    sounds = [None] * 4 + [hiss, hiss]
    pairs = build(
        "mixed", Rows([f"r{n}" for n in range(6)], {"image": images, "audio": sounds, "text": texts}, least=2)
    )
    assert joining(pairs) == [Join("audio", 4, [4, 5])]
    assert describe_join(pairs, joining(pairs)[0]) == 'the sound r4 is filed under "bell" and "rain"'


def test_an_image_with_several_sounds_and_their_captions_joins_nothing() -> None:
    image = np.zeros((2, 2), np.uint8)
    sounds = [(np.full(9, n, np.int16), 8_000) for n in range(3)]
    items = {"image": [image] * 3, "audio": sounds, "text": ["bark", "growl", "howl"]}
    assert joining(build("one dog", Rows(["a", "b", "c"], items, least=2))) == []


def test_pairs_without_captions_have_no_such_items() -> None:
    image, sound = np.zeros((2, 2), np.uint8), (np.arange(9, dtype=np.int16), 8_000)
    assert joining(build("untitled", Rows(["a", "b"], {"image": [image, image], "audio": [sound, sound]}))) == []

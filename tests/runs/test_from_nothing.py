"""Where published towers know little of some images, and the recipe that joins them learns from nothing instead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import published
import published_towers
import pytest
import torch

from conftest import write_shapes
from cospace.commands.estimate import Comparison, compare, estimate_towers
from cospace.commands.training_request import (
    Listener,
    TrainArguments,
    TrainingData,
    from_nothing_where_better,
)
from cospace.data.pairs import Pairs, open_pairs
from cospace.runs.plain_features import SIDE, count_words, plain_features, vocabulary_of
from cospace.runs.settings import resolve
from cospace.runs.towers import JoinedTowers, open_towers
from photographs import photograph


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> JoinedTowers:
    """Two with random weights, which know nothing of anything."""
    image = published_towers.timm_folder(tmp_path_factory.mktemp("timm"))
    text = published.bert(tmp_path_factory.mktemp("bert"))
    return open_towers({"image": f"timm:{image}", "text": str(text)}, 32, augmented=False)


@pytest.fixture(scope="module")
def drawings() -> tuple[Pairs, Pairs]:
    """Scenes whose captions say what was drawn: 200 to fit on, 60 to rank."""
    pairs = open_pairs("scenes")
    images = np.unique(pairs.keys["image"])
    rows = pairs.keys["image"]
    return (
        pairs.select(np.flatnonzero(np.isin(rows, images[:200]))),
        pairs.select(np.flatnonzero(np.isin(rows, images[200:260]))),
    )


@pytest.fixture(scope="module")
def unrelated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pairs, Pairs]:
    """Pictures like photographs, with captions that say nothing of them."""
    folder = tmp_path_factory.mktemp("photographs")
    dice = np.random.default_rng(0)
    words = [f"word{number}" for number in range(40)]
    parts = []
    for name, count in (("train", 60), ("val", 30)):
        lines = ["image,text"]
        for number in range(count):
            photograph(32, 32, seed=number + 1000 * (name == "val")).save(folder / f"{name}{number}.png")
            lines.append(f"{name}{number}.png,{' '.join(dice.choice(words, 4))} {number}")
        (folder / f"{name}.csv").write_text("\n".join(lines))
        parts.append(open_pairs(folder / f"{name}.csv"))
    return parts[0], parts[1]


def asked(said: list[str], *settings: str) -> TrainArguments:
    return TrainArguments("pairs", Path("run"), "towers", overrides=settings, listener=Listener(say=said.append))


def test_features_are_shrunken_pixels_and_counted_words(tmp_path: Path) -> None:
    pairs = open_pairs(write_shapes(tmp_path, 2))
    vocabulary = vocabulary_of(pairs.items["text"])
    features = plain_features(pairs, "image", vocabulary)
    assert features.left_ND.shape == (16, 3 * SIDE**2)
    assert float(features.left_ND.min()) >= 0
    assert float(features.left_ND.max()) <= 1
    assert features.right_MF.shape == (16, len(vocabulary))
    assert features.pairs_P2.tolist() == [[n, n] for n in range(16)]


def test_words_weigh_by_how_rare_they_are() -> None:
    vocabulary = vocabulary_of(["A red cat", "a dog", "a RED, red bird"])
    assert vocabulary["a"] == pytest.approx(1.0)
    assert vocabulary["red"] == pytest.approx(1 + np.log(3 / 2))
    assert vocabulary["dog"] == pytest.approx(1 + np.log(3))
    row = count_words(["red red unheard"], vocabulary)[0]
    assert int((row > 0).sum()) == 1
    assert float(row.max()) == pytest.approx((1 + np.log(2)) * vocabulary["red"], rel=1e-6)
    assert torch.equal(count_words(["unheard"], vocabulary), torch.zeros(1, len(vocabulary)))


@pytest.mark.parametrize(
    ("towers_found", "plain_found", "ranked", "nothing"),
    [
        ((0.53, 0.42), (0.03, 0.01), 100, False),  # 700 photographs (Flickr8k)
        ((0.30, 0.30), (0.27, 0.32), 100, True),  # emoji
        ((0.75, 0.80), (0.20, 0.20), 100, False),  # ten classes of photographs
        ((0.01, 0.01), (0.02, 0.02), 100, False),  # neither finds anything: no evidence
        ((0.25, 0.25), (0.50, 0.50), 4, False),  # two of four are luck
    ],
)
def test_when_nothing_is_the_better_start(
    towers_found: tuple[float, float], plain_found: tuple[float, float], ranked: int, nothing: bool
) -> None:
    assert Comparison(towers_found, plain_found, 300, ranked).from_nothing is nothing


def test_drawings_are_learned_from_nothing(towers: JoinedTowers, drawings: tuple[Pairs, Pairs]) -> None:
    train, val = drawings
    said: list[str] = []
    config = resolve("towers")
    chosen, source = from_nothing_where_better(asked(said), config, TrainingData(train, val, None, train, {}), towers)
    assert source is None
    assert (chosen.recipe, chosen.heads, chosen.towers) == ("small", "linear", {})
    (sentence,) = said
    assert "fitted on 200" in sentence
    assert "of 60 validation images" in sentence
    assert "heads=closed_form" in sentence


@pytest.mark.parametrize("setting", ["heads=closed_form", "training.steps=5", "locked=none", "towers.image=timm:x"])
def test_who_names_the_towers_keeps_them(setting: str, towers: JoinedTowers, drawings: tuple[Pairs, Pairs]) -> None:
    train, val = drawings
    said: list[str] = []
    config = resolve("towers")
    data = TrainingData(train, val, None, train, {})
    assert from_nothing_where_better(asked(said, setting), config, data, towers) == (config, towers)
    assert said == []


def test_unrelated_pairs_say_nothing_for_either(towers: JoinedTowers, unrelated: tuple[Pairs, Pairs]) -> None:
    train, val = unrelated
    found = compare(train, val, towers)
    assert (found.fitted, found.ranked) == (60, 30)
    assert not found.from_nothing
    config = resolve("towers")
    data = TrainingData(train, val, None, train, {})
    assert from_nothing_where_better(asked([]), config, data, towers) == (config, towers)


def test_no_advice_for_towers_where_nothing_is_better(
    monkeypatch: pytest.MonkeyPatch, towers: JoinedTowers, drawings: tuple[Pairs, Pairs], unrelated: tuple[Pairs, Pairs]
) -> None:
    monkeypatch.setattr("cospace.commands.estimate.open_towers", lambda *_, **__: towers)
    assert estimate_towers(*drawings) is None
    assert "of 30 validation images first (R@1), by chance 3 %" in str(estimate_towers(*unrelated))

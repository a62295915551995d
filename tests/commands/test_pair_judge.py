"""Pairs as people have them, judged by what is fitted on the spot and by a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cospace.commands import pair_judge
from cospace.commands.check import CheckArguments, check_pairs
from cospace.commands.pair_judge import judge_rows
from cospace.data.pairs import Pairs, build
from cospace.data.sources import Rows
from cospace.runs import features
from cospace.runs.run import Run
from cospace.runs.towers import JoinedTowers, Tower
from cospace.training.cross_fitting import area
from cospace.types import UserError

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 30), "blue": (30, 30, 200), "grey": (120, 120, 120)}
SHADES = {"dark": 0.4, "plain": 1.0}


def squares(count: int = 160, wrong: int = 16) -> tuple[Pairs, np.ndarray]:
    """Images of one colour with noise, and captions of the colours; some have each other's caption."""
    draw = np.random.default_rng(0)
    names = [(colour, shade) for colour in COLOURS for shade in SHADES]
    picked = draw.integers(0, len(names), count)
    images, texts = [], []
    for number, place in enumerate(picked.tolist()):
        colour, shade = names[place]
        pixels = SHADES[shade] * np.array(COLOURS[colour]) + draw.normal(0, 12, (32, 32, 3))
        images.append(np.clip(pixels, 0, 255).astype(np.uint8))
        texts.append(f"number {number}: a {shade} {colour} square")
    first = np.arange(wrong)
    other = np.array([next(o for o in range(wrong, count) if picked[o] != picked[n] and o % wrong == n) for n in first])
    for one, two in zip(first.tolist(), other.tolist(), strict=True):
        texts[one], texts[two] = texts[two], texts[one]
    exchanged = np.isin(np.arange(count), np.concatenate([first, other]))
    return build("squares", Rows([f"row {n}" for n in range(count)], {"image": images, "text": texts})), exchanged


@pytest.fixture(autouse=True)
def _without_towers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_judge, "_towers", lambda pairs: None)


def test_exchanged_captions_are_found_without_any_model() -> None:
    pairs, wrong = squares()
    found = judge_rows(pairs)
    assert found.judge == "features of its own"
    assert list(found.qualities) == [("image", "text")] and not found.between_R.any()
    assert area(found.wrong_R[wrong], found.wrong_R[~wrong]) > 0.9
    assert len(found.ranking) == len(pairs)


def joined(trained: Path) -> JoinedTowers:
    """Both sides of a run, as if each was published by itself."""
    space = Run.load(trained).space
    return JoinedTowers({name: Tower(space, {"source": name}) for name in space.modalities}, 16, augmented=False)


def test_towers_are_asked_where_there_are_any(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items that cannot be read have no features; what was computed once is not decoded again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    towers = joined(trained)
    monkeypatch.setattr(pair_judge, "_towers", lambda pairs: towers)
    pairs, wrong = squares()
    broken = build("broken", Rows([*pairs.ids, "broken"], {
        "image": [*pairs.items["image"], b"no image"], "text": [*pairs.items["text"], "a red square"],
    }))  # fmt: skip
    found = judge_rows(broken)
    assert found.judge == "published towers and features of its own"
    assert len(found.qualities["image", "text"].methods) == 2
    assert np.isnan(found.wrong_R[len(pairs) :]).all()
    assert area(found.wrong_R[:160][wrong], found.wrong_R[:160][~wrong]) > 0.9
    monkeypatch.setattr(features, "prefetch", None)
    assert np.array_equal(judge_rows(broken).wrong_R, found.wrong_R, equal_nan=True)


def test_a_run_judges_by_what_it_embeds(trained: Path) -> None:
    pairs, _ = squares(wrong=8)
    found = judge_rows(pairs, trained)
    (quality,) = found.qualities.values()
    assert found.judge == str(trained) and len(quality.methods) == 1 and quality.methods[0].cosine
    assert not np.isnan(found.wrong_R).any()
    vectors = Run.load(trained).space.embed(image=list(pairs.items["image"][:3]))
    described = pair_judge._embedded(pairs, Run.load(trained), lambda *_: None)["image"]
    assert torch.allclose(described.kinds[0][described.item_of_row[:3]], torch.from_numpy(vectors), atol=1e-4)


def test_the_end_that_is_cut_is_what_the_judges_tokenizer_cuts(trained: Path, tmp_path: Path) -> None:
    words = Run.load(trained).space.processors["text"]
    text = " ".join(["red square"] * words.length)
    cut = 1 - (words.length - 2) / words.count(text)
    assert words.count(text) == len(words._bpe.encode(text).ids) - 2 > words.length
    table = tmp_path / "pairs.csv"
    colours = [Image.new("RGB", (16, 16), (9 * n, 90, 200 - n)) for n in range(3)]
    for n, colour in enumerate(colours):
        colour.save(tmp_path / f"{n}.png")
    table.write_text("".join(["image,text\n", *(f"{n}.png,{'a red square' if n else text}\n" for n in range(3))]))
    (found,) = [
        one for one in check_pairs(CheckArguments(table, judge=str(trained))).findings if one.kind == "over_long"
    ]
    assert [list(rows) for rows in found.groups] == [[0]]
    assert f"{words.count(text)} tokens, of which {words.length - 2} are read: {cut:.0%} is cut" in found.notes[0]


def test_what_cannot_be_compared_is_one_sentence() -> None:
    texts = [f"caption {number}" for number in range(60)]
    with pytest.raises(UserError, match="no two modalities"):
        judge_rows(build("texts", Rows([str(n) for n in range(60)], {"text": texts})))

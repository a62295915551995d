"""Two published towers of two publishers in one space: what is brought, frozen, cached, fitted, saved and loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import published
import published_towers
import pytest
import torch
from torch import nn

from conftest import Cospace, Shell, write_shapes
from cospace import files
from cospace.api import Model
from cospace.commands.estimate import estimate_towers
from cospace.data.pairs import open_pairs
from cospace.data.prepared import prepare_pairs
from cospace.data.splits import hold_out
from cospace.models.space import Space
from cospace.runs import features as cache
from cospace.runs.features import pooled_features
from cospace.runs.initialization import lock
from cospace.runs.pretrained import FROZEN_BELOW, config_from_source
from cospace.runs.settings import resolve
from cospace.runs.source import open_source
from cospace.runs.towers import JoinedTowers, fingerprint_of, open_towers
from cospace.types import UserError


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_towers.timm_folder(tmp_path_factory.mktemp("timm"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cospace" / "features"


def joined(image: Path, bert: Path, augmented: bool = False) -> JoinedTowers:
    return open_towers({"image": f"timm:{image}", "text": str(bert)}, 32, augmented)


def test_from_names_each_side(
    image: Path, bert: Path, shapes: Path, tmp_path: Path, cospace: Cospace, shell: Shell
) -> None:
    """The command line: both towers frozen, heads fitted, the run measured, saved and loaded to the same vectors."""
    out, sides = tmp_path / "run", ("--from", f"image=timm:{image}", "--from", f"text={bert}")
    done = cospace("train", shapes, "--out", out, *sides)
    assert done.code == 0, done.err
    for words in ("image tower: timm:", "text tower: ", ", frozen", "heads in closed form", "cca", "ridge", "chosen:"):
        assert words in done.err, done.err
    run = Model.load(out)
    assert run.config()["locked"] == "image,text"
    assert run.config()["towers"] == {"image": f"timm:{image}", "text": str(bert)}
    assert run.config()["embed_dim"] == run.space.width
    assert set(run.facts["heads"]["cross_validated"]) >= {"cca", "ridge", "procrustes"}
    before = open_source(f"timm:{image}").space.encoders["image"].state_dict()
    now = run.space.encoders["image"].encoder.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(before[name], now[name]) for name in before), "a frozen tower has not moved"
    paths = sorted(str(path) for path in shapes.parent.rglob("*.png"))[:5]
    vectors = run.embed(image=paths)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(vectors, Model.load(out).embed(image=paths))
    assert shell.json("eval", out, shapes)["text_to_image/R@1"] >= 0


def test_a_second_run_encodes_nothing(
    image: Path, bert: Path, shapes: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    towers, pairs = joined(image, bert), open_pairs(shapes)
    prepared = prepare_pairs(pairs, towers.space.processors)
    first, items = pooled_features(towers.space, "image", prepared, "fingerprint")
    plain = np.concatenate(list(towers.space.pooled_prepared("image", iter(prepared.items["image"]))))
    assert np.array_equal(first.numpy(), plain[items])
    assert len(list(own_cache.glob("*/part-*"))) == 1
    monkeypatch.setattr(cache, "_computed", lambda *_: pytest.fail("encoded again"))
    again, _ = pooled_features(towers.space, "image", prepared.select(np.arange(10)), "fingerprint")
    assert torch.equal(again, first[: len(again)])
    with pytest.raises(pytest.fail.Exception):
        pooled_features(towers.space, "image", prepared, "another tower")


def test_the_settings_of_a_tower_are_part_of_its_hash(image: Path) -> None:
    """Two towers of equal weights and preparation may pool or crop in other ways, and share no features."""
    space = open_towers({"image": f"timm:{image}"}, 32, augmented=True).space
    config = space.configs["image"]
    before = fingerprint_of(space, "image")
    space.configs["image"] = config.model_copy(update={"crop_pct": 0.5})
    assert fingerprint_of(space, "image") != before


def test_a_damaged_part_of_the_cache_is_computed_again(image: Path, bert: Path, shapes: Path, own_cache: Path) -> None:
    towers = joined(image, bert)
    prepared = prepare_pairs(open_pairs(shapes), towers.space.processors)
    first, _ = pooled_features(towers.space, "text", prepared, "fingerprint")
    (file,) = own_cache.glob("*/part-*/features.safetensors")
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(bytes(data))
    again, _ = pooled_features(towers.space, "text", prepared, "fingerprint")
    assert torch.equal(first, again)
    files.verify(next(own_cache.glob("*/part-*")))


def test_the_cache_gives_up_its_oldest_parts(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST", 10_000)
    for number in range(4):
        cache._write(own_cache / "one", [f"{number:032x}"], np.full((1, 1000), number, np.float32))
    kept = cache._read(own_cache / "one")
    assert f"{3:032x}" in kept
    assert f"{0:032x}" not in kept


def test_a_tower_is_frozen_where_the_data_are_few(image: Path, bert: Path, shapes: Path) -> None:
    pairs, towers = open_pairs(shapes), joined(image, bert)
    assert len(pairs) < FROZEN_BELOW

    def decided(*overrides: str) -> str:
        return config_from_source(resolve("towers", overrides).fitted(pairs), towers, overrides, pairs).locked

    assert decided() == "image,text"
    assert decided("locked=none") == "none"
    assert decided("locked=text") == "text"
    with pytest.raises(UserError, match="nothing to lock called 'txt'"):
        decided("locked=image,txt")


def test_what_an_encoder_froze_itself_stays_frozen() -> None:
    encoder = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    encoder.width = 4  # type: ignore[assignment]
    encoder[0].requires_grad_(False)
    space = Space({"image": encoder}, {}, {}, 4)
    lock(space, "none", set(space.parameters()))
    assert [parameter.requires_grad for parameter in encoder.parameters()] == [False, False, True, True]
    lock(space, "image", set(encoder.parameters()))
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert all(parameter.requires_grad for parameter in space.projections.parameters())


@pytest.mark.parametrize("more", [(), ("lora_rank=2",), ("locked=none",)])
def test_heads_can_be_trained_further(
    more: tuple[str, ...], image: Path, bert: Path, shapes: Path, tmp_path: Path, shell: Shell
) -> None:
    """Steps begin at the fitted heads; an evaluation before the first one counts among those that may be kept."""
    sides = ("--from", f"image=timm:{image}", "--from", f"text={bert}")
    settings = ("training.steps=4", "training.batch_size=16", "training.evaluations=1", "tta=false", *more)
    shell.json("train", shapes, "--out", tmp_path / "run", *sides, *settings)
    facts = Model.load(tmp_path / "run").facts
    assert facts["steps"] == 4
    assert "heads" in facts


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "picture=timm:resnet18"), "there is no modality 'picture'"),
        (("--from", "image=timm:efficientnet_lite9"), "timm has no model 'efficientnet_lite9'"),
        (("--from", "image=timm:resnet18", "--from", "run"), "--from names one model, or towers by modality"),
        (("heads=closed_form",), "name them with --from"),
        (("training.steps=0",), "training.steps=0 trains nothing"),
        (("--from", "text=nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: tuple[str, ...], words: str, shapes: Path, tmp_path: Path, cospace: Cospace
) -> None:
    assert words in cospace("train", shapes, "--out", tmp_path / "run", *arguments).refusal()


def test_the_recipe_and_its_estimate_need_no_connection(tmp_path: Path, cospace: Cospace) -> None:
    """Both towers come as packages; features of the estimate are found again by the run."""
    (tmp_path / "few").mkdir()
    shapes = write_shapes(tmp_path / "few", 2)
    pairs = open_pairs(shapes)
    train, val = hold_out(pairs, 0)
    sentence = estimate_towers(train, val)
    assert sentence is not None
    assert "published towers, fitted in seconds on " in sentence
    assert "--recipe towers" in sentence
    done = cospace("train", shapes, "--out", tmp_path / "run", "--recipe", "towers")
    assert done.code == 0, done.err
    assert "image tower: timm:efficientnet_lite1 (apache-2.0), frozen" in done.err
    assert "class names" in done.err
    run = Model.load(tmp_path / "run")
    assert "cca + class names" in run.facts["heads"]["cross_validated"]
    assert run.score(image=[str(next(shapes.parent.rglob("*.png")))], text=["a red circle"]).shape == (1, 1)


def test_no_estimate_where_it_is_no_question(shapes: Path) -> None:
    pairs = open_pairs(shapes)
    lacking = pairs.select(np.arange(len(pairs)))
    object.__setattr__(lacking, "items", {"text": pairs.items["text"]})
    assert estimate_towers(lacking, lacking) is None

"""Settings: what a person gives wins, what they leave open is filled in from their data, typing errors are named."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cospace.config import names, override
from cospace.data.pairs import Pairs, build, open_pairs
from cospace.data.prepared import different_items
from cospace.data.sources import Rows
from cospace.modalities.image.batching import SIZES, ImageSettings, median_side
from cospace.runs.settings import Facts, RunConfig, _fitted_training, facts_of, resolve
from cospace.runs.tensorboard import tensorboard
from cospace.training.loop import TrainingConfig
from cospace.types import UserError

RECIPES = ["small", "coca", "clip", "siglip", "joint-mse"]


def made(rows: int = 40, side: int = 64, questions: bool = False) -> Pairs:
    """Pairs of plain images with a caption each, and questions with answers where asked for."""
    images = [np.full((side, side, 3), number, np.uint8) for number in range(rows)]
    items: dict[str, Any] = {"image": images, "text": [f"number {number}" for number in range(rows)]}
    if questions:
        items |= {"question": ["how many?"] * rows, "answer": [str(number) for number in range(rows)]}
    return build("made", Rows([str(number) for number in range(rows)], items))


def fitted_training(rows: int, items: int, generates: bool = False, training: TrainingConfig | None = None) -> Any:
    facts = Facts(rows, {"image": items, "text": rows})
    return _fitted_training(training or TrainingConfig(), facts, generates)


def roundtrip(config: RunConfig) -> RunConfig:
    return RunConfig(**json.loads(json.dumps(config.model_dump(mode="json"))))


# ------------------------------------------------------------------------------------------------ recipes and overrides


def test_every_recipe_is_named_here_and_valid() -> None:
    assert set(RECIPES) <= {name.replace("_", "-") for name in names("recipes")}
    for name in (name.replace("_", "-") for name in names("recipes")):
        config = resolve(name)
        assert config.recipe == name
        assert config.encoder_parts().keys() == config.encoders.keys()
        assert roundtrip(config) == config


def test_a_saved_config_is_complete() -> None:
    """Parts are written with all of their settings, so that a later default cannot change an old run."""
    saved = resolve("small").model_dump(mode="json")
    for part in (*saved["encoders"].values(), saved["objective"]):
        assert len(part) > 1
        assert "name" in part


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("embed_dim=64", ["embed_dim"], 64),
        ("training.optim.lr=1e-4", ["training", "optim", "lr"], 1e-4),
        ("training.precision=float32", ["training", "precision"], "float32"),
        ("data.image.augment.translate=0", ["data", "image", "augment", "translate"], 0),
        ("data.text.vocab_size=500", ["data", "text", "vocab_size"], 500),
        ("training.steps=null", ["training", "steps"], None),
        ("training.steps=None", ["training", "steps"], None),
        ("objective.init_logit_scale=10", ["objective", "init_logit_scale"], 10),
        ("encoders.image.depth=2", ["encoders", "image", "depth"], 2),
        ("encoders.image=linear", ["encoders", "image", "name"], "linear"),
    ],
)
def test_an_override_reaches_its_place(assignment: str, path: list[str], value: object) -> None:
    node = resolve("small", [assignment]).model_dump(mode="json")
    for key in path:
        node = node[key]
    assert node == value


def test_naming_another_part_drops_the_old_ones_settings() -> None:
    config = resolve("clip", ["encoders.image=linear", "encoders.image.width=32"])
    assert "patch_dropout" not in config.encoders["image"]
    assert config.encoders["image"]["width"] == 32


def test_later_overrides_win() -> None:
    assert resolve("small", ["embed_dim=8", "embed_dim=16"]).embed_dim == 16


@given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner)))
def test_json_values_arrive_as_they_are(value: object) -> None:
    assert override({"a": {"b": 0}}, [f"a.b={json.dumps(value)}"]) == {"a": {"b": value}}


@given(text=st.text(max_size=30))
def test_any_text_is_a_setting_or_a_sentence(text: str) -> None:
    with contextlib.suppress(UserError):
        assert roundtrip(resolve("small", [text])).recipe == "small"


def test_overrides_leave_their_input_alone() -> None:
    data = {"a": {"b": 1}}
    override(data, ["a.b=2"])
    assert data == {"a": {"b": 1}}


# ------------------------------------------------------------------------------------------------ filled in from data

COUNTS = st.integers(2, 2_000_000)


@given(rows=COUNTS)
def test_no_setting_of_training_stays_open(rows: int) -> None:
    training = fitted_training(rows, rows)
    assert training.steps >= 20
    assert 2 <= training.batch_size <= min(256, rows)
    assert 1 <= training.optim.warmup_steps <= training.steps
    assert fitted_training(5, 5, training=training).steps == training.steps, "what is filled in is not filled in again"


@pytest.mark.parametrize("questions", [False, True])
def test_nothing_stays_open(questions: bool) -> None:
    config = resolve().fitted(made(questions=questions))
    assert config.data.image.size in SIZES
    assert config.data.image.augment.hflip is not None
    assert config.data.image.progressive_resizing is not None
    assert config.decoder.modality == "image"
    assert config.tasks == ("caption,vqa" if questions else "none")
    assert config.fitted(made(rows=50, side=9, questions=questions)) == config, (
        "what is filled in is not filled in again"
    )


@given(few=COUNTS, more=COUNTS)
def test_more_data_never_gets_less_work(few: int, more: int) -> None:
    few, more = sorted((few, more))
    lesser, greater = (fitted_training(n, n) for n in (few, more))
    assert lesser.batch_size <= greater.batch_size
    seen, seen_more = lesser.steps * lesser.batch_size, greater.steps * greater.batch_size
    assert seen <= seen_more + greater.batch_size, "pairs seen grow with the data, up to the last batch's rounding"
    assert seen / few >= seen_more / more - 1, "and epochs do not"


def image_settings(side: int, captions: tuple[str, ...] = ("a plain one",), generates: bool = False) -> ImageSettings:
    return ImageSettings().fitted([np.zeros((side, side, 3), np.uint8)], captions, generates)


@given(sides=st.lists(st.integers(1, 400), min_size=2, max_size=2))
def test_larger_images_never_get_fewer_pixels(sides: list[int]) -> None:
    small, large = (image_settings(side).size for side in sorted(sides))
    assert small is not None
    assert large is not None
    assert small <= large


@pytest.mark.parametrize("size", SIZES)
def test_an_image_is_not_enlarged_by_more_than_a_hair(size: int) -> None:
    assert image_settings(size).size == size
    less = image_settings(size - 4).size
    assert less is not None
    assert less <= max(size - 4, SIZES[0])


def test_what_is_given_is_kept() -> None:
    given = [
        "training.steps=7",
        "training.batch_size=9",
        "training.optim.warmup_steps=0",
        "data.image.size=48",
        "data.image.augment.hflip=false",
    ]
    config = resolve("small", given).fitted(made())
    assert (config.training.steps, config.training.batch_size, config.training.optim.warmup_steps) == (7, 9, 0)
    assert (config.data.image.size, config.data.image.augment.hflip) == (48, False)


def test_a_decoder_sees_whole_images_and_has_more_steps() -> None:
    assert (image_settings(64).progressive_resizing, image_settings(64, generates=True).progressive_resizing) == (
        0.6,
        0,
    )
    assert ImageSettings(progressive_resizing=0.3).fitted([], (), True).progressive_resizing == 0.3
    alone, generating = fitted_training(5000, 5000), fitted_training(5000, 5000, generates=True)
    assert (alone.batch_size, generating.batch_size) == (256, 128)
    assert generating.steps >= 2 * alone.steps - 1


def test_a_modality_that_the_recipe_does_not_name_gets_its_default_encoder() -> None:
    config = resolve("small", ["encoders.image=vit"]).fitted(made())
    assert config.encoders["image"]["name"] == "vit"
    assert resolve("small", ["encoders.audio.depth=1"]).encoders["audio"]["name"] == "spectrogram"
    texts = build("texts", Rows(["a", "b"], {"text": ["x", "y"], "question": ["?", "!"], "answer": ["1", "2"]}))
    assert resolve("small").fitted(texts).encoders.keys() == {"text"}, "an encoder of what is not there is left out"


# ------------------------------------------------------------------------------------------------ facts


def test_facts_count_what_is_there(tmp_path: Path) -> None:
    for number, side in enumerate((40, 50, 60)):
        Image.new("RGB", (2 * side, side), (number, 0, 0)).save(tmp_path / f"{number}.png")
    rows = ["0.png,a tree", "0.png,an old tree", "1.png,a house", "2.png,a house"]
    (tmp_path / "t.csv").write_text("image,text\n" + "\n".join(rows) + "\n")
    pairs = open_pairs(tmp_path / "t.csv")
    found = facts_of(pairs)
    assert (found.rows, found.n_items, found.distinct) == (4, 3, 3)
    assert found.plain() == {"rows": 4, "images": 3, "texts": 3}
    assert median_side(different_items(pairs, "image")[0]) == 50
    assert json.loads(json.dumps(found.plain())) == found.plain()


@pytest.mark.parametrize(
    ("caption", "sides"),
    [("a cat left of a dog", True), ("RIGHT arrow", True), ("a bright night", False), ("a red circle", False)],
)
def test_images_are_mirrored_unless_some_caption_names_a_side(caption: str, sides: bool) -> None:
    assert image_settings(8, ("a plain one", caption)).augment.hflip is not sides


def test_the_size_passes_over_images_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"broken")
    images = [np.zeros((70, 50, 3), np.uint8)]
    assert median_side([*images, tmp_path / "broken.png"]) == median_side(images) == 50
    assert median_side([tmp_path / "broken.png"]) == SIZES[-1]


def test_items_are_in_order_of_appearance_with_their_rows() -> None:
    texts = ["b", "a", "b", "c", "a"]
    images = [np.full((2, 2, 3), number, np.uint8) for number in (3, 1, 3, 2, 2)]
    pairs = build("made", Rows(list("vwxyz"), {"image": images, "text": texts}))
    items, item_of_row = different_items(pairs, "text")
    assert items == ["b", "a", "c"]
    assert [items[item] for item in item_of_row] == texts


def test_tensorboard_is_asked_for_by_name_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'cospace\[tensorboard\]'"):
        tensorboard(tmp_path)


def test_tensorboard_gets_every_number_of_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None:
            written.append(("flushed", 0.0, 0))

    stand_in = ModuleType("torch.utils.tensorboard")
    stand_in.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    tensorboard(tmp_path)({"step": 3, "loss": 0.5, "val/text_to_image/R@1": 0.25})
    assert written == [("loss", 0.5, 3), ("val/text_to_image/R@1", 0.25, 3), ("flushed", 0.0, 0)]


# ------------------------------------------------------------------------------------------------ how long


@pytest.mark.parametrize("questions", [False, True])
def test_steps_that_are_filled_in_later_give_what_the_same_steps_by_hand_give(questions: bool) -> None:
    pairs = made(questions=questions)
    timed = resolve("small", ["training.minutes=5"]).fitted(pairs)
    assert (timed.training.steps, timed.training.minutes) == (None, 5.0)
    assert timed.with_steps(77) == resolve("small", ["training.steps=77"]).fitted(pairs)


def test_steps_and_minutes_by_hand_contradict_each_other() -> None:
    with pytest.raises(UserError, match=r"training.steps=5 and training.minutes=2 \(--minutes\) both say how long"):
        resolve("small", ["training.steps=5", "training.minutes=2"])
    for one in ("training.steps=null", "training.minutes=null"):
        assert resolve("small", [one]).training == TrainingConfig()


def test_the_last_word_is_a_persons(tmp_path: Path) -> None:
    """Over a run whose settings are taken as a recipe: its steps go, and other minutes too."""
    recipe = tmp_path / "config.json"
    for own, by_hand, steps, minutes in (
        ({"steps": 9}, "training.minutes=2", None, 2.0),
        ({"minutes": 3}, "training.steps=7", 7, None),
        ({"steps": 9}, "training.seed=1", 9, None),
        ({"minutes": 3}, "training.seed=1", None, 3.0),
    ):
        data = resolve().model_dump(mode="json")
        recipe.write_text(json.dumps({**data, "training": {**data["training"], **own}}))
        training = resolve(str(recipe), [by_hand]).training
        assert (training.steps, training.minutes) == (steps, minutes)
    recipe.write_text(json.dumps({**data, "training": {"steps": 9, "minutes": 3}}))
    with pytest.raises(UserError, match="both say how long"):
        resolve(str(recipe))


def test_phases_are_those_of_images_and_of_the_decoder() -> None:
    assert resolve("small").fitted(made()).phases() == [(0.0, 0.6), (0.6, 1.0)]
    assert resolve("clip").fitted(made()).phases() == [(0.0, 1.0)]
    decoding = resolve("small", ["tasks=caption", "decoder.itm_fraction=0.25"]).fitted(made())
    assert decoding.phases() == [(0.0, 0.75), (0.75, 1.0)]


def test_images_become_smaller_where_their_size_was_left_open() -> None:
    asked = resolve("small")
    smaller = asked.fitted(made(side=64)).smaller(asked)
    assert smaller is not None
    assert smaller.data.image.size == 48
    assert smaller == resolve("small", ["data.image.size=48"]).fitted(made(side=64))
    for settings in (["data.image.size=64"], ["encoders.image=vit"]):
        given = resolve("small", settings)
        assert given.fitted(made(side=64)).smaller(given) is None

"""Settings: what a person says wins, what they leave open is filled in from their data, and typing errors are named."""

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

from conftest import write_shapes
from cospace.config import names, override
from cospace.experiment.board import board
from cospace.experiment.settings import SIZES, Experiment, Facts, experiment, facts_of, unique_items
from cospace.pairs import Rows, build, open_pairs
from cospace.types import UserError

RECIPES = ["small", "coca", "clip", "siglip", "joint-mse"]


def facts(**changes: Any) -> Facts:
    usual = {"rows": 5000, "images": 5000, "texts": 5000, "groups": 5000, "side": 64, "names_sides": False}
    return Facts(**{**usual, **changes})


def roundtrip(settings: Experiment) -> Experiment:
    return Experiment(**json.loads(json.dumps(settings.model_dump(mode="json"))))


# ------------------------------------------------------------------------------------------------ recipes and overrides


def test_every_recipe_is_named_here_and_valid() -> None:
    assert sorted(RECIPES) == [name.replace("_", "-") for name in names("recipes")]
    for name in RECIPES:
        made = experiment(name)
        assert made.recipe == name
        assert set(made.encoder_parts()) == {"image", "text"}
        assert roundtrip(made) == made


def test_a_saved_experiment_is_complete() -> None:
    """Parts are written with all of their settings, so that a later default cannot change an old run."""
    saved = experiment("small").model_dump(mode="json")
    for part in (*saved["encoders"].values(), saved["objective"]):
        assert len(part) > 1
        assert "name" in part


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("width=64", ["width"], 64),
        ("training.optim.rate=1e-4", ["training", "optim", "rate"], 1e-4),
        ("training.precision=float32", ["training", "precision"], "float32"),
        ("data.augment.shift=0", ["data", "augment", "shift"], 0),
        ("training.steps=null", ["training", "steps"], None),
        ("training.steps=None", ["training", "steps"], None),
        ("objective.scale=10", ["objective", "scale"], 10),
        ("encoders.image.depth=2", ["encoders", "image", "depth"], 2),
        ("encoders.image=linear", ["encoders", "image", "name"], "linear"),
    ],
)
def test_an_override_reaches_its_place(assignment: str, path: list[str], value: object) -> None:
    node = experiment("small", [assignment]).model_dump(mode="json")
    for key in path:
        node = node[key]
    assert node == value


def test_naming_another_part_drops_the_old_ones_settings() -> None:
    made = experiment("clip", ["encoders.image=linear", "encoders.image.width=32"])
    assert "keep" not in made.encoders["image"]
    assert made.encoders["image"]["width"] == 32


def test_later_overrides_win() -> None:
    assert experiment("small", ["width=8", "width=16"]).width == 16


@given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner)))
def test_json_values_arrive_as_they_are(value: object) -> None:
    assert override({"a": {"b": 0}}, [f"a.b={json.dumps(value)}"]) == {"a": {"b": value}}


@given(text=st.text(max_size=30))
def test_any_text_is_a_setting_or_a_sentence(text: str) -> None:
    with contextlib.suppress(UserError):
        assert roundtrip(experiment("small", [text])).recipe == "small"


def test_overrides_leave_their_input_alone() -> None:
    data = {"a": {"b": 1}}
    override(data, ["a.b=2"])
    assert data == {"a": {"b": 1}}


# ------------------------------------------------------------------------------------------------ filled in from data

COUNTS = st.integers(2, 2_000_000)


@given(rows=COUNTS, side=st.integers(1, 5000))
def test_nothing_stays_open(rows: int, side: int) -> None:
    made = experiment().fitted(facts(rows=rows, images=rows, side=side))
    training = made.training
    assert training.steps is not None
    assert training.steps >= 20
    assert training.batch is not None
    assert 2 <= training.batch <= min(256, rows)
    assert training.optim.warmup is not None
    assert 1 <= training.optim.warmup <= training.steps
    assert made.data.size in SIZES
    assert made.data.augment.flip is not None
    assert made.data.coarse is not None
    assert made.fitted(facts(rows=rows, images=5, side=9)) == made, "what is filled in is not filled in again"


@given(few=COUNTS, more=COUNTS)
def test_more_data_never_gets_less_work(few: int, more: int) -> None:
    few, more = sorted((few, more))
    lesser, greater = (experiment().fitted(facts(rows=n, images=n)).training for n in (few, more))
    assert lesser.batch <= greater.batch
    seen, seen_more = lesser.steps * lesser.batch, greater.steps * greater.batch
    assert seen <= seen_more + greater.batch, "pairs seen grow with the data, up to the last batch's rounding"
    assert seen / few >= seen_more / more - 1, "and looks at each of them do not"


@given(sides=st.lists(st.integers(1, 4000), min_size=2, max_size=2))
def test_larger_pictures_never_get_fewer_pixels(sides: list[int]) -> None:
    small, large = (experiment().fitted(facts(side=side)).data.size for side in sorted(sides))
    assert small <= large


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_not_blown_up_by_more_than_a_hair(size: int) -> None:
    assert experiment().fitted(facts(side=size)).data.size == size
    assert experiment().fitted(facts(side=size - 4)).data.size <= max(size - 4, SIZES[0])


def test_what_is_said_is_kept() -> None:
    said = [
        "training.steps=7",
        "training.batch=9",
        "training.optim.warmup=0",
        "data.size=48",
        "data.augment.flip=false",
    ]
    made = experiment("small", said).fitted(facts())
    assert (made.training.steps, made.training.batch, made.training.optim.warmup) == (7, 9, 0)
    assert (made.data.size, made.data.augment.flip) == (48, False)


def test_a_decoder_sees_whole_pictures_and_has_more_steps() -> None:
    alone, told = experiment().fitted(facts()), experiment().fitted(facts(questions=100))
    assert (alone.tell, told.tell) == ("nothing", "both")
    assert (alone.data.coarse, told.data.coarse) == (0.6, 0.0)
    assert (alone.training.batch, told.training.batch) == (256, 128)
    assert alone.training.steps is not None
    assert told.training.steps is not None
    assert told.training.steps >= 2 * alone.training.steps - 1
    assert experiment("small", ["data.coarse=0.3"]).fitted(facts(questions=100)).data.coarse == 0.3


# ------------------------------------------------------------------------------------------------ facts


def test_facts_count_what_is_there(tmp_path: Path) -> None:
    for number, side in enumerate((40, 50, 60)):
        Image.new("RGB", (2 * side, side), (number, 0, 0)).save(tmp_path / f"{number}.png")
    rows = ["0.png,a tree", "0.png,an old tree", "1.png,a house", "2.png,a house"]
    (tmp_path / "t.csv").write_text("image,text\n" + "\n".join(rows) + "\n")
    found = facts_of(open_pairs(tmp_path / "t.csv"))
    assert (found.rows, found.images, found.texts, found.groups) == (4, 3, 3, 2)
    assert found.side == 45, "the median of 40, 40, 50 and 60"
    assert json.loads(json.dumps(found.plain())) == found.plain()


@pytest.mark.parametrize(
    ("caption", "sides"),
    [("a cat left of a dog", True), ("RIGHT arrow", True), ("a bright night", False), ("a red circle", False)],
)
def test_pictures_are_mirrored_unless_some_caption_names_a_side(caption: str, sides: bool) -> None:
    pictures = [np.full((2, 2, 3), number, np.uint8) for number in range(2)]
    found = facts_of(build("made", Rows(["a", "b"], {"image": pictures, "text": ["a plain one", caption]})))
    assert found.names_sides is sides
    assert experiment().fitted(found).data.augment.flip is not sides


def test_facts_pass_over_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    pairs = write_shapes(tmp_path, 2)
    before = facts_of(open_pairs(pairs))
    (tmp_path / "images" / "red-circle-0.png").write_bytes(b"broken")
    assert facts_of(open_pairs(pairs)).side == before.side == 32


def test_items_are_in_order_of_appearance_with_their_rows() -> None:
    texts = ["b", "a", "b", "c", "a"]
    pictures = [np.full((2, 2, 3), number, np.uint8) for number in (3, 1, 3, 2, 2)]
    pairs = build("made", Rows(list("vwxyz"), {"image": pictures, "text": texts}))
    items, groups, item_of_row = unique_items(pairs, "text")
    assert items == ["b", "a", "c"]
    assert [items[item] for item in item_of_row] == texts
    assert groups.tolist() == pairs.groups[[0, 1, 3]].tolist()


def test_tensorboard_is_asked_for_by_name_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'cospace\[tensorboard\]'"):
        board(tmp_path)


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
    board(tmp_path)({"step": 3, "loss": 0.5, "val/text_to_image/R@1": 0.25})
    assert written == [("loss", 0.5, 3), ("val/text_to_image/R@1", 0.25, 3), ("flushed", 0.0, 0)]

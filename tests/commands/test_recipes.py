"""What can be set is listed with its meaning, its value and where that comes from; recipes say what they are for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import Cospace, Shell
from cospace.commands.recipes import Setting, is_setting, list_recipes, list_settings
from cospace.config import lookup, names
from cospace.modalities import all_modalities
from cospace.runs.settings import all_recipes, resolve
from cospace.types import UserError

ENCODERS = "models.encoders"


def by_path(recipe: str = "small", *overrides: str, prefixes: tuple[str, ...] = ()) -> dict[str, Setting]:
    return {setting.path: setting for setting in list_settings(recipe, overrides, prefixes)}


def every_part() -> list[str]:
    """An override for every encoder and every objective that there is, so that its settings are listed."""
    encoders = [f"encoders.{lookup(ENCODERS, name).modality}={name}" for name in names(ENCODERS)]  # type: ignore[attr-defined]
    return [*encoders, *(f"objective={name}" for name in names("objectives"))]


# ------------------------------------------------------------------------------------------------ completeness


@pytest.mark.parametrize("recipe", all_recipes())
def test_every_setting_of_a_recipe_has_a_meaning(recipe: str) -> None:
    assert [setting.path for setting in list_settings(recipe, (), ()) if not setting.meaning] == []


@pytest.mark.parametrize("override", every_part())
def test_every_setting_of_every_encoder_and_objective_has_a_meaning(override: str) -> None:
    assert [setting.path for setting in list_settings("small", (override,), ()) if not setting.meaning] == []


@pytest.mark.parametrize("recipe", all_recipes())
def test_every_value_of_a_config_is_listed(recipe: str) -> None:
    """What is saved with a run and what ``--help-settings`` shows are the same settings, with the same values."""
    config = resolve(recipe).model_dump(mode="json")

    def leaves(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in data.items():
            branch = isinstance(value, dict) and key != "towers"  # of any modalities, and so one setting
            found |= leaves(value, f"{prefix}{key}.") if branch else {f"{prefix}{key}": value}
        return found

    saved = leaves(config)
    del saved["recipe"]
    for part in ("objective", *(f"encoders.{name}" for name in config["encoders"])):
        saved[part] = saved.pop(f"{part}.name")
    listed = {path: json.loads(json.dumps(setting.value)) for path, setting in by_path(recipe).items()}
    encoders = {f"encoders.{one.name}" for one in all_modalities()} - saved.keys()
    others = {path for path in listed if any(path == name or path.startswith(f"{name}.") for name in encoders)}
    assert {path: listed[path] for path in listed.keys() - others} == saved, "beside it, encoders of further modalities"


def test_meanings_are_plain_sentences() -> None:
    for setting in list_settings("small", (), ()):
        assert not set("`\n") & set(setting.meaning)
        assert ":data:" not in setting.meaning
        assert "Ellipsis" not in setting.type and "Annotated" not in setting.type


def test_every_modality_has_a_branch() -> None:
    assert {path.split(".")[1] for path in by_path(prefixes=("data",))} >= {one.name for one in all_modalities()}


# ------------------------------------------------------------------------------------------------ value and origin


@pytest.mark.parametrize(
    ("overrides", "path", "kind", "value", "origin"),
    [
        ((), "training.optim.lr", "float", 0.002, "default"),
        ((), "embed_dim", "int", 256, "recipe"),
        ((), "encoders.image", "encoder", "cnn", "recipe"),
        ((), "encoders.image.widths", "list of int", [32, 64, 192], "recipe"),
        ((), "encoders.image.heads", "int", 4, "default"),
        ((), "encoders.audio", "encoder", "spectrogram", "default"),
        (("encoders.audio.depth=1",), "encoders.audio.depth", "int", 1, "given"),
        ((), "objective", "objective", "softmax", "recipe"),
        ((), "objective.label_smoothing", "float", 0.1, "recipe"),
        ((), "training.optim.betas", "list of float", [0.9, 0.98], "default"),
        ((), "training.optim.name", "muon or adamw", "muon", "default"),
        ((), "training.precision", "auto or float32 or bfloat16", "auto", "default"),
        ((), "wise_ft_alpha", "float or auto", 1.0, "default"),
        ((), "training.steps", "int", None, "from the data"),
        ((), "data.image.size", "int", None, "from the data"),
        ((), "data.image.augment.hflip", "bool", None, "from the data"),
        ((), "training.micro_batch_size", "int", None, "default"),
        (("training.steps=5",), "training.steps", "int", 5, "given"),
        (('training={"steps": 5}',), "training.steps", "int", 5, "given"),
        (("training.steps=5",), "training.seed", "int", 0, "default"),
        (("encoders.image=vit",), "encoders.image", "encoder", "vit", "given"),
        (("encoders.image=vit",), "encoders.image.depth", "int", 6, "default"),
        (("objective=sigmoid", "objective.init_logit_bias=-3"), "objective.init_logit_bias", "float", -3.0, "given"),
    ],
)
def test_a_setting_says_its_type_its_value_and_who_decides(
    overrides: tuple[str, ...], path: str, kind: str, value: object, origin: str
) -> None:
    setting = by_path("small", *overrides)[path]
    assert (setting.type, setting.value, setting.origin) == (kind, pytest.approx(value), origin)


# ------------------------------------------------------------------------------------------------ prefixes


def test_prefixes_choose_branches_and_single_settings() -> None:
    chosen = by_path(prefixes=("training.optim", "embed_dim"))
    assert {path.rpartition(".")[0] for path in chosen} == {"training.optim", ""}
    assert by_path(prefixes=("training.optim.",)).keys() == chosen.keys() - {"embed_dim"}
    assert "data.image.size" in by_path(prefixes=("data.image",))


@pytest.mark.parametrize(
    ("prefix", "nearest"),
    [
        ("trainin", "'training'"),
        ("training.stepz", "'training.steps'"),
        ("training.optm.lr", "'training.optim'"),
        ("optim", "'training.optim'"),
        ("data.imag", "'data.image'"),
        ("encoder", "'encoders'"),
    ],
)
def test_an_unknown_prefix_names_the_nearest(prefix: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"no setting under '{prefix}'; did you mean {nearest}") as caught:
        list_settings("small", (), (prefix,))
    assert len(str(caught.value)) < 400, "and not everything that there is"


def test_settings_without_a_value_are_known() -> None:
    assert is_setting("training.steps", "small")
    assert not is_setting("training.csv", "small")
    assert not is_setting("scenes", "small")


# ------------------------------------------------------------------------------------------------ the command line


def test_help_settings_is_a_table_for_people_and_json_for_programs(shell: Shell) -> None:
    printed = shell.text("train", "--help-settings", "training.optim.lr", "embed_dim", "training.optim.lr=0.1")
    assert printed.splitlines() == [
        "embed_dim=256  (int; recipe)",
        "    Dimensions of the embedding space.",
        "training.optim.lr=0.1  (float; given)",
        "    Peak learning rate of AdamW.",
    ]
    assert "data.image.size  (int; from the data)\n" in shell.text("train", "--help-settings")
    listed = shell.json("train", "--help-settings", "training.optim", "--recipe", "clip")["settings"]
    assert all(row.keys() == {"path", "type", "value", "meaning", "origin"} for row in listed)
    assert {row["path"].rpartition(".")[0] for row in listed} == {"training.optim"}


def test_help_settings_takes_the_mistakes_of_settings(cospace: Cospace, tmp_path: Path) -> None:
    assert "did you mean 'training'" in cospace("train", "--help-settings", "trainin").refusal()
    assert "did you mean 'softmax'" in cospace("train", "--help-settings", "objective=sofmax").refusal()
    assert "there is no recipe 'smal'" in cospace("train", "--help-settings", "--recipe", "smal").refusal()


def test_help_settings_of_a_runs_own_config(shell: Shell, trained: Path) -> None:
    listed = shell.json("train", "--help-settings", "--recipe", trained / "config.json")["settings"]
    rows = {row["path"]: row for row in listed}
    assert (rows["training.steps"]["value"], rows["training.steps"]["origin"]) == (40, "recipe")


def test_recipes_say_what_they_are_for_and_what_was_measured(shell: Shell) -> None:
    found = list_recipes()
    assert [recipe.name for recipe in found] == list(all_recipes())
    for recipe in found:
        assert recipe.summary.endswith(".")
        assert len(recipe.summary) <= 120
        assert recipe.result
        assert "`" not in recipe.summary + recipe.result
    rows = {row["name"]: row for row in shell.json("recipes")["recipes"]}
    assert rows["small"]["summary"].startswith("The default")
    assert "0.963" in rows["small"]["result"]
    printed = shell.text("recipes")
    assert all(f"{name}\n    " in printed for name in rows)
    assert "--help-settings --recipe NAME" in printed

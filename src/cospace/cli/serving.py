"""The command that puts an index on the web, for this machine or for others."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from ._app import INDEX, Json, Trust, show, verb


@verb("INDEX [OPTIONS]")
def serve(
    index: Annotated[str, Parameter(help=INDEX)],
    /,
    *,
    host: Annotated[
        str, Parameter(help="Address to listen on; one that others can reach wants a token.")
    ] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port; 0 takes any that is free.")] = 8000,
    token: Annotated[str | None, Parameter(help="What everyone must show; auto draws one and prints it.")] = None,
    allow_host: Annotated[
        list[str] | None, Parameter(negative="", help="A further host name to answer under; may be repeated.")
    ] = None,
    fetch: Annotated[
        bool, Parameter(negative="", help="Let queries name files by their web address: public ones only.")
    ] = False,
    trust: Trust = None,
    json: Json = False,
) -> None:
    """Serve an index: the web page for people, and an HTTP interface (described under /openapi.json) for programs.

    Only this machine is answered unless --host says otherwise. Stop it with Ctrl-C.

    Example: cospace serve idx
    """
    from ..commands.search import SearchableIndex
    from ..service.access import Access
    from ..service.running import serve as run
    from .terminal import Progress

    access = Access.choose(host, port, token, allow_host or ())
    with Progress() as progress:
        progress.say("loading the model")
        collection = SearchableIndex.open(index, trust or ())

    def ready(url: str) -> None:
        items = len(collection.store)
        show({"url": url, "items": items}, f"{items:,} items of {collection.name}: {url}\nstop with Ctrl-C", json)
        sys.stdout.flush()

    run(collection, access, fetch, ready)


@verb("INDEX [OPTIONS]")
def mcp(
    index: Annotated[str, Parameter(help=INDEX)],
    /,
    *,
    trust: Trust = None,
) -> None:
    """Offer an index to programs with language models: as tools of the Model Context Protocol, on standard input.

    The tools are search and, where the run has learned them, caption and ask. The program starts this command itself;
    in its settings write the command cospace with the arguments mcp and INDEX.

    Example: cospace mcp idx
    """
    from ..commands.search import SearchableIndex
    from ..service.mcp import serve as run

    run(SearchableIndex.open(index, trust or ()))

"""Commands that put a space to work on a collection: embed, index, search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ._app import Json, app, set_aside, show, write


@app.command
def embed(run: Path, source: str, /, *, out: Path, json: Json = False) -> None:
    """Embed pictures, texts (a .txt file, one a line) or pairs into a .parquet or .npz file with ids.

    A killed job goes on with the same command; the same command given several times at once, or by torchrun, shares the
    work. What cannot be decoded is set aside and listed in FILE.problems.jsonl.

    Example: cospace embed run photos/ --out vectors.parquet
    """
    from ..experiment.embedding import embed_to_file
    from ..experiment.model import Model
    from ..runtime import rank
    from ..terminal import Progress

    with Progress() as progress:
        count, problems = embed_to_file(Model.load(run), source, out, progress.long_work)
    if rank() == 0:
        show(
            {"out": str(out), "items": count, "set_aside": len(problems)},
            f"{count:,} items embedded into {out}" + set_aside(problems),
            json,
        )


@app.command
def index(
    run: Path,
    source: str,
    /,
    *,
    out: str,
    precision: Annotated[
        Literal["float32", "bfloat16", "int8", "float16"] | None,
        Parameter(help="How vectors are stored (float16: on a server only), chosen when an index is made."),
    ] = None,
    keep_missing: Annotated[
        bool, Parameter(negative="", help="Keep items that the input no longer holds; they are removed otherwise.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a folder of pictures (or any pairs) searchable. The index holds its own copy of the model.

    The same command again embeds only what is new or changed. Several inputs may go into one index. It is a folder, or
    lives on a server: --out postgresql://USER@HOST/DATABASE.

    Example: cospace index run photos/ --out idx
    """
    from ..experiment.indexing import build_index
    from ..experiment.model import Model
    from ..terminal import Progress

    with Progress() as progress:
        model = Model.load(run)
        made = build_index(
            model, source, out, precision=precision, keep_missing=keep_missing, progress=progress.long_work
        )
    told = {name: getattr(made, name) for name in ("added", "changed", "removed", "unchanged")}
    name = made.index.home.name
    typed = name if made.index.url is None else "ADDRESS"  # which may hold a password
    show(
        {"out": name, "items": len(made.index.store), **told, "set_aside": len(made.problems)},
        f'{made.sentence()}{set_aside(made.problems)}\nsearch them: cospace search {typed} "what you look for"\n'
        f"on a web page: cospace serve {typed}",
        json,
    )


@app.command
def search(
    index: str,
    text: str | None = None,
    /,
    *,
    image: Path | None = None,
    k: Annotated[int, Parameter(name=["-k", "--k"])] = 10,
    where: Annotated[
        list[str] | None,
        Parameter(negative="", help="Only what satisfies this, e.g. label=cat|dog or year>=1990; may be repeated."),
    ] = None,
    find: Annotated[str | None, Parameter(help="Modality of the results: image or text.")] = None,
    rerank: Annotated[bool, Parameter(help="Let the run's decoder look at the first results again.")] = False,
    pictures: Annotated[
        Literal["auto", "always", "never"], Parameter(help="Show small pictures; auto: where the terminal can.")
    ] = "auto",
    json: Json = False,
) -> None:
    """Search an index by text or by picture.

    Example: cospace search idx "a red bus" -k 5
    """
    from ..experiment.search import SearchableIndex
    from ..terminal import results_table
    from ..terminal_pictures import contact_sheet, painter

    opened = SearchableIndex.open(index)
    results = opened.search(text, image, k, find, rerank, where or ())
    if json:
        show({"results": [{"id": r.id, "score": r.score, "path": r.path, "text": r.text} for r in results]}, "", json)
        return
    paint = painter(pictures)
    if paint is not None:
        small = [(str(place), opened.thumbnails.get(r.hash, 64)) for place, r in enumerate(results, 1)]
        sheet = contact_sheet([(label, picture) for label, picture in small if picture is not None], paint)
        if sheet:
            write(sheet)
    write(results_table(results))

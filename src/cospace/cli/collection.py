"""Commands that put a space to work on a collection: embed, index, search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, make_dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ..modalities import all_modalities, text_modality
from ..types import UserError
from ._app import (
    AS_FOUND,
    INDEX,
    PLACE,
    RUN,
    Dimensions,
    Json,
    Reading,
    ReadingOptions,
    Trust,
    kinds,
    set_aside,
    show,
    verb,
    write,
)

if TYPE_CHECKING:
    from ..commands.embed import Embedded
    from ..commands.index import Indexed
    from ..commands.search import Result, SearchableIndex
    from ..runs.run import NamedRun
    from ..stores import Index
    from ..stores.entries import Input
    from ..types import Progress as Work

INPUT = "Files or pairs: a folder, a table, tar shards, hf:NAME, or a built-in set."
"""Help of the argument that names what is embedded."""

Thumbnails = Literal["auto", "always", "never"]

FileQuery = make_dataclass(
    "FileQuery",
    [
        (one.name, Annotated[Path | None, Parameter(help=f"Search by the {one.noun} in this file.")], None)
        for one in all_modalities()
        if not one.is_text
    ],
    frozen=True,
    namespace={"__module__": __name__},  # cyclopts takes what a module of Python's own defines for a plain value
)
"""A query by a file: an option for each modality that has files."""

FileQueryOptions = Annotated[FileQuery, Parameter(name="*")]  # type: ignore[valid-type]

NO_FILE = FileQuery()
"""A query by text."""


def _embedded(run: NamedRun, given: Input, out: Path, on: RayOptions, progress: Work) -> Embedded:
    """By this process, or by a cluster."""
    if on.ray is None:
        from ..commands.embed import embed_to_file

        return embed_to_file(run.open(), given, out, progress)
    from ..commands.embed_on_ray import embed_on_ray

    return embed_on_ray(run, given, out, on.ray, on.workers, progress)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class RayOptions:
    """A Ray cluster that shares the work."""

    ray: Annotated[
        str | None, Parameter(help="A Ray cluster does the work: auto, HOST:PORT, or local, which starts one.")
    ] = None
    workers: Annotated[
        int | None, Parameter(help="Processes of --ray; by default one for each GPU, else for every four processors.")
    ] = None


ALONE = RayOptions()
"""This process does the work."""


@verb("RUN SOURCE --out FILE [OPTIONS]")
def embed(
    run: Annotated[Path, Parameter(help=RUN)],
    source: Annotated[str, Parameter(help=f"{INPUT} Or a .txt file of texts, one per line.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="A .parquet or .npz file.")],
    on: RayOptions = ALONE,
    dimensions: Dimensions = None,
    reading: ReadingOptions = AS_FOUND,
    trust: Trust = None,
    json: Json = False,
) -> None:
    """Embed files, texts (a .txt file, one per line) or pairs into a .parquet or .npz file with ids.

    Run the same command again to resume an interrupted job; several copies at once, torchrun, or a Ray cluster share
    the work. What cannot be decoded is set aside and listed in FILE.problems.jsonl.

    Example: cospace embed run photos/ --out vectors.parquet
    """
    from ..runs.run import NamedRun
    from ..runtime import rank
    from ..stores.entries import Input
    from .terminal import Progress

    if on.workers is not None and on.ray is None:
        raise UserError("--workers are those of a Ray cluster; name one with --ray, or leave them out")
    given, named = Input(source, reading.options(pairs=False)), NamedRun(run, tuple(trust or ()), dimensions)
    with Progress() as progress:
        made = _embedded(named, given, out, on, progress.long_work)
    if rank() == 0:
        said = f"{made.embedded:,} items embedded into {out}{set_aside(made.problems)}"
        show(
            {"out": str(out), "embedded": made.embedded, **made.counts.to_json()},
            "\n".join([*made.summary, said]),
            json,
        )


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How an index is made, or what is done with its inputs."""

    precision: Annotated[
        Literal["float32", "bfloat16", "int8", "float16"] | None,
        Parameter(help="How vectors are stored (float16: in LanceDB or on a server), chosen when an index is made."),
    ] = None
    dimensions: Dimensions = None
    ann: Annotated[
        str | None,
        Parameter(help="The vector index of a large index in LanceDB or PostgreSQL, e.g. ivf_flat or hnsw:m=32; may be "
                  "chosen without RUN and SOURCE too."),
    ] = None  # fmt: skip
    leave_out: Annotated[
        str | None,
        Parameter(help="Leave out what cospace check finds, by its kinds, e.g. near_duplicates,blank."),
    ] = None
    keep_missing: Annotated[
        bool, Parameter(negative="", help="Keep items that the input no longer holds; they are removed otherwise.")
    ] = False
    sources: Annotated[bool, Parameter(negative="", help="List the inputs that the index was made of.")] = False
    forget: Annotated[str | None, Parameter(help="Remove the items of this input from the index.")] = None
    calibrate: Annotated[
        bool, Parameter(negative="", help="Calibrate its searches on its own captions, also without RUN and SOURCE.")
    ] = False


AS_USUAL = IndexOptions()
"""Everything that an input holds, as float32."""


@verb("RUN SOURCE --out INDEX [OPTIONS]")
def index(
    run: Annotated[Path | None, Parameter(help=RUN)] = None,
    source: Annotated[str | None, Parameter(help=INPUT)] = None,
    /,
    *,
    out: Annotated[str, Parameter(help=PLACE)],
    options: Annotated[IndexOptions, Parameter(name="*")] = AS_USUAL,
    reading: ReadingOptions = AS_FOUND,
    trust: Trust = None,
    json: Json = False,
) -> None:
    """Make a folder of files (or any pairs) searchable. The index holds its own copy of the model.

    The same command again embeds only what is new or changed. Several inputs may go into one index; one that was moved
    or renamed is recognised. The index is a folder, or lives in LanceDB (--out lance:FOLDER, s3://BUCKET/PATH) or on a
    server (--out postgresql://USER@HOST/DATABASE).

    Example: cospace index run photos/ --out idx
    """
    if options.sources or options.forget is not None:
        _show_sources(out, options.forget, json)
    elif options.calibrate and run is None:
        _calibrate(out, trust, json)
    elif options.ann is not None and run is None:
        _choose_ann(out, options.ann, json)
    elif run is None or source is None:
        raise UserError(f"name a run and what to index: cospace index RUN SOURCE --out {quote(out)}")
    else:
        _build(run, source, out, options, reading, trust, json)


def _build(run: Path, source: str, out: str, options: IndexOptions, reading: Reading, trust: Trust, json: bool) -> None:
    """Make an index or bring it up to date, and show what was done."""
    from ..commands.calibrate import calibrate_index
    from ..commands.index import build_index
    from ..runs.run import Run
    from ..stores.entries import Input
    from ..stores.locations import location_of
    from .terminal import Progress

    with Progress() as progress:
        made = build_index(
            Run.load(run, trust or ()).truncated(options.dimensions),
            Input(source, reading.options(pairs=False), kinds(options.leave_out)),
            location_of(out, options.ann),
            precision=options.precision,
            keep_missing=options.keep_missing,
            progress=progress.long_work,
        )
    changes = {change: getattr(made, change) for change in ("added", "changed", "removed", "unchanged")}
    name = made.index.location.name
    data = {"out": name, "in_index": len(made.index.store), **changes, **made.counts.to_json()}
    data |= _measured(made.index.store)
    said = _index_summary(made, name)
    if options.calibrate:
        found = calibrate_index(made.index)
        data |= {"calibrated": dict(found.queries), "calibration_error": found.error}
        said.insert(-2, found.sentence())
    show(data, "\n".join(said), json)


def _calibrate(out: str, trust: Trust, json: bool) -> None:
    """Calibrate an index that is there."""
    from ..commands.calibrate import calibrate_index
    from ..commands.search import SearchableIndex

    found = calibrate_index(SearchableIndex.open(out, trust or ()))
    data = {"out": out, "calibrated": dict(found.queries), "calibration_error": found.error}
    show(data, found.sentence(), json)


def _choose_ann(out: str, ann: str, json: bool) -> None:
    """Build another vector index in an index that is there."""
    from ..commands.ann import choose_ann, recall_sentences
    from ..stores.locations import location_of
    from .terminal import Progress

    with Progress() as progress:
        store = choose_ann(location_of(out, ann), progress.long_work)
    said = recall_sentences(store) or [f"{len(store):,} items, so few that all are read; larger ones get {ann}"]
    show({"out": out, **_measured(store)}, "\n".join(said), json)


def _measured(store: Index) -> dict[str, Any]:
    """What was measured of an approximate search, as JSON; nothing of a store that measures none."""
    from ..stores.ann import Approximate

    return {"ann": {k: v.plain() for k, v in store.measured.items()}} if isinstance(store, Approximate) else {}


def _show_sources(out: str, forget: str | None, json: bool) -> None:
    """Forget an input, if one is named, and list those that are left."""
    from ..commands.sources import forget_source, list_sources

    gone = None if forget is None else forget_source(out, forget)
    left = list_sources(out)
    said = [f"{gone.name}: {gone.items:,} items removed"] if gone else []
    said += [f"{one.items:,} items from {one.name}{' (no longer there)' if one.missing else ''}" for one in left]
    data = {"sources": [asdict(one) for one in left], **({"forgotten": asdict(gone)} if gone else {})}
    show(data, "\n".join(said or ["the index is empty"]), json)


def _index_summary(made: Indexed, name: str) -> list[str]:
    """What was done, and the commands that come next."""
    typed = quote(name) if made.index.url is None else "ADDRESS"  # which may hold a password
    return [
        *made.summary,
        made.sentence() + set_aside(made.problems),
        f'search them: cospace search {typed} "what you look for"',
        f"on a web page: cospace serve {typed}",
    ]


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What is found, and in which order."""

    k: Annotated[int, Parameter(name=["-k", "--k"], help="How many results.")] = 10
    where: Annotated[
        list[str] | None,
        Parameter(negative="", help="Only what satisfies this, e.g. label=cat|dog or year>=1990; may be repeated."),
    ] = None
    find: Annotated[str | None, Parameter(help="Modality of the results.")] = None
    rerank: Annotated[bool, Parameter(help="Let the run's decoder re-rank the first results.")] = False
    at_least: Annotated[
        Literal["strong", "likely", "maybe"] | None, Parameter(help="Only results that fit at least so well.")
    ] = None
    hybrid: Annotated[
        bool, Parameter(negative="", help="Rank by the words of captions as well as by meaning, without percentages.")
    ] = False
    all: Annotated[bool, Parameter(negative="", help="Show weak results too, up to -k.")] = False
    right: Annotated[
        list[str] | None, Parameter(negative="", help="Results that are right, by id (ID,ID): the search moves there.")
    ] = None
    wrong: Annotated[
        list[str] | None, Parameter(negative="", help="Results that are wrong, by id (ID,ID): not found again.")
    ] = None
    save_class: Annotated[
        str | None, Parameter(help="Keep what the marks say as a class of this name, beside the index.")
    ] = None
    in_class: Annotated[
        str | None, Parameter(name="--class", help="Only items of a saved class; without a text, the surest first.")
    ] = None


BY_SCORE = SearchOptions()
"""The ten nearest items."""


@verb('INDEX "TEXT" [OPTIONS]')
def search(
    index: Annotated[str, Parameter(help=INDEX)],
    text: Annotated[str | None, Parameter(help="What to look for, in words.")] = None,
    /,
    *,
    file: FileQueryOptions = NO_FILE,
    options: Annotated[SearchOptions, Parameter(name="*")] = BY_SCORE,
    thumbnails: Annotated[Thumbnails, Parameter(help="Show thumbnails; auto: where the terminal can.")] = "auto",
    trust: Trust = None,
    json: Json = False,
) -> None:
    """Search an index by text or by a file.

    Results may be marked right and wrong by their ids, which moves the search, and what the marks say may be saved as a
    class: cospace search idx "a bus" --right a.jpg,b.jpg --wrong c.jpg --save-class buses, then --class buses.

    Example: cospace search idx "a red bus" -k 5
    """
    from ..commands.collection import Collection
    from .search_output import results_table
    from .teaching import search_or_teach

    opened, given = Collection.open(index, trust or ()), options
    answer = search_or_teach(opened, options, {text_modality(): text, **asdict(file)})
    if json:
        show(answer.plain(), "", json)
        return
    listed = answer.results if given.all or given.rerank else answer.fitting()
    _show_thumbnails(opened, listed, thumbnails)
    write(results_table(answer, listed, given.hybrid))
    _say_unread(answer.results)


def _show_thumbnails(opened: SearchableIndex, results: Sequence[Result], when: Thumbnails) -> None:
    """The results' previews above the table, where they are wanted and can be shown."""
    from .terminal_images import contact_sheet, painter

    paint = painter(when)
    if paint is not None:
        small = [(str(place), opened.thumbnails.get(r.hash, 64)) for place, r in enumerate(results, 1)]
        sheet = contact_sheet([(label, webp) for label, webp in small if webp is not None], paint)
        if sheet:
            write(sheet)


def _say_unread(results: Sequence[Result]) -> None:
    """What the decoder could not read, on stderr."""
    from .terminal import Progress

    unread = [result for result in results if result.unread]
    if unread:
        said = f"{len(unread)} could not be read for re-ranking and keep their place by score"
        Progress().say(f"{said} (first: {unread[0].id}: {unread[0].unread})")

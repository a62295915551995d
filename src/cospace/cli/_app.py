"""What every command shares: the application they belong to, options of several, and how a result is shown."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import App, Parameter

from .. import __version__
from ..config import unknown
from ..filenames import without_surrogates
from ..modalities import all_modalities
from ..types import Problem, UserError

if TYPE_CHECKING:
    from ..data.pairs import Pairs
    from ..data.sources import ReadOptions

app = App(
    name="cospace",
    help="Learn one embedding space for images, texts and sounds from your own pairs, and put it to work.",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)

F = TypeVar("F", bound=Callable[..., Any])

Trust = Annotated[
    list[str] | None,
    Parameter(
        name="--trust",
        negative="",
        help="A module that may be imported where the run, the index or the recipe names it as an encoder or an "
        "objective: importing it runs its code. May be repeated.",
    ),
]
"""Modules that are no part of cospace, and that a person lets run: see ``cospace.trust``."""

Dimensions = Annotated[
    int | None,
    Parameter(
        help="Cut vectors to so many numbers (Matryoshka), e.g. 64; an index keeps its own, and cuts queries too."
    ),
]
"""How long vectors are."""

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object on stdout.")]


@dataclass(frozen=True, slots=True)
class Reading:
    """How an input is read, the same for every command; what is left out is found out."""

    columns: Annotated[
        str | None,
        Parameter(
            help="Columns of a table by modality, e.g. image=file,text=title; text=a,text=b for several captions a "
            "row; weight=score for how much a row counts in training."
        ),
    ] = None
    separator: Annotated[str | None, Parameter(help="Separator of a text table.")] = None
    header: Annotated[
        Literal["none", "first"] | None,
        Parameter(help="none: a text table begins with its first row, and its columns are called 1, 2, ..."),
    ] = None
    images: Annotated[
        Path | None, Parameter(name="--images", help="The folder that a table's paths are relative to, if not its own.")
    ] = None
    exclude: Annotated[
        list[str] | None,
        Parameter(negative="", help="Files or folders to leave alone, e.g. '*.bak' or raw; may be repeated."),
    ] = None
    form: Annotated[
        Literal["files", "table", "shards", "images", "pictures", "sounds"] | None,
        Parameter(name="--as", help="What a folder is read as: its files, the table in it, or its tar shards."),
    ] = None

    def options(self, pairs: bool = True) -> ReadOptions:
        """The same for the sources of data; ``pairs`` says that pairs are asked for, not items."""
        from ..data.sources import ReadOptions

        return ReadOptions(
            columns=self._by_modality(),
            separator=self.separator,
            header=None if self.header is None else self.header == "first",
            root=self.images,
            exclude=tuple(self.exclude or ()),
            form=self.form if self.form in (None, "table", "shards") else "files",
            pairs=pairs,
        )

    def _by_modality(self) -> dict[str, tuple[str, ...]]:
        """``image=file,text=a,text=b`` as a mapping."""
        columns: dict[str, tuple[str, ...]] = {}
        for assignment in self.columns.split(",") if self.columns is not None else ():
            modality, _, column = (part.strip() for part in assignment.partition("="))
            if not (modality and column):
                raise UserError(f"cannot read --columns {self.columns!r}; write it as image=COLUMN,text=COLUMN")
            columns[modality] = (*columns.get(modality, ()), column)
        return columns

    def open(self, pairs: Sequence[str]) -> Pairs:
        """The pairs, read so; several inputs become one set."""
        from ..data.pairs import open_pairs

        return open_pairs(pairs, options=self.options())


def kinds(named: str | None) -> list[str]:
    """``near_duplicates, blank`` as a list; nothing where nothing was named."""
    return [kind.strip() for kind in (named or "").split(",") if kind.strip()]


def given_pairs(pairs: Sequence[str]) -> list[str]:
    """The inputs that were named; :class:`UserError` where there is none."""
    if not pairs:
        raise UserError("no pairs were given; name a table, a folder, tar shards or a built-in set, e.g. scenes")
    return list(pairs)


PAIRS = (
    "Pairs: a table (.csv, .tsv, .jsonl, .json, also .gz; .parquet), a folder of files, tar shards, hf:NAME, or a "
    "built-in set. Several are concatenated."
)
"""Help of the argument that names pairs."""

RUN = "The folder of a finished run."
"""Help of the argument that names a run."""

PLACE = "A folder, or an address: lance:FOLDER, s3://BUCKET/PATH, postgresql://USER@HOST/DATABASE."
"""Help of the argument that names where an index shall be."""

INDEX = "The folder of an index, or its address: lance:FOLDER, s3://BUCKET/PATH, postgresql://USER@HOST/DATABASE."
"""Help of the argument that names an index."""

ReadingOptions = Annotated[Reading, Parameter(name="*")]
"""How an input is read, among a command's own options."""

AS_FOUND = Reading()
"""Everything is found out."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run starts from: a recipe's settings, weights to fine-tune, and what it must not forget."""

    recipe: Annotated[
        str | None,
        Parameter(help="Settings to start from: see cospace recipes. Default: small, or towers with --from image=.."),
    ] = None
    sources: Annotated[
        list[str] | None,
        Parameter(
            name="--from",
            negative="",
            help="A run or a published model to start from; or image=SOURCE, text=SOURCE: towers to join.",
        ),
    ] = None
    teacher: Annotated[
        str | None,
        Parameter(
            name="--teacher", help="A run or a published model whose similarities are learned from: distillation."
        ),
    ] = None
    reference: Annotated[
        str | None, Parameter(name="--reference", help="Pairs on which forgetting of the pretrained model is measured.")
    ] = None
    trust: Trust = None

    @property
    def towers(self) -> list[str]:
        """Settings that name towers by modality. Raises :class:`UserError` for a modality that there is not."""
        known, named = [one.name for one in all_modalities()], []
        for text in self.sources or ():
            name, assigned, _ = text.partition("=")
            if assigned and name.isidentifier() and not Path(text).exists():
                if name not in known:
                    raise UserError(unknown(name, known, f"--from {text}: there is no modality"))
                named.append(f"towers.{text}")
        return named

    @property
    def changes(self) -> list[str]:
        """Settings that name towers and a teacher."""
        return [*self.towers, *([] if self.teacher is None else [f"teacher={json.dumps(self.teacher)}"])]

    @property
    def source(self) -> str | None:
        """The one model to start from."""
        whole = [text for text in self.sources or () if f"towers.{text}" not in self.towers]
        if len(whole) > 1 or (whole and self.towers):
            raise UserError(
                "--from names one model, or towers by modality, e.g. --from image=timm:efficientnet_lite1 "
                f"--from text=all-MiniLM-L6-v2; {' and '.join(self.sources or ())} were given"
            )
        return whole[0] if whole else None

    def start(self) -> dict[str, Any]:
        """What a run starts from, as arguments of ``TrainArguments``; an estimate where no recipe was chosen."""
        known = {"source": self.source, "reference": self.reference, "trust": self.trust or ()}
        return {**known, "estimate": self.recipe is None}

    @property
    def settings(self) -> str:
        """The recipe; towers that are named have one of their own."""
        return self.recipe or ("towers" if self.towers else "small")


OriginOptions = Annotated[Origin, Parameter(name="*")]
"""The options of an origin among a command's own."""

FROM_SCRATCH = Origin()
"""The default recipe, and fresh weights."""


def verb(usage: str, name: str | None = None) -> Callable[[F], F]:
    """Add a command, with its arguments as people type them.

    The lines of a paragraph of its docstring are joined, so that the terminal breaks them where it ends.
    """

    def add(function: F) -> F:
        called = name or function.__name__
        paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
        text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        app.command(function, name=called, help=text, usage=f"Usage: cospace {called} {usage}")
        return function

    return add


def command() -> str:
    """What was typed, for a run to remember."""
    return without_surrogates(shlex.join(["cospace", *sys.argv[1:]]))


def set_aside(problems: Sequence[Problem]) -> str:
    """How many items could not be used, and why the first could not; nothing where all could."""
    if not problems:
        return ""
    first = problems[0]
    return f"; {len(problems)} set aside (first: {first.id}: {first.reason})"


def show(data: dict[str, Any], text: str, as_json: bool) -> None:
    """The result on stdout, as one JSON object or as text for people; names and captions cannot steer the terminal."""
    if as_json:
        written = json.dumps(data, ensure_ascii=False)
        text = re.sub("[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", written)
    else:
        from .terminal import printable

        text = "\n".join(map(printable, text.split("\n")))
    write(text)


def write(text: str) -> None:
    """A text on stdout as it is; where stdout cannot hold a character, its escape."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(f"{text}\n".encode(encoding, "backslashreplace").decode(encoding))

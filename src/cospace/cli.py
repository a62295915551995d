"""The command line: a thin layer that reads arguments, shows progress on stderr and prints results on stdout.

Nothing heavy is imported until a command needs it, so that ``--help`` answers at once. Exit codes: 0 done, 2 the
person can fix it (one sentence, no traceback), 1 our fault.
"""

from __future__ import annotations

import errno
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from . import __version__
from .types import UserError

if TYPE_CHECKING:
    from .pairs import Pairs

app = App(
    name="cospace",
    help="Learn one embedding space for images and text from your own pairs, and put it to work.",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)

_ADVICE = {
    errno.ENOSPC: "make room on this disk and give the same command again",
    errno.EDQUOT: "make room in your quota and give the same command again",
    errno.EEXIST: "choose another place",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "a file stands where a folder belongs; choose another place",
}

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object on stdout.")]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table of pairs is read; both are sniffed if left out."""

    columns: Annotated[
        str | None,
        Parameter(help="Which columns of a table hold what, e.g. image=file,text=title; sniffed if left out."),
    ] = None
    separator: Annotated[str | None, Parameter(help="Separator of a text table; sniffed if left out.")] = None

    def by_modality(self) -> dict[str, str] | None:
        """``image=file,text=title`` as a mapping."""
        if self.columns is None:
            return None
        columns = {}
        for assignment in self.columns.split(","):
            modality, found, column = assignment.partition("=")
            if not found or not modality or not column:
                raise UserError(f"cannot read --columns {self.columns!r}; write it as image=COLUMN,text=COLUMN")
            columns[modality.strip()] = column.strip()
        return columns

    def open(self, pairs: str) -> Pairs:
        """The pairs, read so."""
        from .pairs import open_pairs

        return open_pairs(pairs, self.by_modality(), self.separator)


LayoutOptions = Annotated[Layout, Parameter(name="*")]
"""The options of a layout among a command's own."""

AS_FOUND = Layout()
"""Everything is sniffed."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run goes on from, and what it must not forget; nothing for one that begins from nothing."""

    source: Annotated[str | None, Parameter(name="--from", help="A run or a published model to start from.")] = None
    reference: Annotated[
        str | None, Parameter(name="--reference", help="Pairs on which --from shows what it has forgotten.")
    ] = None


OriginOptions = Annotated[Origin, Parameter(name="*")]
"""The options of an origin among a command's own."""

NOTHING = Origin()
"""A run that begins from nothing."""


def main() -> None:
    """Entry point of the ``cospace`` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except (UserError, CycloptsError) as error:
        return _refused(str(error))
    except OSError as error:
        if error.errno is None:
            raise
        return _refused(_os_sentence(error))
    except KeyboardInterrupt:
        print("cospace: stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    return 0


@app.command
def check(pairs: str, /, *, out: Path | None = None, layout: LayoutOptions = AS_FOUND, json: Json = False) -> None:
    """Look at pairs before anyone trains on them: missing and broken pictures, empty captions, duplicates.

    Example: cospace check pairs.csv --out clean
    """
    from .check import check as look
    from .terminal import Progress

    with Progress() as progress:
        checked = look(layout.open(pairs), progress=progress.counter("checking"))
    if out is not None:
        checked.write(out)
    _show(checked.to_json(), checked.to_text(), json)


@app.command
def train(
    pairs: str,
    /,
    *overrides: str,
    out: Path,
    recipe: str = "small",
    val: str | None = None,
    origin: OriginOptions = NOTHING,
    layout: LayoutOptions = AS_FOUND,
    report: Annotated[bool, Parameter(help="Write report.html into the run.")] = True,
    json: Json = False,
) -> None:
    """Train a space on pairs. The same command again goes on where a killed one stopped.

    Settings are given as path=value, e.g. objective=sigmoid encoders.image=vit training.steps=500.
    Recipes: small (default), coca, clip, siglip, joint-mse. --from goes on from an earlier run, or from a published
    model (a folder, hf:OWNER/NAME); a tower that it lacks is made anew. locked=image, text or all leaves what it brings
    as it is, e.g. --from minilm locked=text, or to teach a decoder --from RUN locked=all tell=both.

    Example: cospace train pairs.csv --val val.csv --out run
    """
    from .experiment.train import Request
    from .experiment.train import run as train_run
    from .terminal import TrainingView

    with TrainingView() as view:
        how = (layout.by_modality(), layout.separator, origin.source, origin.reference)
        request = Request(pairs, out, recipe, val, overrides, *how, _command(), view.listener)
        model = train_run(request)
    if report:
        from .experiment.report import run_report

        run_report(model)
    metrics = model.metrics()
    _show(metrics, view.summary(metrics, out), json)


@app.command(name="eval")
def evaluate(
    run: Path,
    pairs: str,
    /,
    *,
    classes: Annotated[Path | None, Parameter(help="Class names, one a line: adds zero-shot accuracy.")] = None,
    templates: Annotated[Path | None, Parameter(help="Prompt templates with {} for the name, one a line.")] = None,
    report: Annotated[Path | None, Parameter(help="Write a self-contained HTML report.")] = None,
    layout: LayoutOptions = AS_FOUND,
    json: Json = False,
) -> None:
    """Measure a trained space on pairs: retrieval both ways, zero-shot classification, the space's health.

    Example: cospace eval run val.csv --classes names.txt --report report.html
    """
    from .experiment.model import Model
    from .experiment.report import evaluate_and_report
    from .terminal import Progress, metrics_table

    with Progress() as progress:
        opened = layout.open(pairs)
        model = Model.load(run)
        metrics = evaluate_and_report(model, opened, classes, templates, report, _command(), progress.long_work)
    _show(metrics, metrics_table(metrics), json)


@app.command
def embed(run: Path, source: str, /, *, out: Path, json: Json = False) -> None:
    """Embed pictures, texts (a .txt file, one a line) or pairs into a .parquet or .npz file with ids.

    Example: cospace embed run photos/ --out vectors.parquet
    """
    from .experiment.model import Model
    from .experiment.search import embed_to_file
    from .terminal import Progress

    with Progress() as progress:
        count, problems = embed_to_file(Model.load(run), source, out, progress.long_work)
    _show(
        {"out": str(out), "items": count, "set_aside": len(problems)},
        f"{count:,} items embedded into {out}" + _set_aside(problems),
        json,
    )


@app.command
def index(run: Path, source: str, /, *, out: Path, json: Json = False) -> None:
    """Make a folder of pictures (or any pairs) searchable. The index holds its own copy of the model.

    Example: cospace index run photos/ --out idx
    """
    from .experiment.model import Model
    from .experiment.search import build_index
    from .terminal import Progress

    with Progress() as progress:
        made, problems = build_index(Model.load(run), source, out, progress=progress.long_work)
    _show(
        {"out": str(out), "items": len(made.store), "set_aside": len(problems)},
        f"{len(made.store):,} items in {out}{_set_aside(problems)}\n"
        f'search them: cospace search {out} "what you look for"',
        json,
    )


@app.command
def search(
    index: Path,
    text: str | None = None,
    /,
    *,
    image: Path | None = None,
    k: Annotated[int, Parameter(name=["-k", "--k"])] = 10,
    find: Annotated[str | None, Parameter(help="Modality of the results: image or text.")] = None,
    rerank: Annotated[bool, Parameter(help="Let the run's decoder look at the first results again.")] = False,
    json: Json = False,
) -> None:
    """Search an index by text or by picture.

    Example: cospace search idx "a red bus" -k 5
    """
    from .experiment.search import SearchableIndex
    from .terminal import hits_table

    hits = SearchableIndex.open(index).search(text, image, k, find, rerank)
    results = [{"id": h.id, "score": h.score, "path": h.path, "text": h.text} for h in hits]
    _show({"results": results}, hits_table(hits), json)


@app.command
def caption(
    run: Path,
    /,
    *images: Path,
    beams: Annotated[int, Parameter(help="Captions tried side by side; the likeliest is given.")] = 3,
    temperature: Annotated[float, Parameter(help="Draw at random instead, the more freely the higher.")] = 0.0,
    top_p: Annotated[float, Parameter(help="Draw from the likeliest words of this probability together.")] = 1.0,
    json: Json = False,
) -> None:
    """Write a caption for each picture, by a run whose decoder was taught captions.

    Example: cospace caption run a.jpg b.jpg
    """
    from .experiment.model import Model
    from .experiment.telling import CAPTIONS, changed

    if not images:
        raise UserError("no picture was given; name one or more, e.g. cospace caption run a.jpg")
    how = changed(CAPTIONS, beams=beams, temperature=temperature, top_p=top_p)
    captions = Model.load(run).caption(images, how)
    results = [{"id": str(image), "caption": text} for image, text in zip(images, captions, strict=True)]
    _show({"results": results}, "\n".join(f"{row['id']}  {row['caption']}" for row in results), json)


@app.command
def ask(
    run: Path,
    image: Path,
    question: str,
    /,
    *,
    k: Annotated[int, Parameter(name=["-k", "--k"], help="Answers to show.")] = 3,
    json: Json = False,
) -> None:
    """Answer a question about a picture, by a run whose decoder was taught answers.

    Example: cospace ask run photo.jpg "how many buses are there?"
    """
    from .experiment.model import Model

    answers = Model.load(run).ask(image, question)[: max(1, k)]
    top = [{"answer": answer.text, "confidence": answer.confidence} for answer in answers]
    lines = [f"{answer.text}  {100 * answer.confidence:.1f} %" for answer in answers]
    _show({**top[0], "top": top}, "\n".join(lines), json)


@app.command(name="import")
def import_(source: str, /, *, out: Path, json: Json = False) -> None:
    """Make a run of a published model: CLIP or SigLIP, in the layout of transformers or of OpenCLIP.

    The source is a folder, hf:OWNER/NAME, or openclip:FOLDER. Where the library that wrote it is installed, its vectors
    are compared with ours.

    Example: cospace import hf:openai/clip-vit-base-patch32 --out clip
    """
    from .experiment.publishing import import_model

    made = import_model(source, out, _command())
    summary = made.summary()
    lines = [
        f"{made.family}, {summary['parameters']:,} weights, vectors of {summary['width']} numbers: {out}",
        made.compared.sentence(),
        f"make pictures searchable: cospace index {out} PICTURES --out idx",
    ]
    _show(summary, "\n".join(lines), json)


@app.command
def export(
    run: Path,
    /,
    *,
    format: Annotated[str, Parameter(help="hf (transformers), openclip or onnx.")],
    out: Path,
    json: Json = False,
) -> None:
    """Write a run for another library, which loads it back. Its vectors are compared with ours where it is installed.

    Example: cospace export clip --format hf --out clip-hf
    """
    from .experiment.publishing import export_model

    made = export_model(run, format, out)
    _show(
        {"out": str(out), "peer": made.compared.peer, "differences": made.compared.differences},
        f"{out}: {made.compared.sentence()}",
        json,
    )


@app.command
def demo(data: str = "scenes", /, *overrides: str, out: Path | None = None, json: Json = False) -> None:
    """Train on built-in data (scenes or glyphs), evaluate, write a report and an index. No download, no flags.

    Example: cospace demo
    """
    from .experiment.demo import run_demo
    from .terminal import TrainingView, demo_summary

    with TrainingView() as view:
        result = run_demo(data, out, _command(), view.listener, overrides)
    _show(result.metrics, demo_summary(result), json)


def _refused(sentence: str) -> int:
    print(f"cospace: {' '.join(sentence.split())}", file=sys.stderr)
    return 2


def _os_sentence(error: OSError) -> str:
    """What the operating system refused, where, and what to do about it."""
    path = error.filename2 or error.filename
    where = f"{path}: " if path else ""
    advice = _ADVICE.get(error.errno or 0, "check this path and its permissions")
    return f"{where}{str(error.strerror).lower()}; {advice}"


def _set_aside(problems: Sequence[Any]) -> str:
    if not problems:
        return ""
    first = problems[0]
    return f"; {len(problems)} set aside (first: {first.id}: {first.reason})"


def _command() -> str:
    return shlex.join(["cospace", *sys.argv[1:]])


def _show(data: dict[str, Any], text: str, as_json: bool) -> None:
    print(json.dumps(data, ensure_ascii=False) if as_json else text)

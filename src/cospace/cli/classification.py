"""The command that names the classes of files without labels: classify."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ._app import AS_FOUND, RUN, Json, ReadingOptions, Trust, set_aside, show, verb

if TYPE_CHECKING:
    from ..commands.classify import Classification
    from ..commands.sort_into import Sorted
    from ..stores.entries import Input

PREVIEWED = 10
"""Rows that the terminal shows."""

MOST_CLASSES = 30
"""Classes whose counts the terminal shows."""

FILES = "Files: a folder of them, one file, a table, tar shards, hf:NAME, or a built-in set. Labels are not looked at."
"""Help of the argument that names what is classified."""


@dataclass(frozen=True, slots=True)
class ClassOptions:
    """What the classes are, and how they are put into words."""

    templates: Annotated[
        Path | None, Parameter(help="A file of prompts, one to a line, with {} where the class name goes.")
    ] = None
    rest: Annotated[
        str | None, Parameter(help="Name of a further class, for what belongs to none of the others, e.g. other.")
    ] = None
    calibrate: Annotated[
        str | None,
        Parameter(help="Pairs the model was not trained on, to calibrate by, where the model brings none."),
    ] = None


PLAIN = ClassOptions()
"""Names alone."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What is written."""

    out: Annotated[Path | None, Parameter(help="Write the table: .csv, .jsonl or .parquet.")] = None
    sort_into: Annotated[
        Path | None, Parameter(help="Sort the files into a folder for each class, as links; nothing is moved.")
    ] = None
    copy_files: Annotated[bool, Parameter(name="--copy", negative="", help="With --sort-into: copies, not links.")] = (
        False
    )
    report: Annotated[Path | None, Parameter(help="Write a contact sheet of each class as an HTML file.")] = None


NOTHING = Outputs()
"""The terminal alone."""


@verb("RUN FILES --classes LIST [OPTIONS]")
def classify(
    run: Annotated[Path, Parameter(help=RUN)],
    source: Annotated[str, Parameter(help=FILES)],
    /,
    *,
    classes: Annotated[
        str,
        Parameter(help="cat,dog; or a file: a name to a line, a .csv of names and synonyms, .json {name: [synonyms]}."),
    ],
    options: Annotated[ClassOptions, Parameter(name="*")] = PLAIN,
    outputs: Annotated[Outputs, Parameter(name="*")] = NOTHING,
    reading: ReadingOptions = AS_FOUND,
    trust: Trust = None,
    json: Json = False,
) -> None:
    """Name the class of each file, without labels and without training on the classes.

    The table has the id, the path, the class, its probability and the five best of each file. --rest NAME adds a class
    for files that belong to none. --sort-into DIR makes a folder for each class.

    Example: cospace classify run photos/ --classes cat,dog,car --out table.csv
    """
    from ..stores.entries import Input

    made, placed = _classified(run, Input(source, reading.options(pairs=False)), classes, options, outputs, trust)
    show(_data(made, outputs, placed), "\n".join(_text(made, outputs, placed)), json)


def _classified(
    run: Path, given: Input, classes: str, options: ClassOptions, outputs: Outputs, trust: Trust
) -> tuple[Classification, Sorted | None]:
    """Refuse what cannot be written, classify, and write what is asked for."""
    from ..commands.classify import check_table
    from ..commands.classify import classify as name_classes
    from ..commands.classify_report import report
    from ..commands.evaluate import read_templates
    from ..commands.sort_into import check_folder, sort_into, sorting_key
    from ..runs.run import Run
    from .terminal import Progress

    if outputs.out is not None:
        check_table(outputs.out)
    with Progress() as progress:
        loaded, folder = Run.load(run, trust or ()), outputs.sort_into
        templates = None if options.templates is None else read_templates(options.templates)
        key = sorting_key(loaded, classes, templates, options.rest)
        if folder is not None:
            check_folder(folder, key)
        how = {"rest": options.rest, "calibrate": options.calibrate, "progress": progress.long_work}
        made = name_classes(loaded, given, classes, templates=templates, **how)  # type: ignore[arg-type]
        if outputs.out is not None:
            made.write(outputs.out)
        placed = None if folder is None else sort_into(folder, made, key, copy=outputs.copy_files)
        if outputs.report is not None:
            report(outputs.report, made, f"{given.spec}, classified")
    return made, placed


def _data(made: Classification, outputs: Outputs, placed: Sorted | None) -> dict[str, object]:
    """One JSON object; the rows are in it where no table was asked for."""
    return {
        **({"results": [row.to_json() for row in made.rows]} if outputs.out is None else {"out": str(outputs.out)}),
        "classes": made.class_counts(),
        "mean_probability": made.mean_probability,
        "calibration": list(made.basis),
        **made.counts.to_json(),
        **({} if placed is None else {"links": placed.links, "copies": placed.copies, "unchanged": placed.unchanged}),
    }


def _text(made: Classification, outputs: Outputs, placed: Sorted | None) -> list[str]:
    """What was read, how many items each class has, some rows, and what was written."""
    counts = sorted(made.class_counts().items(), key=lambda one: -one[1])
    width = max(len(name) for name, _ in counts[:MOST_CLASSES])
    lines = [*made.summary, "", f"{'class':<{width}}  items"]
    lines += [f"{name:<{width}}  {count:>5,}" for name, count in counts[:MOST_CLASSES]]
    if len(counts) > MOST_CLASSES:
        rest = sum(count for _, count in counts[MOST_CLASSES:])
        lines.append(f"and {len(counts) - MOST_CLASSES:,} more classes with {rest:,} items")
    lines += ["", f"{'class':<{width}}  probability  file"]
    lines += [f"{row.name:<{width}}  {100 * row.probability:>9.0f} %  {row.item.id}" for row in made.rows[:PREVIEWED]]
    if len(made) > PREVIEWED:
        lines.append(f"and {len(made) - PREVIEWED:,} more")
    mean = f"mean probability of the chosen class: {100 * made.mean_probability:.0f} %"
    lines += ["", mean + set_aside(made.problems), *made.basis]
    lines += [] if outputs.out is None else [f"the table: {outputs.out}"]
    lines += [] if placed is None else [f"sorted into {placed.sentence()}"]
    return lines + ([] if outputs.report is None else [f"open the contact sheet: {outputs.report}"])

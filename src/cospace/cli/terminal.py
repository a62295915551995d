"""What people see in the terminal: progress on stderr, plain tables on stdout."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from ..filenames import without_surrogates

if TYPE_CHECKING:
    from ..commands.demo import Demo
    from ..commands.recipes import Recipe, Setting
    from ..commands.train import Listener
    from ..runs.settings import RunConfig

SHARES = re.compile(r"zero_shot/(\w+/)?top|vqa/|caption/(\w+/)?(accuracy|distinct)$")
"""Metrics that are shares and shown in per cent."""

_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

QUIET_SECONDS = 20.0
"""Where stderr is a file, a line this often takes the place of the moving bar."""


class TimeLeft(TimeRemainingColumn):
    """The time left as the work itself knows it, else reckoned from how fast it went so far."""

    def render(self, task: Task) -> Text:
        """As hours, minutes and seconds."""
        seconds = task.fields.get("seconds_left")
        if seconds is None:
            return super().render(task)
        minutes, left = divmod(round(seconds), 60)
        return Text(f"{minutes // 60}:{minutes % 60:02d}:{left:02d}", style="progress.remaining")


class Progress:
    """Bars with time left on stderr; lines now and then where stderr is not a terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
        self._bars = Bars(*columns, TextColumn("{task.fields[note]}"), console=self.console, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._spoke = time.monotonic()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.console.is_terminal:
            self._bars.stop()

    def long_work(self, what: str, done: int, total: int, note: str = "", seconds_left: float | None = None) -> None:
        """Show how far some work is, and the time left where that is known."""
        if not self.console.is_terminal:
            if time.monotonic() - self._spoke >= QUIET_SECONDS:
                self._spoke = time.monotonic()
                left = "" if seconds_left is None else f"  {seconds_left / 60:.1f} min left"
                self.say(f"{what} {done:,} of {total:,} {note}{left}".rstrip())
            return
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, note="", seconds_left=None)
        shown = done < total
        self._bars.update(
            self._tasks[what], completed=done, total=total, visible=shown, note=note, seconds_left=seconds_left
        )

    def counter(self, what: str) -> Callable[[int, int], None]:
        """The same for work of one kind."""
        return lambda done, total: self.long_work(what, done, total)

    def say(self, *sentences: str) -> None:
        """A line for each above the bars; names in it cannot steer the terminal."""
        for sentence in sentences:
            self.console.print(printable(sentence), highlight=False, markup=False, soft_wrap=True)


class TrainingView(Progress):
    """Live progress of a run: loss, recall, speed, time left."""

    def __init__(self) -> None:
        super().__init__()
        self._recall = ""

    @property
    def listener(self) -> Listener:
        """What the run calls."""
        from ..commands.train import Listener

        return Listener(self.long_work, self._row, self.say)

    def _row(self, row: dict[str, Any], config: RunConfig) -> None:
        steps = config.training.steps or 0
        found = {name.removeprefix("val/"): value for name, value in row.items() if name.startswith("val/")}
        loss = f"  loss {row['loss']:.3f}" if "loss" in row else ""
        if found:
            self._recall = _quality(found)
            both = f"{loss}{_validation_loss(found, alone=not loss)}"
            self.say(f"step {row['step']:,} of {steps:,}{both}{self._recall}  {row['minutes']:.1f} min")
        speed = f"  {row['samples_per_second']:,.0f} pairs/s" if "samples_per_second" in row else ""
        left = 60 * row["minutes_left"] if "minutes_left" in row else None
        self.long_work("training", row["step"], steps, f"{loss}{self._recall}{speed}".lstrip(), left)

    def summary(self, metrics: Mapping[str, float], out: Path, advice: Sequence[str] = ()) -> str:
        """What a person reads at the end of ``cospace train``."""
        report, typed = out / "report.html", quote(str(out))
        lines = [metrics_table(metrics), "", *_forgetting(metrics), *advice, f"the model is in {out}"]
        if report.exists():
            lines.append(f"open the report: {report}")
        lines.append(f"make a folder searchable: cospace index {typed} FOLDER --out idx")
        if "caption/CIDEr-D" in metrics:
            lines.append(f"caption a file: cospace caption {typed} FILE")
        if "vqa/accuracy" in metrics:
            lines.append(f'ask about one: cospace ask {typed} FILE "a question"')
        return "\n".join(lines)


def _forgetting(metrics: Mapping[str, float]) -> list[str]:
    """What a fine-tuned model has gained on its own pairs, and lost on a reference."""
    lines = []
    for words, prefix in (("validation pairs", ""), ("the reference", "reference/")):
        opening = f"{prefix}pretrained/"
        then = {name.removeprefix(opening): value for name, value in metrics.items() if name.startswith(opening)}
        if then:
            now = {name: metrics[prefix + name] for name in then if prefix + name in metrics}
            lines.append(f"{words} before:{_quality(then)}; now:{_quality(now)}")
    return lines


def _validation_loss(metrics: Mapping[str, float], alone: bool) -> str:
    """The loss on validation pairs, beside that of training or alone."""
    if "loss" not in metrics:
        return ""
    return f"  (validation loss {metrics['loss']:.3f})" if alone else f" (validation {metrics['loss']:.3f})"


def _quality(metrics: Mapping[str, float]) -> str:
    """What an evaluation found, in a few words."""
    words = []
    recalls = [
        f"{100 * value:.1f} % {name.removesuffix('/R@1').replace('_', ' ')}"
        for name, value in metrics.items()
        if name.endswith("/R@1") and name.count("/") == 1
    ]
    if recalls:
        words.append(f"R@1 {', '.join(recalls)}")
    if "caption/accuracy" in metrics:
        words.append(f"caption accuracy {100 * metrics['caption/accuracy']:.1f} %")
    elif "caption/CIDEr-D" in metrics:
        words.append(f"CIDEr-D {metrics['caption/CIDEr-D']:.2f}")
    if "vqa/accuracy" in metrics:
        words.append(f"VQA accuracy {100 * metrics['vqa/accuracy']:.1f} %")
    return "".join(f"  {phrase}" for phrase in words)


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Metrics for people: shares in percent beside chance, counts as counts."""
    rows = []
    for name, value in metrics.items():
        if name.startswith("chance/"):
            continue
        if "R@" in name or "mAP" in name or SHARES.match(name) or name.endswith("per_class"):
            chance = metrics.get(f"chance/{name}")
            rows.append((name, f"{100 * value:6.1f} %", "" if chance is None else f"chance {100 * chance:.2g} %"))
        elif name.startswith("caption/") or (name.startswith("space/") and name.count("/") == 1):
            rows.append((name, f"{value:6.2f}", ""))
        elif name.startswith("n_") or name.endswith(("median_rank", "/n")):
            rows.append((name, f"{value:6,.0f}", ""))
    width = max((len(name) for name, _, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {value}  {chance}".rstrip() for name, value, chance in rows)


def printable(text: str) -> str:
    r"""A text in which nothing steers a terminal: controls, escape sequences, changes of direction; half characters.

    Bytes of a file's name that are not UTF-8 are shown as an index writes them: ``\xe9``.
    """
    return without_surrogates(_STEERING.sub(" ", text))


def demo_summary(demo: Demo) -> str:
    """What a person reads at the end of ``cospace demo``."""
    lines = [metrics_table(demo.metrics), ""]
    run, index, item = (quote(str(path)) for path in (demo.out, demo.out / "index", demo.item))
    for name, metrics in demo.more.items():
        lines.append(f"{name}:{_quality(metrics)}  among {metrics['n_images']:,.0f} images")
    lines += [
        f"trained and evaluated in {demo.minutes:.1f} minutes",
        f"open the report:  {demo.out / 'report.html'}",
        f'search it:        cospace search {index} "{demo.example}"',
        f"on a web page:    cospace serve {index}",
    ]
    if demo.question is not None:
        lines += [
            f"caption one:      cospace caption {run} {item}",
            f'ask about it:     cospace ask {run} {item} "{demo.question}"',
        ]
    return "\n".join(lines)


def settings_table(settings: Sequence[Setting]) -> str:
    """Settings for people: path, value, type, where the value comes from, and below it what it means."""
    lines = []
    for setting in settings:
        value = "" if setting.value is None else "=" + json.dumps(setting.value, ensure_ascii=False).strip('"')
        lines += [f"{setting.path}{value}  ({setting.type}; {setting.origin})", _indented(setting.meaning, 4)]
    return "\n".join(lines)


def recipes_table(recipes: Sequence[Recipe]) -> str:
    """Recipes for people: name, what it is for, what was measured."""
    lines = []
    for recipe in recipes:
        lines += [recipe.name, *(_indented(text, 4) for text in (recipe.summary, recipe.result) if text), ""]
    return "\n".join([*lines, "settings of one: cospace train --help-settings --recipe NAME"])


def _indented(text: str, indent: int) -> str:
    """A paragraph as wide as the terminal at most."""
    width = shutil.get_terminal_size((120, 24)).columns
    return textwrap.fill(text, width, initial_indent=" " * indent, subsequent_indent=" " * indent)

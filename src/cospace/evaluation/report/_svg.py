"""Plots as SVG text: a few lines of arithmetic instead of a plotting library, so that they scale, print and go dark.

Colours are classes (``c0``, ``c1``, ``c2``) that the page's style sheet defines for both themes. Labels stand at the
lines, not in a legend. Every plot has a title and a description, and a table of its numbers below it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

WIDTH, HEIGHT = 470, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 112, 20, 44
_VERTICES = 400
_ROWS = 12
_LABEL_GAP = 14.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its name; ``band`` is its lower and upper bound, ``steps`` draws a filled histogram outline."""

    name: str
    x: np.ndarray
    y: np.ndarray
    band: tuple[np.ndarray, np.ndarray] | None = None
    steps: bool = False
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Axes:
    """What the axes mean: labels with units, the range of y where it is known, percent and logarithmic scales."""

    title: str
    x_label: str
    y_label: str
    y_range: tuple[float, float] | None = None
    percent: bool = False
    log_x: bool = False
    notes: Sequence[str] = field(default_factory=tuple)


class _Frame:
    """From data to drawing units."""

    def __init__(self, axes: Axes, lines: Sequence[Line]) -> None:
        xs = np.concatenate([line.x for line in lines])
        ys = np.concatenate([line.y for line in lines])
        self._log = axes.log_x
        self.x_low, self.x_high = _widen(float(xs.min()), float(xs.max()))
        low, high = axes.y_range or (min(0.0, float(ys.min())), float(ys.max()))
        self.y_low, self.y_high = _widen(low, high if axes.y_range else high + 0.05 * (high - low))

    def x(self, value: float) -> float:
        scale = math.log if self._log else float
        low, high = scale(self.x_low), scale(self.x_high)
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (scale(value) - low) / (high - low)

    def y(self, value: float) -> float:
        share = (min(max(value, self.y_low), self.y_high) - self.y_low) / (self.y_high - self.y_low)
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share

    def x_ticks(self) -> list[float]:
        if self._log:
            ladder = [m * 10.0**p for p in range(-3, 9) for m in (1, 2, 5)]
            return [tick for tick in ladder if self.x_low <= tick <= self.x_high]
        return ticks(self.x_low, self.x_high)


def chart(axes: Axes, lines: Sequence[Line]) -> str:
    """A figure: the lines in a frame, their names at their ends, and the numbers in a folded table."""
    lines = [line for line in map(_finite, lines) if len(line.x)]
    if not lines:
        return f'<figure><figcaption>{escape(axes.title)}</figcaption><p class="none">nothing was recorded</p></figure>'
    frame = _Frame(axes, lines)
    marks = "".join(_draw(frame, line, number) for number, line in enumerate(lines))
    names = ", ".join(line.name for line in lines)
    description = f"{axes.y_label} against {axes.x_label}: {names}"
    return (
        f"<figure><figcaption>{escape(axes.title)}</figcaption>"
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(axes.title)}</title>'
        f"<desc>{escape(description)}</desc>{_grid(axes, frame)}{marks}{_names(frame, lines)}</svg>"
        f"{_notes(axes)}{_table(axes, lines)}</figure>"
    )


def histogram(axes: Axes, samples: Sequence[tuple[str, np.ndarray]], bins: int = 40) -> str:
    """Filled outlines of the share of each sample per bin, over one common range."""
    finite = [(name, values[np.isfinite(values)]) for name, values in samples]
    finite = [(name, values) for name, values in finite if len(values)]
    if not finite:
        return chart(axes, [])
    everything = np.concatenate([values for _, values in finite])
    edges = np.linspace(*_widen(float(everything.min()), float(everything.max())), bins + 1)
    lines = [
        Line(name, edges, np.append(np.histogram(values, edges)[0] / len(values), 0.0), steps=True)
        for name, values in finite
    ]
    return chart(axes, lines)


def heat(matrix_CC: np.ndarray, names: Sequence[str]) -> str:
    """A heat map of the shares of each row; the cell's words give row, column and count."""
    count = len(names)
    cell, left, top = max(11.0, min(28.0, 520 / count)), 120.0, 96.0
    share_CC = matrix_CC / np.maximum(1, matrix_CC.sum(1, keepdims=True))
    parts = []
    for row, col in zip(*np.nonzero(matrix_CC), strict=True):
        words = f"{names[row]} taken for {names[col]}: {int(matrix_CC[row, col])}"
        kind = "right" if row == col else "wrong"
        parts.append(
            f'<rect class="{kind}" x="{left + col * cell:.1f}" y="{top + row * cell:.1f}" width="{cell - 1:.1f}" '
            f'height="{cell - 1:.1f}" fill-opacity="{0.08 + 0.92 * share_CC[row, col]:.2f}">'
            f"<title>{escape(words)}</title></rect>"
        )
    for number, name in enumerate(names):
        middle = (number + 0.5) * cell
        short = escape(name if len(name) <= 16 else name[:15] + "…")
        parts.append(f'<text class="end" x="{left - 6:.1f}" y="{top + middle + 4:.1f}">{short}</text>')
        at = f"{left + middle + 4:.1f} {top - 6:.1f}"
        parts.append(f'<text transform="translate({at}) rotate(-60)">{short}</text>')
    size = f"{left + count * cell + 60:.0f} {top + count * cell + 8:.0f}"
    return f'<svg class="plot heat" viewBox="0 0 {size}" role="img"><title>Confusion</title>{"".join(parts)}</svg>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) that cover the range in about so many steps."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def decimate(x: np.ndarray, y: np.ndarray, most: int = _VERTICES) -> tuple[np.ndarray, np.ndarray]:
    """At most ``most`` vertices: of each stretch its lowest and highest, so that no spike is lost."""
    if len(x) <= most:
        return x, y
    keep = []
    for stretch in np.array_split(np.arange(len(x)), most // 2):
        keep += sorted({int(stretch[y[stretch].argmin()]), int(stretch[y[stretch].argmax()])})
    return x[keep], y[keep]


def number(value: float, percent: bool = False) -> str:
    """A number as a person writes it: one decimal of a percent, or four significant digits; a dash for none."""
    if not math.isfinite(value):
        return "–"
    if percent:
        return f"{100 * value:.1f}".removesuffix(".0") + " %"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def _finite(line: Line) -> Line:
    keep = np.isfinite(line.x) & np.isfinite(line.y)
    band = None if line.band is None else (line.band[0][keep], line.band[1][keep])
    return Line(line.name, line.x[keep], line.y[keep], band, line.steps, line.dashed)


def _widen(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high - low > 1e-12 * max(1.0, abs(high)) else (low - 0.5, high + 0.5)


def _draw(frame: _Frame, line: Line, order: int) -> str:
    kind = f"c{order % 4}"
    if line.steps:
        corners = [(line.x[0], 0.0)]
        for at, value, until in zip(line.x[:-1], line.y[:-1], line.x[1:], strict=True):
            corners += [(at, value), (until, value)]
        return f'<path class="area {kind}" d="{_path(frame, [*corners, (line.x[-1], 0.0)])}Z"/>'
    parts = []
    if line.band is not None:
        low, high = (decimate(line.x, bound) for bound in line.band)
        around = [*zip(*high, strict=True), *reversed(list(zip(*low, strict=True)))]
        parts.append(f'<path class="band {kind}" d="{_path(frame, around)}Z"/>')
    points = list(zip(*decimate(line.x, line.y), strict=True))
    dashed = " dashed" if line.dashed else ""
    parts.append(f'<path class="line {kind}{dashed}" d="{_path(frame, points)}"/>')
    if len(points) == 1:
        parts.append(
            f'<circle class="dot {kind}" cx="{frame.x(points[0][0]):.1f}" cy="{frame.y(points[0][1]):.1f}" r="3"/>'
        )
    return "".join(parts)


def _path(frame: _Frame, points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in points)


def _grid(axes: Axes, frame: _Frame) -> str:
    right, floor = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = []
    for tick in ticks(frame.y_low, frame.y_high):
        y = frame.y(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
        label = number(tick, axes.percent)
        parts.append(f'<text class="end" x="{_LEFT - 6}" y="{y + 4:.1f}">{label}</text>')
    parts += [
        f'<text class="mid" x="{frame.x(tick):.1f}" y="{floor + 16}">{number(tick)}</text>' for tick in frame.x_ticks()
    ]
    parts.append(f'<path class="axis" d="M{_LEFT} {floor}H{right}"/>')
    parts.append(f'<text class="mid label" x="{(_LEFT + right) / 2}" y="{HEIGHT - 8}">{escape(axes.x_label)}</text>')
    return "".join(parts)


def _names(frame: _Frame, lines: Sequence[Line]) -> str:
    """A line's name at its end, pushed away from the others; a histogram's name above its peak."""
    parts, last = [], -math.inf
    for order, line in sorted(enumerate(lines), key=lambda pair: frame.y(float(pair[1].y[-1]))):
        kind, x, y = f"name c{order % 4}", WIDTH - _RIGHT + 6.0, frame.y(float(line.y[-1])) + 4
        if line.steps:
            peak = int(line.y.argmax())
            kind, x, y = kind + " mid", frame.x(float(line.x[peak])), frame.y(float(line.y[peak])) - 6
        else:
            y = last = max(y, last + _LABEL_GAP)
        parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(line.name)}</text>')
    return "".join(parts)


def _notes(axes: Axes) -> str:
    return "".join(f'<p class="note">{escape(note)}</p>' for note in axes.notes)


def _table(axes: Axes, lines: Sequence[Line]) -> str:
    """The numbers behind the plot, thinned to a dozen rows."""
    first = max(lines, key=lambda line: len(line.x))
    rows = []
    for at in np.unique(np.linspace(0, len(first.x) - 1, _ROWS).round().astype(int)):
        cells = [number(float(first.x[at]))]
        for line in lines:
            same = np.flatnonzero(line.x == first.x[at])
            cells.append(number(float(line.y[same[0]]), axes.percent) if len(same) else "")
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in [axes.x_label, *(line.name for line in lines)])
    return (
        '<details class="numbers"><summary>numbers</summary><div class="wide"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )

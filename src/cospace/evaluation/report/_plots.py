"""The report's sections that draw: curves, scores, classes and the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from ...types import Metrics
from ..geometry import plural
from ..intervals import Interval
from ..shown import FEWEST, Shown
from ._images import Sheet
from ._svg import Axes, Line, chart, heat, histogram
from .examples import Item
from .parts import Confusion, MapView, RecallCurve, Report

_MOST_CLASSES = 40
_MOST_CONFUSED = 20
_MAP = (1000, 620)
_HUNG = 56
_SHARE = (0.0, 1.0)


def curves(rows: Sequence[Mapping[str, float]], kept: str = "") -> str:
    """Loss and R@1 against steps or against minutes, and whatever else of interest was logged."""
    keys = dict.fromkeys(key for row in rows for key in row)
    losses = [key for key in ("loss", "val/loss") if key in keys]
    recalls = [key for key in keys if key.startswith("val/") and key.endswith("/R@1") and key.count("/") == 2]
    generation = [key for key in ("val/caption/accuracy", "val/vqa/accuracy") if key in keys]
    rest = [key for key in ("gradient_norm", "val/space/effective_rank") if key in keys]
    axes_there: list[str] = [axis for axis in ("step", "minutes") if axis in keys]
    by_axis = {axis: _by(rows, axis, losses, recalls) for axis in axes_there}
    figures = []
    if generation:
        axes = Axes("Captions and answers by step", "step", "accuracy", y_range=_SHARE, percent=True)
        figures.append(chart(axes, [_series(rows, "step", key) for key in generation]))
    for learned in ("logit_scale", "logit_bias"):
        lines = [_series(rows, "step", key) for key in keys if key.partition("/")[0] == learned]
        if lines:
            name = learned.replace("_", " ")
            figures.append(chart(Axes(f"{name.capitalize()} by step", "step", name), lines))
    for key in rest:
        name = _name(key)
        figures.append(chart(Axes(f"{name.capitalize()} by step", "step", name), [_series(rows, "step", key)]))
    if not by_axis and not figures:
        return '<p class="none">No steps were logged: heads were fitted in closed form, or the log is not there.</p>'
    return _by_choice(by_axis) + _plates(figures) + (_kept(kept) if kept else "")


def _by(rows: Sequence[Mapping[str, float]], axis: str, losses: Sequence[str], recalls: Sequence[str]) -> str:
    """Loss and R@1 against one axis."""
    figures = [chart(Axes(f"Loss by {axis}", axis, "loss"), [_series(rows, axis, key) for key in losses])]
    if recalls:
        axes = Axes(f"R@1 by {axis}", axis, "R@1", y_range=_SHARE, percent=True)
        figures.append(chart(axes, [_series(rows, axis, key) for key in recalls]))
    return _plates(figures)


def _by_choice(by_axis: Mapping[str, str]) -> str:
    """The same curves by one axis at a time; radio buttons choose without a script, and paper shows the first."""
    if len(by_axis) < 2:
        return "".join(by_axis.values())
    words = {"step": "by steps", "minutes": "by minutes"}
    buttons, shown = "", ""
    for place, (axis, content) in enumerate(by_axis.items()):
        checked = "" if place else " checked"
        buttons += (
            f'<input type="radio" name="axis" id="by-{axis}"{checked}><label for="by-{axis}">{words[axis]}</label>'
        )
        shown += f'<div class="of-{axis}">{content}</div>'
    return f'<div class="choice">{buttons}{shown}</div>'


def _kept(sentence: str) -> str:
    """Which evaluation the run has, and that what chose it also measures it."""
    note = f"{sentence[:1].upper()}{sentence[1:]}. Figures on the pairs that chose it are a little high."
    return f'<p class="note">{escape(note)}</p>'


def recall(recalls: Sequence[RecallCurve]) -> str:
    """R@k for k up to 100 with bands."""
    if not recalls:
        return ""
    lines = [Line(_name(curve.direction), curve.k, curve.recall, (curve.low, curve.high)) for curve in recalls]
    axes = Axes("R@k: how deep one has to look", "k, results looked at", "R@k", _SHARE, percent=True, log_x=True)
    return chart(axes, lines)


def scores(report: Report) -> str:
    """Matched against unmatched scores, and what was shown of results against what was true."""
    if not len(report.matched) or not len(report.unmatched):
        return '<p class="none">No scores were sampled.</p>'
    samples = [("matches", report.matched), ("non-matches", report.unmatched)]
    notes = [f"{len(report.matched):,} matching pairs and {len(report.unmatched):,} non-matching ones, held out"]
    figures = [
        histogram(
            Axes("Scores of matching and of non-matching pairs", "cosine", "share", percent=True, notes=notes), samples
        )
    ]
    if report.shown is not None and any(one.count >= FEWEST for one in report.shown.bins):
        figures.append(_calibration(report.shown))
    return _plates(figures)


def _calibration(shown: Shown) -> str:
    """What a search said of its results against what was true, where there are enough of them."""
    enough = [one for one in shown.bins if one.count >= FEWEST]
    counts = ", ".join(f"{one.count:,}" for one in enough)
    few = sum(one.count for one in shown.bins) - sum(one.count for one in enough)
    notes = [
        f"{shown.sentence} Results per point: {counts}."
        + (f" {few:,} in bins of fewer than {FEWEST} are not drawn." if few else "")
    ]
    axes = Axes("Does 80 % mean 80 %?", "shown, %", "true", _SHARE, percent=True, notes=notes)
    ideal = Line("ideal", 100 * np.array(_SHARE), np.array(_SHARE), dashed=True)
    predicted = np.array([100 * one.predicted for one in enough])
    return chart(axes, [Line("true", predicted, np.array([one.observed for one in enough])), ideal])


def classes(metrics: Metrics, bounds: Mapping[str, Interval], confusion: Confusion | None, sheet: Sheet) -> str:
    """Zero-shot figures, and what is taken for what."""
    if "zero_shot/top1" not in metrics:
        return '<p class="none">No classes were named, so nothing was classified. Try eval with --classes FILE.</p>'
    rows = []
    for key, words in (("top1", "top-1"), ("top5", "top-5"), ("mean_per_class_recall", "mean per class")):
        full = f"zero_shot/{key}"
        if full in metrics:
            low_high = "[{:.1f}, {:.1f}]".format(*(100 * b for b in bounds[full])) if full in bounds else ""
            value = f"{100 * metrics[full]:.1f}"
            value = f'<b>{value}</b> <span class="soft">{low_high}</span>' if low_high else value
            rows.append(f'<tr><th scope="row">{words}</th><td>{value}</td></tr>')
    rows.append(f'<tr><th scope="row">chance</th><td>{100 * metrics["chance/zero_shot/top1"]:.1f}</td></tr>')
    rows.append(f'<tr><th scope="row">classes</th><td>{metrics["n_classes"]:,.0f}</td></tr>')
    table = f'<div class="wide"><table class="results"><tbody>{"".join(rows)}</tbody></table></div>'
    if confusion is None:
        return table
    if len(confusion.names) <= _MOST_CLASSES:
        return f'<div class="beside">{table}{_heat(confusion)}</div>'
    return table + _confused(confusion, sheet)


def space_map(view: MapView | None, sheet: Sheet) -> str:
    """Points by modality with images hung on some, and the sentence that keeps people from reading too much."""
    if view is None:
        return '<p class="none">No map was drawn.</p>'
    every_N2 = np.concatenate(list(view.map.points.values()))
    low, high = every_N2.min(0), every_N2.max(0)
    width, height = _MAP
    scale = np.where(high > low, high - low, 1.0)
    inner = np.array([width - 2 * _HUNG, height - 2 * _HUNG])

    def place(points_N2: np.ndarray) -> np.ndarray:
        return np.asarray(_HUNG + (points_N2 - low) / scale * inner)

    dots, names = [], []
    for order, (name, points_N2) in enumerate(view.map.points.items()):
        path = "".join(f"M{x:.0f} {y:.0f}h0" for x, y in place(points_N2))
        dots.append(f'<path class="points c{order}" d="{path}"/>')
        names.append(f'<span class="key c{order}">{len(points_N2):,} {escape(plural(name))}</span>')
    hung = []
    for x, y, item in view.hung:
        left, top = place(np.array([x, y])) - _HUNG / 2
        if item.image:
            frame = (
                f'<rect class="frame" x="{left - 2:.1f}" y="{top - 2:.1f}" width="{_HUNG + 4}" height="{_HUNG + 4}"/>'
            )
            hung.append(frame + sheet.place(item, (float(left), float(top), _HUNG)))
    return (
        f'<figure class="map"><svg viewBox="0 0 {width} {height}" role="img"><title>Map of the space</title>'
        f"<desc>Items by how alike they are</desc>{''.join(dots)}{''.join(hung)}</svg></figure>"
        f'<p class="note">{" ".join(names)} Things close together are alike. Ignore how far apart groups are, and how '
        "large. Laid out as the page's map is, each modality centred on its own mean; of an item's 15 nearest in the "
        f"full space {100 * view.map.agreement:.0f} % are among its 15 nearest here.</p>"
    )


def _heat(confusion: Confusion) -> str:
    order = _by_likeness(confusion.matrix_CC)
    drawing = heat(confusion.matrix_CC[np.ix_(order, order)], [confusion.names[place] for place in order])
    return (
        f"<figure><figcaption>What is taken for what</figcaption>{drawing}"
        '<p class="note">Rows are true classes, columns given ones; the fuller a cell, the larger its share. '
        "Classes that are mistaken for each other stand together.</p></figure>"
    )


def _confused(confusion: Confusion, sheet: Sheet) -> str:
    wrong_CC = confusion.matrix_CC - np.diag(np.diag(confusion.matrix_CC))
    rows = []
    for cell in np.argsort(-wrong_CC, axis=None, kind="stable")[:_MOST_CONFUSED]:
        true, given = (int(place) for place in np.unravel_index(cell, wrong_CC.shape))
        if wrong_CC[true, given] == 0:
            break
        true_name, given_name = escape(confusion.names[true]), escape(confusion.names[given])
        keys = confusion.samples.get((true, given), ())[:2]
        shown = "".join(sheet.show(Item(confusion.names[true], key)) for key in keys)
        rows.append(f"<li>{shown}<span>{true_name} taken for {given_name}: {wrong_CC[true, given]:,}</span></li>")
    return f'<h3>Most often confused</h3><ul class="pairs">{"".join(rows)}</ul>'


def _by_likeness(matrix_CC: np.ndarray) -> np.ndarray:
    """Classes in the order of the Fiedler vector of their mutual confusion: confused ones become neighbours."""
    alike_CC = matrix_CC + matrix_CC.T + 1e-3
    alike_CC = alike_CC - np.diag(np.diag(alike_CC))
    _, vectors = np.linalg.eigh(np.diag(alike_CC.sum(1)) - alike_CC)
    return np.argsort(vectors[:, min(1, len(alike_CC) - 1)], kind="stable")


def _series(rows: Sequence[Mapping[str, float]], x: str, y: str) -> Line:
    points = np.array([(row[x], row[y]) for row in rows if x in row and y in row], dtype=np.float64).reshape(-1, 2)
    return Line(_name(y), points[:, 0], points[:, 1])


def _name(key: str) -> str:
    """A metric's key in the few words that fit at the end of its line."""
    known = {"loss": "training", "val/loss": "validation"}
    known |= {"val/caption/accuracy": "captions", "val/vqa/accuracy": "answers"}
    if key in known:
        return known[key]
    if key.startswith(("logit_scale/", "logit_bias/")):
        return key.partition("/")[2].replace("_", " – ")
    words = key.removeprefix("val/").removeprefix("space/").removesuffix("/R@1")
    return words.replace("_to_", " → ").replace("_", " ").replace("/", " ")


def _plates(figures: Sequence[str]) -> str:
    return f'<div class="plates">{"".join(figures)}</div>'

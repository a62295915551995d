"""Zero-shot classification: an item's class is the class whose words lie closest to it.

A class vector is the mean over several templates of the unit vectors of "a photo of a {class}." and the like, made
unit again (CLIP, Radford et al. 2021, section 3.1.4).
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..reading import lines, read_text
from ..types import Metrics, UserError
from .intervals import Interval, wilson
from .retrieval import TIE
from .vectors import unit

BARE = ("{}",)
ENSEMBLE = ("{}", "a {}.", "a photo of a {}.", "a picture of a {}.", "an image of a {}.", "there is a {}.")
NO_CLASS = -1

_BARE_WORDS = 3
_NAMED = 5
"""Names without a class that are named."""


def class_vectors(
    embed_text: Callable[[list[str]], Tensor], names: Sequence[str], templates: Sequence[str] = ENSEMBLE
) -> Tensor:
    """One unit vector per class, ``(C, E)``: the renormalised mean over the templates, where ``{}`` is the name."""
    texts = prompts_of([prompt_name(name) for name in names], templates)
    vectors_CTE = unit(embed_text(texts), "class texts").reshape(len(names), len(templates), -1)
    return unit(vectors_CTE.mean(1), "class vectors")


def prompts_of(names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Every name in every template, name by name. Raises :class:`UserError` for a template without a place."""
    for template in templates:
        if "{}" not in template:
            raise UserError(f"the template {template!r} has no place for the class name; write {{}} where it belongs")
    return [template.replace("{}", _words(name)) for name in names for template in templates]


def templates_for(captions: Sequence[str]) -> tuple[str, ...]:
    """The bare name where the captions seen in training were bare names (median of 3 words or fewer), else sentences.

    A text encoder that never saw a sentence does worse on one.
    """
    lengths = [len(caption.split()) for caption in captions]
    return BARE if lengths and statistics.median(lengths) <= _BARE_WORDS else ENSEMBLE


def zero_shot(item_NE: Tensor, class_CE: Tensor, labels: np.ndarray | Tensor) -> Metrics:
    """Accuracy against the true classes; rows labelled ``NO_CLASS`` are counted and left out.

    A class that scores as high as the true one stands before it, so equal class vectors earn nothing.
    """
    known_N, labels_N, scores_NC = _labelled(item_NE, class_CE, labels)
    true_N1 = scores_NC.gather(1, labels_N[:, None])
    rank_N = (scores_NC >= true_N1 - TIE).sum(1)
    hit_N = (rank_N == 1).double()
    classes = scores_NC.shape[1]
    seen_C = torch.bincount(labels_N, minlength=classes)
    hits_C = torch.bincount(labels_N, weights=hit_N, minlength=classes)
    metrics: Metrics = {
        "zero_shot/top1": float(hit_N.mean()),
        "zero_shot/mean_per_class_recall": float((hits_C / seen_C)[seen_C > 0].mean()),
        "zero_shot/n": len(labels_N),
        "zero_shot/n_without_class": int((~known_N).sum()),
        "n_classes": classes,
        "chance/zero_shot/top1": 1 / classes,
    }
    return metrics | ({"zero_shot/top5": float((rank_N <= 5).double().mean())} if classes > 5 else {})


def metric_intervals(metrics: Metrics) -> dict[str, Interval]:
    """95 % intervals (Wilson) of the plain shares in :func:`zero_shot`, by the same keys."""
    plain = [key for key in ("zero_shot/top1", "zero_shot/top5") if key in metrics]
    return {key: wilson(metrics[key], int(metrics["zero_shot/n"])) for key in plain}


def confusion(item_NE: Tensor, class_CE: Tensor, labels: np.ndarray | Tensor) -> np.ndarray:
    """How many items of each class (rows) were given each class (columns), ``(C, C)``."""
    _, labels_N, scores_NC = _labelled(item_NE, class_CE, labels)
    classes = scores_NC.shape[1]
    cells = torch.bincount(labels_N * classes + scores_NC.argmax(1), minlength=classes * classes)
    return np.asarray(cells.reshape(classes, classes).cpu())


def confused(
    item_NE: Tensor, class_CE: Tensor, labels: np.ndarray | Tensor, each: int = 2
) -> dict[tuple[int, int], list[int]]:
    """The first ``each`` rows that were taken for another class, by (true class, given class)."""
    known_N, labels_N, scores_NC = _labelled(item_NE, class_CE, labels)
    found: dict[tuple[int, int], list[int]] = {}
    cells = zip(known_N.nonzero()[:, 0].tolist(), labels_N.tolist(), scores_NC.argmax(1).tolist(), strict=True)
    for row, true, given in cells:
        members = found.setdefault((true, given), [])
        if true != given and len(members) < each:
            members.append(row)
    return {cell: members for cell, members in found.items() if members}


def true_classes(
    names: Sequence[str],
    labels: Sequence[str] | None = None,
    paths: Sequence[str | Path] | None = None,
    captions: Sequence[str] | None = None,
) -> np.ndarray:
    """Each row's class as a position in ``names``, or ``NO_CLASS``: rows without a class are counted, never guessed.

    A row's class is its label, else the folder its file is in, else its caption; the first that equals a class
    name, where case and underscores do not matter. ``automobile = car`` is called ``automobile`` there.
    """
    position = {_key(prompt_name(name)): place for place, name in enumerate(names)}
    position |= {_key(data_name(name)): place for place, name in enumerate(names)}
    folders = None if paths is None else [Path(path).parent.name for path in paths]
    columns = [column for column in (labels, folders, captions) if column is not None]
    rows = zip(*columns, strict=True)
    found = [next((position[key] for key in map(_key, row) if key in position), NO_CLASS) for row in rows]
    return np.asarray(found, dtype=np.int64)


def without_class(
    names: Sequence[str], labels_N: np.ndarray, labels: Sequence[str] | None, paths: Sequence[str | Path]
) -> str:
    """What the rows without a class are called in the data, and the class that each name may mean; empty without any.

    The name of a row is its label, else its folder, unless all lie in one: that is no class.
    """
    if not labels and len({Path(path).parent for path in paths}) < 2:
        return ""
    lacking = np.flatnonzero(labels_N == NO_CLASS).tolist()
    called = Counter((labels[row] if labels else "") or Path(paths[row]).parent.name for row in lacking)
    called.pop("", None)
    if not called:
        return ""
    prompts = {_key(prompt_name(name)): prompt_name(name) for name in names}
    said, offered = [], ""
    for name, count in called.most_common(_NAMED):
        near = get_close_matches(_key(name), list(prompts), 1)
        meant = prompts[near[0]] if near else "CLASS"
        offered = offered or f"{name} = {meant}"
        said.append(f"{name!r} ({count:,}{f'; nearest: {meant}' if near else ''})")
    more = f" and {len(called) - _NAMED:,} more names" if len(called) > _NAMED else ""
    rows = sum(called.values())
    return (
        f"{rows:,} of {len(labels_N):,} have a name that is no class: {', '.join(said)}{more}; where one is a class by "
        f"another name, write it in the class file as the data has it and as it is to be called: {offered}"
    )


def data_name(name: str) -> str:
    """What a class is called in the data: ``automobile`` of ``automobile = car``, or simply the name."""
    return name.partition("=")[0].strip()


def prompt_name(name: str) -> str:
    """What a class is called in prompts: ``car`` of ``automobile = car``, or simply the name."""
    return name.rpartition("=")[2].strip()


def read_names(path: Path, least: int = 2) -> list[str]:
    """Class names from a text file, one to a line; blank lines do not count.

    ``automobile = car``: the data calls the class ``automobile``, prompts call it ``car``.
    """
    if not path.exists():
        raise UserError(f"there is no class file {path}; give a text file with one class name to a line")
    numbered = [(number, line.strip()) for number, line in enumerate(lines(read_text(path)), 1) if line.strip()]
    check_names([(f"line {number}", name) for number, name in numbered], f"the class file {path}", least)
    return [name for _, name in numbered]


def check_names(placed: Sequence[tuple[str, str]], where: str, least: int = 2) -> None:
    """Refuse fewer names than ``least``, a name without its half, two that are called alike; each with its place."""
    if len(placed) < least:
        wanted = "at least two" if least > 1 else "one or more"
        raise UserError(f"{where} holds {len(placed)} class names; write {wanted}, one to a line")
    for part in (data_name, prompt_name):
        seen: dict[str, str] = {}
        for place, name in placed:
            if not part(name):
                raise UserError(f"{place} of {where} is {name!r}; write NAME, or FOLDER = NAME")
            first = seen.setdefault(_key(part(name)), place)
            if first != place:
                number = [one.rpartition(" ")[2] for one in (first, place)]
                raise UserError(
                    f"{where} names {part(name)!r} more than once (case and _ do not count), on "
                    f"{place.partition(' ')[0]}s {number[0]} and {number[1]}; keep one"
                )


def _labelled(item_NE: Tensor, class_CE: Tensor, labels: np.ndarray | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which rows have a class, those rows' classes, and their scores for every class."""
    class_CE = unit(class_CE, "class vectors")
    labels_N = torch.as_tensor(labels, device=item_NE.device).long()
    known_N = labels_N != NO_CLASS
    if not known_N.any():
        raise UserError(
            f"none of the {len(labels_N)} rows has one of the {len(class_CE)} classes; name a row's class in a label "
            "column, by its folder or by its caption, spelled as in the class file"
        )
    return known_N, labels_N[known_N], unit(item_NE[known_N], "items") @ class_CE.T


def _words(name: str) -> str:
    """A class name as it reads in a sentence: folders write spaces as underscores."""
    return " ".join(name.replace("_", " ").split())


def _key(name: str) -> str:
    return _words(name).casefold()

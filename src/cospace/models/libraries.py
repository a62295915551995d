"""Other people's libraries of models, imported when a part asks for them, or one sentence that says what to install.

torchvision is compiled for one build of torch. Beside another its import fails on two operators for boxes, which no
tower here uses: timm and transformers are imported with these declared, and nothing stays declared behind them.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ..types import UserError

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""What torchvision's import asks torch for."""

MINOR = 15
"""torchvision 0.(n + 15) belongs to torch 2.n."""


class NotImportable(UserError):
    """A library that is not installed, or not beside this torch."""


def library(name: str, extra: str) -> Any:
    """The library ``name``. Raises :class:`NotImportable`, which says why and names the ``extra`` that installs it."""
    try:
        with torchvision_beside_any_torch():
            return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        raise NotImportable(unimportable(name, extra, error)) from error


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Let transformers read a model in the block without a bar and a report: what it lacks is said by who asked."""
    log = transformers.utils.logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()


def unimportable(name: str, extra: str, error: BaseException) -> str:
    """Why a library cannot be imported and what helps, as one sentence."""
    if any("torchvision::" in str(cause) for cause in causes(error)):
        return f"{name} cannot be imported, since {torchvision_mismatch()}"
    if isinstance(error, ModuleNotFoundError) and error.name == name:
        return f"this needs the library {name}; pip install 'cospace[{extra}]'"
    return f"{name} cannot be imported here ({first_line(error)}); pip install --upgrade 'cospace[{extra}]'"


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it was raised from."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or following.__context__


def first_line(error: BaseException) -> str:
    """What an exception says, without what follows its first line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def torchvision_mismatch() -> str:
    """The installed torchvision does not belong to the installed torch: which pair does, and how to have it."""
    ours, theirs = torch.__version__, _installed("torchvision")
    major, minor, *_ = ours.split(".")
    fitting = f"0.{int(minor) + MINOR}" if major == "2" else "of the same release"
    if major == "2" and not theirs.startswith(f"{fitting}."):
        return (
            f"torch {ours} goes with torchvision {fitting}, and {theirs} is installed; "
            f"pip install 'torchvision=={fitting}.*'"
        )
    plain = ours.partition("+")[0]
    return (
        f"torchvision {theirs} was built for another build of torch than {ours}; install the pair from one index: "
        f"pip install --force-reinstall torch=={plain} torchvision=={theirs.partition('+')[0]}"
        + (" with the --index-url of torch's CPU builds" if "+cpu" in ours else "")
    )


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


@contextmanager
def torchvision_beside_any_torch() -> Iterator[None]:
    """Import torchvision, where it is installed, so that a block can import what imports it in turn."""
    declared = _declared_operators()
    try:
        if declared:
            importlib.import_module("torchvision")
        yield
    finally:
        for one in declared:
            one._destroy()


def _declared_operators() -> list[Any]:
    """The two operators declared, where torchvision is installed, not yet imported, and cannot load its own."""
    found = importlib.util.find_spec("torchvision")
    places = None if found is None else found.submodule_search_locations
    if places is None or hasattr(torch.ops.torchvision, "nms"):
        return []
    for compiled in Path(places[0]).glob("_C*.so"):
        try:
            torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
        except OSError:
            continue
        return []
    declared: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in OPERATORS:
        declared.define(operator)
    return [declared]

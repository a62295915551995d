"""What is read from a published model: a space, where it came from, and how it judges pairs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import PartConfig
from ..models.calibration import Calibration
from ..models.space import Space
from .model_card import license_in
from .renames import Rule, load_renamed


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """Everything about a published model but its weights.

    ``rules`` rename the weights of the whole space, ``ignored`` are patterns of names that carry none of them, and
    ``scale`` and ``bias`` name the logits' two numbers (``bias`` is empty for a softmax, which has none).
    With ``divides`` the scale is a temperature, which cosines are divided by; otherwise it is a logarithm.
    ``wrappings`` are openings of names that some programs put before all others. ``reference`` is what the peer's
    library is given to read the same model, where that is not its folder; ``package`` is the installed package that the
    weights came from, and ``license`` the licence that goes with them, where that is known.
    """

    family: str
    layout: str
    configs: Mapping[str, PartConfig]
    processors: Mapping[str, Any]
    width: int
    rules: Sequence[Rule]
    ignored: Sequence[str] = ()
    scale: str = "logit_scale"
    bias: str = ""
    divides: bool = False
    wrappings: Sequence[str] = ()
    reference: str = ""
    package: str = ""
    license: str | None = None


@dataclass(frozen=True, slots=True)
class Classifier:
    """The classifier that an image tower was trained with: ``weight_CD``, ``bias_C``, and a name for each class."""

    weight_CD: Tensor
    bias_C: Tensor
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Published:
    """A space with published weights; ``folder`` is what the peer's library loads, ``scale`` that of its logits.

    ``license`` is the licence of the weights as its makers name it, where they do.
    """

    space: Space
    plan: ConversionPlan
    folder: Path
    scale: float
    source: str = ""
    license: str | None = None
    classifier: Classifier | None = None

    def facts(self) -> dict[str, Any]:
        """Where it came from, as JSON data."""
        facts = {
            "family": self.plan.family, "layout": self.plan.layout, "source": self.source or self.folder.name,
            "scale": self.scale, "license": self.license,
        }  # fmt: skip
        return facts | ({"package": self.plan.package} if self.plan.package else {})


def built(plan: ConversionPlan, tensors: Mapping[str, Tensor], source: str, folder: Path) -> Published:
    """The space of a plan with its weights, every one of them.

    Where the model judges each pair by itself (SigLIP), its scale and bias are the space's calibration. A tower that
    comes without a projection is its own space.
    """
    space = Space.build(plan.configs, plan.processors, plan.width)
    tensors = {unwrapped(name, plan.wrappings): tensor for name, tensor in tensors.items()}
    numbers = [name for name in (plan.scale, plan.bias) if name]
    load_renamed(space, plan.rules, tensors, source, [*plan.ignored, *numbers], own_space(space, plan.rules))
    scale = factor(plan, tensors)
    if plan.bias in tensors:
        space.calibration = Calibration(scale, float(tensors[plan.bias]))
    space.fingerprint = fingerprint(space)
    license = plan.license or (license_in(folder) if folder.is_dir() else None)
    return Published(space.eval(), plan, folder, scale, license=license)


def factor(plan: ConversionPlan, tensors: Mapping[str, Tensor]) -> float:
    """What cosines are multiplied by before they are compared; one where nothing is said."""
    if plan.scale not in tensors:
        return 1.0
    stored = float(tensors[plan.scale])
    return 1 / stored if plan.divides else math.exp(stored)


def fingerprint(space: Space) -> str:
    """A hash of all weights and of the preparation, for a space that no folder of ours holds."""
    digest = hashlib.sha256()
    for name, tensor in space.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    for name, processor in space.processors.items():
        digest.update(json.dumps([name, processor.state()], sort_keys=True).encode())
    return digest.hexdigest()


def unwrapped(name: str, wrappings: Sequence[str]) -> str:
    """A tensor's name without what was put before it."""
    for opening in wrappings:
        if name.startswith(opening):
            return name.removeprefix(opening)
    return name


def own_space(space: Space, rules: Sequence[Rule]) -> dict[str, Tensor]:
    """Projections that no rule fills, as identities."""
    ruled = {rule.ours for rule in rules}
    return {
        name: torch.eye(*weight.shape)
        for name, weight in space.state_dict().items()
        if name.startswith("projections.") and name not in ruled
    }

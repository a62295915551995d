"""WiSE-FT: interpolation between the pretrained and the fine-tuned weights.

Fine-tuned weights know the new pairs, the pretrained ones know the rest, and a mixture often knows both better than
either (Wortsman et al. 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..evaluators.forgetting import ForgettingBaseline, recall_at_1
from ..models.space import Space
from ..types import Metrics

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The interpolation weights that a sweep tries."""


@torch.no_grad()
def interpolate(space: Space, pretrained: Mapping[str, Tensor], new: Mapping[str, Tensor], share: float) -> None:
    """Give a space ``(1 - share) * pretrained + share * new``; what is no number of many digits comes from ``new``."""
    mixed = {
        name: torch.lerp(pretrained[name].to(tensor), tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in new.items()
    }
    space.load_state_dict(mixed)


def sweep(
    space: Space, pretrained: Mapping[str, Tensor], forgetting: ForgettingBaseline, shares: Sequence[float] = SHARES
) -> Metrics:
    """Recall at every share, on the validation pairs and on the reference: ``wise_ft/0.25/text_to_image/R@1``."""
    new = {name: tensor.clone() for name, tensor in space.state_dict().items()}
    found: Metrics = {}
    for share in shares:
        interpolate(space, pretrained, new, share)
        for opening, pairs in forgetting.sets.items():
            recall = recall_at_1(space, pairs)
            found |= {f"wise_ft/{share:g}/{opening}{name}": value for name, value in recall.items()}
    space.load_state_dict(new)
    return found


def best(found: Metrics, shares: Sequence[float] = SHARES) -> float:
    """The share with the highest mean of all recalls; of equals the one that moved least."""
    means = {}
    for share in shares:
        values = [value for name, value in found.items() if name.startswith(f"wise_ft/{share:g}/")]
        means[share] = sum(values) / len(values)
    return max(shares, key=lambda share: (means[share], -share))

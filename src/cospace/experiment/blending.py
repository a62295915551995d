"""Between what a run started from and what it learned: weights on the straight line that joins them.

Fine-tuned weights know the new pairs, the old ones know the rest, and a mixture often knows both better than either
(Wortsman et al. 2022, WiSE-FT).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..space import Space
from ..types import Metrics
from .before import Before, recall

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How far on the way from old to new a sweep looks."""


@torch.no_grad()
def blend(space: Space, old: Mapping[str, Tensor], new: Mapping[str, Tensor], share: float) -> None:
    """Give a space ``(1 - share) * old + share * new``; what is no number of many digits comes from ``new``."""
    mixed = {
        name: torch.lerp(old[name].to(tensor), tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in new.items()
    }
    space.load_state_dict(mixed)


def sweep(space: Space, old: Mapping[str, Tensor], before: Before, shares: Sequence[float] = SHARES) -> Metrics:
    """Recall at every share, on the validation pairs and on the reference: ``blend/0.25/text_to_image/R@1``."""
    new = {name: tensor.clone() for name, tensor in space.state_dict().items()}
    found: Metrics = {}
    for share in shares:
        blend(space, old, new, share)
        for opening, pairs in before.sets.items():
            found |= {f"blend/{share:g}/{opening}{name}": value for name, value in recall(space, *pairs).items()}
    space.load_state_dict(new)
    return found


def best(found: Metrics, shares: Sequence[float] = SHARES) -> float:
    """The share with the highest mean of all recalls; of equals the one that moved least."""
    means = {}
    for share in shares:
        values = [value for name, value in found.items() if name.startswith(f"blend/{share:g}/")]
        means[share] = sum(values) / len(values)
    return max(shares, key=lambda share: (means[share], -share))

"""Files that were trained on and are measured on too: what is measured on them is better than it will be elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..modalities import is_text, modality
from ..types import Metrics
from . import near_duplicates
from .contents import digest
from .pairs import Pairs

PREFIX = "leaked/"
"""Of the metrics: the share of the different files of a modality that were trained on."""

SENTENCES = {
    PREFIX: "were trained on too; figures measured on them are better than they will be on others",
    near_duplicates.PREFIX: "are near-duplicates (as re-encoded, resized and mirrored copies are) of what was trained "
    "on; figures measured on them are better than on others",
}
"""What is said of a share, by the opening of its name."""


def contents_of(pairs: Pairs) -> dict[str, np.ndarray]:
    """By modality, the hashes of the different files ``(N,)``, uint64, ascending; texts may well repeat."""
    found = {}
    for name in (name for name in pairs.modalities if not is_text(name)):
        texts = {text for text, key in zip(pairs.contents[name], pairs.keys[name].tolist(), strict=True) if key >= 0}
        hashes = [int(digest([text.encode("utf-8", "surrogateescape")])[:16], 16) for text in texts]
        found[name] = np.unique(np.array(hashes, dtype=np.uint64))
    return found


def leaked(trained_on: Mapping[str, np.ndarray], measured: Pairs) -> Metrics:
    """By modality ``leaked/NAME``, the share of the measured files that were trained on; nothing where none was."""
    shares = {}
    for name, hashes_N in contents_of(measured).items():
        if name in trained_on and len(hashes_N):
            shares[f"{PREFIX}{name}"] = float(np.isin(hashes_N, trained_on[name]).mean())
    return {name: share for name, share in shares.items() if share > 0}


def describe_leaks(metrics: Metrics) -> list[str]:
    """A sentence for each modality of which files, or near-duplicates of them, were trained on."""
    return [
        f"{100 * share:.1f} % of these {modality(key.removeprefix(prefix)).plural} {words}"
        for prefix, words in SENTENCES.items()
        for key, share in metrics.items()
        if key.startswith(prefix)
    ]

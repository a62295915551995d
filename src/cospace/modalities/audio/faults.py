"""Single sounds from which nothing can be learned, or less than it seems, by what :mod:`.measuring` measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import ItemFinding
from .._faults import faults
from .settings import AudioSettings

SILENT = 1e-3
"""Swing below which nothing but the hiss of a converter is left: 60 dB below full scale, 32 steps of 16 bits. The least
of 2,500 spoken digits (FSDD) is 0.010."""

QUIET = 4e-3
"""Swing below which a sound is so faint that its steps are heard: 48 dB below full scale, 7 bits of 16."""

OFFSET = 0.01
"""Mean from which on something without a swing is a direct current and no silence; of spoken digits it is up to
0.008."""

CLIPPED = 0.003
"""Share of samples in flat tops; the most of 2,500 spoken digits is 0.0028, and of 200 that are 2 to 6 times too loud
197 have more."""

SQUARE = 0.97
"""Share of samples in flat tops from which on it is a square wave, which is meant to be one."""

SHORT = 0.1
"""Seconds below which there is no word, ten frames of a spectrogram; the shortest of 2,500 spoken digits has 0.14."""

CUT = 1.5
"""How many times as long as what a model of the default settings reads: a third of a longer sound is not used."""


def find(measures: Mapping[str, np.ndarray]) -> list[ItemFinding]:
    """The kinds of fault, each sound in the first that explains the others: a silent one is not quiet too."""
    keys = ("seconds", "swing", "offset", "loudness", "clipped")
    size = max((len(measures[key]) for key in measures), default=0)
    seconds, swing, offset, loudness, clipped = (measures.get(key, np.full(size, np.nan)) for key in keys)
    still = swing < SILENT
    constant = still & (np.abs(offset) >= OFFSET)
    silent = still & ~constant
    cut_off = (clipped >= CLIPPED) & (clipped <= SQUARE) & ~still
    read = float(AudioSettings.model_fields["max_seconds"].default)
    advice = "record these sounds again, or leave the rows out"

    def level(item: int) -> str:
        return f"its level is {loudness[item]:.0f} dB"

    def length(item: int) -> str:
        return f"{seconds[item]:.2f} seconds"

    return [
        faults("silent", "silent", advice, silent, 1 - swing / SILENT, level, leave_out=True),
        faults("constant", "of one constant value", advice, constant, np.ones(size),
               lambda item: f"all samples are near {offset[item]:.3f}", leave_out=True),
        faults("quiet", "very quiet", advice, (swing < QUIET) & ~still, 1 - swing / QUIET, level),
        faults("clipped", "cut off at the loudest level", advice, cut_off, clipped / (10 * CLIPPED),
               lambda item: f"{clipped[item]:.1%} of the samples"),
        faults("short", "too short to hear anything", "leave the rows out",
               seconds < SHORT, 1 - seconds / SHORT, length),
        faults("long", f"much longer than the {read:g} seconds that a model reads",
               "cut these recordings into pieces, or set data.audio.max_seconds", seconds > CUT * read,
               1 - CUT * read / np.maximum(seconds, 1e-9),
               lambda item: f"{1 - read / seconds[item]:.0%} of {seconds[item]:.0f} seconds is not used"),
    ]  # fmt: skip

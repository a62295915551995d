"""Planted faults of single sounds are found, each by its kind, and what only resembles them is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cospace.data.examining import _Table
from cospace.modalities import modality
from item_faults import found_by
from sounds import RATE, encode, tone

KINDS = ["silent", "constant", "quiet", "clipped", "short", "long"]


def found(*raws: Any) -> dict[str, list[int]]:
    return found_by("audio", raws, KINDS, ("silent", "constant"))


def word(seconds: float = 0.5, rate: int = 8_000, peak: float = 0.5, seed: int = 0) -> tuple[np.ndarray, int]:
    """Vowels of a falling voice in a little noise: harmonics under an envelope."""
    dice, time_N = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    pitch = dice.uniform(80, 250)
    phase_N = 2 * np.pi * pitch * (time_N - 0.1 * time_N**2 / max(seconds, 0.1))
    wave_N = sum(np.sin(n * phase_N + dice.uniform(0, 6)) / n for n in range(1, 12))
    wave_N = wave_N * np.sin(np.pi * time_N / seconds) ** 0.5 + dice.normal(0, 0.01, len(time_N))
    return (peak * wave_N / np.abs(wave_N).max()).astype(np.float32), rate


@settings(max_examples=40, deadline=None)
@given(st.floats(0.12, 3), st.sampled_from([8_000, 16_000, 44_100]), st.floats(0.006, 1), st.integers(0, 99))
def test_words_have_no_fault(seconds: float, rate: int, peak: float, seed: int) -> None:
    samples_N, _ = word(seconds, rate, peak, seed)
    assert found((samples_N, rate), encode(samples_N, rate, subtype="PCM_16")) == {}


@settings(max_examples=25, deadline=None)
@given(st.floats(20, 7_000), st.floats(0.05, 1), st.booleans())
def test_pure_tones_are_not_clipped(hertz: float, peak: float, coarse: bool) -> None:
    samples_N = (2 * peak * tone(1.0, hertz=hertz)).astype(np.float32)
    assert found(encode(samples_N, subtype="PCM_16") if coarse else (samples_N, RATE)) == {}


@settings(max_examples=25, deadline=None)
@given(st.floats(2, 8), st.floats(0.3, 1), st.integers(0, 99))
def test_what_is_too_loud_is_clipped(gain: float, limit: float, seed: int) -> None:
    """At full scale or below it, where somebody made it quieter afterwards."""
    samples_N, rate = word(1.0, 16_000, 1.0, seed)
    cut_N = limit * (gain * samples_N).clip(-1, 1)
    assert found((cut_N, rate), encode(cut_N, rate, subtype="PCM_16")) == {"clipped": [0, 1]}


def test_one_clipped_channel_is_enough_and_a_square_wave_is_none() -> None:
    samples_N, rate = word(1.0, 16_000, 0.7)
    both_N2 = np.stack([(4 * samples_N).clip(-1, 1), 0.3 * samples_N], axis=1)
    square_N = (0.5 * np.sign(tone(1.0, hertz=220))).astype(np.float32)
    assert found((both_N2, rate), (square_N, RATE)) == {"clipped": [0]}


def test_hiss_is_silent_and_a_whisper_is_quiet() -> None:
    hiss_N = np.random.default_rng(0).normal(0, 1e-4, 8_000).astype(np.float32)
    whisper_N = 0.003 * word(1.0)[0] / 0.5
    assert found((hiss_N, 8_000), (whisper_N, 8_000), word(peak=0.01)) == {"silent": [0], "quiet": [1]}


def test_a_direct_current_is_constant_and_one_under_a_sound_is_not() -> None:
    current_N = np.full(8_000, 0.2, np.float32)
    samples_N, rate = word(1.0)
    assert found((current_N, 8_000), (samples_N / 4 + np.float32(0.2), rate)) == {"constant": [0]}


def test_short_and_long_ones_are_found_with_how_much_is_cut() -> None:
    audio, table = modality("audio"), _Table(4)
    raws = [word(0.08), word(0.12), word(40.0), word(60.0)]
    assert found(*raws) == {"short": [0], "long": [3]}
    for number, raw in enumerate(raws):
        table.add(number, audio.examine(raw))
    notes = {kind.kind: kind.notes_F for kind in audio.find(raws, table.measures)}
    assert notes["long"] == ["50% of 60 seconds is not used"]
    assert notes["short"] == ["0.08 seconds"]


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_files_are_measured_as_their_samples_are(kind: str) -> None:
    samples_N, rate = word(1.0, 16_000, 0.5)
    of_file, of_array = (
        modality("audio").examine(raw).measures for raw in (encode(samples_N, rate, kind), (samples_N, rate))
    )
    assert of_file["swing"] == pytest.approx(of_array["swing"], rel=0.1)
    assert of_file["loudness"] == pytest.approx(of_array["loudness"], abs=0.5)
    assert of_array["loudness"] == pytest.approx(20 * np.log10(samples_N.std()), abs=0.01)
    assert of_file["seconds"] == pytest.approx(1.0)


def test_what_cannot_be_read_has_no_fault_and_nothing_of_nothing_is_found() -> None:
    assert found(b"", np.zeros(80, np.float32), word()) == {}
    assert found(b"") == {}
    assert found() == {}

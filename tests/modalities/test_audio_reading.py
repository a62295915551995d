"""Sounds of every kind are read, or refused with the true cause, in bounded memory."""

from __future__ import annotations

import math
import os
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cospace.modalities.audio import MODALITY
from cospace.modalities.audio.containers import kind_of
from cospace.modalities.audio.processor import AudioProcessor
from cospace.modalities.audio.reading import header, read
from cospace.modalities.audio.resampling import ratio_of
from cospace.types import BadItem, UserError
from sounds import RATE, encode, tone


def wav_header(claimed: int, rate: int = 8_000, channels: int = 1) -> bytes:
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", claimed)
    return b"RIFF" + struct.pack("<I", min(0xFFFFFFFF, claimed + 36)) + chunks


def refused(raw: Any) -> BadItem:
    with pytest.raises(BadItem) as caught:
        read(raw)
    assert caught.value.reason[0].strip()
    assert "\n" not in caught.value.reason
    return caught.value


@pytest.mark.parametrize(
    ("kind", "subtype", "rate", "wrong"),
    [
        ("WAV", "PCM_U8", 8_000, 0.02),
        ("WAV", "PCM_16", 11_025, 1e-4),
        ("WAV", "PCM_24", 44_100, 1e-6),
        ("WAV", "FLOAT", 48_000, 1e-7),
        ("WAV", "DOUBLE", 96_000, 1e-7),
        ("WAV", "ULAW", 8_000, 0.05),
        ("FLAC", "PCM_16", 44_100, 1e-4),
        ("AIFF", "PCM_16", 22_050, 1e-4),
        ("AU", "PCM_16", 16_000, 1e-4),
        ("OGG", "VORBIS", 44_100, 0.05),
        ("OGG", "OPUS", 48_000, 0.1),
        ("MP3", "MPEG_LAYER_III", 44_100, 0.1),
    ],
)
def test_formats_are_read_as_they_were_written(
    kind: str, subtype: str, rate: int, wrong: float, tmp_path: Path
) -> None:
    samples_N = tone(0.5, rate)
    data = encode(samples_N, rate, kind, subtype)
    path = tmp_path / "a.txt"  # content decides, not the suffix
    path.write_bytes(data)
    for raw in (data, path, str(path)):
        sound = read(raw)
        assert sound.rate == rate
        assert sound.seconds == pytest.approx(0.5, abs=0.1)
        middle = slice(len(samples_N) // 4, len(samples_N) // 2)
        assert np.sqrt(np.mean(np.square(sound.samples_N))) == pytest.approx(0.5 / math.sqrt(2), rel=0.1)
        if kind != "MP3":
            assert np.abs(sound.samples_N[middle] - samples_N[middle]).max() < wrong
    assert MODALITY.recognises(data)
    assert header(data)[0] == rate


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rate=st.integers(1_000, 200_000),
    length=st.integers(1, 5_000),
    channels=st.integers(1, 8),
    form=st.sampled_from(["array", "int16", "wav", "flac24"]),
)
def test_any_rate_length_and_number_of_channels(rate: int, length: int, channels: int, form: str) -> None:
    generator = np.random.default_rng(length)
    samples_NC = generator.uniform(0.1, 0.5, (length, channels)).astype(np.float32)
    if form == "array":
        raw: Any = (samples_NC, rate)
    elif form == "int16":
        raw = ((samples_NC * 32_767).astype(np.int16), rate)
    elif form == "wav":
        raw = encode(samples_NC, rate, "WAV", "FLOAT")
    else:
        rate = min(rate, 65_535)  # beyond, FLAC holds tens of Hz only
        raw = encode(samples_NC, rate, "FLAC", "PCM_24")
    sound = read(raw)
    assert sound.samples_N.dtype == np.float32
    assert sound.samples_N.shape == (length,)
    assert np.abs(sound.samples_N - samples_NC.mean(1)).max() < 1e-4
    processor = AudioProcessor()
    mels_TF = processor.prepare(raw)
    expected = math.ceil(length * ratio_of(rate, processor.sample_rate))
    assert mels_TF.shape == (1 + expected // processor.hop, processor.mel_bins)
    assert mels_TF.dtype == torch.uint8


def corrupt(kind: str) -> bytes:
    data = encode(np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32), RATE, kind)
    return data[: len(data) * 2 // 3]


BAD = {
    "a missing file": ("missing", lambda folder: folder / "none.wav", "does not exist"),
    "a path with a zero byte": ("missing", lambda folder: "a\0b.wav", "cannot be read"),
    "an empty file": ("empty", lambda folder: write(folder, b""), "is empty"),
    "no bytes": ("empty", lambda folder: b"", "no bytes"),
    "a wav without samples": ("empty", lambda folder: encode(np.zeros(0, np.float32)), "no samples"),
    "an empty array": ("empty", lambda folder: np.zeros(0, np.float32), "no samples"),
    "a folder": ("unsupported", lambda folder: folder, "folder"),
    "text": ("undecodable", lambda folder: write(folder, b"<html>not found</html>\n"), "text"),
    "noise": ("undecodable", lambda folder: np.random.default_rng(0).bytes(3_000), "not a sound"),
    "a wav of header only": ("undecodable", lambda folder: b"RIFF\x24\0\0\0WAVEfmt ", "cannot be decoded"),
    "an M4A": ("unsupported", lambda folder: b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(100), "MP4"),
    "a WebM": ("unsupported", lambda folder: b"\x1aE\xdf\xa3" + bytes(100), "WebM"),
    "a picture": ("unsupported", lambda folder: b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG"),
    "half a wav": ("truncated", lambda folder: corrupt("WAV"), "bytes are missing"),
    "half an aiff": ("truncated", lambda folder: corrupt("AIFF"), "bytes are missing"),
    "half a flac": ("truncated", lambda folder: corrupt("FLAC"), "damaged, or ends before"),
    "half an ogg": ("truncated", lambda folder: corrupt("OGG"), "missing"),
    "zeros": ("silent", lambda folder: encode(np.zeros(800, np.float32)), "nothing is to be heard"),
    "below -80 dB": ("silent", lambda folder: 0.9e-4 * tone() / 0.5, "80 dB"),
    "opposite channels": ("silent", lambda folder: np.stack([tone(), -tone()], 1), "cancel"),
    "a NaN": ("not finite", lambda folder: encode(with_value(np.nan), subtype="FLOAT"), "NaN"),
    "an infinity": ("not finite", lambda folder: with_value(-np.inf), "infinite"),
    "hours": ("too long", lambda folder: sparse(folder), "hours"),
    "a claim of days": ("too long", lambda folder: flac_that_claims(1 << 35), "hours"),
    "a number": ("unsupported", lambda folder: 3, "not int"),
    "bytes as samples": ("unsupported", lambda folder: np.ones(9, np.uint8), "uint8"),
    "three axes": ("unsupported", lambda folder: np.ones((2, 2, 2), np.float32), "shape"),
    "channels first": ("unsupported", lambda folder: np.ones((2, 900), np.float32), "shape"),
    "no rate": ("unsupported", lambda folder: (tone(), 0), "sample rate"),
}


def write(folder: Path, data: bytes) -> Path:
    (folder / "a.wav").write_bytes(data)
    return folder / "a.wav"


def with_value(value: float) -> np.ndarray:
    samples_N = tone()
    samples_N[100] = value
    return samples_N


def sparse(folder: Path) -> Path:
    """Three hours of 8 kHz that take no room on the disk."""
    size = 3 * 3600 * 8_000 * 2
    path = write(folder, wav_header(size))
    os.truncate(path, 44 + size)
    return path


def flac_that_claims(frames: int) -> bytes:
    data = bytearray(encode(tone(), RATE, "FLAC"))
    place = 8 + 13  # of the frames in STREAMINFO: 36 bits, the upper four of them in the byte before
    data[place] = data[place] & 0xF0 | frames >> 32
    data[place + 1 : place + 5] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_used_is_refused_with_its_cause(what: str, tmp_path: Path) -> None:
    kind, make, words = BAD[what]
    error = refused(make(tmp_path))
    assert (error.kind, words in error.reason) == (kind, True), error


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "pipe.wav", Path("/dev/zero")):
        assert refused(path).kind == "unsupported"


def test_a_claim_in_a_header_costs_no_memory() -> None:
    claims = (0xFFFFFFF0, 0x7FFFFF00)
    tracemalloc.start()
    for claimed in claims:
        assert refused(wav_header(claimed) + tone().tobytes()).kind in ("truncated", "too long")
    for claimed in (0xFFFFFFFF, 0x7FFFF000):  # what is written where the size cannot be known
        data = wav_header(claimed) + (tone(0.5, 8_000) * 20_000).astype("<i2").tobytes()
        assert len(read(data).samples_N) == 4_000
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_only_the_beginning_of_a_long_file_is_decoded(tmp_path: Path) -> None:
    size = 3600 * 48_000 * 2 * 8
    path = write(
        tmp_path, wav_header(size, 48_000, 8) + (tone(0.5, 48_000, channels=8) * 20_000).astype("<i2").tobytes()
    )
    os.truncate(path, 44 + size)
    tracemalloc.start()
    sound = read(path, seconds=2.0)
    assert tracemalloc.get_traced_memory()[1] < 24 << 20
    tracemalloc.stop()
    assert len(sound.samples_N) == 96_000
    assert sound.seconds == pytest.approx(3600)


def test_one_sample_is_a_sound() -> None:
    processor = AudioProcessor()
    for raw in (np.array([0.5], np.float32), encode(np.array([0.5], np.float32))):
        batch = processor.batch([processor.prepare(raw)])
        assert batch.mels_BTF.isfinite().all()
        assert batch.mask_BT.sum() == 1


def test_a_lazy_item_is_fetched() -> None:
    class Member:
        def load(self) -> bytes:
            return encode(tone())

        def key(self) -> str:
            return "a"

    assert len(read(Member()).samples_N) == RATE // 2


def test_bytes_that_are_no_sound_are_not_recognised() -> None:
    for data in (b"", b"\xff\xfeh\0i\0", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"zero"):
        assert kind_of(data) is None


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(UserError, match="pip install soundfile"):
        read(b"RIFF")

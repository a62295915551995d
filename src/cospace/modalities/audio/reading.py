"""Sounds of every common kind, made into the same thing: one channel of float32 samples, at any sample rate.

Files are decoded by libsndfile, in blocks, and no further than asked for: what a header says costs no memory.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ... import reading
from ...types import BadItem, Lazy, UserError
from .._lazy import loaded
from .containers import foreign, is_text, kind_of, missing_bytes

if TYPE_CHECKING:
    from torch import Tensor

SECONDS, HOURS = 30.0, 2.0
"""What is decoded at most, and the longest file that is opened, where nothing else is said."""

RATES = (100, 1_000_000)
"""Sample rates that make sense, in Hz."""

SILENT = 1e-4
"""Peak of what counts as silence: 80 dB below full scale."""

FORMATS = "WAV, FLAC, MP3, Ogg (Vorbis, Opus), AIFF, AU or CAF"

_BLOCK = 1 << 18
"""Samples of all channels that are decoded at a time."""

_UNKNOWN = 1 << 62
"""Frames that libsndfile gives where a header names no length."""

_SLACK = 4 * 1152
"""Frames by which the length of an MP3 may be wrong: the decoder's delay and its filling are counted or not."""

_INTEGERS = {np.dtype(np.int16): 1 / 32_768, np.dtype(np.int32): 1 / 2_147_483_648}


Listener = Callable[[np.ndarray], None]


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples of one channel, ``(N,)`` float32; ``rate`` is open for an array that came without one.

    ``seconds`` is the length of the whole, of which the samples may be the beginning.
    """

    samples_N: np.ndarray
    rate: int | None
    seconds: float | None


def wave(raw: Any, rate: int, seconds: float = SECONDS, hours: float = HOURS) -> Tensor:
    """The beginning of any sound as float32 samples ``(N,)`` at ``rate``. Raises :class:`BadItem`.

    ``raw`` is what :func:`read` takes; an array without a rate is taken to be at ``rate``.
    """
    import torch

    from .resampling import resample

    sound = read(raw, seconds, hours, rate)
    return resample(torch.from_numpy(sound.samples_N), sound.rate or rate, rate)


def read(
    raw: Any, seconds: float = SECONDS, hours: float = HOURS, rate: int | None = None, listen: Listener | None = None
) -> Sound:
    """The first ``seconds`` of a sound; raises :class:`BadItem` for everything that cannot be used.

    ``raw`` is a path, encoded ``bytes``, an array ``(n,)`` or ``(n, channels)`` of floats or ``int16``, alone (at
    ``rate``) or as ``(array, rate)``, or a :class:`~cospace.types.Lazy` that gives one of these. Files longer than
    ``hours`` are refused. ``listen`` gets every block of samples ``(N, channels)`` as it is decoded.
    """
    raw = fetched(raw)
    if isinstance(raw, np.ndarray):
        return _from_array(raw, None, seconds, rate, listen)
    if isinstance(raw, tuple) and len(raw) == 2 and isinstance(raw[0], np.ndarray):
        return _from_array(raw[0], int(raw[1]), seconds, rate, listen)
    if isinstance(raw, bytes | str | Path):
        with opened(raw) as file:
            return _from_file(file, seconds, hours, listen)
    raise BadItem(
        "unsupported", f"a sound is a path, bytes, an array or (array, sample rate), not {type(raw).__name__}"
    )


def fetched(raw: Any) -> Any:
    """What a lazy item loads, everything else as it is."""
    if isinstance(raw, bytes | str | Path | np.ndarray | tuple):  # asked first: whether something is lazy is slow
        return raw
    return loaded(raw) if isinstance(raw, Lazy) else raw


@contextmanager
def opened(source: bytes | str | Path) -> Iterator[BinaryIO]:
    """A file to read from, which is not empty; of paths, regular files alone: a device or a pipe may never end."""
    if isinstance(source, bytes):
        if not source:
            raise BadItem("empty", "there are no bytes")
        yield io.BytesIO(source)
        return
    try:
        file = reading.opened(source)
    except FileNotFoundError:
        raise BadItem("missing", f"{source} does not exist") from None
    except reading.NotAFile as error:
        raise BadItem("unsupported", f"{source}: {error.strerror}") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte in it
        raise BadItem("missing", f"{source} cannot be read: {error}") from error
    with file:
        if not os.fstat(file.fileno()).st_size:
            raise BadItem("empty", f"{source} is empty")
        yield file


def _from_array(array: np.ndarray, own: int | None, seconds: float, rate: int | None, listen: Listener | None) -> Sound:
    if array.ndim not in (1, 2) or (array.ndim == 2 and not 0 < array.shape[1] <= 64):
        raise BadItem("unsupported", f"an array of samples has shape (n,) or (n, channels), not {array.shape}")
    if not (array.dtype in _INTEGERS or np.issubdtype(array.dtype, np.floating)):
        raise BadItem("unsupported", f"samples are floats, int16 or int32, not {array.dtype}")
    if not len(array):
        raise BadItem("empty", "the array has no samples")
    if own is not None:
        _check_rate(own)
    per_second = own or rate
    kept = array if per_second is None else array[: _limit(seconds, per_second)]
    block = kept.astype(np.float32) * np.float32(_INTEGERS.get(array.dtype, 1.0))
    samples_N = _audible(*_mixed(block.reshape(len(block), -1), listen))
    return Sound(samples_N, own, None if per_second is None else len(array) / per_second)


def _from_file(file: BinaryIO, seconds: float, hours: float, listen: Listener | None) -> Sound:
    head = file.read(4096)
    kind = kind_of(head)
    try:
        lacking = missing_bytes(file, kind)
        file.seek(0)
        return _decoded(file, kind, lacking, (seconds, hours), listen)
    except _sndfile_error() as error:
        raise _undecodable(head, kind, error) from error


def _library() -> Any:
    """The module soundfile, which only those who have sounds need."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: libsndfile itself is missing
        raise UserError(f"sounds are read by soundfile ({error}); install it: pip install soundfile") from error
    return soundfile


def _sndfile_error() -> type[Exception]:
    failed: type[Exception] = _library().SoundFileError
    return failed


def _undecodable(head: bytes, kind: str | None, error: Exception) -> BadItem:
    """The cause as far as the first bytes show it."""
    if kind is not None:
        return BadItem("undecodable", f"it begins like a sound ({kind}), but cannot be decoded: {_detail(error)}")
    if other := foreign(head):
        return BadItem("unsupported", f"it is {other}, which is not read; convert it to {FORMATS}")
    if is_text(head):
        return BadItem("undecodable", "it holds text, not a sound")
    return BadItem("undecodable", f"not a sound in {FORMATS}")


def _decoded(
    file: BinaryIO, kind: str | None, lacking: int, bounds: tuple[float, float], listen: Listener | None
) -> Sound:
    seconds, hours = bounds
    with _library().SoundFile(file) as sound:
        rate = _check_rate(sound.samplerate)
        announced = None if sound.frames >= _UNKNOWN else sound.frames
        if announced is not None and announced > hours * 3600 * rate:
            raise BadItem("too long", f"{announced / rate / 3600:,.1f} hours, more than the {hours:g} allowed")
        if lacking:
            raise BadItem("truncated", f"the file ends before the sound does: at least {lacking:,} bytes are missing")
        limit = _limit(seconds, rate)
        mono_N, loudest = _blocks(sound, limit if announced is None else min(limit, announced), listen)
        wanted = 0 if announced is None else min(limit, announced) - (_SLACK if kind == "mp3" else 0)
        if len(mono_N) < wanted:
            there, promised = len(mono_N) / rate, (announced or 0) / rate
            raise BadItem("truncated", f"only {there:.2f} of {promised:.2f} seconds can be decoded")
    if not len(mono_N):
        raise BadItem("empty", "the file holds no samples")
    return Sound(_audible(mono_N, loudest), rate, (len(mono_N) if announced is None else announced) / rate)


def _blocks(sound: Any, limit: int, listen: Listener | None) -> tuple[np.ndarray, float]:
    """Up to ``limit`` frames mixed to one channel, and the largest sample of any channel."""
    block = max(1, _BLOCK // sound.channels)
    parts, loudest, done = [np.zeros(0, np.float32)], 0.0, 0
    while done < limit:
        part_NC = _block(sound, min(block, limit - done))
        if not len(part_NC):
            break
        mono_N, peak = _mixed(part_NC, listen)
        parts.append(mono_N)
        loudest, done = max(loudest, peak), done + len(mono_N)
    return np.concatenate(parts), loudest


def _block(sound: Any, frames: int) -> np.ndarray:
    try:
        samples_NC: np.ndarray = sound.read(frames, dtype="float32", always_2d=True)
    except _sndfile_error() as error:  # opened well, so that the beginning is there
        raise BadItem("truncated", f"the file is damaged, or ends before the sound does ({_detail(error)})") from error
    return samples_NC


def _detail(error: Exception) -> str:
    """The words of libsndfile, without the name of the file object."""
    return str(error).split(": ", 1)[-1].strip(" .:")


def _mixed(samples_NC: np.ndarray, listen: Listener | None = None) -> tuple[np.ndarray, float]:
    """The mean of the channels, and the largest sample of any. Raises where one is no number."""
    loudest = float(np.abs(samples_NC).max(initial=0.0))
    if not np.isfinite(loudest):
        raise BadItem("not finite", "some samples are infinite or no numbers (NaN)")
    if listen is not None:
        listen(samples_NC)
    mono_N = samples_NC[:, 0] if samples_NC.shape[1] == 1 else samples_NC.mean(axis=1, dtype=np.float32)
    return np.ascontiguousarray(mono_N), loudest


def _audible(samples_N: np.ndarray, loudest: float) -> np.ndarray:
    if loudest < SILENT:
        raise BadItem("silent", "nothing is to be heard: all of it lies 80 dB or more below full scale")
    if float(np.abs(samples_N).max()) < SILENT:
        raise BadItem("silent", "its channels cancel each other out when they are mixed to one")
    return samples_N


def _check_rate(rate: int) -> int:
    if not RATES[0] <= rate <= RATES[1]:
        raise BadItem("unsupported", f"a sample rate of {rate:,} Hz is not between {RATES[0]:,} and {RATES[1]:,}")
    return rate


def header(raw: Any) -> tuple[int, float]:
    """Sample rate and seconds as the header of a path or bytes names them, undecoded. Raises :class:`BadItem`."""
    with opened(raw) as file:
        head = file.read(4096)
        file.seek(0)
        try:
            with _library().SoundFile(file) as sound:
                return _check_rate(sound.samplerate), sound.frames / sound.samplerate
        except _sndfile_error() as error:
            raise _undecodable(head, kind_of(head), error) from error


def _limit(seconds: float, rate: int) -> int:
    return max(1, round(seconds * rate))

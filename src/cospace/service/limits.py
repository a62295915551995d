"""How much one request may ask for, and how many may ask at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one client can cost the others. Sizes are in bytes, times in seconds.

    How far an upload is decoded is bounded by its modality, see ``Modality.read_upload``.
    """

    upload: int = 10_000_000
    body: int = 1_000_000
    """Of a request that is no upload."""
    pictures: int = 14_000_000
    """Of a request that may hold files as data URLs: base64 takes a third more."""
    media: int = 32_000_000
    """Of an indexed file that is read to be played or shown."""
    text: int = 10_000
    """Characters of one text."""
    parts: int = 16
    marks: int = 200
    """Results that are marked right, or wrong, in one request."""
    results: int = 1_000
    """Of one answer in words."""
    ranks: int = 5_000
    """Of one answer in numbers, and how many candidates a subtraction chooses among."""
    several: int = 64
    """Texts or items of one request."""
    at_once: int = 64
    """Requests being answered; further ones are refused with 503."""
    waiting: int = 64
    """Encodings or searches that are queued."""
    decoding: int = 8
    """Uploads that wait to be decoded."""
    patience: float = 3.0
    """Longest time that an upload waits for others to be decoded."""
    arriving: int = 64_000_000
    """Bytes of all requests that are still being sent."""
    uploads: int = 64
    """Uploads remembered; the oldest is forgotten."""
    pause: float = 10.0
    """Longest silence within a request that is still being sent."""
    arrival: float = 30.0
    """Longest time for a whole request to be sent."""

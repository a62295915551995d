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
    media: int = 32_000_000
    """Of an indexed file that is read to be played or shown."""
    text: int = 10_000
    """Characters of one text."""
    parts: int = 16
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
    uploads: int = 64
    """Uploads remembered; the oldest is forgotten."""
    pause: float = 10.0
    """Longest silence within a request that is still being sent."""
    arrival: float = 30.0
    """Longest time for a whole request to be sent."""

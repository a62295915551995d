"""How much one request may ask for, and how many may ask at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that keep a stranger's request from costing more than a friend's. Sizes are in bytes, times in seconds."""

    upload: int = 10_000_000
    body: int = 1_000_000
    """Of a request that is no picture."""
    pixels: int = 25_000_000
    """Width times height that a picture's header may claim: 75 MB once it is decoded."""
    jpeg_pixels: int = 50_000_000
    """The same of a JPEG, which is decoded at a fraction of its size."""
    text: int = 10_000
    """Characters of one text."""
    parts: int = 16
    results: int = 1_000
    """Of one answer in words."""
    ranks: int = 5_000
    """Of one answer in numbers, and how many candidates a subtraction chooses among."""
    several: int = 64
    """Texts or pictures of one request."""
    at_once: int = 64
    """Requests being answered; the next one is told to come back."""
    waiting: int = 64
    """Encodings or searches that wait for the machine."""
    uploads: int = 64
    """Pictures remembered; the oldest is forgotten."""
    pause: float = 10.0
    """Longest silence within a request that is still being sent."""
    arrival: float = 30.0
    """Longest time for a whole request to be sent."""

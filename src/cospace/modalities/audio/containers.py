"""What the first and last bytes of a sound file say: what it is, and whether all of it is there.

The decoder does not say either: it takes the bytes that there are for the whole sound.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Literal

UNKNOWN_SIZES = (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0)
"""What programs that cannot seek back (ffmpeg, sox in a pipe) write where the size of the samples should stand."""

FOREIGN = {
    b"\x1aE\xdf\xa3": "WebM or Matroska",
    b"0&\xb2u\x8ef\xcf\x11": "Windows Media",
    b"MThd": "MIDI",
    b"#!AMR": "AMR",
    b"%PDF": "PDF",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"PK\x03\x04": "ZIP",
    b"\x1f\x8b": "gzip",
}
"""What people give instead of sounds, by its first bytes."""

KINDS = {"wav": "audio/wav", "flac": "audio/flac", "ogg": "audio/ogg", "mp3": "audio/mpeg"}
"""What browsers play, and its media type."""


def kind_of(head: bytes) -> str | None:
    """``wav``, ``flac``, ``ogg``, ``mp3``, ``aiff``, ``au`` or ``caf`` by the first bytes, or nothing."""
    if head[:4] in (b"RIFF", b"RF64", b"RIFX"):
        return "wav" if head[8:12] == b"WAVE" else None
    if head[:4] == b"FORM":
        return "aiff" if head[8:12] in (b"AIFF", b"AIFC") else None
    for magic, kind in ((b"fLaC", "flac"), (b"OggS", "ogg"), (b"ID3", "mp3"), (b".snd", "au"), (b"caff", "caf")):
        if head.startswith(magic):
            return kind
    return "mp3" if _is_mpeg_frame(head) else None


def _is_mpeg_frame(head: bytes) -> bool:
    """Sync bits, layer III, a bit rate and a sample rate that exist; also not the mark of UTF-16."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2 or head[1] & 0x18 == 0x08:
        return False
    return head[2] >> 4 not in (0, 15) and head[2] >> 2 & 3 != 3


def foreign(head: bytes) -> str | None:
    """The name of what this is, where it is known and no sound that can be decoded."""
    if head[4:8] == b"ftyp":
        return "MP4 (M4A, AAC)"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "AAC"
    return next((name for magic, name in FOREIGN.items() if head.startswith(magic)), None)


def is_text(head: bytes) -> bool:
    """Whether bytes are characters, as in a web page saved as a sound."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a character that is cut in two at the end is none the worse
            return False
        text = head[: error.start].decode("utf-8")
    return bool(text) and all(letter.isprintable() or letter in "\r\n\t\f" for letter in text)


def missing_bytes(file: BinaryIO, kind: str | None) -> int:
    """How many bytes of samples the file promises beyond its end; 0 where all are there or nothing is promised."""
    size = file.seek(0, os.SEEK_END)
    if kind in ("wav", "aiff"):
        file.seek(0)
        magic = file.read(4)
        return _beyond_chunks(file, size, "little" if magic in (b"RIFF", b"RF64") else "big")
    return _beyond_last_page(file, size) if kind == "ogg" else 0


def _beyond_chunks(file: BinaryIO, size: int, order: Literal["little", "big"]) -> int:
    """Chunks of RIFF and FORM follow each other: a name, a size, content, filled up to an even length."""
    place = 12
    while place + 8 <= size:
        file.seek(place)
        head = file.read(8)
        length = int.from_bytes(head[4:], order)
        if head[:4] in (b"data", b"SSND"):
            return 0 if length in UNKNOWN_SIZES else max(0, place + 8 + length - size)
        place += 8 + length + length % 2
    return 0


def _beyond_last_page(file: BinaryIO, size: int) -> int:
    """The last page of Ogg names its size. That it is marked as the last is not asked for: live recordings omit it."""
    start = max(0, size - 65_536 - 300)  # the longest page
    file.seek(start)
    tail = file.read()
    place = tail.rfind(b"OggS")
    if place < 0 or place + 27 > len(tail):
        return 1
    segments = tail[place + 26]
    table = tail[place + 27 : place + 27 + segments]
    return max(0, 27 + segments + sum(table) - (len(tail) - place))

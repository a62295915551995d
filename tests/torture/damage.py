"""Damages to what lies on a disk: a flipped bit, a cut, two files exchanged, one missing; drawn by a seed."""

from __future__ import annotations

import os
import random
from pathlib import Path

KINDS = ("flip", "cut", "swap", "missing")


def files_of(folder: Path) -> list[Path]:
    """All files below that have a byte, in order; locks hold nothing."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size and path.name != "LOCK")


def damage(folder: Path, dice: random.Random) -> str:
    """Do one damage below ``folder``; what it was, to be told where it was not noticed."""
    paths = files_of(folder)
    path, kind = dice.choice(paths), dice.choice(KINDS)
    other = dice.choice([one for one in paths if one != path] or paths)
    if kind == "swap" and path.read_bytes() == other.read_bytes():
        kind = "flip"
    if kind == "flip":
        data = bytearray(path.read_bytes())
        at, bit = dice.randrange(len(data)), dice.randrange(8)
        data[at] ^= 1 << bit
        path.write_bytes(data)
        return f"bit {bit} of byte {at} of {path.relative_to(folder)}"
    if kind == "cut":
        length = dice.randrange(path.stat().st_size)
        os.truncate(path, length)
        return f"{path.relative_to(folder)} cut to {length} bytes"
    if kind == "swap":
        one, two = path.read_bytes(), other.read_bytes()
        path.write_bytes(two)
        other.write_bytes(one)
        return f"{path.relative_to(folder)} exchanged with {other.relative_to(folder)}"
    path.unlink()
    return f"{path.relative_to(folder)} missing"

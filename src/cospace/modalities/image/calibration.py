"""Colours that a file describes by numbers, as a profile: what gAMA and cHRM say in a PNG, as browsers take it.

The primaries are adapted to D50 by Bradford's matrix, as the ICC's profiles want it (ICC.1:2001-04, annex E.1).
"""

from __future__ import annotations

import struct

import numpy as np

SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
"""White, red, green, blue of sRGB, each as x and y."""

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_GAMMAS = (0.05, 20.0)
"""Smallest and largest exponent that is taken seriously."""


def calibrated(gamma: float | None, chromaticities: tuple[float, ...] | None, grey: bool) -> bytes | None:
    """A colour profile; None where nothing is said, or nothing that makes sense.

    ``gamma`` is the exponent from samples to light, without it the curve is sRGB's; ``chromaticities`` are as
    :data:`SRGB`, which stands for them where there are none.
    """
    if gamma is None and chromaticities is None:
        return None
    if gamma is not None and not _GAMMAS[0] <= gamma <= _GAMMAS[1]:
        return None
    curve = _curve(gamma)
    if grey:
        return _profile(b"GRAY", {b"wtpt": _xyz(_D50), b"kTRC": curve})
    columns = _primaries(chromaticities or SRGB)
    if columns is None:
        return None
    tags = {b"wtpt": _xyz(_D50)}
    for name, column in zip((b"r", b"g", b"b"), columns.T, strict=True):
        tags |= {name + b"XYZ": _xyz(column), name + b"TRC": curve}
    return _profile(b"RGB ", tags)


def _primaries(chromaticities: tuple[float, ...]) -> np.ndarray | None:
    """``(3, 3)``: red, green and blue in columns, as XYZ under D50."""
    points = np.array(chromaticities).reshape(4, 2)
    if (points[:, 1] <= 0).any() or (points > 1).any() or (points < 0).any():
        return None
    white, *colours = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in points)
    matrix = np.array(colours).T
    if abs(np.linalg.det(matrix)) < 1e-6:
        return None
    matrix = matrix * np.linalg.solve(matrix, white)
    cones = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    adapted: np.ndarray = np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ matrix
    return adapted if np.isfinite(adapted).all() and np.abs(adapted).max() < 8 else None


def _curve(gamma: float | None) -> bytes:
    """A parametric curve."""
    kind, values = (3, _SRGB_CURVE) if gamma is None else (0, (gamma,))
    return struct.pack(">4sIHH", b"para", 0, kind, 0) + b"".join(map(_fixed, values))


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values.tolist()))


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65_536))


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A display's profile of version 4 with these tags."""
    place, table, body = 128 + 4 + 12 * len(tags), [struct.pack(">I", len(tags))], []
    for name, content in tags.items():
        table.append(struct.pack(">4sII", name, place, len(content)))
        body.append(content + bytes(-len(content) % 4))
        place += len(body[-1])
    header = struct.pack(">I4sI4s4s4s12s4s", place, b"\0" * 4, 0x04200000, b"mntr", space, b"XYZ ", bytes(12), b"acsp")
    header += bytes(28) + b"".join(map(_fixed, _D50.tolist()))
    return header.ljust(128, b"\0") + b"".join([*table, *body])

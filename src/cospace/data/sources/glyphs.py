"""The built-in set ``glyphs``: drawings of named characters, each with its lower-case Unicode name as caption.

Real, compositional language without a download: matplotlib brings fonts that draw 7,300 named characters, from
``latin small letter a with ring above`` to ``black chess knight``, most of them in several faces. ``characters``
holds 500 characters that training never shows, ``faces`` the training characters in two faces that training never
shows. ``digits`` and ``digits/faces`` are the ten digits in the same faces, captioned ``zero`` to ``nine``.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import struct
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field

from ...types import UserError
from . import Rows, RowsWriter
from ._built_in import BuiltIn

__all__ = ["FACES", "HELD_OUT_FACES", "Config", "GlyphImage", "unseen_characters"]

Split = Literal["train", "characters", "faces", "digits", "digits/faces"]

# The fonts beside these are left out because what they draw is not what their code points say: the cm* faces keep
# TeX's own order under other characters' code points (U+00A1 draws a capital gamma), STIXNonUni* use private code
# points, STIXSiz* hold stretched pieces, and LastResort draws an image of the block for every code point.
FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
)
"""The faces of ``train`` and ``characters``."""

HELD_OUT_FACES = ("DejaVuSerif-BoldItalic", "STIXGeneralItalic")

_UNSEEN = 500
_LEAST_USES = 3
"""Training names that must use a word before an unseen name may."""

_SPECS: dict[str, Split] = {
    "glyphs": "train",
    "glyphs/train": "train",
    "glyphs/characters": "characters",
    "glyphs/faces": "faces",
    "glyphs/digits": "digits",
    "glyphs/digits/faces": "digits/faces",
}

_DIGITS = range(ord("0"), ord("9") + 1)


@dataclass(frozen=True, slots=True)
class GlyphImage:
    """A character in a face by name: small to keep and to send between processes, drawn when it is loaded."""

    face: str
    code: int
    size: int

    def load(self) -> np.ndarray:
        """The drawing in black on white, ``uint8 (size, size, 3)``."""
        return _draw(self.face, chr(self.code), self.size)

    def key(self) -> str:
        """Equal for characters that the face draws alike, such as the Latin, Greek and Cyrillic capital A."""
        return f"glyphs/{_outlines(self.face)[self.code]}/{self.face}/{self.size}"


class Config(BuiltIn):
    """Which drawings: the split, and their side in pixels.

    Stacked accents can still be read at 32 pixels, and 48 keep only two more of DejaVu Sans's 5,749 drawings apart.
    """

    specs: ClassVar[Mapping[str, Split]] = _SPECS

    split: Split = "train"
    size: int = Field(default=32, ge=16, le=1024)

    def read(self) -> Rows:
        """One row per drawing, face by face in the order of code points."""
        wanted = self._characters()
        rows = RowsWriter(("image", "text"))
        for face in HELD_OUT_FACES if self.split.endswith("faces") else FACES:
            for code in sorted(wanted & _outlines(face).keys()):
                text = _caption(code).removeprefix(self._prefix())
                rows.add(f"glyphs/{face}/U+{code:04X}", {"image": GlyphImage(face, code, self.size), "text": text})
        return rows.finish()

    def _characters(self) -> frozenset[int]:
        if self._of_digits:
            return frozenset(_DIGITS)
        unseen = unseen_characters()
        return unseen if self.split == "characters" else frozenset().union(*map(_outlines, FACES)) - unseen

    def _prefix(self) -> str:
        """What a caption leaves out: a set of digits says ``seven`` where the Unicode name is ``digit seven``."""
        return "digit " if self._of_digits else ""

    @property
    def _of_digits(self) -> bool:
        return self.split.startswith("digits")


@functools.cache
def unseen_characters() -> frozenset[int]:
    """The 500 code points that no training row shows, in the order of a hash of the code point.

    An unseen name must be readable from the training names: it has at least two words and each of them stays in
    use by training names. A drawing that two characters share does not show which is meant, so none of those is taken.
    """
    codes = frozenset().union(*map(_outlines, FACES))
    words = {code: _caption(code).split() for code in codes}
    uses = Counter(word for name in words.values() for word in set(name))
    shared = _look_alikes((*FACES, *HELD_OUT_FACES))
    chosen: set[int] = set()
    for code in sorted(codes - shared, key=_shuffle):
        name = set(words[code])
        if len(name) > 1 and all(uses[word] > _LEAST_USES for word in name):
            chosen.add(code)
            uses.subtract(name)
        if len(chosen) == _UNSEEN:
            break
    return frozenset(chosen)


def _shuffle(code: int) -> bytes:
    return _hash(f"U+{code:04X}".encode())


def _look_alikes(faces: Iterable[str]) -> set[int]:
    """The characters whose outline some face uses for another one too."""
    found: set[int] = set()
    for face in faces:
        outlines = _outlines(face)
        shapes = {code: outline.partition("/")[0] for code, outline in outlines.items()}
        times = Counter(shapes.values())
        found.update(code for code, shape in shapes.items() if times[shape] > 1)
    return found


def _caption(code: int) -> str:
    return unicodedata.name(chr(code)).lower()


# --- fonts


def _path(face: str) -> Path:
    """The font file, found beside matplotlib without importing it, for that takes longer than reading the fonts."""
    spec = importlib.util.find_spec("matplotlib")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(root, "mpl-data", "fonts", "ttf", f"{face}.ttf")
        if path.is_file():
            return path
    raise UserError(f"glyphs needs the font {face}.ttf, which comes with matplotlib; run: pip install matplotlib")


@functools.cache
def _outlines(face: str) -> Mapping[int, str]:
    """The characters that a face can draw: named, mapped to a glyph of their own, and with ink.

    The value is a hash of the outline, equal where the drawings are equal. fontTools is imported here because listing
    the sources of pairs imports this file, also for those who never use it.
    """
    from fontTools.ttLib import TTFont  # type: ignore[import-untyped,unused-ignore]

    with TTFont(_path(face), lazy=True) as font:
        glyphs = _Glyphs.of(font.reader)
        index = font.getReverseGlyphMap()
        codes = {code: index[name] for code, name in font.getBestCmap().items() if unicodedata.name(chr(code), "")}
    return {code: glyphs.outline(glyph) for code, glyph in codes.items() if glyph and glyphs.data(glyph)}


@dataclass(frozen=True, slots=True)
class _Glyphs:
    """The glyphs of a TrueType font as bytes (tables glyf, loca, hmtx); glyph 0 is the box for a missing one.

    fontTools would parse every outline, which takes seconds; to compare them bytes will do.
    """

    table: bytes
    starts: np.ndarray
    advances: np.ndarray

    @classmethod
    def of(cls, tables: Mapping[str, bytes]) -> _Glyphs:
        (wide,) = struct.unpack_from(">h", tables["head"], 50)
        starts = np.frombuffer(tables["loca"], ">u4" if wide else ">u2").astype(np.int64) * (1 if wide else 2)
        (count,) = struct.unpack_from(">H", tables["hhea"], 34)
        return cls(tables["glyf"], starts, np.frombuffer(tables["hmtx"], ">u2", 2 * count)[::2])

    def data(self, glyph: int) -> bytes:
        return self.table[self.starts[glyph] : self.starts[glyph + 1]]

    def outline(self, glyph: int) -> str:
        """Equal for two glyphs that are drawn alike: the same outline on the same advance width."""
        return f"{self._shape(glyph).hex()}/{self.advances[min(glyph, len(self.advances) - 1)]}"

    def _shape(self, glyph: int) -> bytes:
        """A hash of an outline; a composite one is its parts and where they go, and one mere copy is its original."""
        data = self.data(glyph)
        if data[:2] != b"\xff\xff":
            return _hash(data)
        parts = sorted((self._shape(part), where) for part, where in _parts(data))
        if len(parts) == 1 and parts[0][1] == _UNMOVED:
            return parts[0][0]
        return _hash(repr(parts).encode())


# Flags of a composite glyph's part (OpenType, table glyf).
_WORDS, _OFFSETS, _SCALE, _MORE, _SCALES, _MATRIX = 0x1, 0x2, 0x8, 0x20, 0x40, 0x80
_UNMOVED = (_OFFSETS, 0, 0, b"")


def _parts(data: bytes) -> Iterator[tuple[int, tuple[int, int, int, bytes]]]:
    """The parts of a composite glyph: which glyph, and its placing as (kind, right, up, scales)."""
    at, flags = 10, _MORE
    while flags & _MORE:
        flags, part = struct.unpack_from(">HH", data, at)
        right, up = struct.unpack_from(">hh" if flags & _WORDS else ">bb", data, at + 4)
        at += 8 if flags & _WORDS else 6
        end = at + (2 * bool(flags & _SCALE) + 4 * bool(flags & _SCALES) + 8 * bool(flags & _MATRIX))
        yield part, (flags & (_OFFSETS | _SCALE | _SCALES | _MATRIX), right, up, data[at:end])
        at = end


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()


# --- drawing


def _draw(face: str, character: str, size: int) -> np.ndarray:
    """Letters keep a common scale and baseline, by which o, O and a raised o differ; what overflows is fitted in.

    A character stands in the middle of its advance width, which distinguishes a left half block from a right one. A
    combining mark has no width of its own, so its ink is put in the middle.
    """
    margin, em = round(size / 16), round(size * 0.75)
    room = size - 2 * margin
    font = _font(face, em)
    box = font.getbbox(character, anchor="ls")
    extent = max(box[2] - box[0], box[3] - box[1])
    if extent > room:
        font = _font(face, int(em * room / extent))
        box = font.getbbox(character, anchor="ls")
    left, top, right, bottom = map(round, box)
    middle = round(font.getlength(character) or left + right) / 2
    x = _within(margin - left, int(size / 2 - middle), size - margin - right)
    y = _within(margin - top, em, size - margin - bottom)
    image = Image.new("L", (size, size), 255)
    ImageDraw.Draw(image).text((x, y), character, fill=0, font=font, anchor="ls")
    return np.repeat(np.asarray(image)[..., None], 3, axis=2)


def _within(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


@functools.cache
def _font(face: str, em: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_path(face)), em, layout_engine=ImageFont.Layout.BASIC)

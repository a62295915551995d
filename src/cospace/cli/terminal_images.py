"""Images in a terminal: by the protocol of kitty or of iTerm2 where the terminal speaks one, else as blocks.

A block is the character ``▀``: its upper half in one colour, its lower half in another, so that a line of text shows
two rows of pixels.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from PIL import Image

COLUMNS, LINES = 18, 9
"""Of an image; a character is about twice as high as wide."""
GAP = 2

Painter = Callable[[Sequence[Image.Image]], str]
"""From images that stand in one row to what the terminal is sent, ending at the line below them."""

Colour = tuple[int, int, int] | None
"""Of half a character: red, green and blue, or the terminal's own."""


def painter(
    mode: Literal["auto", "always", "never"],
    environment: Mapping[str, str] | None = None,
    is_terminal: bool | None = None,
) -> Painter | None:
    """How images are shown on stdout, or none where they cannot be.

    ``always`` shows blocks where nothing is known of the terminal, and also in a pipe; ``auto`` never in a pipe.
    """
    env = os.environ if environment is None else environment
    if is_terminal is None:
        is_terminal = sys.stdout.isatty()
    if mode == "never" or (mode == "auto" and (not is_terminal or env.get("NO_COLOR"))):
        return None
    term, program = env.get("TERM", ""), env.get("TERM_PROGRAM", "")
    nested = "TMUX" in env or term.startswith(("screen", "tmux"))  # which may not pass images on
    if is_terminal and not nested:
        if "KITTY_WINDOW_ID" in env or term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
            return kitty
        if program in ("iTerm.app", "WezTerm") or env.get("LC_TERMINAL") == "iTerm2":
            return iterm
    if env.get("COLORTERM") in ("truecolor", "24bit") or term.endswith("-direct"):
        return blocks
    if "256color" in term:
        return blocks_of_256
    return blocks if mode == "always" else None


def contact_sheet(images: Sequence[tuple[str, bytes]], paint: Painter, width: int | None = None) -> str:
    """Labelled images (encoded) in rows that fit a terminal of ``width`` columns; empty where there are none."""
    width = shutil.get_terminal_size().columns if width is None else width
    across = max(1, (width + GAP) // (COLUMNS + GAP))
    written = []
    for start in range(0, len(images), across):
        row = images[start : start + across]
        labels = (" " * GAP).join(f"{label:^{COLUMNS}}" for label, _ in row).rstrip()
        written.append(f"{paint([_opened(encoded) for _, encoded in row])}{labels}\n")
    return "\n".join(written)


def blocks(images: Sequence[Image.Image]) -> str:
    """In 24-bit colour."""
    return _in_blocks(images, lambda rgb: f"2;{rgb[0]};{rgb[1]};{rgb[2]}")


def blocks_of_256(images: Sequence[Image.Image]) -> str:
    """In the 6 x 6 x 6 colours that terminals of 256 colours have."""

    def code(rgb: tuple[int, int, int]) -> str:
        red, green, blue = (round(value / 51) for value in rgb)
        return f"5;{16 + 36 * red + 6 * green + blue}"

    return _in_blocks(images, code)


def kitty(images: Sequence[Image.Image]) -> str:
    """As PNG, in pieces of 4,096 characters; the cursor stays (``C=1``) and the terminal does not answer (``q=2``)."""

    def shown(image: Image.Image) -> str:
        data = _png(image)
        pieces = [data[start : start + 4096] for start in range(0, len(data), 4096)]
        opening = f"a=T,f=100,c={COLUMNS},r={LINES},C=1,q=2,"
        return "".join(
            f"\x1b_G{opening if place == 0 else ''}m={int(place + 1 < len(pieces))};{piece}\x1b\\"
            for place, piece in enumerate(pieces)
        )

    return _in_place([shown(image) for image in images])


def iterm(images: Sequence[Image.Image]) -> str:
    """As PNG; the cursor is put back where it was."""
    return _in_place(
        [
            f"\x1b7\x1b]1337;File=inline=1;width={COLUMNS};height={LINES};preserveAspectRatio=1:{_png(image)}\x07\x1b8"
            for image in images
        ]
    )


def _in_place(shown: Sequence[str]) -> str:
    """Room for a row of images is made first, so that nothing scrolls while they are drawn beside each other."""
    drawn = "".join(f"\x1b[{1 + place * (COLUMNS + GAP)}G{one}" for place, one in enumerate(shown))
    return "\n" * LINES + f"\x1b[{LINES}A{drawn}\x1b[{LINES}B\r"


def _in_blocks(images: Sequence[Image.Image], code: Callable[[tuple[int, int, int]], str]) -> str:
    grids = [_grid(image) for image in images]
    lines = []
    for line in range(LINES):
        cells = [
            "".join(_block(upper, lower, code) for upper, lower in zip(grid[2 * line], grid[2 * line + 1], strict=True))
            for grid in grids
        ]
        lines.append((" " * GAP).join(cells) + "\n")
    return "".join(lines)


def _block(upper: Colour, lower: Colour, code: Callable[[tuple[int, int, int]], str]) -> str:
    if upper is None and lower is None:
        return " "
    if upper is None or lower is None:
        return f"\x1b[38;{code(upper or lower or (0, 0, 0))}m{'▄' if upper is None else '▀'}\x1b[0m"
    return f"\x1b[38;{code(upper)};48;{code(lower)}m▀\x1b[0m"


def _grid(image: Image.Image) -> list[list[Colour]]:
    """Rows of colours, with nothing above and below, or beside, an image that is not square."""
    height, width = 2 * LINES, COLUMNS
    scale = min(width / image.width, height / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    grid: list[list[Colour]] = [[None] * width for _ in range(height)]
    for y, row in enumerate(np.asarray(small).tolist(), top):
        grid[y][left : left + size[0]] = [(red, green, blue) for red, green, blue in row]
    return grid


def _opened(encoded: bytes) -> Image.Image:
    with Image.open(io.BytesIO(encoded), formats=("WEBP", "PNG")) as image:
        return image.convert("RGB")


def _png(image: Image.Image) -> str:
    """Base64, on a transparent square: terminals would stretch anything else."""
    side = max(image.size)
    square = Image.new("RGBA", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    buffer = io.BytesIO()
    square.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")

"""Colours as a browser shows them: profiles converted to sRGB, transparency on white, 16 bits over their full range."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageCms

from ...types import BadItem

NEAR = 2
"""Levels of 255 by which a profile may differ from sRGB anywhere and is taken for it."""

_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Colour spaces of profiles, and Pillow's modes for them."""

_BROKEN = (ImageCms.PyCMSError, OSError, ValueError, TypeError, SyntaxError)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An image of mode L, RGB or CMYK as RGB; a profile that is broken or of another colour space is ignored."""
    transform = None if profile is None else _transform(profile, image.mode)
    if transform is not None:
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None
        return converted
    return image if image.mode == "RGB" else image.convert("RGB")


def in_srgb(pixels_HW3: np.ndarray, profile: bytes | None) -> np.ndarray:
    """RGB pixels converted from a profile to sRGB; the same array without one."""
    return pixels_HW3 if profile is None else np.array(to_srgb(Image.fromarray(pixels_HW3), profile))


def needs_conversion(profile: bytes | None, mode: str) -> bool:
    """Whether a profile changes an image of this mode."""
    return profile is not None and _transform(profile, mode) is not None


@functools.lru_cache(maxsize=32)  # a camera writes the same profile into every file; building one takes 1 to 50 ms
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Nothing where the profile says what is done without it: sRGB under any name, or unusable."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _SPACES.get(source.profile.xcolor_space.strip()) != mode:
            return None
        intent = ImageCms.Intent.PERCEPTUAL
        made = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", intent)
        shown = ImageCms.applyTransform(_samples(mode), made)
    except _BROKEN:
        return None
    plain = np.asarray(_samples(mode).convert("RGB")).astype(int)
    near = mode != "CMYK" and np.abs(np.asarray(shown).astype(int) - plain).max() <= NEAR
    return None if near else made


def _samples(mode: str) -> Image.Image:
    """Colours from all over the space, in one row."""
    if mode != "RGB":
        levels = np.linspace(0, 255, 32).astype(np.uint8)
        return Image.fromarray(levels[None]) if mode == "L" else Image.new(mode, (1, 1))
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3))


def from_lab(image: Image.Image) -> Image.Image:
    """CIE L*a*b* as TIFF stores it with 8 bits, under D50, as RGB."""
    converted = ImageCms.applyTransform(image, _lab())
    assert converted is not None
    return converted


@functools.cache
def _lab() -> ImageCms.ImageCmsTransform:
    lab, srgb = (ImageCms.createProfile(name) for name in ("LAB", "sRGB"))
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)


def from_float(grey_HW: np.ndarray) -> Image.Image:
    """Floating-point grey from 0, black, to 1, white; no file says what other values would be."""
    least, most = float(grey_HW.min(initial=0)), float(grey_HW.max(initial=0))
    if not (least >= 0 and most <= 1):  # also where one is not a number
        raise BadItem(
            "unsupported",
            f"its floating-point samples reach from {least:g} to {most:g}, and nothing says which is black and which "
            "is white; save it with 8 or 16 bits",
        )
    return Image.fromarray(np.round(grey_HW * 255).astype(np.uint8))


def on_white(rgba_HW4: np.ndarray) -> np.ndarray:
    """Flatten transparency on white, in integers, rounded. White, since most cut-outs are drawn for a page."""
    alpha = rgba_HW4[:, :, 3:].astype(np.uint16)
    return ((rgba_HW4[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def scaled(grey_HW: np.ndarray, bits: int = 16) -> np.ndarray:
    """Grey of more than 8 bits to 8, over the full range; Pillow's own conversion clips all above 255 to white."""
    most = (1 << bits) - 1
    if grey_HW.min(initial=0) < 0 or grey_HW.max(initial=0) > most:  # 16-bit files may open as 32-bit, mode "I"
        raise BadItem("unsupported", "32-bit grey has no fixed range; save the image with 8 or 16 bits")
    return ((grey_HW.astype(np.uint32) * 255 + most // 2) // most).astype(np.uint8)

"""What encoded bytes are, by how they begin: a suffix may be missing, wrong, or of a kind with several meanings.

Nothing heavy is imported, for folders are looked through before anything is decoded.
"""

from __future__ import annotations

READ = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIC")
"""The formats that are opened. Fewer decoders mean fewer ways for a hostile file to reach one."""

SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".webp", ".gif",
        ".bmp", ".dib", ".tif", ".tiff", ".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif",
    }
)  # fmt: skip

_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
"""Sizes of the header that follows a BMP's first 14 bytes; ``BM`` alone begins many a text."""
_BRANDS = {
    "AVIF": {b"avif", b"avis"},
    "HEIC": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"},
}
"""Brands of ISO media files (ISO/IEC 23008-12); an AVIF may call itself ``mif1`` too, and is asked for first."""

_UNREAD = (
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "a Photoshop document"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"\0\0\x01\0", "an icon (ICO)"),
    *((bytes((0, 0, kind, 0, 0, 0, 0, 0)), "TGA") for kind in (2, 3, 10, 11)),
    *((bytes((0, 1, kind, 0, 0)), "TGA") for kind in (1, 9)),
    (b"\0\0\2\0", "a mouse pointer (CUR)"),
    (b"icns", "an icon (ICNS)"),
    (b"\x0a\0\1", "PCX"),
    (b"\x0a\2\1", "PCX"),
    (b"\x0a\3\1", "PCX"),
    (b"\x0a\5\1", "PCX"),
    (b"\xb1\x68\xde\x3a", "PCX (DCX)"),
    (b"\x01\xda\0", "SGI"),
    (b"\x01\xda\1", "SGI"),
    (b"\x59\xa6\x6a\x95", "a Sun raster"),
    (b"BLP1", "a BLP texture"),
    (b"BLP2", "a BLP texture"),
    (b"FTEX", "an FTEX texture"),
    (b"/* XPM */", "XPM"),
    (b"gimp xcf", "GIMP's own format (XCF)"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"\x01\0\0\0\x58\0\0\0", "EMF"),
    (b"\x01\0\0\0\x6c\0\0\0", "EMF"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\xd0\xcf\x11\xe0", "an Office or FlashPix document"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"DDS ", "a DDS texture"),
    (b"qoif", "QOI"),
    (b"SIMPLE  =", "FITS"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip"),
    (b"version https://git-lfs", "a Git LFS pointer"),
    (b"P7 332", "a thumbnail of XV"),
    (b"Pf\n", "a Netpbm image (PFM)"),
    (b"PF\n", "a Netpbm image (PFM)"),
    *((b"P%d%c" % (kind, space), "a Netpbm image (PPM, PGM, PBM)") for kind in range(1, 8) for space in b"\n \t\r"),
)
"""What lies under the suffixes of images and is not read, for the message."""


def format_of(data: bytes) -> str | None:
    """One of :data:`READ`, or nothing."""
    for start, name in _STARTS:
        if data.startswith(start):
            return name
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    brands = _brands(data)
    return next((name for name, known in _BRANDS.items() if brands & known), None)


def unread(data: bytes) -> str:
    """Why bytes that are in no format of :data:`READ` cannot be used, in a sentence that names what they are."""
    known = unread_format(data)
    if known is None:
        return f"this is no image in {', '.join(READ)}"
    return f"this is {known}, which is not read; save it as JPEG or PNG"


def unread_format(data: bytes) -> str | None:
    """What bytes in no format of :data:`READ` are, if that is known."""
    known = next((name for start, name in _UNREAD if data.startswith(start)), None)
    opening = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if known is None and (opening.startswith(b"<svg") or b"<svg" in opening):
        known = "SVG"
    elif known is None and opening.startswith((b"<!doctype html", b"<html", b"<?xml")):
        known = "a web page"
    elif known is None and data[4:6] in (b"\x11\xaf", b"\x12\xaf"):
        known = "an animation (FLI, FLC)"
    elif known is None and opening.startswith(b"#define ") and b"_width" in opening:
        known = "XBM"
    elif known is None and data[257:262] == b"ustar":
        known = "a tar archive"
    elif known is None and data[4:8] == b"ftyp":
        known = "Canon's CR3" if data[8:12] == b"crx " else "a video"
    return known


def _brands(data: bytes) -> set[bytes]:
    """The brands of an ISO media file that are among the bytes given."""
    if data[4:8] != b"ftyp":
        return set()
    length = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return {data[8:12], *(data[place : place + 4] for place in range(16, length - 3, 4))}

"""The ways in which a client sends a file: its bytes as the body, a form's file, or a data URL."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from .problems import Refusal

_DATA_URL = re.compile(
    rb"data:[\w.+-]{0,64}(?:/[\w.+-]{1,64})?(?:;[\w-]{1,32}=[\w.+\"-]{1,64})*(;base64)?,", re.IGNORECASE
)
"""RFC 2397, up to the data."""
_BOUNDARY = re.compile(r'boundary=(?:"([^"\r\n]{1,200})"|([^\s;",]{1,200}))', re.IGNORECASE)


def sent_file(body: bytes, content_type: str) -> bytes:
    """The file in a request's body. Raises :class:`Refusal` for a form without one, and for a damaged data URL."""
    if content_type.lower().startswith("multipart/"):
        return _of_form(body, content_type)
    if body[:5].lower() == b"data:":
        return from_data_url(body.strip())
    return body


def is_data_url(text: str) -> bool:
    """True of what names its bytes itself."""
    return _DATA_URL.match(text[:512].encode("utf-8", "replace")) is not None


def from_data_url(url: bytes, field: str | None = None) -> bytes:
    """The bytes of a data URL. Raises :class:`Refusal` (422) for a damaged one."""
    head = _DATA_URL.match(url[:512])
    if head is None:
        raise Refusal(422, "this begins like a data URL and is none; write data:image/png;base64, and the data", field)
    data = url[head.end() :]
    if head[1] is None:
        return unquote_to_bytes(data)
    try:
        return base64.b64decode(unquote_to_bytes(data) if b"%" in data else data, validate=True)
    except binascii.Error:
        raise Refusal(422, "the data URL is damaged: what follows its comma is not base64", field) from None


def _of_form(body: bytes, content_type: str) -> bytes:
    """The one file of a form (RFC 7578)."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise Refusal(422, "the form's Content-Type names no boundary; let your HTTP library set it")
    parts = (b"\r\n" + body).split(b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace"), 65)[1:-1]
    files = [content for head, content in map(_part, parts) if "filename" in head]
    if len(files) != 1:
        said = "no file" if not files else f"{len(files)} files"
        raise Refusal(422, f"the form holds {said}; send one: curl -F file=@FILE")
    return files[0]


def _part(part: bytes) -> tuple[str, bytes]:
    """A part of a form: its header, in lower case, and its content."""
    head, _, content = part.partition(b"\r\n\r\n")
    return head[:4096].decode("latin-1").lower(), content

"""Parts of a file, as browsers ask for them when somebody moves within a sound or a film (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastapi.responses import Response
from starlette.datastructures import Headers

from .problems import Refusal

_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})")


def in_parts(data: bytes, media_type: str, asked: Headers, name: str, headers: Mapping[str, str]) -> Response:
    """All of ``data``, or the one range that the request's headers name; ``name`` is equal for equal data.

    A range that begins after the end is refused with 416. Several ranges at once are allowed to be ignored, and are;
    so is a range of another version of the data (``If-Range``).
    """
    tag = f'"{name}"'
    headers = {**headers, "Accept-Ranges": "bytes", "ETag": tag}
    match = _RANGE.fullmatch(asked.get("range", "").strip())
    if match is None or match[1] == match[2] == "" or asked.get("if-range", tag) != tag:
        return Response(data, media_type=media_type, headers=headers)
    total = len(data)
    first = int(match[1]) if match[1] else max(0, total - int(match[2]))
    last = int(match[2]) if match[1] and match[2] else total - 1
    if last < first < total:  # "9-5" is no range
        return Response(data, media_type=media_type, headers=headers)
    if first >= total:
        refused = Refusal(416, f"the file has {total:,} bytes").response()
        refused.headers["Content-Range"] = f"bytes */{total}"
        return refused
    last = min(last, total - 1)
    headers["Content-Range"] = f"bytes {first}-{last}/{total}"
    return Response(data[first : last + 1], 206, media_type=media_type, headers=headers)

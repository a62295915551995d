"""What a table's cell holds where a file belongs: a path, a file's bytes, either in the wrappings that people use."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

from ...types import Fault
from . import file_modalities

_DATA = re.compile(r"data:[\w.+/-]*(;[\w=.-]+)*;base64,", re.ASCII)
"""What a browser writes before a file in a text."""
_SHORTEST, _GLANCE = 64, 64
"""Characters of a text that may be a file in base64, and of those that decide whether it is one."""


def unwrap(value: Any) -> Any:
    """A path or bytes: of Hugging Face's ``{"bytes": ..., "path": ...}``, of base64, and of a list of one.

    A list of several paths is a fault: nobody says which of them is meant.
    """
    if isinstance(value, Mapping) and {"bytes", "path"} >= set(value):
        return unwrap(value.get("bytes") or value.get("path"))
    if isinstance(value, list) and value and all(isinstance(one, str | Mapping) for one in value):
        several = f"the row names {len(value)} files at once; write a row for each"
        return unwrap(value[0]) if len(value) == 1 else Fault("several files", several)
    if isinstance(value, str) and len(value) >= _SHORTEST:
        found = _from_base64(value)
        return value if found is None else found
    return value


def _from_base64(text: str) -> bytes | None:
    """The file in a text; nothing where there is none."""
    stated = _DATA.match(text)
    packed = text[stated.end() :] if stated else text
    try:
        beginning = base64.b64decode(packed[:_GLANCE], validate=True)
        if not any(one.recognises(beginning) for one in file_modalities()):
            return None
        return base64.b64decode("".join(packed.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def as_text(value: Any) -> str:
    """A value of another column, to be shown: texts as they are, nothing as nothing, the rest as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)

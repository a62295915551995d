"""Items that clients send: recognised by their first bytes, decoded within bounds, kept in memory only."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..modalities import PREVIEW_SIZES, Modality, Preview, modality
from ..runtime import return_freed_memory
from ..types import BadItem, attempted
from .problems import Refusal
from .recent import Recent

STATUS = {"unsupported": 415, "bomb": 413, "too long": 413}
"""HTTP status by the kind of a bad item; 422 for all others."""
TIDY = 0.5
"""Seconds after an upload until memory is given back."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An item as its encoder's processor reads it; ``width`` and ``height`` are those of what its preview shows."""

    name: str
    modality: str
    raw: Any
    preview: bytes | None
    width: int
    height: int


def read(data: bytes, modalities: Sequence[str]) -> Upload:
    """Decode what was sent as an item of one of these modalities.

    Raises :class:`Refusal`: 415 for a format that is not read here, 413 for too large an item, 422 for a damaged one.
    """
    if not data:
        raise Refusal(422, f"the request has no body; send the bytes of {accepted(modalities)} as the body")
    chosen, recognised = _modality_of(data, modalities)
    made = attempted(lambda sent: _decoded(chosen, sent), data)
    if isinstance(made, BadItem):
        raise _refusal(made, chosen, recognised) from made
    raw, preview = made
    name = hashlib.blake2b(data, digest_size=16).hexdigest()
    if preview is None:
        return Upload(name, chosen.name, raw, None, 0, 0)
    return Upload(name, chosen.name, raw, preview.webp[max(PREVIEW_SIZES)], preview.width, preview.height)


def _decoded(chosen: Modality, data: bytes) -> tuple[Any, Preview | None]:
    raw = chosen.read_upload(data)
    return raw, chosen.preview(raw)


def _refusal(error: BadItem, chosen: Modality, recognised: bool) -> Refusal:
    """A bad item as the client is to understand it."""
    status = STATUS.get(error.kind, 422) if recognised else 415
    if status == 422:
        return Refusal(422, f"the {chosen.noun} cannot be read: {error.reason}")
    if not recognised and error.kind != "unsupported":
        return Refusal(415, f"this is no {chosen.noun}; send {accepted([chosen.name])}")
    return Refusal(status, error.reason)


def upload_types(modalities: Sequence[str]) -> list[str]:
    """Media types that may be sent as queries to an index of these modalities."""
    return [kind for name in modalities for kind in modality(name).upload_types]


def accepted(modalities: Sequence[str]) -> str:
    """The same as people read it: ``image/jpeg, image/png or image/webp``."""
    *most, last = upload_types(modalities) or ["nothing"]
    return f"{', '.join(most)} or {last}" if most else last


def _modality_of(data: bytes, modalities: Sequence[str]) -> tuple[Modality, bool]:
    """The modality whose items begin like these bytes, and whether any does; the only one may say what it wants."""
    offered = [modality(name) for name in modalities if modality(name).upload_types]
    if not offered:
        raise Refusal(415, "this index takes texts as queries, and no files")
    for one in offered:
        if one.recognises(data):
            return one, True
    if len(offered) > 1:
        raise Refusal(415, f"this is no file that can be read here; send {accepted(modalities)}")
    return offered[0], False


class Uploads:
    """The items that were sent last, by their hash."""

    def __init__(self, most: int) -> None:
        self._kept: Recent[str, Upload] = Recent(most)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, upload: Upload) -> None:
        """Remember one."""
        self._kept.put(upload.name, upload)

    def get(self, name: str) -> Upload:
        """Raises :class:`Refusal` (404) for one that is not remembered any more."""
        upload = self._kept.get(name)
        if upload is None:
            raise Refusal(404, "this upload is not remembered any more; send it again", "upload")
        return upload

    def preview(self, name: str) -> bytes:
        """WebP of at most 256 pixels a side."""
        preview = self.get(name).preview
        if preview is None:
            raise Refusal(404, "this upload has no preview")
        return preview


class Tidying:
    """Gives memory back a moment after uploads: what decoding and the requests took, the C library would keep."""

    def __init__(self) -> None:
        self._planned = False

    def soon(self) -> None:
        """Once for all uploads of a moment; within a running event loop."""
        if not self._planned:
            self._planned = True
            loop = asyncio.get_running_loop()
            loop.call_later(TIDY, lambda: loop.run_in_executor(None, self._tidy))

    def _tidy(self) -> None:
        self._planned = False
        return_freed_memory()

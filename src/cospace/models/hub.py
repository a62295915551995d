"""Files of a repository on the Hugging Face hub: from the connection, or from what was fetched earlier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..types import UserError
from .libraries import first_line

WANTED = ("*.json", "*.safetensors", "*.txt", "*.gz", "README.md")
"""Files of a repository that may be needed; its README says the licence."""

PICKLES = ("pytorch_model*.bin", "open_clip_pytorch_model.bin", "*/pytorch_model.bin")
"""Files of weights that are asked for only where there are no safetensors."""


class NotFetched(UserError):
    """A repository that neither the connection nor the cache gives; ``reason`` is why, in a few words."""

    def __init__(self, name: str, reason: str, advice: str) -> None:
        super().__init__(f"hf:{name} cannot be fetched ({reason}); {advice}")
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[0])


def repository(name: str) -> Path:
    """The folder of ``OWNER/NAME``, fetched, or kept by the hub's library from an earlier time.

    Raises :class:`NotFetched`; without a connection at once, and not after minutes.
    """
    folder = _snapshot(name, WANTED)
    if not any(folder.glob("*.safetensors")):
        folder = _snapshot(name, (*WANTED, *PICKLES))
    return folder


def _snapshot(name: str, patterns: Sequence[str]) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise UserError("models on the hub need one more library; pip install 'cospace[pretrained]'") from error
    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except LocalEntryNotFoundError as error:
        reason = f"{first_line(error).removeprefix('Got: ').rstrip('.')}, and it was not fetched before"
        advice = "without a connection, copy its files from another machine and give their folder"
        raise NotFetched(name, reason, advice) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise NotFetched(name, first_line(error).rstrip("."), "check the name and the connection") from error

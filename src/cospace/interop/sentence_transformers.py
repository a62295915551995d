"""What sentence-transformers' files beside a text model say: the length of texts, the pooling and what follows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from ..models.encoders.transformers_text import Activation, Dense, Pooling
from ..reading import read_json, read_object, understood
from ..types import UserError
from .vocabulary import longest_in
from .weights import weights_in

MODULES, POOLING, SETTINGS = "modules.json", "1_Pooling", "sentence_bert_config.json"

MODES: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
"""Older names of the kinds of pooling, each a switch of its own."""

ACTIVATIONS: dict[str, Activation] = {"Identity": "identity", "Tanh": "tanh", "ReLU": "relu", "GELU": "gelu"}
"""Classes of torch that may follow a linear map."""


@dataclass(frozen=True, slots=True)
class TextModules:
    """What stands behind a text model: a pooling, and linear maps with their weights."""

    pooling: Pooling
    dense: tuple[Dense, ...] = ()
    tensors: tuple[Mapping[str, Tensor], ...] = ()


def modules_in(folder: Path, default: Pooling = "mean") -> TextModules:
    """The modules of a folder; ``default`` is the pooling where nobody says one.

    Raises :class:`UserError` for a module that would change vectors and is not known here.
    """
    listed = _listed(folder)
    pooling, dense, tensors, normalized = default, [], [], False
    for kind, place in listed:
        if kind == "Pooling":
            pooling = pooling_in(place)
        elif kind == "Dense":
            with understood(place / "config.json"):
                settings, weights = _dense(place, normalized)
            dense.append(settings)
            tensors.append(weights)
        elif kind not in ("Transformer", "Normalize"):
            raise UserError(f"{folder / MODULES} puts {kind} behind the model; Pooling, Dense and Normalize are read")
        normalized = kind == "Normalize"
    return TextModules(pooling, tuple(dense), tuple(tensors))


def _listed(folder: Path) -> list[tuple[str, Path]]:
    """Kinds and folders of the modules, in their order; without a list the pooling alone, where it is there."""
    if not (folder / MODULES).is_file():
        return [("Pooling", folder / POOLING)] if (folder / POOLING / "config.json").is_file() else []
    listed = read_json(folder / MODULES)
    with understood(folder / MODULES):
        found = [(str(module["type"]).rpartition(".")[2], str(module["path"])) for module in listed]
    for _, name in found:
        if name and Path(name).name != name:
            raise UserError(f"{folder / MODULES} names {name!r}, which is no folder beside it")
    return [(kind, folder / name) for kind, name in found]


def pooling_in(folder: Path) -> Pooling:
    """The one kind of pooling that its settings ask for; several at once would be put side by side, and are refused."""
    path = folder / "config.json"
    asked = read_object(path)
    modes: list[str] = [
        MODES.get(key, key) for key, value in asked.items() if key.startswith("pooling_mode_") and value is True
    ]
    given = asked.get("pooling_mode")
    named = [given] if isinstance(given, str) else list(given) if isinstance(given, list) else modes
    known = [mode for mode in get_args(Pooling) if mode != "pooler"]
    if len(named) != 1 or named[0] not in known:
        raise UserError(f"{path} asks for the pooling {named}; one of these is read: {', '.join(known)}")
    mode: Pooling = known[known.index(named[0])]
    return mode


def _dense(folder: Path, normalized: bool) -> tuple[Dense, Mapping[str, Tensor]]:
    path = folder / "config.json"
    asked = read_object(path)
    named = str(asked.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    if named not in ACTIVATIONS:
        raise UserError(f"{path} asks for the activation {named}; known: {', '.join(ACTIVATIONS)}")
    settings = Dense(
        out_features=int(asked["out_features"]),
        bias=bool(asked.get("bias", True)),
        activation=ACTIVATIONS[named],
        normalize_before=normalized,
    )
    return settings, weights_in(folder)[1]


def longest_text(folder: Path) -> int:
    """The longest text in tokens that the files beside a model allow; as long as anything where they do not say."""
    return min(
        longest_in(folder / SETTINGS, "max_seq_length"),
        longest_in(folder / "tokenizer_config.json", "model_max_length"),
    )


def lower_case(folder: Path) -> bool:
    """Whether texts are written in lower case before they are cut into tokens."""
    path = folder / SETTINGS
    return path.is_file() and read_object(path).get("do_lower_case") is True


def prompts_in(folder: Path) -> dict[str, Any]:
    """Openings that a model's makers put before texts (E5's ``query: ``), by what they are for.

    They are not put before any text here: a text is embedded as it is given.
    """
    path = folder / "config_sentence_transformers.json"
    named = read_object(path).get("prompts") if path.is_file() else None
    return {key: text for key, text in named.items() if text} if isinstance(named, Mapping) else {}

"""Runs that version 0.1 wrote: their settings, weights, decoder and figures under the present names.

Version 0.2 renamed settings, metrics and files and left the arithmetic alone. So a converted model gives the vectors
that the old one gave: its golden vectors come along, and are computed again when it is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import files, tensors
from ..models.generation import generator
from ..models.space import FORMAT
from ..reading import parse_json, read_bytes, read_json, understood
from ..types import UserError

SETTINGS = {
    "width": "embed_dim",
    "lora": "lora_rank",
    "blend": "wise_ft_alpha",
    "tell": "tasks",
    "decoder.drop": "decoder.dropout",
    "decoder.smoothing": "decoder.label_smoothing",
    "decoder.match": "decoder.itm_fraction",
    "data.captions": "decoder.captions_per_item",
    "data.questions": "decoder.questions_per_item",
    "data.size": "data.image.size",
    "data.coarse": "data.image.progressive_resizing",
    "data.augment.shift": "data.image.augment.translate",
    "data.augment.zoom": "data.image.augment.scale",
    "data.augment.flip": "data.image.augment.hflip",
    "data.vocabulary": "data.text.vocab_size",
    "data.length": "data.text.max_length",
    "data.word_drop": "data.text.token_dropout",
    "data.bad_share": "data.max_bad_fraction",
    "training.batch": "training.batch_size",
    "training.micro": "training.micro_batch_size",
    "training.memory": "training.activation_memory_gb",
    "training.optim.rate": "training.optim.lr",
    "training.optim.matrix_rate": "training.optim.muon_lr",
    "training.optim.scale_rate": "training.optim.logit_scale_lr_mult",
    "training.optim.decoder_rate": "training.optim.decoder_lr_mult",
    "training.optim.begun_rate": "training.optim.pretrained_lr_mult",
    "training.optim.adapter_rate": "training.optim.lora_lr_mult",
    "training.optim.momentum": "training.optim.muon_momentum",
    "training.optim.fixed_norm": "training.optim.muon_fixed_norm",
    "training.optim.decay": "training.optim.weight_decay",
    "training.optim.warmup": "training.optim.warmup_steps",
}
"""Settings of ``config.json`` by their dotted paths; those of encoders and objectives have tables of their own."""

_SCALE = {"scale": "init_logit_scale", "max_scale": "max_logit_scale"}
OBJECTIVES = {
    "softmax": {**_SCALE, "smoothing": "label_smoothing", "trim": "loss_truncation"},
    "sigmoid": {**_SCALE, "bias": "init_logit_bias"},
}

_TOWER = {"hidden": "mlp_dim", "eps": "layer_norm_eps"}
_PATCH = {"patch": "patch_size"}
ENCODERS = {
    "bert": {**_TOWER, "pool": "pooling", "space": "projection_dim"},
    "clip_resnet": {"space": "projection_dim"},
    "clip_text": _TOWER,
    "clip_vit": {**_TOWER, **_PATCH},
    "cnn": {"mixers": "transformer_blocks", "start": "stem_grid"},
    "efficientnet": {
        "wider": "width_coefficient",
        "deeper": "depth_coefficient",
        "divisor": "depth_divisor",
        "stem": "stem_channels",
        "channels": "out_channels",
        "repeats": "num_block_repeats",
        "kernels": "kernel_sizes",
        "ratios": "expand_ratios",
        "squeeze": "squeeze_expansion_ratio",
        "square": "depthwise_padding",
        "eps": "batch_norm_eps",
        "drop": "drop_connect_rate",
    },
    "siglip_text": {**_TOWER, "filler": "pad_token_id", "space": "projection_dim"},
    "siglip_vit": {**_TOWER, **_PATCH},
    "vit": {**_PATCH, "keep": "patch_dropout"},
}

VALUES: dict[str, Callable[[Any], Any]] = {
    "locked": lambda value: "none" if value == "nothing" else value,
    "tasks": lambda value: {"nothing": "none", "answer": "vqa", "both": "caption,vqa"}.get(value, value),
    "pooling": lambda value: "cls" if value == "first" else value,
    "patch_dropout": lambda value: 1 - value,
}
"""Settings, by their present names, whose values are written in another way."""

DECODER = {path.removeprefix("decoder."): SETTINGS[path].removeprefix("decoder.") for path in SETTINGS if
           path.startswith("decoder.")}  # fmt: skip

TASKS = {"caption": "caption", "answer": "vqa", "match": "itm"}

WEIGHTS = {
    "cnn": {"mixers.": "transformer_blocks."},
    "efficientnet": {"gate_in.": "se_reduce.", "gate_out.": "se_expand."},
    "decoder": {"judge.": "itm_head."},
}
"""Parts of weights' names, by encoder."""

METRICS = {
    r"(^|/)before/": r"\1pretrained/",
    r"^blend/share$": "wise_ft/alpha",
    r"^blend/": "wise_ft/",
    r"^caption/nearest/": "caption/retrieval_baseline/",
    r"^caption/commonest/": "caption/most_frequent_baseline/",
    r"^(caption/(?:.+/)?)true$": r"\1accuracy",
}
"""Patterns of metrics' names."""

ROWS = {"scale": "logit_scale", "bias": "logit_bias", "loss/answer": "loss/vqa", "loss/match": "loss/itm"}
"""Columns of the log beside the metrics."""

PROBLEMS = {"missing picture": "missing file"}
"""Kinds of rows that were set aside."""

LEFT_OUT = ("groups", "side", "names_sides")
"""Facts about the data that are recorded no longer."""

FIGURES = ("metrics.json", "intervals.json")
FACTS = ("run.json", "config.json", *FIGURES, "reliability.json")
"""Files of a run beside its model; a published model that was imported has the first alone."""


@dataclass(frozen=True, slots=True)
class OldRun:
    """A run of version 0.1 under the present names.

    ``model`` holds the files of the model's folder, ``facts`` those beside it as JSON data, ``log`` the rows of
    ``metrics.jsonl``; ``copied`` says that the model's folder has a copy of the facts.
    """

    model: Mapping[str, files.Content]
    facts: dict[str, Any]
    log: list[dict[str, Any]]
    report: bytes | None
    copied: bool
    golden: Mapping[str, Tensor]


def model_folder(folder: Path) -> Path:
    """The folder of the model in a run's folder, or the folder itself."""
    return folder / "model" if (folder / "model").is_dir() else folder


def is_run(folder: Path) -> bool:
    """Whether a folder is a run, of this version or of another."""
    return (model_folder(folder) / "space.json").is_file()


def read(folder: Path) -> OldRun:
    """Read and rename everything in a run's folder; files whose hashes are wrong are a :class:`UserError`."""
    inner = model_folder(folder)
    files.settle(inner)
    files.verify(inner)
    settings = read_json(inner / "space.json")
    if settings.get("format") != FORMAT - 1:
        raise UserError(f"{folder} is no run of version 0.1, so there is nothing to convert; use it as it is")
    report = folder / "report.html"
    golden = tensors.read(inner / "golden.safetensors")
    with understood(folder):
        return OldRun(
            model={**_space(inner, settings, golden), **_decoder(inner / generator.OLD_FOLDER)},
            facts=dict(_facts(folder, inner)),
            log=[_row(row) for row in _lines(folder / "metrics.jsonl")],
            report=read_bytes(report) if report.is_file() else None,
            copied=(inner / "run").is_dir(),
            golden=golden,
        )


def _space(inner: Path, settings: Mapping[str, Any], golden: Mapping[str, Tensor]) -> dict[str, files.Content]:
    encoders = {modality: part(data, ENCODERS, inner) for modality, data in settings["encoders"].items()}
    tables = {f"encoders.{modality}.": WEIGHTS.get(data["name"], {}) for modality, data in encoders.items()}
    weights = {_weight(name, tables): tensor for name, tensor in tensors.read(inner / "weights.safetensors").items()}
    return {
        "space.json": files.as_json({**settings, "format": FORMAT, "encoders": encoders}),
        "weights.safetensors": tensors.writer(weights),
        "golden.safetensors": tensors.writer(golden),
        **{f"{modality}.json": read_bytes(inner / f"{modality}.json") for modality in encoders},
    }


def _decoder(folder: Path) -> dict[str, files.Content]:
    if not folder.is_dir():
        return {}
    settings = read_json(folder / "fusion.json")
    if settings.get("format") != generator.FORMAT - 1:
        raise UserError(f"{folder} was written in format {settings.get('format')}, which cannot be converted")
    decoder = {"modality": "image", **_renamed(settings["decoder"], DECODER)}
    tasks = [TASKS[name] for name in settings["lessons"]]
    weights = tensors.read(folder / "decoder.safetensors")
    renamed = {_weight(name, {"": WEIGHTS["decoder"]}): tensor for name, tensor in weights.items()}
    own: dict[str, files.Content] = {
        "decoder.json": files.as_json({"format": generator.FORMAT, "tasks": tasks, "decoder": decoder}),
        "decoder.safetensors": tensors.writer(renamed),
        **{name: read_bytes(folder / name) for name in ("tokenizer.json", "prior.json")},
    }
    return {f"{generator.FOLDER}/{name}": content for name, content in own.items()}


def _facts(folder: Path, inner: Path) -> Iterator[tuple[str, Any]]:
    """The files beside a model, or the copies inside it."""
    for name in FACTS:
        path = next((path for path in (folder / name, inner / "run" / name) if path.is_file()), None)
        if path is None:
            continue
        data = read_json(path)
        if name == "config.json":
            data = config(data, path)
        elif name in FIGURES:
            data = {metric(key): value for key, value in data.items()}
        elif name == "run.json":
            data = _origin(data)
        yield name, data


def _origin(facts: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {**facts}
    if "data" in facts:
        renamed["data"] = {key: value for key, value in facts["data"].items() if key not in LEFT_OUT}
    if "set_aside" in facts:
        renamed["set_aside"] = {PROBLEMS.get(kind, kind): count for kind, count in facts["set_aside"].items()}
    return renamed


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a log; a last line that was cut short is left out."""
    if path.is_file():
        yield from (parse_json(line, path) for line in read_bytes(path).split(b"\n")[:-1] if line)


def config(data: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The settings of a run; of those that version 0.1 did not have, what it did: its decoders described images."""
    parts = {
        "encoders": {modality: part(own, ENCODERS, path) for modality, own in data.get("encoders", {}).items()},
        **({"objective": part(data["objective"], OBJECTIVES, path)} if "objective" in data else {}),
    }
    rest = {key: value for key, value in data.items() if key not in parts}
    result: dict[str, Any] = {**parts}
    for old, value in _leaves(rest):
        node, (*parents, leaf) = result, SETTINGS.get(old, old).split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = VALUES[leaf](value) if leaf in VALUES else value
    result.setdefault("decoder", {})["modality"] = "image"
    return result


def part(data: Mapping[str, Any], tables: Mapping[str, Mapping[str, str]], source: Path) -> dict[str, Any]:
    """The settings of an encoder or objective; code from outside the package is never imported here."""
    name = str(data["name"])
    if "." in name:
        raise UserError(f"{source} uses {name}, which is no part of cospace; only its own parts can be converted")
    return _renamed(data, tables.get(name, {}))


def metric(name: str) -> str:
    """The present name of a metric."""
    for pattern, replacement in METRICS.items():
        name = re.sub(pattern, replacement, name)
    return name


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    prefix = "val/"
    return {
        prefix + metric(key.removeprefix(prefix)) if key.startswith(prefix) else ROWS.get(key, key): value
        for key, value in row.items()
    }


def _renamed(data: Mapping[str, Any], table: Mapping[str, str]) -> dict[str, Any]:
    pairs = ((table.get(key, key), value) for key, value in data.items())
    return {key: VALUES[key](value) if key in VALUES else value for key, value in pairs}


def _weight(name: str, tables: Mapping[str, Mapping[str, str]]) -> str:
    for prefix, table in tables.items():
        if name.startswith(prefix):
            for old, new in table.items():
                name = re.sub(rf"(?<![a-z_]){re.escape(old)}", new, name)
    return name


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value

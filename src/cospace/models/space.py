"""The shared space: one encoder and one projection per modality, and the preparation that goes with each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from .. import files, modalities, tensors
from ..config import PartConfig, part, plain, unknown
from ..modalities import Processor
from ..prefetch import WINDOW, prefetch
from ..reading import read_object, understood
from ..runtime import Precision, compute_dtype, device, keep_freed_memory, precision
from ..trust import trusting
from ..types import BadItem, Features, PooledFeatures, UserError
from .calibration import Calibration, Relevance
from .formats import check_format, without_fetching
from .heads import HeadConfig, projection
from .precision import LowPrecisionCopy, compute_copy
from .truncation import AtWidth, truncated

FORMAT = 2
"""Version of the saved folder; a reader refuses what it does not know."""

AGREEMENT = 0.9999
"""Least cosine between stored golden vectors and the ones computed on loading; float32 on another machine keeps
six digits more than this, a swapped activation or tokenizer does not."""

CPU_CHUNK, ACCELERATOR_CHUNK = (112, 32 * 3 * 224**2), (256, 256 * 3 * 224**2)
"""Most items embedded at a time and most numbers in them (images of 224 px): what a layer makes of more leaves a CPU's
cache, and products of fewer than about 1,200 rows use one of its cores only."""

ENCODERS = "models.encoders"
"""Where encoders are registered."""

T = TypeVar("T")
Progress = Callable[[int, int], None]


class Space(nn.Module):
    """Maps raw items of any of its modalities to vectors of one width ``E``; pairs land close to each other.

    Parts arrive built: ``encoders`` and ``processors`` by modality. ``configs`` are kept to save the space with.
    ``widths`` are those of shorter vectors that it was trained for (Matryoshka), with what is known of cosines there.
    ``precision`` is the number format that items are embedded in; of a published model it is float32, since people
    compare its vectors with those of its own library.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        configs: Mapping[str, PartConfig],
        processors: Mapping[str, Processor],
        width: int,
        heads: Mapping[str, HeadConfig] | None = None,
    ) -> None:
        super().__init__()
        self.width, self.heads = width, dict(heads or {})
        self.encoders = nn.ModuleDict(encoders)
        made = {name: projection(encoder, width, self.heads.get(name)) for name, encoder in encoders.items()}
        self.projections = nn.ModuleDict(made)
        self.configs, self.processors = dict(configs), dict(processors)
        self.calibration: Calibration | None = None
        self.relevance = Relevance()
        self.widths: dict[int, AtWidth] = {}
        self.truncated_from: int | None = None
        self.precision: Precision = "auto"
        self.fingerprint: str | None = None
        self.low_precision: LowPrecisionCopy | None = None

    @classmethod
    def build(
        cls,
        configs: Mapping[str, PartConfig],
        processors: Mapping[str, Processor],
        width: int,
        heads: Mapping[str, HeadConfig] | None = None,
    ) -> Space:
        """A fresh space: every encoder is built for what its processor gives."""
        encoders = {name: config.build(processors[name].spec) for name, config in configs.items()}  # type: ignore[attr-defined]
        return cls(encoders, configs, processors, width, heads)

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities that this space embeds."""
        return list(self.encoders)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next((weight.device for weight in _weights(self)), torch.device("cpu"))

    def truncated(self, dimensions: int) -> Space:
        """The same space with vectors of their first ``dimensions`` numbers, at unit length again; weights are shared.

        It has probabilities where it was trained for this width. Raises :class:`UserError` for more numbers than there
        are, and for fewer than :data:`~cospace.types.SHORTEST`.
        """
        return truncated(self, dimensions)

    @property
    def identity(self) -> str:
        """What its vectors depend on: the fingerprint and, where they are cut, how many numbers they have."""
        cut = self.truncated_from not in (None, self.width)
        return f"{self.fingerprint}/{self.width}" if cut else str(self.fingerprint)

    def encode(self, modality: str, inputs: Any) -> Tensor:
        """Batch of prepared inputs to float32 ``(B, E)``, not normalised; differentiable."""
        return self.project(modality, self.features(modality, inputs))

    def features(self, modality: str, inputs: Any) -> Features:
        """What the encoder makes of a batch of prepared inputs, in its own number format; or made of them before."""
        if isinstance(inputs, PooledFeatures):
            return inputs.features()
        encoder = self.encoders[modality]
        if isinstance(inputs, Tensor):
            inputs = inputs.to(dtype_of(encoder))
        features: Features = encoder(inputs)
        return features

    def project(self, modality: str, features: Features) -> Tensor:
        """From features into the shared space: float32 ``(B, E)``."""
        projected: Tensor = self.projections[modality](features.pooled_BD.float())
        return projected

    def embed(self, *, progress: Progress | None = None, **items: Sequence[Any]) -> np.ndarray:
        """Unit vectors ``(n, E)``, float32, of the items of one modality: ``embed(text=["a red bus"])``.

        Items of files may be paths, encoded bytes or decoded arrays, images also PIL's. Raises :class:`UserError`
        naming the first item that cannot be read.
        """
        if len(items) != 1:
            raise UserError(f"embed takes one modality at a time, e.g. embed(text=[...]); {len(items)} were given")
        ((modality, raws),) = items.items()
        processor = self._processor(modality)
        if isinstance(raws, str | bytes):
            raise UserError(f"embed({modality}=...) takes a list; write embed({modality}=[...])")
        vectors = list(self.embed_prepared(modality, _prepared(processor, raws), progress, len(raws)))
        return np.concatenate(vectors) if vectors else np.zeros((0, self.width), np.float32)

    def embed_prepared(
        self, modality: str, prepared: Iterator[Tensor], progress: Progress | None = None, total: int = 0
    ) -> Iterator[np.ndarray]:
        """Unit vectors ``(at most WINDOW, E)`` in the given order; the model runs in the machine's fast format."""
        for rows in self.encode_prepared(modality, prepared, progress, total):
            yield normalize(torch.from_numpy(rows), dim=-1).numpy()

    def encode_prepared(
        self, modality: str, prepared: Iterator[Tensor], progress: Progress | None = None, total: int = 0
    ) -> Iterator[np.ndarray]:
        """The same vectors as the objective sees them, not normalised."""

        def encoded(tower: Space, inputs: Any) -> Tensor:
            return tower.encode(modality, inputs)[:, : self.width]

        return self._through(encoded, modality, prepared, progress, total)

    def pooled_prepared(
        self, modality: str, prepared: Iterator[Tensor], progress: Progress | None = None, total: int = 0
    ) -> Iterator[np.ndarray]:
        """What the encoder pools of each item, ``(at most WINDOW, D)``, before it is led into the space."""

        def pooled(tower: Space, inputs: Any) -> Tensor:
            return tower.features(modality, inputs).pooled_BD.float()

        return self._through(pooled, modality, prepared, progress, total)

    def _through(
        self,
        make: Callable[[Space, Any], Tensor],
        modality: str,
        prepared: Iterator[Tensor],
        progress: Progress | None,
        total: int,
    ) -> Iterator[np.ndarray]:
        """Windows of items in order of length, chunk by chunk through the compute copy, and back in their order."""
        where = self.device
        was_training = self.training
        tower = self._fast().eval()
        processor, done = self._processor(modality), 0
        most, numbers = CPU_CHUNK if where.type == "cpu" else ACCELERATOR_CHUNK
        if where.type == "cpu":
            most = min(most, getattr(self.encoders[modality], "cpu_chunk", most))
        try:
            for window in chunks(prepared, WINDOW):
                order = np.argsort([len(item) for item in window], kind="stable")
                made: list[np.ndarray] = []
                size = max(1, min(most, numbers // max(item.numel() for item in window)))
                for chunk in np.split(order, range(size, len(order), size)):
                    inputs = _to(processor.batch([window[place] for place in chunk]), where)
                    with torch.inference_mode():
                        made.append(make(tower, inputs).cpu().numpy())
                    done += len(chunk)
                    if progress is not None:
                        progress(done, total)
                yield np.concatenate(made)[np.argsort(order)]
        finally:
            self.train(was_training)

    def score(self, **items: Sequence[Any]) -> np.ndarray:
        """``(n, m)`` probabilities that items of two modalities match, at an even prior.

        ``score(image=[...], text=[...])``. Calibrated on the run's held-out pairs; a space without calibration is a
        :class:`UserError`.
        """
        if self.calibration is None:
            raise UserError(
                "this space was saved without calibration; run `cospace eval` with pairs it was not trained on"
            )
        if len(items) != 2:
            raise UserError(
                f"score compares two modalities, e.g. score(image=[...], text=[...]); {len(items)} were given"
            )
        left_NE, right_ME = (self.embed(progress=None, **{name: raws}) for name, raws in items.items())
        cosine: np.ndarray = left_NE @ right_ME.T
        return self.calibration.probability(cosine).astype(np.float32)

    def _fast(self) -> Space:
        """The compute copy for this device, made again only where a weight has changed since the last time."""
        keep_freed_memory()
        dtype = compute_dtype(self.precision, self.device)
        if dtype == torch.float32:
            return self
        state = tuple((weight.data_ptr(), weight._version) for weight in _weights(self))
        if self.low_precision is None or self.low_precision.state != state:
            self.low_precision = LowPrecisionCopy(state, compute_copy(self, dtype))
        return self.low_precision.space

    def save(
        self, folder: Path, golden: Mapping[str, Sequence[Any]], beside: Mapping[str, files.Content] | None = None
    ) -> None:
        """Write weights, settings, preparation and golden vectors as one sealed folder, all or nothing.

        ``golden`` holds a few raw items of each modality (see ``Modality.golden``). They are prepared
        and embedded anew whenever the space is loaded, so a changed preparation is noticed like a changed network.
        Files ``beside``, in folders of their own, are sealed along but are no part of the fingerprint.
        """
        assert self.truncated_from is None, "a truncated space has the weights of a whole one"
        settings: dict[str, Any] = {
            "format": FORMAT,
            "width": self.width,
            "encoders": {name: plain(config) for name, config in self.configs.items()},
            **({"heads": {name: head.model_dump() for name, head in self.heads.items()}} if self.heads else {}),
            **({"precision": self.precision} if self.precision != "auto" else {}),
            **({"widths": {str(width): known.plain() for width, known in self.widths.items()}} if self.widths else {}),
            "calibration": None if self.calibration is None else [self.calibration.slope, self.calibration.offset],
            "relevance": self.relevance.plain(),
        }
        content: dict[str, Any] = {
            "space.json": files.as_json(settings),
            "weights.safetensors": tensors.writer(self.state_dict()),
            "golden.safetensors": tensors.writer(self._golden(golden)),
        }
        content |= {f"{name}.json": files.as_json(processor.state()) for name, processor in self.processors.items()}
        files.write_folder(folder, content | dict(beside or {}))

    @classmethod
    def load(cls, folder: Path, trust: Iterable[str] = ()) -> Space:
        """Read a saved space; every file is checked against its hash, and the golden vectors are computed again.

        Its manifest says that the files are whole, not who wrote them: an encoder that is not cospace's own is refused
        unless ``trust`` names its module, and content of another form is a :class:`UserError` with the file's name.
        """
        files.settle(folder)
        if not (folder / "space.json").is_file():
            raise UserError(
                f"{folder} holds no trained space (space.json is missing); give the folder of a finished run"
            )
        files.verify(folder)
        space = cls._described(folder, trust)
        space._restore(tensors.read(folder / "weights.safetensors"), folder)
        space.eval()
        golden = folder / "golden.safetensors"
        stored = tensors.read(golden)
        with understood(golden):
            space._check_golden(stored, folder)
        own = [name for name in files.read_manifest(folder) if "/" not in name]
        space.fingerprint = files.fingerprint(folder, own)
        return space.to(device())

    @classmethod
    def _described(cls, folder: Path, trust: Iterable[str]) -> Space:
        """The space that the settings in a folder describe, its weights still random."""
        settings = read_object(folder / "space.json")
        check_format(settings, FORMAT, folder)
        with understood(folder / "space.json"), trusting(trust):
            configs = {name: without_fetching(part(ENCODERS, data)) for name, data in settings["encoders"].items()}
            kinds = {name: modalities.modality(name).processor_class() for name in configs}
        processors: dict[str, Processor] = {}
        for name, kind in kinds.items():
            state = read_object(folder / f"{name}.json")
            with understood(folder / f"{name}.json"):
                processors[name] = kind.from_state(state)
        with understood(folder / "space.json"), tensors.no_more_than(folder / "weights.safetensors"):
            heads = {name: HeadConfig(**data) for name, data in settings.get("heads", {}).items()}
            space = cls.build(configs, processors, int(settings["width"]), heads)
            if settings["calibration"] is not None:
                space.calibration = Calibration(*map(float, settings["calibration"]))
            space.relevance = Relevance.from_plain(settings.get("relevance", {}))
            space.precision = precision(settings.get("precision", "auto"))
            space.widths = {
                int(width): AtWidth.from_plain(known) for width, known in settings.get("widths", {}).items()
            }
        return space

    def _processor(self, modality: str) -> Processor:
        if modality not in self.processors:
            raise UserError(unknown(modality, self.processors, "this space has no modality"))
        return self.processors[modality]

    def _restore(self, weights: dict[str, Tensor], folder: Path) -> None:
        try:
            self.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(
                f"the weights in {folder} do not fit its settings; load it with the version of cospace that wrote it"
            ) from error

    def _golden(self, golden: Mapping[str, Sequence[Any]]) -> dict[str, Tensor]:
        """Raw items and their float32 vectors, by name."""
        stored: dict[str, Tensor] = {}
        for modality, raws in golden.items():
            for place, raw in enumerate(raws):
                stored[f"{modality}.{place}.raw"] = modalities.modality(modality).serialize(raw)
                stored[f"{modality}.{place}.vector"] = self._exactly(modality, raw)
        return stored

    def _exactly(self, modality: str, raw: Any) -> Tensor:
        """The unit vector ``(E,)`` of one raw item, in float32 throughout."""
        self.eval()
        processor = self._processor(modality)
        inputs = _to(processor.batch([processor.prepare(raw)]), self.device)
        with torch.inference_mode():
            return normalize(self.encode(modality, inputs)[0], dim=-1).cpu()

    def golden_differences(self, stored: Mapping[str, Tensor]) -> dict[str, float]:
        """Largest difference of any number of a stored golden vector to what is computed now, by modality."""
        largest: dict[str, float] = {}
        for modality, now_E, stored_E in self._golden_pairs(stored):
            largest[modality] = max(largest.get(modality, 0.0), float((now_E - stored_E).abs().max()))
        return largest

    def _golden_pairs(self, stored: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Every golden vector as computed now, and as stored, with its modality."""
        for key in (key for key in stored if key.endswith(".raw")):
            modality, place, _ = key.split(".")
            raw = modalities.modality(modality).deserialize(stored[key])
            yield modality, self._exactly(modality, raw), stored[f"{modality}.{place}.vector"]

    def _check_golden(self, stored: Mapping[str, Tensor], folder: Path) -> None:
        for modality, now_E, stored_E in self._golden_pairs(stored):
            cosine = float(now_E @ stored_E)
            if not cosine >= AGREEMENT:
                raise UserError(
                    f"{folder} does not reproduce its own golden {modality} vector (cosine {cosine:.6f}, at least "
                    f"{AGREEMENT} expected); its settings do not belong to its weights"
                )


def learns(*modules: nn.Module) -> bool:
    """Whether a parameter of some modules is trained; one without parameters never is."""
    return any(parameter.requires_grad for module in modules for parameter in module.parameters())


def dtype_of(encoder: nn.Module) -> torch.dtype:
    """The number format of an encoder's weights: parameters or, where it has none, buffers; float32 without either."""
    return next((weight.dtype for weight in _weights(encoder) if weight.is_floating_point()), torch.float32)


def _weights(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())


def _prepared(processor: Processor, raws: Sequence[Any]) -> Iterator[Tensor]:
    """Prepared items, where a broken one is the caller's mistake."""
    for number, result in enumerate(prefetch(raws, processor.prepare)):
        if isinstance(result, BadItem):
            raise UserError(f"item {number} ({_name(raws[number])}) cannot be read: {result}") from result
        yield result


def _name(raw: Any) -> str:
    return str(raw) if isinstance(raw, str | Path) else type(raw).__name__


def chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of at most ``size`` items, in order."""
    while chunk := list(islice(items, size)):
        yield chunk


def _to(inputs: Any, where: torch.device) -> Any:
    return inputs.to(where)

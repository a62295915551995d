"""The peers: OpenCLIP and sentence-transformers at a given size, with random weights, used as their manuals use them.

Run as a program it is OpenCLIP's own training program with one more model known:
``python benchmarks/peers.py MODEL.json --model MODEL --train-data ...``
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from cospace.runtime import device, has_fast_bfloat16
from towers import CONTEXT, VOCABULARY, Size, model_config

PRECISIONS = ("fp32", "amp_bf16", "bf16")
"""OpenCLIP's names for float32, autocast, and weights that are bfloat16 themselves."""


def worth_trying(precisions: Sequence[str], quick: bool) -> list[str]:
    """All of them; in a short form not those that this machine emulates, at ten times the time."""
    return [name for name in precisions if not quick or name == "fp32" or has_fast_bfloat16(device())]


def declare_operators() -> list[Any]:
    """Declare the two operators that torchvision's import looks for, where its compiled part cannot be loaded.

    A torchvision built for another torch (for CUDA, beside a CPU torch) fails on import otherwise. Boxes, which these
    operators are for, are never used here. What is returned must be kept: it takes the declaration with it.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or found.submodule_search_locations is None or hasattr(torch.ops.torchvision, "nms"):
        return []
    for compiled in Path(found.submodule_search_locations[0]).glob("_C*.so"):
        try:
            torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
        except OSError:
            continue
        return []
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return [library]


def import_peer(name: str) -> ModuleType:
    """A peer's module, e.g. ``open_clip`` or ``open_clip_train.train``."""
    declared = declare_operators()
    module = importlib.import_module(name)
    vars(module).setdefault("declared_operators", declared)  # lives as long as the module does
    return module


def write_model_config(size: Size, folder: Path) -> Path:
    """The JSON file from which OpenCLIP knows a model; its stem is the model's name.

    The name holds ``vit``, which makes OpenCLIP choose the optimizer settings that it has for transformers.
    """
    path = folder / f"vit-{size.name.lower().replace('/', '-')}.json"
    path.write_text(json.dumps(model_config(size)), encoding="utf-8")
    return path


class OpenClip:
    """OpenCLIP's towers at a size, with its own preparation of images and texts."""

    def __init__(self, size: Size, folder: Path, precision: str = "fp32") -> None:
        library = import_peer("open_clip")
        config = write_model_config(size, folder)
        library.add_model_config(config)
        self.name, self.precision = config.stem, precision
        self.model, _, self.prepare = library.create_model_and_transforms(
            self.name, precision=precision, device=device()
        )
        self.model.eval()
        self.tokenize: Callable[[Sequence[str]], Tensor] = library.get_tokenizer(self.name)
        self.input_dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def load(self, checkpoint: Path) -> None:
        """Take the weights of a checkpoint of its training program."""
        import_peer("open_clip").load_checkpoint(self.model, str(checkpoint))

    def autocast(self) -> AbstractContextManager[Any]:
        """The context its precision runs in."""
        return torch.autocast(device().type, torch.bfloat16, enabled=self.precision == "amp_bf16")

    def images(self, paths: Sequence[Path], batch: int, threads: int = 1) -> Tensor:
        """Unit vectors of image files; one thread prepares them as in its manual, or several beside each other."""
        vectors = []
        with ThreadPoolExecutor(threads) as pool, torch.inference_mode(), self.autocast():
            for start in range(0, len(paths), batch):
                chosen = paths[start : start + batch]
                prepared = list(pool.map(self.open, chosen) if threads > 1 else map(self.open, chosen))
                inputs = torch.stack(prepared).to(device(), self.input_dtype)
                vectors.append(self.model.encode_image(inputs, normalize=True).float().cpu())
        return torch.cat(vectors)

    def texts(self, texts: Sequence[str], batch: int) -> Tensor:
        """Unit vectors of texts, each padded to the whole context."""
        vectors = []
        with torch.inference_mode(), self.autocast():
            for start in range(0, len(texts), batch):
                ids = self.tokenize(texts[start : start + batch]).to(device())
                vectors.append(self.model.encode_text(ids, normalize=True).float().cpu())
        return torch.cat(vectors)

    def lengths(self, texts: Sequence[str]) -> Tensor:
        """Tokens of each text, begin and end included, before they are padded."""
        return (self.tokenize(texts) != 0).sum(1)

    def open(self, path: Path) -> Tensor:
        """One image file as the model takes it."""
        prepared: Tensor = self.prepare(Image.open(path))
        return prepared


class SentenceTransformer:
    """sentence-transformers around transformers' CLIP at a size; it sorts texts by length and pads to the longest."""

    def __init__(self, size: Size, folder: Path, precision: str = "fp32") -> None:
        library = import_peer("sentence_transformers")
        where = folder / "sentence-transformers"
        if not where.exists():
            save_clip(size, where)
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        self.model = library.SentenceTransformer(str(where), device=device().type, model_kwargs={"torch_dtype": dtype})

    def images(self, paths: Sequence[Path], batch: int) -> Tensor:
        """Unit vectors of image files."""
        return self._encode([Image.open(path) for path in paths], batch)

    def texts(self, texts: Sequence[str], batch: int) -> Tensor:
        """Unit vectors of texts."""
        return self._encode(list(texts), batch)

    def _encode(self, items: list[Any], batch: int) -> Tensor:
        encoded: Tensor = self.model.encode(
            items, batch_size=batch, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False
        )
        return encoded


def save_clip(size: Size, folder: Path) -> None:
    """A CLIP of transformers with random weights, with OpenCLIP's vocabulary, as a folder that can be loaded."""
    library, simple = import_peer("transformers"), import_peer("open_clip").SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): place for token, place in simple.encoder.items()}
    tokenizer = library.CLIPTokenizer(vocab=vocabulary, merges=list(simple.bpe_ranks), model_max_length=CONTEXT)
    images = library.CLIPImageProcessorPil(
        size={"shortest_edge": size.pixels}, crop_size={"height": size.pixels, "width": size.pixels}
    )
    tower = "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"

    def shape(width: int, depth: int) -> dict[str, int]:
        return dict(zip(tower, (width, depth, width // 64, 4 * width), strict=True))

    config = library.CLIPConfig(
        projection_dim=size.space,
        vision_config={**shape(*size.image), "image_size": size.pixels, "patch_size": size.patch},
        text_config={
            **shape(*size.text), "vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT,
            "bos_token_id": simple.sot_token_id, "eos_token_id": simple.eot_token_id,
        },
    )  # fmt: skip
    library.CLIPModel(config).save_pretrained(folder)
    library.CLIPProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)


def train(config: Path, arguments: Sequence[str]) -> int:
    """OpenCLIP's own training program, knowing the model of ``config`` as well; its exit code."""
    import_peer("open_clip").add_model_config(config)
    return import_peer("open_clip_train.main").main(list(arguments)) or 0


if __name__ == "__main__":
    sys.exit(train(Path(sys.argv[1]), sys.argv[2:]))

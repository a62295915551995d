"""Small towers of one modality with random weights, written by the libraries that publish such towers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import published
import torch

from peers import import_peer

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
IMAGES = {**SMALL, "image_size": 32, "patch_size": 8}
GRIDS = {"depths": [1, 1], "hidden_sizes": [16, 24]}
SQUARE = {"height": 32, "width": 32}


def timm_model(name: str = "test_efficientnet", **settings: Any) -> Any:
    """A model of timm with a classifier of 5 classes and every weight random."""
    return published.shaken(import_peer("timm").create_model(name, num_classes=5, **settings))


def timm_folder(folder: Path, name: str = "test_efficientnet", **settings: Any) -> Path:
    """As timm writes it for the hub."""
    made = timm_model(name, **settings)
    import_peer("timm").models.save_for_hf(made, folder, model_args=settings or None, safe_serialization=True)
    return folder


def timm_vit(folder: Path) -> Path:
    """A transformer of another size than timm's own, as a folder keeps it in ``model_args``."""
    return timm_folder(folder, "test_vit", img_size=96)


def vision(kind: str, config: dict[str, Any], processor: str, **preparation: Any) -> Callable[[Path], Path]:
    """An image backbone of transformers with the preparation that its makers publish it with."""

    def write(folder: Path) -> Path:
        library = import_peer("transformers")
        model = library.AutoModel.from_config(library.AutoConfig.for_model(kind, **config))
        published.shaken(model).save_pretrained(folder)
        getattr(library, f"{processor}Pil")(**preparation).save_pretrained(folder)
        return folder

    return write


def classifier(folder: Path) -> Path:
    """A ViT with a classifier on its first token, and so without a pooler."""
    library = import_peer("transformers")
    published.shaken(library.ViTForImageClassification(library.ViTConfig(**IMAGES))).save_pretrained(folder)
    library.ViTImageProcessorPil(size=SQUARE).save_pretrained(folder)
    return folder


def roberta_like(kind: str, pooler: bool = True) -> Callable[[Path], Path]:
    """RoBERTa, XLM-R or MPNet, whose padding has the id 1 and whose positions begin behind it."""

    def write(folder: Path) -> Path:
        library = import_peer("transformers")
        tokenizer = WORDS[kind](library)
        tokenizer.save_pretrained(folder)
        config = library.AutoConfig.for_model(
            kind, vocab_size=len(tokenizer), max_position_embeddings=34, pad_token_id=1, **SMALL
        )
        settings = {} if pooler else {"add_pooling_layer": False}
        published.shaken(library.AutoModel.from_config(config, **settings)).save_pretrained(folder)
        return folder

    return write


def _letters() -> list[str]:
    return sorted({letter for text in published.WORDS for letter in text.lower() if letter != " "})


def sentence_pieces(library: Any) -> Any:
    """A Unigram vocabulary as XLM-R has it."""
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = sorted({word for text in published.WORDS for word in text.split()})
    pieces = [("▁", -2.0), *((f"▁{word}", -3.0) for word in words), *((letter, -4.0) for letter in _letters())]
    return library.XLMRobertaTokenizer(vocab=[*special, *pieces, ("<mask>", 0.0)], model_max_length=published.LENGTH)


def word_pieces(library: Any) -> Any:
    """A WordPiece vocabulary with RoBERTa's special tokens, as MPNet has it."""
    special = ["<s>", "<pad>", "</s>", "[UNK]"]
    entries = [*special, *_letters(), *(f"##{letter}" for letter in _letters()), "photo", "cat", "red", "<mask>"]
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    return library.MPNetTokenizer(vocab=vocabulary, model_max_length=published.LENGTH)


WORDS: dict[str, Callable[[Any], Any]] = {
    "mpnet": word_pieces,
    "roberta": sentence_pieces,
    "xlm-roberta": sentence_pieces,
}


def sentence_transformer(folder: Path, mode: str = "max", normalize_before: bool = False) -> Path:
    """An XLM-R with a pooling and a linear map behind it, in sentence-transformers' layout."""
    roberta_like("xlm-roberta")(folder)
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize_before else []), "Dense", "Normalize"]
    modules = [
        {
            "idx": place,
            "path": "" if kind == "Transformer" else f"{place}_{kind}",
            "type": f"sentence_transformers.{kind}",
        }
        for place, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16, "do_lower_case": True}))
    pooling_settings(folder, mode)
    dense = folder / f"{kinds.index('Dense')}_Dense"
    dense.mkdir()
    activation = "torch.nn.modules.activation.Tanh"
    settings = {"in_features": 32, "out_features": 12, "bias": True, "activation_function": activation}
    (dense / "config.json").write_text(json.dumps(settings))
    from safetensors.torch import save_file

    dice = torch.Generator().manual_seed(3)
    weights = {"linear.weight": torch.randn(12, 32, generator=dice), "linear.bias": torch.randn(12, generator=dice)}
    save_file(weights, dense / "model.safetensors")
    prompts = {"query": "query: ", "passage": "passage: "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    return folder


def pooling_settings(folder: Path, mode: str) -> None:
    """As older versions of sentence-transformers write them: a switch for each kind of pooling."""
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    switches = {
        f"pooling_mode_{known}": known.removesuffix("_tokens").removesuffix("_token") == mode for known in modes
    }
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **switches}))


CLIP_IMAGES = {**IMAGES, "projection_dim": 24}

TOWERS: dict[str, Callable[[Path], Path]] = {
    "timm, folder": timm_folder,
    "timm, ViT of another size": timm_vit,
    "ViT": vision("vit", IMAGES, "ViTImageProcessor", size=SQUARE),
    "ViT, classifier": classifier,
    "DINOv2": vision(
        "dinov2", IMAGES, "BitImageProcessor", size={"shortest_edge": 40}, crop_size=SQUARE, do_center_crop=True
    ),
    "ResNet": vision(
        "resnet", {"embedding_size": 16, **GRIDS}, "ConvNextImageProcessor", size={"shortest_edge": 32}, crop_pct=0.875
    ),
    "ConvNeXt": vision(
        "convnext", {"num_stages": 2, **GRIDS}, "ConvNextImageProcessor", size={"shortest_edge": 32}, crop_pct=0.875
    ),
    "Swin": vision(
        "swin",
        {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4},
        "ViTImageProcessor",
        size=SQUARE,
        resample=3,
    ),
    "SigLIP, images": vision("siglip_vision_model", IMAGES, "SiglipImageProcessor", size=SQUARE),
    "CLIP, images": vision(
        "clip_vision_model", CLIP_IMAGES, "CLIPImageProcessor", size={"shortest_edge": 32}, crop_size=SQUARE
    ),
    "MPNet": roberta_like("mpnet"),
    "RoBERTa": roberta_like("roberta", pooler=False),
    "XLM-R": roberta_like("xlm-roberta"),
    "sentence-transformers": sentence_transformer,
    "sentence-transformers, normalized between": lambda folder: sentence_transformer(folder, "cls", True),
}
"""By name, what writes such a tower into an empty folder."""

TEXTS = ("MPNet", "RoBERTa", "XLM-R", "sentence-transformers", "sentence-transformers, normalized between")
"""Those of them that read texts; the others read images."""

"""Small published models with random weights, written by the libraries themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as BPE
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from cospace.interop import openclip_siglip
from peers import import_peer

WORDS = ["a photo of a cat", "two red buses at night", "don't look; it's 12:30", "seen from above, 25% off", "crêpe"]
LENGTH = 20


def save_tokenizer(folder: Path, begin: str, end: str, vocabulary: int = 400, length: int = LENGTH) -> int:
    """A byte-level tokenizer as transformers saves it; how many entries it has. Without ``begin`` texts only end."""
    bpe = BPE(models.BPE(unk_token=end))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [token for token in (begin, end) if token]
    bpe.train_from_iterator(WORDS, trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet))
    bpe.add_special_tokens(special)
    opening = f"{begin} " if begin else ""
    ids = [(token, bpe.token_to_id(token)) for token in special]
    bpe.post_processor = processors.TemplateProcessing(single=f"{opening}$A {end}", special_tokens=ids)
    fast = import_peer("transformers").PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=end,
        pad_token=end,
        model_max_length=length,
        **({"bos_token": begin} if begin else {}),
    )
    fast.save_pretrained(folder)
    return bpe.get_vocab_size()


def save_preparation(folder: Path, **changes: Any) -> None:
    """How images are prepared, as transformers writes it."""
    settings = {
        "do_resize": True, "size": {"shortest_edge": 32}, "resample": 3, "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32}, "do_normalize": True, "rescale_factor": 1 / 255,
        "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, **changes}))


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """The same with every weight random: fresh biases are zero and fresh norms one, and a swap would not show.

    Convolutions become large enough that what one image has and another lacks comes through all of them.
    """
    dice = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=dice))
        for layer in (module for module in model.modules() if isinstance(module, torch.nn.Conv2d)):
            torch.nn.init.kaiming_normal_(layer.weight, generator=dice)
        for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)):
            norm.running_mean.normal_(0, 0.2, generator=dice)
            norm.running_var.uniform_(0.5, 2, generator=dice)
            norm.num_batches_tracked.fill_(7)
    return model.eval()


def clip(folder: Path, activation: str = "quick_gelu", patch: int = 8) -> Path:
    """A CLIP with its tokenizer and preparation, as transformers saves it."""
    library = import_peer("transformers")
    vocabulary = save_tokenizer(folder, "<|startoftext|>", "<|endoftext|>")
    towers = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_act": activation}
    config = library.CLIPConfig(
        text_config={
            "hidden_size": 32, "intermediate_size": 64, "vocab_size": vocabulary, "max_position_embeddings": LENGTH,
            "bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, **towers,
        },
        vision_config={"hidden_size": 48, "intermediate_size": 80, "image_size": 32, "patch_size": patch, **towers},
        projection_dim=24,
    )  # fmt: skip
    shaken(library.CLIPModel(config)).save_pretrained(folder)
    save_preparation(folder)
    return folder


def siglip(folder: Path) -> Path:
    """A SigLIP, likewise."""
    library = import_peer("transformers")
    vocabulary = save_tokenizer(folder, "", "</s>")
    towers = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64}
    config = library.SiglipConfig(
        text_config={"vocab_size": vocabulary, "max_position_embeddings": LENGTH, "projection_size": 32, **towers},
        vision_config={"image_size": 32, "patch_size": 8, **towers},
    )
    shaken(library.SiglipModel(config)).save_pretrained(folder)
    square = {"height": 32, "width": 32}
    save_preparation(folder, size=square, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return folder


TRANSFORMER = {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8}
RESNET = {"image_size": 64, "layers": [1, 2, 1, 1], "width": 8, "head_width": 16, "patch_size": None}


def openclip(folder: Path, quick: bool = False, images: dict[str, Any] = TRANSFORMER) -> Path:
    """A CLIP as OpenCLIP writes it for the hub; its tokenizer is the one that OpenCLIP carries."""
    library = import_peer("open_clip")
    settings: dict[str, Any] = {
        "embed_dim": 24,
        "quick_gelu": quick,
        "vision_cfg": images,
        "text_cfg": {"context_length": LENGTH, "vocab_size": 49_408, "width": 32, "heads": 4, "layers": 2},
    }
    from safetensors.torch import save_file

    model = shaken(library.CLIP(**settings))
    save_file(dict(model.state_dict()), folder / "open_clip_model.safetensors")
    preparation = {
        "mean": [0.48, 0.46, 0.41],
        "std": [0.27, 0.26, 0.28],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": settings, "preprocess_cfg": preparation}))
    return folder


def align(folder: Path) -> Path:
    """An ALIGN; its grids have odd sides on the way, and either kind of padding."""
    library = import_peer("transformers")
    vocabulary = save_tokenizer(folder, "[CLS]", "[SEP]")
    config = library.AlignConfig(
        text_config={
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
            "vocab_size": vocabulary, "max_position_embeddings": 32,
        },
        vision_config={
            "width_coefficient": 1.5, "depth_coefficient": 1.1, "in_channels": [32, 8, 16], "out_channels": [8, 16, 24],
            "kernel_sizes": [3, 5, 3], "strides": [1, 2, 2], "num_block_repeats": [1, 2, 1], "expand_ratios": [1, 6, 4],
            "depthwise_padding": [5], "hidden_dim": 64, "image_size": 37,
        },
        projection_dim=40,
        temperature_init_value=0.05,
    )  # fmt: skip
    shaken(library.AlignModel(config)).save_pretrained(folder)
    align_preparation(folder)
    return folder


def align_preparation(folder: Path, **changes: Any) -> Any:
    """What prepares ALIGN's images, as the published model asks for it but for the size; saved in ``folder``."""
    settings = {
        "size": {"height": 42, "width": 42}, "crop_size": {"height": 37, "width": 37}, "do_center_crop": True,
        "resample": 2, "rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False, "include_top": False,
    }  # fmt: skip
    processor = import_peer("transformers").EfficientNetImageProcessorPil(**{**settings, **changes})
    processor.save_pretrained(folder)
    return processor


def bert(folder: Path, kind: str = "Bert") -> Path:
    """A BERT or DistilBERT as sentence-transformers finds it, with longer positions than its texts may have."""
    library = import_peer("transformers")
    vocabulary = save_tokenizer(folder, "[CLS]", "[SEP]")
    sizes = {
        "Bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64},
        "DistilBert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    }[kind]
    config = getattr(library, f"{kind}Config")(vocab_size=vocabulary, max_position_embeddings=32, **sizes)
    shaken(getattr(library, f"{kind}Model")(config)).save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": LENGTH}))
    return folder


def first_token(folder: Path) -> Path:
    """Let sentence-transformers take the first token's state."""
    (folder / "1_Pooling").mkdir()
    modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **modes}))
    return folder


def openai(folder: Path, images: Any = None) -> Path:
    """The first CLIP's own table of tensors, half precision and without settings: one file."""
    from safetensors.torch import save_file

    library = import_peer("open_clip")
    vision = images or {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}
    words = {"context_length": LENGTH, "vocab_size": 49_408, "width": 64, "heads": 1, "layers": 2}
    model = shaken(library.CLIP(24, vision_cfg=vision, text_cfg=words, quick_gelu=True))
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in model.state_dict().items()
    }
    marks = {"input_resolution": vision["image_size"], "context_length": LENGTH, "vocab_size": 49_408}
    tensors |= {name: torch.tensor(value) for name, value in marks.items()}
    tensors.pop("attn_mask", None)
    save_file(tensors, folder / "ViT-tiny.safetensors")
    return folder / "ViT-tiny.safetensors"


def small_trunk() -> None:
    """Teach timm, and our table of its towers, a SigLIP of a test's size."""
    timm = import_peer("timm")

    def vit_test_patch8_siglip_32(pretrained: bool = False, **settings: Any) -> torch.nn.Module:
        own = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4, "mlp_ratio": 2.0, "img_size": 32}
        own |= {"class_token": False, "global_pool": "map", **_without_nothing(settings)}
        made: torch.nn.Module = timm.models.VisionTransformer(**own)
        return made

    if not timm.is_model("vit_test_patch8_siglip_32"):
        vit_test_patch8_siglip_32.__module__ = __name__
        timm.models.register_model(vit_test_patch8_siglip_32)
    openclip_siglip.TRUNKS["vit_test"] = (32, 2, 4, 64)


def _without_nothing(settings: dict[str, Any]) -> dict[str, Any]:
    unknown = {"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}
    return {key: value for key, value in settings.items() if value is not None and key not in unknown | {"img_size"}}


def siglip_of_openclip(folder: Path) -> Path:
    """A SigLIP as OpenCLIP writes it for the hub, with an image tower of timm's."""
    from safetensors.torch import save_file

    small_trunk()
    library = import_peer("open_clip")
    vocabulary = save_tokenizer(folder, "", "</s>")
    settings: dict[str, Any] = {
        "embed_dim": 32,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 32, "timm_model_name": "vit_test_patch8_siglip_32", "timm_model_pretrained": False,
            "timm_pool": "map", "timm_proj": "none",
        },
        "text_cfg": {
            "context_length": LENGTH, "vocab_size": vocabulary, "hf_tokenizer_name": "test",
            "tokenizer_kwargs": {"clean": "canonicalize"}, "width": 24, "heads": 4, "layers": 2,
            "no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
        },
    }  # fmt: skip
    model = shaken(library.CustomTextCLIP(**{key: value for key, value in settings.items() if key != "custom_text"}))
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    preparation = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": settings, "preprocess_cfg": preparation}))
    return folder

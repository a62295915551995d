"""The space: what comes in does not matter, what is saved comes back exactly, and what was altered is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from cospace import files, tensors
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.models import space as space_module
from cospace.models.calibration import Calibration
from cospace.models.encoders import cnn, rnn, transformer
from cospace.models.precision import compute_copy
from cospace.models.space import Space
from cospace.types import Features, UserError

CAPTIONS = ["a red bus", "two dogs on the beach", "night over the town", "an old map of the harbour"]
VOCABULARY = 280
IMAGES = [np.random.default_rng(seed).integers(0, 256, (20, 28, 3), dtype=np.uint8) for seed in range(6)]
GOLDEN = {"image": IMAGES[:2], "text": CAPTIONS[:2]}


def build(seed: int = 0, text: Any = None) -> Space:
    """A space with branches that have left zero, as after training."""
    torch.manual_seed(seed)
    configs = {"image": cnn.Config.tiny(), "text": text or transformer.Config.tiny()}
    made = Space.build(configs, {"image": ImageProcessor(size=16), "text": Tokenizer.train(CAPTIONS, VOCABULARY)}, 8)
    with torch.no_grad():
        for tensor in made.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    return made.eval()


@pytest.fixture(scope="module")
def space() -> Space:
    return build()


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embed in float32, also where bfloat16 is fast, so that vectors can be compared closely."""
    monkeypatch.setattr(space_module, "compute_dtype", lambda precision, where: torch.float32)


@pytest.fixture
def saved(space: Space, tmp_path: Path) -> Path:
    space.save(tmp_path / "model", GOLDEN)
    return tmp_path / "model"


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------ embedding


def test_an_image_is_the_same_as_path_bytes_object_and_array(space: Space, tmp_path: Path) -> None:
    pixels = IMAGES[0]
    (tmp_path / "a.png").write_bytes(png(pixels))
    forms = [tmp_path / "a.png", str(tmp_path / "a.png"), png(pixels), Image.fromarray(pixels), pixels]
    vectors = space.embed(image=forms)
    assert vectors.shape == (5, 8)
    assert vectors.dtype == np.float32
    for vector in vectors[1:]:
        np.testing.assert_array_equal(vector, vectors[0])


def test_vectors_have_length_one_and_keep_the_order(space: Space, exact: None) -> None:
    forward, backward = space.embed(image=IMAGES), space.embed(image=IMAGES[::-1])
    np.testing.assert_allclose(np.linalg.norm(forward, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(forward, backward[::-1], atol=1e-6)
    assert np.abs(forward[0] - forward[1]).max() > 1e-3, "different images must differ, or order means nothing"


def test_neither_padding_nor_chunks_change_a_vector(space: Space, exact: None, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["bus", "an old map of the harbour over the town and the beach at night", *CAPTIONS]
    together = space.embed(text=texts)
    alone = np.concatenate([space.embed(text=[text]) for text in texts])
    monkeypatch.setattr(space_module, "CPU_CHUNK", (2, 10**6))
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together, space.embed(text=texts), atol=1e-6)


@settings(max_examples=40)
@given(text=st.text(max_size=300))
def test_any_text_has_a_direction(text: str) -> None:
    vector = ANY_TEXT.embed(text=[text])
    assert np.isfinite(vector).all()
    assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5


ANY_TEXT = build(1)


def test_progress_counts_items(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_module, "CPU_CHUNK", (3, 10**6))
    seen: list[tuple[int, int]] = []
    space.embed(text=CAPTIONS, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 4), (4, 4)]


def test_nothing_in_nothing_out(space: Space) -> None:
    assert space.embed(text=[]).shape == (0, 8)


def test_embedding_leaves_training_mode_and_statistics_alone() -> None:
    made = build().train()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    made.embed(image=IMAGES)
    assert made.training
    assert all(module.training for module in made.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in made.state_dict().items())


@pytest.mark.parametrize(
    ("items", "complaint"),
    [
        ({"image": IMAGES, "text": CAPTIONS}, "one modality at a time"),
        ({}, "one modality at a time"),
        ({"text": "a red bus"}, "takes a list"),
        ({"imgae": IMAGES}, "did you mean 'image'"),
        ({"text": [3]}, "a text was expected, int was given"),
    ],
)
def test_misuse_is_explained(space: Space, items: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        space.embed(**items)


def test_the_image_that_cannot_be_read_is_named(space: Space, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(png(IMAGES[0]))
    bad.write_bytes(png(IMAGES[1])[:60])
    with pytest.raises(UserError, match=r"item 2 .*bad\.png.*cannot be read: truncated"):
        space.embed(image=[good, good, bad])
    with pytest.raises(UserError, match=r"item 0 .*none\.png.*does not exist"):
        space.embed(image=[tmp_path / "none.png"])
    with pytest.raises(UserError, match=r"item 1 \(bytes\) cannot be read"):
        space.embed(image=[IMAGES[0], b"not an image"])


def test_scores_need_a_calibration_and_are_probabilities() -> None:
    made = build()
    with pytest.raises(UserError, match="without calibration"):
        made.score(image=IMAGES, text=CAPTIONS)
    made.calibration = Calibration(8.0, -2.0)
    scores = made.score(image=IMAGES, text=CAPTIONS)
    cosines = made.embed(image=IMAGES) @ made.embed(text=CAPTIONS).T
    assert scores.shape == (6, 4)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-(8 * cosines - 2))), atol=1e-5)


class Corners(nn.Module):
    """An encoder of images without any weight: their corner pixels."""

    width = 3

    def forward(self, images_B3SS: torch.Tensor) -> Features:
        pooled_BD = images_B3SS[:, :, 0, 0]
        return Features(pooled_BD, pooled_BD[:, None], pooled_BD.new_ones(len(pooled_BD), 1, dtype=torch.bool))


class Filtered(Corners):
    """The same, weighted by a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.tensor(1))
        self.register_buffer("weight_D", torch.ones(3))

    def forward(self, images_B3SS: torch.Tensor) -> Features:
        assert images_B3SS.dtype == self.weight_D.dtype
        return super().forward(images_B3SS * self.weight_D[:, None, None])


@pytest.mark.parametrize("kind", [Corners, Filtered])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("in_space", [False, True])
def test_an_encoder_without_parameters_embeds(
    kind: type[Corners], dtype: torch.dtype, in_space: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space_module, "compute_dtype", lambda precision, where: dtype)
    encoder = kind()
    encoder.in_space = in_space
    made = Space({"image": encoder}, {}, {"image": ImageProcessor(size=16)}, 3)
    vectors = made.embed(image=IMAGES)
    assert vectors.shape == (len(IMAGES), 3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2)


# ------------------------------------------------------------------------------------------------ the compute copy


def test_a_compute_copy_shares_what_must_stay_exact() -> None:
    made = build()
    made.encoders["image"].theirs = nn.BatchNorm2d(3)  # as an encoder from outside the package may have
    low_precision = compute_copy(made, torch.bfloat16)
    assert compute_copy(made, torch.float32) is made
    assert low_precision.projections is made.projections
    assert low_precision.processors is made.processors
    exact = {name: m for name, m in made.named_modules() if isinstance(m, nn.BatchNorm2d | nn.Embedding)}
    assert list(exact) == ["encoders.image.theirs", "encoders.text.embed", "encoders.text.positions"]
    assert all(low_precision.get_submodule(name) is module for name, module in exact.items())
    shared = {id(parameter) for name in exact for parameter in exact[name].parameters()}
    copied = [p for p in low_precision.encoders.parameters() if id(p) not in shared]
    assert copied
    assert {p.dtype for p in copied} == {torch.bfloat16}
    assert {p.dtype for p in made.parameters()} == {torch.float32}
    assert not {id(p) for p in copied} & {id(p) for p in made.parameters()}


# ------------------------------------------------------------------------------------------------ saving and loading


@pytest.mark.parametrize("text", [transformer.Config.tiny(), rnn.Config.tiny()], ids=["transformer", "rnn"])
def test_saved_and_loaded_is_bit_equal(tmp_path: Path, text: Any) -> None:
    made = build(text=text)
    made.calibration = Calibration(3.25, -1.5)
    made.save(tmp_path / "model", GOLDEN)
    again = Space.load(tmp_path / "model")
    assert again.calibration == made.calibration
    assert again.modalities == ["image", "text"]
    assert again.fingerprint == files.fingerprint(tmp_path / "model")
    assert not again.training
    state = again.state_dict()
    assert state.keys() == made.state_dict().keys()
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    np.testing.assert_array_equal(made.embed(image=IMAGES), again.embed(image=IMAGES))
    np.testing.assert_array_equal(made.embed(text=CAPTIONS), again.embed(text=CAPTIONS))


def test_the_same_space_has_the_same_fingerprint_wherever_it_lies(space: Space, tmp_path: Path) -> None:
    prints = set()
    for name in ("one", "two"):
        space.save(tmp_path / name, GOLDEN)
        prints.add(Space.load(tmp_path / name).fingerprint)
    build(7).save(tmp_path / "three", GOLDEN)
    assert len(prints) == 1
    assert Space.load(tmp_path / "three").fingerprint not in prints


def test_a_flipped_bit_anywhere_is_refused_with_the_file_named(saved: Path) -> None:
    dice = np.random.default_rng(0)
    whole = sorted(path for path in saved.iterdir() if path.is_file())
    assert {path.name for path in whole} >= {"space.json", "weights.safetensors", "text.json", "MANIFEST.json"}
    for path in whole:
        original = path.read_bytes()
        for place in {0, len(original) - 2, *dice.integers(0, len(original), 4).tolist()}:
            data = bytearray(original)
            data[place] ^= 1 << int(dice.integers(8))
            path.write_bytes(bytes(data))
            with pytest.raises(UserError, match=path.name):
                Space.load(saved)
        path.write_bytes(original)
    Space.load(saved)


@pytest.mark.parametrize("name", ["weights.safetensors", "golden.safetensors", "image.json", "MANIFEST.json"])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(UserError, match=name):
        Space.load(saved)


def edit_json(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def alter(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        change(data)
        (folder / name).write_text(json.dumps(data))

    return alter


def swap_tokenizer(folder: Path) -> None:
    """Another tokenizer of the same size: every shape fits, every word means something else."""
    other = Tokenizer.train([caption[::-1] for caption in CAPTIONS], VOCABULARY)
    ours = Tokenizer.from_state(json.loads((folder / "text.json").read_text()))
    assert other.spec == ours.spec
    (folder / "text.json").write_text(json.dumps(other.state()))


def swap_weights(folder: Path) -> None:
    tensors.writer(build(3).state_dict())(folder / "weights.safetensors")


def nudge_a_norm(folder: Path) -> None:
    weights = load_file(folder / "weights.safetensors")
    name = next(name for name in weights if name == "encoders.image.norm.weight")
    weights[name] *= 9
    save_file(weights, folder / "weights.safetensors")


@pytest.mark.parametrize(
    ("alter", "modality"),
    [
        (edit_json("image.json", lambda data: data.update(mean=[0.48, 0.46, 0.41])), "image"),
        (edit_json("image.json", lambda data: data.update(fit="pad")), "image"),
        (edit_json("text.json", lambda data: data.update(length=4)), "do not fit|text"),
        (swap_tokenizer, "text"),
        (swap_weights, "image"),
        (nudge_a_norm, "image"),
    ],
    ids=["mean", "fit", "length", "tokenizer", "weights", "norm"],
)
def test_golden_vectors_notice_what_hashes_cannot(saved: Path, alter: Callable[[Path], None], modality: str) -> None:
    """Someone changed a file and sealed the folder anew: every hash is right, every vector is wrong."""
    alter(saved)
    files.seal(saved)
    with pytest.raises(UserError, match=modality):
        Space.load(saved)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda data: data.update(format=99), "format 99"),
        (lambda data: data["encoders"]["text"].update(name="rnn", heads=None), "no setting"),
        (lambda data: data["encoders"].update(text={"name": "rnn", "width": 16}), "do not fit its settings"),
        (lambda data: data.update(width=9), "do not fit its settings"),
    ],
    ids=["format", "setting", "encoder", "width"],
)
def test_settings_of_another_network_are_refused(
    saved: Path, change: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    edit_json("space.json", change)(saved)
    files.seal(saved)
    with pytest.raises(UserError, match=complaint):
        Space.load(saved)


def test_a_folder_without_a_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no trained space"):
        Space.load(tmp_path)


def test_loading_finishes_a_replacement_that_was_cut_short(saved: Path) -> None:
    """A process that died between the two renames of a replacement left the old folder under another name."""
    dead = 2**22 + 1  # above the largest process id
    saved.rename(saved.with_name(f"model.old-{dead}"))
    (saved.parent / f"model.tmp-{dead}").mkdir()
    assert Space.load(saved).width == 8
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_saving_over_a_space_replaces_it_whole(saved: Path) -> None:
    (saved / "stray.txt").write_text("left here")
    other = build(5)
    other.save(saved, GOLDEN)
    assert not (saved / "stray.txt").exists()
    again = Space.load(saved).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in other.state_dict().items())


# ---------------------------------------------------------------------------------------------- the kept compute copy


@pytest.fixture
def in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that is fast at bfloat16."""
    monkeypatch.setattr("cospace.models.space.compute_dtype", lambda precision, where: torch.bfloat16)


def test_the_compute_copy_is_kept_until_a_weight_changes(in_bfloat16: None) -> None:
    made = build()
    first = made.embed(text=["a red bus"])
    low_precision = made.low_precision
    assert np.array_equal(made.embed(text=["a red bus"]), first)
    assert made.low_precision is low_precision
    with torch.no_grad():
        made.encoders["text"].norm.weight.mul_(torch.rand(made.encoders["text"].width))
    assert not np.array_equal(made.embed(text=["a red bus"]), first)
    assert made.low_precision is not low_precision


def test_the_kept_copy_is_neither_saved_nor_copied(in_bfloat16: None, tmp_path: Path) -> None:
    made = build()
    names = set(made.state_dict())
    made.embed(text=["a red bus"])
    assert set(made.state_dict()) == names
    assert compute_copy(made, torch.bfloat16).low_precision is None
    assert len(list(made.parameters())) == len(list(build().parameters()))
    made.save(tmp_path / "model", GOLDEN)
    assert Space.load(tmp_path / "model").low_precision is None

"""What every encoder, objective, pair source and modality must do; a new file in their folders is tested here unasked.

An encoder of a new modality needs an entry in ``INPUTS``; a new pair source needs one in ``EXAMPLES``. Modalities have
a file of their own, ``tests/modalities/test_contract.py``.
"""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from accelerator import WHERE, Accelerator
from cospace.commands.recipes import meanings
from cospace.config import lookup, names, part, plain
from cospace.data.pairs import FOLDER as SOURCES
from cospace.data.pairs import find_source, open_pairs
from cospace.data.sources import Source
from cospace.matches import BatchMatches, Matches, modality_pairs
from cospace.modalities import is_text
from cospace.modalities.audio.processor import AudioBatch, AudioSpec
from cospace.modalities.text.tokenizer import TokenBatch
from cospace.models.precision import compute_copy
from cospace.models.space import Space
from cospace.types import Features, ImageSpec, Lazy, TextSpec

BATCH, SIDE, VOCABULARY, LENGTH, BANDS, ROOM = 6, 16, 50, 12, 10, 5
ENCODERS = "models.encoders"

encoders = pytest.mark.parametrize("name", names(ENCODERS))
objectives = pytest.mark.parametrize("name", names("objectives"))
sources = pytest.mark.parametrize("name", names(SOURCES))


# --- encoders ---------------------------------------------------------------------------------------------------------


def images() -> Tensor:
    return torch.randn(BATCH, 3, SIDE, SIDE)


def texts() -> TokenBatch:
    """Texts of 3 to ``LENGTH`` tokens."""
    lengths = torch.linspace(3, LENGTH, BATCH).long()
    mask_BT = torch.arange(LENGTH)[None, :] < lengths[:, None]
    return TokenBatch(torch.randint(3, VOCABULARY, (BATCH, LENGTH)) * mask_BT, mask_BT)


def sounds() -> AudioBatch:
    """Spectrograms of 8 to 48 frames."""
    lengths = torch.linspace(8, 48, BATCH).long()
    mask_BT = torch.arange(48)[None, :] < lengths[:, None]
    return AudioBatch(torch.randn(BATCH, 48, BANDS) * mask_BT[..., None], mask_BT)


INPUTS: Mapping[str, tuple[Any, Callable[[], Any]]] = {
    "audio": (AudioSpec(BANDS), sounds),
    "image": (ImageSpec(SIDE), images),
    "text": (TextSpec(VOCABULARY, LENGTH + ROOM), texts),
}


def rows(inputs: Any, chosen: Tensor) -> Any:
    """Some items of a batch, without columns that are padding in all of them."""
    if isinstance(inputs, Tensor):
        return inputs[chosen]
    longest = int(inputs.mask_BT[chosen].sum(1).max())
    return type(inputs)(contents(inputs)[chosen, :longest], inputs.mask_BT[chosen, :longest])


def contents(inputs: Any) -> Tensor:
    """What a batch of ragged items holds beside its mask: ``(B, T)`` or ``(B, T, ...)``."""
    (name,) = (field.name for field in dataclasses.fields(inputs) if field.name != "mask_BT")
    return cast(Tensor, getattr(inputs, name))


def encoder(name: str, seed: int = 0) -> tuple[nn.Module, Any]:
    """A tiny encoder away from its special starting point (branches at zero), and a batch for it."""
    config = cast(Any, lookup(ENCODERS, name)).tiny()
    assert config.modality in INPUTS, f"INPUTS has no example of the modality {config.modality!r}; add one"
    spec, example = INPUTS[config.modality]
    torch.manual_seed(seed)
    module = config.build(spec)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return module, example()


def apart(left: Tensor, right: Tensor) -> float:
    return float((left - right).detach().abs().max())


@encoders
def test_encoder_gives_features_of_its_width(name: str) -> None:
    module, inputs = encoder(name)
    features = module(inputs)
    assert isinstance(features, Features)
    assert features.pooled_BD.shape == (BATCH, module.width)
    assert features.tokens_BTD.shape == (*features.mask_BT.shape, getattr(module, "token_width", module.width))
    assert features.mask_BT.dtype == torch.bool
    assert features.mask_BT.any(1).all(), "every item has a real token"
    assert features.pooled_BD.isfinite().all()
    assert features.tokens_BTD.isfinite().all()
    if isinstance(inputs, TokenBatch):  # other encoders may merge neighbours
        assert torch.equal(features.mask_BT, inputs.mask_BT)


@encoders
def test_encoder_tells_items_apart(name: str) -> None:
    module, inputs = encoder(name)
    pooled_BD = module.eval()(inputs).pooled_BD
    distance_BB = torch.cdist(pooled_BD, pooled_BD) + torch.eye(BATCH) * 1e9
    assert distance_BB.min() > 1e-3


@encoders
def test_every_parameter_of_an_encoder_gets_gradient(name: str) -> None:
    module, inputs = encoder(name)
    pooled_BD = module.train()(inputs).pooled_BD
    (pooled_BD * torch.randn_like(pooled_BD)).sum().backward()
    idle = [key for key, value in module.named_parameters() if value.grad is None or not value.grad.any()]
    assert idle == []
    broken = [key for key, value in module.named_parameters() if not cast(Tensor, value.grad).isfinite().all()]
    assert broken == []


@encoders
def test_an_item_alone_is_encoded_as_in_a_batch(name: str) -> None:
    module, inputs = encoder(name)
    module.eval()
    together = module(inputs)
    for row in range(BATCH):
        alone = module(rows(inputs, torch.tensor([row])))
        assert apart(alone.pooled_BD[0], together.pooled_BD[row]) <= 1e-5
        real = together.mask_BT[row]
        assert apart(alone.tokens_BTD[0][alone.mask_BT[0]], together.tokens_BTD[row][real]) <= 1e-5


@encoders
def test_padding_changes_nothing(name: str) -> None:
    module, inputs = encoder(name)
    if isinstance(inputs, Tensor):
        pytest.skip("these inputs have no padding")
    module.eval()
    plain_BD = module(inputs).pooled_BD
    content, mask_BT = contents(inputs), inputs.mask_BT
    room = content.new_zeros(BATCH, ROOM, *content.shape[2:])
    longer = type(inputs)(torch.cat([content, room], 1), torch.cat([mask_BT, mask_BT.new_zeros(BATCH, ROOM)], 1))
    noise = torch.randint(VOCABULARY, content.shape).to(content.dtype)
    real = mask_BT.view(*mask_BT.shape, *[1] * (content.ndim - 2))
    noisy = type(inputs)(torch.where(real, content, noise), mask_BT)
    assert apart(module(noisy).pooled_BD, plain_BD) <= 1e-5, "what stands in the padding has an effect"
    assert apart(module(longer).pooled_BD, plain_BD) <= 1e-5, "the amount of padding has an effect"


@encoders
def test_an_encoder_in_evaluation_is_deterministic(name: str) -> None:
    module, inputs = encoder(name)
    module.eval()
    first = module(inputs)
    torch.manual_seed(99)
    again = module(inputs)
    assert torch.equal(first.pooled_BD, again.pooled_BD)
    assert torch.equal(first.tokens_BTD, again.tokens_BTD)


@encoders
def test_an_encoder_saved_and_loaded_is_bit_equal(name: str) -> None:
    module, inputs = encoder(name)
    module.train()(inputs)  # so that running statistics are not those of a fresh module
    state = {key: value.contiguous() for key, value in module.state_dict().items()}
    other, _ = encoder(name, seed=1)
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(state)))
    assert torch.equal(module.eval()(inputs).pooled_BD, other.eval()(inputs).pooled_BD)


@encoders
def test_an_encoder_computes_and_learns_in_bfloat16(name: str) -> None:
    """In the copy that training and embedding use where the hardware is fast at it."""
    module, inputs = encoder(name)
    width = cast(int, module.width) if getattr(module, "in_space", False) else 8
    space = Space({"any": module}, {}, {}, width).eval()
    copied = compute_copy(space, torch.bfloat16)
    exact_BE, rough_BE = space.encode("any", inputs), copied.encode("any", inputs)
    assert nn.functional.cosine_similarity(exact_BE, rough_BE).min() > 0.99
    rough_BE.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in copied.parameters() if p.requires_grad)


@encoders
def test_an_encoder_on_another_device_mixes_no_tensors(name: str) -> None:
    """Forward and backward, in training and in evaluation, as on the CPU."""
    module, inputs = encoder(name)
    expected_BD = module.eval()(inputs).pooled_BD
    with Accelerator():
        there = module.to(WHERE)
        features = there(inputs.to(WHERE))
        assert {features.pooled_BD.device, features.tokens_BTD.device, features.mask_BT.device} == {WHERE}
        assert apart(features.pooled_BD.cpu(), expected_BD) <= 1e-4  # an accelerator takes fused attention
        there.train()(inputs.to(WHERE)).pooled_BD.square().sum().backward()
        assert {p.grad.device for p in there.parameters() if p.grad is not None} == {WHERE}


# --- objectives -------------------------------------------------------------------------------------------------------

ALIGNMENT_ONLY = {"mse", "vicreg"}
"""Objectives without negatives, for which a true match that is marked as one changes nothing."""

contrastive = pytest.mark.parametrize("name", [name for name in names("objectives") if name not in ALIGNMENT_ONLY])


def objective(name: str, pairs: Sequence[tuple[str, str]] = (("image", "text"),)) -> nn.Module:
    return cast(nn.Module, cast(Any, lookup("objectives", name)()).build(pairs))


def sharp(name: str) -> nn.Module:
    """The objective at its highest scale, where it has one, on whole embeddings."""
    config = lookup("objectives", name)
    high = {"init_logit_scale": 100.0}
    known = {**high, "of": {"name": "softmax", **high}, "widths": (8,)}
    settings: dict[str, Any] = {key: value for key, value in known.items() if key in config.model_fields}
    return cast(nn.Module, cast(Any, config(**settings)).build())


def same(groups: Tensor) -> BatchMatches:
    """Rows that match where their groups are equal."""
    return BatchMatches.of_groups(groups)


def aligned(batch: int = 12, width: int = 8, noise: float = 0.1) -> dict[str, Tensor]:
    """Paired rows that differ a little."""
    torch.manual_seed(0)
    centre_BE = torch.randn(batch, width)
    return {name: (centre_BE + noise * torch.randn(batch, width)).requires_grad_() for name in ("image", "text")}


def perfect_twice() -> tuple[dict[str, Tensor], Tensor]:
    """Eight pairs at right angles to each other, each present twice; and the groups that say so."""
    twice_BE = torch.eye(8).repeat(2, 1)
    return {"image": twice_BE, "text": twice_BE.clone()}, torch.arange(8).repeat(2)


@objectives
def test_every_setting_of_an_objective_is_explained(name: str) -> None:
    config = lookup("objectives", name)
    explained = meanings(config)
    assert explained.keys() == config.model_fields.keys()
    assert all(len(sentence) < 120 for sentence in explained.values()), "a line each"


@objectives
@pytest.mark.parametrize("rows", [12, 700])
def test_an_objective_on_another_device_mixes_no_tensors(name: str, rows: int) -> None:
    """The plain form and the tiled one."""
    made, embeddings, matches = objective(name), aligned(rows), same(torch.arange(rows) // 2)
    expected = made(embeddings, matches)
    with Accelerator():
        moved = {key: value.detach().to(WHERE).requires_grad_() for key, value in embeddings.items()}
        loss = made.to(WHERE)(moved, matches.to(WHERE))
        loss.backward()
        assert loss.device == WHERE
        assert {value.grad.device for value in moved.values() if value.grad is not None} == {WHERE}
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


@objectives
def test_an_objective_is_one_finite_number(name: str) -> None:
    for embeddings in (
        aligned(),
        {"image": torch.randn(12, 8) * 1e3, "text": torch.randn(12, 8) * 1e-3},
        {"image": torch.zeros(12, 8, requires_grad=True), "text": torch.ones(12, 8, requires_grad=True)},
    ):
        for groups in (torch.arange(12), torch.arange(12) // 3, torch.zeros(12, dtype=torch.long)):
            loss = objective(name)(embeddings, same(groups))
            assert loss.shape == ()
            assert loss.dtype == torch.float32
            assert loss.isfinite()


@objectives
def test_gradient_reaches_both_sides_and_the_objectives_own_parameters(name: str) -> None:
    module, embeddings = objective(name), aligned(noise=0.5)
    module(embeddings, same(torch.arange(12))).backward()
    for values in [*embeddings.values(), *module.parameters()]:
        assert values.grad is not None
        assert values.grad.isfinite().all()
        assert values.grad.any()


@objectives
def test_gradient_is_finite_where_the_space_has_collapsed(name: str) -> None:
    embeddings = {side: torch.ones(12, 8, requires_grad=True) for side in ("image", "text")}
    objective(name)(embeddings, same(torch.arange(12) // 2)).backward()
    assert all(cast(Tensor, value.grad).isfinite().all() for value in embeddings.values())


@objectives
def test_an_objective_does_not_depend_on_the_order_of_pairs_nor_on_the_matches_numbers(name: str) -> None:
    module, embeddings = objective(name), aligned()
    groups = torch.arange(12) // 2
    loss = module(embeddings, same(groups))
    order = torch.randperm(12)
    shuffled = {side: value[order] for side, value in embeddings.items()}
    torch.testing.assert_close(module(shuffled, same(groups[order])), loss)
    torch.testing.assert_close(module(embeddings, same(1_000_000_007 - groups * 31)), loss)


@objectives
def test_an_objective_treats_modalities_alike(name: str) -> None:
    module, embeddings = objective(name), aligned(noise=0.5)
    groups = torch.arange(12)
    loss = module(embeddings, same(groups))
    swapped = {"image": embeddings["text"], "text": embeddings["image"]}
    reordered = dict(reversed(embeddings.items()))
    torch.testing.assert_close(module(swapped, same(groups)), loss)
    assert torch.equal(module(reordered, same(groups)), loss)


@objectives
def test_an_objective_takes_a_third_modality(name: str) -> None:
    embeddings = {**aligned(noise=0.5), "audio": torch.randn(12, 8, requires_grad=True)}
    module = objective(name, modality_pairs(embeddings))
    module(embeddings, BatchMatches.of_groups(torch.arange(12), tuple(embeddings))).backward()
    assert all(cast(Tensor, value.grad).any() for value in embeddings.values())
    learned = [key for key, _ in module.named_parameters() if key.startswith("log_scale")]
    assert learned in ([], [f"log_scale.{pair}" for pair in ("audio_image", "audio_text", "image_text")])
    assert all(cast(Tensor, parameter.grad).any() for parameter in module.parameters())


@objectives
def test_a_loss_over_three_modalities_is_the_sum_over_their_pairs(name: str) -> None:
    embeddings = {**aligned(noise=0.5), "audio": torch.randn(12, 8)}
    module = objective(name, modality_pairs(embeddings))
    groups = torch.arange(12) // 2
    parts = [
        module({side: embeddings[side] for side in pair}, BatchMatches.of_groups(groups, pair))
        for pair in modality_pairs(embeddings)
    ]
    everything = module(embeddings, BatchMatches.of_groups(groups, tuple(embeddings)))
    torch.testing.assert_close(everything, torch.stack(parts).sum())


def lacking(*missing: tuple[str, int]) -> tuple[dict[str, Tensor], Matches]:
    """Twelve rows of three modalities, of which some lack some, and what of them matches."""
    torch.manual_seed(0)
    codes = {side: np.arange(12) // 2 for side in ("audio", "image", "text")}
    for side, row in missing:
        codes[side][row] = -1
    rows = {side: torch.randn(12, 8)[torch.from_numpy(codes[side] >= 0)].requires_grad_() for side in codes}
    return rows, Matches.of(codes)


@objectives
def test_rows_that_lack_a_modality_take_no_part_in_its_pairs(name: str) -> None:
    embeddings, matches = lacking(("audio", 0), ("audio", 5), ("text", 5), ("text", 7), ("image", 11))
    module = objective(name, modality_pairs(embeddings))
    batch = matches.batch(np.arange(12))
    loss = module(embeddings, batch)
    loss.backward()
    parts = []
    for left, right in modality_pairs(embeddings):
        both = np.flatnonzero((matches.codes[left] >= 0) & (matches.codes[right] >= 0))
        of_batch = {side: np.arange(12) if (at := batch.rows[side]) is None else at.numpy() for side in (left, right)}
        chosen = {side: embeddings[side][torch.from_numpy(np.isin(of_batch[side], both))] for side in (left, right)}
        parts.append(module(chosen, BatchMatches.of_groups(both // 2, (left, right))))
    torch.testing.assert_close(loss, torch.stack(parts).sum())
    assert all(cast(Tensor, value.grad).isfinite().all() for value in embeddings.values())


@objectives
def test_a_pair_of_modalities_with_less_than_two_rows_is_left_out(name: str) -> None:
    embeddings, matches = lacking(*(("audio", row) for row in range(11)))
    module = objective(name, modality_pairs(embeddings))
    loss = module(embeddings, matches.batch(np.arange(12)))
    both = {side: embeddings[side] for side in ("image", "text")}
    torch.testing.assert_close(loss, module(both, BatchMatches.of_groups(torch.arange(12) // 2)))
    alone = {"audio": embeddings["audio"], "image": embeddings["image"][:1]}
    nothing = module(alone, Matches.of({"audio": np.array([0]), "image": np.array([0])}).batch(np.arange(1)))
    nothing.backward()
    assert nothing.item() == 0


@objectives
def test_aligned_pairs_cost_less_than_shuffled_ones(name: str) -> None:
    module, embeddings = objective(name), aligned()
    groups = torch.arange(12)
    shuffled = {"image": embeddings["image"], "text": embeddings["text"].roll(1, 0)}
    assert module(embeddings, same(groups)) < module(shuffled, same(groups))


@objectives
def test_half_precision_embeddings_give_a_float32_loss(name: str) -> None:
    module, embeddings = objective(name), aligned()
    groups = torch.arange(12)
    halves = {side: value.bfloat16() for side, value in embeddings.items()}
    loss = module(halves, same(groups))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, module({k: v.float() for k, v in halves.items()}, same(groups)))


@objectives
def test_marking_true_matches_never_costs(name: str) -> None:
    embeddings, groups = perfect_twice()
    module = sharp(name)
    assert module(embeddings, same(groups)) <= module(embeddings, same(torch.arange(16))) + 1e-6


@contrastive
def test_a_duplicate_is_a_positive_and_never_a_negative(name: str) -> None:
    embeddings, groups = perfect_twice()
    module = sharp(name)
    assert module(embeddings, same(groups)) < module(embeddings, same(torch.arange(16))) - 0.1
    assert module(embeddings, same(groups)) <= 1e-2, "a perfect space has no loss, however often a pair is repeated"


@objectives
def test_a_step_downhill_lowers_the_loss(name: str) -> None:
    module, embeddings = objective(name), aligned(noise=1.0)
    groups = torch.arange(12) // 2
    before = module(embeddings, same(groups))
    before.backward()
    with torch.no_grad():
        size = sum(float(cast(Tensor, value.grad).square().sum()) for value in embeddings.values())
        step = 1e-3 * float(before) / max(size, 1e-12)
        moved = {side: value - step * cast(Tensor, value.grad) for side, value in embeddings.items()}
        assert module(moved, same(groups)) < before


# --- pair sources -----------------------------------------------------------------------------------------------------


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), (40 * number, 90, 200 - 30 * number)).save(buffer, "PNG")
    return buffer.getvalue()


CAPTIONS = ["a red bus", "two cats", "NA", "a red bus"]


def pictures_in(folder: Path) -> None:
    folder.mkdir()
    for number in range(len(CAPTIONS)):
        (folder / f"{number}.png").write_bytes(picture(number))


def folder_example(folder: Path) -> str:
    pictures_in(folder / "photos")
    for number, caption in enumerate(CAPTIONS):
        (folder / "photos" / f"{number}.txt").write_text(caption)
    return str(folder / "photos")


def table_example(folder: Path) -> str:
    pictures_in(folder / "pictures")
    lines = [{"image": f"pictures/{number}.png", "text": caption} for number, caption in enumerate(CAPTIONS)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(folder / "pairs.jsonl")


def tar_example(folder: Path) -> str:
    with tarfile.open(folder / "shard.tar", "w") as tar:
        for number, caption in enumerate(CAPTIONS):
            for name, content in ((f"{number}.png", picture(number)), (f"{number}.txt", caption.encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return str(folder / "shard.tar")


def huggingface_example(folder: Path) -> str:
    images = [{"bytes": picture(number), "path": f"{number}.png"} for number in range(len(CAPTIONS))]
    (folder / "set" / "data").mkdir(parents=True)
    table = pa.table({"image": images, "text": CAPTIONS})
    pq.write_table(table, folder / "set" / "data" / "train-00000-of-00001.parquet")
    return f"hf:{folder / 'set'}"


def vqa_example(folder: Path) -> str:
    """A question about each picture; such a source has no captions."""
    pictures_in(folder / "images")
    entries = [[f"is it {number}?", "yes", number] for number in range(len(CAPTIONS))]
    (folder / "questions.json").write_text(json.dumps(entries))
    return str(folder)


EXAMPLES: Mapping[str, Callable[[Path], str]] = {
    "folder": folder_example,
    "table": table_example,
    "tar": tar_example,
    "huggingface": huggingface_example,
    "vqa": vqa_example,
    "scenes": lambda folder: "scenes/val",
    "glyphs": lambda folder: "glyphs/characters",
}
"""By source: make a small example in a folder and return what a person would type for it."""

BUILT_IN = {"scenes", "glyphs"}


def example(name: str, folder: Path) -> tuple[str, Source]:
    assert name in EXAMPLES, f"EXAMPLES shows no spec for the pair source {name!r}; add one"
    spec = EXAMPLES[name](folder)
    return spec, find_source(spec).from_spec(spec)


@sources
def test_a_source_alone_accepts_its_spec(name: str, tmp_path: Path) -> None:
    _, source = example(name, tmp_path)
    assert type(source).__module__ == f"cospace.{SOURCES}.{name}"
    assert part(SOURCES, plain(cast(Any, source))) == source, "its settings survive being saved"


@sources
def test_a_source_lists_the_same_rows_every_time(name: str, tmp_path: Path) -> None:
    _, source = example(name, tmp_path)
    first, again = source.read(), source.read()
    assert first.ids
    assert len(set(first.ids)) == len(first.ids)
    typed = {column for column in first.items if is_text(column)}
    assert typed in ({"text"}, {"question", "answer"}, {"text", "question", "answer"})
    assert set(first.items) == {"image"} | typed
    assert {len(column) for column in [*first.items.values(), *first.extras.values()]} == {len(first.ids)}
    assert (first.ids, first.problems) == (again.ids, again.problems)
    for column in typed:
        assert first.items[column] == again.items[column]
        assert all(isinstance(text, str) for text in first.items[column])
    kinds = (Path, bytes, np.ndarray, Lazy)
    assert all(isinstance(item, kinds) for item in first.items["image"])


@sources
def test_a_source_gives_pairs_that_workers_can_read(name: str, tmp_path: Path) -> None:
    spec, _ = example(name, tmp_path)
    pairs = open_pairs(spec)
    assert not pairs.problems
    for row in (0, len(pairs) - 1):
        pair = pickle.loads(pickle.dumps(pairs[row]))
        assert pair.id == pairs.ids[row]
        item = pair.items["image"]
        if isinstance(item, Lazy):
            content = item.load()
            assert isinstance(content, bytes) or (content.dtype == np.uint8 and content.shape[-1] == 3)
            assert item.key() == pairs[row].items["image"].key()


@sources
def test_a_sources_pairs_are_grouped_by_caption(name: str, tmp_path: Path) -> None:
    spec, _ = example(name, tmp_path)
    pairs = open_pairs(spec)
    group_of: dict[str, int] = {}
    for text, group in zip(pairs.items.get("text", pairs.ids), pairs.groups.tolist(), strict=True):
        assert group_of.setdefault(text, group) == group
    if name not in BUILT_IN and "text" in pairs.items:
        assert list(pairs.items["text"]) == CAPTIONS
        assert len(set(pairs.groups.tolist())) == 3

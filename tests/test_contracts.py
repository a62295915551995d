"""What every encoder, objective and pair source must do; a new file in their folders is tested here unasked.

An encoder of a new modality needs an entry in ``INPUTS``; a new pair source needs one in ``EXAMPLES``.
"""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Callable, Mapping
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

from cospace.config import lookup, names, part, plain
from cospace.pairs import Source, find_source, open_pairs
from cospace.space import Space, compute_copy
from cospace.tokens import TokenBatch
from cospace.types import WORDS, Features, ImageSpec, Lazy, TextSpec

BATCH, SIDE, VOCABULARY, LENGTH, ROOM = 6, 16, 50, 12, 5

encoders = pytest.mark.parametrize("name", names("encoders"))
objectives = pytest.mark.parametrize("name", names("objectives"))
sources = pytest.mark.parametrize("name", names("pairs"))


# --- encoders ---------------------------------------------------------------------------------------------------------


def images() -> Tensor:
    return torch.randn(BATCH, 3, SIDE, SIDE)


def texts() -> TokenBatch:
    """Texts of 3 to ``LENGTH`` tokens."""
    lengths = torch.linspace(3, LENGTH, BATCH).long()
    mask_BT = torch.arange(LENGTH)[None, :] < lengths[:, None]
    return TokenBatch(torch.randint(3, VOCABULARY, (BATCH, LENGTH)) * mask_BT, mask_BT)


INPUTS: Mapping[str, tuple[Any, Callable[[], Any]]] = {
    "image": (ImageSpec(SIDE), images),
    "text": (TextSpec(VOCABULARY, LENGTH + ROOM), texts),
}


def rows(inputs: Any, chosen: Tensor) -> Any:
    """Some items of a batch, without columns that are padding in all of them."""
    if isinstance(inputs, TokenBatch):
        longest = int(inputs.mask_BT[chosen].sum(1).max())
        return TokenBatch(inputs.ids_BT[chosen, :longest], inputs.mask_BT[chosen, :longest])
    return inputs[chosen]


def encoder(name: str, seed: int = 0) -> tuple[nn.Module, Any]:
    """A tiny encoder away from its special starting point (branches at zero), and a batch for it."""
    config = cast(Any, lookup("encoders", name)).tiny()
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
    if isinstance(inputs, TokenBatch):
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
    if not isinstance(inputs, TokenBatch):
        pytest.skip("these inputs have no padding")
    module.eval()
    plain_BD = module(inputs).pooled_BD
    room = torch.zeros(BATCH, ROOM, dtype=torch.long)
    longer = TokenBatch(torch.cat([inputs.ids_BT, room], 1), torch.cat([inputs.mask_BT, room.bool()], 1))
    noise = torch.randint(VOCABULARY, inputs.ids_BT.shape)
    noisy = TokenBatch(torch.where(inputs.mask_BT, inputs.ids_BT, noise), inputs.mask_BT)
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


# --- objectives -------------------------------------------------------------------------------------------------------

ALIGNMENT_ONLY = {"mse", "vicreg"}
"""Objectives without negatives, for which a true match that is marked as one changes nothing."""

contrastive = pytest.mark.parametrize("name", [name for name in names("objectives") if name not in ALIGNMENT_ONLY])


def objective(name: str) -> nn.Module:
    return cast(nn.Module, cast(Any, lookup("objectives", name)()).build())


def sharp(name: str) -> nn.Module:
    """The objective at its highest scale, where it has one."""
    config = lookup("objectives", name)
    settings = {"scale": 100.0} if "scale" in config.model_fields else {}
    return cast(nn.Module, cast(Any, config(**settings)).build())


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
def test_an_objective_is_one_finite_number(name: str) -> None:
    for embeddings in (
        aligned(),
        {"image": torch.randn(12, 8) * 1e3, "text": torch.randn(12, 8) * 1e-3},
        {"image": torch.zeros(12, 8, requires_grad=True), "text": torch.ones(12, 8, requires_grad=True)},
    ):
        for groups in (torch.arange(12), torch.arange(12) // 3, torch.zeros(12, dtype=torch.long)):
            loss = objective(name)(embeddings, groups)
            assert loss.shape == ()
            assert loss.dtype == torch.float32
            assert loss.isfinite()


@objectives
def test_gradient_reaches_both_sides_and_the_objectives_own_parameters(name: str) -> None:
    module, embeddings = objective(name), aligned(noise=0.5)
    module(embeddings, torch.arange(12)).backward()
    for values in [*embeddings.values(), *module.parameters()]:
        assert values.grad is not None
        assert values.grad.isfinite().all()
        assert values.grad.any()


@objectives
def test_gradient_is_finite_where_the_space_has_collapsed(name: str) -> None:
    embeddings = {side: torch.ones(12, 8, requires_grad=True) for side in ("image", "text")}
    objective(name)(embeddings, torch.arange(12) // 2).backward()
    assert all(cast(Tensor, value.grad).isfinite().all() for value in embeddings.values())


@objectives
def test_an_objective_does_not_depend_on_the_order_of_pairs_nor_on_the_groups_numbers(name: str) -> None:
    module, embeddings = objective(name), aligned()
    groups = torch.arange(12) // 2
    loss = module(embeddings, groups)
    order = torch.randperm(12)
    shuffled = {side: value[order] for side, value in embeddings.items()}
    torch.testing.assert_close(module(shuffled, groups[order]), loss)
    torch.testing.assert_close(module(embeddings, 1_000_000_007 - groups * 31), loss)


@objectives
def test_an_objective_treats_modalities_alike(name: str) -> None:
    module, embeddings = objective(name), aligned(noise=0.5)
    groups = torch.arange(12)
    loss = module(embeddings, groups)
    swapped = {"image": embeddings["text"], "text": embeddings["image"]}
    reordered = dict(reversed(embeddings.items()))
    torch.testing.assert_close(module(swapped, groups), loss)
    assert torch.equal(module(reordered, groups), loss)


@objectives
def test_an_objective_takes_a_third_modality(name: str) -> None:
    embeddings = {**aligned(noise=0.5), "audio": torch.randn(12, 8, requires_grad=True)}
    objective(name)(embeddings, torch.arange(12)).backward()
    assert all(cast(Tensor, value.grad).any() for value in embeddings.values())


@objectives
def test_aligned_pairs_cost_less_than_shuffled_ones(name: str) -> None:
    module, embeddings = objective(name), aligned()
    groups = torch.arange(12)
    shuffled = {"image": embeddings["image"], "text": embeddings["text"].roll(1, 0)}
    assert module(embeddings, groups) < module(shuffled, groups)


@objectives
def test_half_precision_embeddings_give_a_float32_loss(name: str) -> None:
    module, embeddings = objective(name), aligned()
    groups = torch.arange(12)
    halves = {side: value.bfloat16() for side, value in embeddings.items()}
    loss = module(halves, groups)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, module({k: v.float() for k, v in halves.items()}, groups))


@objectives
def test_marking_true_matches_never_costs(name: str) -> None:
    embeddings, groups = perfect_twice()
    module = sharp(name)
    assert module(embeddings, groups) <= module(embeddings, torch.arange(16)) + 1e-6


@contrastive
def test_a_duplicate_is_a_positive_and_never_a_negative(name: str) -> None:
    embeddings, groups = perfect_twice()
    module = sharp(name)
    assert module(embeddings, groups) < module(embeddings, torch.arange(16)) - 0.1
    assert module(embeddings, groups) <= 1e-2, "a perfect space has no loss, however often a pair is repeated"


@objectives
def test_a_step_downhill_lowers_the_loss(name: str) -> None:
    module, embeddings = objective(name), aligned(noise=1.0)
    groups = torch.arange(12) // 2
    before = module(embeddings, groups)
    before.backward()
    with torch.no_grad():
        size = sum(float(cast(Tensor, value.grad).square().sum()) for value in embeddings.values())
        step = 1e-3 * float(before) / max(size, 1e-12)
        moved = {side: value - step * cast(Tensor, value.grad) for side, value in embeddings.items()}
        assert module(moved, groups) < before


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
    assert type(source).__module__ == f"cospace.pairs.{name}"
    assert part("pairs", plain(cast(Any, source))) == source, "its settings survive being saved"


@sources
def test_a_source_lists_the_same_rows_every_time(name: str, tmp_path: Path) -> None:
    _, source = example(name, tmp_path)
    first, again = source.read(), source.read()
    assert first.ids
    assert len(set(first.ids)) == len(first.ids)
    assert set(first.items) in ({"image", "text"}, {"image", "question", "answer"}, {"image", *WORDS})
    assert {len(column) for column in [*first.items.values(), *first.extras.values()]} == {len(first.ids)}
    assert (first.ids, first.problems) == (again.ids, again.problems)
    for kind in WORDS & first.items.keys():
        assert first.items[kind] == again.items[kind]
        assert all(isinstance(text, str) for text in first.items[kind])
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

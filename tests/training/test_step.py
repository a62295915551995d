"""The step in two passes: the plain step's gradients, whatever was encoded twice, in memory that it was given."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import softplus

from cospace.data.batches import Batch
from cospace.models.encoders import bag, linear, transformer
from cospace.models.generation.decoder import Decoder
from cospace.models.space import Space
from cospace.objectives import softmax
from cospace.runtime import memory_of
from cospace.training.checkpoint import CheckpointFolder
from cospace.training.hard_negatives import HardNegatives
from cospace.training.loop import Learner, Observers, Trainer, TrainingConfig
from cospace.training.optim import OptimConfig
from cospace.training.step import SHARE, SavedBytes, encode, forward_backward, room_for_graphs
from cospace.types import Features
from tiny_training import (
    ALL,
    CONVOLUTIONS,
    CPU,
    PATCHES,
    Contrast,
    Exact,
    Wrapped,
    batch_of,
    decoder_and_targets,
    gradients,
    space,
)

# ------------------------------------------------------------------------------------------------ the plain form


def plain(tower: Space, objective: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """One forward pass with every graph kept, one backward pass."""
    tower.train()
    tower.zero_grad(set_to_none=True)
    objective.zero_grad(set_to_none=True)
    embeddings = {
        name: torch.cat([tower.encode(name, inputs) for inputs in micro_batches.inputs])[micro_batches.item_B]
        for name, micro_batches in batch.parts.items()
    }
    loss: Tensor = objective(embeddings, batch.matches)
    loss.backward()
    return loss.detach(), embeddings


# ------------------------------------------------------------------------------------------------ spaces and batches


class Encoded:
    """Counts how often a space encodes."""

    def __init__(self, tower: Space, patch: pytest.MonkeyPatch) -> None:
        self.count, self.real = 0, tower.features
        patch.setattr(tower, "features", self)

    def __call__(self, modality: str, inputs: Any) -> Features:
        self.count += 1
        return self.real(modality, inputs)


def graph_bytes(tower: Space, batch: Batch) -> int:
    return sum(part.size for parts in encode(tower, batch, CPU, ALL).values() for part in parts)


# ------------------------------------------------------------------------------------------------ the same gradients

TOWERS: dict[str, Callable[[], Space]] = {
    "cnn": lambda: space(CONVOLUTIONS, transformer.Config.tiny()),
    "patch dropout": lambda: space(PATCHES, transformer.Config.tiny()),
    "dropout": lambda: space(linear.Config.tiny(), bag.Config.tiny(), lambda inner: Wrapped(inner, nn.Dropout(0.4))),
    "batch norm": lambda: space(
        linear.Config.tiny(), bag.Config.tiny(), lambda inner: Wrapped(inner, nn.BatchNorm1d(inner.width))
    ),
}


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", TOWERS)
def test_the_plain_gradients_whatever_is_repeated(name: str, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    images = 11 if name == "batch norm" else 10  # a last micro-batch of one image has no variance
    texts = 8 if name == "batch norm" else 7
    tower, low_precision, batch = TOWERS[name](), TOWERS[name](), batch_of(images=images, texts=texts)
    room = int(share * graph_bytes(low_precision, batch))
    low_precision = TOWERS[name]()
    objective, other = Contrast(), Contrast()
    torch.manual_seed(7)
    loss, embeddings = plain(tower, objective, batch)
    after = torch.get_rng_state()

    encoded = Encoded(low_precision, monkeypatch)
    torch.manual_seed(7)
    two_pass = forward_backward(low_precision, other, batch, CPU, room)

    parts = sum(len(micro_batches.inputs) for micro_batches in batch.parts.values())
    repeated = encoded.count - parts
    assert {0.0: repeated == parts, 0.5: 0 < repeated < parts, 1.0: repeated == 0}[share]
    assert torch.equal(loss, two_pass.loss)
    assert all(torch.equal(embeddings[key], two_pass.embeddings[key]) for key in embeddings)
    assert torch.equal(torch.get_rng_state(), after)
    expected, found = gradients(tower, objective), gradients(low_precision, other)
    assert expected.keys() == found.keys()
    assert len(expected) == len([*tower.parameters(), *objective.parameters()])
    for key, gradient in expected.items():
        assert gradient.norm() > 0, key
        assert (gradient - found[key]).norm() <= 1e-10 * gradient.norm(), key
    for (key, buffer), other_buffer in zip(tower.named_buffers(), low_precision.buffers(), strict=True):
        assert torch.equal(buffer, other_buffer), f"{key} saw a micro-batch twice"


def test_the_random_state_matters() -> None:
    """The test above can fail: other draws in the second pass are other gradients."""
    tower, batch = TOWERS["patch dropout"](), batch_of()
    found = []
    for seed in (7, 8):
        torch.manual_seed(seed)
        forward_backward(tower, Contrast(), batch, CPU, 0)
        found.append(tower.encoders["image"].embed.weight.grad.clone())
    assert (found[0] - found[1]).norm() > 0.01 * found[0].norm()


@pytest.mark.parametrize("room", [0, ALL])
def test_micro_batches_give_the_gradients_of_the_whole_batch(room: int) -> None:
    towers = [space(CONVOLUTIONS, transformer.Config.tiny()) for _ in range(2)]
    plain(towers[0], Contrast(), batch_of(micro_batch_size=12))
    forward_backward(towers[1], Contrast(), batch_of(micro_batch_size=4), CPU, room)
    expected, found = (gradients(tower) for tower in towers)
    for key, gradient in expected.items():
        assert (gradient - found[key]).norm() <= 1e-10 * gradient.norm(), key


@given(
    rows=st.integers(2, 14),
    images=st.integers(1, 9),
    texts=st.integers(2, 9),
    micro_batch_size=st.integers(1, 9),
    room=st.integers(0, 20_000),
)
@settings(max_examples=25)
def test_any_batch_in_any_memory(rows: int, images: int, texts: int, micro_batch_size: int, room: int) -> None:
    batch = batch_of(rows, images, texts, micro_batch_size)
    tower, low_precision = (TOWERS["dropout"]() for _ in range(2))
    torch.manual_seed(2)
    plain(tower, Contrast(), batch)
    torch.manual_seed(2)
    forward_backward(low_precision, Contrast(), batch, CPU, room)
    for (key, gradient), other in zip(gradients(tower).items(), gradients(low_precision).values(), strict=True):
        assert (gradient - other).norm() <= 1e-10 * gradient.norm() + 1e-15, key


def test_float32_agrees_to_its_precision() -> None:
    tower, low_precision = (space(PATCHES, transformer.Config.tiny(), kind=Space) for _ in range(2))
    batch = batch_of(dtype=torch.float32)
    objective = softmax.Config().build()
    torch.manual_seed(3)
    plain(tower, objective, batch)
    torch.manual_seed(3)
    forward_backward(low_precision, objective, batch, CPU, 0)
    for (key, gradient), other in zip(gradients(tower).items(), gradients(low_precision).values(), strict=True):
        assert (gradient - other).norm() <= 1e-5 * gradient.norm(), key


def test_a_frozen_tower_stays_frozen() -> None:
    tower, low_precision = (space(CONVOLUTIONS, transformer.Config.tiny()) for _ in range(2))
    for one in (tower, low_precision):
        one.encoders["image"].requires_grad_(False)
        one.projections["image"].requires_grad_(False)
    plain(tower, Contrast(), batch_of())
    forward_backward(low_precision, Contrast(), batch_of(), CPU, 0)
    expected, found = gradients(tower), gradients(low_precision)
    assert expected.keys() == found.keys()
    assert not any("image" in key for key in found)
    for key, gradient in expected.items():
        assert (gradient - found[key]).norm() <= 1e-10 * gradient.norm(), key


class Constant(nn.Module):
    """An encoder whose weights are buffers: nothing of it learns."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.width: int = inner.width
        self.register_buffer("map_WP", torch.randn(self.width, 3 * 16 * 16))

    def forward(self, images_B3SS: Tensor) -> Features:
        pooled_BD = images_B3SS.flatten(1) @ self.map_WP.T
        return Features(pooled_BD, pooled_BD[:, None], pooled_BD.new_ones(len(pooled_BD), 1, dtype=torch.bool))


def with_constant_images(kind: type[Space] = Exact) -> Space:
    made = space(linear.Config.tiny(), transformer.Config.tiny(), kind=kind)
    made.encoders["image"] = Constant(made.encoders["image"]).to(made.projections["image"].weight.dtype)
    return made


@pytest.mark.parametrize("room", [0, ALL])
def test_an_encoder_without_parameters_is_projected_into_the_space(room: int) -> None:
    torch.manual_seed(0)
    tower = with_constant_images()
    other = copy.deepcopy(tower)
    plain(tower, Contrast(), batch_of())
    forward_backward(other, Contrast(), batch_of(), CPU, room)
    expected, found = gradients(tower), gradients(other)
    assert expected.keys() == found.keys()
    assert "Exact.projections.image.weight" in found
    for key, gradient in expected.items():
        assert (gradient - found[key]).norm() <= 1e-10 * gradient.norm(), key


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_trains_beside_an_encoder_without_parameters(precision: Any, tmp_path: Path) -> None:
    tower = with_constant_images(Space)
    config = TrainingConfig(steps=5, optim=OptimConfig(warmup_steps=1), precision=precision)
    trainer = Trainer(Learner(tower), softmax.Config().build(), config, CheckpointFolder(tmp_path), Observers())
    before, projection = tower.encoders["image"].map_WP.clone(), tower.projections["image"].weight.clone()
    for _ in range(5):
        trainer.step(batch_of(dtype=torch.float32), 5)
    assert torch.equal(tower.encoders["image"].map_WP, before)
    assert not torch.equal(tower.projections["image"].weight, projection)


# ------------------------------------------------------------------------------------------------ memory


class Witness:
    """Lives as long as the graph it is part of."""


class Witnessed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, alive: weakref.WeakSet[Witness]) -> Tensor:
        ctx.witness = Witness()
        alive.add(ctx.witness)
        return vectors.exp()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class Watched(nn.Module):
    """Counts the graphs that exist whenever one more is built."""

    def __init__(self, alive: weakref.WeakSet[Witness]) -> None:
        super().__init__()
        self.alive, self.most = alive, 0

    def forward(self, vectors: Tensor) -> Tensor:
        out: Tensor = Witnessed.apply(vectors, self.alive).square().tanh()  # saves outputs as well as inputs
        self.most = max(self.most, len(self.alive))
        return out


def test_no_more_graphs_exist_than_there_is_room_for() -> None:
    """Reference counts free them at once; a cycle through autograd's hooks would keep them all."""
    alive: weakref.WeakSet[Witness] = weakref.WeakSet()
    watched = Watched(alive)
    tower = space(linear.Config.tiny(), bag.Config.tiny(), lambda inner: Wrapped(inner, watched))
    batch = batch_of(rows=40, images=40, texts=2, micro_batch_size=4)
    forward_backward(tower, Contrast(), batch, CPU, ALL)
    assert (watched.most, len(alive)) == (11, 0)
    size = max(part.size for part in encode(tower, batch, CPU, ALL)["image"])
    for room, most in [(0, 1), (size * 3, 4)]:
        watched.most = 0
        forward_backward(tower, Contrast(), batch, CPU, room)
        assert watched.most <= most
        assert len(alive) == 0


def test_a_graph_counts_what_it_saves_once_and_no_weights() -> None:
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    counter = SavedBytes(module)
    with counter:
        out = module(torch.randn(4, 6))
    inputs, hidden = 4 * 6 * 4, 4 * 5 * 4  # the hidden layer is saved by ReLU and by the layer after it
    assert counter.total == inputs + hidden
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_room_is_what_was_asked_for_or_a_share_of_the_machine() -> None:
    assert room_for_graphs(1.5, CPU) == 1_500_000_000
    assert room_for_graphs(0, CPU) == 0
    assert room_for_graphs(None, CPU) == int(SHARE * memory_of(CPU))


def test_a_container_has_the_memory_of_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, expected in [("123456789\n", 123_456_789), ("max\n", None)]:
        monkeypatch.setattr(Path, "read_text", lambda path, encoding, text=text: text)
        installed = memory_of(CPU)
        assert installed == expected if expected else installed > 1 << 28


# ------------------------------------------------------------------------------------------------ in the loop


def test_memory_changes_no_step_of_a_run(tmp_path: Path) -> None:
    curves = []
    for gigabytes in (None, 0.0):
        tower, rows = space(PATCHES, transformer.Config.tiny(), kind=Space), []
        config = TrainingConfig(
            steps=5, activation_memory_gb=gigabytes, optim=OptimConfig(warmup_steps=1), precision="float32"
        )
        trainer = Trainer(
            Learner(tower),
            softmax.Config().build(),
            config,
            CheckpointFolder(tmp_path / str(gigabytes)),
            Observers(row=rows.append),
        )
        batch = batch_of(dtype=torch.float32)
        curves.append(
            [trainer.step(Batch(step, batch.parts, batch.matches, batch.row_B), 5)[0]["loss"] for step in range(5)]
        )
    assert curves[0][0] == curves[1][0]
    assert np.allclose(curves[0], curves[1], rtol=1e-6)  # equal, but for a BLAS whose sums depend on alignment
    assert curves[0][-1] != curves[0][0]


# ------------------------------------------------------------------------------------------------ a decoder's tasks


def plain_with_decoder(tower: Space, objective: nn.Module, decoder: Decoder, batch: Batch) -> dict[str, Tensor]:
    """Everything in one graph: all images at once, one sequence at a time."""
    for module in (tower, objective, decoder):
        module.train().zero_grad(set_to_none=True)
    features = {
        name: [tower.features(name, inputs) for inputs in micro_batches.inputs]
        for name, micro_batches in batch.parts.items()
    }
    embeddings = {
        name: torch.cat([tower.project(name, part) for part in parts])[batch.parts[name].item_B]
        for name, parts in features.items()
    }
    losses = {"alignment": objective(embeddings, batch.matches)}
    for name, targets in batch.targets.items():
        token_losses = [
            -decoder.logits(decoder(one.ids_BT[[row]], seen, one.item_B[[row]])).log_softmax(-1)[0, place, token]
            for seen, one in zip(features["image"], targets, strict=True)
            if one is not None
            for row in range(len(one))
            for place, token in enumerate(one.next_BT[row].tolist())
            if one.target_mask_BT[row, place]
        ]
        losses[name] = torch.stack(token_losses).mean()
    hard_negatives = HardNegatives.of(
        batch, embeddings, ("image", "text"), [len(part.pooled_BD) for part in features["image"]]
    )
    assert hard_negatives is not None
    itm_losses = []
    for place, seen in enumerate(features["image"]):
        candidates = hard_negatives.about(place)
        assert candidates is not None
        for row, length in enumerate(candidates.length_C.tolist()):
            one = candidates.ids_CT[[row], :length]
            state_D = decoder(one, seen, candidates.item_C[[row]])[0, -1]
            odds = state_D @ decoder.itm_head.weight[0] + decoder.itm_head.bias[0]
            itm_losses.append(softplus(-odds if candidates.true_C[row] else odds))
    losses["itm"] = torch.stack(itm_losses).mean()
    torch.stack([loss.double() for loss in losses.values()]).sum().backward()
    return losses


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_decoder_gets_and_gives_the_plain_gradients(share: float) -> None:
    batch = batch_of()
    tower, low_precision = TOWERS["cnn"](), TOWERS["cnn"]()
    decoder, batch = decoder_and_targets(batch)
    other_decoder, _ = decoder_and_targets(batch)
    objective, other = Contrast(), Contrast()
    expected_losses = plain_with_decoder(tower, objective, decoder, batch)
    done = forward_backward(
        low_precision, other, batch, CPU, int(share * graph_bytes(low_precision, batch)), other_decoder
    )
    assert list(done.losses) == ["alignment", "caption", "vqa", "itm"]
    for name, loss in expected_losses.items():
        assert done.losses[name].item() == pytest.approx(loss.item(), rel=1e-6), name  # logits are float32
    expected, found = gradients(tower, objective, decoder), gradients(low_precision, other, other_decoder)
    assert expected.keys() == found.keys()
    assert len(expected) == sum(len([*module.parameters()]) for module in (tower, objective, decoder))
    for key, gradient in expected.items():
        assert (gradient - found[key]).norm() <= 1e-5 * gradient.norm() + 1e-9, key


def test_memory_does_not_change_what_a_decoder_draws() -> None:
    batch = batch_of()
    found = []
    for room in (0, ALL):
        tower = TOWERS["patch dropout"]()
        decoder, batch_with_targets = decoder_and_targets(batch, dropout=0.5)
        torch.manual_seed(9)
        forward_backward(tower, Contrast(), batch_with_targets, CPU, room, decoder)
        found.append(gradients(tower, decoder))
    for key, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][key], rtol=1e-9, atol=1e-12), key


def test_a_decoder_learns_from_a_frozen_tower_and_from_images_alone() -> None:
    batch = batch_of()
    tower = TOWERS["cnn"]().requires_grad_(False)
    decoder, batch_with_targets = decoder_and_targets(batch)
    alone = replace(batch_with_targets, parts={"image": batch.parts["image"]})
    done = forward_backward(tower, Contrast(), alone, CPU, 0, decoder)
    assert list(done.losses) == ["caption", "vqa"]
    assert not gradients(tower)
    assert len(gradients(decoder)) == len([*decoder.parameters()]) - len([*decoder.itm_head.parameters()])

"""The encoder of spectrograms keeps the contract of all encoders: see tests/test_contracts.py."""

from __future__ import annotations

from typing import cast

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from cospace.modalities.audio.processor import AudioBatch, AudioSpec
from cospace.models.encoders.spectrogram import Config, Spectrogram
from cospace.models.precision import compute_copy
from cospace.models.space import Space
from cospace.types import Features

BATCH, BINS, LENGTHS = 6, 16, (1, 7, 16, 30, 33, 64)


def sounds(frames: int = 64) -> AudioBatch:
    generator = torch.Generator().manual_seed(3)
    mask_BT = torch.arange(frames)[None] < torch.tensor(LENGTHS)[:, None]
    return AudioBatch(torch.randn(BATCH, frames, BINS, generator=generator) * mask_BT[..., None], mask_BT)


def encoder(seed: int = 0) -> Spectrogram:
    """Away from its special starting point, where branches are zero."""
    torch.manual_seed(seed)
    module = Config.tiny().build(AudioSpec(BINS))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return module.eval()


def apart(left: Tensor, right: Tensor) -> float:
    return float((left - right).detach().abs().max())


def test_gives_features_of_its_width() -> None:
    module, inputs = encoder(), sounds()
    features = module(inputs)
    assert isinstance(features, Features)
    assert features.pooled_BD.shape == (BATCH, module.width)
    assert features.tokens_BTD.shape == (*features.mask_BT.shape, module.width)
    assert features.mask_BT.dtype == torch.bool
    assert features.mask_BT.any(1).all()
    assert features.mask_BT.sum(1).tolist() == [-(-length // 4) for length in LENGTHS]
    distance_BB = torch.cdist(features.pooled_BD, features.pooled_BD) + torch.eye(BATCH) * 1e9
    assert distance_BB.min() > 1e-3


@pytest.mark.parametrize("room", [1, 5, 16, 100])
def test_padding_changes_nothing(room: int) -> None:
    module, inputs = encoder(), sounds()
    plain_BD = module(inputs).pooled_BD
    longer = AudioBatch(
        nn.functional.pad(inputs.mels_BTF, (0, 0, 0, room)), nn.functional.pad(inputs.mask_BT, (0, room))
    )
    assert apart(module(longer).pooled_BD, plain_BD) <= 1e-5, "the amount of padding has an effect"
    noise_BTF = 100 * torch.randn_like(longer.mels_BTF)
    noisy = AudioBatch(torch.where(longer.mask_BT[..., None], longer.mels_BTF, noise_BTF), longer.mask_BT)
    assert apart(module(noisy).pooled_BD, plain_BD) <= 1e-5, "what stands in the padding has an effect"


def test_an_item_alone_is_encoded_as_in_a_batch() -> None:
    module, inputs = encoder(), sounds()
    together = module(inputs)
    for row, length in enumerate(LENGTHS):
        alone = module(AudioBatch(inputs.mels_BTF[row : row + 1, :length], inputs.mask_BT[row : row + 1, :length]))
        assert apart(alone.pooled_BD[0], together.pooled_BD[row]) <= 1e-5
        assert apart(alone.tokens_BTD[0][alone.mask_BT[0]], together.tokens_BTD[row][together.mask_BT[row]]) <= 1e-5


def test_every_parameter_gets_gradient() -> None:
    module, inputs = encoder().train(), sounds()
    pooled_BD = module(inputs).pooled_BD
    (pooled_BD * torch.randn_like(pooled_BD)).sum().backward()
    for key, value in module.named_parameters():
        assert value.grad is not None and value.grad.any() and value.grad.isfinite().all(), key


def test_is_deterministic_in_evaluation_and_bit_equal_when_loaded() -> None:
    module, inputs = Config(channels=(4, 8, 8), width=16, heads=2, dropout=0.5).build(AudioSpec(BINS)).eval(), sounds()
    first = module(inputs).pooled_BD
    torch.manual_seed(9)
    assert torch.equal(first, module(inputs).pooled_BD)
    other = Config(channels=(4, 8, 8), width=16, heads=2, dropout=0.5).build(AudioSpec(BINS)).eval()
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(module.state_dict())))
    assert torch.equal(first, other(inputs).pooled_BD)


def test_computes_and_learns_in_bfloat16() -> None:
    space = Space({"any": encoder()}, {}, {}, 8).eval()
    copied = compute_copy(space, torch.bfloat16)
    exact_BE, rough_BE = space.encode("any", sounds()), copied.encode("any", sounds())
    assert nn.functional.cosine_similarity(exact_BE, rough_BE).min() > 0.99
    rough_BE.square().sum().backward()
    assert all(cast(Tensor, p.grad).isfinite().all() for p in copied.parameters() if p.requires_grad)


def test_order_in_time_is_heard() -> None:
    """Of what lies further apart than the convolutions reach."""
    module, inputs = encoder(), sounds()
    turned = AudioBatch(inputs.mels_BTF[5:].roll(32, 1), inputs.mask_BT[5:])
    assert apart(module(turned).pooled_BD, module(AudioBatch(inputs.mels_BTF[5:], inputs.mask_BT[5:])).pooled_BD) > 1e-3

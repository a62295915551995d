"""What is made of sounds is what its definition says, and depends on nothing else."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cospace.modalities.audio import MODALITY
from cospace.modalities.audio.augmenting import Augment, Warp
from cospace.modalities.audio.batching import WHOLE, AudioBatcher, Packed, cut_sizes, prepare_all
from cospace.modalities.audio.mels import decibels, edges, filter_bank, transform_size
from cospace.modalities.audio.processor import DEPTH, HEARD, STRIDE, AudioProcessor
from cospace.modalities.audio.reading import header, read, wave
from cospace.modalities.audio.resampling import CUTOFF, ZEROS, impulse, ratio_of, resample
from cospace.modalities.audio.settings import AudioSettings
from cospace.modalities.audio.showing import UPLOAD_BYTES, UPLOAD_RATE, colours
from cospace.types import BadItem, silent
from sounds import RATE, encode, tone

# --- resampling and mels against their definitions --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target"), [(44_100, 16_000), (8_000, 16_000), (48_000, 16_000), (11_025, 8_000), (7_919, 16_000)]
)
def test_resampling_is_the_sum_of_its_definition(source: int, target: int) -> None:
    wave_N = torch.randn(700, generator=torch.Generator().manual_seed(0))
    ratio = ratio_of(source, target)
    count = math.ceil(len(wave_N) * ratio)
    cutoff = CUTOFF * min(1.0, float(ratio))
    place_N = torch.arange(count, dtype=torch.float64) / float(ratio)
    weights = impulse(place_N[:, None] - torch.arange(len(wave_N), dtype=torch.float64), cutoff)
    made = resample(wave_N, source, target)
    assert made.shape == (count,)
    assert (made - (weights @ wave_N.double()).float()).abs().max() < 1e-4
    assert math.ceil(ZEROS / cutoff) > ZEROS


def test_resampling_keeps_what_both_rates_hold_and_removes_the_rest() -> None:
    kept = resample(torch.from_numpy(tone(0.5, 44_100, 3_000)), 44_100, RATE)[800:-800]
    assert (kept - torch.from_numpy(tone(0.5, RATE, 3_000))[800 : 800 + len(kept)]).abs().max() < 1e-3
    assert resample(torch.from_numpy(tone(0.5, 44_100, 9_000)), 44_100, RATE)[800:-800].abs().max() < 5e-4


@settings(max_examples=80, deadline=None)
@given(source=st.integers(100, 1_000_000), target=st.sampled_from([8_000, 16_000, 22_050, 24_000]))
def test_odd_rates_are_met_closely(source: int, target: int) -> None:
    assert float(ratio_of(source, target)) * source == pytest.approx(target, rel=1e-3)


def test_usual_rates_are_met_exactly() -> None:
    for source in (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000):
        for target in (8_000, 11_025, 16_000, 22_050, 24_000):
            assert ratio_of(source, target) * source == target


def test_the_spectrogram_is_that_of_the_formula() -> None:
    """Frame by frame with numpy's transform and HTK's formula, triangles written out."""
    rate, window, hop, bins = 8_000, 200, 80, 40
    fft = transform_size(window)
    wave_N = np.random.default_rng(1).normal(0, 0.1, 1_000).astype(np.float32)
    made_TF = decibels(torch.from_numpy(wave_N), rate, filter_bank(bins, 50.0, 4_000.0, fft, rate), window, hop).numpy()
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    ends = [2595 * math.log10(1 + f / 700) for f in (50.0, 4_000.0)]
    corners = [700 * (10 ** (m / 2595) - 1) for m in np.linspace(*ends, bins + 2)]
    padded = np.pad(wave_N, fft // 2)
    assert made_TF.shape == (1 + len(wave_N) // hop, bins)
    for frame in (0, 5, made_TF.shape[0] - 1):
        middle = padded[frame * hop : frame * hop + fft][(fft - window) // 2 : (fft + window) // 2]
        power_L = np.abs(np.fft.rfft(middle * hann, fft)) ** 2
        line_L = np.linspace(0, rate / 2, fft // 2 + 1)
        for band in (0, 7, bins - 1):
            left, peak, right = corners[band : band + 3]
            weight_L = np.interp(line_L, [left, peak, right], [0, 1, 0])
            expected = 10 * math.log10((weight_L @ power_L) / (window / 4) ** 2)
            assert made_TF[frame, band] == pytest.approx(expected, abs=0.02)


def test_every_band_hears_something() -> None:
    for rate, bins in ((8_000, 128), (16_000, 64), (48_000, 256)):
        assert (filter_bank(bins, 50.0, rate / 2, transform_size(rate // 40), rate).sum(0) > 0).all()


def test_loudness_changes_nothing_and_pitch_is_seen() -> None:
    processor = AudioProcessor()
    loud, faint = (processor.batch([processor.prepare(gain * tone())]).mels_BTF for gain in (1.0, 0.01))
    assert (loud - faint).abs().max() < 0.05
    centre_F = edges(40, 50, 8_000)[1:-1]
    for hertz in (300.0, 1_000.0, 4_000.0):
        heard = centre_F[processor.prepare(tone(hertz=hertz)).float().mean(0).argmax()]
        assert float(heard) == pytest.approx(hertz, rel=0.1)


def test_a_batch_is_normalised_and_padded() -> None:
    processor = AudioProcessor()
    items = [processor.prepare(tone(seconds) + 0.01) for seconds in (0.1, 0.5, 0.33)]
    batch = processor.batch(items)
    assert batch.mels_BTF.shape[1] % STRIDE == 0
    assert batch.mask_BT.sum(1).tolist() == [len(item) for item in items]
    for row, item in enumerate(items):
        real = batch.mels_BTF[row, : len(item)]
        heard = real[real.amax(1) >= real.max() - HEARD / DEPTH * (real.max() - real.min())]
        assert (float(heard.mean()), float(heard.std())) == pytest.approx((0, 1), abs=0.05)
        assert not batch.mels_BTF[row, len(item) :].any()
        alone = processor.batch([item])
        assert torch.equal(alone.mels_BTF[0, : len(item)], real)
    assert AudioProcessor.from_state(processor.state()) == processor


def test_faint_noise_and_digital_silence_look_alike() -> None:
    """What lies 50 dB below the loudest cell is cut off, so that a recording's floor has no effect."""
    processor = AudioProcessor()
    hiss_N = 1e-6 * np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    silent_N = np.concatenate([tone(), np.zeros(RATE // 2, np.float32)])
    clean, noisy = (processor.batch([processor.prepare(raw)]).mels_BTF for raw in (silent_N, silent_N + hiss_N))
    assert (clean - noisy).abs().max() < 0.05


# --- batching ---------------------------------------------------------------------------------------------------------


def prepared(count: int = 40) -> tuple[AudioProcessor, list[torch.Tensor]]:
    processor = AudioProcessor(sample_rate=8_000)
    generator = np.random.default_rng(0)
    return processor, [processor.prepare(generator.normal(0, 0.1, generator.integers(1, 9_000))) for _ in range(count)]


def batcher(augment: Augment) -> tuple[AudioBatcher, list[torch.Tensor], AudioProcessor]:
    processor, items = prepared()
    return AudioBatcher(items, np.arange(len(items)), processor, augment, seed=5), items, processor


def test_without_augmentation_items_are_batched_as_the_processor_does() -> None:
    made, items, processor = batcher(WHOLE)
    numbers = np.random.default_rng(1).permutation(40)
    batches, order = made.micro_batches(0, numbers, np.zeros(40, np.int64), 16)
    assert sorted(order.tolist()) == list(range(40))
    assert all(len(batch.mels_BTF) <= 16 for batch in batches)
    start = 0
    for batch in batches:
        expected = processor.batch([items[numbers[place]] for place in order[start : start + len(batch.mels_BTF)]])
        assert torch.equal(batch.mels_BTF, expected.mels_BTF)
        assert torch.equal(batch.mask_BT, expected.mask_BT)
        start += len(batch.mels_BTF)


def test_augmentation_depends_on_seed_epoch_and_item_alone() -> None:
    made, _, _ = batcher(Augment(vtlp=0.15))

    def seen(items: np.ndarray, epoch: int, size: int, step: int) -> dict[int, torch.Tensor]:
        batches, order = made.micro_batches(step, items, np.full(len(items), epoch), size)
        flat = [row[mask] for batch in batches for row, mask in zip(batch.mels_BTF, batch.mask_BT, strict=True)]
        return {int(items[place]): row for place, row in zip(order, flat, strict=True)}

    together = seen(np.arange(40), 3, 16, 0)
    for item, row in seen(np.array([39, 2, 17]), 3, 2, 9).items():
        assert torch.equal(row, together[item])
    other = seen(np.arange(40), 4, 16, 0)
    assert all(together[n].shape != other[n].shape or not torch.equal(together[n], other[n]) for n in range(40))
    assert all(row.isfinite().all() for row in together.values())


def test_micro_batches_are_small_enough_and_little_of_them_is_padding() -> None:
    assert cut_sizes([1] * 40, 16) == [16, 16, 8]
    assert cut_sizes([50] * 20 + [500] * 20, 64) == [20, 20]
    assert sum(cut_sizes(sorted(np.random.default_rng(0).integers(1, 3_000, 777).tolist()), 64)) == 777


def test_shifting_frequencies_by_nothing_changes_nothing() -> None:
    warp = Warp.of(64, 50.0, 4_000.0)
    places_BF = warp.places(torch.tensor([1.0, 1.2, 1 / 1.2], dtype=torch.float64))
    assert (places_BF[0] - torch.arange(64)).abs().max() < 1e-9
    assert (places_BF[1, 5:-8] > places_BF[0, 5:-8]).all() and (places_BF[2, 5:-8] < places_BF[0, 5:-8]).all()
    assert (places_BF.diff(dim=1) >= 0).all()


def test_packed_items_come_back_from_memory_and_from_a_file(tmp_path: Path) -> None:
    _, items = prepared()
    for spill, bound in ((None, 10), (tmp_path / "cache" / "spill.bin", 5_000)):
        packed = Packed.of(iter(items), 40, spill, bound)
        assert len(packed) == 40
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(packed, items, strict=True))
        assert torch.equal(packed[-1], items[-1])
        assert len(packed[3:5]) == 2
    assert (tmp_path / "cache" / "spill.bin").stat().st_size == sum(item.numel() for item in items)


def test_bad_items_are_named_and_take_no_room() -> None:
    processor = AudioProcessor()
    result = prepare_all([tone(), b"", np.zeros(9, np.float32), tone(0.2)], processor, silent, None)
    assert {number: error.kind for number, error in result.bad.items()} == {1: "empty", 2: "silent"}
    assert [len(item) > 0 for item in result.items] == [True, False, False, True]


# --- the modality -----------------------------------------------------------------------------------------------------


def test_settings_are_fitted_to_the_data(tmp_path: Path) -> None:
    items = [encode(tone(0.1, rate), rate) for rate in (8_000, 11_025, 22_050)]
    fitted = AudioSettings().fitted([*items, tmp_path / "missing.wav"], ["zero", "one"])
    assert (fitted.sample_rate, fitted.augment.vtlp) == (11_025, Augment.SHIFTED)
    assert AudioSettings().fitted([encode(tone(0.1, 96_000), 96_000)], ["a man speaks", "rain"]).augment.vtlp == 0
    assert AudioSettings().fitted([tone()], []).sample_rate == 16_000
    assert MODALITY.build_processor(fitted, []).sample_rate == 11_025


def test_golden_items_survive_being_stored() -> None:
    raws = [encode(tone(2.5, 44_100), 44_100), (tone(0.2), 8_000), b"", tone()]
    processor = AudioProcessor()
    items = prepare_all(raws, processor, silent, None).items
    for raw in MODALITY.golden(raws, items):
        stored = MODALITY.serialize(raw)
        assert stored.dtype == torch.int16
        assert len(stored) <= 44_102
        thawed = MODALITY.deserialize(stored)
        assert thawed[1] == raw[1]
        assert torch.equal(processor.prepare(thawed), processor.prepare(raw))


def test_previews_are_pictures_and_media_are_sounds() -> None:
    data = encode(tone(1.0), kind="FLAC")
    preview = MODALITY.preview(data)
    for size, webp in preview.webp.items():
        assert max(Image.open(io.BytesIO(webp)).size) == size
    assert 0 <= preview.rgb <= 0xFFFFFF
    assert MODALITY.media(data, 256).data == data
    assert MODALITY.media(data, 256).type == "audio/flac"
    aiff = MODALITY.media(encode(tone(40.0), kind="AIFF"), 256)
    assert aiff.type == "audio/wav"
    assert read(aiff.data).seconds == pytest.approx(30)
    assert np.abs(read(aiff.data).samples_N[:RATE] - tone(1.0)).max() < 1e-3
    exported, suffix = MODALITY.export((2 * tone(), RATE))
    assert suffix == "wav" and header(exported) == (RATE, 0.5)
    assert MODALITY.inspect(data) == {"seconds": 1.0, "sample_rate": float(RATE)}
    lightness = colours().astype(int) @ [30, 59, 11]
    assert (np.diff(lightness) >= 0).all()


def test_uploads_are_bounded() -> None:
    samples_N, rate = MODALITY.read_upload(encode(tone(40.0, 8_000), 8_000))
    assert (len(samples_N), rate) == (30 * UPLOAD_RATE, UPLOAD_RATE)
    with pytest.raises(BadItem, match="too long"):
        MODALITY.read_upload(bytes(UPLOAD_BYTES + 1))
    assert wave((samples_N, rate), RATE).shape == (30 * RATE,)


def test_importing_is_light_and_the_page_module_is_there() -> None:
    heavy = "{'torch', 'soundfile', 'PIL', 'numpy'}"
    code = f"import sys, cospace.modalities.audio; print(sorted({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    page = MODALITY.page_module().read_text("utf-8")
    assert "export function player" in page and "export function recorder" in page

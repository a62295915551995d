"""What every modality must do; a new folder in ``modalities/`` is tested here unasked.

A modality whose :meth:`~cospace.modalities.Modality.example` cannot show augmentation, or that has none by default,
has an entry in ``VARIED`` or ``AUGMENTED``.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from cospace.commands.recipes import meanings
from cospace.config import Config, lookup
from cospace.modalities import PREVIEW_SIZES, Batcher, Modality, all_modalities, is_text, modality, names
from cospace.modalities import text_modality as typed_name
from cospace.modalities._isolation import prepare_isolated
from cospace.types import BadItem, Features

VARIED: Mapping[str, Sequence[Any]] = {
    "image": np.random.default_rng(0).integers(0, 256, (5, 40, 30, 3), dtype=np.uint8),
    "text": ["a", "a red bus on the road", "two cats", "one of many sentences that are longer than others", "a dog"],
}
"""Different raw items, where an example cannot show how it is augmented; other modalities repeat theirs."""

AUGMENTED: Mapping[str, Mapping[str, Any]] = {"text": {"token_dropout": 0.5}}
"""Settings that switch augmentation on, where it is off by default."""

JUNK = b"no item of any modality"
ITEMS = 24

every = pytest.mark.parametrize("name", names())
files = pytest.mark.parametrize("name", [name for name in names() if not is_text(name)])


def raws_of(name: str, count: int = ITEMS) -> list[Any]:
    varied = VARIED.get(name, [modality(name).example()])
    return [varied[number % len(varied)] for number in range(count)]


def settings_of(name: str) -> Any:
    """The settings of a modality, every open value chosen."""
    one = modality(name)
    settings = one.settings_class()(**AUGMENTED.get(name, {}))
    return one.fit_settings(settings, raws_of(name), [str(raw) for raw in raws_of(typed_name())], generates=False)


def processor_of(name: str) -> Any:
    return modality(name).build_processor(settings_of(name), [str(raw) for raw in raws_of(typed_name())])


def same(one: Any, other: Any) -> bool:
    """Whether two encoder inputs are equal."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    return all(torch.equal(*pair) for pair in zip(tensors(one), tensors(other), strict=True))


def tensors(inputs: Any) -> list[Tensor]:
    return [getattr(inputs, field.name) for field in dataclasses.fields(inputs)]


# --- what it is called, and what it costs to ask ----------------------------------------------------------------------


def test_asking_for_modalities_loads_no_heavy_library() -> None:
    """The command line asks for names and suffixes before anything is loaded."""
    code = (
        "import sys; from cospace.modalities import all_modalities\n"
        "for one in all_modalities(): one.suffixes, one.columns, one.holds('a.jpg'), one.upload_types\n"
        "heavy = {'torch', 'numpy', 'PIL', 'pydantic', 'soundfile'} & sys.modules.keys()\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr


@every
def test_a_modality_says_what_it_is(name: str) -> None:
    one = modality(name)
    assert isinstance(one, Modality)
    assert one.name == name
    assert one.plural
    assert one.noun
    assert name.isidentifier() and name == name.lower()
    assert all(column == column.casefold() and " " not in column for column in one.columns), "as tables are asked for"
    assert name in one.columns
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in one.suffixes)
    assert bool(one.suffixes) != one.is_text, "what people type are no files"
    assert cast(Any, lookup("models.encoders", one.default_encoder)).modality == name


def test_one_modality_is_text_and_no_suffix_is_of_two() -> None:
    assert [one.name for one in all_modalities() if one.is_text] == [typed_name()]
    for one, other in combinations(all_modalities(), 2):
        assert not one.suffixes & other.suffixes
        assert not set(one.upload_types) & set(other.upload_types)


@files
def test_paths_and_bytes_are_recognised_by_their_own_modality_alone(name: str) -> None:
    one = modality(name)
    data, suffix = one.export(one.example())
    assert f".{suffix}" in one.suffixes
    for held in (data, f"a{suffix}/x.{suffix}", f"X.{suffix.upper()}", *(f"a/b.c{each}" for each in one.suffixes)):
        others = [other.name for other in all_modalities() if not other.is_text and other.holds(held)]
        assert others == [name], held
    assert one.recognises(data)
    assert not any(one.recognises(junk) for junk in (b"", b"\0", JUNK))
    assert not any(one.holds(value) for value in (None, 3, "", "a", ".", f"{suffix}", JUNK))


def test_the_text_modality_holds_texts() -> None:
    one = modality(typed_name())
    assert all(one.holds(text) for text in ("a", "", "a.jpg"))
    assert not any(one.holds(value) for value in (None, 3, b"a"))


@every
def test_what_matches_is_settled_in_one_go(name: str) -> None:
    key = modality(name).match_key
    assert key("abc") != key("abd")
    assert key(key("A  b")) == key("A  b")


# --- settings and processors ------------------------------------------------------------------------------------------


def branches(settings: Config, path: str) -> Iterator[tuple[str, Config]]:
    yield path, settings
    for field in type(settings).model_fields:
        if isinstance(value := getattr(settings, field), Config):
            yield from branches(value, f"{path}.{field}")


@every
def test_every_setting_is_explained(name: str) -> None:
    for path, branch in branches(modality(name).settings_class()(), f"data.{name}"):
        for field in type(branch).model_fields:
            is_branch = isinstance(getattr(branch, field), Config)
            assert is_branch or meanings(type(branch)).get(field), f"{path}.{field} has no docstring below it"


@every
def test_fitting_leaves_nothing_open_but_what_the_processor_learns(name: str) -> None:
    for path, branch in branches(settings_of(name), f"data.{name}"):
        still = [field for field, value in branch if value is None]
        learned = [field for field in still if field in modality(name).decided]
        assert still == learned, f"{path} leaves {still} open"
    again = modality(name).fit_settings(settings_of(name), raws_of(name, 3), ["left"], generates=False)
    assert again == settings_of(name), "what is chosen stays"


@every
def test_settings_that_a_processor_fixed_are_its_own(name: str) -> None:
    one, processor = modality(name), processor_of(name)
    settings = one.settings_of(processor, one.settings_class()(), fixed_size=True)
    assert set(one.decided) <= set(type(settings).model_fields)
    rebuilt = one.build_processor(one.fit_settings(settings, raws_of(name), [], generates=False), ["a", "b"])
    assert rebuilt.spec == processor.spec or one.is_text  # a tokenizer learns from texts


@every
def test_a_processors_state_is_json_and_gives_it_back(name: str) -> None:
    processor = processor_of(name)
    again = modality(name).processor_class().from_state(json.loads(json.dumps(processor.state())))
    assert again.state() == processor.state()
    assert again.spec == processor.spec
    for raw in raws_of(name, 5):
        assert torch.equal(again.prepare(raw), processor.prepare(raw))


@every
def test_the_default_encoder_reads_what_a_processor_makes(name: str) -> None:
    processor = processor_of(name)
    prepared = [processor.prepare(raw) for raw in raws_of(name, 5)]
    assert all(isinstance(item, Tensor) for item in prepared)
    batch = processor.batch(prepared)
    assert same(batch.to(torch.device("cpu")), batch)
    encoder = cast(Any, lookup("models.encoders", modality(name).default_encoder)).tiny().build(processor.spec)
    features = encoder(batch)
    assert isinstance(features, Features)
    assert features.pooled_BD.shape == (5, encoder.width)


@every
def test_preparing_all_is_preparing_each_and_what_is_bad_is_said(name: str, tmp_path: Path) -> None:
    one, processor = modality(name), processor_of(name)
    raws = raws_of(name, 5)
    bad = {} if one.is_text else {1: JUNK, 3: tmp_path / "none"}
    steps: list[tuple[str, int, int]] = []
    given = [bad.get(number, raw) for number, raw in enumerate(raws)]
    prepared = one.prepare_all(given, processor, lambda *step: steps.append(step), tmp_path / "spill")
    assert len(prepared.items) == len(raws)
    assert prepared.bad.keys() == bad.keys()
    assert all(isinstance(why, BadItem) and why.reason for why in prepared.bad.values())
    for number in set(range(5)) - bad.keys():
        assert torch.equal(prepared.items[number], processor.prepare(raws[number]))
    assert one.is_text or steps[-1] == (f"preparing {one.plural}", 5, 5)


@files
def test_a_bad_item_costs_itself_alone_in_a_process_of_its_own(name: str) -> None:
    processor = processor_of(name)
    raws = [modality(name).example(), JUNK, modality(name).example()]
    good, bad, again = prepare_isolated(name, raws, processor, patience=60)
    assert isinstance(bad, BadItem)
    assert torch.equal(cast(Tensor, good), processor.prepare(raws[0]))
    assert torch.equal(cast(Tensor, again), cast(Tensor, good))


# --- batches ----------------------------------------------------------------------------------------------------------


def batcher_of(name: str, seed: int = 3) -> Batcher:
    processor = processor_of(name)
    prepared = modality(name).prepare_all(raws_of(name), processor).items
    return modality(name).batcher(prepared, np.arange(ITEMS), processor, settings_of(name), seed, steps=100)


def shown(batcher: Batcher, items: Sequence[int], epoch: int = 0, step: int = 99, size: int = 7) -> dict[int, Any]:
    """What an encoder sees of each item, without padding."""
    inputs, order = batcher.micro_batches(step, np.array(items), np.full(len(items), epoch), size)
    rows = [row for part in inputs for row in unpadded(part.to(torch.device("cpu")))]
    assert sorted(order.tolist()) == list(range(len(items)))
    assert len(rows) == len(items)
    return {items[place]: row for place, row in zip(order.tolist(), rows, strict=True)}


def unpadded(inputs: Any) -> list[Tensor]:
    if isinstance(inputs, Tensor):
        return list(inputs)
    (content,) = (part for part in tensors(inputs) if part is not inputs.mask_BT)
    return [row[mask] for row, mask in zip(content, inputs.mask_BT, strict=True)]


def close(one: Mapping[int, Tensor], other: Mapping[int, Tensor]) -> bool:
    return all(one[item].shape == other[item].shape and torch.equal(one[item], other[item]) for item in other)


@every
@pytest.mark.parametrize("size", [1, 7, ITEMS])
def test_micro_batches_hold_every_item_once_and_at_most_so_many(name: str, size: int) -> None:
    inputs, order = batcher_of(name).micro_batches(0, np.arange(ITEMS), np.zeros(ITEMS, int), size)
    counts = [len(unpadded(part.to(torch.device("cpu")))) for part in inputs]
    assert sum(counts) == ITEMS
    assert max(counts) <= size
    assert sorted(order.tolist()) == list(range(ITEMS))


@every
def test_what_an_item_looks_like_depends_on_seed_epoch_and_item_alone(name: str) -> None:
    batcher, everything = batcher_of(name), list(range(ITEMS))
    reference = shown(batcher, everything)
    for items, size in (([5], 1), ([9, 2, 5, 11], 3), (everything[::-1], ITEMS), ([*range(4, 20)], 4)):
        assert close(reference, shown(batcher, items, size=size)), "what else is in the batch has an effect"
    assert close(reference, shown(pickle.loads(pickle.dumps(batcher)), everything)), "a worker sees something else"
    assert close(reference, shown(batcher_of(name), everything)), "a restart sees something else"
    assert not close(reference, shown(batcher, everything, epoch=1))
    assert not close(reference, shown(batcher_of(name, seed=4), everything))


@every
def test_an_item_that_a_step_asks_for_in_two_epochs_is_varied_by_each(name: str) -> None:
    """A step at the end of an epoch holds rows of two, so epochs are by item."""
    batcher, items = batcher_of(name), np.arange(ITEMS)
    epochs = items % 2
    inputs, order = batcher.micro_batches(0, items, epochs, ITEMS)
    rows = [row for part in inputs for row in unpadded(part.to(torch.device("cpu")))]
    mixed = dict(zip(order.tolist(), rows, strict=True))
    for epoch in (0, 1):
        of_epoch = shown(batcher, items[epochs == epoch].tolist(), epoch, step=0, size=ITEMS)
        assert close(mixed, of_epoch)


@every
def test_an_item_that_has_an_identity_is_varied_by_it_and_not_by_its_number(name: str) -> None:
    """Items of a window of a stream have numbers that mean nothing elsewhere."""
    one, processor = modality(name), processor_of(name)
    reversed_items = one.prepare_all(raws_of(name)[::-1], processor).items
    batcher = one.batcher(reversed_items, np.arange(ITEMS), processor, settings_of(name), 3, steps=100)
    batcher.identity_N = np.arange(ITEMS)[::-1].astype(np.uint64)
    found = shown(batcher, list(range(ITEMS)))
    assert close(shown(batcher_of(name), list(range(ITEMS))), {ITEMS - 1 - item: row for item, row in found.items()})


@every
def test_the_item_of_every_row_is_kept(name: str) -> None:
    processor = processor_of(name)
    prepared = modality(name).prepare_all(raws_of(name, 3), processor).items
    item_of_row = np.array([0, -1, 2, 1, 0])
    batcher = modality(name).batcher(prepared, item_of_row, processor, settings_of(name), 0, steps=1)
    assert batcher.item_of_row.tolist() == item_of_row.tolist()


# --- items that are kept with a model, and what people see ------------------------------------------------------------


@every
def test_golden_items_are_frozen_and_thawed_unchanged(name: str) -> None:
    one, processor = modality(name), processor_of(name)
    raws = raws_of(name, 6)
    golden = one.golden(raws, one.prepare_all(raws, processor).items)
    assert 1 <= len(golden) <= len(raws)
    for item in golden:
        frozen = one.serialize(item)
        assert frozen.numel() * frozen.element_size() < 1 << 20, "a model is not made much larger by it"
        stored = safetensors.torch.load(safetensors.torch.save({"item": frozen.contiguous()}))["item"]
        assert torch.equal(one.serialize(one.deserialize(stored)), frozen)
        assert torch.equal(processor.prepare(one.deserialize(stored)), processor.prepare(item))


@every
def test_an_inspection_gives_numbers_or_says_what_is_wrong(name: str) -> None:
    one = modality(name)
    measured = one.inspect(one.example())
    assert measured
    assert all(key.isidentifier() and isinstance(value, float) for key, value in measured.items())
    if not one.is_text:
        with pytest.raises(BadItem):
            one.inspect(JUNK)


@files
def test_an_exported_item_is_the_item(name: str) -> None:
    one, processor = modality(name), processor_of(name)
    data, _ = one.export(one.example())
    assert one.export(data)[0] == data, "what is encoded keeps its bytes"
    exact, again = processor.prepare(one.example()), processor.prepare(data)
    assert exact.shape == again.shape
    assert (exact.int() - again.int()).abs().float().mean() < 2, "levels of 256"


@every
def test_previews_are_small_images_by_size(name: str) -> None:
    one, processor = modality(name), processor_of(name)
    preview = one.preview(one.example())
    assert (preview is not None) == one.has_preview
    both = one.prepare_with_preview(one.example(), processor)
    assert torch.equal(both.prepared, processor.prepare(one.example()))
    assert (both.preview is not None) == one.has_preview
    if preview is not None:
        assert set(preview.webp) == set(PREVIEW_SIZES)
        assert all(data.startswith(b"RIFF") and data[8:12] == b"WEBP" for data in preview.webp.values())
        assert min(preview.width, preview.height) > 0
        assert 0 <= preview.rgb <= 0xFFFFFF
        assert both.preview == preview
        with pytest.raises(BadItem):
            one.preview(JUNK)
    drawn = one.prepared_preview(processor.prepare(one.example()), processor)
    assert drawn is None or drawn.startswith(b"\x89PNG")


@every
def test_media_have_the_type_that_their_bytes_have(name: str) -> None:
    one = modality(name)
    for media in (one.media(one.example(), 64), one.excerpt(one.example())):
        if media is not None:
            assert media.type.count("/") == 1
            assert one.recognises(media.data)


@pytest.mark.parametrize("name", [one.name for one in all_modalities() if one.upload_types])
def test_an_upload_is_decoded_and_anything_else_refused(name: str) -> None:
    one, processor = modality(name), processor_of(name)
    data, _ = one.export(one.example())
    assert processor.prepare(one.read_upload(data)).shape == processor.prepare(one.example()).shape
    for bad in (b"", JUNK, data[:20]):
        with pytest.raises(BadItem) as refused:
            one.read_upload(bad)
        assert refused.value.reason


@every
def test_what_the_page_loads_is_there(name: str) -> None:
    module = modality(name).page_module()
    assert module is None or (module.suffix == ".js" and module.is_file())

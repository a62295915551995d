"""Which parts of an item a score rests on: hiding the part that matters takes the score away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cospace.evaluation.attribution import attribution, explain, own_part, shared_direction
from cospace.evaluation.relevance import short_queries
from cospace.modalities import modality
from cospace.modalities.audio.processor import AudioProcessor
from cospace.modalities.image.occluding import seen
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.runs.run import Run
from cospace.types import UserError


class Reds:
    """A space in which an image is how red and how blue it is, and a text how often it says "red" and "blue"."""

    width = 3

    def __init__(self, **more: Any) -> None:
        processor = ImageProcessor(size=60, **more)
        self.tokenizer = tokenizer = Tokenizer.train(["a red thing beside a blue thing"] * 3)
        self.processors = {"image": processor, "text": tokenizer}
        self.modalities = ["image", "text"]

    def embed_prepared(self, name: str, prepared: Iterator[torch.Tensor]) -> Iterator[np.ndarray]:
        for item in prepared:
            if name == "image":
                pixels = item.float()
                colours = [(pixels[0] - pixels[2]).clamp(min=0).mean(), (pixels[2] - pixels[0]).clamp(min=0).mean()]
            else:
                text = self.tokenizer.decode(item.tolist())
                colours = [torch.tensor(float(text.count(word))) for word in ("red", "blue")]
            vector = torch.stack([torch.as_tensor(value) for value in (*colours, torch.tensor(0.5))]).numpy()
            yield (vector / np.linalg.norm(vector))[None]


def scene(height: int = 120, width: int = 120) -> np.ndarray:
    """Red at the upper left, blue at the lower right, on white."""
    image = np.full((height, width, 3), 255, np.uint8)
    image[height // 8 : height // 4, width // 8 : width // 4] = (220, 20, 20)
    image[-height // 4 : -height // 8, -width // 4 : -width // 8] = (20, 20, 220)
    return image


@pytest.mark.parametrize(("towards", "corner"), [((1.0, 0.0, 0.0), 0.19), ((0.0, 1.0, 0.0), 0.81)])
def test_the_region_that_the_query_names_matters_most(towards: tuple[float, float, float], corner: float) -> None:
    found = attribution(Reds(), "image", scene(), np.array(towards, np.float32))  # type: ignore[arg-type]
    left, top, right, bottom = found.most()
    assert left - 0.05 <= corner <= right + 0.05
    assert top - 0.05 <= corner <= bottom + 0.05
    assert found.kind == "boxes"
    assert len(found.spans_P) == found.columns**2 == len(found.drops_P)
    assert found.drops_P.min() < 0, "hiding the other colour helps"


def test_what_all_queries_share_is_left_out() -> None:
    """A query that is mostly what every query is, here how blue a thing is, is explained by what is its own."""
    towards_E = np.array([0.3, 0.95, 0.0], np.float32)
    whole = attribution(Reds(), "image", scene(), towards_E)  # type: ignore[arg-type]
    shared_E = np.array([0.0, 1.0, 0.0], np.float32)
    own = attribution(Reds(), "image", scene(), towards_E, [shared_E])  # type: ignore[arg-type]
    assert whole.most()[0] > 0.5 > own.most()[0], "blue is at the lower right, red at the upper left"
    assert own.score == whole.score
    np.testing.assert_allclose(own_part(towards_E, [shared_E]), [0.3, 0, 0])
    np.testing.assert_array_equal(own_part(shared_E, [shared_E]), shared_E)  # what is nothing else stays whole


def test_captions_tell_what_queries_share(trained: Path) -> None:
    run = Run.load(trained)
    captions = ["a red circle", "a blue square", "a green circle"]
    shared_E = shared_direction(run.space, captions)
    assert shared_E is not None
    queries = run.space.embed(text=short_queries(captions, 200))
    np.testing.assert_allclose(shared_E, queries.mean(0) / np.linalg.norm(queries.mean(0)), atol=1e-6)
    assert shared_direction(run.space, ["", "  "]) is None
    with_them = run.explain(image=scene(), by={"text": "a red circle"}, captions=captions)
    without = run.explain(image=scene(), by={"text": "a red circle"})
    assert with_them.score == pytest.approx(without.score)
    assert not np.allclose(with_them.drops_P, without.drops_P)


def test_the_word_that_the_query_means_matters_most() -> None:
    text = "a red thing beside a blue thing"
    found = attribution(Reds(), "text", text, np.array([1.0, 0.0, 0.0], np.float32))  # type: ignore[arg-type]
    start, end = map(int, found.most())
    assert text[start:end] == "red"
    assert len(found.spans_P) == 7


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("shape", [(60, 120), (120, 60), (90, 90)])
def test_spans_are_places_of_the_image_and_not_of_the_encoders_square(fit: str, shape: tuple[int, int]) -> None:
    """A thing in the middle third is found there, whatever is cut off or added around it."""
    image = np.full((*shape, 3), 255, np.uint8)
    height, width = shape
    image[int(height * 0.45) : int(height * 0.55), int(width * 0.45) : int(width * 0.55)] = (220, 20, 20)
    left, top, right, bottom = attribution(Reds(fit=fit), "image", image, np.array([1.0, 0.0, 0.0], np.float32)).most()  # type: ignore[arg-type]
    assert abs((left + right) / 2 - 0.5) < 0.2
    assert abs((top + bottom) / 2 - 0.5) < 0.2


def test_what_is_cut_off_is_not_seen() -> None:
    wide = np.zeros((50, 100, 3), np.uint8)
    assert seen(wide, ImageProcessor(size=10)) == (0, 0, 1, 1)
    assert seen(wide, ImageProcessor(size=10, fit="crop")) == (0.25, 0, 0.75, 1)
    assert seen(wide, ImageProcessor(size=10, fit="pad")) == (0, -0.5, 1, 1.5)
    assert seen(wide, ImageProcessor(size=8, fit="crop", before_crop=10)) == pytest.approx((0.3, 0.1, 0.7, 0.9))


def test_the_seconds_of_a_sound_are_cut_into_slices() -> None:
    audio = modality("audio")
    processor = AudioProcessor()
    found = audio.occlusions(audio.example(), processor)
    assert found is not None
    assert found.kind == "seconds"
    ends = [end for _, end in found.spans_P]
    assert ends == sorted(ends)
    assert ends[-1] == pytest.approx(len(found.whole) * processor.hop_ms / 1000)
    for (start, end), hidden in zip(found.spans_P, found.hidden_P, strict=True):
        frames = slice(round(start / processor.hop_ms * 1000), round(end / processor.hop_ms * 1000))
        assert hidden[frames].max() == found.whole.min()
        changed = (hidden != found.whole).any(1).nonzero().flatten()
        assert len(changed) == 0 or frames.start <= changed.min() <= changed.max() < frames.stop


def test_a_run_explains_in_one_line(trained: Any) -> None:
    run = Run.load(trained)
    found = run.explain(image=scene(), by={"text": "a red circle"})
    space = run.space
    assert found.score == pytest.approx(
        float((space.embed(image=[scene()]) @ space.embed(text=["a red circle"]).T)[0, 0]), abs=5e-3
    )
    with pytest.raises(UserError, match="no parts"):
        run.explain(text="", by={"text": "a red circle"})
    with pytest.raises(UserError, match="one item"):
        explain(space, {}, {"text": "a"})
    with pytest.raises(UserError, match="no modality 'sound'"):
        explain(space, {"sound": "x.wav"}, {"text": "a"})

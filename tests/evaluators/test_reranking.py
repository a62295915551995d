"""Re-ranking reads the texts that the vectors are of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from cospace.data.pairs import build
from cospace.data.sources import Rows
from cospace.evaluators.embedded import embed_pairs, prepare_for
from cospace.evaluators.reranking import QUERIES, _Reranker
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.models.encoders import bag, linear
from cospace.models.space import Space


def test_texts_are_found_by_their_vectors_where_rows_were_set_aside() -> None:
    """The first row to show a caption is broken: its text is numbered before others, and appears after them."""
    captions = ["a bus", "a dog", "a bus", "a cat"]
    torch.manual_seed(0)
    configs = {"image": linear.Config.tiny(), "text": bag.Config.tiny()}
    space = Space.build(configs, {"image": ImageProcessor(size=16), "text": Tokenizer.train(captions)}, 16).eval()
    images = [b"junk", *(np.full((4, 4, 3), shade, np.uint8) for shade in (10, 90, 200))]
    pairs = build("made", Rows(list("abcd"), {"image": images, "text": captions}))
    embedded = embed_pairs(space, prepare_for(space, pairs, max_bad_fraction=0.5))
    assert list(embedded.pairs.ids) == ["b", "c", "d"]
    reranker = _Reranker(cast(Any, SimpleNamespace(modality="image")), space, embedded, QUERIES)
    assert sorted(reranker.all_texts) == sorted(set(captions))
    again = torch.from_numpy(space.embed(text=reranker.all_texts))
    torch.testing.assert_close(again, embedded.vectors["text"], rtol=1e-4, atol=1e-5)

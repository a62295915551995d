"""Measuring: every different item once, and a calibration that means something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import write_shapes
from cospace.data.pairs import Pairs, build, join_pairs, open_pairs
from cospace.data.prepared import PreparedPairs
from cospace.data.sources import Rows
from cospace.evaluators.embedded import EmbeddedPairs, embed_pairs, prepare_for
from cospace.evaluators.measures import calibrate, classification_metrics, classify, health, intervals, measure, watch
from cospace.matches import BatchMatches, Matches
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.models.encoders import bag, linear
from cospace.models.space import Space
from cospace.types import UserError

WORDS = ["red circle", "blue square", "green circle", "black square"]


def fresh_space() -> Space:
    torch.manual_seed(0)
    configs = {"image": linear.Config.tiny(), "text": bag.Config.tiny()}
    return Space.build(configs, {"image": ImageProcessor(size=16), "text": Tokenizer.train(WORDS)}, 16).eval()


def embed(space: Space, pairs: Pairs, max_bad_fraction: float = 0.01) -> EmbeddedPairs:
    return embed_pairs(space, prepare_for(space, pairs, max_bad_fraction))


def embedded(vectors_NE: np.ndarray, captions: list[str]) -> EmbeddedPairs:
    """A perfect space: the vector of every image is that of its caption; rows of equal captions have equal vectors."""
    images = [np.full((2, 2, 3), (n % 256, n // 256, 0), np.uint8) for n in range(len(captions))]
    pairs = build("made", Rows([str(n) for n in range(len(captions))], {"image": images, "text": captions}))
    units = torch.nn.functional.normalize(torch.from_numpy(vectors_NE).float(), dim=1)
    first, text_of_row = (np.unique(pairs.keys["text"], return_index=True, return_inverse=True)[n] for n in (1, 2))
    rows = np.arange(len(captions))
    prepared = PreparedPairs(pairs, {"image": torch.zeros(len(captions), 3, 2, 2, dtype=torch.uint8)}, {"image": rows})
    return EmbeddedPairs(
        prepared,
        vectors={"image": units, "text": units[torch.from_numpy(first)]},
        item={"image": rows, "text": np.arange(len(first))},
        first_row={"image": rows, "text": first},
        vector_of_row={"image": rows, "text": text_of_row},
    )


def perfect(count: int) -> EmbeddedPairs:
    return embedded(np.random.default_rng(0).normal(size=(count, 16)), [f"caption {n}" for n in range(count)])


# ------------------------------------------------------------------------------------------------ embedding pairs


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Rows that share images and captions: 16 images, two captions each, some of them captions of several images."""
    folder = tmp_path_factory.mktemp("shared")
    write_shapes(folder, 2)
    lines = ["image,text"]
    for path in sorted((folder / "images").iterdir()):
        colour, shape, _ = path.stem.split("-")
        lines += [f"images/{path.name},{colour} {shape}", f"images/{path.name},it is {path.stem}"]
    (folder / "shared.csv").write_text("\n".join(lines))
    return open_pairs(folder / "shared.csv")


def test_every_different_item_is_embedded_once_and_found_by_its_rows(shared: Pairs) -> None:
    space = fresh_space()
    done = embed(space, shared)
    for name in ("image", "text"):
        different = len(np.unique(shared.keys[name]))
        assert done.vectors[name].shape == (different, 16)
        assert different < len(shared)
        expected = space.embed(**{name: shared.items[name]})
        np.testing.assert_allclose(done.vectors[name][done.vector_of_row[name]], expected, atol=2e-2)
        assert done.components(name)[done.vector_of_row[name]].tolist() == shared.groups.tolist()
    relation = done.relation("image", "text")
    rows = torch.arange(len(shared))
    places = (torch.from_numpy(done.vector_of_row[name])[rows] for name in ("image", "text"))
    assert relation.matched(*places).all(), "what a row pairs matches"


def test_measuring_does_not_depend_on_the_order_of_rows(shared: Pairs) -> None:
    space = fresh_space()
    turned = shared.select(np.random.default_rng(3).permutation(len(shared)))
    first, second = measure(embed(space, shared)), measure(embed(space, turned))
    retrieval = {name for name in first if "_to_" in name}
    assert {name: first[name] for name in retrieval} == pytest.approx({n: second[n] for n in retrieval}, abs=1e-6)


def test_too_many_broken_images_stop_an_evaluation(tmp_path: Path) -> None:
    pairs = open_pairs(write_shapes(tmp_path, 2))
    (tmp_path / "images" / "red-circle-0.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="1 of 16 rows cannot be used"):
        embed(fresh_space(), pairs)
    assert len(embed(fresh_space(), pairs, max_bad_fraction=0.1).pairs) == 15


def test_a_perfect_space_gets_full_marks() -> None:
    done = perfect(40)
    metrics = measure(done)
    assert (metrics["n_images"], metrics["n_texts"]) == (40, 40)
    for direction in ("text_to_image", "image_to_text"):
        assert metrics[f"{direction}/R@1"] == 1
        assert metrics[f"chance/{direction}/R@1"] == pytest.approx(1 / 40)
        low, high = intervals(done)[f"{direction}/R@1"]
        assert 0.9 < low <= high == 1
    assert metrics["space/alignment"] == pytest.approx(0, abs=1e-6)


def test_a_constant_space_gets_none() -> None:
    """Everything on one point: every rank is a tie, and ties count against the space."""
    metrics = measure(embedded(np.ones((40, 16)), [f"caption {n}" for n in range(40)]))
    assert metrics["text_to_image/R@1"] < 0.1
    assert metrics["space/effective_rank"] == pytest.approx(1, abs=1e-3)


def test_health_of_a_single_pair_is_not_claimed() -> None:
    assert health(perfect(1)) == {}


def test_an_item_without_a_partner_is_no_query_and_no_wrong_answer() -> None:
    """Two tables in one evaluation: texts of rows without an image do not count among the images' answers."""
    space = fresh_space()
    images = [np.full((16, 16, 3), 60 * n, np.uint8) for n in range(4)]
    paired = build("paired", Rows(list("abcd"), {"image": images, "text": WORDS}))
    asked = build("asked", Rows(["e"], {"text": ["alone"], "question": ["?"], "answer": ["!"]}))
    done = embed(space, join_pairs([paired, asked]))
    assert done.vectors["text"].shape[0] == 5
    matched = done.among_matched("image", "text")
    assert matched.relation.shape == (4, 4)
    assert measure(done)["chance/image_to_text/R@1"] == pytest.approx(1 / 4)


# ------------------------------------------------------------------------------------------------ classes, calibration


def test_classes_by_caption() -> None:
    space = fresh_space()
    captions = WORDS * 5
    vectors = space.embed(text=captions)
    (done,) = classify(space, embedded(vectors, captions), WORDS, ("{}",))
    assert done.modality == "image"
    assert done.labels_N.tolist() == [0, 1, 2, 3] * 5
    assert done.metrics["zero_shot/top1"] == 1
    (partly,) = classify(space, embedded(vectors, captions), WORDS[:3], ("{}",))
    assert partly.metrics["zero_shot/n_without_class"] == 5
    assert classification_metrics([done]) == done.metrics
    both = classification_metrics([done, partly])
    assert both["zero_shot/image/n_without_class"] == 5, "figures of several modalities are named by theirs"


def test_calibrated_probabilities_tell_matches_from_others() -> None:
    done = perfect(60)
    calibration = calibrate(done)
    assert calibration is not None
    scores = (done.vectors["image"] @ done.vectors["text"].T).numpy()
    probabilities = calibration.probability(scores)
    assert probabilities.diagonal().min() > 0.9
    assert probabilities[~np.eye(60, dtype=bool)].mean() < 0.1
    assert calibrate(done) == calibration, "the draw of items that do not match is fixed"


def test_watching_says_nothing_of_what_has_no_direction() -> None:
    fine, matches = torch.randn(8, 4), BatchMatches.of_groups(np.arange(8), ("image", "text"))
    assert "space/effective_rank" in watch({"image": fine, "text": fine + 0.1}, matches)
    assert watch({"image": fine, "text": fine * float("nan")}, matches) == {}
    assert watch({"image": fine, "text": torch.zeros(8, 4)}, matches) == {}


def test_a_batch_with_few_rows_of_two_modalities_does_not_judge_them() -> None:
    """Eight images among a hundred sounds cannot span more than eight directions, however good the space is."""
    has = {"audio": np.arange(108) < 100, "image": np.arange(108) >= 100, "text": np.ones(108, bool)}
    matches = Matches.of({name: np.where(there, np.arange(108), -1) for name, there in has.items()})
    embeddings = {name: torch.randn(int(there.sum()), 16) for name, there in has.items()}
    watched = watch(embeddings, matches.batch(np.arange(108)))
    assert "space/audio/effective_rank" in watched
    assert "space/image/effective_rank" not in watched

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cospace.evaluation.intervals import wilson
from cospace.models.calibration import Relevance
from cospace.runs.settings import resolve
from cospace.service import index_pairs
from cospace.service.health import space_health
from cospace.service.index_quality import index_quality
from cospace.stores import Item
from service.memory_index import MemoryIndex, animals

METRICS = {
    "n_images": 140, "n_texts": 150, "text_to_image/R@1": 0.5, "text_to_image/R@5": 0.7, "text_to_image/R@10": 0.75,
    "chance/text_to_image/R@1": 1 / 140, "image_to_text/R@1": 0.4, "image_to_text/R@5": 0.6, "image_to_text/R@10": 0.7,
    "chance/image_to_text/R@1": 1 / 140,
}  # fmt: skip
RUN = {
    "cospace": "0.1.0", "finished": "2026-11-25 10:04:15", "command": "cospace train secret/place.csv",
    "data": {"name": "pairs.csv", "fingerprint": "9a1a2205654349dcda23f50101dcd750", "rows": 2673},
    "validation": {"name": "pairs.csv", "rows": 140},
}  # fmt: skip


def with_run(index: MemoryIndex, folder: Path, **contents: Any) -> MemoryIndex:
    (folder / "run").mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / "run" / f"{name}.json").write_text(json.dumps(content))
    index.model_folder = folder
    return index


def card(summary: dict[str, Any], key: str) -> dict[str, Any]:
    return next(card for card in summary["cards"] if card["key"] == key)


@pytest.fixture
def summary(tmp_path: Path) -> dict[str, Any]:
    return space_health(with_run(animals(), tmp_path, metrics=METRICS, run=RUN))


def test_it_is_json_without_a_machines_paths(summary: dict[str, Any]) -> None:
    written = json.dumps(summary, allow_nan=False)
    assert "secret" not in written
    facts = {fact["name"]: fact["value"] for fact in summary["facts"]}
    assert facts["Trained on"] == "pairs.csv, 2,673 rows"
    assert facts["Held out"] == "140 rows of pairs.csv"
    assert facts["Pairs"].startswith("400 ")


def test_held_out_figures_carry_interval_n_and_chance(summary: dict[str, Any]) -> None:
    first, second = summary["held_out"]["directions"]
    assert (first["title"], first["queries"]) == ("A caption finds its image", 150)
    assert (second["direction"], second["queries"]) == ("image_to_text", 140)
    one, five, _ = first["recalls"]
    assert (one["low"], one["high"]) == wilson(0.5, 140)
    assert (one["shown"], five["shown"]) == ("50.0", "70.0")
    assert five["chance"] == pytest.approx(5 / 140)
    assert "Wilson" in summary["held_out"]["intervals"]


def test_the_runs_own_intervals_are_taken(tmp_path: Path) -> None:
    index = with_run(animals(20), tmp_path, metrics=METRICS, intervals={"text_to_image/R@1": [0.41, 0.59]})
    first = space_health(index)["held_out"]["directions"][0]["recalls"]
    assert (first[0]["low"], first[0]["high"]) == (0.41, 0.59)
    assert (first[1]["low"], first[1]["high"]) == wilson(0.7, 140)


def test_an_index_without_a_run_says_nothing_of_one(tmp_path: Path) -> None:
    summary = space_health(with_run(animals(), tmp_path))
    assert summary["held_out"] is None
    assert [fact["name"] for fact in summary["facts"]] == ["Index", "Pairs", "Model"]
    assert card(summary, "modality_gap")["value"] > 0


def test_a_gap_between_modalities_is_seen(summary: dict[str, Any]) -> None:
    gap = card(summary, "modality_gap")
    assert gap["word"] == "bad"
    assert gap["value"] > 1.2
    assert gap["sentence"].endswith("Search one modality at a time, or train longer.")


def test_a_collapsed_space_is_called_bad(tmp_path: Path) -> None:
    index = animals(100)
    index._vectors[:] = index._vectors[0] + 0.01 * index._vectors
    index._vectors /= np.linalg.norm(index._vectors, axis=1, keepdims=True)
    summary = space_health(with_run(index, tmp_path))
    assert card(summary, "mean_cosine")["word"] == "bad"
    assert card(summary, "near_duplicates")["value"] == 1.0
    assert "objective=softmax" in card(summary, "mean_cosine")["sentence"]


def flat(pairs: int) -> MemoryIndex:
    """Pairs whose two sides are the same vector, each pair at a right angle to all others."""
    items = [Item(f"{n}.jpg", "image", hash=f"{n:032x}") for n in range(pairs)]
    items += [Item(f"text/{n}.jpg", "text", text=f"text {n}") for n in range(pairs)]
    return MemoryIndex(items, np.concatenate([np.eye(pairs)] * 2))


def test_an_image_near_to_everything_is_named(tmp_path: Path) -> None:
    index = flat(60)
    index._vectors[7] = 1 / np.sqrt(60)
    summary = space_health(with_run(index, tmp_path))
    most = card(summary, "most_found")
    assert most["value"] == 1.0
    assert most["word"] == "bad"
    assert (most["item"]["number"], most["item"]["hash"]) == (7, f"{7:032x}"), "it can be shown and opened"


def test_images_that_no_text_finds_are_counted(tmp_path: Path) -> None:
    index = flat(60)
    index._vectors[:15] *= -1
    assert card(space_health(with_run(index, tmp_path)), "never_found")["value"] == 0.25


def test_copies_are_counted(tmp_path: Path) -> None:
    index = flat(50)
    index._vectors[10:15] = index._vectors[20:25]
    assert card(space_health(with_run(index, tmp_path)), "near_duplicates")["value"] == 0.2


def test_the_least_agreeing_pairs_come_first(tmp_path: Path) -> None:
    index = flat(40)
    index._vectors[[3, 4]] = index._vectors[[4, 3]]
    index._vectors[5] *= -1
    pairs = space_health(with_run(index, tmp_path))["pairs"]
    assert [pair["id"] for pair in pairs[:3]] == ["5.jpg", "3.jpg", "4.jpg"]
    assert [pair["cosine"] for pair in pairs[:4]] == [-1.0, 0.0, 0.0, 1.0]
    assert (pairs[0]["other"], pairs[0]["number"], pairs[0]["text"]) == ("text/5.jpg", 5, "text 5")
    assert len(pairs) == 20


SHOWN = {"error": 0.1, "shown": 110, "queries": 90, "bins": [
    {"predicted": 0.5, "observed": 0.6, "count": 100}, {"predicted": 0.9, "observed": 0.4, "count": 10}]}  # fmt: skip


def test_calibration_is_that_of_shown_results_and_bins_of_few_are_marked(tmp_path: Path) -> None:
    kept = space_health(with_run(animals(), tmp_path / "a", reliability=SHOWN))["calibration"]
    assert [one["enough"] for one in kept["bins"]] == [True, False]
    assert (kept["error"], kept["shown"], kept["word"]) == (0.1, "10.0 %", "look")
    assert "10.0 points on average, over the 110 results that 90 test searches" in kept["sentence"]
    of_pairs = {"error": 0.006, "bins": SHOWN["bins"]}
    older = space_health(with_run(animals(), tmp_path / "b", reliability=of_pairs))
    assert older["calibration"] is None, "what an older version measured is not what is shown"
    calibrated_anew = with_run(animals(), tmp_path / "d", reliability=SHOWN)
    calibrated_anew.relevance = Relevance({"text_to_image": {}})
    assert space_health(calibrated_anew)["calibration"] is None, "nor is what the run's own fit would show"
    assert space_health(with_run(animals(), tmp_path / "c"))["calibration"] is None


def recalls(value: float, **more: float) -> dict[str, float]:
    figures = {f"{way}/R@{k}": value for way in ("text_to_image", "image_to_text") for k in (1, 5, 10)}
    chance = {f"chance/{way}/R@1": 1 / 140 for way in ("text_to_image", "image_to_text")}
    return {"n_images": 140, "n_texts": 150, **figures, **chance, **more}


SICK = {f"space/{name}/{key}": value for name in ("image", "text") for key, value in
        (("effective_rank", 1.1), ("mean_cosine", 0.99), ("items", 140.0))}  # fmt: skip
CONFIG = resolve(overrides=["training.steps=20", "training.batch_size=256"]).model_dump(mode="json")


@pytest.mark.parametrize(
    ("files", "level", "sentence", "deed", "command"),
    [
        (
            {"metrics": recalls(0.94), "run": RUN, "config": CONFIG}, "good",
            "Good: it finds the right image first for 94 of 100 captions; guessing finds 1.",
            "Nothing needs to be done.", "",
        ),
        (
            {"metrics": recalls(0.012), "run": RUN, "config": CONFIG}, "chance",
            "No better than guessing: it finds the right image first for 1 of 100 captions; guessing finds 1.",
            "Train longer: 20 steps were run, and data of this size usually take 190.",
            "cospace train ... training.steps=190",
        ),
        (
            {"metrics": recalls(0.007, **SICK), "run": RUN, "config": CONFIG}, "collapsed",
            "Collapsed: all images land almost on one point, so a search cannot separate them. It finds the right "
            "image first for 1 of 100 captions; guessing finds 1.",
            "What helps: a lower training.optim.lr (now 0.002) and training.optim.muon_lr (now 0.02), or more steps.",
            "cospace train ... training.optim.lr=0.0005 training.optim.muon_lr=0.005",
        ),
        (
            {}, "unmeasured",
            "Nothing held out is known here, so how well it finds your images is not measured.",
            "Measure it on pairs that it has not seen.", "cospace eval RUN pairs.csv",
        ),
    ],
)  # fmt: skip
def test_it_opens_with_one_true_sentence_and_one_deed(
    tmp_path: Path, files: dict[str, Any], level: str, sentence: str, deed: str, command: str
) -> None:
    summary = space_health(with_run(animals(), tmp_path, **files))
    verdict = summary["verdict"]
    assert (verdict["level"], verdict["sentence"]) == (level, sentence)
    assert (verdict["deed"], verdict["command"]) == (deed, command)
    good = [
        one for one in (*summary["cards"], *(summary["held_out"] or {}).get("directions", ())) if one["word"] == "good"
    ]
    assert bool(good) == (level == "good"), "nothing is good where the whole is not"


def test_what_guessing_does_as_well_is_called_that(tmp_path: Path) -> None:
    guessed = space_health(with_run(animals(), tmp_path / "a", metrics=recalls(0.012)))["held_out"]["directions"]
    assert {(one["says"], one["word"]) for one in guessed} == {("no better than guessing", "bad")}
    (first, second) = space_health(with_run(animals(), tmp_path / "b", metrics=METRICS))["held_out"]["directions"]
    assert (first["says"], second["says"]) == ("fair", "fair")


def test_an_imported_model_is_tried_on_the_index_s_own_pairs(tmp_path: Path) -> None:
    evidence = space_health(with_run(flat(40), tmp_path))["verdict"]["evidence"]
    assert evidence.startswith("Of this index's own pairs it finds the right image first for 40 of 40 captions;")


def test_what_needs_the_papers_is_for_specialists(summary: dict[str, Any]) -> None:
    assert [one["key"] for one in summary["cards"] if one["specialist"]] == [
        "modality_gap", "hubness", "effective_rank", "mean_cosine",
    ]  # fmt: skip
    assert [fact["name"] for fact in summary["facts"]][-2:] == ["Model", "Data"], "hashes come last"


def test_whoever_shows_an_index_can_say_how_good_it_is(tmp_path: Path) -> None:
    asked = (("a", {"metrics": recalls(0.94)}, "good"), ("b", {"metrics": recalls(0.01)}, "poor"), ("c", {}, "unknown"))
    for name, files, level in asked:
        index = with_run(animals(20), tmp_path / name, **files)
        found = index_quality(index)
        assert found["level"] == level
        assert found["verdict"] == space_health(index)["verdict"]["sentence"]


def test_a_large_index_is_sampled_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_pairs, "PAIRS", 50)
    index = with_run(animals(), tmp_path)
    summary = space_health(index)
    assert summary["sampled"] == "50 of 400 pairs, drawn by seed 0"
    assert summary == space_health(index)


@pytest.mark.parametrize("pairs", [0, 1])
def test_with_hardly_anything_there_are_no_cards(tmp_path: Path, pairs: int) -> None:
    index = animals(3)
    kept = [f"{n:04d}.jpg" for n in range(pairs)]
    summary = space_health(
        with_run(
            index.without({item.id for item in index._items} - set(kept) - {f"text/{name}" for name in kept}), tmp_path
        )
    )
    assert summary["cards"] == []
    assert len(summary["pairs"]) == pairs

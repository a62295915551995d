"""Advice is true of the run that it is for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from cospace.evaluation.advice import (
    USUAL_RATES,
    Deed,
    Known,
    Setup,
    cure,
    deed,
    describe_kept,
    read_small,
    still_rising,
    too_few_files,
)  # fmt: skip
from cospace.evaluation.geometry import diagnose, geometry, verdicts
from cospace.evaluation.quality import Level
from cospace.runs.advice import TOWERS, next_deed, start_from_towers
from cospace.runs.settings import all_recipes, resolve, usual_steps
from cospace.training.optim import OptimConfig

PHOTOGRAPHS = Setup(
    objective="softmax",
    batch_size=256,
    rows=3500,
    files={"images": 700},
    learning_rates={"training.optim.lr": 0.002, "training.optim.muon_lr": 0.02},
    pretrained=False,
)
METRICS = {"text_to_image/R@1": 0.04, "image_to_text/R@1": 0.05}
ROWS: list[dict[str, Any]] = [
    *({"step": step, "loss": 3.0} for step in range(1, 74)),
    *({"step": step, "loss": 1.4} for step in range(74, 84)),
    {"step": 84, "loss": 1.4, "val/loss": 4.1},
]


def test_few_photographs_from_nothing_are_said_to_be_few() -> None:
    assert too_few_files(METRICS, ROWS, PHOTOGRAPHS, "cospace train ... --recipe towers") == (
        "700 images are too few to learn images from nothing (training loss 1.4, validation loss 4.1); published "
        "towers usually give several times more: cospace train ... --recipe towers"
    )


@pytest.mark.parametrize(
    ("metrics", "last", "changes"),
    [
        ({"text_to_image/R@1": 0.9}, {}, {}),  # it learned
        (METRICS, {"val/loss": 1.5}, {}),  # nothing was learned by heart
        (METRICS, {}, {"pretrained": True}),  # it did not start from nothing
        (METRICS, {}, {"files": {"images": 50_000}}),  # they are not few
        (METRICS, {}, {"files": {}}),  # there are none
        ({}, {}, {}),  # retrieval was not measured
    ],
)
def test_other_runs_get_no_such_advice(
    metrics: dict[str, float], last: dict[str, Any], changes: dict[str, Any]
) -> None:
    rows = [*ROWS[:-1], ROWS[-1] | last]
    assert too_few_files(metrics, rows, replace(PHOTOGRAPHS, **changes), "") is None


def evaluated(step: int, captions: float, recall: float) -> dict[str, Any]:
    recalls = {"val/text_to_image/R@1": recall - 0.01, "val/image_to_text/R@1": recall + 0.01}
    return {"step": step, "loss": 1.0, "val/loss": 1.0, "val/caption/accuracy": captions, **recalls}


def test_a_run_that_ends_while_it_rises_fast_says_so() -> None:
    setup = replace(PHOTOGRAPHS, steps=300)
    rows = [evaluated(240, 0.6, 0.97), {"step": 241, "loss": 1.0}, evaluated(300, 0.772, 0.99)]
    assert still_rising(rows, setup) == (
        "the share of true captions still rose fast at the end, from 60.0 to 77.2 % in the last 60 of 300 steps; more "
        "steps give more: cospace train ... training.steps=600"
    )
    rows[-1] = evaluated(300, 0.61, 0.99)
    assert still_rising(rows, setup) is None, "as usual"
    assert "mean R@1 still rose fast" in str(still_rising([evaluated(240, 0.6, 0.5), evaluated(300, 0.6, 0.56)], setup))
    assert still_rising([evaluated(240, 0.9, 0.9), evaluated(300, 0.985, 0.985)], setup) is None, "nothing is left"
    assert still_rising([evaluated(180, 0.6, 0.9), evaluated(240, 0.8, 0.9)], setup) is None, "it was stopped early"
    assert still_rising([evaluated(300, 0.8, 0.9)], setup) is None
    assert still_rising(rows, None) is None


def test_nor_does_a_model_whose_training_is_not_known() -> None:
    assert too_few_files(METRICS, ROWS, None, "") is None
    assert too_few_files(METRICS, [], PHOTOGRAPHS, "") is None
    assert Setup.of({}, {"rows": 3}, False) is None


def test_the_command_that_is_advised_exists() -> None:
    advised = start_from_towers()
    assert ("--recipe" in advised) == (TOWERS in all_recipes())


@pytest.mark.parametrize("objective", ["softmax", "sigmoid", "vicreg", "mse"])
def test_no_cure_is_what_is_set_already(objective: str) -> None:
    advised = cure(replace(PHOTOGRAPHS, objective=objective))
    assert f"objective={objective}" not in advised.replace(",", "").split()
    assert ("training.optim.lr (now 0.002)" in advised) == (objective in ("softmax", "sigmoid"))


def test_a_cure_by_negatives_is_one_that_the_data_allow() -> None:
    assert "training.batch_size=128 (now 16)" in cure(replace(PHOTOGRAPHS, batch_size=16))
    assert "training.batch_size=100 (now 16)" in cure(replace(PHOTOGRAPHS, batch_size=16, rows=100))
    few = cure(replace(PHOTOGRAPHS, batch_size=4, rows=4))
    assert "more pairs (there are 4)" in few
    assert "batch_size" not in few
    assert "batch" not in cure(PHOTOGRAPHS)
    high = cure(replace(PHOTOGRAPHS, rows=60, learning_rates={"training.optim.lr": 2.0}))
    assert high.startswith("a lower training.optim.lr (now 2): training.optim.lr is 1,000 times its usual value")


def test_usual_rates_are_those_of_the_settings() -> None:
    usual = OptimConfig()
    assert {"training.optim.lr": usual.lr, "training.optim.muon_lr": usual.muon_lr} == USUAL_RATES


def test_a_setup_is_read_from_a_run_s_own_files() -> None:
    config = resolve(overrides=["objective=sigmoid", "training.optim.name=adamw", "training.batch_size=32"])
    setup = Setup.of(config.model_dump(mode="json"), {"rows": 90, "images": 80, "texts": 90}, pretrained=True)
    assert setup == Setup("sigmoid", 32, 90, {"images": 80}, {"training.optim.lr": 0.002}, True)
    config = resolve(overrides=["training.steps=7", "data.image.size=96"])
    setup = Setup.of(config.model_dump(mode="json"), {"rows": 90, "images": 80, "texts": 90}, pretrained=True)
    assert setup is not None
    assert (setup.steps, setup.sizes, setup.items) == (7, {"images": 96}, 80)


def test_four_pairs_are_no_collapse() -> None:
    """Four points span three directions at most, however good the space is."""
    simplex = torch.eye(4) - 0.25
    metrics = geometry(simplex, simplex)
    assert diagnose(metrics, 256) is None
    assert verdicts(metrics, 256)[0].word == "good"
    repeated = simplex[torch.arange(64) % 4]
    assert diagnose(geometry(repeated, repeated, items=(4, 4)), 256) is None
    assert diagnose(geometry(repeated, repeated), 256) is not None, "64 items on four points are one"


def test_the_cure_is_part_of_the_sentence() -> None:
    line = torch.randn(64, 1) * torch.randn(1, 32)
    sentence = diagnose(geometry(line, line), 32, cure=cure(PHOTOGRAPHS)) or ""
    assert sentence.endswith(
        "Cure: a lower training.optim.lr (now 0.002) and training.optim.muon_lr (now 0.02), or more steps"
    )


def test_a_run_says_what_it_kept_where_the_last_step_is_not_the_best() -> None:
    best = {"step": 67, "score": 0.124, "text_to_image/R@1": 0.052, "image_to_text/R@1": 0.06}
    last = {"step": 196, "score": 0.101, "text_to_image/R@1": 0.04, "image_to_text/R@1": 0.05}
    facts = {"steps": 196, "kept_step": 67, "best": best, "last": last}
    assert describe_kept(facts) == (
        "kept step 67 of 196 (mean R@1 5.6 %, score 0.124; the last step, 196, had mean R@1 4.5 %, score 0.101)"
    )
    last_kept = {**facts, "kept_step": 196, "least_difference": 0.03}
    assert describe_kept(last_kept) == (
        "kept the last step, 196 (mean R@1 4.5 %, score 0.101); step 67 had mean R@1 5.6 %, score 0.124, not better by "
        "the 0.030 that are more than luck"
    )
    assert str(describe_kept({**last_kept, "least_difference": 0.01})).endswith("as training.keep=last asks")
    assert describe_kept({**last_kept, "best": last}) is None
    assert describe_kept({}) is None


SMALL = replace(PHOTOGRAPHS, steps=100, sizes={"images": 64})
TOWERS_COMMAND = "cospace train ... --recipe towers"


def known(setup: Setup | None, usual: int = 84, **facts: Any) -> Known:
    return Known(setup, facts, usual, TOWERS_COMMAND)


@pytest.mark.parametrize(
    ("level", "situation", "sentence", "command"),
    [
        ("good", known(SMALL), "Nothing needs to be done.", ""),
        ("unmeasured", known(None), "Measure it on pairs that it has not seen.", "cospace eval RUN pairs.csv"),
        (
            "chance", known(SMALL, usual=196),
            "Train longer: 100 steps were run, and data of this size usually take 196.",
            "cospace train ... training.steps=196",
        ),
        (
            "poor", known(SMALL),
            "Start from published towers: 700 images are few to learn images from nothing.", TOWERS_COMMAND,
        ),
        (
            "fair", known(replace(SMALL, steps=0, pretrained=True), usual=0),
            "Train on more pairs: the heads of its towers were fitted on 700 images.", "cospace train MORE_PAIRS ...",
        ),
        (
            "fair", known(replace(SMALL, pretrained=True), best={"step": 40}, last={"step": 100}),
            "Train on more pairs: its evaluations were best at step 40 of 100, so more steps do not help.",
            "cospace train MORE_PAIRS ...",
        ),
        (
            "fair", known(replace(SMALL, files={"images": 9_000}), best={"step": 100}, last={"step": 100}),
            "Train longer: 100 steps were run, and its evaluations still rose.", "cospace train ... training.steps=200",
        ),
        ("poor", known(None), "Train it further on pairs like those that it will search.",
         "cospace train pairs.csv --from RUN"),
        (
            "collapsed", known(SMALL),
            "What helps: a lower training.optim.lr (now 0.002) and training.optim.muon_lr (now 0.02), or more steps.",
            "cospace train ... training.optim.lr=0.0005 training.optim.muon_lr=0.005",
        ),
    ],
)  # fmt: skip
def test_there_is_one_deed_and_it_is_true_of_the_run(
    level: Level, situation: Known, sentence: str, command: str
) -> None:
    assert deed(level, situation) == Deed(sentence, command)


@pytest.mark.parametrize("objective", ["softmax", "sigmoid", "vicreg", "mse"])
def test_no_command_against_a_collapse_is_what_is_set_already(objective: str) -> None:
    command = deed("collapsed", known(replace(SMALL, objective=objective))).command
    assert f"objective={objective}" not in command.split()
    overrides = [word for word in command.split() if "=" in word]
    assert overrides
    resolve(overrides=overrides)  # they exist


def test_images_that_were_read_small_are_said_to_be() -> None:
    assert read_small(SMALL, {"images": 500.0}, TOWERS_COMMAND) == (
        "images of 500 pixels were read at 64, where photographs lose their detail; published towers read them at 224 "
        "or more: cospace train ... --recipe towers"
    )
    assert read_small(SMALL, {"images": 72.0}, "") is None, "emoji of 72 pixels lose nothing"
    assert read_small(SMALL, {}, "") is None
    assert read_small(replace(SMALL, pretrained=True), {"images": 500.0}, "") is None
    assert read_small(replace(SMALL, sizes={}), {"images": 500.0}, "") is None


def test_what_data_usually_take_is_what_a_run_would_choose() -> None:
    config = resolve().model_dump(mode="json")
    config["training"] |= {"steps": 10, "batch_size": 256}
    facts = {"data": {"rows": 2814, "images": 2804, "texts": 2814}}
    found = next_deed("poor", config, facts)
    assert found.command == f"cospace train ... training.steps={usual_steps(2804, 256, False)}"

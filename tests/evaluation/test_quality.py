"""One sentence on a space, true of its figures."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cospace.evaluation.quality import judge, of_base, shown_chance

MODALITIES = ("image", "text")


def figures(first: float, tenth: float | None = None, images: int = 100, texts: int = 500) -> dict[str, float]:
    """Both directions of a retrieval that finds this share first, and this share among the first ten."""
    tenth = min(1.0, first * 1.2) if tenth is None else tenth
    found = {"n_images": float(images), "n_texts": float(texts)}
    for direction in ("text_to_image", "image_to_text"):
        found |= {f"{direction}/R@1": first, f"{direction}/R@5": (first + tenth) / 2, f"{direction}/R@10": tenth}
        found[f"chance/{direction}/R@1"] = 1 / images
    return found


@pytest.mark.parametrize(
    ("metrics", "bounds", "level", "sentence"),
    [
        (
            figures(0.94), {}, "good",
            "Good: it finds the right image first for 94 of 100 captions; guessing finds 1.",
        ),
        (
            figures(0.502, 0.94), {}, "fair",
            "Fair: it finds the right image first for 50 of 100 captions (guessing: 1) and among the first ten for 94.",
        ),
        (
            figures(0.12, 0.38, 1000, 1000), {}, "poor",
            "Poor: it finds the right image first for 12 of 100 captions (guessing: 1 of 1,000) and among the first "
            "ten for 38.",
        ),
        (
            figures(0.03), {"text_to_image/R@1": (0.008, 0.06)}, "chance",
            "No better than guessing: it finds the right image first for 3 of 100 captions; guessing finds 1.",
        ),
        (
            figures(0.995, 1.0, 1000, 1000), {}, "good",
            "Good: it finds the right image first for 995 of 1,000 captions; guessing finds 1.",
        ),
        (
            figures(1.0, 1.0, 60, 60), {}, "good",
            "Good: it finds the right image first for 60 of 60 captions; guessing finds 1.",
        ),
    ],
)  # fmt: skip
def test_the_sentence_says_how_often_it_is_right_and_how_often_guessing_is(
    metrics: dict[str, float], bounds: dict[str, Any], level: str, sentence: str
) -> None:
    found = judge(metrics, bounds, MODALITIES, 64)
    assert (found.level, found.sentence) == (level, sentence)


def test_a_collapsed_space_is_called_that_where_it_finds_nothing() -> None:
    sick = {f"space/{name}/{key}": value for name in MODALITIES for key, value in
            (("effective_rank", 1.2), ("mean_cosine", 0.99), ("items", 100.0))}  # fmt: skip
    found = judge(figures(0.01) | sick, {}, MODALITIES, 64)
    assert found.level == "collapsed"
    assert found.sentence.startswith(
        "Collapsed: all images land almost on one point, so a search cannot separate them."
    )
    assert "for 1 of 100 captions; guessing finds 1." in found.sentence
    assert judge(figures(0.94) | sick, {}, MODALITIES, 64).level == "good", "what finds everything has not collapsed"


def test_nothing_is_said_of_what_nobody_measured() -> None:
    found = judge({}, {}, MODALITIES, 64)
    assert found.level == "unmeasured"
    assert found.sentence == "Nothing held out is known here, so how well it finds your images is not measured."
    assert found.evidence == ""


def test_the_evidence_has_the_figures_to_their_shown_digit() -> None:
    bounds = {"text_to_image/R@1": (0.40609, 0.5976)}
    assert judge(figures(0.502, 0.94), bounds, MODALITIES, 64).evidence == (
        "R@1 50.2 % [40.6, 59.8], 500 captions, chance 1.0 %"
    )


@given(share=st.floats(0, 1), most=st.integers(1, 10**6))
def test_a_share_is_none_or_all_only_where_it_is(share: float, most: int) -> None:
    count, base = of_base(share, most)
    assert 0 <= count <= base <= max(most, 1)
    assert abs(count / base - share) <= 0.5 / base + 1e-9
    if base < most:
        assert (count == 0) == (share == 0)
        assert (count == base) == (share == 1)


def test_chance_is_never_shown_as_nothing() -> None:
    assert [shown_chance(share) for share in (0.01, 0.0333, 0.0002, 0.0)] == ["1.0", "3.3", "0.02", "0.0"]
    assert all(re.search("[1-9]", shown_chance(1 / n)) for n in (3, 70, 999, 31_000, 10**6))

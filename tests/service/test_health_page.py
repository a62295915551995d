"""Health as a visitor opens it: one sentence, one deed, and figures that stay whole."""

from __future__ import annotations

from typing import Any

import pytest

from service.page_fixtures import OpenPage, box_of, browser, open_page, serving, stand_in
from service.stand_in_map import HEALTH

__all__ = ["browser", "open_page", "serving", "stand_in"]  # fixtures


def health(open_page: OpenPage, **how: Any) -> Any:
    page = open_page("#view=health", **how)
    page.wait_for_selector(".health-facts")
    return page


def test_it_opens_with_one_sentence_and_one_deed(open_page: OpenPage) -> None:
    page = health(open_page)
    opening = page.locator(".health > *").first
    assert opening.get_attribute("class") == "health-opening look"
    assert page.locator(".health h2").inner_text() == HEALTH["verdict"]["sentence"]
    assert page.locator(".health-deed span").inner_text() == HEALTH["verdict"]["deed"]
    assert page.locator(".health-deed code").inner_text() == HEALTH["verdict"]["command"]
    assert box_of(opening)["y"] + box_of(opening)["height"] < 400, "it is seen at once"


def test_figures_are_told_in_words_that_need_no_papers(open_page: OpenPage) -> None:
    page = health(open_page)
    said = page.locator(".health").inner_text()
    for words in (
        "How good is it?", "Right one first", "In the first 5", "In the first 10", "Red line: guessing.",
        "Right: what was shown. Up: how often it was true.",
        "Some may be wrong: mark them. What you mark is kept beside the index.",
    ):  # fmt: skip
        assert words in said
    figures = page.locator(".health-grid").all_inner_texts()
    assert "R@" not in "".join(figures)
    assert "good" not in page.locator(".health-word").all_inner_texts(), "nothing is good where the whole is not"
    assert page.locator(".health-direction .health-word").all_inner_texts() == ["fair", "fair"]


def test_specialists_figures_are_folded_and_hashes_come_last_and_quiet(open_page: OpenPage) -> None:
    page = health(open_page)
    assert page.locator("text=Effective rank").is_hidden()
    page.click(".health-special > summary")
    assert page.locator("text=Effective rank").is_visible()
    last = page.locator(".health > *").last
    assert last.get_attribute("class") == "health-facts"
    assert last.locator("dd").last.inner_text() == "f00d"
    weight = last.locator("dd").last.evaluate("(one) => Number(getComputedStyle(one).fontWeight)")
    assert weight <= 400


@pytest.mark.parametrize("width", [320, 390, 820, 1280, 1440])
def test_no_figure_breaks_and_no_column_is_empty(open_page: OpenPage, width: int) -> None:
    page = health(open_page, width=width)
    page.click(".health-special > summary")
    broken = page.eval_on_selector_all(
        ".health-figures", "(all) => all.filter((one) => one.getClientRects().length > 1).map((one) => one.textContent)"
    )
    assert broken == []
    wide = page.eval_on_selector_all(
        ".health-grid",
        """(all) => all.map((grid) => [grid.getBoundingClientRect().right,
             Math.max(...[...grid.children].map((one) => one.getBoundingClientRect().right))])""",
    )
    assert all(abs(right - reached) < 1 for right, reached in wide)


def test_what_is_found_most_often_is_a_picture_that_opens(open_page: OpenPage) -> None:
    page = health(open_page)
    found = page.locator(".health-card:has-text('Found most often')")
    assert found.locator("img").get_attribute("src") == "t/256/h7"
    found.get_by_role("button").click()
    page.wait_for_selector("#inspector:not([hidden])")


def test_the_plot_greys_what_stands_on_few_results(open_page: OpenPage) -> None:
    page = health(open_page)
    assert page.locator(".plot .dot").count() == 4
    assert page.locator(".plot .dot.few").count() == 1
    assert page.locator(".plot .line").get_attribute("d").count("L") == 2, "no line goes through it"

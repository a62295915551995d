"""The Ask view, the drawing panel, and why an item was found, in a browser."""

from __future__ import annotations

from typing import Any

import pytest

from service.page_fixtures import OpenPage, box_of
from service.stand_in import StandIn

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser, by playwright")
expect = sync_api.expect

ASK = "#view=ask&ask=1~i~pictures%2F000003.jpg"
PIXEL = "([x, y]) => [...document.querySelector('.paper').getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3)"


# --- asking


def test_only_what_was_taught_is_suggested(open_page: OpenPage) -> None:
    page = open_page(ASK)
    expect(page.locator(".ask-examples .example")).to_have_text(
        ["What colour is the ball?", "How many balls are there?", "How large is it?"]
    )
    page.locator(".ask-examples .example").first.click()
    expect(page.locator(".bars li").first).to_contain_text("red")


def test_other_questions_are_not_answered(open_page: OpenPage) -> None:
    page = open_page(ASK)
    page.expected = ("422",)
    page.get_by_label("Question").fill("Where was it taken?")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".refused")).to_have_text("I was not taught such questions.")
    expect(page.locator(".bars")).to_have_count(0)


def test_a_generated_caption_is_shown_without_a_number_that_nobody_measured(open_page: OpenPage) -> None:
    page = open_page(ASK)
    card = page.locator(".card", has_text="Generated caption")
    expect(card).to_contain_text("a thing on a ground")
    expect(card).to_contain_text("Written by the model. It may be wrong.")
    expect(card).not_to_contain_text("%")


def test_a_caption_that_the_model_doubts_is_called_so(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.believed = 0.08
    page = open_page(ASK)
    card = page.locator(".card", has_text="Generated caption")
    expect(card).to_contain_text("It doubts this caption itself.")
    expect(page.locator(".generated")).to_have_text("a thing on a ground")


@pytest.mark.slow
def test_closest_captions_are_captions_alone_and_headings_are_in_order(open_page: OpenPage) -> None:
    page = open_page(ASK)
    expect(page.locator(".captions li")).to_have_count(5)
    assert page.locator(".captions li").first.inner_text() == "a green ball on sand, number 3"
    levels = page.evaluate("[...document.querySelectorAll('#ask-view :is(h1,h2,h3,h4)')].map((one) => one.tagName)")
    assert levels[0] == "H2"


@pytest.mark.slow
@pytest.mark.parametrize(("path", "name"), [("64", "a green ball on sand, number 3"), ("sea.jpg", "sea.jpg")])
def test_what_has_no_file_is_called_by_its_caption(
    open_page: OpenPage, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    item = stand_in.item(3) | {"path": path}
    monkeypatch.setattr(stand_in, "item", lambda number: item)
    expect(open_page(ASK).locator(".ask-name")).to_have_text(name)


def test_a_small_picture_keeps_its_edges_and_is_enlarged_four_times_at_most(
    open_page: OpenPage, stand_in: StandIn
) -> None:
    stand_in.shrunk = 10
    page = open_page(ASK)
    image = page.locator(".ask-preview")
    image.wait_for()
    assert image.evaluate("(one) => getComputedStyle(one).imageRendering") == "pixelated"
    width, _ = stand_in.shape(3)
    assert box_of(image)["width"] <= 4 * width


# --- drawing


def draw(page: Any, places: list[tuple[int, int]]) -> None:
    """A stroke through places of the paper, which is 384 a side."""
    box = box_of(page.locator(".paper"))
    where = [(box["x"] + x * box["width"] / 384, box["y"] + y * box["height"] / 384) for x, y in places]
    page.mouse.move(*where[0])
    page.mouse.down()
    for x, y in where[1:]:
        page.mouse.move(x, y, steps=3)
    page.mouse.up()


def opened(open_page: OpenPage, **how: Any) -> Any:
    page = open_page(**how)
    page.get_by_role("button", name="Draw what to search for").click()
    page.wait_for_selector(".paper")
    return page


SQUARE = [(100, 100), (280, 100), (280, 280), (100, 280), (100, 100)]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (820, 1180), (390, 844)])
def test_the_panel_stands_beside_results_that_change(open_page: OpenPage, width: int, height: int) -> None:
    page = opened(open_page, width=width, height=height)
    draw(page, [(60, 60), (300, 60)])
    page.wait_for_selector(".cell.shown")
    panel, results = (box_of(page.locator(name)) for name in (".draw", "#results"))
    apart = results["x"] + results["width"] <= panel["x"] or results["y"] + results["height"] <= panel["y"]
    assert apart, "nothing is covered"
    assert results["height"] > 200
    assert page.evaluate("document.scrollingElement.scrollTop + document.body.scrollTop") == 0
    assert page.locator("dialog[open]").count() == 0
    tile = page.locator(".cell.shown").first
    tile.click()  # nothing dims or blocks the rest of the page
    page.wait_for_selector("#inspector:not([hidden])")


def test_strokes_are_there_when_the_panel_is_opened_again(open_page: OpenPage) -> None:
    page = opened(open_page)
    page.get_by_role("button", name="Red", exact=True).click()
    draw(page, [(60, 60), (300, 60)])
    page.locator(".draw").get_by_role("button", name="Close").click()
    expect(page.locator(".draw")).to_be_hidden()
    page.get_by_role("button", name="Draw what to search for").click()
    assert page.evaluate(PIXEL, [180, 60]) == [215, 38, 61]
    draw(page, [(60, 200), (300, 200)])
    assert page.evaluate(PIXEL, [180, 60]) == [215, 38, 61], "the next stroke is added to them"


@pytest.mark.slow
def test_a_bucket_fills_what_lines_enclose(open_page: OpenPage) -> None:
    page = opened(open_page)
    draw(page, SQUARE)
    page.get_by_role("button", name="Pink").click()
    page.get_by_role("button", name="Fill").click()
    draw(page, [(190, 190)])
    assert page.evaluate(PIXEL, [190, 190]) == [244, 146, 190]
    assert page.evaluate(PIXEL, [120, 260]) == [244, 146, 190]
    assert page.evaluate(PIXEL, [40, 40]) == [255, 255, 255]
    assert page.evaluate(PIXEL, [190, 100]) == [17, 17, 17]
    page.keyboard.press("Control+z")
    assert page.evaluate(PIXEL, [190, 190]) == [255, 255, 255]


def test_twelve_colours_are_all_seen_in_the_dark(open_page: OpenPage) -> None:
    page = opened(open_page, color_scheme="dark")
    names = page.eval_on_selector_all(".swatch", "(all) => all.map((one) => one.getAttribute('aria-label'))")
    assert len(names) == 12
    assert {"Pink", "Purple", "Black"} <= set(names)
    black = page.get_by_role("button", name="Black")
    ring, ground = black.evaluate(
        """(one) => { const style = getComputedStyle(one);
          return [style.boxShadow, getComputedStyle(one.closest('.draw')).backgroundColor]
            .map((css) => css.match(/\\d+/g).slice(0, 3).map(Number)); }"""
    )
    page.get_by_role("button", name="Pink").click()
    ring = black.evaluate("(one) => getComputedStyle(one).boxShadow.match(/\\d+/g).slice(0, 3).map(Number)")
    assert sum(ring) - sum(ground) > 300
    expect(page.locator(".draw .hint")).to_have_text("Colours and places count most. Adding a word helps.")


# --- why


@pytest.mark.slow
def test_why_an_image_was_found_is_shown_over_it(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page("#p=1~t~red+ball&item=pictures%2F000040.jpg")
    page.wait_for_selector(".verdict")
    page.wait_for_selector(".cell.shown")
    button = page.get_by_role("button", name="Why was this found?")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    veil, image = (box_of(page.locator(name)) for name in (".why-veil", ".inspected-preview img"))
    assert veil == pytest.approx(image, abs=1.5)
    asked = stand_in.asked("/api/heat")
    assert asked == [{"parts": [{"text": "red ball", "weight": 1}], "number": 40, "version": 3}]
    read = "[...document.querySelector('.why-veil').getContext('2d').getImageData(0, 0, 4, 4).data]"
    alpha = page.evaluate(read)[3::4]
    assert [value < 10 for value in alpha] == [row < 2 and column < 2 for row in range(4) for column in range(4)]
    expect(page.locator(".why-sentence")).to_contain_text("Bright: what the search rests on.")
    button.click()
    expect(page.locator(".why-veil, .why-sentence")).to_have_count(0)


@pytest.mark.slow
def test_why_a_text_was_found_is_shown_in_its_words(open_page: OpenPage) -> None:
    page = open_page("#p=1~t~red+ball&find=text&item=text%2Fpictures%2F000040.jpg")
    page.wait_for_selector(".verdict")
    page.wait_for_selector(".cell")
    page.get_by_role("button", name="Why was this found?").click()
    expect(page.locator(".why-word")).to_have_count(7)
    expect(page.locator(".why-sentence")).to_have_text("The search rests most on “red”.")
    expect(page.locator(".inspected-words")).to_have_text("a red ball on snow, number 40")


@pytest.mark.slow
def test_without_a_search_there_is_nothing_to_explain(open_page: OpenPage) -> None:
    page = open_page("#item=pictures%2F000040.jpg")
    page.wait_for_selector(".inspected-preview")
    expect(page.get_by_role("button", name="Why was this found?")).to_have_count(0)

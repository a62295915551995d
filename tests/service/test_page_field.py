"""The field: what typing, Enter and the list below it do. Against the stand-in."""

from __future__ import annotations

import re

import pytest

from service.page_fixtures import OpenPage, box_of, search, tiles, until, until_received
from service.stand_in import StandIn
from service.test_page_query import bring, picture

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser, by playwright")
expect = sync_api.expect


def test_enter_keeps_the_words_and_another_text_takes_their_place(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    expect(page.locator("#words")).to_be_focused()
    search(page, "red ball")
    expect(page.locator("#words")).to_have_value("red ball")
    expect(page.locator("#chips-row")).to_be_hidden()
    search(page, "blue moon")
    expect(page.locator(".cell img").first).to_have_attribute("alt", re.compile("blue moon"))
    until_received(page, stand_in, "/api/rank", parts=[{"text": "blue moon", "weight": 1}])
    page.go_back()
    expect(page.locator("#words")).to_have_value("red ball")
    page.go_back()
    expect(page.locator(".welcome")).to_be_visible()
    page.go_forward()
    expect(page.locator("#words")).to_have_value("red ball")


def test_a_cross_clears_the_words(open_page: OpenPage) -> None:
    page = open_page()
    cross = page.get_by_role("button", name="Clear the words")
    expect(cross).to_be_hidden()
    search(page, "red ball")
    cross.click()
    expect(page.locator("#words")).to_have_value("")
    expect(page.locator("#words")).to_be_focused()
    expect(page.locator(".welcome")).to_be_visible()


def test_words_are_combined_only_where_that_is_asked_for(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    search(page, "red ball")
    page.get_by_role("button", name="Combine with another").click()
    expect(page.locator(".chip-name")).to_have_text("red ball")
    expect(page.locator("#words")).to_have_value("")
    expect(page.locator(".chip-weight")).to_have_count(0)
    search(page, "snow")
    wanted = [{"text": "red ball", "weight": 1}, {"text": "snow", "weight": 1}]
    until_received(page, stand_in, "/api/rank", parts=wanted)


def test_a_picture_joins_the_words(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    search(page, "red ball")
    bring(page, "drop", picture())
    expect(page.locator(".chip-name")).to_have_text(["red ball", "Image"])
    expect(page.locator("#words")).to_have_value("")
    (name,) = stand_in.uploads
    wanted = [{"text": "red ball", "weight": 1}, {"upload": name, "weight": 1}]
    until_received(page, stand_in, "/api/rank", parts=wanted)


def test_quotation_marks_are_no_words(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    search(page, "\"red\" 'ball' don't")
    until_received(page, stand_in, "/api/rank", parts=[{"text": "red ball don't", "weight": 1}])


def test_words_of_the_captions_complete_what_is_typed(open_page: OpenPage) -> None:
    page = open_page()
    field = page.locator("#words")
    field.press_sequentially("red b")
    options = page.get_by_role("option")
    expect(options).to_have_text(["red blue104", "red brown105", "red ball104", "red box103"])
    expect(field).to_have_attribute("aria-expanded", "true")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    active = field.get_attribute("aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("data-text") == "red ball"
    expect(field).to_be_focused()
    page.keyboard.press("Enter")
    expect(field).to_have_value("red ball")
    expect(page.get_by_role("listbox")).to_be_hidden()
    expect(page.locator(".cell img").first).to_have_attribute("alt", re.compile("red ball"))
    field.press_sequentially(" on sn")
    expect(options).to_have_text(["red ball on snow104"])
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    expect(field).to_be_focused()
    expect(field).to_have_value("red ball on sn")


def test_a_word_that_may_go_on_is_not_called_unknown_yet(open_page: OpenPage) -> None:
    page = open_page()
    page.clock.install(time=0)
    page.clock.pause_at(60)
    page.locator("#words").focus()
    page.keyboard.type("red bal")
    page.clock.run_for(200)
    page.wait_for_selector(".cell .match:not(:empty)")
    expect(page.locator(".intro-line.banner")).to_have_count(0)
    page.clock.run_for(2000)  # a pause
    expect(page.locator(".intro-line.banner")).to_contain_text("“bal”")
    page.keyboard.type("l")
    page.clock.run_for(200)
    expect(page.locator(".intro-line.banner")).to_have_count(0)


def test_a_phone_taps_a_completion_and_its_keyboard_goes(open_page: OpenPage) -> None:
    page = open_page(width=390, height=844, has_touch=True, is_mobile=True)
    page.locator("#words").tap()
    page.keyboard.type("gre")
    option = page.get_by_role("option").first
    expect(option).to_contain_text("green")  # and no longer what "gr" gave
    assert box_of(option)["height"] >= 44
    option.tap()
    expect(page.locator("#words")).to_have_value("green")
    expect(page.locator("#words")).not_to_be_focused()
    page.locator("#words").fill("red ball")
    page.locator("#words").press("Enter")
    expect(page.locator("#words")).not_to_be_focused()
    expect(page.locator("#words")).to_have_value("red ball")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert box_of(page.locator("#words"))["width"] > 150


def test_what_was_searched_for_last_is_offered_in_the_empty_field(open_page: OpenPage) -> None:
    page = open_page()
    for words in ("red ball", "blue moon", "red ball"):
        search(page, words)
    page.reload()
    page.get_by_role("button", name="Clear the words").click()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option")).to_have_text(["red ball", "blue moon"])
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator("#words")).to_have_value("blue moon")
    until(page, "document.title.startsWith('blue moon')")
    page.get_by_role("button", name="Clear the words").click()
    page.locator("#words").click()
    page.get_by_role("button", name="Forget these").click()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("listbox")).to_be_hidden()


def test_a_file_that_cannot_be_read_is_named_and_nothing_is_tried_again(open_page: OpenPage) -> None:
    page = open_page()
    page.expected = ("415",)
    bring(page, "drop", "bm8gcGljdHVyZQ==", "image/heic")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("picture: Refused: the service reads JPEG, PNG and WebP.")
    expect(alert.get_by_role("button", name="Retry")).to_have_count(0)
    search(page, "red ball")  # going on takes the message away
    expect(alert).to_have_count(0)


def test_a_long_query_is_read_out_short(open_page: OpenPage) -> None:
    page = open_page()
    search(page, "red ball " * 60)
    until(page, "document.querySelector('#live').textContent !== ''")
    assert len(page.locator("#live").inner_text()) < 140
    assert tiles(page)

"""Searching on the page: typing, thousands of results, and finding one's place again. Against the stand-in."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest

from service.page_fixtures import OpenPage, first_visible, search, tiles, until, until_received
from service.stand_in import StandIn

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser, by playwright")
expect = sync_api.expect


def asked_words(stand_in: StandIn) -> list[list[str]]:
    return [[part.get("text", "") for part in query["parts"]] for query in stand_in.asked("/api/rank")]


def test_typing_asks_once_it_pauses(open_page: OpenPage, stand_in: StandIn) -> None:
    """Twelve letters at 60 ms each: one question, when they are all there."""
    page = open_page()
    page.clock.install(time=0)
    page.clock.pause_at(60)
    page.locator("#words").focus()
    for letter in "red ball now":
        page.keyboard.type(letter)
        page.clock.run_for(60)
    assert asked_words(stand_in) == []
    page.clock.run_for(100)
    page.wait_for_selector(".cell .match:not(:empty)")
    assert asked_words(stand_in) == [["red ball now"]]


def test_a_late_reply_never_replaces_a_newer_one(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.delays["/api/rank red ball"] = 0.8
    page = open_page()
    page.locator("#words").fill("red ball")
    until_received(page, stand_in, "/api/rank")
    page.locator("#words").fill("blue moon")
    page.locator("#words").press("Enter")
    expect(page.locator(".cell img").first).to_have_attribute("alt", re.compile("blue moon"))
    page.wait_for_timeout(1000)
    assert all("blue moon" in tile["name"] for tile in tiles(page)[:5])
    assert asked_words(stand_in) == [["red ball"], ["blue moon"]]


def test_enter_asks_nothing_that_typing_has_asked(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    page.locator("#words").fill("red ball")
    page.wait_for_selector(".cell .match.strong")
    page.locator("#words").press("Enter")
    page.wait_for_timeout(300)
    assert asked_words(stand_in) == [["red ball"]]


def test_five_thousand_results_are_two_hundred_tiles(open_page: OpenPage, stand_in: StandIn) -> None:
    """At both ends: few tiles, in the order of rank, none over another, and each the item of its rank."""
    page = open_page()
    search(page, "red ball")
    page.locator("#tail button").click()
    numbers, *_ = stand_in.rank(stand_in.asked("/api/rank")[-1])
    for key in ("Control+Home", "Control+End"):
        page.locator(".cell[tabindex='0']").focus()
        page.keyboard.press(key)
        until(
            page, "(place) => document.activeElement.dataset.place === String(place)", arg=4999 if "End" in key else 0
        )
        until(page, "document.activeElement.querySelector('img').alt !== ''")
        until(page, "document.activeElement.classList.contains('shown')")
        there = tiles(page)
        places = [tile["place"] for tile in there]
        assert len(there) <= 200
        assert places == sorted(places)
        assert all(tile["name"] == stand_in.text(int(numbers[tile["place"]])) for tile in there if tile["name"])
        for one, other in combinations(there, 2):
            apart = one["right"] <= other["left"] + 0.5 or other["right"] <= one["left"] + 0.5
            apart = apart or one["bottom"] <= other["top"] + 0.5 or other["bottom"] <= one["top"] + 0.5
            assert apart, (one, other)
    assert max(places) == 4999
    expect(page.locator("#tail")).to_be_hidden()
    expect(page.locator(".divider")).to_have_text(["Less sure from here", "The rest, the closest first"])


def test_nothing_moves_while_previews_arrive(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.delays["/t"] = 0.5
    page = open_page("#p=1~t~green+hill")
    page.wait_for_selector(".cell .match.strong")
    page.evaluate(
        """() => { window.shift = 0; new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) window.shift += entry.value;
        }).observe({type: 'layout-shift'}); }"""
    )
    assert page.locator(".cell.shown").count() == 0
    until(page, "document.querySelectorAll('.cell.shown').length > 20")
    assert page.evaluate("window.shift") == 0


def test_back_returns_to_the_same_place(open_page: OpenPage) -> None:
    page = open_page()
    search(page, "red ball")
    page.evaluate("document.querySelector('#scroller').scrollTop = 6000")
    page.wait_for_timeout(300)
    place = first_visible(page)
    assert place > 50
    row = 10  # tiles at most
    page.locator(f".cell[data-place='{place + 8}']").click()
    page.wait_for_selector("#inspector:not([hidden]) .verdict")
    page.locator(".item-action.like").click()
    until(page, "document.title.startsWith('an image')")
    until(page, "document.querySelector('#scroller').scrollTop === 0")
    for _ in range(2):
        page.go_back()
        until(page, "document.querySelector('#scroller').scrollTop > 3000")
    expect(page.locator("#inspector")).to_be_hidden()
    assert abs(first_visible(page) - place) <= row


def test_a_reload_shows_the_same(open_page: OpenPage) -> None:
    page = open_page("#p=1~t~red+ball&p=-0.7~t~snow&p=0.5~i~pictures%2F000012.jpg&where=label%3Dred%7Cblue")
    page.wait_for_selector(".cell.shown")
    until(page, "document.querySelectorAll('.chip-name')[2].textContent.includes('number 12')")

    def seen() -> tuple[Any, ...]:
        until(page, "document.querySelectorAll('.cell img:not([alt=\"\"])').length > 10")
        return page.locator("#chips").inner_text(), [tile["name"] for tile in tiles(page)][:10], page.url

    before = seen()
    assert "red ball" in before[0] and "snow" in before[0] and "×0.5" in before[0]
    page.reload()
    page.wait_for_selector(".cell.shown")
    until(page, "document.querySelectorAll('.chip-name')[2].textContent.includes('number 12')")
    assert seen() == before


def test_nonsense_is_called_so_by_its_words(open_page: OpenPage) -> None:
    page = open_page()
    search(page, "qwzx vbbn")
    expect(page.locator("#intro")).to_have_text(
        "None of the 5,000 captions uses “qwzx” or “vbbn”, so these are guesses."
    )
    assert not {tile["match"] for tile in tiles(page)} & {"strong match", "likely match"}
    expect(page.locator("#live")).to_have_text("No caption uses qwzx, vbbn; guesses are shown")


def test_words_that_occur_are_never_called_nonsense(open_page: OpenPage) -> None:
    """However poorly all results score: then a small grey line says so, and no number is shown."""
    page = open_page("#p=1~t~red&p=1~t~snow&p=1~t~kite&p=1~t~water&p=1~t~moon&where=label%3Dgrey")
    page.wait_for_selector(".cell.shown")
    expect(page.locator(".intro-line.banner")).to_have_count(0)
    expect(page.locator(".intro-line.few")).to_have_text("Few clear matches.")
    assert "%" not in page.locator("#results").inner_text()


def test_a_filter_that_lets_nothing_through_can_be_removed(open_page: OpenPage) -> None:
    page = open_page("#p=1~t~red+ball&where=label%3Dpink")
    expect(page.locator("#intro")).to_contain_text("Nothing passes the filter label=pink.")
    page.locator("#intro").get_by_role("button", name="Remove label=pink").click()
    page.wait_for_selector(".cell.shown")


def test_texts_can_be_found(open_page: OpenPage) -> None:
    page = open_page("#p=1~t~red+ball")
    page.get_by_role("button", name="Texts").click()
    page.wait_for_selector(".cell.text")
    assert tiles(page)[0]["name"].startswith("a red ball")


def test_a_failure_keeps_the_results_and_can_be_tried_again(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    page.expected = ("500",)
    search(page, "red ball")
    stand_in.failures["/api/rank"] = (500, "The disk is full; make room and try again.")
    page.evaluate("location.hash = '#p=1~t~blue+moon'")
    expect(page.get_by_role("alert")).to_contain_text("It failed. The disk is full; make room and try again.")
    assert "red ball" in tiles(page)[0]["name"]
    del stand_in.failures["/api/rank"]
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".cell img").first).to_have_attribute("alt", re.compile("blue moon"))
    expect(page.get_by_role("alert")).to_have_count(0)


def test_slow_work_dims_the_results_and_never_hides_them(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    search(page, "red ball")
    stand_in.delays["/api/rank blue moon"] = 1.5
    page.evaluate("location.hash = '#p=1~t~blue+moon'")
    until(page, "!document.querySelector('#progress').hidden")
    expect(page.locator(".summary")).to_have_text("Still showing: red ball")
    assert page.locator("#results.waiting").count() == 1
    assert "red ball" in tiles(page)[0]["name"]
    expect(page.locator(".cell img").first).to_have_attribute("alt", re.compile("blue moon"))
    expect(page.locator("#progress")).to_be_hidden()


def test_a_preview_that_cannot_be_read_shows_its_name(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    page.expected = ("404",)
    numbers, *_ = stand_in.rank({"parts": [{"text": "red ball"}]})
    stand_in.missing_thumbnails.add(int(numbers[2]))
    search(page, "red ball")
    expect(page.locator(".cell.broken .words")).to_have_text(f"{numbers[2]:06d}.jpg")


def test_another_version_of_the_index_is_followed(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    page.expected = ("409",)
    search(page, "red ball")
    stand_in.version += 1
    page.evaluate("document.querySelector('#scroller').scrollTop = 20000")
    until(page, "document.querySelectorAll('.cell.shown').length > 10")
    search(page, "blue moon")
    assert stand_in.requests and not page.locator("[role=alert]").count()


def test_a_caption_of_markup_is_shown_as_text(open_page: OpenPage) -> None:
    page = open_page("#item=pictures%2F000007.jpg")
    caption = page.locator(".inspected-caption")
    expect(caption).to_have_text('</script><img src=x onerror=alert(1)> & a "quoted" <b>caption</b>')
    assert page.locator("img[src='x'], .inspected-caption b").count() == 0
    search(page, "<img src=x>")
    expect(page.locator("#intro")).to_contain_text("uses “<img” or “src=x>”")
    assert page.locator("img[src='x']").count() == 0


def test_the_time_to_the_first_row_is_measured(open_page: OpenPage) -> None:
    page = open_page()
    search(page, "red ball")
    until(page, "performance.getEntriesByName('cospace:first-row').length === 1")

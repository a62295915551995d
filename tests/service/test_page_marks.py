"""Results marked right or wrong, the classes they make, and what is said of a poor model. Against the stand-in."""

from __future__ import annotations

from typing import Any

import pytest

from service.page_fixtures import OpenPage, tiles, until, until_received
from service.stand_in import StandIn

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser, by playwright")
expect = sync_api.expect
RANK = "/api/rank"
RED_BALL = "#q=red+ball"


def opened(open_page: OpenPage, hash: str = RED_BALL, **context: Any) -> Any:
    page = open_page(hash, **context)
    page.wait_for_selector(".cell.shown")
    return page


def settled(page: Any) -> None:
    until(page, "!document.querySelector('#results[aria-busy]')")


def best(stand_in: StandIn, count: int) -> list[str]:
    """Ids of the first results, without marks."""
    numbers, *_ = stand_in.rank({"parts": [{"text": "red ball"}]})
    return [stand_in.item(int(number))["id"] for number in numbers[:count]]


def test_the_buttons_of_a_result_move_the_query_and_take_the_mark_back(open_page: OpenPage, stand_in: StandIn) -> None:
    page = opened(open_page)
    first = best(stand_in, 1)[0]
    page.locator(".cell").first.click()
    right, wrong = (page.locator(f"#inspector [data-mark={side}]") for side in ("right", "wrong"))
    expect(right).to_contain_text("Right")
    expect(right).to_have_attribute("aria-pressed", "false")
    right.click()
    expect(right).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".marks .chip-name")).to_have_text("1 right")
    expect(page.locator(".cell.right")).to_have_count(1)
    until_received(page, stand_in, RANK, right=[first], wrong=[])
    right.click()
    expect(right).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".marks")).to_be_hidden()
    expect(page.locator("#chips-row")).to_be_hidden()

    wrong.click()
    expect(wrong).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".marks .chip-name")).to_have_text("1 wrong")
    until_received(page, stand_in, RANK, right=[], wrong=[first])
    settled(page)
    name = stand_in.text(stand_in.number(first))
    assert name not in [tile["name"] for tile in tiles(page)]
    page.get_by_role("button", name="Next", exact=True).click()  # what has come in its place
    until(page, "(id) => !decodeURIComponent(location.hash).includes(`item=${id}`)", first)
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(page.locator(".marks")).to_be_hidden()
    until(page, "(name) => [...document.querySelectorAll('.cell img')].some((image) => image.alt === name)", name)


def test_keys_mark_in_the_grid_and_back_undoes(open_page: OpenPage, stand_in: StandIn) -> None:
    page = opened(open_page)
    page.locator(".cell").first.focus()
    page.keyboard.press("y")
    expect(page.locator(".marks .chip-name")).to_have_text("1 right")
    settled(page)
    page.keyboard.press("ArrowRight")
    place = page.evaluate("Number(document.activeElement.dataset.place)")
    assert place == 1
    name = page.evaluate("document.activeElement.querySelector('img').alt")
    page.keyboard.press("n")
    expect(page.locator(".marks .chip-name")).to_have_text("1 right, 1 wrong")
    settled(page)
    until(page, "(name) => ![...document.querySelectorAll('.cell img')].some((image) => image.alt === name)", name)
    assert page.evaluate("Number(document.activeElement.dataset.place)") == 1  # and on with the next
    page.go_back()
    expect(page.locator(".marks .chip-name")).to_have_text("1 right")
    page.go_back()
    expect(page.locator(".marks")).to_be_hidden()
    page.go_forward()
    expect(page.locator(".marks .chip-name")).to_have_text("1 right")
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_contain_text("Mark as right, as wrong")


def test_marks_are_in_the_address_the_menu_and_the_bar(open_page: OpenPage, stand_in: StandIn) -> None:
    first, second, third = best(stand_in, 3)
    page = opened(open_page, f"{RED_BALL}&right={first}&right={second}&wrong={third}".replace("/", "%2F"))
    expect(page.locator(".marks .chip-name")).to_have_text("2 right, 1 wrong")
    until_received(page, stand_in, RANK, right=[first, second], wrong=[third])
    page.locator(".cell").first.click(button="right")
    expect(page.get_by_role("menuitem", name="Mark as right")).to_be_visible()
    page.get_by_role("menuitem", name="Mark as wrong").click()
    expect(page.locator(".marks .chip-name")).to_contain_text("2 wrong")
    page.get_by_role("button", name="Take all marks back").click()
    expect(page.locator(".marks")).to_be_hidden()
    assert "right=" not in page.url and "wrong=" not in page.url
    until_received(page, stand_in, RANK, right=None, wrong=None, parts=[{"text": "red ball", "weight": 1}])


@pytest.mark.slow
def test_another_text_forgets_the_marks_and_one_more_part_keeps_them(open_page: OpenPage, stand_in: StandIn) -> None:
    first = best(stand_in, 1)[0]
    page = opened(open_page, f"{RED_BALL}&right={first}".replace("/", "%2F"))
    page.locator(".cell").nth(3).focus()
    page.keyboard.press("+")
    expect(page.locator(".chip-menu-button")).to_have_count(2)
    expect(page.locator(".marks .chip-name")).to_have_text("1 right")
    page.locator(".chip-remove").first.click()  # the words
    expect(page.locator(".marks")).to_be_hidden()
    page = opened(open_page, f"{RED_BALL}&right={first}".replace("/", "%2F"))
    page.locator("#words").fill("blue moon")
    until(page, "location.hash.includes('blue')")
    expect(page.locator(".marks")).to_be_hidden()
    assert "right=" not in page.url


@pytest.mark.slow
def test_without_a_search_nothing_is_marked(open_page: OpenPage, stand_in: StandIn) -> None:
    page = opened(open_page, "")
    page.locator(".cell").first.focus()
    page.keyboard.press("y")
    expect(page.locator(".toast")).to_contain_text("Search first")
    page.locator(".cell").first.click()
    expect(page.locator("#inspector .item-action").first).to_be_visible()
    expect(page.locator("#inspector [data-mark]")).to_have_count(0)


@pytest.mark.slow
def test_marks_become_a_class_that_filters_and_can_be_deleted(open_page: OpenPage, stand_in: StandIn) -> None:
    first, second = best(stand_in, 2)
    page = opened(open_page, f"{RED_BALL}&right={first}&wrong={second}".replace("/", "%2F"))
    page.get_by_role("button", name="Save as a class…").click()
    name = page.get_by_label("Name", exact=True)
    expect(name).to_have_value("red ball")
    name.fill("red things")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".toast")).to_contain_text("Saved. The filter class:red things keeps 12 images.")
    expect(page.locator("dialog")).to_have_count(0)
    parts = [{"text": "red ball", "weight": 1}]
    assert stand_in.asked("/api/classes") == [
        {"name": "red things", "parts": parts, "right": [first], "wrong": [second]}
    ]
    page.locator(".toast").get_by_role("button", name="Use it").click()
    until(page, "decodeURIComponent(location.hash).replaceAll('+', ' ').includes('where=class:red things')")
    expect(page.locator("#grid")).to_have_attribute("aria-label", "12 items")

    page.get_by_role("button", name="Filters").click()
    expect(page.locator(".filter-section legend")).to_have_text(["Your classes", "label", "year"])
    box = page.get_by_role("checkbox", name="red things")
    expect(box).to_be_checked()
    box.uncheck()
    until(page, "!location.hash.includes('class')")
    box.check()
    until(page, "location.hash.includes('class')")
    page.get_by_role("button", name="Delete the class red things").click()
    page.locator(".class-row").get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(".class-row")).to_have_count(0)
    until(page, "!location.hash.includes('class')")
    assert stand_in.classes == {}


@pytest.mark.slow
def test_classes_are_filters_where_items_have_no_columns(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.columned = False
    page = opened(open_page)
    expect(page.locator(".filters-button")).to_be_hidden()
    stand_in.classes["mine"] = [1, 2, 3]
    page = opened(open_page)
    page.locator(".filters-button").click()
    page.get_by_role("checkbox", name="mine").check()
    expect(page.locator("#grid")).to_have_attribute("aria-label", "3 items")


@pytest.mark.slow
def test_an_index_that_cannot_be_written_says_so(open_page: OpenPage, stand_in: StandIn) -> None:
    page = opened(open_page, f"{RED_BALL}&right={best(stand_in, 1)[0]}".replace("/", "%2F"))
    said = "the class cannot be kept: the folder of the index cannot be written (read-only file system)"
    stand_in.failures["/api/classes"] = (503, said)
    page.expected = ("503",)
    page.get_by_role("button", name="Save as a class…").click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".save-problem")).to_have_text(said)
    expect(page.locator("dialog")).to_be_visible()
    del stand_in.failures["/api/classes"]
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".toast")).to_contain_text("Saved.")


@pytest.mark.slow
def test_of_a_model_that_learned_little_one_sentence_is_said_and_no_percentage(
    open_page: OpenPage, stand_in: StandIn
) -> None:
    said = "This model has learned little so far (How good is it?). Results are in order; percentages are left out."
    stand_in.quality = "poor"
    page = opened(open_page, "")
    line = page.locator("#intro", has_text="learned little")
    expect(line.locator(".intro-line")).to_have_text(said)
    page.locator("#words").fill("red ball")
    until(page, "document.title.startsWith('red ball')")
    expect(page.locator("#intro .intro-line")).to_have_text(said)  # once
    settled(page)
    page.locator(".cell").first.click()
    expect(page.locator(".verdict")).to_be_visible()
    assert "%" not in page.locator(".evidence").inner_text()
    assert "in 10" not in page.locator(".evidence").inner_text()
    page.get_by_role("link", name="How good is it?").click()
    expect(page.locator("#health-view")).to_be_visible()
    stand_in.quality = "good"
    page = opened(open_page)
    page.locator(".cell").first.click()
    expect(page.locator(".verdict-percent")).to_contain_text("%")
    expect(page.locator("#intro .intro-line")).to_have_count(0)

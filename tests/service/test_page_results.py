"""What results say, where they end, and what can be done with one of them. Against the stand-in."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from service.page_fixtures import OpenPage, box_of, first_visible, search, tiles, until, until_received
from service.stand_in import StandIn

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser, by playwright")
expect = sync_api.expect
RED_BALL = "#q=red+ball"


def test_results_end_where_they_fit_no_more_and_the_rest_is_asked_for(open_page: OpenPage) -> None:
    page = open_page("#q=red+ball&where=label%3Dred")
    page.wait_for_selector(".cell.shown")
    expect(page.locator(".summary")).to_have_text("125 likely matches · 500 more that may fit")
    expect(page.locator("#grid")).to_have_attribute("aria-label", "625 items")
    page = open_page("#q=red+ball+grey+hill+snow+kite&where=label%3Dred%7Cblue")
    page.wait_for_selector(".cell.shown")
    shown = int(page.locator("#grid").get_attribute("aria-label").split()[0])
    assert shown < 1250
    page.locator(".cell[tabindex='0']").focus()
    page.keyboard.press("Control+End")
    height = tiles(page)[-2]["bottom"] - tiles(page)[-2]["top"]
    page.get_by_role("button", name=f"Show the rest ({1250 - shown:,})").click()
    expect(page.locator("#grid")).to_have_attribute("aria-label", "1,250 items")
    assert page.evaluate("Number(document.activeElement.dataset.place)") == shown
    rest = [tile for tile in tiles(page) if tile["place"] > shown]
    assert rest[0]["bottom"] - rest[0]["top"] < 0.9 * height


def test_a_search_by_a_picture_ends_too(open_page: OpenPage) -> None:
    page = open_page("#p=1~i~pictures%2F000040.jpg")
    page.wait_for_selector(".cell.shown")
    expect(page.locator("#tail")).to_contain_text("Show the rest")
    page = open_page("#q=qwzx")  # and one of which nothing is sure
    expect(page.locator("#grid")).to_have_attribute("aria-label", "60 items")


def test_words_say_how_well_a_tile_matches_and_numbers_wait_inside(open_page: OpenPage) -> None:
    page = open_page(RED_BALL)
    page.wait_for_selector(".cell.shown")
    assert tiles(page)[0]["match"] == "strong match"
    assert "%" not in page.locator("#results").inner_text()
    page.locator(".cell").first.click()
    expect(page.locator(".verdict strong")).to_have_text("Strong match")
    expect(page.locator(".evidence .hint")).to_have_text(
        "About 9 in 10 results that score like this were right, in a test on unseen captions."
    )
    expect(page.locator(".figures")).not_to_be_visible()
    page.locator(".details summary").click()
    expect(page.locator(".figures")).to_contain_text("Similarity")


def test_what_a_caption_says_is_not_called_a_score(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.by_caption = 1
    page = open_page(RED_BALL)
    page.wait_for_selector(".cell.shown")
    expect(page.locator("#literal")).to_be_hidden()
    page.locator(".cell").first.click()
    expect(page.locator(".evidence .hint")).to_have_text(
        "Its caption says so; by similarity alone this would be less sure."
    )
    expect(page.locator(".verdict-percent")).to_have_count(0)


def test_below_a_tenth_there_is_no_number(open_page: OpenPage, stand_in: StandIn) -> None:
    number = int(stand_in.rank({"parts": [{"text": "qwzx"}]})[0][0])
    page = open_page(f"#q=qwzx&item=pictures%2F{number:06d}.jpg")
    page.wait_for_selector(".figures dd", state="attached")
    assert "%" not in page.locator(".evidence").inner_text()


def test_captions_that_say_it_have_a_row_of_their_own(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page("#q=yellow+kite+on+snow")
    expect(page.locator("#literal h2")).to_have_text(re.compile(r"Captions that say it\d+"))
    first = page.locator(".literal-item img").first
    assert {"yellow", "kite", "snow"} <= set(first.get_attribute("alt").replace(",", "").split())
    page.locator(".literal-item").first.click()
    expect(page.locator("#inspector .inspected-caption")).to_contain_text("yellow kite on snow")
    expect(page.locator(".inspected-caption mark")).to_have_text(["yellow", "kite", "on", "snow"])
    search(page, "qwzx")
    expect(page.locator("#literal")).to_be_hidden()


def test_everything_can_be_looked_through(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    page.wait_for_selector(".cell.shown")
    assert tiles(page)[0]["top"] < 360
    expect(page.locator(".group")).to_have_count(8)
    expect(page.locator(".group").first).to_contain_text("red things")
    expect(page.locator("#grid")).to_have_attribute("aria-label", "2,000 items")
    page.evaluate("document.querySelector('#scroller').scrollTop = 1e6")
    expect(page.locator("#grid")).to_have_attribute("aria-label", "4,000 items")
    place = first_visible(page)
    assert 1900 < place < 2000  # and stays where it was
    page.evaluate("document.querySelector('#scroller').scrollTop = 1e6")
    expect(page.locator("#grid")).to_have_attribute("aria-label", "5,000 items")
    page.locator(".group").nth(1).evaluate("(node) => node.click()")
    expect(page.locator("#words")).to_have_value("orange things")


def test_without_groups_there_is_no_empty_row(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.grouped = False
    page = open_page()
    page.wait_for_selector(".cell.shown")
    expect(page.locator(".groups")).to_be_hidden()


def test_a_tile_has_its_buttons_under_the_pointer(open_page: OpenPage) -> None:
    page = open_page(RED_BALL)
    page.wait_for_selector(".cell.shown")
    cell = page.locator(".cell").nth(2)
    strip = cell.locator(".strip")
    expect(strip).to_have_css("opacity", "0")
    cell.hover()
    expect(strip).to_have_css("opacity", "1")
    assert box_of(strip)["height"] < 0.35 * box_of(cell)["height"]
    assert re.fullmatch(r"strong match\s*a red ball [\w ,]+", strip.inner_text())  # and neither rank nor share
    boxes = [box_of(tool) for tool in cell.locator(".tool").all()]
    places = sorted((box["x"], box["x"] + box["width"]) for box in boxes)
    assert all(left[1] <= right[0] for left, right in pairwise(places)), (
        "no button lies on another, also on a small tile"
    )
    cell.locator(".tool.pick").click()
    expect(page.locator(".picks")).to_contain_text("1 selected")
    expect(page.locator("#inspector")).to_be_hidden()
    cell.locator(".tool.plus").click()
    expect(page.locator(".chip-menu-button")).to_have_count(2)
    until(page, "!document.querySelector('#results[aria-busy]')")  # other results take the buttons away
    page.locator(".cell").nth(1).hover()
    page.locator(".cell").nth(1).locator(".tool.like").click()
    until(page, "document.title.startsWith('an image')")


def test_fingers_see_a_caption_below_each_tile(open_page: OpenPage) -> None:
    page = open_page(RED_BALL, width=390, height=844, has_touch=True, is_mobile=True)
    page.wait_for_selector(".cell.shown")
    cell, image = page.locator(".cell").first, page.locator(".cell img").first
    expect(cell.locator(".caption")).to_contain_text("a red ball")
    assert box_of(cell.locator(".caption"))["y"] >= box_of(image)["y"] + box_of(image)["height"] - 1


@pytest.mark.slow
def test_texts_are_a_list_with_their_pictures_and_the_words_in_bold(open_page: OpenPage) -> None:
    page = open_page(RED_BALL + "&find=text")
    page.wait_for_selector(".cell.pictured.shown")
    cell = page.locator(".cell").first
    expect(cell.locator(".words mark")).to_have_text(["red", "ball"])
    picture, words = box_of(cell.locator("img")), box_of(cell.locator(".words"))
    assert picture["x"] + picture["width"] <= words["x"]
    assert words["height"] > 0.15 * picture["height"]
    cell.click()
    expect(page.locator(".paired h3")).to_have_text("Its image")
    page.locator(".paired .mini").click()
    expect(page.locator("#inspector h2")).to_have_text("Image")


def test_small_pictures_are_enlarged_a_little_and_no_more(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.shrunk = 8  # 50 to 80 pixels high
    page = open_page(RED_BALL)
    page.wait_for_selector(".cell.shown")
    tallest = max(tile["bottom"] - tile["top"] for tile in tiles(page))
    assert tallest < 1.75 * 60  # of the usual height; rows are a little taller where they fill the width


@pytest.mark.slow
def test_the_viewer_goes_on_and_enlarges_at_most_twice(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.shrunk = 4
    page = open_page(RED_BALL)
    page.wait_for_selector(".cell.shown")
    page.locator(".cell").first.click()
    page.locator(".inspected-preview").click()
    image = page.locator(".viewer img")
    image.wait_for()
    until(page, "document.querySelector('.viewer img').complete")
    first = image.get_attribute("alt")
    expect(page.locator(".viewer-caption")).to_have_text(first)
    number = int(re.search(r"number (\d+)", first)[1])
    width, _ = stand_in.shape(number)
    assert abs(box_of(image)["width"] - 2 * width) < 2
    page.get_by_role("button", name="Actual size").click()
    assert abs(box_of(image)["width"] - width) < 2
    page.locator(".viewer-stage").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".viewer-caption")).not_to_have_text(first)
    second = page.locator(".viewer-caption").inner_text()
    page.keyboard.press("Escape")
    expect(page.locator(".inspected-caption")).to_have_text(second)


def test_the_inspector_speaks_plainly(open_page: OpenPage) -> None:
    page = open_page("#item=pictures%2F000040.jpg")
    labels = page.locator(".item-action span")
    expect(labels).to_have_text(
        ["More like this", "Also like this", "Less like this", "Show on map", "Ask", "Put on the shelf",
         "Open the original", "Copy path", "Mark caption as wrong"]
    )  # fmt: skip
    with page.context.expect_page() as opened:
        page.locator(".item-action.original").click()
    assert opened.value.url.endswith("/o/h40")


def test_filters_are_boxes_and_ranges_and_stay_in_the_address(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page(RED_BALL)
    page.get_by_role("button", name="Filters").click()
    legends = page.locator(".filter-section legend")
    expect(legends).to_have_text(["label", "year"])
    expect(page.locator(".filter-value").first).to_have_text("red625")
    page.get_by_role("checkbox", name="red").check()
    until(page, "location.hash.includes('where=label%3Dred')")
    page.get_by_role("checkbox", name="blue").check()
    until(page, "location.hash.includes('where=label%3Dred%7Cblue')")
    page.get_by_role("checkbox", name="red").uncheck()
    until(page, "location.hash.includes('where=label%3Dblue')")
    until_received(page, stand_in, "/api/rank", where=["label=blue"])
    page.go_back()
    expect(page.get_by_role("checkbox", name="red")).to_be_checked()
    stand_in.failures["/api/rank"] = (422, "not asked here")
    page.expected = ("422",)
    page.get_by_role("spinbutton", name="from").fill("2001")
    page.keyboard.press("Enter")
    until(page, "decodeURIComponent(location.hash).includes('where=year>=2001')")


def test_the_query_is_out_of_the_way_where_it_means_nothing(open_page: OpenPage) -> None:
    page = open_page("#q=red&p=1~t~ball", width=820, height=1180)
    expect(page.locator("#chips-row")).to_be_visible()
    for view in ("Search", "Map", "Ask", "Health"):  # words at the width of a tablet
        expect(page.locator("#views span", has_text=view)).to_be_visible()
        assert box_of(page.locator("#views span", has_text=view))["width"] > 20
    for view in ("Ask", "Health"):
        page.click(f"#views >> text={view}")
        expect(page.locator("#chips-row")).to_be_hidden()
        expect(page.locator("#words")).to_have_attribute("placeholder", "Search your images")
    page.click("#views >> text=Search")
    expect(page.locator("#chips-row")).to_be_visible()
    expect(page.locator("#words")).to_have_attribute("placeholder", "Add words")


def test_results_are_put_on_the_shelf_with_notes_and_taken_along(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page(RED_BALL)
    page.wait_for_selector(".cell.shown")
    page.locator(".cell").first.focus()
    page.keyboard.press("s")
    expect(page.locator(".toast")).to_contain_text("1 item put on the shelf.")
    page.get_by_role("button", name="Shelf, 1 item").click()
    note = page.locator(".shelved input")
    note.fill("for the cover")
    note.press("Enter")
    (name,) = stand_in.shelf
    until_received(page, stand_in, "/api/shelf", ids=[name], note="for the cover")
    links = [link.get_attribute("href") for link in page.locator(".shelf-exports a").all()]
    assert links == [f"api/shelf/export?form={form}" for form in ("list", "csv", "zip")]
    page.get_by_role("button", name=re.compile("^Take .* off the shelf")).click()
    expect(page.locator(".shelf-body")).to_contain_text("Nothing here yet.")
    assert stand_in.shelf == {}


@pytest.mark.slow
def test_results_that_show_the_same_take_one_place(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.stacked.extend([[1, 0], [2, 0], [130, 129]])
    page = open_page(RED_BALL)
    page.wait_for_selector(".cell.shown")
    numbers, *_ = stand_in.rank({"parts": [{"text": "red ball"}]})
    expect(page.locator(".cell[data-place='0'] .behind")).to_have_text("+2")
    expect(page.locator(".cell[data-place='1'] img")).to_have_attribute("alt", stand_in.text(int(numbers[3])))
    expect(page.locator(".summary")).to_have_text("123 likely matches · 1,373 more that may fit")
    page.locator(".cell").first.click()
    same = page.locator(".paired", has_text="Shows the same").locator(".mini")
    expect(same).to_have_count(2)
    same.first.click()
    expect(page.locator(".inspected-caption")).to_have_text(stand_in.text(int(numbers[1])))


def test_all_captions_are_shown_and_that_of_the_query_is_marked(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.further += ["what the red one was", "a second look at it"]
    page = open_page("#q=red+ball&item=pictures%2F000040.jpg")
    captions = page.locator(".inspected-captions li")
    expect(captions).to_have_text(["a red ball on snow, number 40", "what the red one was", "a second look at it"])
    expect(page.locator(".inspected-caption")).to_have_count(0)
    expect(captions.nth(0).locator("mark")).to_have_text(["red", "ball"])
    edges = captions.evaluate_all("(all) => all.map((one) => getComputedStyle(one).borderLeftColor)")
    assert edges[0] == edges[1] != edges[2]


def test_names_and_figures_of_ours_are_folded_and_what_lies_around_a_picture_is_grey(open_page: OpenPage) -> None:
    page = open_page("#q=red+ball&item=pictures%2F000040.jpg")
    page.wait_for_selector(".figures dd", state="attached")
    shown = page.locator("#inspector").inner_text()
    assert "Similarity" not in shown and "pictures/000040.jpg" not in shown and "deviations" not in shown
    page.locator(".details summary").click()
    expect(page.locator(".details")).to_contain_text("pictures/000040.jpg")
    ground = page.locator(".inspected-preview").evaluate("(one) => getComputedStyle(one).backgroundColor")
    assert len(set(re.findall(r"\d+", ground))) == 1, f"no mean colour: {ground}"


def test_the_path_is_copied_as_this_machine_knows_it(open_page: OpenPage) -> None:
    page = open_page("#item=pictures%2F000040.jpg", permissions=["clipboard-read", "clipboard-write"])
    page.locator(".item-action.copy").click()
    expect(page.locator(".toast")).to_have_text("Copied: /somewhere/pictures/000040.jpg")
    assert page.evaluate("navigator.clipboard.readText()") == "/somewhere/pictures/000040.jpg"


def test_a_white_picture_has_an_edge(open_page: OpenPage) -> None:
    page = open_page(RED_BALL)
    page.wait_for_selector(".cell.shown")
    edge = page.locator(".cell").first.evaluate(
        "(one) => { const {content, borderTopWidth, borderTopStyle} = getComputedStyle(one, '::after');"
        " return content !== 'none' && borderTopStyle === 'solid' && borderTopWidth; }"
    )
    assert edge == "1px"

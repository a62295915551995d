"""Queries of several parts: chips, signs, weights, files that are brought, and drawings. Against the stand-in."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import pytest
from PIL import Image

from service.page_fixtures import OpenPage, box_of, search, tiles, until, until_received
from service.stand_in import StandIn

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser, by playwright")
expect = sync_api.expect


def picture(kind: str = "PNG", size: tuple[int, int] = (80, 60), orientation: int | None = None) -> str:
    """In base 64: red at the left, blue at the right, as stored."""
    image = Image.new("RGB", size, (220, 30, 30))
    image.paste((30, 40, 220), (size[0] // 2, 0, *size))
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, kind, exif=exif)
    return base64.b64encode(buffer.getvalue()).decode()


BRING = """([event, data, type, name]) => {
    const carried = new DataTransfer();
    if (data) {
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        carried.items.add(new File([bytes], name, {type}));
    } else carried.setData('text/uri-list', 'http://elsewhere.example/cat.jpg');
    const options = {bubbles: true, cancelable: true};
    document.body.dispatchEvent(event === 'paste'
        ? new ClipboardEvent('paste', {...options, clipboardData: carried})
        : new DragEvent('drop', {...options, dataTransfer: carried}));
}"""


def bring(page: Any, event: str, data: str | None, type: str = "image/png") -> None:
    """Paste or drop something with the focus on nothing."""
    page.evaluate("document.activeElement.blur()")
    page.evaluate(BRING, [event, data, type, "picture"])


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_an_image_brought_from_anywhere_is_searched_by(open_page: OpenPage, stand_in: StandIn, event: str) -> None:
    page = open_page()
    bring(page, event, picture())
    expect(page.locator(".chip-name")).to_have_text("Image")
    page.wait_for_selector(".cell .match:not(:empty)")
    (name,) = stand_in.uploads
    until_received(page, stand_in, "/api/rank", parts=[{"upload": name, "weight": 1}])
    until(page, "document.querySelector('.chip-preview').naturalWidth > 0")


def test_an_image_elsewhere_is_refused_and_nothing_is_sent(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    before = len(stand_in.requests)
    bring(page, "drop", None)
    expect(page.locator("#notices")).to_contain_text("Save the file first; this page never downloads from the web.")
    sent = [path for method, path, _ in stand_in.requests[before:] if method == "POST"]
    assert sent == []


def test_a_large_turned_photograph_is_sent_small_and_upright(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    bring(page, "drop", picture("JPEG", (1600, 1200), orientation=6), "image/jpeg")
    expect(page.locator(".chip-name")).to_have_text("Image")
    (data,) = stand_in.uploads.values()
    image = Image.open(io.BytesIO(data)).convert("RGB")
    assert image.size == (192, 256)
    top, bottom = image.getpixel((96, 20)), image.getpixel((96, 236))
    assert top[0] > 150 > top[2] and bottom[2] > 150 > bottom[0]


def test_what_is_no_image_is_said_by_the_server(open_page: OpenPage) -> None:
    page = open_page()
    page.expected = ("415",)
    bring(page, "drop", base64.b64encode(b"no picture").decode(), "image/heic")
    expect(page.get_by_role("alert")).to_contain_text("the service reads JPEG, PNG and WebP")


def test_an_upload_that_the_server_forgot_is_named_so(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page("#p=1~t~red+ball&p=0.5~u~0123456789abcdef")
    page.expected = ("404",)
    expect(page.locator(".chip.expired .chip-name")).to_have_text("image expired")
    page.wait_for_selector(".cell.shown")
    until_received(page, stand_in, "/api/rank", parts=[{"text": "red ball", "weight": 1}])
    expect(page.get_by_role("alert")).to_have_count(0)
    page.locator(".chip.expired .chip-menu-button").click()
    page.locator(".chip:not(.expired) .chip-menu-button").click()
    expect(page.locator(".chip-menu")).to_have_count(1)
    expect(page.locator(".chip-menu")).to_have_attribute("aria-label", "red ball")  # what is gone has nothing to be set
    expect(page.locator(".chip.expired .chip-amount")).to_have_text("")


def test_a_weight_moves_by_keys_and_encodes_nothing(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page("#p=1~t~red&p=0.1~t~blue")
    page.wait_for_selector(".cell.shown")
    before = [tile["name"] for tile in tiles(page)[:10]]
    assert all("red" in name for name in before)
    encodings = stand_in.encodings
    expect(page.locator(".chip-weight")).to_have_count(0)  # until somebody wants one
    page.get_by_role("button", name="blue", exact=False).first.click()
    expect(page.get_by_role("slider", name="Weight of blue")).to_be_focused()
    for _ in range(19):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".chip .chip-amount").nth(1)).to_have_text("×2.0")
    page.keyboard.press("Escape")
    expect(page.locator(".chip-menu-button").nth(1)).to_be_focused()
    page.locator(".chip-menu-button").first.click()
    expect(page.get_by_role("slider", name="Weight of red")).to_be_focused()
    page.keyboard.press("Home")
    expect(page.locator(".chip .chip-amount").first).to_have_text("×0.1")
    until(page, "document.querySelector('.cell img').alt.includes('blue')")
    wanted = [{"text": "red", "weight": 0.1}, {"text": "blue", "weight": 2}]
    until_received(page, stand_in, "/api/rank", parts=wanted)
    assert stand_in.encodings == encodings
    expect(page.get_by_role("slider", name="Weight of red")).to_be_focused()


def test_chips_turn_and_go_by_keys(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page("#p=1~t~red&p=1~t~moon")
    page.locator(".chip-menu-button").nth(1).focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Less of this").press("Enter")
    until(page, "location.hash.includes('-1')")
    page.keyboard.press("Escape")
    expect(page.locator(".chip.minus .chip-name")).to_have_text("moon")
    expect(page.locator(".chip-menu-button").nth(1)).to_be_focused()
    page.keyboard.press("Delete")
    expect(page.locator(".chip-name")).to_have_text("red")
    expect(page.locator(".chip-menu-button").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".chip-menu")).to_be_visible()
    expect(page.locator(".chip-weight")).to_have_count(0)  # alone it has no weight: that would change nothing
    page.keyboard.press("Escape")
    page.keyboard.press("Delete")
    expect(page.locator("#words")).to_be_focused()
    expect(page.locator(".welcome")).to_be_visible()
    page.go_back()
    page.go_back()
    expect(page.locator(".chip-name")).to_have_text(["red", "moon"])


def test_a_hyphen_before_a_word_is_a_minus_and_within_one_is_not(open_page: OpenPage) -> None:
    page = open_page()
    search(page, 'red t-shirt -snow -"deep water"')
    expect(page.locator("#words")).to_have_value("red t-shirt")
    expect(page.locator(".chip.minus .chip-name")).to_have_text(["snow", "deep water"])
    page.locator("#words").fill("night")
    page.locator("#words").press("Shift+Enter")
    expect(page.locator(".chip.minus .chip-name")).to_have_text(["snow", "deep water", "night"])
    page.locator("#words").press("Backspace")
    expect(page.locator("#words")).to_have_value(' -"night"')
    expect(page.locator(".chip.minus .chip-name")).to_have_text(["snow", "deep water"])


def test_not_and_without_are_offered_as_a_minus(open_page: OpenPage) -> None:
    page = open_page()
    page.locator("#words").fill("cat without glasses")
    expect(page.locator("#notices")).to_contain_text("This search cannot read “without”.")
    page.get_by_role("button", name="Show less “glasses”").click()
    expect(page.locator("#words")).to_have_value("cat")
    expect(page.locator(".chip.minus .chip-name")).to_have_text("glasses")
    assert page.locator("#notices").inner_text() == ""


def test_what_is_typed_before_the_service_has_answered_is_kept(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.delays["/api/info"] = 1.0
    page = open_page()
    page.locator("#words").press_sequentially("red ball")
    page.locator("#words").press("Enter")
    page.locator("#words").press_sequentially(" without glasses")
    page.get_by_role("button", name="Show less “glasses”").wait_for()
    expect(page.locator("#words")).to_have_value("red ball without glasses")
    page.go_back()
    expect(page.locator("#words")).to_have_value("red ball")
    page.go_back()
    expect(page.locator("#words")).to_have_value("")


def test_what_is_drawn_meanwhile_leaves_the_words_being_typed(open_page: OpenPage) -> None:
    page = open_page("#p=1~t~red")
    page.wait_for_selector(".cell.shown")
    page.locator("#words").fill("ball")
    page.evaluate("document.querySelector('.chip-remove').click()")  # within the wait for the next letter
    expect(page.locator(".chip")).to_have_count(0)
    until(page, "location.hash.includes('ball')")
    expect(page.locator("#words")).to_have_value("ball")


def test_the_share_of_every_part_is_shown(open_page: OpenPage) -> None:
    page = open_page("#p=1~t~red+ball&p=-0.5~t~snow")
    page.wait_for_selector(".cell.shown")
    page.locator(".cell").first.click()
    expect(page.locator(".shares .share-name")).to_have_text(["red ball", "− snow"])
    page.locator(".details summary").click()
    expect(page.locator(".figures")).to_contain_text(re.compile(r"Score\s*0\.9\d\d\s*Stands out by\s*\d+\.\d"))


def test_a_drawing_searches_after_a_stroke_and_shows_ranks(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    page.get_by_role("button", name="Draw what to search for").click()
    paper = page.locator(".paper")
    box = box_of(paper)
    page.get_by_role("button", name="Red", exact=True).click()

    def stroke(down: float) -> None:
        page.mouse.move(box["x"] + 60, box["y"] + down)
        page.mouse.down()
        page.mouse.move(box["x"] + 300, box["y"] + down, steps=4)
        page.mouse.up()

    pixel = "([x, y]) => [...document.querySelector('.paper').getContext('2d').getImageData(x, y, 1, 1).data]"
    side = 384 / box["width"]
    stroke(100)
    assert page.evaluate(pixel, [round(180 * side), round(100 * side)])[:3] == [215, 38, 61]
    until(page, "decodeURIComponent(location.hash).includes('~d~')")
    stroke(200)
    assert page.evaluate(pixel, [round(180 * side), round(200 * side)])[:3] == [215, 38, 61]
    page.keyboard.press("Control+z")
    assert page.evaluate(pixel, [round(180 * side), round(200 * side)])[:3] == [255, 255, 255]
    page.keyboard.press("Control+y")
    assert page.evaluate(pixel, [round(180 * side), round(200 * side)])[:3] == [215, 38, 61]
    page.locator(".draw").get_by_role("button", name="Close").click()
    page.wait_for_selector(".cell.shown")
    expect(page.locator(".chip-name")).to_have_text("Drawing")
    assert "%" not in page.locator("#results").inner_text()
    assert list(stand_in.asked("/api/rank")[-1]["parts"][0]) == ["upload", "weight"]


def test_several_results_can_be_added_at_once(open_page: OpenPage) -> None:
    page = open_page("#p=1~t~red+ball")
    page.wait_for_selector(".cell.shown")
    page.locator(".cell").first.focus()
    page.keyboard.press(" ")
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    expect(page.locator(".picks")).to_contain_text("2 selected")
    page.locator(".picks").get_by_role("button", name="Also like these").click()
    expect(page.locator(".chip-menu-button")).to_have_count(3)


def test_a_wrong_pair_is_reported(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page("#p=1~t~red+ball")
    page.wait_for_selector(".cell.shown")
    page.locator(".cell").nth(1).click(button="right")
    page.get_by_role("menuitem", name="Mark caption as wrong").click()
    expect(page.locator(".toast")).to_contain_text("Marked. Kept in the index folder.")
    numbers, *_ = stand_in.rank({"parts": [{"text": "red ball"}]})
    assert stand_in.feedback == [{"id": stand_in.item(int(numbers[1]))["id"], "verdict": "wrong"}]


def test_a_refusal_is_sentences_and_old_ones_go_when_people_go_on(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    page.expected = ("422",)
    bring(page, "drop", None)
    stand_in.failures["/api/rank"] = (422, "an index has no column 'colour'; it has label, year")
    page.locator("#words").fill("red ball")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("It failed. An index has no column 'colour'; it has label, year.")
    expect(alert.get_by_role("button", name="Retry")).to_have_count(0)  # it would be refused again
    expect(page.locator(".notice")).to_have_count(2)
    del stand_in.failures["/api/rank"]
    search(page, "blue moon")
    expect(page.locator(".notice")).to_have_count(0)

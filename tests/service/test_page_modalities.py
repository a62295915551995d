"""The page of an index of more than images and texts: a stand-in modality brings its own player and recorder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from service.page_fixtures import OpenPage, search, until, until_received
from service.stand_in import StandIn
from service.test_page_query import BRING, picture

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser, by playwright")
expect = sync_api.expect

CLIP_NUMBER = 32
"""A red one; every third file is a clip."""
OPEN_CLIP = f"#p=1~t~red+ball&find=clip&item=pictures%2F{CLIP_NUMBER:06d}.jpg"


@pytest.fixture(autouse=True)
def clips(stand_in: StandIn) -> Iterator[StandIn]:
    stand_in.clips = True
    yield stand_in
    stand_in.clips = False


def drop(page: Any, data: str, type: str) -> None:
    page.evaluate(BRING, ["drop", data, type, "file"])


def test_the_start_page_counts_and_searches_all_kinds(open_page: OpenPage) -> None:
    page = open_page()
    expect(page.locator(".holdings")).to_have_text(
        "3,334 images · 1,666 clips · 5,000 texts · nothing leaves this computer"
    )
    expect(page.locator("#words")).to_have_attribute("placeholder", "Search your images and clips")
    expect(page.locator("input[type=file][aria-label=File]")).to_have_attribute("accept", "image/*,clip/*")


def test_each_kind_can_be_found_and_is_named_on_its_tiles(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    search(page, "red ball")
    expect(page.locator(".segment")).to_have_text(["Images", "Clips", "Texts"])
    expect(page.locator(".segment[aria-pressed=true]")).to_have_text("Images")
    expect(page.locator(".cell.shown .kind").first).to_have_text("Image")
    page.get_by_role("button", name="Clips").click()
    expect(page.locator(".cell.shown .kind").first).to_have_text("Clip")
    until_received(page, stand_in, "/api/rank", find="clip")
    until(page, "location.hash.includes('find=clip')")


def test_one_kind_of_files_needs_no_name_on_its_tiles(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.clips = False
    page = open_page()
    search(page, "red ball")
    expect(page.locator(".segment")).to_have_text(["Images", "Texts"])
    expect(page.locator(".kind:not(:empty)")).to_have_count(0)


def test_an_item_is_shown_with_the_player_of_its_modality(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page(OPEN_CLIP)
    player = page.locator("#inspector .clip-player")
    expect(player).to_have_text(f"Play {stand_in.text(CLIP_NUMBER)}")
    assert player.get_attribute("data-url") == f"m/h{CLIP_NUMBER}"
    expect(page.locator("#inspector h2")).to_have_text("Clip")
    until(page, "document.querySelector('.inspected-preview img').naturalWidth > 0")
    assert page.evaluate("document.querySelector('.inspected-preview img').src").endswith(f"/t/256/h{CLIP_NUMBER}")
    expect(page.locator(".nearest h3")).to_have_text("Nearest clips")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#ask-view .clip-player")).to_have_count(1)
    expect(page.get_by_label("Possible answers")).to_be_visible()
    expect(page.get_by_label("Question")).to_have_count(0)  # the decoder describes images


def test_an_image_has_no_player(open_page: OpenPage) -> None:
    page = open_page("#p=1~t~red+ball&item=pictures%2F000040.jpg")
    page.wait_for_selector(".inspected-preview")
    page.wait_for_selector(".verdict")
    expect(page.locator(".clip-player")).to_have_count(0)


def test_a_file_of_the_other_modality_is_searched_by(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    drop(page, "Q0xJUCBhIGZpbGU=", "clip/other")
    expect(page.locator(".chip-name")).to_have_text("Clip")
    until(page, "document.querySelector('.chip-preview').naturalWidth > 0")
    page.wait_for_selector(".cell.shown")
    (name,) = stand_in.uploads
    until_received(page, stand_in, "/api/rank", parts=[{"upload": name, "weight": 1}])
    assert page.title().startswith("your clip")
    page.reload()
    expect(page.locator(".chip-name")).to_have_text("Clip")  # the service knows what was sent
    drop(page, picture(), "image/png")
    expect(page.locator(".chip-name")).to_have_text(["Clip", "Image"])


def test_a_file_of_no_modality_is_refused_with_the_formats(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    drop(page, "JVBERg==", "application/pdf")
    expect(page.locator("#notices")).to_contain_text(
        "That file cannot be searched by. These formats work: JPEG, PNG, WEBP or RAW."
    )
    assert stand_in.uploads == {}


def test_the_recorder_of_a_modality_stands_beside_the_upload_button(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page()
    page.locator("#query .recorders").get_by_role("button", name="Record").click()
    expect(page.locator(".chip-name")).to_have_text("Clip")
    assert list(stand_in.upload_modality.values()) == ["clip"]


def test_a_small_screen_is_enough_for_the_recorder(open_page: OpenPage) -> None:
    page = open_page(OPEN_CLIP, width=320, height=640, has_touch=True, is_mobile=True)
    page.wait_for_selector("#inspector .clip-player")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    box = page.evaluate("document.querySelector('.recorders button').getBoundingClientRect().toJSON()")
    assert box["height"] >= 44
    assert box["right"] <= 320

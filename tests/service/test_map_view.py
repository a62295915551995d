"""What the Map view shows: the list beside it, its names and colours, on every size of screen."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.page_fixtures import OpenPage, box_of, until
from service.stand_in import StandIn

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser, by playwright")
expect = sync_api.expect

MAP = "document.getElementById('map-view').map"
PHONE = {"width": 390, "height": 844, "has_touch": True, "is_mobile": True}
DRAWN = "document.getElementById('map-view').map?.previews().drawn().length > 3"
GROUND = 246
"""Every part of the colour of an empty map."""
LONELY = f"""() => {{
  const {{ camera, points }} = {MAP}, {{ x, y, modality }} = points();
  const rows = [...modality.keys()].filter((row) => modality[row] === 0);
  const fifth = (row) => rows.map((other) => Math.max(Math.abs(x[other] - x[row]), Math.abs(y[other] - y[row])))
    .sort((a, b) => a - b)[4];
  const edge = rows.sort((a, b) => x[a] - x[b]).slice(0, 20);
  const row = edge.reduce((best, other) => (fifth(other) > fifth(best) ? other : best));
  return [camera.toX(x[row]), camera.toY(y[row])];
}}"""
"""Where on the screen a picture lies that has hardly any beside it."""
IN_VIEW = f"""() => {{
  const map = {MAP}, seen = map.camera.clear(), found = [];
  map.points().within(...seen, (row) => map.points().modality[row] === 0 && found.push(map.points().numbers[row]));
  return found;
}}"""


def opened(open_page: OpenPage, hash: str = "#view=map", **how: Any) -> Any:
    page = open_page(hash, **how)
    page.expected = ("GL Driver Message", "WebGL")  # what the browser says of a machine without a graphics card
    until(page, DRAWN)
    return page


def box(page: Any, selector: str) -> dict[str, float]:
    return box_of(page.locator(selector))


def test_a_phone_shows_map_and_list_of_a_query(open_page: OpenPage) -> None:
    page = opened(open_page, "#view=map&p=1~t~red+ball", **PHONE)
    page.wait_for_selector(".cell.shown")
    stage, listed, main = (box(page, name) for name in (".map-stage", "#results", "#main"))
    assert stage["height"] == main["height"], "the map fills the screen"
    assert listed["y"] - stage["y"] > 300, "and is not covered"
    assert 150 < listed["height"] < 0.5 * main["height"]
    assert page.locator(".cell").count() <= 200


def test_a_desktop_at_four_hundred_per_cent_keeps_map_and_list(open_page: OpenPage) -> None:
    """1280 by 1024 pixels, enlarged so: what does not fit is scrolled to."""
    page = open_page("#view=map&p=1~t~red+ball", width=320, height=256)
    page.expected = ("GL Driver Message", "WebGL")
    page.wait_for_selector(".cell")
    stage, listed = (box(page, name) for name in (".map-stage", "#results"))
    assert listed["y"] - stage["y"] > 150
    assert listed["height"] > 100
    assert page.locator(".cell").count() <= 200
    page.locator(".sheet-handle").scroll_into_view_if_needed()
    assert 0 < box(page, ".sheet-handle")["y"] < 256 - 58
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_the_list_of_a_phone_is_a_sheet_that_is_pulled_up(open_page: OpenPage) -> None:
    page = opened(open_page, "#view=map&p=1~t~red+ball", **PHONE)
    handle, main = page.locator(".sheet-handle"), box(page, "#main")
    start = box(page, ".sheet-handle")
    page.mouse.move(195, start["y"] + 20)
    page.mouse.down()
    page.mouse.move(195, 300, steps=4)
    page.mouse.move(195, 110, steps=4)
    page.mouse.up()
    expect(handle).to_have_attribute("aria-label", "Show the map")
    until(page, f"document.querySelector('#results').offsetHeight > {0.85 * main['height']}")
    assert page.locator(".cell").count() <= 200
    handle.press("Enter")
    until(page, "document.querySelector('#results').offsetHeight < 120")
    handle.press("Enter")
    until(page, "document.querySelector('#results').offsetHeight > 200")


def test_an_upright_tablet_stacks_map_and_list(open_page: OpenPage) -> None:
    page = opened(open_page, width=820, height=1180)
    stage, listed = box(page, ".map-stage"), box(page, "#results")
    assert stage["width"] == listed["width"] == 820
    assert listed["y"] >= stage["y"] + stage["height"]
    assert stage["height"] > listed["height"] > 300


def test_the_first_opening_says_what_takes_so_long(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.delays["/api/map"] = 1.5
    page = open_page("#view=map")
    expect(page.locator("#map-view")).to_contain_text("Drawing the map of 10,000 items, once only…")
    until(page, DRAWN)
    expect(page.locator(".map-wait")).to_have_count(0)


def test_the_list_is_what_is_in_view(open_page: OpenPage) -> None:
    page = opened(open_page)
    expect(page.locator(".summary")).to_have_text("5,000 in view")
    page.evaluate(f"{MAP}.camera.zoomAt(6, 300, 300)")
    inside = page.evaluate(IN_VIEW)
    assert 5 <= len(inside) < 1000
    expect(page.locator(".summary")).to_have_text(f"{len(inside):,} in view")
    expect(page.locator(".cell.shown").first).to_be_visible()
    first = page.locator(".cell img").first.get_attribute("alt")
    assert int(str(first).rpartition(" ")[2]) in inside
    page.evaluate(f"{MAP}.camera.pan(-140, 0)")
    moved = page.evaluate(IN_VIEW)
    assert sorted(moved) != sorted(inside)
    expect(page.locator(".summary")).to_have_text(f"{len(moved):,} in view")


@pytest.mark.slow
def test_a_selection_narrows_the_list_and_is_counted_alike(open_page: OpenPage) -> None:
    page = opened(open_page)
    page.click("[aria-label='Draw a rectangle']")
    where = box(page, ".map-surface")
    page.mouse.move(where["x"] + 120, where["y"] + 80)
    page.mouse.down()
    page.mouse.move(where["x"] + 620, where["y"] + 460, steps=3)
    page.mouse.up()
    until(page, f"{MAP}.chosen().size > 1000")
    count = page.evaluate(f"{MAP}.chosen().size")
    expect(page.locator(".summary")).to_contain_text(f"{count:,} selected")
    expect(page.locator(".map-amount")).to_have_text(f"{count:,} selected of 5,000 items")
    page.get_by_role("button", name="Clear selection", exact=True).click()
    expect(page.locator(".summary")).to_have_text("5,000 in view")
    assert page.evaluate(f"{MAP}.chosen().size") == 0
    expect(page.get_by_role("button", name="Clear selection", exact=True)).to_have_count(0)


@pytest.mark.slow
def test_at_first_groups_have_colours_and_texts_are_hidden(open_page: OpenPage) -> None:
    page = opened(open_page)
    page.click(".map-key summary")
    select = page.locator(".map-choices select")
    assert select.evaluate("(one) => one.selectedOptions[0].textContent") == "groups"
    assert select.locator("option").all_text_contents() == ["groups", "labels", "images and texts"]
    expect(page.get_by_label("Images", exact=True)).to_be_checked()
    expect(page.get_by_label("Texts", exact=True)).not_to_be_checked()
    expect(page.locator(".map-amount")).to_have_text("5,000 items")
    page.get_by_label("Texts", exact=True).check()
    expect(page.locator(".map-amount")).to_have_text("10,000 items")


@pytest.mark.slow
def test_no_colour_is_a_neighbours(open_page: OpenPage) -> None:
    page = open_page()
    same = page.evaluate(
        """async () => {
          const { regionColours, neighboursOf } = await import('/page/map_colours.js');
          let [seed, same] = [1, 0];
          const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
          for (let round = 0; round < 60; round++) {
            const place = () => ({ x: 65535 * random(), y: 65535 * random(), label: "" });
            const clusters = Array.from({ length: 20 }, place);
            const colours = regionColours(clusters);
            const count = (near, at) => near.forEach((other) => { same += colours[at] === colours[other]; });
            neighboursOf(clusters).forEach(count);
            // and by a definition of its own: the nearest region of each
            clusters.forEach(({ x, y }, at) => {
              const from = (other) => (other.x - x) ** 2 + (other.y - y) ** 2;
              const away = clusters.map((other, place) => (place === at ? Infinity : from(other)));
              same += colours[at] === colours[away.indexOf(Math.min(...away))];
            });
          }
          return same;
        }"""
    )
    assert same == 0


@pytest.mark.slow
def test_the_legend_hides_no_picture(open_page: OpenPage) -> None:
    page = opened(open_page, width=1440, height=900)
    page.click(".map-key summary")
    page.wait_for_timeout(600)
    legend, stage = box(page, ".map-key"), box(page, ".map-stage")
    left, bottom = legend["x"] - stage["x"], legend["y"] + legend["height"] - stage["y"]
    drawn = page.evaluate(f"{MAP}.previews().drawn()")
    assert len(drawn) > 5
    assert [one for one in drawn if one["left"] + one["width"] > left and one["top"] < bottom] == []


@pytest.mark.slow
def test_colours_by_match_are_told_in_words(open_page: OpenPage) -> None:
    page = opened(open_page, "#view=map&p=1~t~red+ball")
    page.click(".map-key summary")
    page.select_option(".map-choices select", "score")
    assert page.locator(".map-choices option:checked").inner_text() == "match with the search"
    expect(page.locator(".map-ramp")).to_have_text("weakstrong")
    expect(page.locator(".map-entry")).to_have_count(0)


@pytest.mark.slow
def test_a_result_has_a_badge_at_its_corner_and_nothing_on_its_face(open_page: OpenPage, stand_in: StandIn) -> None:
    page = opened(open_page, "#view=map&p=1~t~red+ball", width=1440, height=900)
    page.wait_for_timeout(900)
    drawn = page.evaluate(
        f"{MAP}.previews().drawn().map((one) => ({{...one, number: {MAP}.points().numbers[one.row]}}))"
    )
    names = page.evaluate("document.querySelectorAll('.cell').length")
    assert names
    shot = np.asarray(Image.open(io.BytesIO(page.locator(".map-stage").screenshot())).convert("RGB")).astype(int)
    red = [one for one in drawn if "red ball" in stand_in.text(one["number"])]
    assert red
    faces = 0
    for one in red:
        rgb = stand_in.rgb(one["number"])
        own = np.array([rgb >> 16, rgb >> 8 & 255, rgb & 255])
        top, left = round(one["top"] + 12), round(one["left"] + 4)
        face = shot[top : round(one["top"] + one["height"] - 4), left : round(one["left"] + one["width"] - 4)]
        near = np.abs(face - own).max(2) < 40
        faces += near.mean() > 0.98
        corner = shot[round(one["top"]) - 6 : round(one["top"]) - 1, round(one["left"]) - 6 : round(one["left"]) - 1]
        assert (np.abs(corner - GROUND).max(2) > 60).mean() > 0.8, "the badge lies around the corner"
    assert faces >= len(red) - 1, "a name of a region may lie over one"


@pytest.mark.slow
def test_zooming_in_ends_where_few_are_left(open_page: OpenPage) -> None:
    page = opened(open_page)
    where = box(page, ".map-surface")
    spot = page.evaluate(LONELY)
    page.mouse.move(where["x"] + spot[0], where["y"] + spot[1])
    for _ in range(40):
        page.mouse.wheel(0, -240)
    page.wait_for_timeout(400)
    assert 5 <= len(page.evaluate(IN_VIEW)) < 60


@pytest.mark.slow
def test_where_nothing_is_the_map_says_so_and_leads_back(open_page: OpenPage) -> None:
    page = opened(open_page)
    page.evaluate(f"() => {{ const map = {MAP}; map.camera.zoomAt(8, 600, 300); map.camera.pan(99999, 99999); }}")
    nothing = page.locator(".map-nothing")
    expect(nothing).to_contain_text("Nothing here.")
    expect(page.locator(".summary")).to_have_text("0 in view")
    expect(page.locator("#intro")).to_have_text("")
    nothing.get_by_role("button", name="Fit").click()
    expect(nothing).to_be_hidden()
    expect(page.locator(".summary")).to_have_text("5,000 in view")


@pytest.mark.slow
def test_the_card_shows_the_picture_larger(open_page: OpenPage) -> None:
    page = opened(open_page)
    where = box(page, ".map-surface")
    one = page.evaluate(f"{MAP}.previews().drawn().find((one) => one.left > 150 && one.top > 150 && one.left < 500)")
    x, y = where["x"] + one["left"] + one["width"] / 2, where["y"] + one["top"] + one["height"] / 2
    page.mouse.move(x - 3, y)
    page.wait_for_timeout(80)
    page.mouse.move(x, y)
    page.wait_for_selector(".map-card img", state="visible")
    shown = box(page, ".map-card img")
    assert max(shown["width"], shown["height"]) > 4 * max(one["width"], one["height"])


def test_the_list_has_no_switch_of_kinds_that_it_does_not_follow(open_page: OpenPage) -> None:
    page = opened(open_page)
    page.click(".map-key summary")
    page.get_by_label("Texts", exact=True).check()
    expect(page.locator(".summary")).to_have_text("5,000 of 10,000 in view")
    expect(page.get_by_role("group", name="What to find")).to_be_hidden()


def test_a_long_name_of_a_group_is_not_cut(open_page: OpenPage) -> None:
    page = opened(open_page)
    page.click(".map-key summary")
    name = page.locator(".map-entry span").first
    cut = name.evaluate(
        """(one) => { one.textContent = 'wheelchair · motorized · skin tone · facing right';
            const {textOverflow, whiteSpace} = getComputedStyle(one);
            return one.scrollWidth > one.clientWidth || textOverflow === 'ellipsis' || whiteSpace === 'nowrap'; }"""
    )
    assert cut is False
    assert box(page, ".map-entry >> nth=0")["height"] > 30, "it takes another line"

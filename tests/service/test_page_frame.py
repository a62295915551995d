"""The page as a whole: views, themes, keys, small screens, those who cannot see, and a server that goes away."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from service.page_fixtures import OpenPage, search, until
from service.stand_in import PAGE, POLICY, Serving, StandIn

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser, by playwright")
expect = sync_api.expect

axe = pytest.importorskip(
    "axe_core_python", reason="what hinders people is looked for with axe-core-python, which is missing"
)
AXE = (Path(axe.__file__).parent / "axe.min.js").read_text("utf-8")

SERIOUS = ("moderate", "serious", "critical")
STATES = {
    "start": "",
    "results": "#p=1~t~red+ball&p=-0.7~t~snow",
    "texts": "#p=1~t~red+ball&find=text",
    "item": "#p=1~t~red+ball&item=pictures%2F000040.jpg",
    "ask": "#view=ask&ask=1~i~pictures%2F000003.jpg",
    "ask-start": "#view=ask",
}


def settled(page: Any) -> None:
    """Wait for the page and its searches: while one runs, the results before it are dimmed."""
    page.wait_for_load_state("networkidle")
    until(page, "!document.querySelector('[aria-busy], .results.waiting')")
    page.wait_for_timeout(150)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_serious_hinders_anybody(open_page: OpenPage, theme: Any) -> None:
    page = open_page(color_scheme=theme)
    page.evaluate(AXE)
    found = []
    for state, hash in STATES.items():
        page.evaluate("(hash) => { location.hash = hash; }", hash)
        page.wait_for_timeout(100)
        settled(page)
        report = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        found += [
            (state, finding["id"], node["html"][:120], node.get("failureSummary", "")[:200])
            for finding in report["violations"]
            if finding["impact"] in SERIOUS
            for node in finding["nodes"]
        ]
    assert found == []


def test_the_policy_of_every_reply(open_page: OpenPage, serving: Serving) -> None:
    page = open_page()
    reply = page.request.get(serving.url + "/")
    assert reply.headers["content-security-policy"] == POLICY
    assert "unsafe-" not in POLICY


def accent_pixels(page: Any) -> int:
    """Pixels of the accent colour within and just around what has the focus."""
    box = page.evaluate(
        """() => { const {x, y, width, height} = document.activeElement.getBoundingClientRect();
            return [x - 6, y - 6, x + width + 6, y + height + 6]; }"""
    )
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    part = image.crop((max(0, int(box[0])), max(0, int(box[1])), int(box[2]), int(box[3])))
    return sum(count for count, colour in part.getcolors(1 << 24) if colour == (11, 107, 116))


def test_a_walk_by_keys_alone(open_page: OpenPage) -> None:
    """Search, open, more like this, close: the focus is always seen, and comes back to the tile."""
    page = open_page(color_scheme="light", reduced_motion="reduce")

    def where() -> str:
        assert accent_pixels(page) > 60
        return page.evaluate("document.activeElement.id || document.activeElement.className")

    assert where() == "words"  # from the start
    page.keyboard.type("red ball")
    page.keyboard.press("Enter")
    page.wait_for_selector(".cell.shown .match.strong")
    page.keyboard.press("ArrowDown")
    assert where().startswith("cell")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    place = page.evaluate("document.activeElement.dataset.place")
    assert int(place) > 3
    page.keyboard.press("Enter")
    page.wait_for_selector("#inspector:not([hidden]) .verdict")
    assert where() == "inspector"
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".figures dd", state="attached")
    while "map" not in page.evaluate("document.activeElement.className"):
        page.keyboard.press("Tab")
    page.keyboard.press("m")
    until(page, "document.title.startsWith('an image')")
    page.wait_for_selector(".cell.shown")
    assert where() == "item-action map"
    page.keyboard.press("Escape")
    expect(page.locator("#inspector")).to_be_hidden()
    assert where().startswith("cell")
    page.keyboard.press("m")
    page.wait_for_timeout(200)
    assert where().startswith("cell")
    page.keyboard.press("+")
    expect(page.locator(".chip-menu-button")).to_have_count(2)


def test_escape_closes_one_thing_at_a_time(open_page: OpenPage) -> None:
    page = open_page("#p=1~t~red+ball")
    page.wait_for_selector(".cell.shown")
    page.locator(".cell").nth(2).click()
    page.wait_for_selector(".inspected-preview")
    page.locator(".inspected-preview").click()
    expect(page.locator(".viewer")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".viewer")).to_have_count(0)
    expect(page.locator("#inspector")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#inspector")).to_be_hidden()
    expect(page.locator(".cell").nth(2)).to_be_focused()


def test_single_letters_can_be_switched_off(open_page: OpenPage) -> None:
    page = open_page("#p=1~t~red+ball")
    page.wait_for_selector(".cell.shown")
    page.keyboard.press("?")
    page.get_by_label("Use single-letter shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.locator(".cell").first.focus()
    page.keyboard.press("m")
    page.keyboard.press("t")
    page.wait_for_timeout(100)
    assert "red ball" in page.title()
    assert page.evaluate("document.documentElement.dataset.theme") is None
    page.reload()
    page.keyboard.press("Control+k")
    expect(page.locator("#words")).to_be_focused()


def test_a_theme_is_kept_and_there_before_the_first_paint(open_page: OpenPage) -> None:
    page = open_page()
    page.keyboard.press("Escape")  # out of the field
    page.keyboard.press("t")
    page.keyboard.press("t")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 22, 22)"
    page.reload(wait_until="commit")
    page.wait_for_selector("body")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


TARGETS = """() => [...document.querySelectorAll('button, a, input, select, .scrub-thumb')].filter((node) => {
    if (!node.checkVisibility({visibilityProperty: true}) || node.closest('.skip, .cell')) return false;
    return node.type !== 'file';
}).map((node) => {
    const {width, height} = node.getBoundingClientRect();
    return [node.outerHTML.slice(0, 90), Math.round(width), Math.round(height)];
}).filter(([, width, height]) => width < 44 || height < 44)"""

TOO_WIDE = """() => [...document.querySelectorAll('.pane, #scroller, .inspector-body')]
    .filter((node) => node.scrollWidth > node.clientWidth + 1).map((node) => node.className)"""


@pytest.mark.parametrize("state", STATES)
def test_a_small_screen_is_enough(open_page: OpenPage, state: str) -> None:
    page = open_page(STATES[state], width=320, height=640, has_touch=True, is_mobile=True)
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate(TARGETS) == []


def test_nothing_moves_for_those_who_ask(open_page: OpenPage) -> None:
    page = open_page("#p=1~t~red+ball", reduced_motion="reduce")
    page.wait_for_selector(".cell.shown")
    lasting = """() => [...document.querySelectorAll('*')].filter((node) => {
        const style = getComputedStyle(node);
        return /[1-9]/.test(style.transitionDuration) || /[1-9]/.test(style.animationDuration);
    }).map((node) => node.className)"""
    assert page.evaluate(lasting) == []


def test_results_are_said_once_a_query(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate(
        """() => { window.said = []; const live = document.querySelector('#live');
            new MutationObserver(() => window.said.push(live.textContent)).observe(live, {childList: true}); }"""
    )
    search(page, "red ball")
    page.evaluate("document.querySelector('#scroller').scrollTop = 3000")
    page.wait_for_timeout(400)
    assert page.evaluate("window.said") == ["125 likely matches · 1,374 more that may fit for red ball"]


def test_a_server_that_goes_is_noticed_and_comes_back(open_page: OpenPage, serving: Serving) -> None:
    page = open_page()
    page.expected = ("ERR_", "Failed to load")
    search(page, "red ball")
    expect(page.locator(".cell.shown").nth(6)).to_be_visible()  # previews come after the results
    page.clock.install(time=0)
    serving.stop()
    try:
        expect(page.get_by_role("alert")).to_contain_text(
            "The search service has stopped. Start it again in its terminal: cospace serve things", timeout=5000
        )
        assert page.locator(".cell.shown").count() > 5
        page.locator("#words").fill("blue moon")
        expect(page.locator(".summary")).to_have_text("Still showing: red ball")
        assert page.evaluate("getComputedStyle(document.querySelector('#grid')).opacity") == "0.6"
        # What is drawn now has its icons: they are within the page.
        box = "document.querySelector('.notice .icon use').getBoundingClientRect().width"
        assert page.evaluate(box) > 5
        page.clock.pause_at(60_000)  # what comes now is not the next try, which would come by itself
    finally:
        serving.start()
    page.get_by_role("button", name="Try now").click()
    expect(page.get_by_role("alert")).to_have_count(0, timeout=3_000)
    expect(page.locator(".cell img").first).to_have_attribute("alt", re.compile("blue moon"))


def test_a_view_opened_while_the_service_is_away_says_so_and_comes_by_itself(
    open_page: OpenPage, serving: Serving
) -> None:
    page = open_page("#q=red+ball")
    page.expected = ("ERR_", "Failed", "WebGL", "GL Driver")
    page.wait_for_selector(".cell.shown")
    serving.stop()
    try:
        for view in ("Map", "Health"):
            page.click(f"#views >> text={view}")
            said = f"{view} cannot be shown. The search service does not answer."
            expect(page.locator(f"#{view.lower()}-view").get_by_role("alert")).to_contain_text(said)
        assert page.locator(".notice.error").count() == 0, "it is said where people look, and once"
        expect(page.locator(".notice.lost")).to_be_visible()
    finally:
        serving.start()
    page.evaluate("document.querySelector('.notice.lost button')?.click()")  # where it is not back by itself already
    expect(page.locator(".health-facts")).to_be_visible()
    expect(page.locator("#health-view").get_by_role("alert")).to_have_count(0)
    page.click("#views >> text=Map")
    expect(page.locator(".map-stage")).to_be_visible()


def test_a_view_whose_data_fail_can_be_tried_again(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.failures["/api/health"] = (503, "the index cannot be read")
    page = open_page("#view=health")
    page.expected = ("503",)
    expect(page.locator("#health-view")).to_contain_text("Health cannot be shown. The index cannot be read")
    del stand_in.failures["/api/health"]
    page.locator("#health-view").get_by_role("button", name="Try again").click()
    expect(page.locator(".health-facts")).to_be_visible()


def test_a_query_waits_for_the_model(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.warm = False
    page = open_page()
    expect(page.locator("#notices")).to_contain_text(re.compile(r"Loading the model \(\d+ s\)…"))
    page.locator("#words").fill("red ball")
    page.locator("#words").press("Enter")
    page.wait_for_timeout(300)
    assert stand_in.asked("/api/rank") == []
    stand_in.warm = True
    page.wait_for_selector(".cell .match.strong")
    assert page.locator("#notices").inner_text() == ""


def test_the_start_page_says_what_is_here(open_page: OpenPage) -> None:
    page = open_page()
    expect(page.locator(".holdings")).to_have_text("5,000 images · 5,000 texts · nothing leaves this computer")
    expect(page.locator(".example")).to_have_count(6)
    page.locator(".example").nth(4).click()
    expect(page.locator("#words")).to_have_value("a blue moon")
    expect(page.locator(".chip")).to_have_count(0)
    page.go_back()
    expect(page.locator(".welcome")).to_be_visible()


def test_asking_shows_what_an_answer_rests_on(open_page: OpenPage) -> None:
    page = open_page("#p=1~t~red+ball&item=pictures%2F000040.jpg")
    page.locator(".item-action.ask").click()
    expect(page.locator(".captions li")).to_have_count(5)
    expect(page.locator(".generated")).to_have_text("a thing on a ground")
    page.get_by_role("button", name="What colour is the ball?").click()
    expect(page.locator(".bars li").first).to_contain_text("81 %")
    expect(page.locator(".answer-evidence .mini")).to_have_count(4)
    page.get_by_role("button", name="How large is it?").click()
    expect(page.locator(".unsure")).to_be_visible()


def test_without_a_decoder_answers_are_given_to_choose_from(open_page: OpenPage, stand_in: StandIn) -> None:
    stand_in.can_ask = False
    page = open_page("#view=ask&ask=1~i~pictures%2F000003.jpg")
    expect(page.locator(".captions li")).to_have_count(5)
    expect(page.locator(".generated")).to_have_count(0)
    page.get_by_label("Possible answers").fill("cat, dog")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".bars li")).to_have_count(2)
    widths = page.evaluate("[...document.querySelectorAll('.bars i')].map((bar) => bar.getBoundingClientRect().width)")
    assert abs(widths[0] / widths[1] - 2) < 0.05


def test_the_start_page_is_small() -> None:
    """What it loads: 116 kB of scripts without their comments, 33 kB of styles; views bring their own when opened."""
    styles = re.findall(r'"page/(\w+\.css)"', (PAGE / "index.html").read_text("utf-8"))
    assert sum((PAGE / name).stat().st_size for name in styles) <= 33_000
    reached, new = set(), {"app.js", "theme.js"}
    while new:
        reached |= new
        new = {
            name
            for each in new
            for name in re.findall(r'from "\./(\w+\.js)"', (PAGE / each).read_text("utf-8"))
            if name not in reached
        }
    comments = re.compile(r"/\*\*[\s\S]*?\*/|^\s*//.*$", re.MULTILINE)
    code = [comments.sub("", (PAGE / name).read_text("utf-8")) for name in reached]
    assert 60_000 < sum(map(len, code)) <= 116_000


TIP = """(node) => { const {content, opacity, position} = getComputedStyle(node, '::after');
    return position === 'absolute' && opacity === '1' ? content.replaceAll('"', '') : ''; }"""


def test_icons_without_words_have_a_name_at_once_under_the_pointer(open_page: OpenPage) -> None:
    """Drawn by the page: the browser's own come late, and some not at all."""
    page = open_page("#view=map")
    page.expected = ("WebGL", "GL Driver")
    page.get_by_role("button", name="Draw what to search for").click()
    page.wait_for_selector(".paper")
    page.wait_for_selector(".map-zoom")
    for name in ("Help and shortcuts", "Draw a rectangle", "Zoom out (-)", "Thin pen", "Undo (Ctrl+Z)", "Light blue"):
        icon = page.get_by_role("button", name=name, exact=True)
        icon.hover()
        assert icon.evaluate(TIP) == name
    late = page.locator(":is(.bar, .map-stage, .draw) :is(.icon-button, .swatch):not([aria-label]:not([title]))")
    assert late.count() == 0
    mark = "(one) => one.querySelector('use').getAttribute('href')"
    assert page.get_by_role("button", name="Help and shortcuts").evaluate(mark) == "#i-help"


def test_a_tile_goes_to_the_map_by_its_key_after_its_panel_was_closed(open_page: OpenPage) -> None:
    page = open_page("#q=red+ball", reduced_motion="reduce")
    page.expected = ("WebGL", "GL Driver")
    page.wait_for_selector(".cell.shown")
    page.locator(".cell").nth(2).click()
    page.wait_for_selector("#inspector:not([hidden]) .verdict")
    page.keyboard.press("Escape")
    expect(page.locator(".cell").nth(2)).to_be_focused()
    page.keyboard.press("o")
    expect(page.locator("#map-view")).to_be_visible()


NOT_FOR_NEWCOMERS = [
    "Nothing matches well", "good match", "Weaker matches below", "Add as", "Report wrong pair",
    "does not read", "compared by shape", "Draw around points on the map", "Near points are alike", "by kind",
    "Health of the space", "line is chance", "two strangers", "up: observed", "Wrong pairs are among",
    "Separate several", "Shortcuts of a single letter", "This sheet", "That is no picture", "Connection lost",
]  # fmt: skip
"""Of sentences that the page once had."""


def test_no_sentence_is_back_that_a_newcomer_would_not_understand() -> None:
    sources = {path.name: path.read_text("utf-8") for path in PAGE.iterdir() if path.suffix in (".js", ".html")}
    sources["health.py"] = (PAGE.parent / "health.py").read_text("utf-8")
    assert [(name, words) for name, text in sources.items() for words in NOT_FOR_NEWCOMERS if words in text] == []

"""What the page's tests share: a browser, a stand-in for the service, and what reads and waits for the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from browser import BROWSERS, browser_program
from service.stand_in import Serving, StandIn

PATIENCE = 10.0
LOG_VIOLATIONS = """addEventListener('securitypolicyviolation', (event) =>
    console.error('policy', event.violatedDirective, event.blockedURI))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One for a module: Playwright's event loop would be in the way of other tests if it lived for the session."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser, by playwright")
    program = browser_program()
    if program is None:
        pytest.skip(f"the page is tested in a browser, and there is none of {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        sync_api.expect.set_options(timeout=1000 * PATIENCE)
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    server = Serving(StandIn()).start()
    yield server
    server.stop()


@pytest.fixture
def stand_in(serving: Serving) -> StandIn:
    serving.stand_in.reset()
    return serving.stand_in


OpenPage = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, serving: Serving, stand_in: StandIn) -> Iterator[OpenPage]:
    """Open the page at a hash; whatever it does, it complains of nothing and asks nobody but its own server.

    A test that provokes complaints says so: ``page.expected = ("502",)``.
    """
    pages = []

    def open_it(hash: str = "", *, width: int = 1280, height: int = 800, **context: Any) -> Any:
        own = browser.new_context(viewport={"width": width, "height": height}, **context)
        own.add_init_script(LOG_VIOLATIONS)
        page = own.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.expected, page.complaints, page.strangers = (), [], []
        page.on("console", lambda message: complain(page, message))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda asked: None if is_own(asked.url) else page.strangers.append(asked.url))
        pages.append(page)
        page.goto(f"{serving.url}/{hash}")
        page.wait_for_selector("#actions button")
        return page

    def complain(page: Any, message: Any) -> None:
        if message.type in ("error", "warning"):
            page.complaints.append(f"{message.text} {message.location['url']}")

    def is_own(url: str) -> bool:
        return url.startswith((serving.url + "/", "blob:", "data:"))

    yield open_it
    for page in pages:
        unexpected = [text for text in page.complaints if not any(part in text for part in page.expected)]
        strangers = page.strangers
        page.context.close()
        assert unexpected == []
        assert strangers == []


def until(page: Any, expression: str, arg: Any = None) -> None:
    """Wait for something to be true in the page; its policy forbids Playwright's own way of doing so."""
    end = time.monotonic() + PATIENCE
    while not page.evaluate(expression, arg):
        assert time.monotonic() < end, f"still not true after {PATIENCE:.0f} s: {expression}"
        page.wait_for_timeout(25)


def until_received(page: Any, stand_in: StandIn, path: str, **fields: Any) -> None:
    """Wait for a request with such fields to have reached the server.

    Neither what the page shows nor the last request is a sign of it: results that were shown before stay until others
    come, a page asks for what an open result is like beside them, and what it cancelled may be read last.
    """
    end = time.monotonic() + PATIENCE
    while not any(fields == {name: (body or {}).get(name) for name in fields} for body in stand_in.asked(path)):
        assert time.monotonic() < end, f"{path} with {fields} was not asked: {stand_in.asked(path)}"
        page.wait_for_timeout(25)


def box_of(locator: Any) -> dict[str, float]:
    """Rectangle of an element once it is there and has come to rest; it has none while the page draws it anew."""
    end, before = time.monotonic() + PATIENCE, None
    while True:
        box = locator.bounding_box()
        if box is not None and box == before:
            return dict(box)
        assert time.monotonic() < end, f"{locator} has no rectangle after {PATIENCE:.0f} s, or moves on"
        before = box
        locator.page.wait_for_timeout(25)


def tiles(page: Any) -> list[dict[str, Any]]:
    """The tiles that exist: place among the results, name, and rectangle."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.cell')].map((cell) => {
            const {left, top, right, bottom} = cell.getBoundingClientRect();
            const name = cell.querySelector('img').alt || cell.querySelector('.words').textContent;
            return {place: Number(cell.dataset.place), name, left, top, right, bottom,
                    match: cell.querySelector('.match').textContent};
        })"""
    )


def first_visible(page: Any) -> int:
    """Place of the first tile that can be seen."""
    top = page.evaluate("document.querySelector('#scroller').getBoundingClientRect().top")
    return min(tile["place"] for tile in tiles(page) if tile["bottom"] > top + 1)


def search(page: Any, words: str) -> None:
    """Type, press Enter, and wait for the results."""
    page.locator("#words").fill(words)
    page.locator("#words").press("Enter")
    page.wait_for_selector(".cell.shown, .cell.text")
    until(page, "document.title.includes('·') && !document.querySelector('#results[aria-busy]')")

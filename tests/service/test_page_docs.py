"""The interface's description for people, in a browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser
from served import Served


def test_the_page_for_people_asks_nothing_of_others(browser: Browser, indexed: Path) -> None:
    served = Served(indexed)
    page = browser.new_page()
    asked, troubles = list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    try:
        page.goto(served.url + "/docs")
        page.wait_for_selector(".request")
        assert page.locator(".request").count() >= 25
        search = page.locator("#search")
        search.get_by_role("button", name="Send").click()
        search.get_by_label("Answer").wait_for()
        assert '"results"' in (search.get_by_label("Answer").text_content() or "")
        for width in (1200, 390):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        page.close()
        served.kill()
    assert troubles == []
    assert [url for url in asked if not url.startswith(served.url)] == []

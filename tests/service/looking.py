"""What tests look for on the page."""

from __future__ import annotations

import time
from typing import Any

PATIENCE = 10.0


def until(page: Any, expression: str, arg: Any = None) -> None:
    """Wait for something to be true in the page; its policy forbids Playwright's own way of doing so."""
    end = time.monotonic() + PATIENCE
    while not page.evaluate(expression, arg):
        assert time.monotonic() < end, f"still not true after {PATIENCE:.0f} s: {expression}"
        page.wait_for_timeout(25)


def tiles(page: Any) -> list[dict[str, Any]]:
    """The tiles that exist: place among the results, name, and rectangle."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.cell')].map((cell) => {
            const {left, top, right, bottom} = cell.getBoundingClientRect();
            const name = cell.querySelector('img').alt || cell.querySelector('.words').textContent;
            return {place: Number(cell.dataset.place), name, left, top, right, bottom,
                    score: cell.querySelector('.score').textContent};
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

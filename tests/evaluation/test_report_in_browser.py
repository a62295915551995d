"""The report as people open it: from a file, with JavaScript off, and on paper."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cospace.commands.evaluate import evaluate_and_report
from cospace.data.pairs import open_pairs
from cospace.runs.run import Run
from cospace.types import silent
from service.page_fixtures import browser

__all__ = ["browser"]  # a fixture


@pytest.fixture(scope="module")
def report(trained: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    evaluate_and_report(Run.load(trained), open_pairs(shapes), None, None, path, "cospace eval", silent)
    return path


def opened(browser: Any, report: Path, **context: Any) -> tuple[Any, list[str]]:
    """The page of the file, and everything that it asks for."""
    page, asked = browser.new_context(**context).new_page(), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    return page, asked


def test_without_javascript_all_ten_sections_and_pictures_are_there(browser: Any, report: Path) -> None:
    page, asked = opened(browser, report, java_script_enabled=False)
    assert page.locator("body > header, main > header, header, section").count() == 10
    assert page.locator("svg use").count() > 10
    assert [url for url in asked if not url.startswith(("data:", report.as_uri()))] == []
    content = report.read_bytes()
    assert len(content) < 2_000_000
    assert not re.search(rb"/(root|home|tmp|Users)/", content)


def test_on_paper_it_is_light_and_everything_is_open_and_afterwards_as_before(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report, color_scheme="dark")
    heights = """[...document.querySelectorAll('details:not(.numbers) > :not(summary)')]
        .map((one) => one.checkVisibility({ contentVisibilityAuto: true }))"""
    before = page.evaluate(heights)
    assert False in before
    page.emulate_media(media="print")
    light = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()")
    assert light == "#fff"
    assert all(page.evaluate(heights)), "what is folded on the screen is printed"
    assert (
        page.evaluate("[...document.querySelectorAll('figure')].map((one) => getComputedStyle(one).breakInside)").count(
            "avoid"
        )
        > 3
    )
    assert page.pdf()[:4] == b"%PDF"
    page.emulate_media(media="screen")
    assert page.evaluate(heights) == before

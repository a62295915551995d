"""The report as people open it: from a file, with JavaScript off, and on paper."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conftest import TINY, write_shapes
from cospace.commands.evaluate import evaluate_and_report, report_run
from cospace.commands.index import build_index
from cospace.commands.relevance import Verdict
from cospace.commands.search import SearchableIndex
from cospace.commands.train import TrainArguments, train
from cospace.data.pairs import open_pairs
from cospace.evaluation.report import Report, write_report
from cospace.reading import read_object
from cospace.runs.run import Run
from cospace.service.health import space_health
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


def test_without_javascript_the_curves_axis_can_be_chosen(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report, java_script_enabled=False)
    assert page.locator("text=Loss by step").first.is_visible()
    assert not page.locator("text=Loss by minutes").first.is_visible()
    page.locator("label[for=by-minutes]").click()
    assert page.locator("text=Loss by minutes").first.is_visible()
    assert not page.locator("text=Loss by step").first.is_visible()


def test_it_opens_with_the_verdict_and_the_name_is_smaller(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report)
    heading = page.locator("h1").inner_text()
    assert re.match(r"(Good|Fair|Poor|No better than guessing|Collapsed): ", heading), heading
    size = "(one) => parseFloat(getComputedStyle(one).fontSize)"
    assert page.locator(".kicker b").evaluate(size) < page.locator("h1").evaluate(size) / 1.4
    assert page.locator(".place").first.inner_text() == "1"


@pytest.mark.parametrize("width", [320, 390, 820, 1280])
def test_nothing_scrolls_sideways_and_no_figure_breaks(browser: Any, report: Path, width: int) -> None:
    page, _ = opened(browser, report, viewport={"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = page.eval_on_selector_all(
        ".big, .range",
        "(all) => all.filter((one) => one.offsetHeight > 1.9 * parseFloat(getComputedStyle(one).fontSize))",
    )
    assert broken == []
    cut = page.eval_on_selector_all("#retrieval .wide", "(all) => all.map((one) => [one.scrollWidth, one.clientWidth])")
    assert all(inner <= outer for inner, outer in cut), "the table of retrieval fits a phone"
    if width == 390:
        assert page.evaluate("document.documentElement.scrollHeight") <= 12_000


def test_a_table_that_does_not_fit_says_that_it_scrolls(browser: Any, report: Path) -> None:
    """A shadow at its edge, drawn by the style sheet: scrolled to the end it is covered."""
    page, _ = opened(browser, report)
    attachments = page.locator(".wide").first.evaluate("(one) => getComputedStyle(one).backgroundAttachment")
    assert attachments == "local, local, scroll, scroll"


VISIBLE = """[...document.querySelectorAll('details:not(.numbers, .more) > :not(summary)')]
    .map((one) => one.checkVisibility({ contentVisibilityAuto: true }))"""


def test_on_paper_it_is_light_and_everything_is_open_and_afterwards_as_before(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report, color_scheme="dark")
    before = page.evaluate(VISIBLE)
    assert False in before
    page.emulate_media(media="print")
    light = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()")
    assert light == "#fff"
    assert all(page.evaluate(VISIBLE)), "what is folded on the screen is printed"
    for selector, least in (("figure", 3), ("table", 1), (".card", 2), (".example", 10)):
        kept = page.eval_on_selector_all(selector, "(all) => all.map((one) => getComputedStyle(one).breakInside)")
        assert kept.count("avoid") == len(kept) >= least, f"no {selector} is torn"
    page.emulate_media(media="screen")
    assert page.evaluate(VISIBLE) == before


NUMBERS = r"""[...document.querySelectorAll('td, .big, .range, dd')].filter((one) => one.checkVisibility())
    .filter((one) => /^[\d.,]+( ?%)?$/.test(one.textContent.trim())).filter((one) => {
        const range = document.createRange();
        range.selectNodeContents(one);
        const parts = [...range.getClientRects()];  // a smaller % on the same line overlaps its number in height
        return parts.some(({top}) => top >= Math.min(...parts.map(({bottom}) => bottom)));
    }).map((one) => one.textContent)"""


def test_on_paper_plots_stand_side_by_side_and_no_number_breaks(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report, viewport={"width": 688, "height": 1017})  # of A4, without its margins
    page.emulate_media(media="print")
    columns = "(all) => all.map((one) => getComputedStyle(one).gridTemplateColumns.split(' ').length)"
    assert min(page.eval_on_selector_all(".plates", columns)) >= 2
    tops = page.eval_on_selector_all(".card", "(all) => all.map((one) => one.getBoundingClientRect().top)")
    assert len(set(tops)) == 1, "the cards are one row"
    assert page.evaluate(NUMBERS) == []


def test_it_prints_on_eight_pages_and_none_is_blank(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report)
    printed = page.pdf(prefer_css_page_size=True)
    lengths = drawn_bytes(printed)
    assert 2 <= len(lengths) <= 8
    assert min(lengths) > 300, lengths
    blank = browser.new_page()
    blank.set_content("<style>@page { size: A4 }</style><p>a</p><div style='break-before: page'></div>")
    first, empty = drawn_bytes(blank.pdf(prefer_css_page_size=True))
    assert first > empty < 300, "the test sees what it is for"


def drawn_bytes(pdf: bytes) -> list[int]:
    """Lengths of the drawing instructions of every page, as compressed."""
    objects = {int(number): content for number, content in re.findall(rb"(\d+) 0 obj\s(.*?)endobj", pdf, re.DOTALL)}
    found = []
    for content in objects.values():
        if re.search(rb"/Type\s*/Page\b", content):
            drawn = objects[int(re.findall(rb"/Contents (\d+) 0 R", content)[0])]
            found.append(int(re.findall(rb"/Length (\d+)", drawn)[0]))
    return found


class Own(NamedTuple):
    """A run that was trained just now with its report, and an index of the pairs that it was measured on."""

    run: Run
    written: Report
    index: SearchableIndex


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    folder = tmp_path_factory.mktemp("own")
    train_on, held_out = write_shapes(folder, 4), once(write_shapes(folder, 32, "val.csv", first=4))
    overrides = (*TINY, "training.steps=60", "training.evaluations=1")
    trained = train(TrainArguments(train_on, folder / "run", val=held_out, overrides=overrides))
    written: list[Report] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "cospace.runs.report.write_report", lambda path, one: written.append(one) or write_report(path, one)
        )
        report_run(trained)
    return Own(trained.run, written[0], build_index(trained.run, held_out, folder / "idx").index)


def once(table: Path) -> Path:
    """The table without rows whose picture another row shows too: an index has these as two items."""
    head, *rows = table.read_text("utf-8").splitlines()
    pictures = {(table.parent / row.partition(",")[0]).read_bytes(): row for row in rows}
    table.write_text("\n".join([head, *pictures.values(), ""]), "utf-8")
    return table


def test_report_health_and_results_agree_to_the_shown_digit(browser: Any, own: Own) -> None:
    """Every headline number has its interval, n and chance."""
    metrics, bounds = own.run.metrics(), read_object(own.run.path / "intervals.json")
    page, _ = opened(browser, own.run.path / "report.html")
    cards = page.locator(".card").all_inner_texts()
    health = space_health(own.index)
    assert len(health["held_out"]["directions"]) == 2
    for direction in health["held_out"]["directions"]:
        name, first = direction["direction"], direction["recalls"][0]
        (text,) = (card for card in cards if f"{name.replace('_to_', ' → ')} · R@1" in card and "R@10" not in card)
        low, high = bounds[f"{name}/R@1"]
        shown = f"[{100 * low:.1f}, {100 * high:.1f}]"
        assert first["shown"] == f"{100 * metrics[f'{name}/R@1']:.1f}"
        assert f"[{100 * first['low']:.1f}, {100 * first['high']:.1f}]" == shown
        assert first["shown"] + "%" in re.sub(r"\s", "", text)
        assert all(
            part in text
            for part in (shown, f"n = {direction['queries']:,} queries", f"chance {first['chance_shown']} %")
        )
        assert f"{first['shown']} {shown}" in page.locator("#retrieval table.results").inner_text()
    assert page.locator("h1").inner_text() == health["verdict"]["sentence"]
    kept = read_object(own.run.path / "reliability.json")
    assert kept["shown"], "the test sees what it is for"
    assert health["calibration"]["error"] == kept["error"]
    assert health["calibration"]["sentence"] in page.locator("#scores").inner_text()


def test_the_same_query_gives_the_same_item_the_same_number_and_word_as_a_search(
    own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the score alone: a report of held-out pairs does not ask what the captions of an index say."""
    monkeypatch.setattr(Verdict, "left_to_captions", lambda *_: False)
    index = own.index
    compared = 0
    for example in (one for one in own.written.examples if one.direction == "text_to_image"):
        found = {result.text: result for result in index.search(text=example.query.text, k=256)}
        for result in example.results:
            assert result.percent is not None
            assert result.percent / 100 == pytest.approx(found[result.item.text].probability, abs=1e-3)
            assert result.match == found[result.item.text].match
            compared += 1
    assert compared >= 100

"""The page on the real service, in a real browser: what only both together can get wrong."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import shape_picture, write_shapes
from cospace.commands.index import build_index
from cospace.runs.run import Run
from service.page_fixtures import LOG_VIOLATIONS, search, until
from service.test_running import Served

HOSTILE = "</script><img src=x onerror=document.title=1>"


@pytest.fixture(scope="module")
def served(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Shapes, one photograph that lies on its side in its file, and a caption that would be a program."""
    folder = tmp_path_factory.mktemp("real")
    table = write_shapes(folder, 4)
    exif = Image.Exif()
    exif[0x0112] = 6
    gradient(300, 200).save(folder / "images" / "lying.jpg", exif=exif)
    with table.open("a", encoding="utf-8") as file:
        file.write("images/lying.jpg,a grey gradient\n")
        file.write(f"images/red-circle-0.png,{HOSTILE}\n")
    build_index(Run.load(trained), table, folder / "idx")
    served = Served(folder / "idx")
    yield served
    served.process.kill()
    served.process.communicate()


def gradient(width: int, height: int) -> Image.Image:
    row = np.linspace(0, 255, width, dtype=np.uint8)
    return Image.fromarray(np.repeat(np.repeat(row[None, :, None], height, 0), 3, 2))


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    """An open page; it may ask its own server only, and complains of nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script(LOG_VIOLATIONS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: None if own(asked.url, served) else complaints.append(asked.url))
    page.goto(served.url + "/")
    page.wait_for_selector("#words")
    yield page
    assert complaints == []
    context.close()


def own(url: str, served: Served) -> bool:
    return url.startswith((served.url, "blob:", "data:"))


def test_a_tour_of_all_views_asks_nobody_else_and_complains_of_nothing(page: Any) -> None:
    search(page, "a red circle")
    until(page, "document.querySelectorAll('.cell.shown').length >= 8")
    for view in ("Map", "Ask", "Health"):
        page.click(f"#views >> text={view}")
        page.wait_for_selector(f"#{view.lower()}-view", state="visible")
    page.wait_for_selector("#health-view >> text=For specialists")


def test_a_photograph_on_its_side_is_upright_in_the_grid_and_in_the_viewer(page: Any) -> None:
    paste(page, gradient(300, 200).transpose(Image.Transpose.ROTATE_270))  # as it looks, so it is the nearest
    until(
        page,  # in one look, since tiles are drawn again while results arrive
        """(() => {
          const images = [...document.querySelectorAll('.cell.shown img')];
          return images.some((one) => one.naturalHeight > one.naturalWidth)
            && images.every((one) => one.naturalHeight >= one.naturalWidth);
        })()""",
    )


def test_a_caption_that_would_be_a_program_is_text(page: Any) -> None:
    search(page, HOSTILE)
    assert page.title() != "1"
    assert page.query_selector("img[src=x]") is None


def paste(page: Any, image: Image.Image) -> None:
    """Paste an image, and wait until it is searched by."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    page.evaluate(
        """(data) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], 'one.png', { type: 'image/png' }));
          document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true }));
        }""",
        base64.b64encode(buffer.getvalue()).decode(),
    )
    page.wait_for_selector(".chip")


def test_a_pasted_image_finds_itself(page: Any, served: Served) -> None:
    paste(page, shape_picture("black", "square", 1))
    until(page, "document.querySelector(`.cell[data-place='0'] img`)?.alt === 'a black square number 1'")


def test_the_address_brings_back_the_same_results(page: Any) -> None:
    search(page, "a blue square")
    names = "[...document.querySelectorAll('.cell')].slice(0, 5).map((cell) => cell.querySelector('img').alt)"
    until(page, f"{names}.length && {names}.every(Boolean)")
    before = page.evaluate(names)
    page.reload()
    until(page, f"(before) => `${{{names}}}` === before", ",".join(before))

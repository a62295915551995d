"""The report: one safe, self-contained, small file whose numbers are the metrics it was given."""

from __future__ import annotations

import html
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cospace.evaluation import maps, platt, report, retrieval, zero_shot
from cospace.evaluation.advice import Deed
from cospace.evaluation.geometry import geometry, verdicts
from cospace.evaluation.layout import layout, principal_plane
from cospace.evaluation.quality import judge
from cospace.evaluation.relevance import Bin
from cospace.evaluation.report import Confusion, GeneratedExample, Report, examples, write_report
from cospace.evaluation.report._images import Sheet, thumbnail
from cospace.evaluation.report._svg import decimate, ticks
from cospace.evaluation.report._words import plain
from cospace.evaluation.report.examples import Item, Side
from cospace.evaluation.shown import Shown
from cospace.evaluation.vectors import unit
from cospace.matches import Relation
from cospace.models.calibration import match
from cospace.types import UserError

BINS = [Bin(0.25, 0.3, 300), Bin(0.55, 0.5, 80), Bin(0.95, 0.1, 7)]
MODALITIES = ("image", "text")
HOSTILE = '</script><img src=x onerror=alert(1)> & "quotes" ]]> <!-- http://example.org/a.png'
N = 30


def picture(seed: int, side: int = 20) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def full() -> Report:
    """A report with every part, made by the same functions that a run uses."""
    torch.manual_seed(0)
    image = torch.randn(N, 16)
    text = image + torch.randn(N, 16)
    groups = torch.arange(N)
    relation = Relation.of_groups(groups)
    shown = [Item(f"caption {n}" if n else HOSTILE, f"k{n}") for n in range(N)]
    sides = {"image": Side(shown, image), "text": Side([Item(i.text) for i in shown], text)}
    rankings = retrieval.both_ways(image, text, relation)
    metrics = retrieval.retrieval(image, text, relation)
    labels = np.arange(N) % 3
    classes = torch.randn(3, 16)
    metrics |= zero_shot.zero_shot(image, classes, labels) | geometry(image, text)
    matched, unmatched = platt.sample_scores(text, image, relation.T)

    def says(score_QG: np.ndarray, texts: object, captions: object) -> np.ndarray:
        return 1 / (1 + np.exp(-10 * (score_QG - 0.5)))

    intervals = zero_shot.metric_intervals(metrics)
    shown_examples, curves = [], []
    for direction, ranking in rankings.items():
        query, gallery = direction.split("_to_")
        intervals |= retrieval.metric_intervals(direction, ranking, groups)
        pair = (sides[query], sides[gallery])
        shown_examples += examples.build_examples(direction, ranking, pair, relation, says)
        curves.append(report.recall_curve(direction, ranking, groups))
    quality = judge(metrics, intervals, MODALITIES, 16)
    return Report(
        name="birds <b>",
        date="2026-01-02",
        verdict=report.verdict(metrics, MODALITIES, quality),
        quality=quality,
        deed=Deed("Train longer.", "cospace train ... training.steps=9"),
        command="cospace train /home/anna/birds/pairs.csv --val '/mnt/x/val.csv' --out runs/birds",
        version="0.1.0",
        metrics=metrics,
        data={"fingerprint": "abc123", "training pairs": 2000, "table": "/home/anna/birds/pairs.csv"},
        intervals=intervals,
        curves=[
            {"step": s, "loss": 1 / s, "minutes": s / 60, "val/text_to_image/R@1": 1 - 1 / s} for s in range(1, 900)
        ],
        recall=curves,
        matched=matched,
        unmatched=unmatched,
        shown=Shown(BINS, 0.081, 387, 60),
        examples=shown_examples,
        confusion=Confusion(zero_shot.confusion(image, classes, labels), ["wren", HOSTILE, "owl"]),
        map=report.map_view(maps.flat_map({"image": image, "text": text}), "image", shown),
        health=verdicts(metrics, 16),
        pairs=shown[:12],
        images={f"k{n}": picture(n) for n in range(N)},
        config={"objective": {"name": "softmax"}, "out": "/home/anna/runs", "store": "postgresql://anna:pw@dbhost/x"},
        machine={"processor": "2 cores"},
        warnings=report.cautions(metrics),
    )


@pytest.fixture(scope="module")
def written(full: Report, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    size = write_report(path, full)
    assert size == path.stat().st_size < report.BUDGET
    return path.read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Every tag with its attributes, and the text between tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_markup_is_balanced_and_has_ten_sections(written: str) -> None:
    page = Tags(written)
    assert page.open == []
    identities = [a["id"] for t, a in page.tags if t == "section"]
    expected = ["retrieval", "curves", "scores", "examples", "confusion", "map", "health", "data", "settings"]
    assert identities == expected
    assert [t for t, _ in page.tags].count("header") == 1
    assert 'class="none"' not in written
    every = [a["id"] for _, a in page.tags if "id" in a]
    assert len(every) == len(set(every))
    assert {a["href"][1:] for _, a in page.tags if (a.get("href") or "").startswith("#")} <= set(every)  # type: ignore[index]


def test_hostile_captions_are_text(written: str) -> None:
    page = Tags(written)
    assert HOSTILE in page.text
    assert not [t for t, _ in page.tags if t in ("img", "iframe", "object", "embed", "link", "b onerror")]
    assert [a for t, a in page.tags if t == "script"] == [{"type": "application/json", "id": "numbers"}]
    assert not [name for _, a in page.tags for name in a if name.startswith("on")]


def test_nothing_is_fetched_and_no_folder_is_shown(written: str) -> None:
    page = Tags(written)
    addresses = [v for _, a in page.tags for k, v in a.items() if k in ("src", "href", "xlink:href", "data", "srcset")]
    assert addresses
    assert all(v is not None and v.startswith(("#", "data:image/webp;base64,")) for v in addresses)
    assert "url(" not in written
    assert "@import" not in written
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    for secret in ("anna", "/home", "/mnt", "dbhost"):
        assert secret not in written
    assert "pairs.csv" in written
    assert "runs/birds" in written


def test_numbers_are_the_metrics(full: Report, written: str) -> None:
    data = json.loads(re.search(r'id="numbers">(.*?)</script>', written).group(1))  # type: ignore[union-attr]
    assert data["metrics"] == full.metrics
    text = html.unescape(Tags(written).text)
    for key, (low, high) in full.intervals.items():
        assert f"{100 * full.metrics[key]:.1f} [{100 * low:.1f}, {100 * high:.1f}]" in text, key
    assert f"chance {100 / N:.1f} %" in text


def test_every_picture_is_stored_once(full: Report, written: str) -> None:
    page = Tags(written)
    stored = [a["id"] for t, a in page.tags if t == "image"]
    used = [a["href"] for t, a in page.tags if t == "use"]
    assert len(stored) <= len(full.images)
    assert len(used) > len(stored)
    assert {f"#{name}" for name in stored} == set(used)


def test_an_empty_report_keeps_its_sections(tmp_path: Path) -> None:
    bare = Report(name="x", date="", verdict=["Nothing was scored."], command="", version="0", metrics={})
    write_report(tmp_path / "r.html", bare)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.count("<section") == 9
    assert page.count('class="none"') >= 7
    assert Tags(page).open == []


def test_what_a_decoder_adds_stands_beside_the_search(full: Report, tmp_path: Path) -> None:
    generated = {"caption/accuracy": 0.97, "vqa/accuracy": 0.984, "vqa/question_only": 0.412}
    key = "rerank/text_to_image"
    reranked = {f"{key}/R@1": 0.996, f"{key}/R@1_before": 0.988, f"{key}/n": 500.0}
    curves = [{"step": s, "val/rerank/text_to_image/R@1": 0.5, "val/caption/accuracy": 0.4} for s in (1, 2)]
    write_report(tmp_path / "r.html", replace(full, metrics={**full.metrics, **generated, **reranked}, curves=curves))
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    cards = re.findall(r'<p class="what">(.*?)</p>', page)
    assert cards == ["text → image · R@1", "image → text · R@1", "zero-shot classes · top-1", "captions · correct"]
    assert "takes R@1 text → image from 98.8 to 99.6 for 500 of the queries, evenly spaced." in page
    assert "R@1 by step" not in page
    assert "Captions and answers by step" in page


def test_what_a_decoder_wrote_is_marked_as_correct_or_wrong(full: Report, tmp_path: Path) -> None:
    """With the question that was asked, the truth beside what is wrong, and how sure the decoder is."""
    made = [
        GeneratedExample(Item("a <b>", "k1"), "a <b>", correct=True),
        GeneratedExample(Item("two", "k2"), "three", "how many?", correct=False, percent=99.5),
        GeneratedExample(Item("a bird", "k3"), "an owl"),
    ]
    write_report(tmp_path / "r.html", replace(full, generated_examples=made))
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert Tags(page).open == []
    section = html.unescape(page.partition('<section id="generation">')[2].partition("</section>")[0])
    assert re.findall(r"<h3>(.*?)</h3>", section) == [
        "Answers, wrong",
        "Captions, correct",
        "Captions, drawn at random",
    ]
    assert "<i>how many?</i><br>" in section
    assert "three" in section
    assert "> 99\N{NO-BREAK SPACE}%" in section
    assert re.findall(r"true: ([^<]*)", section) == ["two", "a bird"]


def test_a_sound_has_its_spectrogram_and_one_player(full: Report, tmp_path: Path) -> None:
    spoken = Item("a bell", "k3")
    query = replace(full.examples[0], query=spoken)
    with_sound = replace(full, examples=[query], pairs=[spoken, full.pairs[1]], media={"k3": (b"OggS...", "audio/ogg")})
    write_report(tmp_path / "r.html", with_sound)
    page = Tags((tmp_path / "r.html").read_text(encoding="utf-8"))
    (player,) = (a for t, a in page.tags if t == "audio")
    assert player["src"] == "data:audio/ogg;base64,T2dnUy4uLg=="
    assert player["aria-label"] == "a bell"
    assert "controls" in player and "autoplay" not in player
    policy = next(a["content"] or "" for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "media-src data:" in policy


def test_the_training_curves_show_every_learned_scale(full: Report, tmp_path: Path) -> None:
    curves = [
        {"step": s, "loss": 1 / s, "logit_scale/audio_text": 10.0, "logit_scale/image_text": 20.0} for s in (1, 2)
    ]
    write_report(tmp_path / "r.html", replace(full, curves=curves))
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert all(words in page for words in ("Logit scale by step", "audio – text", "image – text"))


def test_it_steps_down_once_and_says_so(full: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_report(tmp_path / "whole.html", full)
    monkeypatch.setattr(report, "BUDGET", whole - 1)
    assert write_report(tmp_path / "less.html", full) < whole
    assert "half of the examples" in (tmp_path / "less.html").read_text(encoding="utf-8")
    monkeypatch.setattr(report, "BUDGET", 1000)
    with pytest.raises(UserError, match="limit is 1,000"):
        write_report(tmp_path / "none.html", full)
    assert not (tmp_path / "none.html").exists()


def test_many_large_pictures_fit(full: Report, tmp_path: Path) -> None:
    large = replace(full, images={key: picture(n, 400) for n, key in enumerate(full.images)})
    assert write_report(tmp_path / "r.html", large) < report.BUDGET


def test_examples_are_three_honest_strata() -> None:
    ranks = np.arange(1, 101)
    chosen = examples.choose_examples(ranks, seed=1)
    assert [len(chosen[s]) for s in ("random", "best", "worst")] == [8, 4, 8]
    assert len({row for rows in chosen.values() for row in rows}) == 20
    rest = [row for row in range(100) if row not in chosen["random"]]
    assert sorted(chosen["best"]) == rest[:4]
    assert sorted(chosen["worst"]) == rest[-8:]
    assert chosen == examples.choose_examples(ranks, seed=1) != examples.choose_examples(ranks, seed=2)
    few = examples.choose_examples(np.array([1, 2, 3]))
    assert sorted(row for rows in few.values() for row in rows) == [0, 1, 2]


def test_an_example_always_shows_the_truth(full: Report) -> None:
    for example in full.examples:
        matches = [result for result in example.results if result.is_match]
        assert matches
        assert min(result.rank for result in matches) <= example.rank
        assert len(example.results) in (5, 6)
        if example.rank > 6:
            assert example.results[-1].is_match
            assert example.results[-1].rank == example.rank


def test_thumbnails_are_small_upright_and_on_white(full: Report) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGBA", (300, 100), (0, 0, 0, 0)).convert("RGB").save(buffer, "JPEG", exif=exif)
    with Image.open(io.BytesIO(thumbnail(buffer.getvalue(), 112, 70) or b"")) as upright:
        assert upright.height == 112
        assert upright.width < 40
        assert not upright.getexif()
    clear = io.BytesIO()
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(clear, "PNG")
    with Image.open(io.BytesIO(thumbnail(clear.getvalue(), 112, 70) or b"")) as white:
        assert white.getpixel((4, 4)) == (255, 255, 255)
    deep = io.BytesIO()
    Image.fromarray(np.full((9, 9), 0x8000, np.uint16)).save(deep, "PNG")
    with Image.open(io.BytesIO(thumbnail(deep.getvalue(), 112, 70) or b"")) as grey:
        assert 120 < np.asarray(grey).mean() < 136
    assert thumbnail(buffer.getvalue()[:200], 112, 70) is None
    assert "no image" in Sheet(replace(full, images={"k": b"not an image"}), 112, 70).show(Item("words", "k"))


def test_map_of_a_flat_space_is_faithful() -> None:
    torch.manual_seed(0)
    plane = torch.randn(300, 2) @ torch.randn(2, 12) * 0.1 + 5 * torch.eye(12)[0]
    drawn, rows = maps.flat_map({"image": plane}, most=200)
    assert drawn.points["image"].shape == (200, 2)
    assert len(rows["image"]) == 200
    assert drawn.agreement > 0.7
    assert len(set(maps.spread_out(drawn.points["image"], 24))) == 24


def test_the_map_is_the_one_that_the_page_draws() -> None:
    """Groups that principal components lay on top of each other lie apart."""
    torch.manual_seed(0)
    centre_KE, kind_N = torch.randn(80, 64), torch.arange(400) % 80
    sides = {name: centre_KE[kind_N] + 0.3 * torch.randn(400, 64) for name in ("image", "text")}
    drawn, _ = maps.flat_map(sides)
    of_unit_length = [unit(rows) for rows in sides.values()]
    centred = torch.cat([rows - rows.mean(0) for rows in of_unit_length])
    places = layout(centred, torch.arange(2).repeat_interleave(400), 0)
    assert np.allclose(np.concatenate(list(drawn.points.values())), places)
    assert drawn.agreement > 1.5 * maps.agreement(centred, principal_plane(centred).float(), np.random.default_rng(0))


def test_the_validation_loss_is_drawn_beside_that_of_training_and_the_kept_step_said(
    full: Report, tmp_path: Path
) -> None:
    rows = [{"step": s, "loss": 3 / s, "minutes": s / 60, "val/loss": 4.0} for s in range(1, 9)]
    curves = [{"step": 0, "minutes": 0.0, "val/loss": 5.0}, *rows]
    write_report(tmp_path / "report.html", replace(full, curves=curves, kept="kept step 3 of 8 (score < 0.1)"))
    page = Tags((tmp_path / "report.html").read_text("utf-8"))
    assert "Kept step 3 of 8 (score < 0.1)." in page.text
    plot = page.text[page.text.index("Loss by step") :]
    assert "training" in plot
    assert "validation" in plot


def said(metrics: dict[str, float]) -> tuple[str, ...]:
    return report.verdict(metrics, MODALITIES, judge(metrics, {}, MODALITIES, 16))


def test_verdict_and_cautions() -> None:
    metrics = {"n_images": 1000.0, "n_texts": 5000.0, "chance/image_to_text/R@1": 0.001}
    metrics |= {f"image_to_text/R@{k}": value for k, value in ((1, 0.812), (5, 0.9), (10, 0.95))}
    found = ("Good: it finds the right caption first for 81 of 100 images; guessing finds 1 of 1,000.",)
    assert said(metrics) == found
    both = metrics | {key.replace("image_to_text", "text_to_image"): value for key, value in metrics.items()}
    assert said(both)[1:] == (
        "The other way it finds the right caption first for 81 of 100 images; guessing finds 1 of 1,000.",
    )
    generated = {"caption/accuracy": 0.994, "caption/CIDEr-D": 4.0, "vqa/accuracy": 0.9, "vqa/question_only": 0.412}
    assert said(metrics | generated) == (
        *found,
        "Its captions are correct for 99 % of the items.",
        "Answers 90 % of the questions correctly (from the question alone: 41 %).",
    )
    assert "Answers 99.9 % of" in said({"vqa/accuracy": 0.999})[0]
    assert "correct for 99.8 % of" in said({"caption/accuracy": 0.998})[0]
    baselines = {"caption/retrieval_baseline/CIDEr-D": 0.1, "caption/most_frequent_baseline/CIDEr-D": 0.05}
    compared = {"caption/CIDEr-D": 0.2, **baselines}
    sentence = "Its captions reach CIDEr-D 0.20 (the nearest caption of training: 0.10, the most frequent one: 0.05)."
    assert said(compared) == (sentence,)
    assert said({}) == ("Nothing was scored.",)
    assert report.cautions(metrics) == []
    assert "Small set: 40 sounds" in report.cautions({"n_audios": 40.0, "n_texts": 5000.0})[0]
    assert "Small set: 40 images" in report.cautions({"n_images": 40.0, "n_texts": 5000.0})[0]
    assert report.cautions(metrics, "the space is collapsing")[0] == "The space is collapsing"
    assert report.cautions(metrics, advice=["more images: this command"]) == ["More images: this command."]


def test_it_opens_with_the_verdict_and_a_poor_run_says_what_to_do(full: Report, tmp_path: Path) -> None:
    metrics = {**full.metrics} | {
        f"{way}/R@{k}": 0.03 for way in ("text_to_image", "image_to_text") for k in (1, 5, 10)
    }
    quality = judge(metrics, {}, MODALITIES, 16)
    deed = Deed("Train longer: 9 steps were run.", "cospace train ... training.steps=90")
    poor = replace(
        full, metrics=metrics, quality=quality, deed=deed, verdict=report.verdict(metrics, MODALITIES, quality)
    )
    write_report(tmp_path / "r.html", poor)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    heading = html.unescape(re.search("<h1>(.*?)</h1>", page).group(1))  # type: ignore[union-attr]
    assert heading == "No better than guessing: it finds the right image first for 1 of 30 captions; guessing finds 1."
    assert page.index("birds &lt;b&gt;") < page.index("<h1>"), "the run's name stands above it, small"
    assert "Train longer: 9 steps were run." in page
    assert "cospace train ... training.steps=90" in page
    assert '<td class="good">' not in page, "nothing is good where the whole is not"
    assert [int(place) for place in re.findall('class="place">(.*?)<', page)] == list(range(1, 10))


def test_three_two_and_four_examples_of_a_direction_are_in_sight(full: Report, written: str) -> None:
    section = written.partition('<section id="examples">')[2].partition("</section>")[0]
    folds = re.findall(r'<details class="more">(.*?)</details>', section, re.DOTALL)
    assert [fold.count("<article") for fold in folds] == [11, 11]
    assert section.count("<article") == 40 == len(full.examples)
    open_part = section.partition('<details class="more">')[0]
    counts = [part.count("<article") for part in open_part.split("<h4>")[1:]]
    assert counts == [3, 2, 4]


def test_a_result_has_the_word_and_the_percentage_that_a_search_shows(full: Report, written: str) -> None:
    results = [result for example in full.examples for result in example.results]
    assert {result.match for result in results} >= {"maybe", "likely"}
    assert all(match(result.percent / 100) == result.match for result in results if result.percent is not None)
    shown = re.findall(r'<span class="score">(.*?)</span>', written)
    assert any("maybe" in text and "&nbsp;%" in text for text in shown)
    below = [result for result in results if result.percent is not None and result.percent < 10]
    assert below, "the test sees what it is for"
    assert not re.search(r"[ >]\d&nbsp;%", " ".join(shown)), "no percentage below ten"


def test_the_calibration_is_drawn_of_shown_results_where_there_are_enough(written: str) -> None:
    figure = written.partition("Does 80 % mean 80 %?")[2].partition("</figure>")[0]
    assert "off by 8.1 points on average, over the 387 results that 60 test searches" in figure
    assert "Results per point: 300, 80. 7 in bins of fewer than 20 are not drawn." in figure
    assert figure.count("<tr><td>25") == 1
    assert "<tr><td>95" not in figure


def test_curves_are_there_once_and_the_axis_is_chosen_without_a_script(written: str) -> None:
    section = written.partition('<section id="curves">')[2].partition("</section>")[0]
    assert re.findall(r'<input type="radio" name="axis" id="(.*?)"( checked)?>', section) == [
        ("by-step", " checked"),
        ("by-minutes", ""),
    ]
    assert "#by-step:checked ~ .of-step" in written


def test_figures_of_what_was_written_are_four_rows_and_the_others_are_folded(full: Report, tmp_path: Path) -> None:
    metrics = {
        "caption/accuracy": 0.97, "caption/distinct": 0.5, "caption/BLEU-1": 0.81, "caption/CIDEr-D": 3.456,
        "caption/retrieval_baseline/accuracy": 0.2, "caption/most_frequent_baseline/accuracy": 0.03,
        "vqa/accuracy": 0.9, "vqa/accuracy/how many": 0.629, "vqa/question_only": 0.4,
    }  # fmt: skip
    one = [GeneratedExample(Item("a", "k1"), "a", correct=True)]
    write_report(tmp_path / "r.html", replace(full, metrics={**full.metrics, **metrics}, generated_examples=one))
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    section = page.partition('<section id="generation">')[2].partition("</section>")[0]
    table = section.partition("</table>")[0]
    assert table.count("<tr>") == 4
    assert "the nearest caption of training: 20.0 %, the most frequent one: 3.0 %" in table
    folded = section.partition('<details class="more">')[2].partition("</details>")[0]
    rows = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", folded))
    assert rows["Captions: BLEU-1"] == "81.0 %"
    assert rows["Captions: CIDEr-D"] == "3.46"
    assert rows["Answers of kind “how many” that are correct"] == "62.9 %"
    assert not re.search(r"caption/|vqa/", section), "no raw names"


@settings(max_examples=100)
@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low: float, span: float) -> None:
    places = ticks(low, low + span)
    assert 2 <= len(places) <= 11
    assert all(low - 1e-6 * span <= place <= low + 1.000001 * span for place in places)


def test_decimation_keeps_every_spike() -> None:
    x, y = np.arange(10_000.0), np.zeros(10_000)
    y[[1234, 7777]] = 5, -5
    few_x, few_y = decimate(x, y)
    assert len(few_x) <= 400
    assert few_y.max() == 5
    assert few_y.min() == -5
    assert (np.diff(few_x) > 0).all()


def test_many_classes_show_the_most_confused_pairs(full: Report, tmp_path: Path) -> None:
    matrix = 9 * np.eye(50, dtype=int)
    matrix[3, 4], matrix[7, 8] = 5, 2
    many = Confusion(matrix, [f"class {n}" for n in range(50)], {(3, 4): ["k1", "k2"]})
    write_report(tmp_path / "r.html", replace(full, confusion=many))
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.index("class 3 taken for class 4: 5") < page.index("class 7 taken for class 8: 2")
    assert 'class="plot heat"' not in page


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/home/anna/a b.csv", "a b.csv"),
        ("--out '/home/anna smith/a b.csv' --n 1", "--out a b.csv --n 1"),
        ("--out /home/anna --n 1", "--out … --n 1"),
        ("\\\\server\\share\\x.csv", "x.csv"),
        ("C:\\Users\\anna\\x.csv", "x.csv"),
        ("--out=/home/anna/run --n 1", "--out=run --n 1"),
        ("~/data/x.csv", "x.csv"),
        ("hf:anna/pets and/or runs/birds 1/2", "hf:anna/pets and/or runs/birds 1/2"),
        ("https://anna@host/x?y", "…"),
    ],
)
def test_folders_and_hosts_are_left_out(given: str, kept: str) -> None:
    assert html.unescape(plain(given)) == kept

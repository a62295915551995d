"""The service on an index of images, sounds and texts: every modality is found, sent, shown and played."""

from __future__ import annotations

import csv
import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgi_client import AsgiClient
from PIL import Image

import cospace
from conftest import COLOURS, shape_picture
from cospace.commands.index import build_index
from cospace.commands.search import SearchableIndex
from cospace.service.app import create_app
from cospace.service.limits import Limits

ROWS = 12
SOUND_TYPES = ["audio/wav", "audio/flac", "audio/mpeg", "audio/ogg"]
OVERRIDES = (
    "encoders.image=linear", "encoders.text=bag", "encoders.audio=spectrogram", "encoders.audio.channels=[4,8,8]",
    "encoders.audio.width=16", "embed_dim=16", "data.image.size=32", "training.batch_size=8", "training.steps=2",
    "training.evaluations=1", "tasks=caption", "decoder.width=16", "decoder.depth=1", "decoder.heads=2",
    "decoder.modality=image",
)  # fmt: skip
"""A run that has hardly begun: what it finds means nothing, how it is found and shown is what counts here."""


def wav(hertz: float, seconds: float = 0.5, rate: int = 16_000) -> bytes:
    """A tone as a file."""
    samples = (8000 * np.sin(2 * np.pi * hertz / rate * np.arange(round(seconds * rate)))).astype("<i2").tobytes()
    body = (
        b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16) + b"data" + struct.pack("<I", len(samples))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body) + len(samples)) + b"WAVE" + body + samples


def write_table(folder: Path) -> Path:
    """Rows of an image, a sound and a caption; the first lacks the image, the last the sound."""
    colours = list(COLOURS)
    rows = []
    for number in range(ROWS):
        colour, shape = colours[number % 4], ("circle", "square")[number // 4 % 2]
        shape_picture(colour, shape, number).save(folder / f"{number}.png")
        (folder / f"{number}.wav").write_bytes(wav(200 + 40 * number))
        image, sound = f"{number}.png" if number else "", f"{number}.wav" if number < ROWS - 1 else ""
        rows.append({"image": image, "audio": sound, "text": f"a {colour} {shape} number {number}"})
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["image", "audio", "text"])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "rows.csv"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 11 images, 11 sounds and 12 captions."""
    folder = tmp_path_factory.mktemp("mixed")
    table = write_table(folder)
    run = cospace.train(str(table), folder / "run", overrides=OVERRIDES)
    build_index(run, table, folder / "idx")
    return folder / "idx"


@pytest.fixture(scope="module")
def client(mixed: Path) -> Iterator[AsgiClient]:
    client = AsgiClient(create_app(SearchableIndex.open(mixed)))
    yield client
    client.close()


def found(client: AsgiClient, **query: Any) -> list[dict[str, Any]]:
    answer = client.post("/api/search", {"k": 100, **query})
    assert answer.status == 200, answer
    return list(answer.json()["results"])


def test_info_describes_every_modality(client: AsgiClient) -> None:
    info = client.get("/api/info").json()
    modalities = {one.pop("name"): one for one in info["modalities"]}
    assert modalities == {
        "image": {"noun": "image", "plural": "images", "is_text": False, "preview": True, "page": None,
                  "upload_types": ["image/jpeg", "image/png", "image/webp"]},
        "audio": {"noun": "sound", "plural": "sounds", "is_text": False, "preview": True,
                  "page": "page/modality-audio.js", "upload_types": SOUND_TYPES},
        "text": {"noun": "caption", "plural": "texts", "is_text": True, "preview": False, "page": None,
                 "upload_types": []},
    }  # fmt: skip
    assert info["counts"] == {"image": 11, "audio": 11, "text": 12}
    assert (info["describes"], info["can"]["caption"]) == ("image", True)
    numbers = ",".join(map(str, info["representatives"]))
    shown = client.get(f"/api/items?version={info['version']}&n={numbers}").json()["items"]
    assert {item["modality"] for item in shown} == {"image", "audio"}
    for text in info["examples"]:
        assert client.post("/api/search", {"parts": [{"text": text}]}).json()["unknown_words"] == []


@pytest.mark.parametrize("find", ["image", "audio", "text"])
def test_each_modality_is_found_by_each(client: AsgiClient, find: str) -> None:
    an_id = {name: found(client, parts=[{"text": "red"}], find=name)[0]["id"] for name in ("image", "audio", "text")}
    for asked in ({"text": "a red circle"}, *({"id": name} for name in an_id.values())):
        assert {one["modality"] for one in found(client, parts=[asked], find=find)} == {find}


def test_the_direction_of_a_search_is_that_of_its_item(client: AsgiClient) -> None:
    sound = found(client, parts=[{"text": "red"}], find="audio")[0]
    sent = client.post("/api/upload", wav(300)).json()["upload"]
    for part in ({"id": sound["id"]}, {"upload": sent}):
        assert client.post("/api/search", {"parts": [part], "find": "image"}).json()["direction"] == "audio_to_image"


def test_a_sound_that_is_sent_finds_itself_and_is_shown(client: AsgiClient) -> None:
    answer = client.post("/api/upload", wav(200 + 40 * 3)).json()
    assert (answer["modality"], answer["preview"]) == ("audio", True)
    first = found(client, parts=[{"upload": answer["upload"]}], find="audio")[0]
    assert first["path"] == "3.wav"
    assert first["score"] > 0.99
    assert client.get(f"/api/upload/{answer['upload']}").json() == answer
    with Image.open(io.BytesIO(client.get("/u/" + answer["upload"]).body)) as preview:
        assert preview.format == "WEBP"
    assert client.get("/api/upload/" + "0" * 32).status == 404


def test_a_form_and_a_file_of_no_modality_are_refused_with_what_is_taken(client: AsgiClient) -> None:
    form = client.ask("POST", "/api/upload", {"content-type": "multipart/form-data; boundary=x"}, b"--x\r\n\r\n")
    other = client.post("/api/upload", b"%PDF-1.7")
    assert (form.status, other.status) == (422, 415)
    assert "curl -F file=@FILE" in form.json()["detail"]
    assert "audio/ogg" in other.json()["detail"]
    assert "image/jpeg" in other.json()["detail"]


def test_vectors_of_items_of_several_modalities(client: AsgiClient) -> None:
    items = [{"id": found(client, parts=[{"text": "red"}], find=name)[0]["id"]} for name in ("image", "audio", "text")]
    items.append({"upload": client.post("/api/upload", wav(250)).json()["upload"]})
    vectors = client.post("/api/embed", {"items": items}).json()["vectors"]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1] * 4, abs=1e-5)
    assert client.post("/api/embed", {"images": items}).json()["vectors"] == vectors, "as older clients say it"
    assert client.post("/api/embed", {"items": items, "texts": ["a"]}).status == 422


def test_an_item_of_any_modality_is_classified(client: AsgiClient) -> None:
    sound = {"upload": client.post("/api/upload", wav(250)).json()["upload"]}
    answers = [
        client.post("/api/classify", {field: sound, "classes": ["a siren", "a bird"]}) for field in ("item", "image")
    ]
    assert sum(one["probability"] for one in answers[0].json()["results"]) == pytest.approx(1)
    assert answers[0].body == answers[1].body


def test_the_decoder_describes_items_of_its_modality_only(client: AsgiClient) -> None:
    image, sound, caption = (
        found(client, parts=[{"text": "red"}], find=name)[0]["id"] for name in ("image", "audio", "text")
    )
    sent = client.post("/api/upload", wav(250)).json()["upload"]
    assert isinstance(client.post("/api/caption", {"item": {"id": image}}).json()["caption"], str)
    for field, item in (("id", {"id": sound}), ("upload", {"upload": sent}), ("id", {"id": caption})):
        for path, more in (("/api/caption", {}), ("/api/ask", {"question": "what?"})):
            refused = client.post(path, {"item": item, **more})
            assert (refused.status, refused.json()["field"]) == (422, field)
    assert "describes images, not sounds" in client.post("/api/caption", {"item": {"id": sound}}).json()["detail"]


def test_previews_of_sounds_are_those_that_the_index_keeps(client: AsgiClient) -> None:
    sound = found(client, parts=[{"text": "red"}], find="audio")[0]
    for size, side in ((64, 64), (256, 256), (512, 256), (1280, 256)):
        answer = client.get(f"/t/{size}/{sound['hash']}")
        assert answer.headers["content-type"] == "image/webp"
        with Image.open(io.BytesIO(answer.body)) as preview:
            assert max(preview.size) == side


def test_a_sound_is_played_whole_and_in_parts(client: AsgiClient, mixed: Path) -> None:
    sound = found(client, parts=[{"text": "red"}], find="audio")[0]
    target, data = f"/m/{sound['hash']}", (mixed.parent / sound["path"]).read_bytes()
    whole = client.get(target)
    assert (whole.status, whole.body) == (200, data)
    assert whole.headers["content-type"] == "audio/wav"
    assert whole.headers["accept-ranges"] == "bytes"
    for asked, part in (("0-99", data[:100]), ("100-", data[100:]), ("-50", data[-50:]), ("5-999999999", data[5:])):
        answer = client.get(target, range=f"bytes={asked}")
        assert (answer.status, answer.body) == (206, part), asked
        first = len(data) - len(part) if asked != "0-99" else 0
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(part) - 1}/{len(data)}"
        assert answer.headers["content-length"] == str(len(part))
    beyond = client.get(target, range=f"bytes={len(data)}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{len(data)}")
    assert beyond.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "asked", ["bytes=9-5", "bytes=-", "bytes=0-1,5-6", "pages=1-2", "bytes=a-b", "bytes=" + "9" * 40]
)
def test_a_range_that_cannot_be_read_is_ignored(client: AsgiClient, asked: str) -> None:
    sound = found(client, parts=[{"text": "red"}], find="audio")[0]
    assert client.get(f"/m/{sound['hash']}", range=asked).status == 200


def test_a_range_of_another_version_gets_the_whole_file(client: AsgiClient) -> None:
    sound = found(client, parts=[{"text": "red"}], find="audio")[0]
    target = f"/m/{sound['hash']}"
    tag = client.get(target).headers["etag"]
    assert client.get(target, **{"range": "bytes=0-9", "if-range": tag}).status == 206
    assert client.get(target, **{"range": "bytes=0-9", "if-range": '"other"'}).status == 200


def test_an_image_has_media_too_and_a_text_has_none(client: AsgiClient) -> None:
    image, text = (found(client, parts=[{"text": "red"}], find=name)[0] for name in ("image", "text"))
    assert client.get(f"/m/{image['hash']}").headers["content-type"] == "image/webp"
    for target in (f"/m/{text['hash']}", "/m/" + "0" * 32, "/m/x", "/m/..%2f..%2fetc"):
        assert client.get(target).status == 404


def test_a_file_that_has_changed_is_not_played(mixed: Path) -> None:
    collection = SearchableIndex.open(mixed)
    client = AsgiClient(create_app(collection))
    try:
        sound = found(client, parts=[{"text": "red"}], find="audio")[1]
        path = mixed.parent / sound["path"]
        data = path.read_bytes()
        path.write_bytes(wav(999))
        assert client.get(f"/m/{sound['hash']}").status == 404
        path.write_bytes(data)
        assert client.get(f"/m/{sound['hash']}").status == 200
    finally:
        client.close()


def test_a_file_that_is_too_large_is_not_read(mixed: Path) -> None:
    client = AsgiClient(create_app(SearchableIndex.open(mixed), limits=Limits(media=1000)))
    try:
        sound = found(client, parts=[{"text": "red"}], find="audio")[0]
        assert client.get(f"/m/{sound['hash']}").status == 404
    finally:
        client.close()


def test_a_modality_brings_its_own_page_module(client: AsgiClient) -> None:
    module = client.get("/page/modality-audio.js")
    assert module.headers["content-type"].startswith("text/javascript")
    assert b"export function player(" in module.body
    assert "media-src 'self' blob:" in module.headers["content-security-policy"]
    assert client.get("/page/modality-image.js").status == client.get("/page/modality-x.js").status == 404


def test_the_map_has_previews_of_both_and_the_health_figures_of_each_pair(client: AsgiClient) -> None:
    answer = client.get("/api/map")
    header = json.loads(answer.body[4 : 4 + int.from_bytes(answer.body[:4], "little")])
    assert header["previews"] == [name for name in header["modalities"] if name != "text"]
    with Image.open(io.BytesIO(client.get("/s/64/0").body)) as sheet:
        filled = np.asarray(sheet.convert("RGBA"))[:64, :, 3].reshape(64, 32, 64).max(axis=(0, 2))
    assert (filled > 0).sum() == 22
    health = client.get("/api/health").json()
    abouts = ["images and sounds", "images and texts", "sounds and texts"]
    assert sorted({card["about"] for card in health["cards"] if card["about"]}) == abouts
    facts = {fact["name"]: fact["value"] for fact in health["facts"]}
    assert "10 images with a sound of their own" in facts["Pairs"]
    assert "11 sounds with a caption of their own" in facts["Pairs"]
    assert {pair["about"] for pair in health["pairs"]} == set(abouts)

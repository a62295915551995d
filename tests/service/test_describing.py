"""The interface as it describes itself: every answer has its type, every body an example, a generated client works."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from asgi_client import AsgiClient
from served import Served
from test_uploads import encoded, gradient

from cospace.service import describing
from cospace.service.openai import EmbeddingAnswer, ModelList

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def described(client: AsgiClient) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def operations(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }


def test_every_request_says_what_it_answers(described: dict[str, Any]) -> None:
    all_of_them = operations(described)
    for name, operation in all_of_them.items():
        (content,) = operation["responses"]["200"]["content"].values()
        schema = content["schema"]
        assert "$ref" in schema or schema.get("type") == "string", f"{name}: give it a line in service/describing.py"
        assert operation["summary"], name
    ids = [operation["operationId"] for operation in all_of_them.values()]
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    text = json.dumps(described)
    named = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert named <= described["components"]["schemas"].keys()
    assert "HTTPValidationError" not in text


def test_every_body_has_an_example_that_is_one(described: dict[str, Any], client: AsgiClient) -> None:
    count = 0
    for name, operation in operations(described).items():
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        schema = described["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        example = content.get("example", schema.get("example"))
        assert example is not None, f"{name}: give it an example in service/describing.py"
        answer = client.post(name.partition(" ")[2], example)
        assert answer.status in (200, 401, 404, 409), (
            name,
            answer.body,
        )  # items of another index, no decoder, no token
        count += 1
    assert count >= 9


def test_what_is_answered_is_what_is_described(client: AsgiClient) -> None:
    sent = client.post("/api/upload", encoded(gradient(40, 30), "PNG"))
    upload = {"upload": sent.json()["upload"]}
    found = client.post("/api/search", {"parts": [{"text": "red"}]}).json()
    version, first = found["version"], found["results"][0]
    real = {
        "GET /api/info": client.get("/api/info"),
        "POST /api/search": client.post("/api/search", {"parts": [{"text": "red"}, upload]}),
        "GET /api/items": client.get(f"/api/items?version={version}&n=0,1"),
        "GET /api/item": client.get(f"/api/item?id={first['id']}"),
        "GET /api/near": client.get(f"/api/near?version={version}&n=3"),
        "POST /api/explain": client.post(
            "/api/explain", {"parts": [{"text": "red"}], "number": first["number"], "version": version}
        ),
        "POST /api/upload": sent,
        "GET /api/upload/{name}": client.get(f"/api/upload/{upload['upload']}"),
        "POST /api/classify": client.post("/api/classify", {"item": upload, "classes": ["red", "blue"]}),
        "POST /api/embed": client.post("/api/embed", {"texts": ["a"]}),
        "GET /api/health": client.get("/api/health"),
        "GET /healthz": client.get("/healthz"),
    }
    for name, answer in real.items():
        assert answer.status == 200, (name, answer.body)
        describing.JSON_ANSWERS[name].model_validate(answer.json())
    EmbeddingAnswer.model_validate(client.post("/v1/embeddings", {"input": "a"}).json(), strict=True)
    ModelList.model_validate(client.get("/v1/models").json(), strict=True)


@pytest.mark.slow
def test_a_client_that_is_generated_from_it_works(
    described: dict[str, Any], indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openapi_python_client")
    (tmp_path / "openapi.json").write_text(json.dumps(described))
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json"]
    more = ["--output-path", "generated_client", "--meta", "none"]
    made = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    monkeypatch.syspath_prepend(str(tmp_path))
    generated, models = (importlib.import_module(f"generated_client{part}") for part in ("", ".models"))

    def ask(place: str, **given: Any) -> Any:
        return importlib.import_module(f"generated_client.api.{place}").sync(client=client, **given)

    served = Served(indexed)
    try:
        client = generated.Client(base_url=served.url)
        found = ask("search.search", body=models.Search(parts=[models.Part(text="a red circle")], k=3))
        assert [type(one).__name__ for one in found.results] == ["SearchResult"] * 3
        assert ask("index.item", id=found.results[0].id).text == found.results[0].text
        assert ask("index.info").total == 128
        refused = ask("search.search", body=models.Search(parts=[models.Part(text="a")], k=10**6))
        assert (refused.status, refused.field) == (422, "k")
        file = importlib.import_module("generated_client.types").File(payload=encoded(gradient(20, 20), "PNG"))  # type: ignore[arg-type]
        sent = ask("search.upload", body=file)
        named = ask("vectors.classify", body=models.Classify(models.Reference(upload=sent.upload), ["red", "blue"]))
        assert {one.class_ for one in named.results} == {"red", "blue"}
        vectors = ask("vectors.embeddings", body=models.EmbeddingRequest(input_="a red circle"))
        assert len(vectors.data[0].embedding) == 16
    finally:
        served.kill()


@pytest.mark.parametrize("way", ["bytes", "form", "quoted", "data URL", "percent"])
def test_a_file_is_sent_in_any_of_the_usual_ways(client: AsgiClient, way: str) -> None:
    import base64
    from urllib.parse import quote_from_bytes

    data = encoded(gradient(50, 20), "PNG")
    whole = client.post("/api/upload", data).json()
    url = b"data:image/png;base64," + base64.b64encode(data)
    kind, body = {
        "bytes": ("image/png", data),
        "form": ("multipart/form-data; boundary=x1", form(b"x1", data)),
        "quoted": ('multipart/form-data; boundary="a b"', form(b"a b", data)),
        "data URL": ("text/plain", url + b"\n"),
        "percent": ("text/plain", b"data:image/png," + quote_from_bytes(data).encode()),
    }[way]
    answer = client.ask("POST", "/api/upload", {"content-type": kind}, body)
    assert (answer.status, answer.json()) == (200, whole)


def form(boundary: bytes, *files: bytes) -> bytes:
    parts = [b'Content-Disposition: form-data; name="note"\r\n\r\nhello']
    parts += [
        b'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + file
        for file in files
    ]
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("multipart/form-data; boundary=x", form(b"x"), "holds no file; send one: curl -F file=@FILE"),
        ("multipart/form-data; boundary=x", form(b"x", b"1", b"2"), "holds 2 files"),
        ("multipart/form-data", form(b"x", b"1"), "names no boundary"),
        ("multipart/form-data; boundary=y", form(b"x", b"1"), "holds no file"),
        ("text/plain", b"data:image/png;base64,AAA", "damaged"),
        ("text/plain", b"data:;;;", "is none"),
        ("text/plain", b"", "no body"),
    ],
)
def test_what_holds_no_file_is_refused_with_the_cause(client: AsgiClient, kind: str, body: bytes, said: str) -> None:
    answer = client.ask("POST", "/api/upload", {"content-type": kind}, body)
    assert answer.status == 422
    assert said in answer.json()["detail"]


def test_llms_txt_is_served_and_in_the_docs(client: AsgiClient) -> None:
    answer = client.get("/llms.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.body.decode() == (DOCS / "llms.txt").read_text("utf-8")
    assert answer.body.startswith(b"# cospace\n\n> ")
    for line in answer.body.decode().splitlines():
        if line.startswith("- ["):
            address = line.partition("](")[2].partition(")")[0]
            assert client.get(f"/{address}").status == 200

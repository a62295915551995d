"""Ten thousand requests that nobody should send: each is answered, none with our own fault, and nothing grows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from asgi_client import AsgiClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TOGETHER = 25
EXAMPLES = 100
"""Times 25 requests: ten thousand."""

VALID: dict[str, Any] = {
    "/api/rank": {
        "parts": [{"text": "a red circle", "weight": 1.0}],
        "find": "image",
        "k": 20,
        "where": ["modality=image"],
    },
    "/api/search": {"parts": [{"text": "blue"}, {"id": "1", "weight": -0.5}], "k": 5, "offset": 0, "find": None},
    "/api/explain": {"parts": [{"text": "x"}], "number": 5, "version": 3},
    "/api/classify": {"item": {"upload": "0" * 32}, "classes": ["a", "b"], "templates": ["{}"]},
    "/api/caption": {"image": {"id": "1"}},
    "/api/ask": {"image": {"id": "1"}, "question": "what is it?"},
    "/api/embed": {"texts": ["a", "b"]},
    "/api/classes": {"name": "a", "parts": [{"text": "x"}], "right": ["1"]},
    "/api/feedback": {"id": "1", "verdict": "fine"},
    "/api/session": {"token": "x"},
}
ODD: list[Any] = [
    None, True, 0, -1, 1, 10**9, 10**30, -(10**400), 1e308, 0.5, "", " ", "\0", "\ud800",
    "a" * 20_000, "%00", "../../etc/passwd",
    [], [[]], {}, {"a": {}}, "NaN", "\u202e", "e\u0301" * 50, ["modality=image"] * 40, "id>=x",
    "width>=1e999", "nope=1",
    "=", "text=\0", "' OR 1=1 --", "http://127.0.0.1/", float("nan"), float("inf"),
    2**63, 2**31, "text/1", [None] * 100,
]  # fmt: skip
odd = st.one_of(
    st.sampled_from(ODD),
    st.text(max_size=50),
    st.integers(),
    st.floats(),
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=8
    ),
)
names = st.one_of(
    st.sampled_from(["parts", "k", "text", "id", "upload", "url", "weight", "__proto__", "find", ""]),
    st.text(max_size=9),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, child in inner for place in places(child, (*at, key)))]


def replaced(value: Any, at: tuple[Any, ...], by: Any) -> Any:
    """The value with another in one place."""
    if not at:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = replaced(value[at[0]], at[1:], by)
    return copy


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A route, and a body that is nearly right for it."""
    path = draw(st.sampled_from(sorted(VALID)))
    value = VALID[path]
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(places(value)))
        value = replaced(value, place, draw(odd))
    if draw(st.booleans()) and isinstance(value, dict):
        value = {**value, draw(names): draw(odd)}
    return path, json.dumps(value).encode("utf-8", "surrogatepass")


DEEP = b'{"parts":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
junk = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([b"", b"{", b"[]", b"null", b'"', b"\xff\xfe", DEEP, b'{"a":1' + b" " * 500_000, b"9" * 5_000]),
)
types = st.sampled_from(
    [
        "application/json",
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "",
        "image/png",
        "a/b; charset=utf-7",
    ]
)
targets = st.one_of(
    st.sampled_from(
        [
            "/", "/page/", "/page/../access.py", "/page/%2e%2e%2faccess.py", "/page/app.py",
            "/t/256/../../x", "/t/-1/x", "/t/256/" + "0" * 32,
            "/t/99999999999999999999/" + "a" * 32, "/s/64/0", "/s/64/99999", "/s/64/-1", "/u/" + "0" * 32, "/u/..%2f",
            "/m/" + "0" * 32, "/m/..%2f", "/api/upload/" + "0" * 32, "/api/upload/..%2f", "/page/modality-audio.js",
            "/page/modality-../x.js",
            "/api/items",
            "/api/items?version=1&n=1", "/api/items?version=9999999999999999999999&n=1",
            "/api/items?version=2&n=" + "1," * 2000,
            "/api/items?version=2&n=\u0663", "/api/near?version=2&n=-1", "/api/near?version=2&n=3&find=\0",
            "/api/item?id=%00", "/api/item?id=%ff%fe",
            "/api/item?id=" + "x" * 5000, "/api/info", "/metrics", "/healthz", "/openapi.json", "/docs",
            "/api/nothing", "/" + "a" * 8000,
        ]
    ),
    st.text(max_size=30).map(lambda text: "/" + text),
    st.text(max_size=30).map(lambda text: "/api/item?id=" + text),
)  # fmt: skip
methods = st.sampled_from([*["GET"] * 12, "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW"])
requests = st.one_of(
    bodies().map(lambda made: ("POST", made[0], {"content-type": "application/json"}, made[1])),
    st.tuples(
        st.just("POST"), st.sampled_from([*VALID, "/api/upload"]), types.map(lambda kind: {"content-type": kind}), junk
    ),
    st.tuples(methods, targets, st.just({}), st.just(b"")),
)


def memory() -> int:
    """Bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.fixture(scope="module")
def sizes(client: AsgiClient) -> list[int]:
    """Of memory, after every batch of requests; what is made once for all clients is there before the first."""
    for target in ("/s/64/0", "/api/health", "/openapi.json"):
        assert client.get(target).status == 200
    return []


def answer_all(client: AsgiClient, asked: list[Any]) -> None:
    for method, target, headers, body in asked:
        answer = client.ask(method, target, headers, body)
        assert answer.status < 500 or answer.status == 503, (method, target, headers, body[:300], answer)
        assert b"Traceback" not in answer.body
        assert "content-security-policy" in answer.headers
        if 400 <= answer.status < 500 and method != "HEAD":
            assert answer.headers["content-type"] == "application/problem+json", (target, answer)


hostile = given(st.lists(requests, min_size=TOGETHER, max_size=TOGETHER))
calm = settings(suppress_health_check=list(HealthCheck), database=None, derandomize=True)


@settings(calm, max_examples=EXAMPLES)
@hostile
def test_no_hostile_request_gets_a_fault_of_ours(client: AsgiClient, sizes: list[int], asked: list[Any]) -> None:
    answer_all(client, asked)
    sizes.append(memory())


@pytest.mark.slow
@settings(calm, max_examples=4 * EXAMPLES)
@hostile
def test_nor_do_ten_thousand(client: AsgiClient, asked: list[Any]) -> None:
    answer_all(client, asked)


def test_and_nothing_has_grown(sizes: list[int]) -> None:
    """From the first quarter to the end: caches fill in it, and afterwards nothing is kept for clients."""
    assert len(sizes) >= EXAMPLES
    assert sizes[-1] - sizes[len(sizes) // 4] < 40_000_000


TRAVERSALS = [
    pattern.format(file)
    for file in ("etc/passwd", "model/space.json", "access.py", "canary.txt")
    for pattern in (
        "/page/../{}", "/page/..%2f{}", "/page/%2e%2e/{}", "/page/..\\{}", "/page/%2e%2e%5c{}", "/page//{}",
        "/page/./../{}",
        "/page/{}%00.js", "/page/....//{}", "/t/256/../{}", "/t/256/..%2f..%2f{}", "/t/../../{}", "/u/../{}",
        "/u/..%2f{}", "/m/../{}", "/m/..%2f..%2f{}", "/api/upload/../{}",
        "/s/64/../{}", "/api/item?id=../{}", "/api/item?id=/{}", "/api/../{}", "/%2e%2e/{}",
        "//{}", "/page/%252e%252e%252f{}",
    )
]  # fmt: skip


@pytest.mark.parametrize("target", TRAVERSALS)
def test_no_path_leads_out(client: AsgiClient, target: str, indexed: Path) -> None:
    (indexed.parent / "canary.txt").write_text("canary")
    answer = client.get(target)
    assert answer.status in (400, 404, 422), answer
    assert b"canary" not in answer.body.replace(b"canary.txt", b"")
    assert b"root:" not in answer.body
    assert b'"encoders"' not in answer.body

"""Access control: who is answered, how much is read, and what every reply carries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from cospace.service import admission
from cospace.service.access import HEADERS, Access, AccessMiddleware
from cospace.service.limits import Limits
from cospace.service.request_metrics import RequestMetrics
from cospace.types import UserError

TOKEN = "0123456789abcdef-secret"


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


def protected(access: Access | None = None, limits: Limits | None = None) -> AccessMiddleware:
    routes = [Route(path, echo, methods=["GET", "POST"]) for path in ("/", "/healthz", "/api/info", "/api/upload")]
    return AccessMiddleware(Starlette(routes=routes), access or Access(), limits or Limits(), RequestMetrics())


def client(access: Access | None = None, limits: Limits | None = None, host: str = "127.0.0.1:8000") -> TestClient:
    return TestClient(protected(access, limits), base_url=f"http://{host}")


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1:8000", "127.3.2.1", "[::1]:8000", "[::1]"])
def test_this_machine_is_answered_under_its_own_names(host: str) -> None:
    assert client().get("/api/info", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "192.168.1.5", "[::2]", "0.0.0.0:8000"]
)
def test_a_foreign_name_is_refused_whatever_it_resolves_to(host: str) -> None:
    answer = client().get("/api/info", headers={"host": host})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_name_can_be_allowed() -> None:
    access = Access.choose("0.0.0.0", 8000, TOKEN, ["pictures.example"])
    signed = {"authorization": f"Bearer {TOKEN}"}
    assert client(access).get("/api/info", headers={"host": "pictures.example", **signed}).status_code == 200
    assert client(access).get("/api/info", headers={"host": "192.168.1.5:8000", **signed}).status_code == 200
    assert client(access).get("/api/info", headers={"host": "evil.example", **signed}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_page_of_another_origin_may_send_nothing(headers: dict[str, str]) -> None:
    assert client().post("/api/info", headers=headers).status_code == 403


def test_our_own_page_and_programs_may_send() -> None:
    assert client().post("/api/info", headers={"origin": "http://127.0.0.1:8000"}).status_code == 200
    assert client().post("/api/info", content=b"abc").text == "3"


def test_every_reply_carries_the_policy_also_a_refusal() -> None:
    for answer in (client().get("/api/info"), client(host="evil.example").get("/api/info"), client().get("/nothing")):
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        assert "unsafe-" not in answer.headers["content-security-policy"]
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_with_a_token_only_what_holds_no_data_is_open() -> None:
    asked = client(Access(token=TOKEN))
    assert asked.get("/").status_code == asked.get("/healthz").status_code == 200
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"cookie": f"cospace={TOKEN}"}):
        assert asked.get("/api/info", headers=headers).status_code == 401
    assert asked.get(f"/api/info?token={TOKEN}").status_code == 401, "an address ends up in logs"
    assert asked.get("/api/info", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200
    cookie = f"cospace={Access(token=TOKEN).session()}"
    assert TOKEN not in cookie
    assert asked.get("/api/info", headers={"cookie": cookie}).status_code == 200


@pytest.mark.parametrize("cookie", ["cospace", "=;=;=", 'cospace="', "cospace=\x7f", "a=b; cospace=" + "x" * 4000])
def test_odd_cookies_are_no_cookies(cookie: str) -> None:
    assert client(Access(token=TOKEN)).get("/api/info", headers={"cookie": cookie}).status_code == 401


def test_an_address_that_others_reach_wants_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(UserError, match="--token auto"):
            Access.choose(host, 8000, None, ())
        assert len(Access.choose(host, 8000, "auto", ()).token or "") > 20
    assert Access.choose("127.0.0.1", 8000, None, ()).token is None
    with pytest.raises(UserError, match="16 or more"):
        Access.choose("127.0.0.1", 8000, "short", ())


def test_a_body_that_says_it_is_too_long_is_not_read() -> None:
    answer = client(limits=Limits(body=10)).post("/api/info", content=b"x" * 11)
    assert answer.status_code == 413
    assert client(limits=Limits(body=10)).post("/api/info", content=b"x" * 10).text == "10"
    assert client(limits=Limits(body=10)).post("/api/upload", content=b"x" * 11).text == "11"
    lying = client().post("/api/info", headers={"content-length": "-5"})
    assert lying.status_code == 413


def ask(app: AccessMiddleware, messages: AsyncIterator[dict[str, Any]], headers: list[tuple[bytes, bytes]]) -> int:
    """One POST whose body comes as ``messages``; the status of the answer."""
    statuses = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def run() -> None:
        async def receive() -> dict[str, Any]:
            return await anext(messages)

        scope = {"type": "http", "method": "POST", "path": "/api/info", "headers": headers, "query_string": b""}
        await app(scope, receive, send)

    asyncio.run(run())
    assert len(statuses) == 1
    return int(statuses[0])


HOST = [(b"host", b"localhost")]


def test_a_body_without_end_is_cut_off() -> None:
    sent = 0

    async def endless() -> AsyncIterator[dict[str, Any]]:
        nonlocal sent
        while True:
            sent += 1000
            yield {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    assert ask(protected(limits=Limits(body=10_000)), endless(), HOST) == 413
    assert sent <= 12_000


def test_a_body_that_drips_is_cut_off() -> None:
    async def drip() -> AsyncIterator[dict[str, Any]]:
        while True:
            await asyncio.sleep(0.02)
            yield {"type": "http.request", "body": b"x", "more_body": True}

    assert ask(protected(limits=Limits(pause=5, arrival=0.2)), drip(), HOST) == 408

    async def silence() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": b"x", "more_body": True}
        await asyncio.sleep(30)
        yield {}

    assert ask(protected(limits=Limits(pause=0.1, arrival=5)), silence(), HOST) == 408


def test_where_too_much_is_arriving_the_slowest_gives_way() -> None:
    async def run() -> list[int]:
        app = protected(limits=Limits(arriving=1_000, arrival=5))
        statuses: list[int] = []

        async def one(pieces: int) -> None:
            sent = 0

            async def receive() -> dict[str, Any]:
                nonlocal sent
                sent += 1
                await asyncio.sleep(0.01 if sent <= pieces else 3)
                return {"type": "http.request", "body": b"x" * 400, "more_body": sent < 3}

            async def send(message: dict[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    statuses.append(message["status"])

            scope = {"type": "http", "method": "POST", "path": "/api/info", "headers": HOST, "query_string": b""}
            await app(scope, receive, send)  # type: ignore[arg-type]

        slow = asyncio.create_task(one(2))
        await asyncio.sleep(0.1)
        await one(3)
        assert statuses == [200]
        await asyncio.wait_for(slow, 2.5)
        return statuses

    assert asyncio.run(run()) == [200, 503]


def test_more_requests_than_can_be_answered_are_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "HELD", 0.01)

    async def run() -> list[int]:
        release = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await release.wait()
            await PlainTextResponse("ok")(scope, receive, send)

        app = AccessMiddleware(slow, Access(), Limits(at_once=2), RequestMetrics())
        answers: list[dict[str, Any]] = []

        async def one() -> None:
            async def send(message: dict[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    answers.append(message)

            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": b""}  # at once, and as often as it is asked

            scope = {"type": "http", "method": "GET", "path": "/api/info", "headers": HOST, "query_string": b""}
            await app(scope, receive, send)

        asked = [asyncio.create_task(one()) for _ in range(5)]
        await asyncio.wait(asked, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0.2)
        assert [answer["status"] for answer in answers] == [503] * 3
        assert all((b"retry-after", b"1") in answer["headers"] for answer in answers)
        release.set()
        await asyncio.gather(*asked)
        return [answer["status"] for answer in answers]

    assert sorted(asyncio.run(run())) == [200, 200, 503, 503, 503]


def test_a_client_that_has_its_answer_may_ask_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many clients as a route has room for: each asks anew while its last request is still being tidied away."""
    monkeypatch.setattr(admission, "HELD", 0.01)
    clients, statuses = admission.LEAST, []

    async def search(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.01)
        await PlainTextResponse("ok")(scope, receive, send)

    app = AccessMiddleware(search, Access(), Limits(), RequestMetrics())

    async def ask(more: int) -> None:
        again: list[asyncio.Task[None]] = []

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            elif more:
                again.append(asyncio.create_task(ask(more - 1)))
                await asyncio.sleep(0.02)  # a busy loop: the next question arrives before this one is over

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0)
            return {"type": "http.request", "body": b""}

        scope = {"type": "http", "method": "GET", "path": "/api/search", "headers": HOST, "query_string": b""}
        await app(scope, receive, send)
        await asyncio.gather(*again)

    async def run() -> None:
        await asyncio.gather(*(ask(4) for _ in range(clients)))

    asyncio.run(run())
    assert statuses == [200] * 5 * clients


def test_a_socket_for_messages_is_closed() -> None:
    sent = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    asyncio.run(protected()({"type": "websocket", "path": "/"}, None, send))  # type: ignore[arg-type]
    assert sent == ["websocket.close"]


def test_work_that_nobody_waits_for_any_more_is_dropped() -> None:
    async def run() -> list[str]:
        heard: list[str] = []

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            assert (await receive())["body"] == b"x"
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                heard.append("cancelled")
                raise

        messages = iter([{"type": "http.request", "body": b"x"}, {"type": "http.disconnect"}])

        async def receive() -> dict[str, Any]:
            return next(messages)

        async def send(message: Any) -> None:
            heard.append(message["type"])

        request_metrics = RequestMetrics()
        scope = {"type": "http", "method": "POST", "path": "/api/info", "headers": HOST, "query_string": b""}
        await asyncio.wait_for(AccessMiddleware(slow, Access(), Limits(), request_metrics)(scope, receive, send), 10)
        assert 'status="499"} 1' in request_metrics.text({})
        return heard

    assert asyncio.run(run()) == ["cancelled"]

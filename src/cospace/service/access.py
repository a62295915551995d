"""Access control: what every request must satisfy before anything reads it.

A service on a person's own machine can be reached by every web page that person opens. So the ``Host`` must be ours
(a foreign name that resolves to this machine is refused), a page of another origin may not send anything, no reply
may be read, framed or run by other pages, and a service that is reachable from outside requires a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..types import UserError
from .admission import Admission, Guesses
from .bodies import Arriving, Body, drained
from .limits import Limits
from .problems import Refusal
from .request_metrics import RequestMetrics, RequestOutcome

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
COOKIE = "cospace"
OPEN = ("/", "/healthz", "/api/session", "/docs", "/openapi.json", "/llms.txt")
"""Without a token: what holds no data of the index, and where a token is sent."""
UPLOAD, EMBEDDINGS = "/api/upload", "/v1/embeddings"
"""Where files are sent, as they are and as data URLs."""
MEASURED = ("/api/search", "/api/rank", "/api/embed", "/api/classify", "/api/caption", "/api/ask", EMBEDDINGS)
"""Of what takes a model's time no more is admitted than is answered soon."""
SAFE = ("GET", "HEAD")
GONE = 499
"""The status under which a request is counted whose sender did not wait for the answer."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the service listens and whom it answers; ``token`` is None where only this machine can reach it."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    names: tuple[str, ...] = ()
    """Further host names under which people reach it."""

    @classmethod
    def choose(cls, host: str, port: int, token: str | None, names: Iterable[str]) -> Access:
        """Refuses an address that others can reach unless a token is given; ``auto`` draws one."""
        if token == "auto":  # the word that asks for one
            token = secrets.token_urlsafe(24)
        if token is not None and len(token) < 16:
            raise UserError(f"a token of {len(token)} characters can be guessed; give 16 or more, or --token auto")
        if not _is_loopback(host) and token is None:
            raise UserError(
                f"{host} can be reached by others, so it requires a token; add --token auto, or leave out --host"
            )
        return cls(host, port, token, tuple(names))

    def knows(self, host: str) -> bool:
        """True of a ``Host`` header under which this service may be asked."""
        name = _name_of(host)
        if name in ("localhost", *self.names):
            return True
        if name == self.host:
            return True
        try:
            # A wildcard address answers under every number of this machine; names can be aimed at it, numbers cannot.
            return ip_address(name).is_loopback or _is_wildcard(self.host)
        except ValueError:
            return False

    def foreign(self, headers: Headers) -> str | None:
        """Why a request that changes something is refused, if a browser sent it for a page that is not ours.

        A proxy may pass on its own idea of the ``Host``. Then the page's origin is another, though the browser, which
        no page can make lie, says that it is the same; a name that was allowed is taken for ours there.
        """
        site, origin, host = (headers.get(name) for name in ("sec-fetch-site", "origin", "host"))
        if site not in (None, "same-origin", "none"):
            return "a page of another origin may not use this service"
        typed = "" if origin is None else origin.partition("://")[2]
        if origin is None or typed == host or (site == "same-origin" and _name_of(typed) in self.names):
            return None
        if site is None:
            return f"a page of another origin may not use this service: it came from {_shown(origin)}"
        return (
            f"the page is at {_shown(origin)}, but the request came with the Host {_shown(host or '')}: a proxy that "
            f"does not pass the Host on; {_allowing(_name_of(typed))}"
        )

    def session(self) -> str:
        """What the cookie holds: it proves the token and does not give it away."""
        return hmac.new((self.token or "").encode(), b"cospace session", hashlib.sha256).hexdigest()

    def accepts(self, token: str) -> bool:
        """Compares in constant time."""
        return self.token is None or hmac.compare_digest(token.encode(), self.token.encode())

    def admits(self, headers: Headers) -> bool:
        """True of a request that carries the token, or the cookie that was given for it."""
        if self.token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.accepts(given.strip()):
            return True
        return hmac.compare_digest(_cookie(headers.get("cookie", "")).encode(), self.session().encode())


class AccessMiddleware:
    """The middleware: host, token, origin, size, rate and number of requests, in this order; headers on every reply."""

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        limits: Limits,
        request_metrics: RequestMetrics,
        guesses: Guesses | None = None,
    ) -> None:
        self._app, self._access, self._limits, self._request_metrics = app, access, limits, request_metrics
        self._admission, self._arriving = Admission(limits.at_once, MEASURED), Arriving(limits.arriving)
        self._guesses = guesses or Guesses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        with self._request_metrics.request(scope["path"]) as outcome:
            reply = _Reply(send, outcome, bare=scope["method"] == "HEAD")
            try:
                await self._checked(scope)
                if scope["method"] == "HEAD":  # of every address that has a GET, as HTTP wants it
                    scope = {**scope, "method": "GET"}
                body = Body(receive, self._most(scope["path"]), self._limits, self._arriving)
                if not (await body.arrived() and await self._answer(scope, body, reply)):
                    outcome.status = outcome.status or GONE
            except Refusal as refusal:
                if not outcome.status:
                    await self._refuse(refusal, scope, receive, reply)

    async def _refuse(self, refusal: Refusal, scope: Scope, receive: Receive, reply: _Reply) -> None:
        """Say no; what has arrived of the request is read, so that the connection can be used again."""
        if refusal.status == 503:
            await self._admission.hold()
        if refusal.status not in (408, 413) and "expect" not in Headers(scope=scope):
            await drained(receive)
        await refusal(scope, receive, reply)

    async def _answer(self, scope: Scope, body: Body, reply: _Reply) -> bool:
        """Let the application answer; false if the client has gone."""
        with contextlib.ExitStack() as stack:
            if scope["path"] != "/healthz":
                reply.ready = stack.enter_context(self._admission.admitted(scope["path"]))
            work = asyncio.ensure_future(self._app(scope, body, reply))
            leaving = asyncio.ensure_future(body.left())
            try:
                await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    await work
                return work.done()
            finally:
                for task in (work, leaving):
                    task.cancel()
                await asyncio.wait({work, leaving})

    def _most(self, path: str) -> int:
        return {UPLOAD: self._limits.upload, EMBEDDINGS: self._limits.pictures}.get(path, self._limits.body)

    async def _checked(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if not self._access.knows(headers.get("host", "")):
            raise Refusal(403, _unknown_host(headers.get("host", "")))
        path = scope["path"]
        if path not in OPEN and not path.startswith("/page/") and not self._access.admits(headers):
            if "authorization" in headers:
                await self._guesses.wrong((scope.get("client") or ("",))[0])
            raise Refusal(401, "this service requires its token; open the address that it printed when it started")
        foreign = None if scope["method"] in SAFE else self._access.foreign(headers)
        if foreign is not None:
            raise Refusal(403, foreign)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self._most(path):
            raise Refusal(413, f"a request of at most {self._most(path):,} bytes is read here")
        if path != "/healthz":
            self._admission.check(path)


class _Reply:
    """Sends an answer with the headers that each one carries, and notes its status; ``bare`` leaves the body out."""

    def __init__(self, send: Send, outcome: RequestOutcome, bare: bool) -> None:
        self._send, self._outcome, self._bare = send, outcome, bare
        self.ready: Callable[[], None] | None = None
        """Called before the last part of the answer is sent."""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._outcome.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        elif self._bare:
            message = {**message, "body": b""}
        if self.ready is not None and message["type"] == "http.response.body" and not message.get("more_body"):
            self.ready()
        await self._send(message)


def _unknown_host(host: str) -> str:
    """What to do about a ``Host`` header that names something else than where this service listens."""
    return f"this service does not answer under the host name {_shown(host)}; {_allowing(_name_of(host))}"


def _allowing(name: str) -> str:
    """How a name is allowed, where it is one that can be: others are not repeated as part of a command."""
    named = name if re.fullmatch(r"[a-z0-9._-]{1,100}", name) else "NAME"
    return (
        f"start it with --allow-host {named} if people reach it under that name, or let the proxy pass on the Host "
        "that they typed (nginx: proxy_set_header Host $http_host)"
    )


def _shown(text: str) -> str:
    return text[:100] or "(none)"


def _name_of(host: str) -> str:
    """A ``Host`` header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_wildcard(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""

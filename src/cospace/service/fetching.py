"""Fetching a file from an address that a client gave: off unless switched on, and then only from public addresses.

An address can point back into the network it is fetched from (server-side request forgery). So a name is resolved once,
every address it has must be public, the connection goes to that very address whatever the name resolves to a moment
later, and each redirect is checked in the same way. Bytes and time are bounded.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urljoin, urlsplit

from .problems import Refusal

PORTS = {"http": 80, "https": 443}
HOPS = 3
NAT64 = ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48")
"""Numbers that stand for other numbers; the standard library calls the first of them global."""

Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """Every address of a name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """True of an address that the whole Internet can reach, also inside its IPv6 wrappings."""
    try:
        number = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(number, IPv6Address):
        inside = number.ipv4_mapped or number.sixtofour or (number.teredo or (None, None))[1]
        if inside is not None:
            return _is_open(inside) and number.sixtofour is None and number.teredo is None
        if any(number in net for net in NAT64):
            return False
    return _is_open(number)


def _is_open(number: IPv4Address | IPv6Address) -> bool:
    return number.is_global and not (number.is_multicast or number.is_reserved or number.is_unspecified)


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Gets the bytes behind an address; ``most`` of them, within ``seconds`` in all."""

    most: int
    accepts: tuple[str, ...] = ()
    """Media types that are asked for; what comes is judged by its bytes."""
    seconds: float = 10.0
    resolve: Resolve = resolve
    allows: Callable[[str], bool] = is_public
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def fetch(self, url: str) -> bytes:
        """Raises :class:`Refusal`: 400 for an address that is not fetched, 413 and 408 for too much and too slow."""
        until = time.monotonic() + self.seconds
        for _ in range(HOPS + 1):
            parts, addresses = self._checked(url)
            moved, data = self._get(parts, addresses[0], until)
            if moved is None:
                return data
            url = urljoin(url, moved)
        raise Refusal(400, f"the address leads on more than {HOPS} times", "url")

    def _checked(self, url: str) -> tuple[SplitResult, list[str]]:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise Refusal(400, "this is no address of a file", "url") from None
        if parts.scheme not in PORTS or not host or parts.username is not None or parts.password is not None:
            raise Refusal(400, "an address begins with http:// or https:// and names a host and no user", "url")
        if port not in (None, PORTS[parts.scheme]):
            raise Refusal(400, "files are fetched from the usual ports only", "url")
        try:
            addresses = self.resolve(host, PORTS[parts.scheme])
        except (OSError, UnicodeError):
            raise Refusal(400, "this host is not known", "url") from None
        if not addresses or not all(self.allows(address) for address in addresses):
            raise Refusal(403, "files are fetched from public addresses only", "url")
        return parts, addresses

    def _get(self, parts: SplitResult, address: str, until: float) -> tuple[str | None, bytes]:
        """Where the answer leads on, or the bytes."""
        host = str(parts.hostname)
        connection = _Pinned(host, address, PORTS[parts.scheme], self.context if parts.scheme == "https" else None)
        connection.timeout = max(0.1, until - time.monotonic())
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request(
                "GET", path.encode("utf-8").decode("latin-1"), headers={"Accept": ", ".join(self.accepts) or "*/*"}
            )
            answer = connection.getresponse()
            if answer.status in (301, 302, 303, 307, 308):
                return answer.getheader("Location", ""), b""
            if answer.status != 200:
                raise Refusal(400, f"the address answers with {answer.status}", "url")
            return None, self._read(answer, connection, until)
        except (OSError, http.client.HTTPException, UnicodeError, ValueError) as error:
            status = 408 if isinstance(error, TimeoutError) else 400
            raise Refusal(status, "the address does not answer with a file", "url") from error
        finally:
            connection.close()

    def _read(self, answer: http.client.HTTPResponse, connection: http.client.HTTPConnection, until: float) -> bytes:
        data = bytearray()
        while len(data) <= self.most:
            left = until - time.monotonic()
            if left <= 0:
                raise Refusal(408, "the address answers too slowly", "url")
            if connection.sock is not None:
                connection.sock.settimeout(left)
            chunk = answer.read1(65_536)
            if not chunk:
                return bytes(data)
            data += chunk
        raise Refusal(413, f"the address holds more than {self.most:,} bytes", "url")


class _Pinned(http.client.HTTPConnection):
    """A connection to one address, whatever the name in the request says."""

    def __init__(self, host: str, address: str, port: int, context: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        self._address, self._context = address, context

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)

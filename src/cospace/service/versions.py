"""The versions of the index that the service answers from, and whether what lies there is still that index.

The index may change while it is served: a new version is opened beside the old one, which still answers for the
numbers it gave out. It may also be removed, replaced, or cut short by whoever copies over it; then nothing is answered
until it is there again, since what was deleted would stay searchable, and reading past the end of a mapped file would
end the process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict

from ..commands.search import SearchableIndex
from ..types import StorageError
from .problems import Refusal, sentence_of
from .snapshot import Snapshot

KEPT_VERSIONS = 3
REFRESH_SECONDS = 2.0
"""Seconds between two checks of what lies there."""

log = logging.getLogger(__name__)


class Versions:
    """The newest snapshots of an index; methods may be called from any thread."""

    def __init__(self, collection: SearchableIndex) -> None:
        self._collection = collection
        self._kept: OrderedDict[int, Snapshot] = OrderedDict()
        self._lock = threading.Lock()
        self._refreshing, self._refreshed = threading.Lock(), 0.0
        self._fault: str | None = None
        self._keep(Snapshot.of(collection, collection.store))

    def get(self, version: int | None = None) -> Snapshot:
        """The newest, or a certain one.

        Raises :class:`Refusal`: 409 for a version that is gone, 503 where the index itself is.
        """
        if version is None:
            self._refresh()
        with self._lock:
            if self._fault is not None:
                raise Refusal(503, self._fault)
            if version is None:
                return next(reversed(self._kept.values()))
            if version not in self._kept:
                raise Refusal(409, "the index has changed since then; ask again", "version")
            return self._kept[version]

    def fault(self) -> str | None:
        """What is wrong with the index, in a sentence; nothing where it is as it should be."""
        self._refresh()
        return self._fault

    def close(self) -> None:
        """Release the files."""
        for snapshot in self._kept.values():
            snapshot.store.close()

    def _refresh(self) -> None:
        """Look at what lies there, and open what is newer; at most one thread does, every few seconds."""
        if time.monotonic() - self._refreshed < REFRESH_SECONDS or not self._refreshing.acquire(blocking=False):
            return
        try:
            self._check()
        except (StorageError, OSError) as error:
            self._noticed(f"the index cannot be read as it was when the service opened it: {sentence_of(error)}")
        finally:
            self._refreshed = time.monotonic()
            self._refreshing.release()

    def _check(self) -> None:
        newest = next(reversed(self._kept.values()))
        newest.store.check_unchanged()
        # After a fault everything is opened anew: files that are mapped may no longer be those that lie there.
        newer = self._collection.newer(-1 if self._fault is not None else newest.version)
        if newer is not None:
            opened = Snapshot.of(self._collection, newer, newest)
            with self._lock:
                if self._fault is not None:
                    self._kept.clear()
            self._keep(opened)
        self._noticed(None)

    def _noticed(self, fault: str | None) -> None:
        """Remember a fault, and say so in the log when it comes and when it goes."""
        if fault is not None and fault != self._fault:
            log.error("degraded: %s", fault)
        elif fault is None and self._fault is not None:
            log.warning("the index is there again")
        with self._lock:
            self._fault = fault

    def _keep(self, snapshot: Snapshot) -> None:
        with self._lock:
            self._kept[snapshot.version] = snapshot
            while len(self._kept) > KEPT_VERSIONS:
                self._kept.popitem(last=False)

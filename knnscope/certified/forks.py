"""Work that a fork waits for: a child hangs at its own first product, or import, in which BLAS, or an import, was at work in another thread.

Each thread has a lock of its own, so that several compute side by side, and a fork takes all of them. Nobody waits for another thread while it has its own.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WAITS = 60.0
"""Seconds that a fork waits at most; directions of rows take a tenth of one."""


class _Locks:
    """Of the threads of one process."""

    def __init__(self) -> None:
        self.turn = threading.RLock()
        self._all = weakref.WeakSet[Any]()
        self._own = threading.local()

    def own(self) -> Any:
        """This thread's."""
        found = getattr(self._own, "lock", None)
        if found is None:
            found = self._own.lock = threading.RLock()
            with self.turn:
                self._all.add(found)
        return found

    def take(self, taken: list[Any]) -> None:
        """Take those of all threads, as far as they are let go in time, and let no thread have a new one."""
        until = time.monotonic() + WAITS
        if self.turn.acquire(timeout=WAITS):
            taken.append(self.turn)
        taken.extend(one for one in list(self._all) if one.acquire(timeout=max(0.0, until - time.monotonic())))


_locks = _Locks()
_taken = list[list[Any]]()


@contextmanager
def held_off() -> Iterator[None]:
    """Let no process fork meanwhile."""
    with _locks.own():
        yield


def _before() -> None:
    _taken.append([])
    _locks.take(_taken[-1])  # what it has taken is let go, also where a signal ends it


def _in_parent() -> None:
    for one in reversed(_taken.pop()):
        one.release()


def _in_child() -> None:
    global _locks
    _taken.clear()
    _locks = _Locks()  # what threads had that are not here is never let go


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)

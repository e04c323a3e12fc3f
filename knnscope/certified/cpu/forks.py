"""Work that a fork waits for: a child hangs at its own first product, or import, in which BLAS, or an import, was at work in another thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

WAITS = 60.0
"""Seconds that a fork waits at most; directions of rows take a tenth of one."""

_at_work = threading.RLock()
_waited = list[bool]()


@contextmanager
def held_off() -> Iterator[None]:
    """Let no process fork meanwhile."""
    with _at_work:
        yield


def _before() -> None:
    _waited.append(_at_work.acquire(timeout=WAITS))


def _in_parent() -> None:
    if _waited.pop():
        _at_work.release()


def _in_child() -> None:
    global _at_work
    if _waited.pop():
        _at_work.release()
    else:
        _at_work = threading.RLock()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)

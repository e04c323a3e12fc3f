"""Writing codes in a thread beside all others, which stops when the process ends: compiled code that runs while it is taken apart may crash it."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from knnscope.certified.cpu.workers import Item, Result, Workers

ENDS_WITHIN = 60.0
"""Seconds that writing codes may take to stop when the process ends: a share of rows takes milliseconds."""

_writing: set[int] = set()
"""Threads that write codes."""
_ending = False


class EndingError(Exception):
    """The process ends."""


class UntilTheEnd(Workers):
    """Workers that take nothing more once the process ends: compiled code that runs while it is taken apart may crash it."""

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """See ``Workers``."""

        def unless_ending(item: Item) -> Result:
            if _ending:
                raise EndingError
            return work(item)

        with at_work():
            return super().map(unless_ending, items)


@contextmanager
def at_work() -> Iterator[None]:
    """Let the process wait with its end."""
    me = threading.get_ident()
    if me in _writing:
        yield
        return
    _writing.add(me)
    try:
        yield
    finally:
        _writing.discard(me)


def _before_exit() -> None:
    global _ending
    _ending = True
    latest = time.monotonic() + ENDS_WITHIN
    while _writing and time.monotonic() < latest:
        time.sleep(0.001)


def _in_child() -> None:
    _writing.clear()


atexit.register(_before_exit)
os.register_at_fork(after_in_child=_in_child)

"""Threads of an index: Numba's code releases the interpreter's lock, so that they compute side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """A number of threads, started when they are first needed."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Results in order. Where one fails, or the user stops it, what has not begun is dropped."""
        if self.count == 1 or len(items) == 1:
            return [work(item) for item in items]
        if self._pool is None or self._process != os.getpid():  # a forked process has none of its parent's threads
            self._pool, self._process = ThreadPoolExecutor(self.count), os.getpid()
        pool = self._pool
        here = items[: len(items) <= self.count]  # one for each: this thread takes the first
        futures = [pool.submit(work, item) for item in items[len(here) :]]
        try:
            return [work(item) for item in here] + [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

"""How long this process has compiled its own code, or read it compiled from disk: a matter of the installation, not of a search."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

HOW = "KNNSCOPE_COMPILE"
"""The variable that says whether searches wait for the compiler ("wait"), or another path answers while it works ("beside", the default)."""


@contextmanager
def waiting() -> Iterator[None]:
    """Indexes built meanwhile in this process wait for the compiler: what is measured is compiled code, with no compiler at work beside it."""
    before = os.environ.get(HOW)
    os.environ[HOW] = "wait"
    try:
        yield
    finally:
        if before is None:
            del os.environ[HOW]
        else:
            os.environ[HOW] = before


class Spent:
    """Nanoseconds by the wall and of CPU time, since the process began."""

    def __init__(self) -> None:
        self.wall_ns = self.cpu_ns = self._depth = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what happens inside; one thread at a time, and what lies within another counts once."""
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self.wall_ns += time.perf_counter_ns() - wall
                self.cpu_ns += time.thread_time_ns() - cpu


SPENT = Spent()
"""Of this process."""

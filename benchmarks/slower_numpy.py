"""What planted_change and planted_beside plant: numpy whose calls take 15% longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from knnscope.records import Neighbors
from knnscope.search.engine import Array
from knnscope.search.engines.numpy import NumpyEngine

Clock = Callable[[], float]


class SlowerByTheClock(NumpyEngine):
    """numpy, which then keeps a core busy for 15% of the time that it took."""

    more = 0.15
    clock: Clock = staticmethod(time.perf_counter)

    def build(self, vectors: Array, metric: str) -> Any:
        """As numpy."""
        return SlowerIndex(super().build(vectors, metric), self.more, self.clock)


class SlowerEngine(SlowerByTheClock):
    """The same, however busy the machine is: by the thread's own time, which stands still while others have the core.

    What a loop in Python leaves behind makes the next call longer as well: measured by turns, a call takes 1.15 times as long (mean of six runs; 1.23 where
    ``more`` is 0.15, and 1.03 where it is 0).
    """

    more = 0.10
    clock: Clock = staticmethod(time.thread_time)


class SlowerIndex:
    """numpy's index, and a loop."""

    def __init__(self, index: Any, more: float, clock: Clock) -> None:
        self._index, self.how, self._more, self._clock = index, index.how, more, clock

    def search(self, queries: Array, k: int) -> Neighbors:
        """Its answer, later."""
        began = self._clock()
        found: Neighbors = self._index.search(queries, k)
        until = self._clock() + self._more * (self._clock() - began)
        while self._clock() < until:
            pass
        return found

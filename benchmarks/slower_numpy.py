"""The engine that planted_beside plants: numpy, which takes 15% more of a processor's time for each call, however busy the machine is."""

from __future__ import annotations

import time
from typing import Any

from knnscope.records import Neighbors
from knnscope.search.engine import Array
from knnscope.search.engines.numpy import NumpyEngine

MORE = 0.15


class SlowerEngine(NumpyEngine):
    """numpy, which then burns what MORE says of the processor's time that it took."""

    def build(self, vectors: Array, metric: str) -> Any:
        """As numpy."""
        return SlowerIndex(super().build(vectors, metric))


class SlowerIndex:
    """numpy's index, and a loop that takes a core. By one thread, whose clock stands still while others have the core."""

    def __init__(self, index: Any) -> None:
        self._index, self.how = index, index.how

    def search(self, queries: Array, k: int) -> Neighbors:
        """Its answer, later."""
        began = time.thread_time()
        found: Neighbors = self._index.search(queries, k)
        until = time.thread_time() + MORE * (time.thread_time() - began)
        while time.thread_time() < until:
            pass
        return found

"""The engine that planted_beside plants: numpy whose calls take 15% longer, however busy the machine is."""

from __future__ import annotations

import time
from typing import Any

from knnscope.records import Neighbors
from knnscope.search.engine import Array
from knnscope.search.engines.numpy import NumpyEngine

MORE = 0.10
"""Of the processor's time. What a loop in Python leaves behind makes the next call longer as well: measured by turns a call takes 1.15 times as long
(mean of six runs; 1.23 with 0.15, and 1.03 with none)."""


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

"""All rows copied back to the host at once: what a copy costs when it is large, by the type of memory it goes to."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from knnscope.search.ladder.loops import nearest
from knnscope.search.ladder.rung import FLOAT, Rung


class PageableBulk(Rung):
    """One copy of all rows into ordinary memory, then NumPy over all of them.

    The driver cannot hand ordinary memory to the GPU's copy engine, since the system may move its pages: it copies piece by piece through a
    buffer of its own. So one large copy runs at a fraction of the link's rate, and the host waits in the call all the while.
    """

    changed = "one copy of all rows back, into pageable memory; distances by NumPy"
    gpu = True

    def build(self, k: int) -> None:  # noqa: ARG002
        """Pages that exist (zeros may not): the first touch of each would be timed with the copy."""
        self.host = np.full(self.rows.shape, 0, dtype=np.float32)

    def ready(self, query: Any) -> Any:
        """On the host, where the distances are computed."""
        return np.asarray(query)

    def search(self, query: Any, k: int) -> list[int]:
        """Copy, wait, compute on the host."""
        start = time.perf_counter()
        self.rows.get(out=self.host)
        self.seconds = time.perf_counter() - start
        rate = self.host.nbytes / self.seconds
        self.note = f"{self.host.nbytes / 1e6:,.0f} MB back in {self.seconds * 1e3:.1f} ms: {rate / 1e9:.1f} GB/s"
        difference = self.host - query
        return nearest(np.sqrt(np.sum(difference**2, axis=1)).tolist(), k)

    def moved(self, k: int) -> int:  # noqa: ARG002
        """The copy's reading and writing, then five passes by NumPy."""
        return 7 * self.elements * FLOAT

    def launches(self, k: int) -> tuple[int, int] | None:  # noqa: ARG002
        """One copy."""
        return 0, 1


class PinnedBulk(PageableBulk):
    """The same copy into pinned memory: the copy engine writes it directly, at the link's rate.

    Pinned memory takes the system's pages out of its hands, and takes long to allocate: it is for buffers that are used again.
    """

    changed = "the same copy into pinned memory"

    def build(self, k: int) -> None:  # noqa: ARG002
        """Allocated once."""
        memory = self.xp.cuda.alloc_pinned_memory(FLOAT * self.elements)
        self.host = np.frombuffer(memory, np.float32, self.elements).reshape(self.rows.shape)

"""Our own kernel: distance and selection in one pass over the rows, plain and replayed from a graph."""

from __future__ import annotations

from typing import Any

from knnscope.errors import require
from knnscope.search.ladder.rung import FLOAT, Rung
from knnscope.search.rounding import Formula

ID, DISTANCE = 8, 4
"""Bytes of an answer's parts."""
KEY = 8
"""Bytes of a candidate."""


class FusedTopkRung(Rung):
    """One kernel reads every row once, at memory's rate, and keeps the k nearest as it goes (kernels/fused_topk.cu).

    Eight lanes share a row, a cache line at a time; a warp keeps its nearest in registers; only k candidates a block are ever
    written, and the last block to finish merges them. No distance is stored, so there is nothing left to select from.
    """

    changed = "distance and selection in one kernel: k candidates a block are all that is written"
    gpu = True
    formula = Formula("difference")

    def build(self, k: int) -> None:
        """Compile, and allocate what a launch needs."""
        module = require("knnscope.kernels.fused_topk", "cuda13", "cupy")
        self.index = module.FusedTopk(self.rows)
        self.fits = k <= module.MOST
        xp = self.xp
        self.ids, self.squares = xp.empty((1, k), xp.int64), xp.empty((1, k), xp.float32)

    def ready(self, query: Any) -> Any:
        """One line of a batch."""
        return self.xp.asarray(query)[None]

    def search(self, query: Any, k: int) -> Any:
        """A launch into buffers that exist."""
        if not self.fits:
            return self.index.search(query, k)[0][0]
        self.index.launch(query, k, self.ids, self.squares, self.index.scratch(1, k))
        return self.ids[0]

    def moved(self, k: int) -> int:
        """Rows read; candidates written and read; the answer written."""
        return self.elements * FLOAT + k * (2 * KEY * int(self.index.blocks) + ID + DISTANCE)

    def launches(self, k: int) -> tuple[int, int] | None:  # noqa: ARG002
        """One kernel."""
        return (1, 0) if self.fits else None


class Graph(FusedTopkRung):
    """The same launch recorded once and replayed: the host says "again" instead of naming a kernel and its arguments.

    What a launch costs the host does not shrink with the work. A graph halves it for one kernel, and the more kernels a search has the more it
    saves. Its pointers are fixed: a query is copied to where the graph reads it.
    """

    changed = "the same, replayed from a graph"

    def build(self, k: int) -> None:
        """Record one launch."""
        super().build(k)
        xp = self.xp
        self.query = xp.zeros((1, self.rows.shape[1]), xp.float32)
        super().search(self.query, k)  # compiled and allocated before anything is recorded
        self.scratch = self.index.new_scratch(1, k)
        xp.cuda.runtime.deviceSynchronize()
        self.stream = xp.cuda.Stream(non_blocking=True)
        with self.stream:
            self.stream.begin_capture()
            self.index.launch(self.query, k, self.ids, self.squares, self.scratch)
            self.graph = self.stream.end_capture()
        self.stream.synchronize()

    def search(self, query: Any, k: int) -> Any:
        """Copy the query to its place, replay."""
        if not self.fits:
            return super().search(query, k)
        current = self.xp.cuda.get_current_stream()
        self.query.data.copy_from_device_async(query.data, query.nbytes, current)
        self.graph.launch(current)
        return self.ids[0]

    def launches(self, k: int) -> tuple[int, int] | None:  # noqa: ARG002
        """One kernel; the query's copy stays on the GPU."""
        return (1, 0) if self.fits else None

"""All distances at once: few kernels over all rows, then better and better ways to choose the nearest."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from knnscope.errors import require
from knnscope.search.ladder.loops import nearest
from knnscope.search.ladder.rung import FLOAT, Rung


class Vectorized(Rung):
    """Four kernels for all rows together instead of four for each; then every distance is fetched by itself.

    The arithmetic is off the host's hands. What is left is a copy of 4 bytes for every row, each of which takes microseconds to begin and
    nothing to do, and a sort in Python.
    """

    changed = "all distances by four kernels; still one copy a row"
    without = "all distances by four calls of NumPy; each fetched by itself"

    def distances(self, query: Any) -> Any:
        """Of all rows, in this module's memory."""
        difference = self.rows - query
        return self.xp.sqrt(self.xp.sum(difference**2, axis=1))

    def search(self, query: Any, k: int) -> Any:
        """Copied one by one, sorted in Python."""
        distances = self.distances(query)
        return nearest([distances[i].item() for i in range(self.count)], k)

    def moved(self, k: int) -> int:  # noqa: ARG002
        """Rows read, differences written, read, squares written, read; then numbers a row."""
        return (5 * self.elements + 3 * self.count) * FLOAT

    def launches(self, k: int) -> tuple[int, int] | None:  # noqa: ARG002
        """Difference, square, sum, root; a copy a row."""
        return (4, self.count) if self.on_gpu else (0, 0)


class Argsort(Vectorized):
    """The distances stay where they are and are sorted there; k row numbers come back.

    A radix sort of all distances reads and writes them several times to keep a handful. It is quick beside what it replaces, which
    is why nobody notices that it is the wrong operation.
    """

    changed = "sorted on the GPU: k row numbers come back"
    without = "sorted by NumPy: k row numbers are left"

    def search(self, query: Any, k: int) -> Any:
        """Sort all, keep k."""
        return self.xp.argsort(self.distances(query), kind="stable")[:k]

    def launches(self, k: int) -> tuple[int, int] | None:  # noqa: ARG002
        """A sort is as many kernels as its library likes."""
        return None if self.on_gpu else (0, 0)


class Fused(Argsort):
    """Difference, square, sum and root in one kernel: rows are read once and nothing in between is written.

    Four kernels that each read and write all components moved five times the rows' bytes. A thread takes a row here, as one would write it
    first: neighboring threads read addresses that are a row apart, so that only the caches keep it from being slow (fused.cu).
    """

    changed = "one kernel instead of four: nothing in between is written"
    gpu = True

    @cached_property
    def kernel(self) -> Any:
        """Compiled when first called."""
        body = Path(__file__).with_name("fused.cu").read_text("utf-8")
        return self.xp.ElementwiseKernel(
            "raw float32 rows, raw float32 query, int32 dim", "float32 distance", body, "fused_distance"
        )

    def build(self, k: int) -> None:  # noqa: ARG002
        """Where the distances go."""
        self.out = self.xp.empty(self.count, dtype=self.xp.float32)

    def distances(self, query: Any) -> Any:
        """By one kernel."""
        return self.kernel(self.rows, query, self.rows.shape[1], self.out)

    def moved(self, k: int) -> int:  # noqa: ARG002
        """Rows read, distances written."""
        return (self.elements + self.count) * FLOAT


class TopK(Vectorized):
    """Selection instead of a sort: the k smallest are wanted, and nobody asked for the order of the rest.

    One kernel (select_nearest in kernels/fused_topk.cu) passes over the distances once. Every block keeps what may still be among the k
    smallest, and the last to finish merges them. It reads as many bytes as a single step of the sort did, in one launch instead of eight.
    The distances come from a kernel whose neighboring threads read neighboring addresses (all_distances, there): eight of them
    share a row. NumPy's ``argpartition`` does the same on the host.
    """

    changed = "a selection instead of a sort, and rows read side by side: two kernels, one pass each"
    without = "a selection instead of a sort, by NumPy's partition"

    def build(self, k: int) -> None:
        """The kernels, where there is a GPU."""
        if not self.on_gpu:
            return
        module = require("knnscope.kernels.fused_topk", "cuda13", "cupy")
        self.selection = module.SelectNearest(self.count, k) if k <= module.MOST else None
        self.index = module.FusedTopk(self.rows)
        self.out = self.xp.empty((1, self.count), dtype=self.xp.float32)

    def distances(self, query: Any) -> Any:
        """By one kernel; on the host, by whole arrays, since NumPy has nothing to fuse with."""
        if not self.on_gpu:
            return super().distances(query)
        self.index.distances(query[None], self.out)
        return self.out[0]

    def search(self, query: Any, k: int) -> Any:
        """The k smallest, in order; of equal ones the first row."""
        distances = self.distances(query)
        if self.on_gpu and self.selection is not None:
            return self.selection(distances)
        return smallest(self.xp, distances, k)

    def moved(self, k: int) -> int:
        """Rows read, distances written."""
        return (self.elements + self.count) * FLOAT if self.on_gpu else super().moved(k)

    def launches(self, k: int) -> tuple[int, int] | None:  # noqa: ARG002
        """Distances, selection."""
        if not self.on_gpu:
            return 0, 0
        return (2, 0) if self.selection is not None else None


def smallest(xp: Any, distances: Any, k: int) -> Any:
    """All rows that are as near as the k-th, in order of distance and then of number; the first k."""
    rows = xp.flatnonzero(distances <= xp.partition(distances, k - 1)[k - 1])
    return rows[xp.argsort(distances[rows], kind="stable")][:k]


class Gemm(TopK):
    """|x|^2 - 2 x.q + |q|^2: the rows' norms are known beforehand, and the rest is a matrix product, which is what libraries do best.

    With one query there is nothing to gain: the product reads all rows, as the fused kernel does. With many it is the fastest way there is.
    But it subtracts large numbers to get a small one: where norms are large against distances, the difference is rounding, and the
    ids are wrong. It is held to what the rungs below it reach, not to what its own formula may lose.
    """

    changed = "expanded form: norms beforehand, then a matrix product"
    without = changed

    def build(self, k: int) -> None:
        """Norms of the rows, in float32 as the product is."""
        super().build(k)
        self.norms = self.xp.einsum("ij,ij->i", self.rows, self.rows)

    def distances(self, query: Any) -> Any:
        """Squared; the root would change no order. What cancellation made negative is 0."""
        return self.xp.maximum(self.norms - 2 * (self.rows @ query) + query @ query, 0)

    def moved(self, k: int) -> int:  # noqa: ARG002
        """Rows read; a few numbers a row."""
        return (self.elements + 8 * self.count) * FLOAT

    def launches(self, k: int) -> tuple[int, int] | None:  # noqa: ARG002
        """A product is as many kernels as its library likes."""
        return None if self.on_gpu else (0, 0)

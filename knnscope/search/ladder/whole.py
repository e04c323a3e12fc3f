"""All distances at once: few kernels over all rows, then better and better ways to choose the nearest."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from knnscope.search.ladder.loops import nearest
from knnscope.search.ladder.rung import FLOAT, Rung


class Vectorized(Rung):
    """Four kernels for all rows together instead of four for each; then every distance is fetched by itself.

    The arithmetic is off the host's hands. What is left is a copy of 4 bytes for every row, each of which takes microseconds to begin and
    nothing to do, and a sort in Python.
    """

    changed = "all distances by four kernels; still one copy a row"

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
    """Selection instead of a sort: only groups of rows that hold a near one are looked at again.

    The least distance of every group of rows is one reduction. The k groups with the smallest of those hold the k nearest rows: a row
    in any other group has k rows before it. So two sorts of a few thousand numbers replace one of all. And yet it takes longer on
    75,000 rows: it is more launches, each of which the host needs microseconds for, than the sort of a GPU that has hardly begun.
    Less work is not less time while launches are what is waited for. (On the host NumPy has nothing to fuse with, and uses whole arrays.)
    """

    changed = "a selection instead of a sort: the least of every group, then the rows of k groups"

    def build(self, k: int) -> None:
        """Groups of a size that makes both sorts short; the kernel of the rung below, where there is a GPU."""
        self.size = max(1, round((self.count / k) ** 0.5))
        self.padded = self.xp.full(-(-self.count // self.size) * self.size, self.xp.inf, dtype=self.xp.float32)
        self.below = Fused(self.xp)
        self.below.rows, self.below.out = self.rows, self.padded[: self.count]

    def distances(self, query: Any) -> Any:
        """As the rung below."""
        return self.below.distances(query) if self.on_gpu else super().distances(query)

    def search(self, query: Any, k: int) -> Any:
        """The k smallest, in order; of equal ones the first row."""
        xp, distances = self.xp, self.distances(query)
        if distances.base is not self.padded:
            self.padded[: self.count] = distances
        groups = self.padded.reshape(-1, self.size)
        chosen = xp.sort(xp.argsort(groups.min(axis=1), kind="stable")[:k])  # ascending, so that rows are as well
        order = xp.argsort(groups[chosen].ravel(), kind="stable")[:k]
        return chosen[order // self.size] * self.size + order % self.size

    def moved(self, k: int) -> int:
        """As the rung below."""
        return Fused.moved(self, k) if self.on_gpu else super().moved(k)  # type: ignore[arg-type]

    def launches(self, k: int) -> tuple[int, int] | None:  # noqa: ARG002
        """As many as the library likes."""
        return None if self.on_gpu else (0, 0)


class Gemm(TopK):
    """|x|^2 - 2 x.q + |q|^2: the rows' norms are known beforehand, and the rest is a matrix product, which is what libraries do best.

    With one query there is nothing to gain: the product reads all rows, as the fused kernel does. With many it is the fastest way there is.
    But it subtracts large numbers to get a small one: where norms are large against distances, the difference is rounding, and the
    ids are wrong. It is held to what the rungs below it reach, not to what its own formula may lose.
    """

    changed = "expanded form: norms beforehand, then a matrix product"

    def build(self, k: int) -> None:
        """Norms of the rows, in float32 as the product is."""
        super().build(k)
        self.norms = self.xp.einsum("ij,ij->i", self.rows, self.rows)

    def distances(self, query: Any) -> Any:
        """Squared; the root would change no order."""
        return self.norms - 2 * (self.rows @ query) + query @ query

    def moved(self, k: int) -> int:  # noqa: ARG002
        """Rows read; a few numbers a row."""
        return (self.elements + 6 * self.count) * FLOAT

"""A Python loop over the rows: what the first version of anyone's search looks like, and what it costs on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from knnscope.search.ladder.rung import FLOAT, Rung


def nearest(distances: list[float], k: int) -> list[int]:
    """Sorted in Python; the sort is stable, so that of equal distances the first row wins."""
    return sorted(range(len(distances)), key=distances.__getitem__)[:k]


class NumpyLoop(Rung):
    """Difference, square, sum, root: four calls of NumPy for every row, each on a few hundred numbers.

    A call costs about a microsecond before it touches a number; the numbers of a row take a tenth of that. So the processor mostly
    interprets Python, and nothing but more work per call will help.
    """

    changed = "every row by itself, four calls of NumPy each"
    loop = True

    def __init__(self, xp: Any) -> None:  # noqa: ARG002 - NumPy, whatever the others compute with
        super().__init__(np)

    def search(self, query: Any, k: int) -> list[int]:
        """Distances one by one, then a sort."""
        distances = []
        for row in self.rows:
            difference = row - query
            squares = difference**2
            distances.append(np.sqrt(np.sum(squares)).item())
        return nearest(distances, k)

    def moved(self, k: int) -> int:  # noqa: ARG002
        """Read row and query, write differences; read them, write squares; read those."""
        return 6 * self.elements * FLOAT


class CupyLoopNumpyInput(NumpyLoop):
    """The same with the last two steps named ``cupy``, and arrays that stayed on the host.

    It looks like a GPU version and hardly is one: ``cupy.sum`` of a NumPy array calls that array's own ``sum``, so difference, square
    and sum are NumPy's. Only the root of one number is a kernel, and its result is copied back, 4 bytes, while the host waits. A trace
    shows one kernel and one copy a row, and no copy of the row to the GPU, since there is none.
    """

    changed = "the root on the GPU: one kernel and one copy of 4 bytes a row"
    without = "no GPU: the roots by NumPy as well, the same as numpy-loop"

    def __init__(self, xp: Any) -> None:
        super().__init__(xp)
        self.roots = xp

    def search(self, query: Any, k: int) -> list[int]:
        """NumPy's sums, the other module's roots."""
        distances = []
        for row in self.rows:
            difference = row - query
            squares = difference**2
            distances.append(self.roots.sqrt(self.roots.sum(squares)).item())
        return nearest(distances, k)

    @property
    def on_gpu(self) -> bool:
        """It computes roots there."""
        return self.roots is not np

    def launches(self, k: int) -> tuple[int, int] | None:  # noqa: ARG002
        """A root and its copy."""
        return (self.count, self.count) if self.on_gpu else (0, 0)


class CupyLoop(Rung):
    """Rows and query lie in GPU memory; the loop is still Python's.

    Four kernels a row, each of which has less work than its launch; then ``item`` copies one distance and the host waits for it before
    it may launch the next. The GPU is idle nearly all the time. It is slower than the version that hardly uses it.
    """

    changed = "rows on the GPU: four kernels and one copy of 4 bytes a row"
    without = "no GPU: NumPy in CuPy's place, the same as numpy-loop"
    loop = True

    def search(self, query: Any, k: int) -> list[int]:
        """Distances one by one, each waited for."""
        xp, distances = self.xp, []
        for row in self.rows:
            difference = row - query
            squares = difference**2
            distances.append(xp.sqrt(xp.sum(squares)).item())
        return nearest(distances, k)

    def moved(self, k: int) -> int:  # noqa: ARG002
        """As with NumPy."""
        return 6 * self.elements * FLOAT

    def launches(self, k: int) -> tuple[int, int] | None:  # noqa: ARG002
        """Difference, square, sum, root; a scalar."""
        return (4 * self.count, self.count) if self.on_gpu else (0, 0)


class CupyPinned(CupyLoop):
    """The same kernels; the copies go into pinned memory and nobody waits for them.

    A copy into pageable memory keeps the host in the call until the bytes have arrived, whatever the call's name says. Into pinned
    memory it is queued like a kernel, and the host goes on to the next row. One wait at the end is enough.
    """

    changed = "copies into pinned memory, not waited for one by one"
    gpu = True

    def build(self, k: int) -> None:  # noqa: ARG002
        """Memory that the GPU may write to at any time."""
        self.pinned = np.frombuffer(self.xp.cuda.alloc_pinned_memory(FLOAT * self.count), np.float32, self.count)

    def search(self, query: Any, k: int) -> list[int]:
        """Queue everything, wait once."""
        xp = self.xp
        for i, row in enumerate(self.rows):
            difference = row - query
            squares = difference**2
            xp.sqrt(xp.sum(squares, keepdims=True)).get(out=self.pinned[i : i + 1], blocking=False)
        xp.cuda.get_current_stream().synchronize()
        return nearest(self.pinned.tolist(), k)

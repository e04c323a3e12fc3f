"""Distance and selection in one kernel, on rows in GPU memory (fused_topk.cu). Reached by ``errors.require`` alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cupy as cp
import numpy as np

from knnscope.errors import UnsupportedError
from knnscope.kernels import sources

THREADS = 512
FEW = 32
"""Up to this k a warp keeps its neighbors in registers."""
MOST = 2048
"""Up to this k a block keeps them in shared memory; above it every distance is written, and sorted."""
LEAST_SLOTS = 2048
"""Keys of a block's pool: 16 KiB. Twice k where that is more, so that it is tidied seldom."""
SCRATCH = 256 << 20
"""Bytes of candidates or distances at most in one launch; more queries take several."""
MOST_ROWS = (1 << 32) - 512
"""Row numbers of 32 bits, and what the last round of a block counts beyond the end."""
RESIDENT = 0.7
"""Share of the second-level cache that the first rows may keep: a search that comes soon after finds them there."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """What blocks leave for the last of them; launches that follow each other on a stream share it."""

    found: Any
    done: Any


def slots_for(k: int) -> int:
    """Keys of a block's pool: a power of two."""
    return max(LEAST_SLOTS, 1 << (2 * k - 1).bit_length())


class SelectNearest:
    """The k smallest of an array of distances, by one kernel; of equal ones the first."""

    def __init__(self, count: int, k: int) -> None:
        """Allocate what a launch needs.

        Args:
            count: distances, at most ``MOST_ROWS``.
            k: 1 to the smaller of ``count`` and ``MOST``.
        """
        if not (1 <= k <= min(count, MOST) and count <= MOST_ROWS):
            raise ValueError(f"k = {k} of {count:,} distances: 1 to {min(count, MOST)} of at most {MOST_ROWS:,}")
        source = sources.fused_topk(1, half=False)
        self._kernel = cp.RawModule(code=source.code, options=source.options).get_function("select_nearest")
        self._blocks = min(int(cp.cuda.Device().attributes["MultiProcessorCount"]), -(-count // THREADS), THREADS)
        self._found, self._done = cp.empty(k * self._blocks, cp.uint64), cp.zeros(1, cp.uint32)
        self.ids, self.distances = cp.empty(k, cp.int64), cp.empty(k, cp.float32)
        self._numbers = np.uint32(count), np.int32(k)

    def __call__(self, distances: Any) -> Any:
        """Queue the selection; the row numbers are written to ``ids`` again each time.

        Args:
            distances: cupy.ndarray, (count,), float32, not negative.
        """
        count, k = self._numbers
        slots = slots_for(int(k))
        arguments = (distances, count, k, self._found, self._done, self.ids, self.distances, np.int32(slots))
        self._kernel((self._blocks,), (THREADS,), arguments, shared_mem=8 * slots)
        return self.ids


class FusedTopk:
    """The k nearest rows by squared Euclidean distance, summed in float32; of equal sums the smallest row number comes first."""

    def __init__(self, rows: Any) -> None:
        """Keep the rows, and compile for their width.

        Args:
            rows: cupy.ndarray, (rows, dim), float32 or float16, C-contiguous, at most ``MOST_ROWS``.
        """
        if len(rows) > MOST_ROWS:
            raise UnsupportedError(f"{len(rows):,} rows: row numbers have 32 bits here, {MOST_ROWS:,} are the most")
        if rows.dtype not in (cp.float32, cp.float16) or rows.ndim != 2 or not rows.flags.c_contiguous:
            raise ValueError(f"rows are {rows.dtype} {rows.shape}: a contiguous float32 or float16 matrix was expected")
        self.rows = rows
        source = sources.fused_topk(rows.shape[1], rows.dtype == cp.float16)
        module = cp.RawModule(code=source.code, options=source.options)
        self._few, self._many, self._all, self._each = (
            module.get_function(name) for name in ("nearest_few", "nearest_many", "all_keys", "all_distances")
        )
        facts = cp.cuda.Device().attributes
        self.blocks = min(THREADS, int(facts["MultiProcessorCount"]), -(-len(rows) // 32))
        row_bytes = rows.shape[1] * rows.dtype.itemsize
        self._resident = int(min(len(rows), RESIDENT * int(facts["L2CacheSize"]) // row_bytes))
        self._scratch: dict[int, Scratch] = {}

    def search(self, queries: Any, k: int) -> tuple[Any, Any]:
        """Queue the search on the current stream.

        Args:
            queries: cupy.ndarray, (queries, dim), float32, C-contiguous.
            k: 1 to the number of rows.

        Returns:
            Row numbers, int64, and squared distances, float32, both (queries, k), best first, in GPU memory.
        """
        per_query = 8 * (k * self.blocks if k <= MOST else len(self.rows))
        step = max(1, min(65535, SCRATCH // per_query))
        ids, distances = cp.empty((len(queries), k), cp.int64), cp.empty((len(queries), k), cp.float32)
        for start in range(0, len(queries), step):
            some = slice(start, start + step)
            if k <= MOST:
                self.launch(queries[some], k, ids[some], distances[some], self.scratch(len(queries[some]), k))
            else:
                self._sort_all(queries[some], k, ids[some], distances[some])
        return ids, distances

    def scratch(self, queries: int, k: int) -> Scratch:
        """Enough for this launch, of the current stream."""
        stream = cp.cuda.get_current_stream().ptr
        kept = self._scratch.get(stream)
        if kept is None or kept.found.size < queries * k * self.blocks or kept.done.size < queries:
            kept = self._scratch[stream] = self.new_scratch(queries, k)
        return kept

    def new_scratch(self, queries: int, k: int) -> Scratch:
        """For one who launches on no stream in particular, such as a graph."""
        return Scratch(cp.empty(queries * k * self.blocks, cp.uint64), cp.zeros(queries, cp.uint32))

    def launch(self, queries: Any, k: int, ids: Any, distances: Any, scratch: Scratch) -> None:
        """Queue one launch, which allocates nothing; k up to ``MOST``."""
        arguments = (
            self.rows,
            queries,
            np.uint32(len(self.rows)),
            np.int32(k),
            np.uint32(self._resident),
            scratch.found,
            scratch.done,
            ids,
            distances,
        )
        grid = (self.blocks, len(queries))
        if k <= FEW:
            self._few(grid, (THREADS,), arguments)
        else:
            slots = slots_for(k)
            self._many(grid, (THREADS,), (*arguments, np.int32(slots)), shared_mem=8 * slots)

    def distances(self, queries: Any, out: Any) -> None:
        """Queue a kernel that writes every distance (not squared), for whoever chooses among them.

        Args:
            queries: cupy.ndarray, (queries, dim), float32, C-contiguous.
            out: cupy.ndarray, (queries, rows), float32.
        """
        numbers = np.uint32(len(self.rows)), np.uint32(self._resident)
        self._each((self.blocks, len(queries)), (THREADS,), (self.rows, queries, *numbers, out))

    def _sort_all(self, queries: Any, k: int, ids: Any, distances: Any) -> None:
        keys = cp.empty((len(queries), len(self.rows)), cp.uint64)
        grid = (self.blocks, len(queries))
        self._all(grid, (THREADS,), (self.rows, queries, np.uint32(len(self.rows)), keys))
        nearest = cp.sort(keys, axis=1)[:, :k]
        ids[...] = (nearest & 0xFFFFFFFF).astype(cp.int64)
        distances[...] = (nearest >> 32).astype(cp.uint32).view(cp.float32)

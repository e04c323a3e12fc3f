"""Queries that a path could not answer, by all rows, without asking the host: queued behind every search (kernels/exact_fallback.cu)."""

from __future__ import annotations

from typing import Any

import cupy as cp

from knnscope.certified.cuda.answer import Mask
from knnscope.certified.cuda.launch import INT, LONG, POINTER, Prepared, kernel, pointer, structure
from knnscope.certified.cuda.table import Table, processors
from knnscope.kernels import sources

MOST_K = 512
"""Neighbors up to which a block has room for those that may be nearest."""
THREADS, TOGETHER = 256, 2
"""Of a block; blocks of a multiprocessor, whose rows of which 128 bytes are on their way keep the memory busy."""
FEW = 1 << 18
"""Rows up to which one block of a multiprocessor is enough: fewer begin, and end, sooner behind searches that leave nothing."""

Given = structure(
    "Given",
    rows=POINTER, row_norms=POINTER, names=POINTER, count=LONG, dim=LONG, queries=POINTER, allowed=POINTER, allowed_stride=LONG,
    errors=POINTER, errors_stride=LONG, keys=POINTER, found=POINTER, full=POINTER, taken=POINTER, done=POINTER, values=POINTER, ids=POINTER,
    wide=INT, queries_count=INT, k=INT,
)  # fmt: skip


class Fallback:
    """Its memory and its kernel, for searches that come one after another."""

    def __init__(self, table: Table, count: int, k: int) -> None:
        rows, dim = table.rows.shape
        self.blocks = min(processors() * (1 if rows <= FEW else TOGETHER), -(-rows // THREADS))
        self.keys, self.found = cp.empty(self.blocks * k, dtype=cp.uint64), cp.empty(self.blocks * k, dtype=cp.int64)
        self.counters = cp.zeros(self.blocks + 2 * count, dtype=cp.uint32)
        full, taken, done = (pointer(part) for part in cp.split(self.counters, (self.blocks, self.blocks + count)))
        self.given = Given(
            pointer(table.rows), pointer(table.norms), pointer(table.names), rows, dim, None, None, 0, None, 0,
            pointer(self.keys), pointer(self.found), full, taken, done, None, None, 0, count, k,
        )  # fmt: skip
        found = kernel(sources.exact("fallback", table.macros()), "fallback", table.device)
        self.start = Prepared(found, (self.blocks, THREADS, 0), self.given)

    def queue(self, stream: int, queries: Any, mask: Mask, errors: tuple[int, int], answer: tuple[int, int]) -> None:
        """Queue it.

        Args:
            stream: where.
            queries: float32 or float64, (queries, dim), in GPU memory.
            mask: rows that may be answers.
            errors: where those of the first query are, and bytes from one to the next.
            answer: where ids and values are.
        """
        given = self.given
        given.queries, given.wide = pointer(queries), queries.dtype.itemsize == 8
        given.allowed, given.allowed_stride = mask
        given.errors, given.errors_stride = errors
        given.ids, given.values = answer
        self.start(stream)

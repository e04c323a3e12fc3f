"""Queries that a path could not answer, by all rows, without asking the host: queued behind every search (kernels/exact_fallback.cu)."""

from __future__ import annotations

from typing import Any

import cupy as cp

from knnscope.certified.cuda import reading
from knnscope.certified.cuda.answer import Mask
from knnscope.certified.cuda.launch import POINTER, Prepared, pointer, structure
from knnscope.certified.cuda.table import Table, processors

FEW = 1 << 18
"""Rows up to which blocks are small: they begin, and end, sooner behind searches that leave nothing."""
WIDE, WIDER, LONG_ROW, STAGES = 128, 256, 1536, 2
"""Bytes of a row that are copied at a time, and of many rows from so many bytes on; tiles of a warp, all but one on their way."""

Left = structure("Left", table=reading.Given, full=POINTER, taken=POINTER, done=POINTER)


class Fallback:
    """Its memory and its kernel, for searches that come one after another."""

    def __init__(self, table: Table, count: int, k: int) -> None:
        rows, dim = table.rows.shape
        wide = WIDER if rows > FEW and dim * table.rows.dtype.itemsize >= LONG_ROW else WIDE
        chosen = reading.shape(dim, k, reading.together(), wide, STAGES)
        blocks = min(processors(), -(-rows // reading.THREADS))
        given, self.lists = chosen.given(table, count, k, blocks * chosen.together)
        self.counters = cp.zeros(blocks + 2 * count, dtype=cp.uint32)
        counters = (pointer(part) for part in cp.split(self.counters, (blocks, blocks + count)))
        self.left = Left(given, *counters)
        self.start = Prepared(chosen.kernel("fallback", table), (blocks, reading.THREADS, chosen.shared), self.left)

    def at(self, part: Table) -> None:
        """Read as many rows elsewhere."""
        reading.at(self.left.table, part)

    def queue(self, stream: int, queries: Any, mask: Mask, errors: tuple[int, int], answer: tuple[int, int]) -> None:
        """Queue it.

        Args:
            stream: where.
            queries: float32 or float64, (queries, dim), in GPU memory.
            mask: rows that may be answers.
            errors: where those of the first query are, and bytes from one to the next.
            answer: where ids and values are.
        """
        given = self.left.table
        given.queries, given.wide = pointer(queries), queries.dtype.itemsize == 8
        given.allowed, given.allowed_stride = mask
        given.errors, given.errors_stride = errors
        given.ids, given.values = answer
        self.start(stream)

"""All queries by all rows, where rows have no codes or codes are of no use: one kernel, which nobody waits for (kernels/exact_direct.cu)."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.certified.cuda import reading
from knnscope.certified.cuda.answer import Mask, Told
from knnscope.certified.cuda.codes import Codes
from knnscope.certified.cuda.launch import INT, LONG, POINTER, Prepared, pointer, structure
from knnscope.certified.cuda.table import Table, processors

TOLD_BYTES = 4
"""Of a query: its errors, uint32."""
WIDE, STAGES = 64, 2
"""Bytes of a row that are copied at a time, and tiles of a warp: few, so that two blocks share a multiprocessor."""
BLOCKS, WAVES = 2, 2
"""Blocks of a multiprocessor at once; and one after another, so that the last ones are not alone for long."""
MOST_QUERIES = 1 << 16
"""Of a launch."""

Direct = structure("Direct", table=reading.Given, size=LONG, pieces=INT, done=POINTER, told=POINTER)


class Workspace:
    """Memory of one search at a time, and its kernel; a search allocates nothing else."""

    def __init__(self, table: Table, _codes: Codes | None, count: int, k: int) -> None:
        rows, dim = table.rows.shape
        steps, slots = -(-rows // reading.THREADS), BLOCKS * processors()
        crowded = count * steps >= reading.TOGETHER * slots
        chosen = reading.shape(dim, k, reading.together() if crowded else 1, WIDE, STAGES)
        groups = -(-count // chosen.together)
        each = -(-steps // max(1, min(steps, WAVES * slots // groups)))
        pieces = -(-steps // each)
        given, self.lists = chosen.given(table, count, k, groups * pieces * chosen.together if pieces > 1 else 0)
        self.counters = cp.zeros(groups + count, dtype=cp.uint32)
        done, errors = cp.split(self.counters, (groups,))
        given.errors, given.errors_stride = pointer(errors), 4
        self.direct = Direct(given, each * reading.THREADS, pieces, pointer(done), None)
        found = chosen.kernel("direct", table)
        self.start = Prepared(found, (groups * pieces, reading.THREADS, chosen.shared), self.direct)

    def queue(self, stream: int, queries: Any, mask: Mask, told: int, answer: tuple[int, int]) -> None:
        """Queue a search.

        Args:
            stream: where.
            queries: float32 or float64, (count, dim), in GPU memory.
            mask: rows that may be answers.
            told: where errors of each query, uint32, are written.
            answer: where ids and values, (count, k), are.
        """
        given = self.direct.table
        given.queries, given.wide = pointer(queries), queries.dtype.itemsize == 8
        given.allowed, given.allowed_stride = mask
        given.ids, given.values = answer
        self.direct.told = told
        self.start(stream)


def step_of(_k: int, _rows: int) -> int:
    """Queries of a launch."""
    return MOST_QUERIES


def usable(k: int) -> bool:
    """Whether blocks have room for so many neighbors."""
    return k <= reading.MOST_K


def told(found: npt.NDArray[np.uint8], last: npt.NDArray[np.float64], _metric: int) -> Told:
    """What the kernel says; last: the k-th values, (queries,)."""
    none = np.zeros(len(last), dtype=np.int64)
    return Told(none, none, np.full(len(last), np.inf), found.view(np.uint32), "exhaustive")

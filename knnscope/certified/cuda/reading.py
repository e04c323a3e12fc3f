"""How blocks read all rows: the shape of a reading, and what its kernels are told (kernels/all_rows.cuh)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cupy as cp

from knnscope.certified.cuda.launch import INT, LONG, POINTER, Launcher, kernel, pointer, structure
from knnscope.certified.cuda.table import Table, most_shared
from knnscope.kernels import sources

MOST_K = 512
"""Neighbors up to which a block has room for those that may be nearest."""
THREADS, TOGETHER = 256, 4
"""Of a block; queries that share a reading."""
LARGE = 160 << 10
"""Bytes of a block's shared memory where queries share a reading: GPUs with less add float64 too slowly to wait for memory."""
HELD = 512
"""Components of queries in shared memory where not all of them find room: a multiple of a tile's."""
OWN_SHARED = 2048
"""Bytes of shared memory that the kernels have besides, and more."""

Given = structure(
    "Given",
    rows=POINTER, row_norms=POINTER, names=POINTER, count=LONG, dim=LONG, queries=POINTER, allowed=POINTER, allowed_stride=LONG,
    errors=POINTER, errors_stride=LONG, keys=POINTER, found=POINTER, values=POINTER, ids=POINTER,
    wide=INT, queries_count=INT, k=INT, together=INT, room=INT, held=INT, stages=INT, base=LONG,
)  # fmt: skip


def at(given: Any, part: Table) -> None:
    """Read as many rows elsewhere."""
    given.rows, given.row_norms, given.names = pointer(part.rows), pointer(part.norms), pointer(part.names)
    given.base = part.base


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a block that reads rows.

    together: queries that share a reading. wide: bytes of a row that are copied at a time. room: rows of a query that may be among the nearest.
    held: components of queries in shared memory. stages: tiles of a warp. shared: bytes of shared memory.
    """

    together: int
    wide: int
    room: int
    held: int
    stages: int
    shared: int

    def given(self, table: Table, count: int, k: int, lists: int) -> tuple[Any, tuple[Any, Any]]:
        """What the kernels are told of so many queries, and the memory of so many lists that blocks tell each other."""
        rows, dim = table.rows.shape
        told = cp.empty(lists * k, dtype=cp.uint64), cp.empty(lists * k, dtype=cp.int64)
        return Given(
            pointer(table.rows), pointer(table.norms), pointer(table.names), rows, dim, None, None, 0, None, 0,
            pointer(told[0]), pointer(told[1]), None, None, 0, count, k, self.together, self.room, self.held, self.stages, table.base,
        ), told  # fmt: skip

    def kernel(self, part: str, table: Table) -> Launcher:
        """The kernel "fallback" or "direct" for these rows."""
        return kernel(sources.exact(part, table.macros(WIDE=self.wide)), part, table.device, self.shared)


def together() -> int:
    """Queries that share a reading on the current device."""
    return TOGETHER if most_shared() >= LARGE else 1


def shape(dim: int, k: int, queries: int, wide: int, stages: int) -> Shape:
    """Of a block for k neighbors of some queries at once, with so many stages, or as many as there is room for.

    Args:
        dim: components of rows.
        k: up to ``MOST_K``.
        queries: 1 or ``TOGETHER``.
        wide: bytes of a row that are copied at a time, on GPUs with room for it.
        stages: 2 to 8.
    """
    most = most_shared() - OWN_SHARED
    wide = wide if most_shared() >= LARGE else 64
    room = 1 << (k + THREADS - 1).bit_length()
    stage = THREADS * (wide + 16)
    lists = 16 * queries * room
    all_of = -(-dim // wide) * wide
    held = all_of if lists + 8 * queries * all_of + 2 * stage <= most else HELD
    fixed = lists + 8 * queries * min(held, all_of)
    stages = min(stages, (most - fixed) // stage)
    if stages < 2 and wide > 64:
        return shape(dim, k, queries, wide // 2, 2)
    return Shape(queries, wide, room, min(held, all_of), stages, fixed + stages * stage)

"""How kernels/exact_batch.cu shares out queries between blocks. Nothing here needs a GPU."""

from __future__ import annotations

from typing import NamedTuple

from knnscope.certified.cuda.wide import SLICE, TILE

THREADS, WAITING = 128, 16
"""Of a block; lines of sums of a warp that wait to be looked at."""
HEIGHTS = ((128, 3), (64, 3), (32, 3), (32, 2))
"""Queries of a tile, and slices of rows that there is room for."""


class Tiles(NamedTuple):
    """Macros of the kernel: queries of a tile, and slices of rows that there is room for."""

    queries: int
    stages: int


def layout(width: int, count: int, room: int) -> Tiles | None:
    """For so many queries of so many components: the highest tiles that fit and are not half empty; None where none fits.

    Args:
        width: bytes of a vector's codes.
        count: of queries.
        room: bytes of shared memory that a block may have.
    """
    fits = (
        Tiles(queries, stages)
        for queries, stages in HEIGHTS
        if shared(width, queries, stages) <= room and (queries == HEIGHTS[-1][0] or queries // 2 < count)
    )
    return next(fits, None)


def shared(width: int, queries: int, stages: int = 3) -> int:
    """Bytes of shared memory of a block (``Shared`` of the kernel)."""
    tiles = -(-(stages - 1) * SLICE // width) + 1  # of rows: that which is looked at, and those on their way
    lines = THREADS // 32 * WAITING * (80 if queries == 128 else 48)
    return queries * width + stages * TILE * SLICE + tiles * TILE * 8 + 3 * 4 * queries + lines

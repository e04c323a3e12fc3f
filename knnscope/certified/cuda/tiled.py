"""How kernels/exact_batch.cu shares out queries between blocks. Nothing here needs a GPU."""

from __future__ import annotations

from knnscope.certified.cuda.wide import SLICE, TILE

THREADS = 128
STAGES, WAITING = 3, 16
"""Slices of rows that there is room for, and lines of sums that wait to be looked at, of each warp."""
HEIGHTS = 128, 64, 32
"""Queries of a tile."""


def height(width: int, count: int, room: int) -> int | None:
    """Queries of a tile, for so many of so many components: the most that fit and are not half empty; None where none fits.

    Args:
        width: bytes of a vector's codes.
        count: of queries.
        room: bytes of shared memory that a block may have.
    """
    fits = (
        queries
        for queries in HEIGHTS
        if shared(width, queries) <= room and (queries == HEIGHTS[-1] or queries // 2 < count)
    )
    return next(fits, None)


def shared(width: int, queries: int) -> int:
    """Bytes of shared memory of a block (``Shared`` of the kernel)."""
    tiles = -(-(STAGES - 1) * SLICE // width) + 1  # of rows: that which is looked at, and those on their way
    lines = THREADS // 32 * WAITING * (80 if queries == 128 else 48)
    return queries * width + STAGES * TILE * SLICE + tiles * TILE * 12 + 3 * 4 * queries + lines

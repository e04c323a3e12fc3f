"""Which kernels write queries as codes (exact_queries.cu, and the product of all rows in exact_codes.cu). Nothing here needs a GPU."""

from __future__ import annotations

import math
from typing import NamedTuple

from knnscope.certified.cuda.wide import TILE
from knnscope.kernels.sources import MOST_FEW

EIGHT = 8
"""Queries, and directions, of a block of take_few and rotate_few."""
FEW = 6 << 20
"""Numbers of directions that are read, up to which reading them again for each eight queries is fastest (measured, H200)."""
HIGH, LOW = 64, 32
"""Queries and directions of a block of rotate_some."""
OWN = 2 * (HIGH + LOW) * 36 * 4
"""Bytes of shared memory that it has anyway."""


class Launch(NamedTuple):
    """name: of the kernel; take_few does all, the others rotate what another one has prepared. blocks, threads, shared: of a launch, along x and y.

    queries: that it writes, from the first one on.
    """

    name: str
    blocks: tuple[int, int]
    threads: int
    shared: int
    queries: int


def padded(count: int, tile: int) -> int:
    """Queries with those that are nobody's: a tile, or whole ones."""
    return tile if count <= tile < TILE else -(-count // (2 * TILE)) * 2 * TILE


def launch(count: int, room: int, full: int, shared: int, processors: int) -> Launch:
    """The kernel that rotates queries, or does all.

    Args:
        count: of queries.
        room: queries that there is memory for (``padded``).
        full: components, padded.
        shared: bytes of shared memory that a block may have.
        processors: of the GPU.
    """
    bytes_of_eight, few = 4 * EIGHT * full, -(-count // EIGHT)
    if room <= MOST_FEW and bytes_of_eight < shared:
        return Launch("take_few", (room // EIGHT, full // EIGHT), 32 * EIGHT, bytes_of_eight, room)
    if few * full**2 <= FEW or room % HIGH:
        return Launch("rotate_few", (few, full // EIGHT), 256, 0, few * EIGHT)
    tiles = (room // TILE, full // TILE)
    if math.prod(tiles) < processors:  # too few blocks of the next one
        some = -(-count // HIGH)
        # They may begin while others still hold multiprocessors, and would crowd on those that are free: 49 us instead of 17 for 1,000 queries (H200).
        together = -(-some * (full // LOW) // processors)
        return Launch("rotate_some", (some, full // LOW), 128, max(0, shared // (together + 1) + 1 - OWN), some * HIGH)
    return Launch("rotate", tiles, 256, 0, room // TILE * TILE)

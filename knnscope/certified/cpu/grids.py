"""How threads share a pass: over the codes in parts of the rows and groups of queries, over the plane in one of both."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

COLD, BITS = 0.02, 17
"""What each part of the rows costs a tile because it begins without a threshold, in units of a tile's time for 75,000 rows, a number of 17 bits: of half as
many rows it is twice as much of a tile's time."""
READ = 1.0
"""What an item's rows cost beside products, because they come from a farther cache, in the same units."""

UNEVEN, MEETING, CACHED = 1.7, 0.05, 1 << 24
"""Of a plane. What threads that have queries of their own take longer for: some are done sooner. What each thread more than two adds to the work of all
where they share its rows, as a part of it: they meet between steps, and look at rows without what others know. And the bytes of bounds, which one
step writes and the next one reads, that add as much again as the work itself. Decision 076."""


@lru_cache(1024)
def shortest(threads: int, tiles: int, most: int, bits: int = BITS) -> tuple[int, int]:
    """The grid whose items threads have done first, by what ``COLD`` and ``READ`` say of them.

    Args:
        threads: at work.
        tiles: of queries.
        most: parts of the rows.
        bits: of the number of rows, since each number that is asked for is kept.
    """
    cold = COLD * 2.0 ** (BITS - bits)

    def time(grid: tuple[int, int]) -> float:
        parts, groups = grid
        each = -(-tiles // groups)
        return -(-parts * groups // threads) * (each * (1 / parts + cold) + READ / parts)

    return min(product(range(1, most + 1), range(1, min(tiles, 4 * threads) + 1)), key=time)


def by_queries(threads: int, tiles: int, bounds: int) -> bool:
    """Whether threads that pass a plane take tiles of queries, each with all rows, sooner than parts of the rows, each with all queries.

    Args:
        threads: at work.
        tiles: of queries.
        bounds: bytes that parts of the rows write of all of these.
    """
    shared = 1 + MEETING * (threads - 2) + bounds / CACHED
    return UNEVEN * -(-tiles // threads) <= shared * tiles / threads

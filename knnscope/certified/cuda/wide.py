"""How kernels/exact_wide.cu and exact_slices.cu share out queries and rows between warpgroups and blocks. Nothing here needs a GPU."""

from __future__ import annotations

from dataclasses import dataclass

SLICE, TILE = 128, 128
"""Bytes of a row in a slice, and rows of a tile."""
LEAST = 64
"""Queries from which on products by warpgroups are faster, where there are any."""
THREADS, MOST_AHEAD, LEAST_AHEAD = 384, 8, 4
KERNELS = {"wide": ("wide_sample", "wide_scan"), "slices": ("slices_sample", "slices_scan")}
"""Of each file: the one of a sample of rows, and the one of all."""
LINES = 8 * 12 * 144 + 68
"""Bytes of lines that wait to be looked at, and the words that count them."""
SIDES = 8 * TILE + 16
"""Bytes that a pass takes of a tile's sides."""
BARRIERS = 512
"""Bytes that barriers and the gaps between all these have, at most."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the file NAME of kernels/exact_NAME.cu is compiled, which says what its macros are.

    queries: that a cluster multiplies at once. tiles: of rows that a warpgroup does. blocks: of a cluster. shared: bytes of a block's shared memory.
    """

    name: str
    macros: tuple[tuple[str, int], ...]
    queries: int
    tiles: int
    blocks: int
    shared: int


def layout(width: int, count: int, room: int) -> Layout | None:
    """For so many queries of so many components; None where none fits.

    The more queries lie in shared memory, the less often a row is read from the second-level cache. Where there is room for queries of both warpgroups,
    rows stay until both have multiplied them. Where there is not, each slice of rows is multiplied once, and the blocks of a cluster fetch it together.

    Args:
        width: bytes of a vector's codes.
        count: of queries.
        room: bytes of shared memory that a block may have.
    """
    many = count > 2 * LEAST
    tall = 2 if many else 1
    ahead, shared = _ahead(2 * tall, 1, width, room)
    if ahead >= width // SLICE + 2:
        return Layout("wide", (("TALL", tall), ("AHEAD", ahead)), 128 * tall, 1, 1, shared)
    for tall, tiles in ((2, 1), (1, 2)):
        ahead, shared = _ahead(tall, tiles, width, room)
        if ahead >= LEAST_AHEAD:
            blocks = 2 if many or tall == 1 else 1
            macros = (("TALL", tall), ("TILES", tiles), ("SHARING", blocks), ("AHEAD", ahead))
            return Layout("slices", macros, 64 * tall * blocks, tiles, blocks, shared)
    return None


def _ahead(tall: int, tiles: int, width: int, room: int) -> tuple[int, int]:
    """Slices that there is room for beside so many blocks of 64 queries, and the bytes of all together."""
    fixed = 64 * tall * width + (3 if tiles == 1 else 2 * tiles) * SIDES + LINES + BARRIERS
    ahead = min(MOST_AHEAD, (room - fixed) // (TILE * SLICE))
    return ahead, fixed + ahead * TILE * SLICE

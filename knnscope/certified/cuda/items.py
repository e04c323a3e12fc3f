"""How tiles of rows are shared out: an item is some of them, with one tile of queries, and blocks take items by turns. Nothing here needs a GPU."""

from __future__ import annotations

DEEP = 40
"""Tiles of rows of one item at most. Blocks that run at once read the same ones, which then come from the GPU's memory once."""
LOADING = 1
"""What loading an item's queries costs, in tiles."""


def tiles_of(tiles: int, query_tiles: int, slots: int, step: int = 1) -> int:
    """Tiles of rows of an item, a multiple of ``step``, so that the slowest block ends earliest; of several the most.

    Args:
        tiles: of rows.
        query_tiles: tiles of queries; each has all rows.
        slots: blocks, or clusters of them, that there is room for at once.
        step: tiles that a block multiplies at once.
    """

    def lasts(each: int) -> int:
        return -(-(-(-tiles // each) * query_tiles) // slots) * (each + LOADING)

    most = min(DEEP, -(-tiles // step) * step)
    return min(range(most - most % step or step, 0, -step), key=lasts)

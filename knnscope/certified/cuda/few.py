"""What exact_few.cu is asked for: blocks, the rows that make the first threshold, and where thresholds are made again. Needs no GPU."""

from __future__ import annotations

from dataclasses import dataclass

TILE, EIGHT = 128, 8
"""Rows of a tile of codes, and those of one product."""
THREADS, BLOCKS, WARPS = 256, 2, 8
"""Of a block; blocks of a multiprocessor; warps of a block."""
SAMPLE, EACH = (1 << 14, 1 << 16), 64
"""Rows that make the first threshold, at least and at most, and at least for each neighbor."""
MANY = 1 << 22
"""Rows from which exact_batch.cu was quicker: 1,215 us instead of 1,483 for 16 queries of 10,000,000 rows, while it took 173 instead of 140 for 1,000,000."""
EXCESS = 8
"""Rows that a threshold leaves, for each that exact distances would: 1.6 of clustered rows, up to 7.5 of isotropic ones."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Passes over the codes. blocks: of each. sampled: tiles of rows that make the first threshold; stops: tiles after which it is made again."""

    blocks: int
    sampled: int
    stops: tuple[int, ...]


def usable(rows: int, k: int) -> bool:
    """Whether a sample has groups enough, a warp's rows being one, of 32 at most where it takes them once; and rows are not too many."""
    return EACH * k <= rows < MANY


def plan(rows: int, k: int, room: int, processors: int, macros: tuple[tuple[str, int], ...]) -> Plan:
    """Passes for so many rows and neighbors.

    To stop reading for a threshold costs more than hundreds of hits do, so one is made again only where a list would be more than half full.

    Args:
        rows: of the table.
        k: neighbors.
        room: hits that a query's list has room for.
        processors: multiprocessors.
        macros: ``sources.few_macros``.
    """
    tiles, blocks = -(-rows // TILE), max(BLOCKS * processors, -(-4 * k // WARPS))
    enough = 2 * EXCESS * k * rows // room
    at_once = blocks * WARPS * EIGHT * dict(macros)["EIGHTS"]
    wanted = max(SAMPLE[0], EACH * k, min(SAMPLE[1], enough))
    sampled = min(tiles, -(-wanted // at_once) * at_once // TILE)  # all warps have as many
    stops, known = [], sampled
    while known * TILE < min(enough, rows // 4):
        known *= 4
        stops.append(known)
    return Plan(blocks, sampled, tuple(stops))

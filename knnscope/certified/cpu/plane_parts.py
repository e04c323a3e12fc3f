"""A search by several threads that share its rows: what the first threshold stands on is looked for in all rows before any part goes on.

Where each part found a threshold of its own, one without near rows left thousands of rows to be looked at: one query of clustered text took five times
the CPU time in 16 parts. So a search has three steps, each shared out: bounds of all rows, of which each part tells its smallest; rows with the smallest
bounds of all, from which the k-th distance follows as if there were one part (``between``); and what that leaves, part by part.

Thresholds are read and written without a lock: each value is an upper bound of the k-th key whoever wrote it, so a lost one costs time and no answer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.plane import LANES
from knnscope.certified.cpu.plane_kernels import Bounds
from knnscope.certified.cpu.plane_ranking import WITHOUT, Ground
from knnscope.certified.cpu.plane_scan import PROBE, Rows, first_bounds, joined, new_seen
from knnscope.certified.cpu.scan import replace_top

lowers: Any = None
look: Any = None
ended: Any = None
"""``plane_search.forms`` gives each instruction set its own."""


class Common(NamedTuple):
    """What the parts tell each other.

    bounds: of all blocks and the queries of all tiles. fresh: int64, (parts, queries, places): rows with the smallest bounds of
    a part. counts: int64, (parts, queries): how many. limits: float32, (queries,): V.
    """

    bounds: Bounds
    fresh: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    limits: npt.NDArray[np.float32]


def common(bounds: Bounds, parts: int, k: int) -> Common:
    """With nothing told yet."""
    queries = len(bounds.values)
    fresh, counts = np.empty((parts, queries, PROBE[0] * k + PROBE[1]), np.int64), np.zeros((parts, queries), np.int64)
    return Common(bounds, fresh, counts, np.full(queries, np.inf, np.float32))


@compiled(inline=True)
def _rows_of(table: Any, part: Any, query: int, told: Any) -> Any:
    row0, end = part.first * LANES, min(part.last * LANES, table.rows.shape[0])
    return Rows(told.bounds.values[query, row0:], told.bounds.leasts[query, part.first :], row0, end - row0, True, 1)


def _bounded(table: Any, levels: Any, asked: Any, request: Any, kept: Any, told: Any, part: Any) -> None:
    """Bounds of some blocks for some tiles of queries, and which rows have the smallest.

    Args:
        table: ranking.Table.
        levels: blocks of plane.Plane, and lines (lines.py).
        asked: plane_queries.PlaneQueries, and EncodedQueries of lines.py.
        request: scanner.Request.
        kept: Kept, for one part more than there are.
        told: Common, written.
        part: PlanePart.
    """
    (plane, lines), (to_plane, to_lines) = levels, asked
    each = to_plane.terms.shape[0] // to_plane.words.shape[0]
    seen = new_seen(1, kept.keys.shape[2], np.empty(2 * LANES, np.float32), lines)
    for tile in range(part.first_tile, part.last_tile):
        values, leasts = (
            told.bounds.values[tile * each : tile * each + each],
            told.bounds.leasts[tile * each : tile * each + each],
        )
        out = Bounds(values[:, part.first * LANES :], leasts[:, part.first :])
        lowers(plane, part.first, part.last - part.first, to_plane, tile, out)
        for query in range(tile * each, min(tile * each + each, request.queries.shape[0])):
            if not (to_plane.far[query] or to_lines.far[query]):
                seen.lowest[:] = np.inf
                count = first_bounds(_rows_of(table, part, query, told), 0, query, seen, request.allowed)
                told.fresh[part.part, query] = seen.fresh[0]
                told.counts[part.part, query] = count


def _between(table: Any, levels: Any, asked: Any, request: Any, kept: Any, told: Any, some: tuple[int, int]) -> None:
    """Let the rows with the smallest bounds of all parts compete, for some queries: their answers are those of one part more.

    Args:
        table: see ``_bounded``, as are the others.
        levels: likewise.
        asked: likewise.
        request: likewise.
        kept: Kept, written.
        told: Common; the bounds of rows that have competed become infinite.
        some: queries.
    """
    (plane, lines), (to_plane, to_lines) = levels, asked
    ground = Ground(table, plane, lines, to_plane, to_lines, kept, request.allowed)
    k, parts = kept.keys.shape[2], told.counts.shape[0]
    probe = told.fresh.shape[2]
    room = (probe + LANES - 1) // LANES * LANES
    memory = np.empty(2 * room, np.float32)
    for query in range(some[0], some[1]):
        kept.computed[parts, query] = -1
        if to_plane.far[query] or to_lines.far[query]:
            continue
        seen, count = new_seen(1, k, memory, lines), 0
        for part in range(parts):
            for i in range(told.counts[part, query]):
                low = np.float64(told.bounds.values[query, told.fresh[part, query, i]])
                if not low >= seen.lowest[0, 0]:
                    replace_top(seen.lowest, 0, low if low == low else -np.inf)
        for part in range(parts):
            for i in range(told.counts[part, query]):
                row = told.fresh[part, query, i]
                low32 = told.bounds.values[query, row]
                if count < probe and not np.float64(low32) > seen.lowest[0, 0]:
                    seen.fresh[0, count], seen.rows[count] = row, row
                    seen.lows[count] = low32 if low32 == low32 else np.float32(-np.inf)
                    told.bounds.values[query, row] = np.float32(np.inf)
                    count += 1
        seen.counts[0, 0] = count
        look(0, query, count, seen, ground)
        ended(0, query, parts, seen, request.queries[query], ground)
        told.limits[query] = seen.limits[0]


def _remaining(table: Any, levels: Any, asked: Any, request: Any, kept: Any, told: Any, part: Any, memory: Any) -> None:
    """What is left of some blocks by the limits so far, for some tiles of queries.

    Args:
        table: see ``_bounded``, as are the others.
        levels: likewise.
        asked: likewise.
        request: likewise.
        kept: Kept, written.
        told: Common.
        part: PlanePart.
        memory: float32, two for each row of a query that V may leave; written over.
    """
    (plane, lines), (to_plane, to_lines) = levels, asked
    ground = Ground(table, plane, lines, to_plane, to_lines, kept, request.allowed)
    each, parts = to_plane.terms.shape[0] // to_plane.words.shape[0], told.counts.shape[0]
    low, high = part.first_tile * each, min(part.last_tile * each, request.queries.shape[0])
    seen = new_seen(1, kept.keys.shape[2], memory, lines)
    for query in range(low, high):
        kept.computed[part.part, query] = -1
        if to_plane.far[query] or to_lines.far[query] or kept.computed[parts, query] < 0:
            continue
        seen.lowest[:], seen.uppers[:], seen.counts[:] = -np.inf, np.inf, 0
        seen.limits[0] = min(told.limits[query], WITHOUT)
        joined(_rows_of(table, part, query, told), 0, query, seen, request.allowed)
        seen.limits[0] = told.limits[query]
        if seen.counts[0, 0] >= 0:
            ended(0, query, part.part, seen, request.queries[query], ground)

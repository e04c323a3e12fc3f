"""All rows within a radius, by the plane: its bounds leave rows for their byte codes, and these leave them for the definition."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from knnscope.certified.cpu import bounds, lines, plane_bounds, plane_search
from knnscope.certified.cpu.exact_sums import TOGETHER
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.lines import ask_ahead
from knnscope.certified.cpu.plane import LANES
from knnscope.certified.cpu.plane_direct import is_near
from knnscope.certified.cpu.plane_passes import append
from knnscope.certified.cpu.plane_ranking import BLOCK
from knnscope.certified.cpu.plane_scan import bounds_from, bounds_in
from knnscope.certified.cpu.ranking import keys_of, length_of, new_pool

lowers: Any = None
evaluate: Any = None
"""The kernels of an instruction set: ``forms`` gives each its own."""
OVERFLOW = -2
"""Of ``rank``: a value that is no finite number, of a row that no bound holds."""


class Blocks(NamedTuple):
    """first, last: of the plane. step: how many pass before the next tile of queries."""

    first: int
    last: int
    step: int


@compiled(apart=True)
def limited(asked: Any, keys: Any, limits: Any) -> None:
    """V of plane_bound.py for the largest keys that are asked for: float32, (queries,), written."""
    for query in range(keys.shape[0]):
        value = plane_bounds.limit(keys[query], asked.alphas[query], asked.betas[query])
        limits[query] = bounds.up(value)


def _sample(plane: Any, asked: Any, limits: Any, apart: int) -> int:
    """Rows of every so many blocks that V leaves, of all queries together."""
    each, total = asked.terms.shape[0] // asked.words.shape[0], 0
    out = bounds_in(np.empty(2 * each * LANES, dtype=np.float32), each, 1)
    for tile in range(asked.words.shape[0]):
        for block in range(0, plane.shape[0], apart):
            lowers(plane, block, 1, asked, tile, bounds_from(out, 0))
            for query in range(tile * each, min(tile * each + each, limits.shape[0])):
                for lane in range(LANES):
                    total += not out.values[query - tile * each, lane] > limits[query]
    return total


def _pass(levels: Any, asked: Any, radii: Any, limits: Any, given: Any, kept: Any) -> None:
    """Ask the plane, and the byte codes for rows that it leaves.

    Args:
        levels: blocks of plane.Plane, and lines (lines.py).
        asked: PlaneQueries, and EncodedQueries of lines.py.
        radii: within_codes.Radii.
        limits: float32, (queries,): V.
        given: Blocks; rows in all; rows that may be answers.
        kept: within_codes.Kept, written.
    """
    (plane, near), (to_plane, to_lines), (part, count, allowed) = levels, asked, given
    each, size = to_plane.terms.shape[0] // to_plane.words.shape[0], part.step * LANES
    memory, found = (
        np.empty(each * (size + (part.step + LANES - 1) // LANES * LANES), dtype=np.float32),
        np.empty((5, BLOCK)),
    )
    out = bounds_in(memory, each, part.step)
    lows, rows, places = (
        np.empty(size + LANES, dtype=np.float32), np.empty(size + LANES, dtype=np.int32), np.empty(BLOCK, dtype=np.int64),
    )  # fmt: skip
    kept.counts[:] = 0
    for begin in range(part.first, part.last, part.step):
        blocks = min(part.last - begin, part.step)
        filled = min(blocks * LANES, count - begin * LANES)
        for tile in range(to_plane.words.shape[0]):
            lowers(plane, begin, blocks, to_plane, tile, bounds_from(out, 0))
            for query in range(tile * each, min(tile * each + each, limits.shape[0])):
                if not to_plane.far[query]:
                    both = out.values[query - tile * each], out.leasts[query - tile * each]
                    some = _left(both, filled, limits[query], begin * LANES, (lows, rows))
                    if allowed.shape[0]:
                        some = _allowed(allowed, query, lows, rows, some)
                    _look(near, to_lines, query, (lows, rows, some), (places, found), radii.reaches[query], kept)


@compiled()
def _left(both: Any, filled: int, limit: np.float32, row0: int, to: Any) -> int:
    """Rows whose bounds are not above the limit: how many."""
    (values, leasts), (lows, rows), end, place = both, to, filled // LANES, np.zeros(1, dtype=np.int64)
    at = np.full(1, limit, dtype=np.float32)
    lists = (lows.ctypes.data, rows.ctypes.data, 0, lows.shape[0])
    count = append((values.ctypes.data, leasts.ctypes.data), (place.ctypes.data, end), at.ctypes.data, lists, row0)
    for last in range(end * LANES, filled):
        if not values[last] > limit:
            low = values[last]
            lows[count], rows[count] = low if low == low else np.float32(-np.inf), row0 + last
            count += 1
    return count


@compiled()
def _allowed(allowed: Any, query: int, lows: Any, rows: Any, count: int) -> int:
    """Those of a list that may be answers: how many."""
    line, left = min(query, allowed.shape[0] - 1), 0
    for i in range(count):
        if allowed[line, rows[i]]:
            lows[left], rows[left] = lows[i], rows[i]
            left += 1
    return left


def _look(near: Any, asked: Any, query: int, some: Any, room: Any, reach: float, kept: Any) -> None:
    """Keep those of some rows that their byte codes leave."""
    rows, count, (places, found), (to_rows, squares, counts) = some[1], some[2], room, kept
    now, p2 = counts[query, 0], asked.lengths2[query]
    for first in range(0, count, BLOCK):
        size = min(BLOCK, count - first)
        for i in range(size):
            places[i] = rows[first + i]
        evaluate(near, places, size, asked, query, found)
        for i in range(size):
            if found[0, i] <= reach:
                least, _ = bounds.squares(found[4, i], found[3, i], p2, found[2, i])
                to_rows[query, now], squares[query, now] = rows[first + i], least
                now += 1
    counts[query, 0] = now


@compiled()
def _look_direct(near: Any, asked: Any, query: int, some: Any, room: Any, reach: float, kept: Any) -> None:  # noqa: ARG001
    """Where there are no byte codes: keep all, with their bounds."""
    (lows, rows, count), now = some, kept.counts[query, 0]
    for i in range(count):
        kept.rows[query, now + i], kept.squares[query, now + i] = rows[i], np.float64(lows[i])
    kept.counts[query, 0] = now + count


@compiled(apart=True)
def rank(table: Any, plane: Any, asked: Any, queries: Any, keys: Any, kept: Any) -> int:
    """As ``within_codes.rank``, where ``_look_direct`` kept rows: computed at once, each held to its bound.

    Args:
        table: ranking.Table.
        plane: blocks of plane.Plane.
        asked: PlaneQueries.
        queries: float64, (queries, dim).
        keys: float64, (queries,): the largest ones.
        kept: within_codes.Kept, whose bounds become keys.
    """
    pool = new_pool()
    for query in range(queries.shape[0]):
        count, left, vector, alpha, beta = (
            kept.counts[query, 0], 0, queries[query], asked.alphas[query], asked.betas[query],
        )  # fmt: skip
        length = length_of(vector)
        for first in range(0, count, TOGETHER):
            some = min(TOGETHER, count - first)
            for i in range(TOGETHER):
                pool.places[i] = kept.rows[query, first + min(i, some - 1)]
            if first + TOGETHER < count:
                for i in range(first + TOGETHER, min(first + 2 * TOGETHER, count)):
                    ask_ahead(table.rows, kept.rows[query, i])
            keys_of(table, vector, length, pool)
            for i in range(some):
                row, low, key = pool.places[i], kept.squares[query, first + i], pool.keys[i]
                if low == -np.inf:  # a row that is never left out may be anywhere
                    if not abs(key) < np.inf:
                        return OVERFLOW
                else:
                    value = plane_bounds.limit(key, alpha, beta)
                    if not low <= value + 2.0**-100 or not value < np.inf:
                        return row
                    if not is_near(row, low, value, plane, asked.terms[query], asked.gaps[query]):
                        return row
                if key <= keys[query]:
                    kept.rows[query, left], kept.squares[query, left] = row, key
                    left += 1
        kept.counts[query, 1] = left
    return -1


class Forms(NamedTuple):
    """Compiled for one instruction set: ``_sample`` and ``_pass``."""

    sample: Any
    scan: Any


@cache
def forms(isa: str, direct: bool) -> Forms:
    """What an instruction set has, with lines or without; compiled when it is first called."""
    kernels = plane_search.lowers(isa)
    look = _look_direct
    if not direct:
        look = specialised(_look, f"within_look_{isa}", evaluate=lines.evaluation(isa))
    name = f"within_plane_{isa}{'_direct' if direct else ''}"
    scan = specialised(_pass, name, apart=True, lowers=kernels, _look=look)
    return Forms(specialised(_sample, f"within_sample_{isa}", apart=True, lowers=kernels), scan)

"""A pass over the plane: lower bounds of rows, of which those that matter wait for their byte codes until it is known how far the neighbors are.

Bounds cost little, and looking at a row's byte code 25 ns: so rows that V leaves only join a list, and V falls by those with the smallest bounds, whose
byte codes are looked at on the way. When all rows have passed, the nearest are computed, then all else that is left of the list goes to its byte codes.
Where all rows pass at once, the nearest are computed before the list is written, which is shorter then.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import joint
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.lines import ask_ahead
from knnscope.certified.cpu.plane import LANES
from knnscope.certified.cpu.plane_kernels import Bounds
from knnscope.certified.cpu.plane_passes import append, next_place
from knnscope.certified.cpu.plane_ranking import (
    BLOCK,
    WITHOUT,
    Ground,
    Seen,
    limit_beyond,
    list_of,
    narrow,
)  # fmt: skip
from knnscope.certified.cpu.ranking import CHANGED
from knnscope.certified.cpu.scan import replace_top

PROBE = (2, 16)
"""Rows that are looked at first, those with the smallest bounds: so many times k, and so many."""
FEW = 4
"""Queries up to which each has room for all that is worth looking at."""
SHARES = 2
"""Times its own room that one of more may have of what others have left."""
lower_one: Any = None
lower_few: Any = None
lower_many: Any = None
evaluate: Any = None
"""The kernels for one query, for tiles of four and for wider ones, and the bounds of lines.py: ``plane_search.forms`` gives each instruction set its own."""
lowers: Any = None
shared: Any = None
look: Any = None
opened: Any = None
reached: Any = None
ended: Any = None
"""``_lowers``, ``_look``, how a query begins whose bounds are all known, what a bound of its k-th distance says of V, and how queries are answered when
all rows have passed (plane_ending.py), likewise."""


def bounds_size(each: int, blocks: int) -> int:
    """Numbers of ``bounds_in``'s memory, in whole cache lines."""
    return each * (blocks + -(-blocks // LANES)) * LANES


@compiled()
def bounds_in(memory: Any, each: int, blocks: int) -> Any:
    """Room for the bounds of so many blocks and queries; of the smallest of each block 16 are read at once."""
    ends = each * blocks * LANES, each * (blocks + (blocks + LANES - 1) // LANES) * LANES
    return Bounds(
        memory[: ends[0]].reshape(each, blocks * LANES),
        memory[ends[0] : ends[1]].reshape(each, ends[1] // each - blocks * LANES),
    )


@compiled(inline=True)
def bounds_from(out: Any, block: int) -> Any:
    """Bounds of the blocks from one on; never in one piece, so that ``lowers`` is compiled for one kind of them."""
    return Bounds(out.values[:, block * LANES :], out.leasts[:, block:])


class PlanePart(NamedTuple):
    """What one call reads and where it writes.

    first, last: blocks. first_tile, last_tile: of queries. part: its number. step: blocks that pass before the next tile.
    """

    first: int
    last: int
    first_tile: int
    last_tile: int
    part: int
    step: int

    def needed(self, each: int, room: int) -> int:
        """Numbers of ``_scan``'s memory, in whole cache lines: ``each`` queries of a tile, ``room`` rows that a query may leave."""
        needed = bounds_size(each, self.step) + 2 * room * (self.last_tile - self.first_tile) * each
        return -(-needed // LANES) * LANES


class Rows(NamedTuple):
    """Bounds of some rows for one query.

    values, leasts: float32, see plane_kernels.Bounds. row0: the first row. filled: how many. begin: whether they are looked at first. apart: how many
    blocks on the next block is.
    """

    values: npt.NDArray[np.float32]
    leasts: npt.NDArray[np.float32]
    row0: int
    filled: int
    begin: bool
    apart: int


@compiled(inline=True)
def _row(some: Any, place: int) -> int:
    return some.row0 + place // LANES * LANES * some.apart + place % LANES


@compiled(inline=True)
def _is_allowed(allowed: Any, query: int, row: int) -> bool:
    return allowed.shape[0] == 0 or bool(allowed[min(query, allowed.shape[0] - 1), row])


@compiled()
def new_seen(queries: int, k: int, memory: Any, lines: Any) -> Any:
    """Nothing seen."""
    probe, room = PROBE[0] * k + PROBE[1], memory.shape[0] // (2 * queries)
    lowest, uppers, limits = (
        np.full((queries, probe), np.inf), np.full((queries, k), np.inf), np.full(queries, np.inf, dtype=np.float32),
    )  # fmt: skip
    lows, rows = memory[: queries * room], memory[queries * room : 2 * queries * room].view(np.int32)
    lists = np.empty((queries, 2), dtype=np.int64)
    for own in range(queries):
        lists[own, 0], lists[own, 1] = own * room, own * room + room
    fresh, counts = np.empty((queries, probe), dtype=np.int64), np.zeros((queries, 2), dtype=np.int64)
    return Seen(lowest, uppers, limits, lows, rows, lists, fresh, counts, np.empty((5, max(probe, BLOCK))), lines)


@compiled(apart=True)
def first_bounds(some: Any, own: int, query: int, seen: Any, allowed: Any) -> int:
    """The smallest bounds of the first rows, and which rows have them: how many, in ``seen.fresh``."""
    lowest, limit, place, count = seen.lowest, np.full(1, np.inf, dtype=np.float32), 0, 0
    if not allowed.shape[0]:
        limit[0] = _few_blocks(some, own, lowest)
    while True:
        place = _next_small(some, place, limit)
        if place >= some.filled:
            break
        low = np.float64(some.values[place])
        if not low >= lowest[own, 0] and _is_allowed(allowed, query, _row(some, place)):
            replace_top(lowest, own, low if low == low else -np.inf)
            limit[0] = min(limit[0], np.float32(lowest[own, 0]))
        place += 1
    place = 0
    while count < seen.fresh.shape[1]:
        place = _next_small(some, place, limit)
        if place >= some.filled:
            break
        if _is_allowed(allowed, query, _row(some, place)):
            seen.fresh[own, count] = _row(some, place)
            count += 1
        place += 1
    return count


@compiled()
def _few_blocks(some: Any, own: int, lowest: Any) -> np.float32:
    """What at least as many bounds are not above as are looked for, by the smallest of each block alone: so that few blocks are looked into."""
    limit, block, blocks = np.full(1, np.inf, dtype=np.float32), 0, some.filled // LANES
    end = (blocks + LANES - 1) // LANES * LANES
    while True:
        block = next_place(some.leasts.ctypes.data, block, end, limit.ctypes.data)
        if block >= blocks:
            break
        if some.leasts[block] < lowest[own, 0]:
            replace_top(lowest, own, np.float64(some.leasts[block]))
            limit[0] = lowest[own, 0]
        block += 1
    lowest[own, :] = np.inf
    return limit[0]


@compiled(inline=True)
def _next_small(some: Any, place: int, limit: Any) -> int:
    """The first place from ``place`` on whose bound is not above the limit; ``some.filled`` or more where there is none."""
    blocks, at = (some.filled + LANES - 1) // LANES, limit.ctypes.data
    end = (place + LANES - 1) // LANES * LANES  # of the block that place is in the middle of
    place = next_place(some.values.ctypes.data, place, end, at)
    while place == end and end < blocks * LANES:
        block = next_place(some.leasts.ctypes.data, end // LANES, (blocks + LANES - 1) // LANES * LANES, at)
        end = block * LANES + LANES
        place = next_place(some.values.ctypes.data, end - LANES, end, at) if block < blocks else end
    return place


@compiled()
def place_list(seen: Any, own: int) -> None:
    """A list that is written at once follows the one before, and may be longer than the room of each."""
    queries, every = seen.lists.shape[0], seen.lows.shape[0]
    begin = seen.lists[own - 1, 0] + max(0, seen.counts[own - 1, 0]) if own else 0
    room = every // queries * (SHARES if queries > FEW else 1)
    seen.lists[own, 0], seen.lists[own, 1] = begin, min(begin + room, every)


@compiled()
def _compacted(seen: Any, own: int, count: int) -> int:
    """Keep those of a query's rows that V leaves by now: how many, or -1 where that does not make much room."""
    (lows, rows), limit, left = list_of(seen, own), seen.limits[own], 0
    for i in range(count):
        if lows[i] <= limit:
            lows[left], rows[left] = lows[i], rows[i]
            left += 1
    return left if 4 * left <= 3 * lows.shape[0] and left + LANES <= lows.shape[0] else -1


@compiled(apart=True)
def joined(some: Any, own: int, query: int, seen: Any, allowed: Any) -> None:
    """Rows that V leaves join those of a query, and become fresh where their bounds are among the smallest."""
    (lows, rows), place = list_of(seen, own), np.zeros(1, dtype=np.int64)
    room = lows.shape[0]
    limit, end = seen.limits.ctypes.data + 4 * own, some.filled // LANES
    both = (some.values.ctypes.data, some.leasts.ctypes.data)
    to = (lows.ctypes.data, rows.ctypes.data)
    count = seen.counts[own, 0]
    while count >= 0:
        before = count
        count = append(both, (place.ctypes.data, end), limit, (to[0], to[1], count, room), some.row0)
        count = _chosen(own, query, before, count, seen, allowed, some.begin)
        if place[0] == end:
            break
        count = _compacted(seen, own, count)
    for last in range(end * LANES, some.filled):  # less than a block
        if count >= 0 and not some.values[last] > seen.limits[own]:
            if count == room:
                count = _compacted(seen, own, count)
            if count >= 0:
                low = some.values[last]
                lows[count], rows[count] = low if low == low else np.float32(-np.inf), some.row0 + last
                count = _chosen(own, query, count, count + 1, seen, allowed, some.begin)
    seen.counts[own, 0] = count


@compiled()
def _chosen(own: int, query: int, before: int, count: int, seen: Any, allowed: Any, begin: bool) -> int:
    """Of the last rows of a list those that may be answers: how long it is then. Rows with small bounds become fresh."""
    (lows, rows), lowest, fresh, left = list_of(seen, own), seen.lowest, seen.counts[own, 1], before
    masked = allowed.shape[0] > 0
    if begin and not masked:
        return count
    for i in range(before, count):
        low, row = lows[i], rows[i]
        if masked:
            if not allowed[min(query, allowed.shape[0] - 1), row]:
                continue
            lows[left], rows[left] = low, row
        left += 1
        if not begin and low < lowest[own, 0]:
            replace_top(lowest, own, np.float64(low))
            if fresh < seen.fresh.shape[1]:
                seen.fresh[own, fresh] = row
                fresh += 1
                ask_ahead(seen.lines, row)
    seen.counts[own, 1] = fresh
    return left


def _look(own: int, query: int, count: int, seen: Any, ground: Any) -> None:
    """Look at the byte codes of fresh rows, for a smaller V."""
    if count:
        evaluate(ground.lines, seen.fresh[own], count, ground.near, query, seen.found)
        narrow(own, query, seen, count, ground)


def _shared(own: int, query: int, turn: tuple[int, int], seen: Any, ground: Any) -> None:
    """Hear what all parts know of a query by now; each speaks after its first turn, its second, its fourth, and so on.

    Args:
        own: its number among those of ``seen``.
        query: its number.
        turn: the part's number, and which turn it is.
        seen: Seen.
        ground: Ground, whose Kept is written.
    """
    part, number = turn
    bar, said = np.inf, ground.kept.said
    if number & (number - 1) == 0:
        joint.say(said, part, query, seen.uppers[own])
        bar = joint.known(said, query)
    reached(own, query, seen, bar, ground)


def _lowers(plane: Any, begin: int, blocks: int, asked: Any, tile: int, out: Any) -> None:
    """Bounds of some blocks for a tile of queries: see plane_kernels.py."""
    each = asked.terms.shape[0] // asked.words.shape[0]
    words, biases, terms = asked.words[tile], asked.biases[tile], asked.terms[tile * each :]
    if each == 1:
        lower_one(plane, begin, blocks, words, biases, terms, out)
    elif each == 4:
        lower_few(plane, begin, blocks, words, biases, terms, out)
    else:
        lower_many(plane, begin, blocks, words, biases, terms, out)


def _scan(table: Any, levels: Any, asked: Any, request: Any, part: Any, memory: Any, kept: Any) -> None:
    """Search some blocks for some tiles of queries.

    Args:
        table: ranking.Table.
        levels: blocks of plane.Plane, and lines (lines.py).
        asked: plane_queries.PlaneQueries, and EncodedQueries of lines.py.
        request: scanner.Request.
        part: PlanePart.
        memory: float32, for the bounds of ``step`` blocks and a tile of queries, and two for each row of a query that V may leave; written over.
        kept: Kept, written; what is known of the k-th keys before stands in its bars.
    """
    (plane, lines), (to_plane, to_lines) = levels, asked
    ground = Ground(table, plane, lines, to_plane, to_lines, kept, request.allowed)
    k, each = kept.keys.shape[2], to_plane.terms.shape[0] // to_plane.words.shape[0]
    low, high = part.first_tile * each, min(part.last_tile * each, request.queries.shape[0])
    known, together = True, kept.said.shape[2] > 0
    size, blocks = part.step * LANES, part.last - part.first
    out, used = bounds_in(memory, each, part.step), each * (part.step + (part.step + LANES - 1) // LANES) * LANES
    seen = new_seen(high - low, k, memory[used:], lines)
    for query in range(low, high):
        kept.computed[part.part, query] = -1
        if not (to_plane.far[query] or to_lines.far[query]):
            seen.limits[query - low] = limit_beyond(kept.bars[query], query, ground)
            known = known and seen.limits[query - low] < np.inf
    sampled = blocks > 2 * part.step and not known
    for tile in range(part.first_tile, part.last_tile if sampled else 0):
        apart = blocks // part.step
        for i in range(part.step):
            lowers(plane, part.first + i * apart, 1, to_plane, tile, bounds_from(out, i))
        for query in range(tile * each, min(tile * each + each, high)):
            own, place = query - low, query - tile * each
            some = Rows(out.values[place], out.leasts[place], part.first * LANES, size, True, apart)
            if not (to_plane.far[query] or to_lines.far[query]):
                look(own, query, first_bounds(some, own, query, seen, request.allowed), seen, ground)
                if together:
                    shared(own, query, (part.part, 0), seen, ground)
                seen.uppers[own, :] = np.inf  # a row is counted once: these come again
    turn = 0
    for begin in range(part.first, part.last, part.step):
        turn += 1
        row0, some_blocks = begin * LANES, min(part.last - begin, part.step)
        filled = min(some_blocks * LANES, table.rows.shape[0] - row0)
        for tile in range(part.first_tile, part.last_tile):
            lowers(plane, begin, some_blocks, to_plane, tile, bounds_from(out, 0))
            for query in range(tile * each, min(tile * each + each, high)):
                own, place = query - low, query - tile * each
                if some_blocks == blocks:
                    place_list(seen, own)
                if to_plane.far[query] or to_lines.far[query] or seen.counts[own, 0] < 0:
                    continue
                first = begin == part.first and not sampled and not seen.limits[own] < np.inf
                some = Rows(out.values[place], out.leasts[place], row0, filled, first, 1)
                if first and some_blocks == blocks:
                    fresh = first_bounds(some, own, query, seen, request.allowed)
                    opened(own, fresh, seen, (request.queries[query], query, part.part), some, ground)
                else:
                    fresh = first_bounds(some, own, query, seen, request.allowed) if first else seen.counts[own, 1]
                    look(own, query, fresh, seen, ground)
                if together:
                    shared(own, query, (part.part, turn), seen, ground)
                joined(some, own, query, seen, request.allowed)
                if seen.limits[own] == WITHOUT:
                    seen.limits[own] = np.inf
    for query in range(low, high):
        own = query - low
        if to_plane.far[query] or to_lines.far[query] or kept.computed[part.part, query] == CHANGED:
            seen.counts[own, 0] = -1
        elif seen.counts[own, 0] < 0:
            kept.computed[part.part, query] = -1
    ended(low, high, (part.part, part.first * LANES, part.last * LANES), seen, request.queries, ground)

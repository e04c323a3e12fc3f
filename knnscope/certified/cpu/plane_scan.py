"""A pass over the plane: lower bounds of rows, of which those that matter wait for their byte codes until it is known how far the neighbors are.

Bounds cost little, and looking at a row's byte code 25 ns: so rows that V leaves only join a list, and V falls by those with the smallest bounds, whose
byte codes are looked at on the way. When all rows have passed, the nearest are computed, then all else that is left of the list goes to its byte codes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import plane_bounds
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.lines import ask_ahead
from knnscope.certified.cpu.llvm import Emit, T, instructions, ir
from knnscope.certified.cpu.plane import LANES
from knnscope.certified.cpu.plane_ranking import (
    BLOCK,
    Ground,
    Seen,
    admitted,
    emptied,
    first_rows,
    limit_of,
    new_line,
    next_rows,
    one_of,
    probed,
    reach_of,
)  # fmt: skip
from knnscope.certified.cpu.ranking import CHANGED, distance_of, new_pool
from knnscope.certified.cpu.scan import replace_top

PROBE = (2, 16)
"""Rows that are looked at first, those with the smallest bounds: so many times k, and so many."""
lower_one: Any = None
lower_few: Any = None
evaluate: Any = None
finish: Any = None
"""The kernels for one query and for several, lines.py's bounds, and ``_finish``: ``plane_search.forms`` gives each instruction set its own."""


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


@instructions
def _next(emit: Emit, values: Any, first: Any, last: Any, limit: Any) -> Any:
    """The first place from ``first`` on, of a line of float32 at an address, that is not above the limit; ``last`` where there is none.

    Both are multiples of 16, but for ``first``; ``limit`` is the address of a float32. Where so many follow, 64 are looked at together.
    """
    b = emit.builder
    wide = emit.spread(emit.load(T.F32, limit), T.FLOATS)
    before = b.block
    head, turn, far, four, hit, after = (
        b.append_basic_block(name) for name in ("head", "turn", "far", "four", "hit", "after")
    )
    start = b.and_(first, emit.number(-LANES))
    begun = b.shl(ir.Constant(T.I16, -1), b.trunc(b.sub(first, start), T.I16))

    def some(place: Any, more: int) -> Any:
        return b.fcmp_unordered("<=", emit.load(T.FLOATS, emit.at(values, (place, 4), (more, 64))), wide)

    b.cbranch(b.icmp_signed("<", first, last), turn, after)
    b.position_at_end(head)
    place = b.phi(T.I64)
    b.cbranch(b.icmp_signed("<=", b.add(place, emit.number(4 * LANES)), last), four, far)
    b.position_at_end(four)
    found = [some(place, more) for more in range(4)]
    bits = b.bitcast(b.or_(b.or_(found[0], found[1]), b.or_(found[2], found[3])), T.I16)
    place.add_incoming(b.add(place, emit.number(4 * LANES)), four)
    b.cbranch(b.icmp_unsigned("!=", bits, ir.Constant(T.I16, 0)), far, head)
    b.position_at_end(far)
    b.cbranch(b.icmp_signed("<", place, last), turn, after)
    b.position_at_end(turn)
    own, mask = b.phi(T.I64), b.phi(T.I16)
    for register, incoming in ((own, (start, place)), (mask, (begun, ir.Constant(T.I16, -1)))):
        for value, block in zip(incoming, (before, far), strict=True):
            register.add_incoming(value, block)
    bits = b.and_(b.bitcast(some(own, 0), T.I16), mask)
    place.add_incoming(b.add(own, emit.number(LANES)), turn)
    b.cbranch(b.icmp_unsigned("!=", bits, ir.Constant(T.I16, 0)), hit, head)
    b.position_at_end(hit)
    at = b.add(own, emit.call("llvm.cttz.i64", T.I64, b.zext(bits, T.I64), emit.number(1, ir.IntType(1))))
    b.branch(after)
    b.position_at_end(after)
    result = b.phi(T.I64)
    result.add_incoming(last, before)
    result.add_incoming(last, far)
    result.add_incoming(at, hit)
    return result


class Rows(NamedTuple):
    """Bounds of some rows for one query, float32; the first row, how many there are, and whether they are the first of the part."""

    values: npt.NDArray[np.float32]
    row0: int
    filled: int
    begin: bool


@compiled(inline=True)
def _is_allowed(allowed: Any, query: int, row: int) -> bool:
    return allowed.shape[0] == 0 or bool(allowed[min(query, allowed.shape[0] - 1), row])


@compiled()
def _new_seen(queries: int, k: int, memory: Any, lines: Any) -> Any:
    """Nothing seen."""
    probe, room = PROBE[0] * k + PROBE[1], memory.shape[0] // (2 * queries)
    lowest, uppers, limits = (
        np.full((queries, probe), np.inf), np.full((queries, k), np.inf), np.full(queries, np.inf, dtype=np.float32),
    )  # fmt: skip
    lows = memory[: queries * room].reshape(queries, room)
    rows = memory[queries * room : 2 * queries * room].view(np.int32).reshape(queries, room)
    fresh, counts = np.empty((queries, probe), dtype=np.int64), np.zeros((queries, 2), dtype=np.int64)
    return Seen(lowest, uppers, limits, lows, rows, fresh, counts, np.empty((5, max(probe, BLOCK))), lines)


@compiled()
def _first(some: Any, own: int, query: int, seen: Any, allowed: Any) -> int:
    """The smallest bounds of the first rows, and which rows have them: how many, in ``seen.fresh``."""
    lowest, limit, place, count = seen.lowest, np.full(1, np.inf, dtype=np.float32), 0, 0
    values, end = some.values.ctypes.data, (some.filled + LANES - 1) // LANES * LANES
    while True:
        place = _next(values, place, end, limit.ctypes.data)
        if place >= some.filled:
            break
        low = np.float64(some.values[place])
        if not low >= lowest[own, 0] and _is_allowed(allowed, query, some.row0 + place):
            replace_top(lowest, own, low if low == low else -np.inf)
            limit[0] = lowest[own, 0]
        place += 1
    place = 0
    while count < seen.fresh.shape[1]:
        place = _next(values, place, end, limit.ctypes.data)
        if place >= some.filled:
            break
        if _is_allowed(allowed, query, some.row0 + place):
            seen.fresh[own, count] = some.row0 + place
            count += 1
        place += 1
    return count


@compiled()
def _narrow(own: int, query: int, seen: Any, count: int, ground: Any) -> None:
    """A smaller V, by upper bounds of rows that were not looked at before."""
    for i in range(count):
        if seen.found[1, i] < seen.uppers[own, 0]:
            replace_top(seen.uppers, own, seen.found[1, i])
    if seen.uppers[own, 0] < np.inf:
        seen.limits[own] = min(seen.limits[own], limit_of(seen.uppers[own, 0], query, ground))
    seen.counts[own, 1] = 0


@compiled()
def _compacted(seen: Any, own: int) -> int:
    """Keep those of a query's rows that V leaves by now: how many, or -1 where that does not make much room."""
    limit, lows, rows, left = seen.limits[own], seen.lows, seen.rows, 0
    for i in range(lows.shape[1]):
        if lows[own, i] <= limit:
            lows[own, left], rows[own, left] = lows[own, i], rows[own, i]
            left += 1
    return left if 4 * left <= 3 * lows.shape[1] else -1


@compiled()
def _left(some: Any, own: int, query: int, seen: Any, allowed: Any) -> None:
    """Rows that V leaves join those of a query, and become fresh where their bounds are among the smallest."""
    lows, rows, lowest, room = seen.lows, seen.rows, seen.lowest, seen.lows.shape[1]
    limit, values, end = seen.limits[own : own + 1], some.values.ctypes.data, (some.filled + LANES - 1) // LANES * LANES
    count, fresh, place = seen.counts[own, 0], seen.counts[own, 1], 0
    while count >= 0:
        place = _next(values, place, end, limit.ctypes.data)
        if place >= some.filled:
            break
        row, low = some.row0 + place, some.values[place]
        place += 1
        if not _is_allowed(allowed, query, row):
            continue
        if count == room:
            count = _compacted(seen, own)
            if count < 0:
                break
        lows[own, count], rows[own, count] = low if low == low else np.float32(-np.inf), row
        count += 1
        if low < lowest[own, 0] and not some.begin:
            replace_top(lowest, own, np.float64(low))
            if fresh < seen.fresh.shape[1]:
                seen.fresh[own, fresh] = row
                fresh += 1
                ask_ahead(seen.lines, row)
    seen.counts[own, 0], seen.counts[own, 1] = count, fresh


@compiled()
def _rest(own: int, one: Any, seen: Any, line: Any, ground: Any) -> float:
    """A key below that of every row that was not computed."""
    asked, scale, number = ground.asked, one.asked.scale, one.number
    low, rest = min(line.rests[0], np.float64(seen.limits[own])), np.inf
    if low < np.inf:
        rest = plane_bounds.least(low, asked.alphas[number], asked.betas[number])
    lower = line.rests[1]
    if lower < np.inf:
        rest = min(rest, (lower * lower - scale.base) / abs(scale.gain))
    return rest


def _finish(own: int, one: Any, seen: Any, line: Any, ground: Any) -> int:
    """Answer a query when all rows have passed: how many were computed, or ranking.CHANGED; -1 where what was found contradicts a bound."""
    lines, near, places, found, counts = ground.lines, ground.near, seen.fresh[own], seen.found, line.counts
    count = probed(seen, own, places)
    evaluate(lines, places, count, near, one.number, found)
    done, line.rests[1] = first_rows(one, places, count, found, ground)
    if done == CHANGED:
        return CHANGED
    bars = ground.kept.bars
    bars[one.number] = min(bars[one.number], one.keys[0])
    counts[0], counts[1], counts[2], line.rests[0] = 0, 0, done, np.inf
    while counts[0] < seen.counts[own, 0]:
        count = next_rows(seen, own, one, line, ground)
        evaluate(lines, line.places, count, near, one.number, line.found)
        if not admitted(one, line, count, ground):
            return CHANGED
    if not emptied(one, line, ground):
        return CHANGED
    bars[one.number] = min(bars[one.number], one.keys[0])
    known = reach_of(seen.uppers[own, 0], one, ground)
    return counts[2] if not distance_of(one.keys[0], ground.table.metric, one.asked.scale) > known else -1


def _scan(table: Any, levels: Any, asked: Any, request: Any, part: Any, memory: Any, kept: Any) -> None:
    """Search some blocks for some tiles of queries.

    Args:
        table: ranking.Table.
        levels: blocks of plane.Plane, and lines (lines.py).
        asked: plane_queries.PlaneQueries, and EncodedQueries of lines.py.
        request: scanner.Request.
        part: PlanePart.
        memory: float32, for the bounds of ``step`` blocks and a tile of queries, and two for each row of a query that V may leave; written over.
        kept: Kept, written.
    """
    (plane, lines), (to_plane, to_lines) = levels, asked
    ground = Ground(table, plane, lines, to_plane, to_lines, kept, request.allowed)
    k, each = kept.keys.shape[2], to_plane.terms.shape[0] // to_plane.words.shape[0]
    low, high = part.first_tile * each, min(part.last_tile * each, request.queries.shape[0])
    size = part.step * LANES
    values = memory[: each * size].reshape(each, size)
    seen = _new_seen(high - low, k, memory[each * size :], lines)
    for begin in range(part.first, part.last, part.step):
        blocks, row0 = min(part.last - begin, part.step), begin * LANES
        filled = min(blocks * LANES, table.rows.shape[0] - row0)
        for tile in range(part.first_tile, part.last_tile):
            words, biases, terms = to_plane.words[tile], to_plane.biases[tile], to_plane.terms[tile * each :]
            if each == 1:
                lower_one(plane, begin, blocks, words, biases, terms, values)
            else:
                lower_few(plane, begin, blocks, words, biases, terms, values)
            for query in range(tile * each, min(tile * each + each, high)):
                own = query - low
                if to_plane.far[query] or to_lines.far[query] or seen.counts[own, 0] < 0:
                    continue
                some = Rows(values[query - tile * each], row0, filled, begin == part.first)
                fresh = _first(some, own, query, seen, request.allowed) if some.begin else seen.counts[own, 1]
                if fresh:
                    evaluate(lines, seen.fresh[own], fresh, to_lines, query, seen.found)
                    _narrow(own, query, seen, fresh, ground)
                _left(some, own, query, seen, request.allowed)
    pool, line = new_pool(), new_line()
    for query in range(low, high):
        own = query - low
        kept.computed[part.part, query] = -1
        if to_plane.far[query] or to_lines.far[query] or seen.counts[own, 0] < 0:
            continue
        one = one_of(request.queries[query], query, ground, part.part, pool)
        kept.computed[part.part, query] = finish(own, one, seen, line, ground)
        kept.rests[part.part, query] = _rest(own, one, seen, line, ground)

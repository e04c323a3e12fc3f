"""Few queries: lower bounds of all rows from the plane, and distances as defined of the few rows that these leave.

Bounds do not depend on how far the k-th neighbor is, so they are written for a chunk of rows and compared with what is known by then. T comes
from distances: from time to time those of the rows with the smallest bounds are computed (``PROBE``), so that T is near its last value when a
small part of the rows has passed.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types

from knnscope.certified.cpu import bounds, plane_bounds
from knnscope.certified.cpu.exact_sums import TOGETHER
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.llvm import F32, FLOATS, I16, I64, Emit, alive, borrowed, instructions
from knnscope.certified.cpu.plane import LANES
from knnscope.certified.cpu.plane_kernels import half, kernel
from knnscope.certified.cpu.ranking import (
    CHANGED,
    Pool,
    finish_heap,
    further,
    keys_of,
    length_of,
    new_pool,
    sink,
)

CHUNK = 8192
"""Bounds that are written before they are looked at, of all queries of a tile together."""
FIRST = 1024
"""Rows of the first chunk, each of which is a candidate; every later one has at most as many as have passed."""
LATER = 4
"""Times as many rows as had passed have passed when T is next looked for."""
PROBE = (1, 16)
"""Rows whose distances are computed to know T better: so many times k, and so many; twice as many the first time."""
WIDER = 1 / 32
"""Rows are kept whose bound is that much beyond the k-th key: they are not computed, but what is left out is further off for certain."""
lower: Any = None
"""The kernel: ``scan`` gives each compiled scan its own."""


class PlanePart(NamedTuple):
    """What one call reads and where it writes.

    first, last: blocks. rows: in all. tile: of queries. part: its number. room: candidates of a query.
    """

    first: int
    last: int
    rows: int
    tile: int
    part: int
    room: int


class Kept(NamedTuple):
    """What the parts know, written by them.

    keys, names: float64 and int64, (parts, queries, k), heaps. computed: int64, (parts, queries);
    -1 without room, ranking.CHANGED where a row is not as it was. rests: float64, (parts, queries): every row not computed has a larger key.
    bars: float64, (queries,): the smallest k-th key of any part, which all read.
    """

    keys: npt.NDArray[np.float64]
    names: npt.NDArray[np.int64]
    computed: npt.NDArray[np.int64]
    rests: npt.NDArray[np.float64]
    bars: npt.NDArray[np.float64]


class One(NamedTuple):
    """A query at work in one part: the query, its number, its length, bounds and rows of its candidates, its heap, and memory."""

    query: npt.NDArray[np.float64]
    number: int
    length: float
    lows: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]
    keys: npt.NDArray[np.float64]
    names: npt.NDArray[np.int64]
    pool: Pool


@instructions(types.int64)
def _next(emit: Emit, values: Any, first: Any, last: Any, limit: Any) -> Any:
    """The first place from ``first`` on, of a line of float32 at an address, that is not above the limit; ``last`` where there is none.

    Both are multiples of 16, but for ``first``; ``limit`` is the address of a float32.
    """
    b = emit.builder
    wide = emit.spread(emit.load(F32, limit), FLOATS)
    before = b.block
    head, turn, hit, after = (b.append_basic_block(name) for name in ("head", "turn", "hit", "after"))
    start = b.and_(first, emit.number(-LANES))
    begun = b.shl(ir.Constant(I16, -1), b.trunc(b.sub(first, start), I16))
    b.branch(head)
    b.position_at_end(head)
    place, mask = b.phi(I64), b.phi(I16)
    place.add_incoming(start, before)
    mask.add_incoming(begun, before)
    b.cbranch(b.icmp_signed("<", place, last), turn, after)
    b.position_at_end(turn)
    some = b.fcmp_unordered("<=", emit.load(FLOATS, emit.at(values, (place, 4))), wide)
    bits = b.and_(b.bitcast(some, I16), mask)
    following = b.add(place, emit.number(LANES))
    place.add_incoming(following, turn)
    mask.add_incoming(ir.Constant(I16, -1), turn)
    b.cbranch(b.icmp_unsigned("!=", bits, ir.Constant(I16, 0)), hit, head)
    b.position_at_end(hit)
    found = b.add(place, emit.call("llvm.cttz.i64", I64, b.zext(bits, I64), emit.number(1, ir.IntType(1))))
    b.branch(after)
    b.position_at_end(after)
    result = b.phi(I64)
    result.add_incoming(last, head)
    result.add_incoming(found, hit)
    return result


@instructions()
def _ahead(emit: Emit, address: Any, lines: Any) -> None:
    """Ask for cache lines that are read soon."""

    def line(index: Any, _: list[Any]) -> list[Any]:
        emit.prefetch(emit.at(address, (index, 64)))
        return []

    emit.loop(lines, [], line)


@compiled(inline="always")
def _await(pool: Any, waiting: int, row: int, low: np.float32, rows: Any) -> None:
    """Put a row among those that are computed next."""
    pool.places[waiting], pool.lows[waiting] = row, low
    _ahead(rows.ctypes.data + row * rows.strides[0], (rows.shape[1] * rows.itemsize + 63) // 64)


@compiled(inline="always")
def _bar(one: Any, asked: Any, kept: Any, wider: float) -> np.float32:
    """V by what this part and the others know, for a key that is larger by a share of its size."""
    key = min(one.keys[0], kept.bars[one.number])
    if not key < np.inf:
        return np.float32(np.inf)
    key += wider * abs(key)
    return bounds.up(plane_bounds.limit(key, asked.alphas[one.number], asked.betas[one.number]))


@compiled()
def _compute(one: Any, count: int, table: Any, asked: Any, plane: Any) -> bool:
    """Distances of the rows ``pool.places``, whose bounds are ``pool.norms``, of which ``count`` count; False where one contradicts its bound."""
    pool, metric = one.pool, table.metric
    for i in range(count, TOGETHER):
        pool.places[i] = pool.places[0]
    g = pool.lows
    keys_of(table.rows, one.query, metric, one.length, pool)
    alpha, beta = asked.alphas[one.number], asked.betas[one.number]
    for i in range(count):
        key, row = pool.keys[i], pool.places[i]
        if not np.float64(g[i]) <= plane_bounds.limit(key, alpha, beta) + 2.0**-100 or not _near(
            row, np.float64(g[i]), plane_bounds.limit(key, alpha, beta), one.number, asked, plane
        ):
            one.names[0] = row
            return False
        name = table.names[row] if table.names.shape[0] else row
        if further(one.keys[0], one.names[0], key, name):
            sink(one.keys, one.names, one.keys.shape[0], key, name)
    return True


@compiled()
def _near(row: int, g: float, value: float, number: int, asked: Any, plane: Any) -> bool:
    """Whether a key, as a bound's value, is as near as the row's bound says; a row that is never left out may be anywhere."""
    block, lane = row // LANES, row % LANES
    at = plane.shape[1] - 128 + 2 * lane
    line = plane[block]
    square, error, tail = half(line, at + 32), half(line, at + 64), half(line, at + 96)
    c1, c2 = np.float64(asked.terms[number, 1]), np.float64(asked.terms[number, 2])
    width = 2 * (c1 * error + c2 * tail) + square * 2.0**-8 + asked.gaps[number]
    if not width < np.inf:
        return True
    return value <= g + (width + (abs(g) + abs(value)) * 2.0**-20) * (1 + 2.0**-20) + 2.0**-22


@compiled()
def _probe(one: Any, count: int, some: int, table: Any, asked: Any, plane: Any) -> int:
    """Compute the ``some`` candidates of smallest bounds; they are candidates no more (infinite). How many, or -1 (see ``_compute``)."""
    least, places = np.full(some, np.inf), np.zeros(some, dtype=np.int64)
    for i in range(count):
        low = np.float64(one.lows[i])
        if low < least[0] or low != low:
            sink(least, places, some, low if low == low else -np.inf, i)
    done = waiting = 0
    for i in range(some):
        if least[i] < np.inf:
            _await(one.pool, waiting, one.rows[places[i]], one.lows[places[i]], table.rows)
            one.lows[places[i]] = np.float32(np.inf)
            waiting += 1
        if waiting == TOGETHER or (i == some - 1 and waiting):
            if not _compute(one, waiting, table, asked, plane):
                return -1
            done += waiting
            waiting = 0
    return done


@compiled()
def _drop(one: Any, count: int, bar: np.float32) -> int:
    """Keep candidates that a bar leaves."""
    left = 0
    for i in range(count):
        if not one.lows[i] > bar and one.lows[i] != np.inf:
            one.lows[left], one.rows[left] = one.lows[i], one.rows[i]
            left += 1
    return left


@compiled()
def _last(one: Any, count: int, table: Any, asked: Any, plane: Any, kept: Any) -> tuple[int, float]:
    """Compute what candidates the bar leaves, as it falls: how many, or -1, and the smallest bound of those left out."""
    bar, rest = _bar(one, asked, kept, 0.0), np.float64(_bar(one, asked, kept, WIDER))
    done = waiting = 0
    for i in range(count + 1):
        if i < count:
            low = one.lows[i]
            if low == np.inf:
                continue
            if low > bar:
                rest = min(rest, np.float64(low))
                continue
            _await(one.pool, waiting, one.rows[i], low, table.rows)
            waiting += 1
        if waiting == TOGETHER or (i == count and waiting):
            if not _compute(one, waiting, table, asked, plane):
                return -1, rest
            done += waiting
            waiting = 0
            bar = _bar(one, asked, kept, 0.0)
    return done, rest


def _scan(table: Any, plane: Any, asked: Any, queries: Any, allowed: Any, part: Any, kept: Any) -> None:
    """Search some blocks for a tile of queries.

    Args:
        table: ranking.Table.
        plane: uint8, (blocks, bytes), see plane.Plane.
        asked: plane_queries.PlaneQueries.
        queries: float64, (queries, dim).
        allowed: bool, (0 or 1 or queries, rows).
        part: PlanePart.
        kept: Kept, written.
    """
    k, each = kept.keys.shape[2], asked.terms.shape[0] // asked.words.shape[0]
    low = part.tile * each
    high = min(low + each, queries.shape[0])
    size = CHUNK // each // LANES * LANES
    g = np.empty((each, size), dtype=np.float32)
    lows, rows = np.empty((each, part.room), dtype=np.float32), np.empty((each, part.room), dtype=np.int64)
    counts, limit = np.zeros(each, dtype=np.int64), np.empty(1, dtype=np.float32)
    pool = new_pool()
    words, biases, terms = asked.words[part.tile], asked.biases[part.tile], asked.terms[low : low + each]
    computed, keys, names = kept.computed[part.part], kept.keys[part.part], kept.names[part.part]
    begin, seen, probing, masked = part.first, 0, 1, allowed.shape[0] > 0
    keys[low:high] = np.inf
    names[low:high] = np.iinfo(np.int64).max
    computed[low:high] = 0
    while begin < part.last:
        blocks = min(part.last - begin, size // LANES, max(FIRST // LANES, (begin - part.first)))
        lower(plane, begin, blocks, words, biases, terms, g)
        filled = min(blocks * LANES, part.rows - begin * LANES)
        seen += filled
        ended = begin + blocks >= part.last
        for query in range(low, high):
            if asked.far[query] or computed[query] < 0:
                computed[query] = -1 if computed[query] == 0 else computed[query]
                continue
            own = query - low
            own_lows, own_rows = borrowed(lows[own]), borrowed(rows[own])
            one = One(
                queries[query], query, length_of(queries[query]), own_lows, own_rows, keys[query], names[query], pool
            )
            limit[0] = _bar(one, asked, kept, WIDER)
            now, line, place = counts[own], borrowed(g[own]), 0
            while True:
                place = _next(line.ctypes.data, place, blocks * LANES, limit.ctypes.data)
                if place >= filled:
                    break
                row = begin * LANES + place
                place += 1
                if masked and not allowed[min(query, allowed.shape[0] - 1), row]:
                    continue
                if now == part.room:
                    limit[0] = _bar(one, asked, kept, WIDER)
                    now = _drop(one, now, limit[0])
                    if 4 * now > 3 * part.room:
                        now = -1
                        break
                own_lows[now], own_rows[now] = line[place - 1], row
                now += 1
            if now < 0:
                computed[query] = -1
                continue
            if seen >= probing or ended:
                some = min(PROBE[0] * k + PROBE[1], now) * (2 if computed[query] == 0 else 1)
                done = _probe(one, now, max(1, some), table, asked, plane)
                if done < 0:
                    computed[query] = CHANGED
                    continue
                computed[query] += done
                kept.bars[query] = min(kept.bars[query], one.keys[0])
                now = _drop(one, now, _bar(one, asked, kept, WIDER))
            if ended:
                done, rest = _last(one, now, table, asked, plane, kept)
                if done < 0:
                    computed[query] = CHANGED
                    continue
                computed[query] += done
                kept.bars[query] = min(kept.bars[query], one.keys[0])
                kept.rests[part.part, query] = (
                    plane_bounds.least(rest, asked.alphas[query], asked.betas[query]) if rest < np.inf else np.inf
                )
            counts[own] = now
        if seen >= probing:
            probing = LATER * seen
        begin += blocks
    alive((g, lows, rows, counts, limit, pool))


@compiled(error_model="numpy")
def merge(kept: Any, table: Any, numbers: Any, answers: Any) -> None:
    """Put together what the parts found.

    Args:
        kept: Kept.
        table: ranking.Table.
        numbers: int64, (queries,): where the answer of each goes.
        answers: ranking.Answers, written.
    """
    parts, k = kept.keys.shape[0], kept.keys.shape[2]
    for query in range(numbers.shape[0]):
        number, total, rest = numbers[query], 0, np.inf
        found, values = answers.ids[number], answers.values[number]
        found[:] = np.iinfo(np.int64).max
        values[:] = np.inf
        for part in range(parts):
            done = kept.computed[part, query]
            if done < 0:
                total = min(total, done)
                if done == CHANGED:
                    found[0] = kept.names[part, query, 0]
                continue
            total = total + done if total >= 0 else total
            rest = min(rest, kept.rests[part, query])
            for i in range(k):
                key, name = kept.keys[part, query, i], kept.names[part, query, i]
                if total >= 0 and further(values[0], found[0], key, name):
                    sink(values, found, k, key, name)
        if total == CHANGED:
            answers.computed[number] = CHANGED
        if total < 0:
            continue  # its candidates stay -1
        finish_heap(found, values, min(k, total), table.metric)
        answers.candidates[number] = answers.computed[number] = total
        last = values[k - 1]
        if rest < np.inf and abs(last) < np.inf:
            answers.margins[number] = max(
                0.0, np.sqrt(max(rest, 0.0)) - np.sqrt(last) if table.metric == 0 else last + rest
            )
        else:
            answers.margins[number] = np.inf


@cache
def scan(isa: str, vectors: int, digits: int) -> Any:
    """The compiled scan for tiles of so many query vectors."""
    return specialised(_scan, f"plane_scan_{isa}_{vectors}_{digits}", lower=kernel(isa, vectors, digits))

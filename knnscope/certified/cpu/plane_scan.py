"""Few queries: lower bounds of all rows from the plane, and distances as defined of the few rows that these leave.

Bounds do not depend on how far the k-th neighbor is, so they are written first, four bytes a row. The rows with the smallest ones are computed (``PROBE``):
then T is near its last value, whatever the order of the rows, and one look at the bounds leaves what else has to be computed.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from knnscope.certified.cpu import plane_bounds
from knnscope.certified.cpu.exact_sums import TOGETHER
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.llvm import Emit, T, instructions, ir
from knnscope.certified.cpu.plane import LANES
from knnscope.certified.cpu.plane_kernels import kernel
from knnscope.certified.cpu.plane_queries import asked as ask_plane
from knnscope.certified.cpu.plane_ranking import Ground, Kept, Line, One, await_row, bar_of, serve
from knnscope.certified.cpu.ranking import CHANGED, finish_heap, further, length_of, new_pool, sink

CHUNK = 8192
"""Bounds that are written before they are looked at for the first time, of all queries of a tile together."""
PROBE = (2, 16)
"""Rows whose distances are computed to know T: so many times k, and so many."""
WIDER = 1 / 32
"""Rows are looked at whose bound is that much beyond the k-th key: they are not computed, but what is left out is further off for certain."""
lower_one: Any = None
lower_few: Any = None
"""The kernels for one query and for few: ``forms`` gives each instruction set its own."""


class PlanePart(NamedTuple):
    """What one call reads and where it writes.

    first, last: blocks. tile: of queries. part: its number. most: rows of a query that may be computed.
    """

    first: int
    last: int
    tile: int
    part: int
    most: int


@instructions
def _next(emit: Emit, values: Any, first: Any, last: Any, limit: Any) -> Any:
    """The first place from ``first`` on, of a line of float32 at an address, that is not above the limit; ``last`` where there is none.

    Both are multiples of 16, but for ``first``; ``limit`` is the address of a float32.
    """
    b = emit.builder
    wide = emit.spread(emit.load(T.F32, limit), T.FLOATS)
    before = b.block
    head, turn, hit, after = (b.append_basic_block(name) for name in ("head", "turn", "hit", "after"))
    start = b.and_(first, emit.number(-LANES))
    begun = b.shl(ir.Constant(T.I16, -1), b.trunc(b.sub(first, start), T.I16))
    b.branch(head)
    b.position_at_end(head)
    place, mask = b.phi(T.I64), b.phi(T.I16)
    place.add_incoming(start, before)
    mask.add_incoming(begun, before)
    b.cbranch(b.icmp_signed("<", place, last), turn, after)
    b.position_at_end(turn)
    some = b.fcmp_unordered("<=", emit.load(T.FLOATS, emit.at(values, (place, 4))), wide)
    bits = b.and_(b.bitcast(some, T.I16), mask)
    following = b.add(place, emit.number(LANES))
    place.add_incoming(following, turn)
    mask.add_incoming(ir.Constant(T.I16, -1), turn)
    b.cbranch(b.icmp_unsigned("!=", bits, ir.Constant(T.I16, 0)), hit, head)
    b.position_at_end(hit)
    found = b.add(place, emit.call("llvm.cttz.i64", T.I64, b.zext(bits, T.I64), emit.number(1, ir.IntType(1))))
    b.branch(after)
    b.position_at_end(after)
    result = b.phi(T.I64)
    result.add_incoming(last, head)
    result.add_incoming(found, hit)
    return result


@compiled()
def _gather(values: Any, row0: int, filled: int, query: int, allowed: Any, smallest: Any) -> None:
    """Bounds of some rows, those that may be answers, into a heap of the smallest: (float64, int64), each (rows to probe,)."""
    least, places = smallest
    limit = np.full(1, np.inf, dtype=np.float32)
    masked, place = allowed.shape[0] > 0, 0
    limit[0] = least[0]
    end = (filled + LANES - 1) // LANES * LANES
    while True:
        place = _next(values.ctypes.data, place, end, limit.ctypes.data)
        if place >= filled:
            break
        row, low = row0 + place, np.float64(values[place])
        place += 1
        if masked and not allowed[min(query, allowed.shape[0] - 1), row]:
            continue
        if not low >= least[0]:
            sink(least, places, least.shape[0], low if low == low else -np.inf, row)
            limit[0] = least[0]


@compiled()
def _probe(one: Any, smallest: Any, values: Any, row0: int, ground: Any) -> int:
    """Compute the rows with the smallest bounds, which are taken out of ``values``: how many, or -1 (see ``compute``)."""
    least, places = smallest
    done = waiting = 0
    for i in range(least.shape[0]):
        if least[i] < np.inf:
            row = places[i]
            await_row(one.line, waiting, row, values[row - row0], ground)
            values[row - row0] = np.float32(np.inf)
            waiting += 1
            done += 1
            waiting = serve(one, waiting, 2 * TOGETHER, ground)
            if waiting < 0:
                return -1
    return -1 if serve(one, waiting, 1, ground) < 0 else done


@compiled()
def _filter(one: Any, values: Any, part: Any, rows: int, ground: Any) -> tuple[int, float]:
    """Compute the rows that T leaves, as it falls: how many, -1 (see ``compute``) or -3 for too many; and the smallest bound left out."""
    allowed = ground.allowed
    bar, limit, row0 = bar_of(one, ground, 0.0), np.empty(1, dtype=np.float32), part.first * LANES
    limit[0] = bar_of(one, ground, WIDER)
    rest, masked, query = np.float64(limit[0]), allowed.shape[0] > 0, one.number
    done = waiting = place = 0
    end = (rows + LANES - 1) // LANES * LANES
    while True:
        place = _next(values.ctypes.data, place, end, limit.ctypes.data)
        if place >= rows:
            break
        low = values[place]
        place += 1
        if low == np.inf or (masked and not allowed[min(query, allowed.shape[0] - 1), row0 + place - 1]):
            continue
        if low > bar:
            rest = min(rest, np.float64(low))
            continue
        await_row(one.line, waiting, row0 + place - 1, low, ground)
        waiting += 1
        done += 1
        if done > part.most:
            done = -3
            break
        if waiting == 2 * TOGETHER:
            waiting = serve(one, waiting, 2 * TOGETHER, ground)
            if waiting < 0:
                return -1, rest
            bar, limit[0] = bar_of(one, ground, 0.0), bar_of(one, ground, WIDER)
            rest = min(rest, np.float64(limit[0]))
    if done >= 0 and serve(one, waiting, 1, ground) < 0:
        done = -1
    return done, rest


def _scan(table: Any, plane: Any, asked: Any, request: Any, part: Any, memory: Any, kept: Any) -> None:
    """Search some blocks for a tile of queries.

    Args:
        table: ranking.Table.
        plane: uint8, (blocks, bytes), see plane.Plane.
        asked: plane_queries.PlaneQueries.
        request: scanner.Request.
        part: PlanePart.
        memory: float32, (queries of a tile times rows of the part, whole blocks, or more,), written over.
        kept: Kept, written.
    """
    ground = Ground(table, plane, asked, kept, request.allowed)
    k, each = kept.keys.shape[2], asked.terms.shape[0] // asked.words.shape[0]
    low, row0, size = part.tile * each, part.first * LANES, (part.last - part.first) * LANES
    high, rows = min(low + each, request.queries.shape[0]), min(size, table.rows.shape[0] - row0)
    values = memory[: each * size].reshape(each, size)
    least, places = (
        np.full((each, PROBE[0] * k + PROBE[1]), np.inf),
        np.zeros((each, PROBE[0] * k + PROBE[1]), np.int64),
    )
    words, biases, terms = asked.words[part.tile], asked.biases[part.tile], asked.terms[low : low + each]
    computed, keys, names = kept.computed[part.part], kept.keys[part.part], kept.names[part.part]
    step = max(1, CHUNK // each // LANES)
    for begin in range(part.first, part.last, step):
        blocks, at = min(part.last - begin, step), (begin - part.first) * LANES
        line = values[:, at : at + blocks * LANES]
        if each == 1:
            lower_one(plane, begin, blocks, words, biases, terms, line)
        else:
            lower_few(plane, begin, blocks, words, biases, terms, line)
        for query in range(low, high):
            own = query - low
            if not asked.far[query]:
                filled = min(blocks * LANES, rows - at)
                _gather(values[own, at:], row0 + at, filled, query, request.allowed, (least[own], places[own]))
    pool, waiting = new_pool(), Line(np.empty(2 * TOGETHER, dtype=np.int64), np.empty(2 * TOGETHER, dtype=np.float32))
    for query in range(low, high):
        own, heap, name = query - low, keys[query], names[query]
        heap[:], name[:] = np.inf, np.iinfo(np.int64).max
        computed[query] = -1
        if asked.far[query]:
            continue
        one = One(request.queries[query], query, length_of(request.queries[query]), heap, name, pool, waiting)
        done = _probe(one, (least[own], places[own]), values[own], row0, ground)
        more, rest = -1, np.inf
        if done >= 0:
            kept.bars[query] = min(kept.bars[query], heap[0])
            more, rest = _filter(one, values[own], part, rows, ground)
        if more == -1:
            computed[query] = CHANGED
        elif more >= 0:
            computed[query] = done + more
            kept.bars[query] = min(kept.bars[query], heap[0])
            if rest < np.inf:
                rest = plane_bounds.least(rest, asked.alphas[query], asked.betas[query])
            kept.rests[part.part, query] = rest


@compiled(apart=True)
def merge(kept: Any, table: Any, answers: Any) -> bool:
    """Put together what the parts found; whether that answers all queries.

    Args:
        kept: Kept.
        table: ranking.Table.
        answers: ranking.Answers, written.
    """
    parts, k, every = kept.keys.shape[0], kept.keys.shape[2], True
    for query in range(answers.ids.shape[0]):
        total, rest = 0, np.inf
        found, values = answers.ids[query], answers.values[query]
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
            answers.computed[query] = CHANGED
        if total < 0:
            every = False
            continue  # its candidates stay -1
        finish_heap(found, values, min(k, total), table.metric)
        answers.candidates[query] = answers.computed[query] = total
        last = values[k - 1]
        if rest < np.inf and abs(last) < np.inf and total < table.rows.shape[0]:
            answers.margins[query] = max(
                0.0, np.sqrt(max(rest, 0.0)) - np.sqrt(last) if table.metric == 0 else last + rest
            )
        else:
            answers.margins[query] = np.inf
    return every


scanned: Any = None
"""What ``forms`` gives ``_alone`` in place of this."""


def _alone(table: Any, levels: Any, width: Any, request: Any, memory: Any, answers: Any) -> bool:
    """A whole search by one thread, in one call: for few rows and queries what Python does in between counts. Whether it answers all.

    Args:
        table: ranking.Table.
        levels: blocks of plane.Plane, and its Map.
        width: query vectors of a tile, and digits of a query.
        request: scanner.Request.
        memory: float32, (queries of a tile times rows, whole blocks, or more,), written over.
        answers: ranking.Answers, written.
    """
    plane, way = levels
    asked = ask_plane(request.queries, way, width[0], width[1])
    kept = new_kept(1, asked.far.shape[0], request.k)
    for tile in range(asked.words.shape[0]):
        part = PlanePart(0, plane.shape[0], tile, 0, most_of(table.rows.shape[0]))
        scanned(table, plane, asked, request, part, memory, kept)
    return merge(kept, table, answers)


@compiled()
def most_of(rows: int) -> int:
    """Rows of a query that may be computed, of so many: from there on a byte a component is faster."""
    return max(4096, rows // 8)


@compiled()
def new_kept(parts: int, queries: int, k: int) -> Any:
    """Nothing known."""
    keys, names = np.empty((parts, queries, k)), np.empty((parts, queries, k), dtype=np.int64)
    computed, rests = np.zeros((parts, queries), dtype=np.int64), np.full((parts, queries), np.inf)
    return Kept(keys, names, computed, rests, np.full(queries, np.inf))


ONE, FEW = (2, 2), (4, 1)
"""Query vectors of a tile, and digits of a query: for one query, which waits for memory anyway, and for few."""


class Forms(NamedTuple):
    """Compiled for one instruction set: ``_scan``, and ``_alone``."""

    scan: Any
    alone: Any


@cache
def forms(isa: str) -> Forms:
    """What an instruction set has; compiled when it is first called."""
    given = {"lower_one": kernel(isa, *ONE), "lower_few": kernel(isa, *FEW)}
    scan = specialised(_scan, f"plane_scan_{isa}", apart=True, **given)
    return Forms(scan, specialised(_alone, f"plane_alone_{isa}", scanned=scan))
